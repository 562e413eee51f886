"""What the axes of this room's attention mean: words of a caption and cells of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from attention_apps.observation.observe import observe
from attention_apps.observation.record import AttentionRecord, Axis
from captioning.batches import previous_of
from captioning.config import Config
from captioning.images import prepare
from captioning.photos import Box, Photos
from captioning.tokens import words_of
from captioning.words import SPECIAL, START, Vocabulary


@dataclass(frozen=True)
class Probe:
    """A fixed batch whose attention is watched: photos, each with its first caption.

    Attributes:
        pixels: `(photos, size, size, 3)` uint8.
        previous: `(photos, captions=1, words)` ids the decoder reads.
        said: the words that are predicted, for each photo.
        boxes: for each photo and word what it refers to, or None where nothing is known.
        titles: the photos' names.
    """

    pixels: np.ndarray
    previous: np.ndarray
    said: list[list[str]]
    boxes: list[list[tuple[Box, ...]]] | None
    titles: list[str]

    @classmethod
    def of(cls, photos: Photos, vocabulary: Vocabulary, config: Config, count: int) -> Probe:
        """Take photos from the front of a split.

        Args:
            photos: the split.
            vocabulary: of the captions.
            config: `image_size` and `max_length` are used.
            count: number of photos.

        Returns:
            The probe.
        """
        # A caption of nothing but signs has no word to look from.
        told = [index for index in range(len(photos)) if words_of(photos.captions[index][0])]
        photos = photos.take(np.array(told[:count], int))
        count = len(photos)
        pixels, _ = prepare(
            tf.constant([photos.encoded(index) for index in range(count)]), config.image_size
        )
        captions = [photos.captions[index][0] for index in range(count)]
        # The caption without its end: where there is nothing more to say there is nothing to see.
        said = [words_of(caption)[: config.max_length - 1] for caption in captions]
        target = np.zeros((count, 1, max(map(len, said))), np.int32)
        for index, caption in enumerate(captions):
            ids = vocabulary.encode(caption, config.max_length)[: len(said[index])]
            target[index, 0, : len(ids)] = ids
        boxes = None
        if photos.boxes is not None:
            boxes = [photos.boxes[index][0] for index in range(count)]
        return cls(pixels.numpy(), previous_of(target), said, boxes, photos.names[:count])


def attention_maps(model: Any, probe: Probe) -> list[AttentionRecord]:
    """Every attention map of the model on the probe.

    A row of attention to the picture is labelled with the word that is predicted in that step; rows
    and columns of attention among words with the words that are read.

    Args:
        model: the captioner.
        probe: the fixed batch.

    Returns:
        A record for every layer and photo; those of attention to the picture carry gold where the
        boxes of words are known.
    """
    inputs = {"pixels": probe.pixels, "previous": probe.previous}
    _, maps = observe(model)(inputs, training=False)
    cells = Axis.cells(*model.grid_shape)
    records = []
    for path, weights in maps.items():
        for index, title in enumerate(probe.titles):
            words = Axis(tuple(probe.said[index]))
            read = Axis((SPECIAL[START], *probe.said[index][:-1]))
            query, key = (
                (words, cells)
                if "cross_attention" in path
                else (cells, cells)
                if "encoder" in path
                else (read, read)
            )
            gold = None
            if query is words and probe.boxes is not None:
                rows = [gold_of_cells(boxes, *model.grid_shape) for boxes in probe.boxes[index]]
                gold = np.stack(rows)[: len(words)].reshape(len(words), -1)
            records.append(
                AttentionRecord(
                    weights=np.asarray(weights[index])[:, : len(query), : len(key)],
                    layer=path,
                    query=query,
                    key=key,
                    gold=gold,
                    title=title,
                )
            )
    return records


def gold_of_cells(boxes: tuple[Box, ...], rows: int, columns: int) -> np.ndarray:
    """Spread a word's attention evenly over the cells whose middle lies in one of its boxes.

    Args:
        boxes: what the word refers to.
        rows: of cells.
        columns: of cells.

    Returns:
        `(rows, columns)` that sum to 1, or to 0 for a word without boxes.
    """
    inside = np.zeros((rows, columns), bool)
    y, x = (np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns
    for top, left, bottom, right in boxes:
        inside |= ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))[None]
    return inside / max(inside.sum(), 1)
