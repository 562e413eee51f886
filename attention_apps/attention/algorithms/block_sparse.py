"""Exact attention over the blocks of pairs that a scope touches, and over no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.masks import Mask

if TYPE_CHECKING:
    from attention_apps.attention.mechanism import Mechanism


def touched_blocks(scope: Mask, length: int, size: int) -> np.ndarray:
    """Which block of queries meets which block of keys, `(blocks, blocks)` booleans."""
    first = np.arange(0, length, size)
    last = np.minimum(first + size, length) - 1
    return np.broadcast_to(
        scope.touches((first[:, None], last[:, None]), (first[None], last[None])),
        (len(first), len(first)),
    )


def block_sparse_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mechanism: Mechanism,
    scope: Mask,
    size: int,
    key_mask: Any = None,
    score_weights: dict[str, Any] | None = None,
    position_weights: dict[str, Any] | None = None,
    dropout: Callable[[Any], Any] | None = None,
    noise: Callable[[Any], Any] | None = None,
) -> Any:
    """Dense attention of every block of queries with the blocks of keys that its scope touches.

    Blocks of queries that see nearly everything (those of global tokens) are computed whole, the
    others gather their keys: with windows, global tokens and random blocks, time and memory grow
    with `length x blocks per row x size`.

    Args:
        query: `(batch, length, heads, dim)`, its length known.
        key: `(batch, length, heads, dim)`, of the same sequence.
        value: `(batch, length, heads, value dim)`.
        mechanism: any scoring and normalizer; no positions that ask the query.
        scope: who may attend to whom.
        size: positions in a block.
        key_mask: `(batch, length)` booleans, True = may attend.
        score_weights: what the scoring learns.
        position_weights: what the positions learn.
        dropout: applied to the weights before they meet the values.
        noise: draws what a normalizer adds to scores of a shape.

    Returns:
        Context `(batch, length, heads, value dim)` in the type of `value`.

    Reference: Beltagy et al. 2020, "Longformer"; Zaheer et al. 2020, "Big Bird".
    """
    batch, length = ops.shape(query)[0], query.shape[1]
    size = min(size, length)
    touched = touched_blocks(scope, length, size)
    whole, gathered = _split(touched)
    num_blocks = len(touched)
    padding = ((0, 0), (0, num_blocks * size - length), (0, 0), (0, 0))
    query, key, value = (ops.pad(tensor, padding) for tensor in (query, key, value))
    kept = ops.ones((batch, length)) if key_mask is None else key_mask
    kept = ops.pad(ops.cast(kept, "bool"), padding[:2])
    places = np.arange(num_blocks * size).reshape(num_blocks, size)

    def attend(rows: np.ndarray, columns: np.ndarray) -> Any:
        """Attention of blocks `rows` with blocks `columns` of each, -1 standing for none."""
        queries = places[rows]
        keys = np.where(columns[..., None] >= 0, places[columns], -1).reshape(len(rows), -1)
        mask = scope.allowed(
            ops.convert_to_tensor(queries[:, :, None], dtype="int32"),
            ops.convert_to_tensor(keys[:, None], dtype="int32"),
        )
        mask = ops.logical_and(mask, ops.convert_to_tensor(keys[:, None] >= 0))

        def taken(tensor: Any, where: np.ndarray) -> Any:
            flat = ops.take(tensor, np.maximum(where, 0).reshape(-1), axis=1)
            return ops.reshape(flat, (-1, where.shape[1], *tensor.shape[2:]))

        seen = ops.reshape(
            ops.take(kept, np.maximum(keys, 0).reshape(-1), axis=1), (batch, len(rows), 1, -1)
        )
        mask = ops.logical_and(mask[None], seen)
        mask = ops.reshape(mask, (batch * len(rows), 1, size, keys.shape[1]))
        block_query = taken(query, queries)
        context, _ = dense_attention(
            block_query,
            taken(key, keys),
            taken(value, keys),
            mechanism=mechanism,
            mask=mask,
            score_bias=_bias(mechanism, query, queries, keys, position_weights, batch),
            score_weights=score_weights,
            dropout=dropout,
            noise=noise,
        )
        return ops.reshape(context, (batch, len(rows), size, *context.shape[2:]))

    parts: list[Any] = []
    order: list[int] = []
    for rows in (whole, gathered):
        if len(rows):
            parts.append(attend(rows, _columns(touched[rows])))
            order.extend(rows)
    context = ops.concatenate(parts, axis=1)
    context = ops.take(context, np.argsort(order), axis=1)
    return ops.reshape(context, (batch, -1, *context.shape[3:]))[:, :length]


def _split(touched: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of queries that meet more blocks than most, and the others: what costs least."""
    degrees = touched.sum(1)
    costs = {
        limit: limit * (degrees <= limit).sum() + degrees.max() * (degrees > limit).sum()
        for limit in np.unique(degrees)
    }
    limit = min(costs, key=lambda limit: costs[limit])
    return np.flatnonzero(degrees > limit), np.flatnonzero(degrees <= limit)


def _columns(touched: np.ndarray) -> np.ndarray:
    """The touched columns of every row, filled up with -1, `(rows, most touched)`."""
    most = max(int(touched.sum(1).max()), 1)
    ordered = np.argsort(~touched, axis=1, kind="stable")[:, :most]
    return np.where(np.take_along_axis(touched, ordered, axis=1), ordered, -1)


def _bias(
    mechanism: Mechanism,
    query: Any,
    queries: np.ndarray,
    keys: np.ndarray,
    position_weights: dict[str, Any] | None,
    batch: Any,
) -> Any:
    """What the positions add to the scores, `(batch x rows, heads, size, keys)`; None for none."""
    position = mechanism.position
    if position is None or not position.adds_bias:
        return None
    heads = query.shape[2]
    distances = ops.convert_to_tensor(
        (keys[:, None] - queries[:, :, None]).reshape(-1, keys.shape[1]), dtype="int32"
    )
    bias = position.bias(query, distances, heads, **(position_weights or {}))
    bias = ops.reshape(bias, (heads, *queries.shape, keys.shape[1]))
    bias = ops.transpose(bias, (1, 0, 2, 3))[None]
    bias = ops.broadcast_to(bias, (batch, *bias.shape[1:]))
    return ops.reshape(bias, (-1, heads, queries.shape[1], keys.shape[1]))
