"""From scores to weights: the one masked softmax that every path uses, and what may replace it.

A normalizer is a small frozen object: called with scores and a mask it gives weights, float32,
whose rows sum to 1, or to 0 where nothing may be attended. What is masked cannot matter, whatever
it holds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import keras
from keras import ops

# Finite, so that a row without any attendable key has finite gradients.
LOWEST = -3.0e38


def masked_softmax(scores: Any, mask: Any = None) -> Any:
    """Softmax over the keys that may be attended: `exp(s) / sum(exp(s))`, in float32.

    A row in which nothing may be attended gives zeros, with zero gradients. A masked score cannot
    matter, whatever it holds.

    Args:
        scores: `(batch, heads, query, key)`, any floating type.
        mask: booleans broadcastable to `scores`, True = may attend; None allows everything.

    Returns:
        Weights `(batch, heads, query, key)`, float32 (float64 for float64 scores); each row sums
        to 1, or to 0 where nothing may be attended.
    """
    scores = widened(scores)
    if mask is None:
        return ops.softmax(scores, axis=-1)
    mask = ops.cast(mask, "bool")
    return emptied(ops.softmax(lowered(scores, mask), axis=-1), mask)


def widened(scores: Any) -> Any:
    """Scores in float32, in float64 where they are that already."""
    return scores if scores.dtype == "float64" else ops.cast(scores, "float32")


def lowered(scores: Any, mask: Any) -> Any:
    """Scores with the lowest number where `mask` forbids; unchanged for None."""
    if mask is None:
        return scores
    return ops.where(ops.cast(mask, "bool"), scores, ops.cast(LOWEST, scores.dtype))


def emptied(weights: Any, mask: Any) -> Any:
    """Weights with zeros where `mask` forbids; unchanged for None."""
    if mask is None:
        return weights
    return ops.where(ops.cast(mask, "bool"), weights, ops.cast(0.0, weights.dtype))


class Normalizer:
    """Makes weights of scores.

    Attributes:
        name: by which a flag chooses it.
        draws: whether training adds noise to the scores.
    """

    name: ClassVar[str]
    draws: ClassVar[bool] = False

    def __call__(self, scores: Any, mask: Any = None, noise: Any = None) -> Any:
        """Make weights.

        Args:
            scores: `(batch, heads, query, key)`, any floating type.
            mask: booleans broadcastable to `scores`, True = may attend; None allows everything.
            noise: of the shape of `scores`, in training, for a normalizer that draws.

        Returns:
            Weights `(batch, heads, query, key)`, float32 (float64 for float64 scores).
        """
        raise TypeError(f"{type(self).__name__} must define `__call__`.")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this normalizer again."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Normalizer:
        """Build the normalizer from what `get_config` returned."""
        return cls(**config)


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Softmax(Normalizer):
    """`exp(s) / sum(exp(s))`: every key that may be attended gets something."""

    name = "softmax"

    def __call__(self, scores: Any, mask: Any = None, noise: Any = None) -> Any:
        """See `Normalizer.__call__`."""
        return masked_softmax(scores, mask)

    def __str__(self) -> str:
        """Write the word of a flag that chooses this normalizer."""
        return self.name
