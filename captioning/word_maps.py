"""One word of a caption and where its attention lay: what every measure of attention is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""Top, left, bottom and right of a rectangle, as shares of the picture's height and width."""

FUNCTION_WORDS = frozenset(
    """
    a about across after against all along alongside also am among an and another any are around
    as at away back be because been before behind being below beside between both but by can
    different do does doing down during each either for from front had has have he her herself
    him himself his how i if in inside into is it its itself just like many middle more most
    near next nearby no not of off on one onto or other others out outside over past several she
    so some something still such than that the their them themselves then there these they this
    those through to together top toward towards two under underneath up upon very was we were
    what when where which while who whom whose will with within without you your 's n't 're 've
    'll 'd 'm <unknown>
    """.split()  # noqa: SIM905 (a list of this length cannot be read)
)
"""Words of English that are at no place of a picture."""


@dataclass(frozen=True, eq=False)
class WordMap:
    """Where the attention lay while a word was written.

    Attributes:
        photo: number of the picture.
        caption: number of the caption among those of the picture.
        word: as written.
        weights: `(rows, columns)`, which sum to 1.
        boxes: where in the picture the word is, or nothing where that is not known.
        kind: what sort of word it is, such as `object`, or nothing.
    """

    photo: int
    caption: int
    word: str
    weights: NDArray[np.float32]
    boxes: tuple[Box, ...] = ()
    kind: str = ""

    @property
    def is_content(self) -> bool:
        """Whether the word may be somewhere in the picture."""
        return self.word not in FUNCTION_WORDS


def word_maps(
    captions: Sequence[Sequence[str]],
    weights: NDArray[np.floating],
    photos: Sequence[int],
    numbers: Sequence[int] | None = None,
) -> list[WordMap]:
    """Take the maps of all words out of a padded batch.

    Args:
        captions: the words of each caption.
        weights: `(batch, words, rows, columns)`, with rows to spare behind short captions.
        photos: number of the picture of each.
        numbers: number of each among the captions of its picture; by default 0.

    Returns:
        One for each word, caption after caption. Words beyond the longest that was decoded have
        none.
    """
    found = []
    for place, words in enumerate(captions):
        number = 0 if numbers is None else numbers[place]
        for word, one in zip(words, weights[place], strict=False):
            found.append(WordMap(photos[place], number, word, np.asarray(one, np.float32)))
    return found


def covered(boxes: Sequence[Box], rows: int, columns: int) -> NDArray[np.float64]:
    """How much of each cell lies in at least one of the boxes.

    Args:
        boxes: some rectangles.
        rows: cells from top to bottom.
        columns: cells from left to right.

    Returns:
        `(rows, columns)` from 0 to 1, exact for one box; where several overlap, to 1/256 of a cell.
    """
    if len(boxes) == 1:
        top, left, bottom, right = boxes[0]
        return np.outer(_overlap(top, bottom, rows), _overlap(left, right, columns))
    fine = 16
    whole = np.zeros((rows * fine, columns * fine), bool)
    y = (np.arange(rows * fine) + 0.5) / (rows * fine)
    x = (np.arange(columns * fine) + 0.5) / (columns * fine)
    for top, left, bottom, right in boxes:
        whole |= np.outer((top <= y) & (y < bottom), (left <= x) & (x < right))
    return whole.reshape(rows, fine, columns, fine).mean(axis=(1, 3))


def centres_inside(boxes: Sequence[Box], rows: int, columns: int) -> NDArray[np.bool_]:
    """Which cells have their centre in at least one of the boxes: `(rows, columns)`."""
    y, x = (np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns
    inside = np.zeros((rows, columns), bool)
    for top, left, bottom, right in boxes:
        inside |= np.outer((top <= y) & (y < bottom), (left <= x) & (x < right))
    return inside


def _overlap(low: float, high: float, count: int) -> NDArray[np.float64]:
    """Which share of each of `count` equal parts of a side lies between two places."""
    edges = np.arange(count + 1) / count
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) * count
