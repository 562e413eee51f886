"""What only TensorFlow's graphs can: axes whose size a loop changes, and lists of tensors.

The one file of this floor that knows a backend; it is imported, and TensorFlow with it, only where
TensorFlow computes anyway.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def is_traced() -> bool:
    """Whether a graph is being made, and nothing is computed yet."""
    return not tf.executing_eagerly()


def of_unknown_length(tensor: Any) -> Any:
    """The same tensor, of which a loop is told that its third axis may change its size.

    Args:
        tensor: `(batch, heads, slots, dim)`.

    Returns:
        The tensor, its number of slots unknown to the graph.
    """
    rows, heads, _, dim = tensor.shape
    return tf.compat.v1.placeholder_with_default(tensor, (rows, heads, None, dim))


def empty_list(length: int, element_shape: Any, dtype: str) -> Any:
    """A list of tensors of one shape, as one tensor that a loop can carry.

    Args:
        length: how many there are.
        element_shape: of each, an int32 vector.
        dtype: of each.

    Returns:
        The list, in which nothing stands yet.
    """
    return tf.raw_ops.TensorListReserve(
        element_shape=element_shape, num_elements=length, element_dtype=dtype
    )


def with_element(tensors: Any, index: Any, tensor: Any) -> Any:
    """The list with one of its tensors set.

    Args:
        tensors: as `empty_list` or the last call gave it.
        index: which, an int32 scalar.
        tensor: what is to stand there.

    Returns:
        The list.
    """
    return tf.raw_ops.TensorListSetItem(input_handle=tensors, index=index, item=tensor)


def stacked(tensors: Any, length: int, element_shape: Any, dtype: str) -> Any:
    """All tensors of a list, `(length, ...)`; zeros where none was set.

    Args:
        tensors: as `with_element` gave it.
        length: as of `empty_list`.
        element_shape: as of `empty_list`.
        dtype: as of `empty_list`.
    """
    return tf.raw_ops.TensorListStack(
        input_handle=tensors,
        element_shape=element_shape,
        element_dtype=dtype,
        num_elements=length,
    )
