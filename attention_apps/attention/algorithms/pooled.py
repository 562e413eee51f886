"""Attention of heads at several scales: dense, each over keys pooled by its factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras import ops

from attention_apps.attention.algorithms.dense import dense_attention

if TYPE_CHECKING:
    from attention_apps.attention.mechanism import Mechanism


def pooled_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mechanism: Mechanism,
    factors: tuple[int, ...],
    key_mask: Any = None,
    query_positions: Any = None,
    score_weights: dict[str, Any] | None = None,
    dropout: Callable[[Any], Any] | None = None,
    noise: Callable[[Any], Any] | None = None,
) -> tuple[Any, Any]:
    """Dense attention of every group of heads to keys and values pooled by its factor.

    Args:
        query: `(batch, query, heads, dim)`.
        key: `(batch, key, heads, dim)`.
        value: `(batch, key, heads, value dim)`.
        mechanism: any scoring and normalizer, without positions.
        factors: neighbours of a pool, one per head, taken in turn.
        key_mask: `(batch, key)` booleans, True = may attend.
        query_positions: `(query,)` integers; given for causal attention, None otherwise.
        score_weights: what the scoring learns, one row a head.
        dropout: applied to the weights before they meet the values.
        noise: draws what a normalizer adds to scores of a shape.

    Returns:
        Context `(batch, query, heads, value dim)`, and the weights `(batch, heads, query, key)`,
        those of a pool shared out among its keys.
    """
    num_heads, num_keys = query.shape[2], ops.shape(key)[1]
    contexts: list[Any] = [None] * num_heads
    weights: list[Any] = [None] * num_heads
    exists = ops.ones((1, num_keys), "bool") if key_mask is None else ops.cast(key_mask, "bool")
    for offset, factor in enumerate(factors[:num_heads]):
        heads = list(range(offset, num_heads, len(factors)))
        in_pool = _pools(exists, factor)
        mask = ops.any(in_pool, axis=-1)[:, None, None]
        if query_positions is not None:
            last = (ops.arange(ops.shape(in_pool)[1], dtype="int32") + 1) * factor - 1
            mask = ops.logical_and(mask, last <= query_positions[:, None])
        count = ops.sum(ops.cast(in_pool, "float32"), axis=-1, keepdims=True)
        share = ops.cast(in_pool, "float32") / ops.maximum(count, 1.0)
        context, by_pool = dense_attention(
            ops.take(query, heads, axis=2),
            _means(ops.take(key, heads, axis=2), share, factor),
            _means(ops.take(value, heads, axis=2), share, factor),
            mechanism=mechanism,
            mask=mask,
            score_weights={
                name: ops.take(weight, heads, axis=0)
                for name, weight in (score_weights or {}).items()
            },
            dropout=dropout,
            noise=noise,
        )
        by_key = by_pool[..., None] * share[:, None, None]
        by_key = ops.reshape(by_key, (*tuple(ops.shape(by_key))[:3], -1))[..., :num_keys]
        for place, head in enumerate(heads):
            contexts[head], weights[head] = context[:, :, place], by_key[:, place]
    return ops.stack(contexts, axis=2), ops.stack(weights, axis=1)


def _pools(tensor: Any, factor: int) -> Any:
    """Cut `(batch, key, ...)` into `(batch, pools, factor, ...)`, filled up with zeros."""
    excess = (-ops.shape(tensor)[1]) % factor
    padding = [(0, 0), (0, excess), *([(0, 0)] * (len(tensor.shape) - 2))]
    tensor = ops.pad(tensor, padding)
    return ops.reshape(tensor, (ops.shape(tensor)[0], -1, factor, *tensor.shape[2:]))


def _means(tensor: Any, share: Any, factor: int) -> Any:
    """Means of the keys of every pool, `(batch, pools, heads, dim)`."""
    shares = ops.cast(share, tensor.dtype)[..., None, None]
    return ops.sum(_pools(tensor, factor) * shares, axis=2)
