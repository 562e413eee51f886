"""How a layer's projections are applied."""

from __future__ import annotations

from typing import Any

from keras import ops


def by_row(dense: Any, tensor: Any) -> Any:
    """Project as if the positions of all rows were those of one.

    One product of two matrices then does what would else be a product for each row, and the
    gradient of the kernel is one product too, where a kernel for each row would be summed.

    Args:
        dense: a projection of the axes behind the first two.
        tensor: `(batch, length, ...)`.

    Returns:
        `(batch, length, ...)`, projected.
    """
    batch, length, *rest = ops.shape(tensor)
    projected = dense(ops.reshape(tensor, (1, -1, *rest)))
    return ops.reshape(projected, (batch, length, *ops.shape(projected)[2:]))
