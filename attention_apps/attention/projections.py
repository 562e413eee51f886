"""How a layer's projections are applied."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


def by_row(dense: Any, tensor: Any) -> Any:
    """Project as if the positions of all rows were those of one.

    One product of two matrices then does what would else be a product for each row, and the
    gradient of the kernel is one product too, where a kernel for each row would be summed. The bias
    is added while heads still lie in one axis: TensorFlow then adds it in the product itself.

    Args:
        dense: a projection of the axes behind the first two.
        tensor: `(batch, length, ...)`.

    Returns:
        `(batch, length, ...)`, projected.
    """
    batch, length, *rest = ops.shape(tensor)
    contracted = tuple(tensor.shape[2:])
    if not _is_product(dense, contracted):
        projected = dense(ops.reshape(tensor, (1, -1, *rest)))
        return ops.reshape(projected, (batch, length, *ops.shape(projected)[2:]))
    size, dtype = math.prod(contracted), dense.compute_dtype
    rows = ops.cast(ops.reshape(tensor, (-1, size)), dtype)
    projected = ops.matmul(rows, ops.cast(ops.reshape(dense.kernel, (size, -1)), dtype))
    if dense.bias is not None:
        projected = projected + ops.cast(ops.reshape(dense.bias, (-1,)), dtype)
    shape = (batch, length, *dense.kernel.shape[len(contracted) :])
    return dense.activation(ops.reshape(projected, shape))


def _is_product(dense: Any, contracted: tuple[int | None, ...]) -> bool:
    """Whether a call of the layer is its kernel, bias and activation alone, over these axes."""
    if type(dense) is not keras.layers.EinsumDense or dense.quantization_mode is not None:
        return False
    kept = tuple(dense.kernel.shape[len(contracted) :])
    return (
        dense.activity_regularizer is None
        and tuple(dense.kernel.shape[: len(contracted)]) == contracted
        and tuple(dense.partial_output_shape[1:]) == kept
        and (dense.bias is None or tuple(dense.bias.shape) == kept)
    )
