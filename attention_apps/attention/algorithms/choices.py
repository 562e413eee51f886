"""The algorithms that a mechanism can choose, with their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import keras


class Algorithm:
    """How weights and context are computed.

    Attributes:
        name: by which `Mechanism` can be given it.
        is_exact: whether it gives the numbers of the dense algorithm.
    """

    name: ClassVar[str]
    is_exact: ClassVar[bool] = True

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this choice again."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Algorithm:
        """Build the choice from what `get_config` returned."""
        return cls(**config)

    def _refuse_below_one(self) -> None:
        for name, size in self.get_config().items():
            whole = isinstance(size, int) and not isinstance(size, bool)
            if size is not None and (not whole or size < 1):
                raise ValueError(
                    f"`{name}` of {self.name} attention is a whole number of at least 1. "
                    f"Received: {size!r}"
                )


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Auto(Algorithm):
    """The cheapest exact one for the lengths and masks of a call."""

    name = "auto"

    def __str__(self) -> str:
        """Write the name."""
        return self.name


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Dense(Algorithm):
    """The whole matrix of scores."""

    name = "dense"

    def __str__(self) -> str:
        """Write the word of a flag that chooses this."""
        return self.name


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Chunked(Algorithm):
    """Some queries at a time, exact; `rows` of them, None for what fits a cache."""

    rows: int | None = None

    name = "chunked"

    def __post_init__(self) -> None:
        """Refuse chunks of nothing."""
        self._refuse_below_one()

    def __str__(self) -> str:
        """Write the word of a flag that chooses this."""
        return self.name if self.rows is None else f"{self.name}:{self.rows}"


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Local(Algorithm):
    """Blocks of queries beside the keys that a window lets them see, exact."""

    name = "local"

    def __str__(self) -> str:
        """Write the word of a flag that chooses this."""
        return self.name


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class BlockSparse(Algorithm):
    """Only the blocks of `size` x `size` pairs that the scope touches, exact."""

    size: int = 64

    name = "block_sparse"

    def __post_init__(self) -> None:
        """Refuse blocks of nothing."""
        self._refuse_below_one()

    def __str__(self) -> str:
        """Write the word of a flag that chooses this."""
        return f"blocks:{self.size}"


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class LowRank(Algorithm):
    """Keys and values projected to `rank` of them, from at most `length`."""

    rank: int = 64
    length: int = 512

    name = "low_rank"
    is_exact = False

    def __post_init__(self) -> None:
        """Refuse projections of or to nothing."""
        self._refuse_below_one()

    def __str__(self) -> str:
        """Write the word of a flag that chooses this."""
        return f"low-rank:{self.rank}:{self.length}"


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Linear(Algorithm):
    """Softmax by `features` random features, linear in the length."""

    features: int = 128

    name = "linear"
    is_exact = False

    def __post_init__(self) -> None:
        """Refuse no features."""
        self._refuse_below_one()

    def __str__(self) -> str:
        """Write the word of a flag that chooses this."""
        return f"{self.name}:{self.features}"


ALGORITHMS: Mapping[str, type[Algorithm]] = {
    choice.name: choice for choice in (Auto, Dense, Chunked, Local, BlockSparse, LowRank, Linear)
}
