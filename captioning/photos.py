"""Photos with their captions, and the boxes that words of these refer to where they are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

Box = tuple[float, float, float, float]
"""Top, left, bottom, right, as shares of the picture from its upper left corner."""


@dataclass(frozen=True)
class Photos:
    """One split.

    Attributes:
        name: of the split.
        names: of the photos.
        captions: of every photo, as people wrote them; usually five.
        read: from a photo's index to its encoded bytes.
        boxes: `boxes[photo][caption][word]` holds the boxes that a word of that caption, split by
            `tokens.words_of`, refers to, none for words that name nothing to be seen; None where
            nothing is known.
    """

    name: str
    names: list[str]
    captions: list[list[str]]
    read: Callable[[int], bytes]
    boxes: list[list[list[tuple[Box, ...]]]] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def encoded(self, index: int) -> bytes:
        """The bytes of a photo's file."""
        return self.read(index)

    def pixels(self, index: int) -> np.ndarray:
        """A photo as it is stored, decoded: `(height, width, 3)` uint8."""
        from captioning.images import decode

        return decode(self.read(index)).numpy()

    def take(self, indexes: Iterable[int], name: str | None = None) -> Photos:
        """Some of the photos, in the order of `indexes`."""
        kept = [int(index) for index in indexes]
        return replace(
            self,
            name=name or self.name,
            names=[self.names[index] for index in kept],
            captions=[self.captions[index] for index in kept],
            read=lambda index: self.read(kept[index]),
            boxes=None if self.boxes is None else [self.boxes[index] for index in kept],
        )
