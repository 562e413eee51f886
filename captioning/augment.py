"""Training pictures changed at random, in ways that leave their captions true."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from captioning.config import Config

_SIDED = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def may_be_mirrored(captions: Sequence[str]) -> bool:
    """Whether no caption says what is left or right."""
    return not any(_SIDED.search(caption) for caption in captions)


def augment(pixels: Any, mirrored: Any, seed: Any, config: Config) -> Any:
    """Change a batch of pictures.

    Args:
        pixels: `(photos, size, size, 3)` uint8.
        mirrored: `(photos,)` booleans, which may be mirrored.
        seed: `(2,)` integers that decide everything.
        config: `flips`, `crops`, `colours` and `image_size` are used.

    Returns:
        `(photos, size, size, 3)` float32 of 0 to 255.
    """
    pixels = tf.cast(pixels, tf.float32)
    count = tf.shape(pixels)[0]
    seeds = tf.random.experimental.stateless_split(seed, 8)
    if config.flips:
        chosen = tf.random.stateless_uniform([count], seeds[0]) < 0.5
        flip = (chosen & mirrored)[:, None, None, None]
        pixels = tf.where(flip, tf.reverse(pixels, axis=[2]), pixels)
    if config.crops:
        height, width = (
            1.0 - config.crops * tf.random.stateless_uniform([count], seeds[place])
            for place in (1, 2)
        )
        top = tf.random.stateless_uniform([count], seeds[3]) * (1.0 - height)
        left = tf.random.stateless_uniform([count], seeds[4]) * (1.0 - width)
        boxes = tf.stack([top, left, top + height, left + width], axis=1)
        size = (config.image_size, config.image_size)
        pixels = tf.image.crop_and_resize(pixels, boxes, tf.range(count), size)
    if config.colours:
        brightness, contrast, saturation = (
            1.0
            + config.colours * tf.random.stateless_uniform([count, 1, 1, 1], seeds[place], -1, 1)
            for place in (5, 6, 7)
        )
        pixels = pixels * brightness
        mean = tf.reduce_mean(pixels, axis=(1, 2, 3), keepdims=True)
        pixels = mean + contrast * (pixels - mean)
        grey = tf.reduce_mean(pixels, axis=3, keepdims=True)
        pixels = grey + saturation * (pixels - grey)
        pixels = tf.clip_by_value(pixels, 0.0, 255.0)
    return pixels
