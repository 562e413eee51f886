"""The choices that make an attention mechanism, in one object that refuses what makes no sense."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras

from attention_apps.attention.masks import Everything, Mask, Window
from attention_apps.attention.normalizers import NORMALIZERS
from attention_apps.attention.positions import Rotary
from attention_apps.attention.scoring import SCORINGS

ALGORITHMS = ("dense",)


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """How a layer attends: five choices.

    Attributes:
        scoring: how alike a query and a key are: `dot`, `scaled_dot`, `cosine`, `general` or
            `additive`.
        normalizer: from scores to weights: `softmax`.
        scope: who may attend to whom, a mask. Causality is no part of it: the block that needs it
            adds it.
        position: `Rotary()` or None.
        algorithm: `dense`, or `auto`, which takes the cheapest exact one.
    """

    scoring: str = "scaled_dot"
    normalizer: str = "softmax"
    scope: Mask = field(default_factory=Everything)
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
        if not isinstance(self.scope, Mask):
            raise ValueError(
                "`scope` must be a mask such as window(128) or everything(). "
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

    @property
    def attends_everywhere(self) -> bool:
        """Whether the scope leaves every pair allowed."""
        return isinstance(self.scope, Everything)

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
        text: names joined by `+`: a scoring's name, `rotary`, `window:SIZE`, `full`.

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
        elif name == "full" and not argument:
            choice, value = "scope", Everything()
        else:
            known = ", ".join(("full", *SCORINGS, "rotary", "window:SIZE"))
            raise ValueError(
                f"An attention is named by words joined with '+': {known}. Received: {text!r}"
            )
        if choice in choices:
            raise ValueError(f"The {choice} of an attention can be chosen once. Received: {text!r}")
        choices[choice] = value
    return Mechanism(**choices)
