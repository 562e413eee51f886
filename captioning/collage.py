"""Several real photos in one picture: exact boxes where nobody has drawn any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioning.intervals import bootstrap_interval, ratio
from captioning.pointing import hit
from captioning.tokens import words_of
from captioning.word_maps import FUNCTION_WORDS, Box, WordMap, covered

LAYOUTS: dict[int, tuple[int, int]] = {2: (1, 2), 4: (2, 2)}
"""Photos of a collage: how many of them above and beside each other."""


_DEALINGS = 200


def part_box(part: int, parts: int) -> Box:
    """Where one of the photos lies.

    Args:
        part: its number, row by row.
        parts: how many photos there are.

    Returns:
        Its box.
    """
    rows, columns = LAYOUTS[parts]
    row, column = divmod(part, columns)
    return row / rows, column / columns, (row + 1) / rows, (column + 1) / columns


def compose(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put photos side by side, each as large as it is.

    Args:
        pixels: `(parts, height, width, 3)`.

    Returns:
        `(rows * height, columns * width, 3)`, to be brought to the size of any picture.
    """
    rows, columns = LAYOUTS[len(pixels)]
    lines = [np.concatenate(pixels[r * columns : (r + 1) * columns], axis=1) for r in range(rows)]
    return np.concatenate(lines)


def choose_collages(
    references: Sequence[Sequence[str]], parts: int, count: int, *, seed: int = 0
) -> list[tuple[int, ...]]:
    """Draw photos that people describe without a content word in common.

    Args:
        references: what people wrote of each photo.
        parts: photos of each collage.
        count: collages wanted.
        seed: of the draws.

    Returns:
        The photos of each collage in the order of reading; none comes twice. Fewer than `count` if
        the photos do not suffice.
    """
    words = [{w for t in several for w in words_of(t)} - FUNCTION_WORDS for several in references]
    left = np.random.default_rng(seed).permutation(len(references)).tolist()
    found: list[tuple[int, ...]] = []
    while left and len(found) < count:
        chosen = [left.pop(0)]
        for photo in list(left):
            if len(chosen) < parts and all(not words[photo] & words[one] for one in chosen):
                chosen.append(photo)
                left.remove(photo)
        if len(chosen) == parts:
            found.append(tuple(chosen))
    return found


def collage_figures(
    collages: Sequence[Sequence[Sequence[WordMap]]], *, seed: int = 0
) -> dict[str, Any]:
    """How much of the attention lies in the photo that the words are about.

    Every photo's caption is forced on the picture. A map that does not depend on the caption
    therefore has exactly 1/parts of its mass in the right place on average, wherever it looks, and
    so have maps that are dealt out anew among the words of a picture: how far one such dealing
    strays from that is what chance can do.

    Args:
        collages: for every collage and each of its photos the words of that photo's caption.
        seed: of the dealing.

    Returns:
        `mass`, the mean over words, then captions, then collages, with `mass_interval` of 95 %
        over collages; `chance`; `floor_shuffled_interval`, which holds 95 % of the masses of maps
        dealt out anew; `hit`, how often the cell attended to most lies in the right photo; and
        the same figures as `content_` of the words that may be somewhere in a picture.
    """
    parts = len(collages[0])
    content = [[[m for m in maps if m.is_content] for maps in captions] for captions in collages]
    return {
        "collages": len(collages),
        "parts": parts,
        "chance": 1 / parts,
        **_figures(collages, seed),
        **{f"content_{name}": value for name, value in _figures(content, seed).items()},
    }


def _figures(collages: Sequence[Sequence[Sequence[WordMap]]], seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    own, shuffled, hits = [], [], []
    for captions in collages:
        if not all(captions):
            continue  # a caption without such a word
        masses = [_masses(maps, len(captions)) for maps in captions]
        own.append(_mean_of_own(masses))
        shuffled.append([_mean_of_own(_dealt(masses, random)) for _ in range(_DEALINGS)])
        right = [
            np.mean([hit(one.weights, [part_box(part, len(captions))]) for one in maps])
            for part, maps in enumerate(captions)
        ]
        hits.append(np.mean(right))
    found: dict[str, Any] = {}
    for name, values in (("mass", own), ("hit", hits)):
        terms = np.column_stack([values, np.ones(len(values))])
        found[name] = float(np.mean(values))
        found[f"{name}_interval"] = bootstrap_interval(terms, ratio)
    by_chance = np.quantile(np.mean(shuffled, axis=0), [0.025, 0.975])
    found["floor_shuffled_interval"] = tuple(by_chance.tolist())
    return found


def _masses(maps: Sequence[WordMap], parts: int) -> NDArray[np.float64]:
    """How much of every word's attention lies in each photo, `(words, parts)`."""
    size = maps[0].weights.shape
    places = np.stack([covered([part_box(part, parts)], *size) for part in range(parts)])
    return np.einsum("wrc,prc->wp", np.stack([one.weights for one in maps]), places)


def _mean_of_own(masses: Sequence[NDArray[np.float64]]) -> float:
    return float(np.mean([one[:, part].mean() for part, one in enumerate(masses)]))


def _dealt(
    masses: Sequence[NDArray[np.float64]], random: np.random.Generator
) -> list[NDArray[np.float64]]:
    """The maps of a collage, dealt out anew among all its words."""
    ends = np.cumsum([len(one) for one in masses])[:-1]
    return np.split(random.permutation(np.concatenate(masses)), ends)
