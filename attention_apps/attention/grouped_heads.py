"""Groups of query heads that share one head of keys and values: their projections and sharing."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def refuse_groups(num_heads: int, num_key_value_heads: int) -> None:
    """Refuse query heads that cannot be shared out evenly.

    Raises:
        ValueError: when `num_heads` is no multiple of `num_key_value_heads`.
    """
    if num_heads % num_key_value_heads:
        raise ValueError(
            "Every head of keys and values serves as many query heads: `num_heads` is a multiple "
            f"of `num_key_value_heads`. Received: num_heads={num_heads}, "
            f"num_key_value_heads={num_key_value_heads}"
        )


def projection(num_heads: int, dim: int, *, use_bias: bool, **kwargs: Any) -> Any:
    """A projection of `(batch, length, any dim)` to `(batch, length, num_heads, dim)`.

    Args:
        num_heads: number of heads.
        dim: size of one head.
        use_bias: whether it adds a bias per head and dimension.
        **kwargs: Keras's arguments of an `EinsumDense`.
    """
    return keras.layers.EinsumDense(
        "abc,cde->abde",
        output_shape=(None, num_heads, dim),
        bias_axes="de" if use_bias else None,
        **kwargs,
    )


def shared_out(tensor: Any, num_heads: int) -> Any:
    """Give every query head the head of its group: `kv[h // (num_heads / num_key_value_heads)]`.

    Args:
        tensor: projected keys or values, `(batch, key, key-value heads, dim)`.
        num_heads: number of query heads.

    Returns:
        `(batch, key, heads, dim)`; the tensor itself where every query head has a head of its own.
    """
    heads = tensor.shape[-2]
    return tensor if heads == num_heads else ops.repeat(tensor, num_heads // heads, axis=-2)
