"""Pairs of sentences."""

from __future__ import annotations

from dataclasses import dataclass

from translation.alignments import Link, turned_links


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

    def turned(self) -> Corpus:
        """The same pairs for the opposite direction of translation."""
        links = None if self.alignments is None else turned_links(self.alignments)
        return Corpus(self.name, self.targets, self.sources, links)
