"""Where a token stands, added to embeddings: sinusoidal and learned vectors.

Angles are computed in float32 whatever the policy: bfloat16 cannot tell position 257 from 258.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from attention_apps.attention.rotary import Rotary

__all__ = ["LearnedPositions", "Rotary", "SinusoidalPositions", "sinusoidal_positions"]


def sinusoidal_positions(positions: Any, dim: int, max_wavelength: float = 10000.0) -> Any:
    """Sines and cosines of geometrically spaced frequencies, one vector per position.

    `sin(p / w^(2i/dim))` at index `2i`, the cosine at `2i + 1`.

    Args:
        positions: `(length,)` integers.
        dim: size of a vector.
        max_wavelength: `w`, the longest wavelength over 2 pi.

    Returns:
        `(length, dim)` float32.

    Reference: Vaswani et al. 2017, "Attention Is All You Need".
    """
    index = ops.arange(dim, dtype="int32")
    exponent = ops.cast(2 * (index // 2), "float32") / dim
    angles = ops.cast(positions, "float32")[:, None] * ops.exp(-exponent * math.log(max_wavelength))
    return ops.where(ops.equal(index % 2, 0), ops.sin(angles), ops.cos(angles))


@keras.saving.register_keras_serializable("attention_apps")
class SinusoidalPositions(keras.layers.Layer):
    """Add fixed sinusoidal position vectors to embeddings.

    Args:
        max_wavelength: the longest wavelength over 2 pi.

    Call arguments:
        embeddings: `(batch, length, dim)`.
        start: position of the first embedding, an int or a scalar tensor.

    Returns:
        `(batch, length, dim)`.

    Reference: Vaswani et al. 2017, "Attention Is All You Need".
    """

    def __init__(self, max_wavelength: float = 10000.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_wavelength = max_wavelength
        self.supports_masking = True
        self.built = True

    def call(self, embeddings: Any, start: Any = 0) -> Any:
        """Add the position vectors."""
        positions = ops.arange(ops.shape(embeddings)[1], dtype="int32") + start
        vectors = sinusoidal_positions(positions, embeddings.shape[-1], self.max_wavelength)
        return embeddings + ops.cast(vectors, embeddings.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape does not change."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this layer again."""
        return {**super().get_config(), "max_wavelength": self.max_wavelength}


@keras.saving.register_keras_serializable("attention_apps")
class LearnedPositions(keras.layers.Layer):
    """Add learned position vectors to embeddings.

    Args:
        max_length: number of positions that are learned.
        initializer: how the vectors start.

    Call arguments:
        embeddings: `(batch, length, dim)`, `start + length` at most `max_length`.
        start: position of the first embedding, an int or a scalar tensor.

    Returns:
        `(batch, length, dim)`.

    Raises:
        ValueError: when a known length exceeds `max_length`.

    Reference: Gehring et al. 2017, "Convolutional Sequence to Sequence Learning".
    """

    def __init__(self, max_length: int, initializer: Any = "random_normal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_length = max_length
        self.initializer = keras.initializers.get(initializer)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the table of vectors."""
        self.position_embeddings = self.add_weight(
            name="position_embeddings",
            shape=(self.max_length, input_shape[-1]),
            initializer=self.initializer,
        )

    def call(self, embeddings: Any, start: Any = 0) -> Any:
        """Add the position vectors."""
        length = embeddings.shape[1]
        if isinstance(start, int) and length is not None and start + length > self.max_length:
            raise ValueError(
                f"There are learned positions for {self.max_length} tokens. "
                f"Received: {start + length} tokens. Raise `max_length` or cut the input."
            )
        positions = ops.arange(ops.shape(embeddings)[1], dtype="int32") + start
        vectors = ops.take(self.position_embeddings, positions, axis=0)
        return embeddings + ops.cast(vectors, embeddings.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape does not change."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this layer again."""
        return {
            **super().get_config(),
            "max_length": self.max_length,
            "initializer": keras.initializers.serialize(self.initializer),
        }
