"""How right and how faithful a run's attention is, measured on one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from captioning.collage import choose_collages, collage_figures, compose
from captioning.deletion import deletion, deletion_figures
from captioning.images import decode, resize
from captioning.photos import Box, Photos
from captioning.pointing import pointing
from captioning.reading import Pictures, Reader
from captioning.tokens import words_of
from captioning.variation import variation
from captioning.word_maps import FUNCTION_WORDS, WordMap

MOST_FORCED = 500
"""Photos whose references are forced."""
MOST_DELETED = 100
"""Photos of which cells are taken away."""
DELETED_SHARE = 0.1
"""Share of the cells that is taken away."""
COLLAGES = {2: 250, 4: 125}
"""Photos of a collage, and most collages of so many."""


def forced_references(reader: Reader, pictures: Pictures, photos: Photos) -> list[WordMap]:
    """Where the model looks while it says what people wrote.

    Args:
        reader: of the run.
        pictures: the photos, as read.
        photos: with their captions, and boxes where they are known.

    Returns:
        The maps of all words of the first `MOST_FORCED` photos, with their boxes.
    """
    rows, texts, numbers = [], [], []
    for photo, captions in enumerate(photos.captions[:MOST_FORCED]):
        for number, caption in enumerate(captions):
            rows.append(photo)
            texts.append(caption)
            numbers.append(number)
    forced = reader.force(pictures, rows, texts, numbers)
    if photos.boxes is None:
        return [one for maps in forced for one in maps]
    found = []
    for photo, number, maps in zip(rows, numbers, forced, strict=True):
        for one, boxes in zip(maps, photos.boxes[photo][number], strict=False):
            found.append(replace(one, boxes=tuple(boxes), kind=kind_of(one.word)))
    return found


def own_words(
    captions: Sequence[str], maps: Sequence[NDArray[np.float32]], photos: Photos
) -> list[WordMap]:
    """Where the model looked while it wrote, with the boxes that people's words have.

    Args:
        captions: the model's.
        maps: of each `(words, rows, columns)`.
        photos: with their captions, and boxes where they are known.

    Returns:
        The maps of all words. A word that no reference says has no boxes.
    """
    found = []
    for photo, (caption, weights) in enumerate(zip(captions, maps, strict=True)):
        places = _places(photos, photo)
        for word, one in zip(caption.split(), weights, strict=False):
            found.append(WordMap(photo, 0, word, one, places.get(word, ()), kind_of(word)))
    return found


def _places(photos: Photos, photo: int) -> dict[str, tuple[Box, ...]]:
    if photos.boxes is None:
        return {}
    places: dict[str, dict[Box, None]] = {}
    for caption, of_caption in zip(photos.captions[photo], photos.boxes[photo], strict=True):
        for word, boxes in zip(words_of(caption), of_caption, strict=True):
            places.setdefault(word, {}).update(dict.fromkeys(boxes))
    return {word: tuple(boxes) for word, boxes in places.items()}


def kind_of(word: str) -> str:
    """What sort of word of the embedded scenes this is; `other` if none."""
    from captioning.phrases import NUMBERS, PLURALS
    from captioning.scenes import COLOURS, NOUNS, SIZES, TEXTURES

    kinds = {
        "object": {*NOUNS, *(PLURALS.get(noun, f"{noun}s") for noun in NOUNS)},
        "colour": {*COLOURS},
        "texture": {*TEXTURES},
        "size": {*SIZES},
        "number": {*NUMBERS.values()},
    }
    return next((kind for kind, words in kinds.items() if word in words), "other")


def pointing_figures(forced: Sequence[WordMap], own: Sequence[WordMap]) -> dict[str, Any]:
    """Score both what people wrote and what the model did; nothing if no word's place is known."""
    found = pointing(forced)
    return {**found, "own_captions": pointing(own)} if found else {}


def collages(
    reader: Reader, photos: Photos, parts: int, size: int
) -> tuple[dict[str, Any], list[tuple[NDArray[np.uint8], list[list[WordMap]]]]]:
    """Put photos together, force the first caption of each, and score where it looks.

    Args:
        reader: of the run.
        photos: which can be read.
        parts: photos of each collage.
        size: pixels of a side of each photo.

    Returns:
        The figures, and the first collages with the maps of each caption; nothing where no photos
        are unlike enough.
    """
    chosen = choose_collages(photos.captions, parts, COLLAGES[parts])
    if not chosen:
        return {}, []
    composed = [
        compose(np.stack([resize(decode(photos.encoded(p)), size).numpy() for p in of_one]))
        for of_one in chosen
    ]
    pictures = reader.encoded([tf.io.encode_png(one).numpy() for one in composed])
    rows = np.repeat(np.arange(len(chosen)), parts).tolist()
    texts = [photos.captions[photo][0] for of_one in chosen for photo in of_one]
    forced = reader.force(pictures, rows, texts)
    grouped = [forced[start : start + parts] for start in range(0, len(forced), parts)]
    return collage_figures(grouped), list(zip(composed[:4], grouped, strict=False))


def variation_figures(forced: Sequence[WordMap], own: Sequence[WordMap]) -> dict[str, Any]:
    """Variation between the words of people's captions, and of the model's own."""
    own_figures = variation(own)
    kept = ("between_words", "between_words_interval", "all_alike")
    return {
        **variation(forced),
        "own_captions": {name: own_figures[name] for name in kept if name in own_figures},
    }


def deletion_of_own(
    reader: Reader,
    pictures: Pictures,
    captions: Sequence[str],
    maps: Sequence[NDArray[np.float32]],
) -> dict[str, Any]:
    """Take the cells away that the model looked at while it wrote its own captions.

    Args:
        reader: of the run.
        pictures: as read.
        captions: the model's.
        maps: of each `(words, rows, columns)`.

    Returns:
        The figures of content words; nothing where no caption has any.
    """
    rows = [row for row, text in enumerate(captions) if text][:MOST_DELETED]
    if not rows:
        return {}
    some, texts = pictures.take(np.array(rows)), [captions[row] for row in rows]
    words = [text.split() for text in texts]
    longest = max(map(len, words))
    weights = np.zeros((len(rows), longest, reader.num_cells), np.float32)
    content = np.zeros((len(rows), longest), bool)
    for place, (row, said) in enumerate(zip(rows, words, strict=True)):
        weights[place, : len(said)] = maps[row].reshape(len(said), -1)
        content[place, : len(said)] = [word not in FUNCTION_WORDS for word in said]
    if not content.any():
        return {}
    cells = max(1, round(DELETED_SHARE * reader.num_cells))
    falls, is_word = deletion(
        lambda removed: reader.log_probabilities(some, texts, removed),
        weights,
        [len(said) for said in words],
        cells=cells,
    )
    return deletion_figures(falls, content & is_word, cells)
