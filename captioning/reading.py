"""A split as the decoder reads it: the encoder runs once, whatever is measured afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from captioning.caption import Captioner
from captioning.images import prepare
from captioning.readable import Readable
from captioning.tokens import words_of
from captioning.word_maps import WordMap, word_maps


@dataclass(frozen=True, eq=False)
class Pictures:
    """What the decoder reads of some pictures.

    Attributes:
        grids: `(pictures, rows, columns, channels)` each, as the encoder gives them.
    """

    grids: tuple[NDArray[np.floating], ...]

    def __len__(self) -> int:
        return len(self.grids[0])

    def take(self, rows: NDArray[np.integer] | slice) -> Pictures:
        """Some of the pictures."""
        return Pictures(tuple(grid[rows] for grid in self.grids))

    def inputs(self) -> dict[str, Any]:
        """What a model is called with."""
        return {"grids": tuple(map(tf.constant, self.grids))}


class Reader:
    """Asks a captioner about pictures that are read already.

    Args:
        captioner: of the run.
        batch_size: pictures computed at once; decides no answer.
    """

    def __init__(self, captioner: Captioner, *, batch_size: int = 32) -> None:
        self._captioner = captioner
        self._batch_size = batch_size
        size = captioner.config.image_size

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def read(encoded: Any) -> Any:
            return captioner.grids(prepare(encoded, size)[0])

        @tf.function(autograph=False, reduce_retracing=True)
        def search(inputs: Any, penalty: Any, beam_size: int) -> Any:
            found = captioner.search(inputs, beam_size, penalty)
            return found["captions"], found["attention"]

        self._read, self._search = read, search

    @property
    def num_cells(self) -> int:
        """Cells of a picture."""
        rows, columns = self._captioner.grid_shape
        return rows * columns

    def split(self, one: Readable) -> Pictures:
        """Read a split, from its features where they are kept."""
        photos = one.photos
        if one.features is not None:
            return Pictures(tuple(one.features.rows(np.arange(len(photos)))))
        return self.encoded([photos.encoded(index) for index in range(len(photos))])

    def encoded(self, encoded: Sequence[bytes]) -> Pictures:
        """Read pictures from the bytes of their files."""
        parts = [
            [grid.numpy() for grid in self._read(tf.constant(encoded[part]))]
            for part in self._parts(len(encoded))
        ]
        return Pictures(tuple(np.concatenate(grids) for grids in zip(*parts, strict=True)))

    def caption(
        self, pictures: Pictures, *, beam_size: int, length_penalty: float
    ) -> tuple[list[str], list[NDArray[np.float32]]]:
        """Caption pictures.

        Args:
            pictures: as read.
            beam_size: hypotheses kept.
            length_penalty: alpha of the penalty.

        Returns:
            Captions, and of each `(words, rows, columns)`, where it looked.
        """
        captions: list[str] = []
        maps: list[NDArray[np.float32]] = []
        penalty = tf.constant(length_penalty, tf.float32)
        for part in self._parts(len(pictures)):
            texts, weights = self._search(pictures.take(part).inputs(), penalty, beam_size)
            for text, one in zip(texts.numpy(), weights.numpy(), strict=True):
                captions.append(text.decode())
                maps.append(one[: len(captions[-1].split())])
        return captions, maps

    def force(
        self,
        pictures: Pictures,
        rows: Sequence[int],
        captions: Sequence[str],
        numbers: Sequence[int] | None = None,
    ) -> list[list[WordMap]]:
        """Where the model looks while it is made to say captions.

        Args:
            pictures: as read.
            rows: which picture each caption is of.
            captions: what is said.
            numbers: number of each among the captions of its picture; by default 0.

        Returns:
            For each caption a map for each word, with the picture's row as its photo.
        """
        found: list[list[WordMap]] = []
        for part in self._parts(len(rows)):
            inputs = pictures.take(np.asarray(rows[part])).inputs()
            forced = self._captioner.forced_on(inputs, captions[part])
            for place, (weights, _) in enumerate(forced, start=part.start):
                number = 0 if numbers is None else numbers[place]
                words = words_of(captions[place])
                found.append(word_maps([words], weights[None], [rows[place]], [number]))
        return found

    def log_probabilities(
        self, pictures: Pictures, captions: Sequence[str], removed: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """How likely each word of a caption is when cells may not be attended to.

        Args:
            pictures: as read.
            captions: one of each.
            removed: `(pictures, cells)`.

        Returns:
            `(pictures, words)`, 0 behind the end of shorter captions.
        """
        logs: list[NDArray[np.float32]] = []
        for part in self._parts(len(pictures)):
            inputs = {**pictures.take(part).inputs(), "key_mask": tf.constant(~removed[part])}
            logs += [told for _, told in self._captioner.forced_on(inputs, captions[part])]
        found = np.zeros((len(logs), max(map(len, logs))))
        for row, told in enumerate(logs):
            found[row, : len(told)] = told
        return found

    def _parts(self, count: int) -> list[slice]:
        return [
            slice(start, min(start + self._batch_size, count))
            for start in range(0, count, self._batch_size)
        ]
