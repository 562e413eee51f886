"""Attention when the next item is predicted: how wide it is, and whether it finds the cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_apps.observation.health import relative_entropy
from recommendation.recommend import recommend_all
from recommendation.splits import Cases

Place = tuple[int, int | None]
"""A block, and one of its heads or None for their mean."""


def caused(cases: Cases, *, most: int = 2000) -> Cases:
    """The cases whose next item has a known cause.

    Args:
        cases: of any kind.
        most: how many are kept, the first.

    Returns:
        Some of the cases, perhaps none.
    """
    causes = cases.causes()
    known = np.flatnonzero(causes >= 0)[:most] if causes is not None else np.zeros(0, np.int64)
    return Cases(cases.name, cases.interactions, cases.users[known], cases.places[known])


def attention_of(recommend: Any, cases: Cases) -> list[NDArray[np.float32]]:
    """How the items of each history are attended to when the next one is predicted.

    Args:
        recommend: `Recommend`, or a SavedModel made from one.
        cases: whose histories are read.

    Returns:
        For every case `(layers, heads, history)`.
    """
    keys = cases.interactions.items.keys
    histories = [[keys[item - 1] for item in cases.history(case)] for case in range(len(cases))]
    given = [cases.times(case) for case in range(len(cases))]
    times = [row for row in given if row is not None] or None  # all have times, or none has
    return [row["attention"] for row in recommend_all(recommend, histories, times, attention=True)]


def hits(maps: Sequence[NDArray[np.float32]], cases: Cases, place: Place) -> NDArray[np.bool_]:
    """Whether the item attended to most is the cause.

    Args:
        maps: for every case `(layers, heads, history)`.
        cases: with known causes.
        place: the block and head that are read.

    Returns:
        `(cases,)`.
    """
    causes = cases.causes()
    assert causes is not None
    pairs = zip(maps, causes, strict=True)
    return np.array([read(weights, place).argmax() == cause for weights, cause in pairs])


def hit_rates(maps: Sequence[NDArray[np.float32]], cases: Cases) -> dict[Place, float]:
    """Share of hits wherever one may read attention.

    Args:
        maps: for every case `(layers, heads, history)`.
        cases: with known causes.

    Returns:
        By block and head; head None is the mean of the block's heads.
    """
    layers, heads = maps[0].shape[:2]
    places = [(layer, head) for layer in range(layers) for head in (None, *range(heads))]
    return {place: float(hits(maps, cases, place).mean()) for place in places}


def hit_rate_by_lag(
    maps: Sequence[NDArray[np.float32]], cases: Cases, place: Place
) -> dict[str, float]:
    """How often the cause is found, by how many items back it lies.

    Args:
        maps: for every case `(layers, heads, history)`.
        cases: with known causes.
        place: the block and head that are read.

    Returns:
        Shares for causes 1 item back (the most recent one), 2 to 10, and more.
    """
    found = hits(maps, cases, place)
    lags = np.array([weights.shape[-1] for weights in maps]) - cases.causes()
    bands = {"1 back": lags == 1, "2 to 10": (lags > 1) & (lags <= 10), "more": lags > 10}
    return {name: float(found[inside].mean()) for name, inside in bands.items() if inside.any()}


def read(weights: NDArray[np.float32], place: Place) -> NDArray[np.float32]:
    """One map of a history.

    Args:
        weights: `(layers, heads, history)`.
        place: which block and head.

    Returns:
        `(history,)`.
    """
    layer, head = place
    return weights[layer].mean(axis=0) if head is None else weights[layer, head]


def entropy_by_head(maps: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """How widely each head looks when the next item is predicted: 0 at one item, 1 at all alike.

    Args:
        maps: for every case `(layers, heads, history)`.

    Returns:
        The entropy of the weights as a share of the largest possible, the mean over cases, by
        `block 0 head 0` and so on.
    """
    found = {}
    for layer in range(len(maps[0])):
        rows = [relative_entropy(weights[layer][:, None]) for weights in maps]
        for head, value in enumerate(np.nanmean(rows, axis=0)):
            found[f"block {layer} head {head}"] = float(value)
    return found


def floors_of_causes(cases: Cases, films: Any) -> dict[str, float]:
    """What one gets without a model, and what could be got at most.

    Args:
        cases: with known causes.
        films: the catalogue of the embedded data.

    Returns:
        `floor_uniform` (any item of the history), `floor_most_recent`, and `best_possible`: the
        rule by which the data was made.
    """
    from recommendation.synthetic import likeliest_cause

    causes = cases.causes()
    assert causes is not None
    histories = [cases.history(case) for case in range(len(cases))]
    guesses = [likeliest_cause(films, [int(item) - 1 for item in h]) for h in histories]
    return {
        "floor_uniform": float(np.mean([1 / len(history) for history in histories])),
        "floor_most_recent": float(
            np.mean([c == len(h) - 1 for c, h in zip(causes, histories, strict=True)])
        ),
        "best_possible": float(np.mean([g == c for g, c in zip(guesses, causes, strict=True)])),
    }
