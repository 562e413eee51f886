"""From scores to weights: the one masked softmax that every path uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

# Finite, so that a row without any attendable key has finite gradients.
_LOWEST = -3.0e38


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
    if scores.dtype != "float64":
        scores = ops.cast(scores, "float32")
    if mask is None:
        return ops.softmax(scores, axis=-1)
    mask = ops.cast(mask, "bool")
    weights = ops.softmax(ops.where(mask, scores, ops.cast(_LOWEST, scores.dtype)), axis=-1)
    return ops.where(mask, weights, ops.cast(0.0, weights.dtype))


Normalizer = Callable[..., Any]

NORMALIZERS: Mapping[str, Normalizer] = {"softmax": masked_softmax}
