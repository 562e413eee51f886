"""Several attention axes folded into one: `(batch, ..., dim)` to `(outer, inner, heads, dim)`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

Sizes = tuple[Any, ...]


class FoldedAxes:
    """Moves the attended axes of projected tensors together, and back.

    Args:
        rank: number of axes of a projected tensor, `(batch, ..., heads, dim)`.
        attended: the axes that are attended over.
    """

    def __init__(self, rank: int, attended: Sequence[int]) -> None:
        self._rank = rank
        self._attended = tuple(attended)
        self._kept = tuple(axis for axis in range(rank - 2) if axis not in self._attended)
        self._order = (*self._kept, *self._attended, rank - 2, rank - 1)

    def fold(self, tensor: Any) -> tuple[Any, Sizes, Sizes]:
        """Fold a tensor to `(outer, inner, heads, dim)`; also gives the sizes that were folded."""
        tensor = ops.transpose(tensor, self._order)
        shape = tuple(ops.shape(tensor))
        outer, inner = shape[: len(self._kept)], shape[len(self._kept) : self._rank - 2]
        folded = (math.prod(outer), math.prod(inner), *shape[-2:])
        return ops.reshape(tensor, folded), outer, inner

    def fold_mask(self, mask: Any, outer: Sizes, query_axes: Sizes, key_axes: Sizes) -> Any:
        """Fold a mask of Keras's shape to `(outer, heads, query, key)`; None stays None."""
        if mask is None:
            return None
        for _ in range(len(self._kept) + 1 + 2 * len(self._attended) - len(mask.shape)):
            mask = ops.expand_dims(mask, axis=-2 * len(self._attended) - 1)
        heads = mask.shape[len(self._kept)]
        mask = ops.broadcast_to(mask, (*outer, heads, *query_axes, *key_axes))
        return ops.reshape(mask, (math.prod(outer), -1, math.prod(query_axes), math.prod(key_axes)))

    def unfold(self, context: Any, outer: Sizes, query_axes: Sizes) -> Any:
        """Bring `(outer, inner, heads, dim)` back to the axes' own order."""
        context = ops.reshape(context, (*outer, *query_axes, *ops.shape(context)[2:]))
        return ops.transpose(context, [self._order.index(axis) for axis in range(self._rank)])

    def unfold_weights(self, weights: Any, outer: Sizes, query_axes: Sizes, key_axes: Sizes) -> Any:
        """Bring `(outer, heads, query, key)` to Keras's `(..., heads, queries..., keys...)`."""
        return ops.reshape(weights, (*outer, weights.shape[1], *query_axes, *key_axes))
