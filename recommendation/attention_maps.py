"""What the axes of this room's attention mean: items of a history, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_apps.observation.observe import observe
from attention_apps.observation.record import AttentionRecord, Axis
from recommendation.batches import before_the_last, padded
from recommendation.splits import Cases

NEXT = "→ next"


@dataclass(frozen=True)
class Probe:
    """A fixed batch whose attention is watched: real histories with their known causes.

    Attributes:
        history: `(batch, length)` item numbers, padded in front.
        times: `(batch, length)` seconds before the last item, or None where they are not known.
        titles: of the items of each history.
        gold: for each history `(query, key)` or None where causes are not known.
        names: what tells the examples apart.
        cases: their places among the cases.
    """

    history: NDArray[np.int32]
    times: NDArray[np.int32] | None
    titles: list[list[str]]
    gold: list[NDArray[np.float32] | None]
    names: list[str]
    cases: list[int]

    @classmethod
    def of(cls, cases: Cases, max_length: int, count: int) -> Probe:
        """Take histories of ordinary length, first those whose next item has a known cause.

        Args:
            cases: the validation.
            max_length: most items of a history.
            count: number of histories.

        Returns:
            The probe.
        """
        lengths = cases.places - cases.interactions.offsets[cases.users]
        fitting = np.flatnonzero((lengths >= 6) & (lengths <= 24))
        causes = cases.causes()
        if causes is not None:
            fitting = fitting[np.argsort(causes[fitting] < 0, kind="stable")]
        chosen = [int(case) for case in fitting[:count]] or list(range(min(count, len(cases))))
        histories = [cases.history(case)[-max_length:] for case in chosen]
        times = [cases.times(case) for case in chosen]
        known = [before_the_last(row) for row in times if row is not None]
        items = cases.interactions.items
        return cls(
            history=padded(histories, max_length),
            times=padded(known, max_length) if known else None,
            titles=[[items.title(int(item)) for item in history] for history in histories],
            gold=[_gold(cases, case, max_length) for case in chosen],
            names=[cases.interactions.users[cases.users[case]] for case in chosen],
            cases=chosen,
        )


def _gold(cases: Cases, case: int, max_length: int) -> NDArray[np.float32] | None:
    """`(query, key)` of one history: 1 where the item after the query was caused by the key."""
    causes = cases.interactions.causes
    if causes is None:
        return None
    begin = cases.interactions.offsets[cases.users[case]]
    end = cases.places[case]
    first = max(0, end - begin - max_length)  # the first item that is shown
    of_next = causes[begin + first + 1 : end + 1] - first
    gold = np.zeros((len(of_next), len(of_next)), np.float32)
    known = np.flatnonzero(of_next >= 0)
    gold[known, of_next[known]] = 1
    return gold


def attention_maps(model: Any, probe: Probe) -> list[AttentionRecord]:
    """Every attention map of the model on the probe.

    For sasrec a row is labelled with the latest item that is known when the next one is predicted:
    what is attended to in it is what led to the prediction. For bert4rec that is the last row, of
    the hidden item behind the history.

    Args:
        model: the recommender.
        probe: the fixed batch.

    Returns:
        A record for every block and history, with gold where causes are known.
    """
    question = model.question(probe.history, probe.times if model.time_bias else None)
    _, maps = observe(model)(question, training=False)
    records = []
    for path, weights in maps.items():
        for index, (titles, gold) in enumerate(zip(probe.titles, probe.gold, strict=True)):
            query, key = _axes(titles, causal=model.kind == "sasrec")
            records.append(
                AttentionRecord(
                    weights=np.asarray(weights[index])[:, -len(key) :, -len(key) :],
                    layer=path,
                    query=Axis(query, kind="items"),
                    key=Axis(key, kind="items"),
                    gold=gold if model.kind == "sasrec" else _gold_of_last(gold),
                    title=probe.names[index],
                )
            )
    return records


def _axes(titles: Sequence[str], *, causal: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    labels = tuple(titles) if causal else (*titles, NEXT)
    return labels, labels


def _gold_of_last(gold: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """The gold of what comes next alone, with a row and a column for the hidden item."""
    if gold is None:
        return None
    wide = np.zeros((len(gold) + 1, len(gold) + 1), np.float32)
    wide[-1, :-1] = gold[-1]
    return wide
