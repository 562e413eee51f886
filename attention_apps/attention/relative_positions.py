"""Positions that bias scores by the distance of key and query: ALiBi, T5's buckets, Shaw's vectors.

Distances are whole numbers until they become a float32 bias: bfloat16 cannot tell 257 from 258.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from attention_apps.attention.rotary import Position
from attention_apps.attention.scoring import WeightSpec


def alibi_slopes(num_heads: int) -> list[float]:
    """Slope of every head: `2^(-8 i / n)`, i = 1 to n, where n is a power of two.

    Otherwise those of the power of two below, then every second one of the power above.
    """
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-8.0 * head / power) for head in range(1, power + 1)]
    between = [2.0 ** (-4.0 * head / power) for head in range(1, 2 * power + 1, 2)]
    return slopes + between[: num_heads - power]


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Alibi(Position):
    """`-m_h |k - q|` added to the scores: the farther, the less; nothing is learned.

    The distance counts in both directions, so that it means something without causality too.

    Reference: Press et al. 2022, "Train Short, Test Long: Attention with Linear Biases Enables
    Input Length Extrapolation".
    """

    adds_bias = True

    def bias(self, query: Any, distances: Any, num_heads: int, **weights: Any) -> Any:
        """See `Position.bias`."""
        slopes = ops.convert_to_tensor(alibi_slopes(num_heads), dtype="float32")
        return -slopes[:, None, None] * ops.cast(ops.abs(distances), "float32")

    def __str__(self) -> str:
        """Write the word of a flag that chooses these positions."""
        return "alibi"


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class RelativeBias(Position):
    """`b_h[bucket(k - q)]` added to the scores, one number learned per head and bucket.

    Half the buckets are for keys behind the query, half for those before it. Of each half, one half
    are single distances, the others grow geometrically up to `max_distance`; beyond, all are one.

    Args:
        num_buckets: an even number.
        max_distance: from here on distances are not told apart.

    Reference: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified
    Text-to-Text Transformer".
    """

    num_buckets: int = 32
    max_distance: int = 128

    adds_bias = True

    def __post_init__(self) -> None:
        """Refuse buckets that cannot be shared out."""
        if self.num_buckets < 4 or self.num_buckets % 4:
            raise ValueError(
                "Buckets of relative positions come in fours: two directions, near and far. "
                f"Received: num_buckets={self.num_buckets}"
            )
        if self.max_distance <= self.num_buckets // 4:
            raise ValueError(
                f"The {self.num_buckets // 4} nearest distances have a bucket of their own; "
                "max_distance must lie beyond them. "
                f"Received: max_distance={self.max_distance}"
            )

    def buckets(self, distances: Any) -> Any:
        """Bucket of every distance, integers from 0 to `num_buckets - 1`."""
        half, exact = self.num_buckets // 2, self.num_buckets // 4
        distances = ops.cast(distances, "int32")
        size = ops.abs(distances)
        share = ops.log(ops.cast(ops.maximum(size, 1), "float32") / exact) / math.log(
            self.max_distance / exact
        )
        far = exact + ops.cast(share * (half - exact), "int32")
        bucket = ops.where(size < exact, size, ops.minimum(far, half - 1))
        return bucket + ops.where(distances > 0, half, 0)

    def weights(self, num_heads: int, key_dim: int) -> Mapping[str, WeightSpec]:
        """See `Position.weights`."""
        return {"relative_bias": ((self.num_buckets, num_heads), "glorot_uniform")}

    def bias(self, query: Any, distances: Any, num_heads: int, **weights: Any) -> Any:
        """See `Position.bias`."""
        table = ops.cast(weights["relative_bias"], "float32")
        return ops.transpose(ops.take(table, self.buckets(distances), axis=0), (2, 0, 1))

    def __str__(self) -> str:
        """Write the word of a flag that chooses these positions."""
        return f"relative-bias:{self.max_distance}"


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class RelativeKeys(Position):
    """`q . a[clip(k - q)] / sqrt(dim)` added to the scores, one vector learned per distance.

    Shared by the heads. The paper also adds such vectors to the values, and finds that this brings
    nothing more; here values stay as they are.

    Args:
        max_distance: farther keys count as being this far.

    Reference: Shaw et al. 2018, "Self-Attention with Relative Position Representations".
    """

    max_distance: int = 16

    adds_bias = True
    asks_query = True

    def __post_init__(self) -> None:
        """Refuse to tell no distance apart."""
        if self.max_distance < 1:
            raise ValueError(
                f"Relative keys need a distance of at least 1. Received: {self.max_distance}"
            )

    def weights(self, num_heads: int, key_dim: int) -> Mapping[str, WeightSpec]:
        """See `Position.weights`."""
        return {"relative_keys": ((2 * self.max_distance + 1, key_dim), "glorot_uniform")}

    def bias(self, query: Any, distances: Any, num_heads: int, **weights: Any) -> Any:
        """See `Position.bias`."""
        query = ops.cast(query, "float32") / math.sqrt(query.shape[-1])
        table = ops.cast(weights["relative_keys"], "float32")
        by_distance = ops.einsum("bqhd,rd->bhqr", query, table)
        clipped = ops.clip(distances, -self.max_distance, self.max_distance) + self.max_distance
        # A one-hot product instead of a gather: its gradient is a product too, not a scatter.
        is_distance = ops.one_hot(clipped, 2 * self.max_distance + 1, dtype="float32")
        return ops.einsum("bhqr,qkr->bhqk", by_distance, is_distance)

    def __str__(self) -> str:
        """Write the word of a flag that chooses these positions."""
        return f"relative-keys:{self.max_distance}"
