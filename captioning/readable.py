"""The photos of a split that can be read, with their features where the encoder is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attention_apps.running.command import UserError
from captioning.config import Config
from captioning.data import drop_unreadable
from captioning.encoder import build_encoder
from captioning.features import Features, extract
from captioning.images import prepare
from captioning.photos import Photos

_BATCH = 64


@dataclass(frozen=True)
class Readable:
    """A split as training reads it.

    Attributes:
        photos: those that can be decoded.
        features: of these photos, or None where pixels are read.
        encoder: what made the features; None without features.
        notes: sentences about what was left out.
    """

    photos: Photos
    features: Features | None = None
    encoder: Any = None
    notes: list[str] = field(default_factory=list)


def readable(config: Config, *splits: Photos) -> Iterator[Readable]:
    """Leave out what cannot be decoded, and read or compute features where they are kept.

    Args:
        config: the room's configuration.
        *splits: some splits.

    Returns:
        The splits, in their order.

    Raises:
        UserError: for weights that do not fit, or a split of which nothing can be read.
    """
    encoder = None
    if config.uses_cache:
        try:
            encoder = build_encoder(config)
        except ValueError as error:
            raise UserError(str(error)) from error
    for photos in splits:
        if encoder is not None:
            features = extract(encoder, photos, config.image_size, Path(config.cache_dir))
            kept, notes = drop_unreadable(photos, features.valid)
            yield Readable(kept, features.take(np.flatnonzero(features.valid)), encoder, notes)
        elif config.dataset == "generated":
            yield Readable(photos)
        else:
            kept, notes = drop_unreadable(photos, decodable(photos, config.image_size))
            yield Readable(kept, notes=notes)


def decodable(photos: Photos, size: int) -> np.ndarray:
    """Whether each photo can be decoded.

    Args:
        photos: a split.
        size: pixels of a side to which they are brought.

    Returns:
        `(photos,)` booleans.

    Raises:
        UserError: when none can.
    """
    valid = []
    for start in range(0, len(photos), _BATCH):
        indexes = range(start, min(start + _BATCH, len(photos)))
        encoded = tf.constant([photos.encoded(index) for index in indexes])
        valid.append(prepare(encoded, size)[1].numpy())
    found = np.concatenate(valid)
    if not found.any():
        raise UserError(f"No photo of {photos.name!r} can be read. Received: {len(photos)} photos")
    return found
