"""Attention over a fixed number of projected keys: linear in the length, approximate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.scoring import WeightSpec

if TYPE_CHECKING:
    from attention_apps.attention.mechanism import Mechanism


def low_rank_weights(rank: int, length: int) -> Mapping[str, WeightSpec]:
    """What the projection learns: for every weight its name, shape and Keras initialiser."""
    initializer = keras.initializers.RandomNormal(stddev=rank**-0.5)
    return {"sequence_projection": ((rank, length), initializer)}


def low_rank_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mechanism: Mechanism,
    sequence_projection: Any,
    key_mask: Any = None,
    wanted: bool,
    score_weights: dict[str, Any] | None = None,
    dropout: Callable[[Any], Any] | None = None,
    noise: Callable[[Any], Any] | None = None,
) -> tuple[Any, Any]:
    """`softmax(score(q, E k)) E v`: keys and values are mixed to `rank` of them beforehand.

    The projection E is learned and shared by keys, values and heads. Time and memory grow with
    `length x rank`. A mixed key has a bit of every position, so there is no causal form, no window
    and no cache; masked keys are left out of the mixture.

    Args:
        query: `(batch, query, heads, dim)`.
        key: `(batch, key, heads, dim)`.
        value: `(batch, key, heads, value dim)`.
        mechanism: any scoring and normalizer, over everything, without positions.
        sequence_projection: E, `(rank, longest)`.
        key_mask: `(batch, key)` booleans, True = may attend.
        wanted: whether the implied weights are asked for, which are as large as the whole matrix.
        score_weights: what the scoring learns.
        dropout: applied to the weights before they meet the values.
        noise: draws what a normalizer adds to scores of a shape.

    Returns:
        Context `(batch, query, heads, value dim)` in the type of `value`, and the implied weights
        `(batch, heads, query, key)`, float32: the share of every value in the context. They may be
        negative and need not sum to 1. None where they are not wanted.

    Raises:
        ValueError: for more keys than E has columns.

    Reference: Wang et al. 2020, "Linformer: Self-Attention with Linear Complexity".
    """
    longest, num_keys = sequence_projection.shape[1], key.shape[1]
    if num_keys is not None and num_keys > longest:
        raise ValueError(
            f"Low-rank attention has learned a projection of {longest} keys. "
            f"Received: {num_keys} keys. Choose low-rank:RANK:LENGTH with a larger LENGTH."
        )
    num_keys = ops.shape(key)[1]
    projection = ops.cast(ops.convert_to_tensor(sequence_projection)[:, :num_keys], key.dtype)
    projection = projection[None]
    kept = ops.ones((ops.shape(key)[0], num_keys)) if key_mask is None else key_mask
    kept = ops.cast(kept, "bool")
    # Where all keys are masked, values mix to 0: whatever the weights, nothing is attended to.
    projection = ops.where(kept[:, None], projection, ops.zeros_like(projection))
    context, weights = dense_attention(
        query,
        ops.einsum("brk,bkhd->brhd", projection, key),
        ops.einsum("brk,bkhd->brhd", projection, value),
        mechanism=mechanism,
        score_weights=score_weights,
        dropout=dropout,
        noise=noise,
    )
    if not wanted:
        return context, None
    return context, ops.einsum("bhqr,brk->bhqk", weights, ops.cast(projection, weights.dtype))
