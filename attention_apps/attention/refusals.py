"""Combinations of choices that make no sense, each refused with the sentence that says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attention_apps.attention.adaptive_span import AdaptiveSpan
from attention_apps.attention.algorithms.choices import (
    Auto,
    BlockSparse,
    Chunked,
    Dense,
    Linear,
    Local,
    LowRank,
)
from attention_apps.attention.masks import Everything, Mask
from attention_apps.attention.multi_scale import MultiScale
from attention_apps.attention.normalizers import Softmax
from attention_apps.attention.predicted_window import PredictedWindow
from attention_apps.attention.scoring import SCORINGS

if TYPE_CHECKING:
    from attention_apps.attention.mechanism import Mechanism

Condition = Callable[[Any], bool]


def _scores_products(mechanism: Mechanism) -> bool:
    return SCORINGS[mechanism.scoring].is_product


def _is_softmax(mechanism: Mechanism) -> bool:
    return isinstance(mechanism.normalizer, Softmax)


def _uses(*kinds: type) -> Condition:
    return lambda mechanism: isinstance(mechanism.algorithm, kinds)


def _biased(mechanism: Mechanism) -> bool:
    return mechanism.position is not None and mechanism.position.adds_bias


def _asks_query(mechanism: Mechanism) -> bool:
    return mechanism.position is not None and mechanism.position.asks_query


def _is_bounded(scope: Any) -> bool:
    return isinstance(scope, AdaptiveSpan) or (
        isinstance(scope, Mask) and scope.reach()[0] is not None
    )


# What is refused, and why, in the order in which it is asked.
_REFUSED: tuple[tuple[Condition, str], ...] = (
    (
        lambda m: m.position is not None and m.scoring == "additive" and not m.position.adds_bias,
        "Rotary positions act through the product of query and key, which additive scoring does "
        "not form. Choose another scoring or add positions to the embeddings.",
    ),
    (
        lambda m: m.position is not None and m.predicts_scope,
        "Positions inside attention compare places in one sequence, local-p predicts a place in "
        "another. Choose one.",
    ),
    (
        lambda m: m.position is not None and isinstance(m.scope, MultiScale),
        "A pooled key stands at several positions and has none of its own. "
        "Add positions to the embeddings.",
    ),
    (
        lambda m: m.qk_norm and m.scoring in ("cosine", "additive", "uniform"),
        "QK-norm brings vectors to one length before their product: cosine scoring does that "
        "already, additive and uniform scoring form no product. Leave it out.",
    ),
    (
        lambda m: m.soft_cap is not None and m.scoring in ("cosine", "uniform"),
        "Scores of cosine and uniform scoring are bounded as they are. Leave the soft cap out.",
    ),
    (
        lambda m: m.scoring == "uniform" and not _is_softmax(m),
        "Uniform scoring gives all keys one score, of which none can be picked. "
        "Leave the normalizer out.",
    ),
    (
        lambda m: isinstance(m.scope, AdaptiveSpan) and not _is_softmax(m),
        "An adaptive span learns through weights that fall off smoothly, as those of the softmax "
        "do. Leave the normalizer out.",
    ),
    (
        lambda m: isinstance(m.scope, AdaptiveSpan) and not _uses(Auto, Dense, Local)(m),
        "An adaptive span is computed dense or local. Choose auto.",
    ),
    (
        lambda m: isinstance(m.scope, PredictedWindow | MultiScale) and not _uses(Auto, Dense)(m),
        "A predicted window and heads at several scales have an algorithm of their own. "
        "Choose auto.",
    ),
    (
        lambda m: _uses(Chunked, Linear)(m) and not _is_softmax(m),
        "Chunked and linear attention are made for the softmax. Choose dense, or the softmax.",
    ),
    (
        lambda m: _uses(Chunked, Linear)(m) and not _scores_products(m),
        "Chunked and linear attention need scores that are products of query and key. "
        "Choose dense, or another scoring.",
    ),
    (
        lambda m: _uses(Chunked, BlockSparse)(m) and _asks_query(m),
        "Relative keys make a bias for every query, which chunked and block-sparse attention do "
        "not. Choose dense or local, or a bias by distance.",
    ),
    (
        lambda m: _uses(Local)(m) and not _is_bounded(m.scope),
        "Local attention needs a window. Add window:SIZE or span:SIZE.",
    ),
    (
        lambda m: _uses(BlockSparse)(m) and isinstance(m.scope, Everything),
        "Block-sparse attention needs a scope that leaves blocks out. Add window:SIZE.",
    ),
    (
        lambda m: _uses(LowRank, Linear)(m) and not isinstance(m.scope, Everything),
        "Low-rank and linear attention never look at single pairs and cannot leave any out. "
        "Choose local, or leave the scope out.",
    ),
    (
        lambda m: _uses(LowRank)(m) and m.position is not None,
        "Low-rank attention mixes keys of all positions. Add positions to the embeddings.",
    ),
    (
        lambda m: _uses(Linear)(m) and (_biased(m) or m.soft_cap is not None),
        "Linear attention never forms a score, so nothing can be added to it or cap it. "
        "Choose rotary positions, or another algorithm.",
    ),
)


def refuse_what_does_not_fit(mechanism: Mechanism) -> None:
    """Refuse choices that make no sense together.

    Raises:
        ValueError: saying why.
    """
    for holds, reason in _REFUSED:
        if holds(mechanism):
            raise ValueError(f"{reason} Received: {mechanism}")
