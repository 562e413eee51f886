"""Pairs of sentences."""

from __future__ import annotations

from dataclasses import dataclass

from translation.alignments import Link


@dataclass(frozen=True)
class Corpus:
    """Sentence pairs, with gold word alignments where there are any."""

    name: str
    sources: list[str]
    targets: list[str]
    alignments: list[list[Link]] | None = None

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.sources)
