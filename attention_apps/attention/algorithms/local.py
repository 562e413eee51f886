"""Exact attention within a window, in time and memory that grow with the length alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras import ops

from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.masks import Mask

if TYPE_CHECKING:
    from attention_apps.attention.mechanism import Mechanism

# Smaller blocks cost more in calls than they save in products.
_SMALLEST_BLOCK = 32


def local_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mechanism: Mechanism,
    reach: tuple[Any, Any],
    scope: Mask | None = None,
    key_mask: Any = None,
    score_weights: dict[str, Any] | None = None,
    scope_weights: dict[str, Any] | None = None,
    position_weights: dict[str, Any] | None = None,
    dropout: Callable[[Any], Any] | None = None,
    noise: Callable[[Any], Any] | None = None,
) -> Any:
    """Dense attention of every block of queries with its own and the neighbouring blocks of keys.

    A block is as long as the window reaches. No more than `length x 3 blocks` scores are made,
    forward or backward; two blocks when nothing ahead may be seen.

    Args:
        query: `(batch, length, heads, dim)`.
        key: `(batch, length, heads, dim)`, of the same sequence.
        value: `(batch, length, heads, value dim)`.
        mechanism: any scoring, normalizer and positions.
        reach: how many positions behind and ahead of itself a query may see, ints or scalar
            integer tensors; 0 ahead makes it two blocks.
        scope: who may attend to whom, within the reach; None allows everything within.
        key_mask: `(batch, length)` booleans, True = may attend.
        score_weights: what the scoring learns.
        scope_weights: what the scope learns.
        position_weights: what the positions learn.
        dropout: applied to the weights before they meet the values.
        noise: draws what a normalizer adds to scores of a shape.

    Returns:
        Context `(batch, length, heads, value dim)` in the type of `value`.

    Reference: Beltagy et al. 2020, "Longformer: The Long-Document Transformer" (sliding window);
    Luong et al. 2015 (local attention).
    """
    batch, length = ops.shape(query)[0], ops.shape(query)[1]
    behind, ahead = reach
    size = _block_size(behind, ahead, length)
    num_blocks = (length + size - 1) // size
    before, after = 1, 0 if isinstance(ahead, int) and ahead == 0 else 1
    width = (before + 1 + after) * size

    def blocks(tensor: Any, *, neighbours: bool) -> Any:
        padding = ((before * size if neighbours else 0),)
        tail = num_blocks * size - length + (after * size if neighbours else 0)
        tensor = ops.pad(tensor, ((0, 0), (padding[0], tail), (0, 0), (0, 0)))
        rest = tensor.shape[2:]
        cut = ops.reshape(tensor, (batch, -1, size, *rest))
        if neighbours:
            views = [cut[:, first : first + num_blocks] for first in range(before + 1 + after)]
            cut = ops.concatenate(views, axis=2)
        return ops.reshape(cut, (-1, width if neighbours else size, *rest))

    starts = ops.arange(num_blocks)[:, None] * size
    query_positions = starts + ops.arange(size)
    key_positions = starts + ops.arange(width) - before * size
    real = ops.logical_and(key_positions >= 0, key_positions < length)[None, :, None]
    mask = real
    if scope is not None:
        allowed = scope.allowed(query_positions[:, :, None], key_positions[:, None])
        mask = ops.logical_and(mask, allowed[None])
    if key_mask is not None:
        kept = blocks(ops.cast(key_mask, "bool")[:, :, None, None], neighbours=True)
        kept = ops.reshape(kept, (batch, num_blocks, 1, width))
        mask = ops.logical_and(mask, kept)
    else:
        mask = ops.broadcast_to(mask, (batch, *tuple(ops.shape(mask))[1:]))
    rows = ops.shape(mask)[2]
    mask = ops.reshape(mask, (batch * num_blocks, 1, rows, width))
    context, _ = dense_attention(
        blocks(query, neighbours=False),
        blocks(key, neighbours=True),
        blocks(value, neighbours=True),
        mechanism=mechanism,
        mask=mask,
        distances=key_positions[0][None] - query_positions[0][:, None],
        score_weights=score_weights,
        scope_weights=scope_weights,
        position_weights=position_weights,
        dropout=dropout,
        noise=noise,
    )
    context = ops.reshape(context, (batch, num_blocks * size, *context.shape[2:]))
    return context[:, :length]


def _block_size(behind: Any, ahead: Any, length: Any) -> Any:
    """As far as the window reaches, at least so much that blocks are worth their calls."""
    if all(isinstance(number, int) for number in (behind, ahead, length)):
        return min(max(behind, ahead, _SMALLEST_BLOCK), length)
    return ops.minimum(ops.maximum(ops.maximum(behind, ahead), _SMALLEST_BLOCK), length)
