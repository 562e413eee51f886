"""The choices that make an attention mechanism, in one object that refuses what makes no sense."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras

from attention_apps.attention.masks import Everything, Mask, Window
from attention_apps.attention.normalizers import NORMALIZERS
from attention_apps.attention.positions import Rotary
from attention_apps.attention.predicted_window import PredictedWindow
from attention_apps.attention.scoring import SCORINGS

ALGORITHMS = ("dense",)


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """How a layer attends: five choices.

    Attributes:
        scoring: how alike a query and a key are: `dot`, `scaled_dot`, `cosine`, `general`,
            `additive`, or `uniform`, the control that compares nothing.
        normalizer: from scores to weights: `softmax`.
        scope: who may attend to whom: a mask, or a `PredictedWindow` in another sequence.
            Causality is no part of it: the block that needs it adds it.
        position: `Rotary()` or None.
        algorithm: `dense`, or `auto`, which takes the cheapest exact one.
    """

    scoring: str = "scaled_dot"
    normalizer: str = "softmax"
    scope: Mask | PredictedWindow = field(default_factory=Everything)
    position: Rotary | None = None
    algorithm: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for choice, known in (
            ("scoring", tuple(SCORINGS)),
            ("normalizer", tuple(NORMALIZERS)),
            ("algorithm", ("auto", *ALGORITHMS)),
        ):
            if getattr(self, choice) not in known:
                raise ValueError(
                    f"`{choice}` must be one of {', '.join(known)}. "
                    f"Received: {getattr(self, choice)!r}"
                )
        if not isinstance(self.scope, Mask | PredictedWindow):
            raise ValueError(
                "`scope` must be a mask such as window(128), or a PredictedWindow. "
                f"Received: {self.scope!r}"
            )
        if self.position is not None and not isinstance(self.position, Rotary):
            raise ValueError(f"`position` must be Rotary() or None. Received: {self.position!r}")
        if self.position is not None and self.scoring == "additive":
            raise ValueError(
                "Rotary positions act through the product of query and key, which additive scoring "
                "does not form. Received: scoring='additive', position=Rotary(). "
                "Choose another scoring or add positions to the embeddings."
            )
        if self.position is not None and self.predicts_scope:
            raise ValueError(
                "Rotary positions compare places in one sequence, local-p predicts a place in "
                f"another. Received: scope={self.scope}, position={self.position}. Choose one."
            )

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
            "normalizer": self.normalizer,
            "scope": keras.saving.serialize_keras_object(self.scope),
            "position": keras.saving.serialize_keras_object(self.position),
            "algorithm": self.algorithm,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Mechanism:
        """Build the mechanism from what `get_config` returned."""
        return cls(
            **{
                **config,
                "scope": keras.saving.deserialize_keras_object(config["scope"]),
                "position": keras.saving.deserialize_keras_object(config["position"]),
            }
        )


def parse_mechanism(text: str) -> Mechanism:
    """Read a mechanism from a command's flag: short names joined by `+`.

    `full` is the default mechanism; `cosine+rotary+window:16` is cosine scoring with rotary
    positions in a window of 16.

    Args:
        text: names joined by `+`: a scoring's name, `rotary`, `window:SIZE`, `local-p:SIZE`,
            `full`.

    Returns:
        The mechanism.

    Raises:
        ValueError: when a name is unknown, a choice is made twice or the choices do not fit.
    """
    choices: dict[str, Any] = {}
    for word in text.split("+"):
        name, _, argument = word.strip().partition(":")
        choice: str
        value: Any
        if name in SCORINGS and not argument:
            choice, value = "scoring", name
        elif name == "rotary" and not argument:
            choice, value = "position", Rotary()
        elif name == "window" and argument.isdigit():
            choice, value = "scope", Window(int(argument))
        elif name == "local-p" and argument.isdigit():
            choice, value = "scope", PredictedWindow(int(argument))
        elif name == "full" and not argument:
            choice, value = "scope", Everything()
        else:
            known = ", ".join(("full", *SCORINGS, "rotary", "window:SIZE", "local-p:SIZE"))
            raise ValueError(
                f"An attention is named by words joined with '+': {known}. Received: {text!r}"
            )
        if choice in choices:
            raise ValueError(f"The {choice} of an attention can be chosen once. Received: {text!r}")
        choices[choice] = value
    return Mechanism(**choices)


def refuse_positions_across(mechanism: Mechanism) -> None:
    """Refuse a mechanism that compares positions, which two sequences do not share.

    Raises:
        ValueError: for a window or rotary positions; a predicted window is none.
    """
    scoped = not (mechanism.attends_everywhere or mechanism.predicts_scope)
    if scoped or mechanism.position is not None:
        raise ValueError(
            "Cross-attention compares two sequences, whose positions mean different things: it "
            f"takes no window and no rotary positions. Received: cross_mechanism={mechanism}"
        )
