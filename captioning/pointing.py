"""Whether words look where they are: the pointing game and attention inside gold boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioning.intervals import bootstrap_interval, ratio
from captioning.word_maps import Box, WordMap, centres_inside, covered

CENTRE_DEVIATION = 0.25
"""Standard deviation of the floor that looks at the middle, as a share of each side."""
FLOORS = ("uniform", "centre", "shuffled")


def hit(weights: NDArray[np.floating], boxes: Sequence[Box]) -> float:
    """Whether the cell that is attended to most has its centre in a box.

    Args:
        weights: `(rows, columns)`.
        boxes: where the word is.

    Returns:
        1 or 0; of several equal cells the share, so that a map that is the same everywhere scores
        as one that points at random.

    Reference: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop" (the game).
    """
    return _hit(weights, centres_inside(boxes, *weights.shape))


def mass(weights: NDArray[np.floating], boxes: Sequence[Box]) -> float:
    """How much of the attention lies in the boxes; a cell that is half inside counts half.

    Args:
        weights: `(rows, columns)`, which sum to 1.
        boxes: where the word is.

    Returns:
        From 0 to 1.

    Reference: Liu et al. 2017, "Attention Correctness in Neural Image Captioning".
    """
    return float((weights * covered(boxes, *weights.shape)).sum())


def centre_map(rows: int, columns: int) -> NDArray[np.float64]:
    """A map that looks at the middle of every picture, whatever is in it.

    Args:
        rows: cells from top to bottom.
        columns: cells from left to right.

    Returns:
        `(rows, columns)`, which sum to 1.
    """
    y, x = (((np.arange(n) + 0.5) / n - 0.5) / CENTRE_DEVIATION for n in (rows, columns))
    bump = np.exp(-np.square(y) / 2)[:, None] * np.exp(-np.square(x) / 2)
    return bump / bump.sum()


def pointing(maps: Sequence[WordMap], *, seed: int = 0) -> dict[str, Any]:
    """Score all words whose place is known, beside maps that know nothing of the word.

    Args:
        maps: of words; those without boxes are left out.
        seed: of the dealing.

    Returns:
        Nothing if no word's place is known. Else `words`, `photos`; `hit` and `mass`, means over
        words with `_interval` of 95 % over photos; the same as `floor_uniform_`, `floor_centre_`
        (a Gaussian in the middle) and `floor_shuffled_` (the maps of a picture's words, dealt out
        among them anew); `hit_over_centre` and its interval; and `by_kind`, the same for every kind
        of word.
    """
    known = [one for one in maps if one.boxes]
    if not known:
        return {}
    rows = _rows(known, np.random.default_rng(seed))
    found = _figures(known, rows)
    kinds = sorted({one.kind for one in known} - {""})
    found["by_kind"] = {
        kind: _figures(
            [one for one in known if one.kind == kind], rows[[one.kind == kind for one in known]]
        )
        for kind in kinds
    }
    return found


def _rows(maps: Sequence[WordMap], random: np.random.Generator) -> NDArray[np.float64]:
    """`(words, 2 + 2 * floors)`: hit and mass of the word's own map and of those of the floors."""
    of_photo: dict[int, list[int]] = {}
    for place, one in enumerate(maps):
        of_photo.setdefault(one.photo, []).append(place)
    dealt = np.arange(len(maps))
    for places in of_photo.values():
        dealt[places] = random.permutation(places)
    size = maps[0].weights.shape
    fixed = np.full(size, 1 / maps[0].weights.size), centre_map(*size)
    # Most words share their boxes with others: those of one object are one calculation.
    gold = {boxes: _gold(boxes, *size) for boxes in {one.boxes for one in maps}}
    found = []
    for place, one in enumerate(maps):
        inside, cover = gold[one.boxes]
        compared = (one.weights, *fixed, maps[dealt[place]].weights)
        found.append([f for w in compared for f in (_hit(w, inside), float((w * cover).sum()))])
    return np.array(found)


def _gold(
    boxes: Sequence[Box], rows: int, columns: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return centres_inside(boxes, rows, columns), covered(boxes, rows, columns)


def _hit(weights: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    return float(inside[weights == weights.max()].mean())


def _figures(maps: Sequence[WordMap], rows: NDArray[np.float64]) -> dict[str, Any]:
    photos, numbers = np.unique([one.photo for one in maps], return_inverse=True)
    sums = np.zeros((len(photos), rows.shape[1] + 1))
    np.add.at(sums, numbers, np.column_stack([rows, np.ones(len(rows))]))
    names = ["hit", "mass", *(f"floor_{floor}_{f}" for floor in FLOORS for f in ("hit", "mass"))]
    found: dict[str, Any] = {"words": len(maps), "photos": len(photos)}
    for place, name in enumerate(names):
        found[name] = float(rows[:, place].mean())
    for name in ("hit", "mass"):
        found[f"{name}_interval"] = bootstrap_interval(sums, _share(names.index(name)))
    centre = names.index("floor_centre_hit")
    found["hit_over_centre"] = found["hit"] - found["floor_centre_hit"]
    found["hit_over_centre_interval"] = bootstrap_interval(
        sums, lambda total: ratio(np.array([total[0] - total[centre], total[-1]]))
    )
    return found


def _share(place: int) -> Callable[[NDArray[np.float64]], float]:
    return lambda total: ratio(total[[place, -1]])
