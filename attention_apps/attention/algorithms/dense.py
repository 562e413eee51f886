"""Dense attention: the whole matrix of scores, exact and simple."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

from attention_apps.attention.mechanism import Mechanism
from attention_apps.attention.normalizers import NORMALIZERS
from attention_apps.attention.predicted_window import PredictedWindow
from attention_apps.attention.scoring import SCORINGS


def dense_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mechanism: Mechanism,
    mask: Any = None,
    score_bias: Any = None,
    score_weights: Mapping[str, Any] | None = None,
    scope_weights: Mapping[str, Any] | None = None,
    dropout: Callable[[Any], Any] | None = None,
) -> tuple[Any, Any]:
    """`softmax(score(q, k)) v`, with the matrix of weights held whole.

    Memory and time grow with query x key.

    Args:
        query: `(batch, query, heads, dim)`.
        key: `(batch, key, heads, dim)`.
        value: `(batch, key, heads, value dim)`.
        mechanism: its scoring, normalizer and predicted window are used; masks and positions are
            the caller's.
        mask: booleans broadcastable to `(batch, heads, query, key)`, True = may attend.
        score_bias: added to the scores, broadcastable to `(batch, heads, query, key)`.
        score_weights: what the scoring learns.
        scope_weights: what a predicted window learns.
        dropout: applied to the weights before they meet the values.

    Returns:
        Context `(batch, query, heads, value dim)` in the type of `value`, and the weights
        `(batch, heads, query, key)` before dropout, float32.

    Reference: Vaswani et al. 2017, "Attention Is All You Need".
    """
    scores = SCORINGS[mechanism.scoring](query, key, **(score_weights or {}))
    if score_bias is not None:
        scores = scores + ops.cast(score_bias, scores.dtype)
    if isinstance(mechanism.scope, PredictedWindow):
        scores, mask = mechanism.scope.narrow(scores, query, mask, **(scope_weights or {}))
    weights = NORMALIZERS[mechanism.normalizer](scores, mask)
    applied = ops.cast(weights if dropout is None else dropout(weights), value.dtype)
    return ops.einsum("bhqk,bkhd->bqhd", applied, value), weights
