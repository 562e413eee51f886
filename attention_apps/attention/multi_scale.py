"""Heads at several granularities: some look at single keys, others at the means of neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class MultiScale:
    """Heads attend to keys pooled by `factors[head mod len(factors)]` neighbours each.

    A pooled key and value are the means of those neighbours that may be attended. A causal query
    sees a pool from the last position of the pool on; an unfinished pool is seen by none.
    Scores of a head with factor f cost `query x key / f`.

    Args:
        factors: neighbours of a pool, one per head, taken in turn.

    Reference: Guo et al. 2020, "Multi-Scale Self-Attention for Text Classification" (there by
    windows of several sizes); pooled keys as in Fan et al. 2021, "Multiscale Vision Transformers".
    """

    factors: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse pools of nothing."""
        object.__setattr__(self, "factors", tuple(self.factors))
        if not self.factors or any(
            not isinstance(factor, int) or isinstance(factor, bool) or factor < 1
            for factor in self.factors
        ):
            raise ValueError(
                "Heads at several scales pool a whole number of keys of at least 1. "
                f"Received: factors={self.factors}"
            )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this scope again."""
        return {"factors": list(self.factors)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MultiScale:
        """Build the scope from what `get_config` returned."""
        return cls(tuple(config["factors"]))

    def __str__(self) -> str:
        """Write the factors."""
        return "multi-scale:" + ":".join(str(factor) for factor in self.factors)


def doubling(largest: int) -> MultiScale:
    """Factors 1, 2, 4, ... up to `largest`, a power of two.

    Raises:
        ValueError: for another number.
    """
    if largest < 2 or largest.bit_count() != 1:
        raise ValueError(f"The largest scale is a power of two from 2 on. Received: {largest}")
    return MultiScale(tuple(2**power for power in range(int(math.log2(largest)) + 1)))
