"""Dense attention: the whole matrix of scores, exact and simple."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from keras import ops

from attention_apps.attention.adaptive_span import AdaptiveSpan
from attention_apps.attention.predicted_window import PredictedWindow
from attention_apps.attention.score_shaping import soft_cap
from attention_apps.attention.scoring import SCORINGS

if TYPE_CHECKING:
    from attention_apps.attention.mechanism import Mechanism


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
    position_weights: Mapping[str, Any] | None = None,
    distances: Any = None,
    dropout: Callable[[Any], Any] | None = None,
    noise: Callable[[Any], Any] | None = None,
) -> tuple[Any, Any]:
    """`softmax(score(q, k)) v`, with the matrix of weights held whole.

    Memory and time grow with query x key.

    Args:
        query: `(batch, query, heads, dim)`.
        key: `(batch, key, heads, dim)`.
        value: `(batch, key, heads, value dim)`.
        mechanism: its scoring, soft cap and normalizer are used, and what of its scope and
            positions acts on scores; masks and rotations are the caller's.
        mask: booleans broadcastable to `(batch, heads, query, key)`, True = may attend.
        score_bias: added to the scores, broadcastable to `(batch, heads, query, key)`.
        score_weights: what the scoring learns.
        scope_weights: what a predicted window or an adaptive span learns.
        position_weights: what the positions learn.
        distances: position of the key less that of the query, `(query, key)` integers, for scopes
            and positions that need it; None leaves the positions' bias out.
        dropout: applied to the weights before they meet the values.
        noise: draws what the normalizer adds to scores of a shape, in training.

    Returns:
        Context `(batch, query, heads, value dim)` in the type of `value`, and the weights
        `(batch, heads, query, key)` before dropout, float32.

    Reference: Vaswani et al. 2017, "Attention Is All You Need".
    """
    scores = SCORINGS[mechanism.scoring](query, key, **(score_weights or {}))
    if mechanism.soft_cap is not None:
        scores = soft_cap(scores, mechanism.soft_cap)
    position, scope = mechanism.position, mechanism.scope
    if position is not None and position.adds_bias and distances is not None:
        bias = position.bias(query, distances, query.shape[2], **(position_weights or {}))
        scores = ops.cast(scores, bias.dtype) + bias
    if score_bias is not None:
        scores = scores + ops.cast(score_bias, scores.dtype)
    if isinstance(scope, PredictedWindow):
        scores, mask = scope.narrow(scores, query, mask, **(scope_weights or {}))
    elif isinstance(scope, AdaptiveSpan):
        scores, mask = scope.narrow(scores, distances, mask, **(scope_weights or {}))
    drawn = None if noise is None else noise(ops.shape(scores))
    weights = mechanism.normalizer(scores, mask, drawn)
    applied = ops.cast(weights if dropout is None else dropout(weights), value.dtype)
    return ops.einsum("bhqk,bkhd->bqhd", applied, value), weights
