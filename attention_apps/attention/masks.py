"""Mask algebra: who may attend to whom, as predicates of positions that compose.

`causal() & (window(128) | global_tokens(2))` is a mask. True means "may attend". A mask knows no
lengths: it is asked for the positions of the queries and of the keys, so the same object serves
training, cached decoding and drawing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

Span = tuple[np.ndarray, np.ndarray]


def end_aligned_positions(query_length: Any, key_length: Any) -> tuple[Any, Any]:
    """Positions of queries and keys when the last query stands at the last key.

    Args:
        query_length: number of queries, an int or a scalar tensor.
        key_length: number of keys, an int or a scalar tensor.

    Returns:
        Query positions `(query,)` and key positions `(key,)`, int32.
    """
    query_positions = ops.arange(query_length, dtype="int32") + (key_length - query_length)
    return query_positions, ops.arange(key_length, dtype="int32")


class Mask:
    """A predicate on positions; `&`, `|` and `~` combine masks."""

    def allowed(self, query_positions: Any, key_positions: Any) -> Any:
        """Tell which query may attend to which key.

        Args:
            query_positions: integers, broadcastable against `key_positions`.
            key_positions: integers, broadcastable against `query_positions`.

        Returns:
            Booleans of the broadcast shape, True = may attend.
        """
        raise TypeError(f"{type(self).__name__} must define `allowed`.")

    def dense(self, query_length: Any, key_length: Any) -> Any:
        """The mask as a matrix, the last query standing at the last key.

        Args:
            query_length: number of queries.
            key_length: number of keys.

        Returns:
            `(query, key)` booleans.
        """
        query_positions, key_positions = end_aligned_positions(query_length, key_length)
        return self.allowed(query_positions[:, None], key_positions[None, :])

    def reach(self) -> tuple[int | None, int | None]:
        """How far a query may look at most: positions behind it and ahead of it, None = any."""
        return None, None

    def touches(self, query_span: Span, key_span: Span) -> np.ndarray:
        """Tell whether a query and a key of two spans of positions may meet; True when in doubt.

        Args:
            query_span: first and last positions of queries, integers.
            key_span: first and last positions of keys, integers, broadcastable against the former.

        Returns:
            Booleans of the broadcast shape.
        """
        return np.ones(np.broadcast_shapes(query_span[0].shape, key_span[0].shape), bool)

    def draw(self, query_length: int = 12, key_length: int | None = None) -> str:
        """Draw the mask with a line per query and a sign per key.

        Args:
            query_length: number of queries.
            key_length: number of keys, by default as many as queries.

        Returns:
            Lines of `■` (may attend) and `·` (may not).
        """
        matrix = ops.convert_to_numpy(self.dense(query_length, key_length or query_length))
        return "\n".join("".join("■" if cell else "·" for cell in row) for row in matrix)

    def __and__(self, other: Mask) -> Mask:
        """Both masks allow."""
        return Both(self, other)

    def __or__(self, other: Mask) -> Mask:
        """At least one of the masks allows."""
        return Either(self, other)

    def __invert__(self) -> Mask:
        """The mask does not allow."""
        return Not(self)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this mask again."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Mask:
        """Build the mask from what `get_config` returned."""
        return cls(**config)


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Everything(Mask):
    """Every query may attend to every key."""

    def allowed(self, query_positions: Any, key_positions: Any) -> Any:
        """See `Mask.allowed`."""
        return ops.equal(query_positions, query_positions) & ops.equal(key_positions, key_positions)

    def __str__(self) -> str:
        """Write the expression that builds this mask."""
        return "everything()"


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Causal(Mask):
    """A query may attend to keys at its own and at earlier positions."""

    def allowed(self, query_positions: Any, key_positions: Any) -> Any:
        """See `Mask.allowed`."""
        return ops.less_equal(key_positions, query_positions)

    def reach(self) -> tuple[int | None, int | None]:
        """See `Mask.reach`."""
        return None, 0

    def touches(self, query_span: Span, key_span: Span) -> np.ndarray:
        """See `Mask.touches`."""
        return key_span[0] <= query_span[1]

    def __str__(self) -> str:
        """Write the expression that builds this mask."""
        return "causal()"


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Window(Mask):
    """A query may attend to keys less than `size` positions away, on either side."""

    size: int

    def __post_init__(self) -> None:
        """Refuse an empty window."""
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise ValueError(
                f"A window needs a whole number of positions of at least 1. Received: {self.size!r}"
            )

    def allowed(self, query_positions: Any, key_positions: Any) -> Any:
        """See `Mask.allowed`."""
        return ops.less(ops.abs(query_positions - key_positions), self.size)

    def reach(self) -> tuple[int | None, int | None]:
        """See `Mask.reach`."""
        return self.size - 1, self.size - 1

    def touches(self, query_span: Span, key_span: Span) -> np.ndarray:
        """See `Mask.touches`."""
        gap = np.maximum(key_span[0] - query_span[1], query_span[0] - key_span[1])
        return gap < self.size

    def __str__(self) -> str:
        """Write the expression that builds this mask."""
        return f"window({self.size})"


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class GlobalTokens(Mask):
    """The first `count` positions attend to everything and everything attends to them.

    Reference: Beltagy et al. 2020, "Longformer: The Long-Document Transformer".
    """

    count: int

    def __post_init__(self) -> None:
        """Refuse a negative count."""
        if not isinstance(self.count, int) or isinstance(self.count, bool) or self.count < 1:
            raise ValueError(
                f"Global tokens need a whole number of at least 1. Received: {self.count!r}"
            )

    def allowed(self, query_positions: Any, key_positions: Any) -> Any:
        """See `Mask.allowed`."""
        return ops.less(query_positions, self.count) | ops.less(key_positions, self.count)

    def touches(self, query_span: Span, key_span: Span) -> np.ndarray:
        """See `Mask.touches`."""
        return (query_span[0] < self.count) | (key_span[0] < self.count)

    def __str__(self) -> str:
        """Write the expression that builds this mask."""
        return f"global_tokens({self.count})"


class _Compound(Mask):
    """Shared serialisation of masks that are made of masks."""

    def get_config(self) -> dict[str, Any]:
        """Return the serialised parts."""
        return {
            name: keras.saving.serialize_keras_object(part) for name, part in vars(self).items()
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Mask:
        """Build the parts, then the compound."""
        return cls(
            **{name: keras.saving.deserialize_keras_object(part) for name, part in config.items()}
        )


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Both(_Compound):
    """Allows what both masks allow."""

    left: Mask
    right: Mask

    def allowed(self, query_positions: Any, key_positions: Any) -> Any:
        """See `Mask.allowed`."""
        return ops.logical_and(
            self.left.allowed(query_positions, key_positions),
            self.right.allowed(query_positions, key_positions),
        )

    def reach(self) -> tuple[int | None, int | None]:
        """See `Mask.reach`."""
        behind, ahead = zip(self.left.reach(), self.right.reach(), strict=True)
        return _nearer(*behind), _nearer(*ahead)

    def touches(self, query_span: Span, key_span: Span) -> np.ndarray:
        """See `Mask.touches`."""
        return self.left.touches(query_span, key_span) & self.right.touches(query_span, key_span)

    def __str__(self) -> str:
        """Write the expression that builds this mask."""
        return f"({self.left} & {self.right})"


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Either(_Compound):
    """Allows what at least one of two masks allows."""

    left: Mask
    right: Mask

    def allowed(self, query_positions: Any, key_positions: Any) -> Any:
        """See `Mask.allowed`."""
        return ops.logical_or(
            self.left.allowed(query_positions, key_positions),
            self.right.allowed(query_positions, key_positions),
        )

    def reach(self) -> tuple[int | None, int | None]:
        """See `Mask.reach`."""
        behind, ahead = zip(self.left.reach(), self.right.reach(), strict=True)
        return _farther(*behind), _farther(*ahead)

    def touches(self, query_span: Span, key_span: Span) -> np.ndarray:
        """See `Mask.touches`."""
        return self.left.touches(query_span, key_span) | self.right.touches(query_span, key_span)

    def __str__(self) -> str:
        """Write the expression that builds this mask."""
        return f"({self.left} | {self.right})"


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Not(_Compound):
    """Allows what the other mask does not."""

    mask: Mask

    def allowed(self, query_positions: Any, key_positions: Any) -> Any:
        """See `Mask.allowed`."""
        return ops.logical_not(self.mask.allowed(query_positions, key_positions))

    def __str__(self) -> str:
        """Write the expression that builds this mask."""
        return f"~{self.mask}"


def _nearer(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _farther(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def everything() -> Mask:
    """Allow every pair."""
    return Everything()


def causal() -> Mask:
    """Allow keys at the query's own and at earlier positions."""
    return Causal()


def window(size: int) -> Mask:
    """Allow keys less than `size` positions away; with `& causal()` the usual sliding window.

    Args:
        size: how many positions to one side, the query's own among them.

    Raises:
        ValueError: when `size` is not a whole number of at least 1.
    """
    return Window(size)


def global_tokens(count: int) -> Mask:
    """Let the first `count` positions see, and be seen by, every position.

    Args:
        count: number of global positions.

    Raises:
        ValueError: when `count` is not a whole number of at least 1.
    """
    return GlobalTokens(count)
