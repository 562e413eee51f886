"""Figures of health that call for a look: each with its bound and what it means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Alarm:
    """A bound on a figure.

    Attributes:
        figure: its name in `health`, or `token_similarity`, `head_gradient_ratio`.
        bound: from here on it is worth a look.
        is_floor: whether the figure should stay above the bound, else below.
        meaning: what it says when it does not.
    """

    figure: str
    bound: float
    is_floor: bool
    meaning: str

    def rings(self, value: float) -> bool:
        """Whether the value lies beyond the bound, or is no number."""
        if math.isnan(value):
            return True
        return value < self.bound if self.is_floor else value > self.bound


# Bounds are where the figure is nearly at the end of its range; none says that a model is wrong.
ALARMS: tuple[Alarm, ...] = (
    Alarm(
        "relative_entropy",
        0.05,
        True,
        "entropy collapse: rows put nearly all weight on one key, gradients through the softmax "
        "vanish; lower the learning rate, warm up longer, or use qk-norm",
    ),
    Alarm(
        "relative_entropy",
        0.98,
        False,
        "uniformity: heads hardly choose among keys, the layer averages; beside `uniform` it may "
        "do no better",
    ),
    Alarm(
        "logit_range",
        50.0,
        False,
        "logits grow: scores of one row lie so far apart that float16 and the softmax lose the "
        "lower ones; use qk-norm or soft-cap",
    ),
    Alarm(
        "query_independence",
        0.95,
        False,
        "dead heads: every query attends in the same way, whatever it asks",
    ),
    Alarm(
        "nearest_head_similarity",
        0.95,
        False,
        "redundant heads: some head does what another does; fewer would do",
    ),
    Alarm(
        "sink_mass",
        0.8,
        False,
        "a sink: one key draws most of the attention, often the first or an end mark, and says "
        "little about what was read",
    ),
    Alarm(
        "token_similarity",
        0.95,
        False,
        "over-smoothing: the tokens of a layer have become nearly one",
    ),
    Alarm(
        "head_gradient_ratio",
        100.0,
        False,
        "heads learn at very different speeds: one has a hundred times the gradient of another",
    ),
)


def alarms(figures: Mapping[str, float]) -> list[str]:
    """Name the figures that lie beyond a bound.

    Args:
        figures: values by tag, `<figure>/<layer>`.

    Returns:
        One line for each, in the order of the tags.
    """
    lines = []
    for tag, value in figures.items():
        name, _, layer = tag.partition("/")
        for alarm in ALARMS:
            if alarm.figure == name and alarm.rings(value):
                side = "below" if alarm.is_floor else "above"
                said = "is no number" if math.isnan(value) else f"{side} {alarm.bound:g}"
                lines.append(f"{layer}: {name} {value:.3g}, {said}: {alarm.meaning}")
                break
    return lines
