"""The choices that make an attention mechanism, in one object that refuses what makes no sense."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras

from attention_apps.attention.adaptive_span import AdaptiveSpan
from attention_apps.attention.algorithms.choices import ALGORITHMS, Algorithm
from attention_apps.attention.hard import Gumbel, Hard
from attention_apps.attention.masks import Everything, Mask
from attention_apps.attention.multi_scale import MultiScale
from attention_apps.attention.normalizers import Normalizer, Softmax
from attention_apps.attention.predicted_window import PredictedWindow
from attention_apps.attention.refusals import refuse_what_does_not_fit
from attention_apps.attention.rotary import Position
from attention_apps.attention.scoring import SCORINGS
from attention_apps.attention.sparse_normalizers import Sparsemax
from attention_apps.attention.words import WORDS

Scope = Mask | PredictedWindow | AdaptiveSpan | MultiScale

# Normalizers that need no argument; the others are given as objects, such as TopK(8).
NORMALIZERS = {kind.name: kind for kind in (Softmax, Sparsemax, Hard, Gumbel)}


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """How a layer attends: five choices, two that keep scores small, and who shares keys.

    Attributes:
        scoring: how alike a query and a key are: `dot`, `scaled_dot`, `cosine`, `general`,
            `additive`, or `uniform`, the control that compares nothing.
        normalizer: from scores to weights: `softmax`, `sparsemax`, `hard`, `gumbel`, or an object
            such as `TopK(8)`.
        scope: who may attend to whom: a mask; a `PredictedWindow` in another sequence; an
            `AdaptiveSpan` or `MultiScale` heads in one. Causality is no part of it: the block that
            needs it adds it.
        position: `Rotary()`, `Alibi()`, `RelativeBias()`, `RelativeKeys()` or None.
        algorithm: `auto`, which takes the cheapest exact one, `dense`, `chunked`, `local`,
            `block_sparse`, `low_rank`, `linear`, or an object with its sizes such as
            `Linear(256)`.
        qk_norm: bring queries and keys to one length before they are scored.
        soft_cap: keep scores between -soft_cap and soft_cap.
        num_key_value_heads: number of heads of keys and values, each shared by a group of query
            heads (Ainslie et al. 2023); None gives every query head its own.
    """

    scoring: str = "scaled_dot"
    normalizer: Any = "softmax"
    scope: Scope = field(default_factory=Everything)
    position: Position | None = None
    algorithm: Any = "auto"
    qk_norm: bool = False
    soft_cap: float | None = None
    num_key_value_heads: int | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for choice, known, kind in (
            ("normalizer", NORMALIZERS, Normalizer),
            ("algorithm", ALGORITHMS, Algorithm),
        ):
            given = getattr(self, choice)
            if isinstance(given, str) and given in known:
                object.__setattr__(self, choice, known[given]())
            elif not isinstance(given, kind):
                raise ValueError(
                    f"`{choice}` must be one of {', '.join(known)}, or an object that holds its "
                    f"numbers. Received: {given!r}"
                )
        if self.scoring not in SCORINGS:
            raise ValueError(
                f"`scoring` must be one of {', '.join(SCORINGS)}. Received: {self.scoring!r}"
            )
        if not isinstance(self.scope, Scope):
            raise ValueError(
                "`scope` must be a mask such as window(128), a PredictedWindow, an AdaptiveSpan or "
                f"MultiScale heads. Received: {self.scope!r}"
            )
        if self.position is not None and not isinstance(self.position, Position):
            raise ValueError(
                "`position` must be Rotary(), Alibi(), RelativeBias(), RelativeKeys() or None. "
                f"Received: {self.position!r}"
            )
        if self.soft_cap is not None and not self.soft_cap > 0:
            raise ValueError(f"A soft cap is above 0. Received: soft_cap={self.soft_cap!r}")
        heads = self.num_key_value_heads
        if heads is not None and (
            not isinstance(heads, int) or isinstance(heads, bool) or heads < 1
        ):
            raise ValueError(
                "`num_key_value_heads` is a whole number of at least 1, or None for as many as "
                f"there are query heads. Received: num_key_value_heads={heads!r}"
            )
        refuse_what_does_not_fit(self)

    @property
    def attends_everywhere(self) -> bool:
        """Whether the scope leaves every pair allowed."""
        return isinstance(self.scope, Everything)

    @property
    def mask(self) -> Mask | None:
        """The scope, where it is a mask and forbids anything."""
        scope = self.scope
        return scope if isinstance(scope, Mask) and not isinstance(scope, Everything) else None

    @property
    def predicts_scope(self) -> bool:
        """Whether each query predicts where it looks."""
        return isinstance(self.scope, PredictedWindow)

    def get_config(self) -> dict[str, Any]:
        """Return the choices in a form that JSON can hold."""
        return {
            "scoring": self.scoring,
            "normalizer": keras.saving.serialize_keras_object(self.normalizer),
            "scope": keras.saving.serialize_keras_object(self.scope),
            "position": keras.saving.serialize_keras_object(self.position),
            "algorithm": keras.saving.serialize_keras_object(self.algorithm),
            "qk_norm": self.qk_norm,
            "soft_cap": self.soft_cap,
            "num_key_value_heads": self.num_key_value_heads,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Mechanism:
        """Build the mechanism from what `get_config` returned."""
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(choice)
                for name, choice in config.items()
            }
        )


def parse_mechanism(text: str) -> Mechanism:
    """Read a mechanism from a command's flag: short names joined by `+`.

    `full` is the default mechanism; `cosine+rotary+window:16` is cosine scoring with rotary
    positions in a window of 16. Masks add up: `window:16+global:2` allows what either allows.

    Args:
        text: words of `words.WORDS`, joined by `+`, numbers behind colons.

    Returns:
        The mechanism.

    Raises:
        ValueError: when a word is unknown, a choice is made twice or the choices do not fit.
    """
    choices: dict[str, Any] = {}
    masks: dict[str, Mask] = {}
    for word in text.split("+"):
        name, *numbers = word.strip().split(":")
        if name not in WORDS:
            known = ", ".join(str(word) for word in WORDS.values())
            raise ValueError(
                f"An attention is named by words joined with '+': {known}. Received: {text!r}"
            )
        choice = WORDS[name].choice
        try:
            value = WORDS[name].build(numbers)
        except ValueError as error:
            raise ValueError(f"{word.strip()}: {error} Received: {text!r}") from error
        if choice in choices or name in masks:
            raise ValueError(f"The {choice} of an attention can be chosen once. Received: {text!r}")
        if choice == "mask":
            masks[name] = value
        else:
            choices[choice] = value
    if masks and "scope" in choices:
        raise ValueError(f"The scope of an attention can be chosen once. Received: {text!r}")
    for mask in masks.values():
        choices["scope"] = choices["scope"] | mask if "scope" in choices else mask
    return Mechanism(**choices)


def refuse_positions_across(mechanism: Mechanism) -> None:
    """Refuse a mechanism that compares positions, which two sequences do not share.

    Raises:
        ValueError: for a mask, a span or positions; a predicted window and pooled keys are none.
    """
    free = (Everything, PredictedWindow, MultiScale)
    if not isinstance(mechanism.scope, free) or mechanism.position is not None:
        raise ValueError(
            "Cross-attention compares two sequences, whose positions mean different things: it "
            f"takes no window and no rotary positions. Received: cross_mechanism={mechanism}"
        )
