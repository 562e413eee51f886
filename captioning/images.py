"""From the bytes of a picture to what an encoder reads: one function for training and serving."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def decode(encoded: Any) -> Any:
    """Decode one picture: JPEG, PNG, GIF (its first frame) or BMP; grey and CMYK become RGB.

    Args:
        encoded: a string of rank 0.

    Returns:
        `(height, width, 3)` uint8. What cannot be decoded raises when the graph runs.
    """
    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    pixels.set_shape([None, None, 3])
    return pixels


def resize(pixels: Any, size: int) -> Any:
    """Bring a picture to a square; what was not square is squeezed.

    Every new pixel is the mean of the area it covers, which needs no copy of a large picture in
    float32, and leaves a picture that has the size already as it is.

    Args:
        pixels: `(height, width, 3)` uint8.
        size: pixels of a side.

    Returns:
        `(size, size, 3)` uint8.
    """
    means = tf.image.resize(pixels, (size, size), method="area")
    return tf.cast(tf.round(means), tf.uint8)


def prepare(encoded: Any, size: int) -> tuple[Any, Any]:
    """Decode and resize a batch in graph code that can be exported; a corrupt one stops nothing.

    Args:
        encoded: `(batch,)` strings.
        size: pixels of a side.

    Returns:
        Pixels `(batch, size, size, 3)` uint8, black where a picture cannot be read, and `(batch,)`
        booleans, whether it could.
    """
    count = tf.shape(encoded)[0]
    # It keeps a batch in which no picture can be read from being empty.
    pixel = tf.io.encode_png(tf.zeros((1, 1, 3), tf.uint8))
    # A dataset is the one place in a graph where an error can be passed over.
    readable = (
        tf.data.Dataset.from_tensor_slices(tf.concat([encoded, pixel[None]], axis=0))
        .enumerate()
        .map(
            lambda index, one: (index, resize(decode(one), size)),
            num_parallel_calls=2,
            deterministic=True,
        )
        .ignore_errors()
        .batch(tf.cast(count, tf.int64) + 1)
    )
    indexes, pixels = readable.get_single_element()
    shape = tf.stack([count + 1, size, size, 3])
    whole = tf.scatter_nd(indexes[:, None], pixels, tf.cast(shape, tf.int64))
    valid = tf.scatter_nd(
        indexes[:, None], tf.ones_like(indexes, tf.int32), [tf.cast(count, tf.int64) + 1]
    )
    whole = tf.ensure_shape(whole[:count], [None, size, size, 3])
    return whole, valid[:count] > 0
