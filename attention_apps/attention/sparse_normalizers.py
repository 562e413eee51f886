"""Normalizers that leave keys out altogether: sparsemax and the softmax of the best few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from attention_apps.attention.normalizers import (
    Normalizer,
    emptied,
    lowered,
    masked_softmax,
    widened,
)


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Sparsemax(Normalizer):
    """`argmin_p ||p - s||^2` over distributions p: `max(s - t, 0)`, many weights exactly 0.

    The threshold t makes a row sum to 1. Sorting costs `query x key log key`.

    Reference: Martins and Astudillo 2016, "From Softmax to Sparsemax".
    """

    name = "sparsemax"

    def __call__(self, scores: Any, mask: Any = None, noise: Any = None) -> Any:
        """See `Normalizer.__call__`."""
        scores = lowered(widened(scores), mask)
        highest = ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
        # A score 1 below the highest has no weight, so nothing changes when it is raised to that;
        # and what is masked stays out of all sums that way.
        scores = ops.maximum(scores - highest, ops.cast(-1.0, scores.dtype))
        ordered = ops.flip(ops.sort(ops.stop_gradient(scores), axis=-1), axis=-1)
        ranks = ops.cumsum(ops.ones_like(ordered), axis=-1)
        is_kept = ops.cast(1.0 + ranks * ordered > ops.cumsum(ordered, axis=-1), scores.dtype)
        count = ops.sum(is_kept, axis=-1, keepdims=True)
        threshold = (ops.sum(ordered * is_kept, axis=-1, keepdims=True) - 1.0) / count
        # Again, over the scores themselves: this is where gradients pass.
        support = scores > threshold
        total = ops.sum(emptied(scores, support), axis=-1, keepdims=True)
        count = ops.sum(ops.cast(support, scores.dtype), axis=-1, keepdims=True)
        return emptied(emptied(scores - (total - 1.0) / count, support), mask)

    def __str__(self) -> str:
        """Write the word of a flag that chooses this normalizer."""
        return self.name


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class TopK(Normalizer):
    """Softmax over the `count` highest scores of a row; keys as high as the last of them stay too.

    The whole row is scored and sorted: it is sharper than the softmax, not cheaper.

    Args:
        count: how many keys a query attends to.

    Reference: Gupta et al. 2021, "Memory-efficient Transformers via Top-k Attention".
    """

    count: int

    name = "top-k"

    def __post_init__(self) -> None:
        """Refuse to keep nothing."""
        if not isinstance(self.count, int) or isinstance(self.count, bool) or self.count < 1:
            raise ValueError(
                f"Top-k keeps a whole number of keys of at least 1. Received: {self.count!r}"
            )

    def __call__(self, scores: Any, mask: Any = None, noise: Any = None) -> Any:
        """See `Normalizer.__call__`."""
        scores = lowered(widened(scores), mask)
        ordered = ops.sort(ops.stop_gradient(scores), axis=-1)
        place = ops.maximum(ops.shape(scores)[-1] - self.count, 0)
        lowest_kept = ops.take(ordered, ops.reshape(place, (1,)), axis=-1)
        kept = scores >= lowest_kept
        if mask is not None:
            kept = ops.logical_and(kept, ops.cast(mask, "bool"))
        return masked_softmax(scores, kept)

    def __str__(self) -> str:
        """Write the word of a flag that chooses this normalizer."""
        return f"{self.name}:{self.count}"
