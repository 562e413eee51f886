"""What reaches the last layer from each input, through all layers of self-attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attention_apps.observation.record import AttentionRecord


def attention_rollout(layers: Sequence[np.ndarray], residual: float = 0.5) -> np.ndarray:
    """Multiply the maps of all layers: `prod_l (residual I + (1 - residual) mean_heads A_l)`.

    Each row of each factor is made to sum to 1; a row that attends to nothing keeps itself.

    Args:
        layers: weights `(heads, length, length)` from the first layer to the last.
        residual: share of a token that passes by the attention.

    Returns:
        `(length, length)`: of every token of the last layer, what came from each input; rows sum
        to 1.

    Raises:
        ValueError: for no layers, for maps between two sequences, or a share outside 0 to 1.

    Reference: Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers".
    """
    if not 0 <= residual <= 1:
        raise ValueError(f"The share of the residual lies from 0 to 1. Received: {residual}")
    shapes = {np.shape(weights)[1:] for weights in layers}
    if len(shapes) != 1 or len(set(*shapes)) != 1:
        raise ValueError(
            "A rollout goes through layers of self-attention over one sequence. "
            f"Received: maps of shapes {sorted(shapes)}"
        )
    ((length, _),) = shapes
    rolled = np.eye(length)
    for weights in layers:
        mean = np.asarray(weights, np.float64).mean(0)
        total = mean.sum(-1, keepdims=True)
        mean = np.where(total > 0, mean / np.where(total > 0, total, 1), np.eye(length))
        rolled = (residual * np.eye(length) + (1 - residual) * mean) @ rolled
    return rolled


def rollout_record(records: Sequence[AttentionRecord], residual: float = 0.5) -> AttentionRecord:
    """The rollout of one example's records, one a layer from the first to the last.

    Args:
        records: of self-attention over the same tokens.
        residual: as in `attention_rollout`.

    Returns:
        A record of one head with the axes of the first record.
    """
    first = records[0]
    rolled = attention_rollout([record.weights for record in records], residual)
    return AttentionRecord(
        rolled[None],
        "rollout",
        first.query,
        first.key,
        step=first.step,
        title=first.title,
        heads=("rollout",),
    )
