"""What keeps scores small whatever the scoring: QK-norm before the product, soft cap behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops

from attention_apps.attention.scoring import WeightSpec


def qk_norm_weights(key_dim: int) -> Mapping[str, WeightSpec]:
    """What QK-norm learns: for every weight its name, shape and Keras initialiser."""
    return {"query_gain": ((key_dim,), "ones"), "key_gain": ((key_dim,), "ones")}


def qk_norm(vectors: Any, gain: Any) -> Any:
    """`gain * x / rms(x)`: queries and keys of one length, so that scores cannot grow with it.

    Args:
        vectors: projected queries or keys, `(batch, length, heads, dim)`.
        gain: `(dim,)`, learned.

    Returns:
        `(batch, length, heads, dim)`, computed in float32, of the type of `vectors`.

    Reference: Henry et al. 2020, "Query-Key Normalization for Transformers"; with a gain for every
    dimension as in Dehghani et al. 2023, "Scaling Vision Transformers to 22 Billion Parameters"
    (there with a layer norm).
    """
    wide = ops.cast(vectors, "float32")
    mean_square = ops.mean(ops.square(wide), axis=-1, keepdims=True)
    return ops.cast(wide * ops.rsqrt(mean_square + 1e-6) * ops.cast(gain, "float32"), vectors.dtype)


def soft_cap(scores: Any, cap: float) -> Any:
    """`cap tanh(s / cap)`: scores between -cap and cap, nearly unchanged where they are small.

    Args:
        scores: `(batch, heads, query, key)`.
        cap: above 0.

    Returns:
        Of the shape and type of `scores`.

    Reference: Gemma Team 2024, "Gemma 2: Improving Open Language Models at a Practical Size".
    """
    return ops.tanh(scores / cap) * cap
