"""From photos and captions to batches of what the model reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from captioning.augment import augment, may_be_mirrored
from captioning.config import Config
from captioning.features import Features
from captioning.images import prepare
from captioning.photos import Photos
from captioning.words import PAD, START, Vocabulary


class Batches:
    """Training batches: photos, each with all of its captions.

    An epoch is drawn from (seed, epoch) alone, so a run can continue at any epoch.

    Args:
        config: `batch_photos`, `max_length`, `image_size`, `seed` and what changes pictures.
        vocabulary: of the captions.
        photos: the training photos.
        features: of these photos; None reads their pixels.

    Attributes:
        targets: `(photos, captions, words)` ids of all captions, padded with 0.
    """

    def __init__(
        self,
        config: Config,
        vocabulary: Vocabulary,
        photos: Photos,
        features: Features | None = None,
    ) -> None:
        self._config = config
        self._photos = photos
        self._features = features
        self.targets = caption_ids(photos, vocabulary, config.max_length)
        self._mirrored = np.array([may_be_mirrored(captions) for captions in photos.captions])
        self.steps_per_epoch = -(-len(photos) // config.batch_photos)

    def epochs_from(self, first_epoch: int) -> tf.data.Dataset:
        """Endless batches that begin with epoch `first_epoch`.

        Args:
            first_epoch: counted from 0.

        Returns:
            A dataset of `(inputs, target, word weights)`: inputs are `previous` and `pixels` or
            `grids`, as `CaptionModel` takes them; target and weights are
            `(photos, captions, words)`, weights 1 for words and 0 for padding and for captions of
            a photo that cannot be read.
        """
        steps = self.steps_per_epoch
        numbers = tf.data.Dataset.counter(start=first_epoch * steps)
        if self._features is None:
            return numbers.map(self._of_pixels, 2, deterministic=True).prefetch(3)
        return numbers.map(self._of_features, 2, deterministic=True).prefetch(3)

    def _indexes(self, number: int) -> np.ndarray:
        epoch, step = divmod(int(number), self.steps_per_epoch)
        order = np.random.default_rng([self._config.seed, epoch]).permutation(len(self._photos))
        size = self._config.batch_photos
        return order[step * size : (step + 1) * size]

    def _words(self, indexes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        target = self.targets[indexes]
        length = max(1, int((target != PAD).sum(axis=-1).max()))
        return previous_of(target)[:, :, :length], target[:, :, :length]

    def _of_features(self, number: Any) -> Any:
        features = self._features
        assert features is not None

        def read(number: int) -> list[np.ndarray]:
            indexes = self._indexes(number)
            return [*self._words(indexes), *features.rows(indexes)]

        types = [tf.int32, tf.int32, *([tf.float16] * len(features.shapes))]
        previous, target, *grids = tf.numpy_function(read, [number], types)
        previous, target = (_with_rank(x) for x in (previous, target))
        grids = tuple(
            tf.ensure_shape(grid, [None, *shape])
            for grid, shape in zip(grids, features.shapes, strict=True)
        )
        weights = tf.cast(tf.not_equal(target, PAD), tf.float32)
        return {"grids": grids, "previous": previous}, target, weights

    def _of_pixels(self, number: Any) -> Any:
        def read(number: int) -> list[Any]:
            indexes = self._indexes(number)
            encoded = np.array([self._photos.encoded(i) for i in indexes], dtype=object)
            return [*self._words(indexes), encoded, self._mirrored[indexes]]

        types = [tf.int32, tf.int32, tf.string, tf.bool]
        previous, target, encoded, mirrored = tf.numpy_function(read, [number], types)
        previous, target = (_with_rank(x) for x in (previous, target))
        pixels, valid = prepare(tf.ensure_shape(encoded, [None]), self._config.image_size)
        seed = tf.stack([tf.constant(self._config.seed, tf.int64), number])
        pixels = augment(pixels, tf.ensure_shape(mirrored, [None]), seed, self._config)
        weights = tf.cast(tf.not_equal(target, PAD), tf.float32)
        weights *= tf.cast(valid, tf.float32)[:, None, None]
        return {"pixels": pixels, "previous": previous}, target, weights


def _with_rank(ids: Any) -> Any:
    return tf.ensure_shape(ids, [None, None, None])


def caption_ids(photos: Photos, vocabulary: Vocabulary, max_length: int) -> np.ndarray:
    """All captions as ids, the end included.

    Args:
        photos: the photos.
        vocabulary: of the captions.
        max_length: most ids of a caption.

    Returns:
        `(photos, captions, max_length)` int32, padded with 0.
    """
    captions = max(map(len, photos.captions))
    ids = np.full((len(photos), captions, max_length), PAD, np.int32)
    for index, of_photo in enumerate(photos.captions):
        for place, caption in enumerate(of_photo):
            row = vocabulary.encode(caption, max_length)
            ids[index, place, : len(row)] = row
    return ids


def previous_of(target: np.ndarray) -> np.ndarray:
    """Move ids one to the right, behind the start word.

    Args:
        target: `(..., words)` ids.

    Returns:
        `(..., words)` ids.
    """
    previous = np.full_like(target, START)
    previous[..., 1:] = target[..., :-1]
    return previous
