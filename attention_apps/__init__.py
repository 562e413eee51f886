"""Attention for Keras: mechanisms that compose, maps that can be seen, measured and served.

Names are imported when they are first used, so that importing the package stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "attention.layers": (
        "AdditiveAttention",
        "Attention",
        "GroupedQueryAttention",
        "MultiHeadAttention",
    ),
    "attention.blocks": ("CausalBlock", "DecoderBlock", "EncoderBlock"),
    "attention.mechanism": ("Mechanism", "parse_mechanism"),
    "attention.predicted_window": ("PredictedWindow",),
    "attention.stepwise": ("StepwiseAttention",),
    "attention.adaptive_span": ("AdaptiveSpan",),
    "attention.multi_scale": ("MultiScale",),
    "attention.random_blocks": ("RandomBlocks",),
    "attention.sparse_normalizers": ("Sparsemax", "TopK"),
    "attention.hard": ("Gumbel", "Hard", "moved_baseline", "reinforce", "sample_place"),
    "attention.relative_positions": ("Alibi", "RelativeBias", "RelativeKeys"),
    "attention.algorithms.choices": ("BlockSparse", "Chunked", "Linear", "LowRank"),
    "attention.masks": ("causal", "everything", "global_tokens", "window"),
    "attention.positions": ("LearnedPositions", "Rotary", "SinusoidalPositions"),
    "attention.hypotheses": ("Decoded", "Rules"),
    "attention.decoding": ("beam_search", "greedy", "sample"),
    "observation.observe": ("observe",),
    "observation.rollout": ("attention_rollout",),
    "observation.states": ("observe_states",),
    "observation.record": ("AttentionRecord", "Axis"),
    "observation.tensorboard": ("AttentionLog",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
