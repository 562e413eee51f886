"""Words of captions and their numbers.

Captions are split into whole words, not subwords: each word is shown with where the model looked
for it and compared with the box of what it names, captions use few words, and scores count words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attention_apps.attention.hypotheses import Rules
from attention_apps.running.command import UserError
from captioning.tokens import words_of

PAD, START, END, UNKNOWN = 0, 1, 2, 3
"""Ids with which every vocabulary begins."""
SPECIAL = ("", "<s>", "</s>", "<unknown>")
"""Texts of these."""


def caption_rules(max_length: int, length_penalty: Any) -> Rules:
    """What every search for a caption keeps to.

    Args:
        max_length: most ids of a caption, the end included.
        length_penalty: alpha of `((5 + length) / 6)^alpha`, a number or a tensor of rank 0.

    Returns:
        The rules, by which no caption holds padding, the start or an unknown word.
    """
    return Rules(
        start_id=START,
        end_id=END,
        pad_id=PAD,
        max_length=max_length,
        forbidden=(PAD, START, UNKNOWN),
        length_penalty=length_penalty,
    )


class Vocabulary:
    """The words a model knows, the most frequent first.

    Args:
        words: without the special ones.
        counts: how often each came in the training captions, and ahead of them the number of
            captions, which is how often the end came.
    """

    def __init__(self, words: Sequence[str], counts: Sequence[int]) -> None:
        self.words = [*SPECIAL, *words]
        self.counts = list(counts)
        self._ids = {word: index for index, word in enumerate(self.words)}

    @classmethod
    def learn(cls, captions: Iterable[str], min_count: int) -> Vocabulary:
        """Count words.

        Args:
            captions: of the training photos.
            min_count: words that come less often are unknown.

        Returns:
            The vocabulary.

        Raises:
            UserError: when no word is left.
        """
        counter: Counter[str] = Counter()
        number = 0
        for caption in captions:
            counter.update(words_of(caption))
            number += 1
        kept = [(word, count) for word, count in counter.items() if count >= min_count]
        if not kept:
            raise UserError(
                f"No word of the training captions comes {min_count} times. "
                f"Received: {number} captions. Choose a smaller --min-word-count"
            )
        kept.sort(key=lambda item: (-item[1], item[0]))
        words, counts = zip(*kept, strict=True)
        return cls(words, [number, *counts])

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read what `write` wrote."""
        rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
        return cls([word for word, _ in rows[1:]], [int(count) for _, count in rows])

    def write(self, path: Path) -> None:
        """Write a line for the end and for every word: text, tab, count."""
        words = [SPECIAL[END], *self.words[len(SPECIAL) :]]
        rows = (f"{word}\t{count}" for word, count in zip(words, self.counts, strict=True))
        path.write_text("\n".join(rows) + "\n", "utf-8")

    @property
    def size(self) -> int:
        """Number of words, the special ones included."""
        return len(self.words)

    def encode(self, caption: str, max_length: int) -> list[int]:
        """From a caption to ids, the end included; what is too long is cut and does not end.

        Args:
            caption: as a person wrote it.
            max_length: most ids.

        Returns:
            The ids.
        """
        return [*(self._ids.get(word, UNKNOWN) for word in words_of(caption)), END][:max_length]

    def text(self, ids: Iterable[int]) -> str:
        """From ids to a caption; special ones are left out, but for unknown words."""
        return " ".join(self.words[i] for i in map(int, ids) if i not in (PAD, START, END))

    def log_frequencies(self) -> np.ndarray:
        """Logarithm of each word's share of the training text, `(size,)` float32.

        Padding and start are never said and get that of one word in a million captions' worth.
        """
        shares = np.full(self.size, 1e-6)
        counts = np.array(self.counts, float)
        shares[END], shares[len(SPECIAL) :] = counts[0], counts[1:]
        shares[END:] /= counts.sum()
        shares[UNKNOWN] = 1e-4
        return np.log(shares).astype(np.float32)
