"""Over-smoothing: whether the tokens of a layer have become one."""

from __future__ import annotations

import numpy as np


def token_similarity(states: np.ndarray, key_mask: np.ndarray | None = None) -> float:
    """How alike the tokens of an example are: the mean cosine of all pairs, 1 = all the same.

    Attention averages tokens; layer after layer that may leave nothing to tell them apart.

    Args:
        states: what a block gives, `(batch, length, dim)`.
        key_mask: `(batch, length)` booleans, True = a token, False = padding.

    Returns:
        The mean over examples with two tokens or more; NaN without any.

    Reference: Shi et al. 2022, "Revisiting Over-smoothing in BERT from the Perspective of Graph";
    Dong et al. 2021, "Attention is not all you need".
    """
    found = []
    for index, example in enumerate(np.asarray(states, np.float64)):
        tokens = example if key_mask is None else example[key_mask[index]]
        if len(tokens) < 2:
            continue
        lengths = np.linalg.norm(tokens, axis=-1, keepdims=True)
        directions = tokens / np.where(lengths > 0, lengths, 1)
        cosines = directions @ directions.T
        pairs = len(tokens) * (len(tokens) - 1)
        found.append((cosines.sum() - np.trace(cosines)) / pairs)
    return float(np.mean(found)) if found else float("nan")
