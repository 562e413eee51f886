"""What photos look like to an encoder that was not trained here: by that neighbours are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from captioning.config import Config
from captioning.images import prepare
from captioning.photos import Photos
from captioning.readable import readable

THUMBNAIL = 8
"""Pixels of a side to which pictures are brought where there is no pretrained encoder."""
_AT_ONCE = 256


def appearances(config: Config, *splits: Photos) -> list[NDArray[np.float32]]:
    """Describe every photo by one vector.

    Args:
        config: of the run.
        *splits: some splits, of photos that can be read.

    Returns:
        `(photos, channels)` of each: the frozen pretrained encoder's last grid, its mean over the
        picture; for a run whose encoder was trained from scratch the colours of a thumbnail.
    """
    if not config.uses_pretrained:
        return [_thumbnails(photos) for photos in splits]
    # A tuned encoder is trained: what it was before is the floor's.
    frozen = replace(config, fine_tune=False, flips=False, crops=0.0, colours=0.0)
    found = []
    for one in readable(frozen, *splits):
        assert one.features is not None
        parts = [
            one.features.rows(np.arange(start, min(start + _AT_ONCE, len(one.photos))))[-1]
            for start in range(0, len(one.photos), _AT_ONCE)
        ]
        pooled = [part.astype(np.float32).mean(axis=(1, 2)) for part in parts]
        found.append(np.concatenate(pooled))
    return found


def _thumbnails(photos: Photos) -> NDArray[np.float32]:
    found = []
    for start in range(0, len(photos), _AT_ONCE):
        indexes = range(start, min(start + _AT_ONCE, len(photos)))
        encoded = tf.constant([photos.encoded(index) for index in indexes])
        pixels, _ = prepare(encoded, THUMBNAIL)
        found.append(pixels.numpy().reshape(len(indexes), -1) / np.float32(127.5) - 1)
    return np.concatenate(found)
