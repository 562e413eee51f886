"""Positions that act inside attention: what they may do, and rotary ones.

Angles and distances are computed in float32 whatever the policy: bfloat16 cannot tell position 257
from 258.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import keras
from keras import ops

from attention_apps.attention.scoring import WeightSpec


class Position:
    """How attention knows where queries and keys stand: it turns them, or it biases their scores.

    Attributes:
        adds_bias: whether `bias` gives anything.
        asks_query: whether the bias depends on the query, not on the distance alone.
    """

    adds_bias: ClassVar[bool] = False
    asks_query: ClassVar[bool] = False

    def weights(self, num_heads: int, key_dim: int) -> Mapping[str, WeightSpec]:
        """What this learns: for every weight its name, shape and Keras initialiser."""
        return {}

    def rotate(self, vectors: Any, positions: Any) -> Any:
        """Turn queries or keys `(batch, length, heads, dim)` that stand at `positions`."""
        return vectors

    def bias(self, query: Any, distances: Any, num_heads: int, **weights: Any) -> Any:
        """What is added to the scores.

        Args:
            query: `(batch, query, heads, dim)`.
            distances: position of the key less that of the query, `(query, key)` integers.
            num_heads: number of heads.
            **weights: the learned weights, by the names that `weights` gave.

        Returns:
            Float32, broadcastable to `(batch, heads, query, key)`.
        """
        raise TypeError(f"{type(self).__name__} adds no bias.")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this object again."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Position:
        """Build the object from what `get_config` returned."""
        return cls(**config)


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Rotary(Position):
    """Rotate queries and keys by an angle that grows with their position.

    Pair `(x_i, x_{i + dim/2})` is turned by `position * f_i`, `f_i = max_wavelength^(-2i/dim)`, so
    that the product of a query and a key depends on their distance alone. To read texts that are
    `factor` times as long as those of the training, the frequencies are scaled:

    - `linear`: all of them divided by `factor`, which is to divide positions (Chen et al. 2023,
      "Extending Context Window of Large Language Models via Positional Interpolation");
    - `ntk`: `max_wavelength` times `factor^(dim / (dim - 2))`: the fastest stays as it is, the
      slowest is divided by `factor` (NTK-aware, Peng and Quesnelle 2023);
    - `yarn`: frequencies that turn more than 32 times in `original_length` stay, those that turn
      less than once are divided by `factor`, those between are mixed; queries and keys are
      lengthened by `0.1 log(factor) + 1` (Peng et al. 2024, "YaRN: Efficient Context Window
      Extension of Large Language Models").

    Args:
        max_wavelength: the longest wavelength over 2 pi.
        scaling: `none`, `linear`, `ntk` or `yarn`.
        factor: how many times longer than in training; 1 changes nothing.
        original_length: number of positions in training, for `yarn`.

    Reference: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding"
    (pairs taken from the two halves, as in GPT-NeoX).
    """

    max_wavelength: float = 10000.0
    scaling: str = "none"
    factor: float = 1.0
    original_length: int = 512

    def __post_init__(self) -> None:
        """Refuse scalings that are not known or shorten."""
        if self.scaling not in ("none", "linear", "ntk", "yarn"):
            raise ValueError(
                "Rotary positions are scaled by none, linear, ntk or yarn. "
                f"Received: {self.scaling!r}"
            )
        if self.factor < 1 or (self.scaling == "none" and self.factor != 1):
            raise ValueError(
                "Rotary positions are stretched by a factor of at least 1, and by 1 without a "
                f"scaling. Received: scaling={self.scaling!r}, factor={self.factor}"
            )

    def frequencies(self, dim: int) -> list[float]:
        """Angle per position of every pair of a head of size `dim`, `dim / 2` numbers."""
        base, half = self.max_wavelength, dim // 2
        if self.scaling == "ntk" and dim > 2:
            base *= self.factor ** (dim / (dim - 2))
        plain = [base ** (-2.0 * pair / dim) for pair in range(half)]
        if self.scaling == "linear":
            return [frequency / self.factor for frequency in plain]
        if self.scaling != "yarn":
            return plain
        # The pair that turns so many times in the original length, and the pairs around it.
        first, last = (
            dim * math.log(self.original_length / (turns * 2 * math.pi)) / (2 * math.log(base))
            for turns in (32, 1)
        )
        first, last = max(math.floor(first), 0), min(math.ceil(last), dim - 1)
        span = max(last - first, 0.001)
        shares = [min(max((pair - first) / span, 0.0), 1.0) for pair in range(half)]
        return [
            frequency * (share / self.factor + 1 - share)
            for frequency, share in zip(plain, shares, strict=True)
        ]

    def rotate(self, vectors: Any, positions: Any) -> Any:
        """Turn every vector by the angles of its position.

        Args:
            vectors: `(batch, length, heads, dim)`, `dim` even.
            positions: `(length,)` integers.

        Returns:
            The turned vectors, of the same shape and type.

        Raises:
            ValueError: when `dim` is odd.
        """
        dim = vectors.shape[-1]
        if dim % 2:
            raise ValueError(
                "Rotary positions turn pairs and need an even size of each head. "
                f"Received: key_dim={dim}"
            )
        half = dim // 2
        if self.scaling == "none":
            frequencies = ops.exp(
                ops.arange(half, dtype="float32") * (-2.0 * math.log(self.max_wavelength) / dim)
            )
        else:
            frequencies = ops.convert_to_tensor(self.frequencies(dim), dtype="float32")
        angles = ops.cast(positions, "float32")[:, None, None] * frequencies
        cosine, sine = ops.cos(angles), ops.sin(angles)
        if self.scaling == "yarn":
            length = 0.1 * math.log(self.factor) + 1.0
            cosine, sine = cosine * length, sine * length
        wide = ops.cast(vectors, "float32")
        first, second = wide[..., :half], wide[..., half:]
        turned = ops.concatenate(
            [first * cosine - second * sine, second * cosine + first * sine], axis=-1
        )
        return ops.cast(turned, vectors.dtype)

    def __str__(self) -> str:
        """Write the words of a flag that choose these positions."""
        return "rotary" if self.scaling == "none" else f"rotary-{self.scaling}:{self.factor:g}"
