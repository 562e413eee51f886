"""One format for an attention map and what its axes mean, for all rooms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

AxisKind = Literal["text", "cells", "items", "times"]


@dataclass(frozen=True)
class Axis:
    """What the positions along one side of an attention map are.

    Attributes:
        labels: one per position.
        kind: `text` (tokens or words), `cells` (cells of a picture, row by row), `items` or
            `times`.
        grid: for cells, `(height, width)` in cells; else None.
    """

    labels: tuple[str, ...]
    kind: AxisKind = "text"
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.grid is not None:
            object.__setattr__(self, "grid", tuple(self.grid))
        if self.kind not in get_args(AxisKind):
            raise ValueError(
                f"An axis is of one of the kinds {', '.join(get_args(AxisKind))}. "
                f"Received: {self.kind!r}"
            )
        for label in self.labels:
            if not isinstance(label, str):
                raise ValueError(f"Labels of an axis are strings. Received: {label!r}")
        if (self.kind == "cells") != (self.grid is not None):
            raise ValueError(
                "An axis has a grid when, and only when, it is of picture cells. "
                f"Received: kind={self.kind!r}, grid={self.grid}"
            )
        if self.grid is not None and self.grid[0] * self.grid[1] != len(self.labels):
            raise ValueError(
                "A grid of picture cells has height x width labels. "
                f"Received: grid={self.grid}, {len(self.labels)} labels"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def positions(self) -> np.ndarray:
        """Where the positions lie, `(positions, dimensions)`, from 0 to 1 along each dimension."""
        if self.grid is None:
            return np.linspace(0, 1, len(self))[:, None]
        rows, columns = (np.linspace(0, 1, size) for size in self.grid)
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)

    @classmethod
    def cells(cls, height: int, width: int) -> Axis:
        """The cells of a picture, row by row, labelled `row,column` from `0,0`."""
        labels = tuple(f"{row},{column}" for row in range(height) for column in range(width))
        return cls(labels, "cells", (height, width))


@dataclass(frozen=True, eq=False)
class AttentionRecord:
    """The attention of one layer in one example at one moment of training, ready to be shown.

    Attributes:
        weights: `(heads, query, key)`, float32, read-only.
        layer: path of the layer in its model.
        query: what attends.
        key: what is attended to.
        step: when in training, in the unit of the log it goes to (epochs in `AttentionLog`).
        gold: where attention should be, `(query, key)` float32, 0 where it should not be, or None
            where that is not known. A row of zeros is a query without gold.
        title: which example this is; names it among the others.
        heads: name of each head, by default `head 0`, `head 1`, ...

    Raises:
        ValueError: for shapes that do not fit each other.
    """

    weights: np.ndarray
    layer: str
    query: Axis
    key: Axis
    step: int = 0
    gold: np.ndarray | None = None
    title: str = ""
    heads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        weights = _frozen(self.weights)
        if weights.ndim != 3:
            raise ValueError(
                "Weights of a record have the shape (heads, query, key). "
                f"Received: shape {weights.shape} of layer {self.layer!r}. "
                "Take one example out of the batch."
            )
        set_field = object.__setattr__  # The class is frozen.
        set_field(self, "weights", weights)
        names = tuple(self.heads) or tuple(f"head {index}" for index in range(len(weights)))
        set_field(self, "heads", names)
        labelled = (len(self.heads), len(self.query), len(self.key))
        if weights.shape != labelled:
            raise ValueError(
                "Every head, query and key of a record has one label. "
                f"Received: weights {weights.shape} of layer {self.layer!r}, labels for "
                f"{labelled}. Cut padding off the weights."
            )
        if self.gold is not None:
            gold = _frozen(self.gold)
            if gold.shape != weights.shape[1:]:
                raise ValueError(
                    "Gold attention has the shape (query, key) of its record. "
                    f"Received: gold {gold.shape}, weights {weights.shape}"
                )
            set_field(self, "gold", gold)

    def head(self, index: int) -> AttentionRecord:
        """The same record with one head only."""
        return replace(self, weights=self.weights[index][None], heads=(self.heads[index],))

    def mean(self) -> AttentionRecord:
        """The same record with one head, the mean of all."""
        return replace(self, weights=self.weights.mean(0, keepdims=True), heads=("mean of heads",))

    def at(self, step: int) -> AttentionRecord:
        """The same record at another step."""
        return replace(self, step=step)


def _frozen(values: Any) -> np.ndarray:
    array = np.array(values, dtype=np.float32, order="C")
    array.flags.writeable = False
    return array
