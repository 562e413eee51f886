"""Special subwords, and from the texts of subwords to the words they belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SPACE = "▁"
"""The mark with which a subword opens a word."""
PAD, START, END, UNKNOWN = 0, 1, 2, 3
"""Ids with which every vocabulary begins."""
SPECIAL = ("", "<s>", "</s>")
"""Texts of padding, start and end."""


def words_of(tokens: Sequence[str]) -> np.ndarray:
    """Tell which word each subword belongs to.

    Args:
        tokens: texts of the subwords of one sentence.

    Returns:
        `(subwords,)` int: index of the word, -1 for start, end and padding.
    """
    index, words = -1, []
    for token in tokens:
        if token in SPECIAL:
            words.append(-1)
            continue
        # A bare mark opens the word whose letters follow.
        if token.startswith(SPACE) or index < 0:
            index += 1
        words.append(index)
    return np.array(words, dtype=np.int64)
