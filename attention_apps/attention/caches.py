"""Keys and values of the positions decoded so far: a buffer of slots, or as many as there are."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Cache = dict[str, Any]


def empty_cache(
    batch_size: Any,
    num_heads: int,
    slots: int,
    dims: dict[str, int],
    *,
    dtype: Any,
    growing: bool,
) -> Cache:
    """A cache that holds no position yet.

    Args:
        batch_size: number of rows, an int or a scalar tensor.
        num_heads: number of heads of keys and values.
        slots: how many positions a buffer holds.
        dims: size of a vector by its name, such as `key` and `value`.
        dtype: of the vectors.
        growing: begin without a slot, of an unknown number, where a loop may change shapes: in
            TensorFlow's graphs. Elsewhere it is a buffer all the same.

    Returns:
        Zeros `(batch, heads, slots, dim)` by name.
    """
    shape = (batch_size, num_heads, slots)
    if growing and keras.backend.backend() == "tensorflow":
        from attention_apps.attention import tensorflow_graphs as graphs

        if graphs.is_traced():
            of_none = {
                name: ops.zeros((*shape[:2], 0, dim), dtype=dtype) for name, dim in dims.items()
            }
            return {name: graphs.of_unknown_length(tensor) for name, tensor in of_none.items()}
    return {name: ops.zeros((*shape, dim), dtype=dtype) for name, dim in dims.items()}


def with_position(cache: Cache, new: Cache, position: Any) -> tuple[Cache, Any, Any]:
    """Add one position to a cache; a buffer that is full loses its oldest.

    In TensorFlow's graphs an update of a buffer copies all of it, and what grows is copied as far
    as it is filled: at 100 positions a step of a beam search is twice as fast.

    Args:
        cache: as `empty_cache` or the last call gave it, filled up to `position`.
        new: vectors of the new position, `(batch, 1, heads, dim)` by name.
        position: its index, an int32 scalar.

    Returns:
        The cache, the position that stands in each slot, `(slots,)` int32, below 0 where none
        does, and whether a slot holds one, `(slots,)` booleans, or None where all do.
    """
    new = {name: ops.transpose(tensor, (0, 2, 1, 3)) for name, tensor in new.items()}
    slots = next(iter(cache.values())).shape[2]
    if slots is None:
        grown = {name: ops.concatenate([cache[name], new[name]], axis=2) for name in cache}
        return grown, ops.arange(position + 1, dtype="int32"), None
    start = (0, 0, position % slots, 0)
    written = {name: ops.slice_update(cache[name], start, new[name]) for name in cache}
    # Slots are written in turn: this is the newest position that can stand in each.
    positions = position - (position - ops.arange(slots, dtype="int32")) % slots
    return written, positions, positions >= 0
