"""Quantiles that cannot cross, and how far they may leave the random walk's."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

_UNIT = math.log(math.e - 1)  # softplus of it is 1
_SMALLEST_GAP = 1e-6


@keras.saving.register_keras_serializable("attention_apps.forecasting")
class NonCrossing(keras.layers.Layer):
    """From free numbers to a forecast that is the random walk's where they are zero.

    The median is the first free number; every other quantile lies a positive gap beyond its
    neighbour. A gap is the random walk's own, times a positive function of a free number, which is
    1 for 0: `softplus`, or `exp`, with which a linear log deviation scales the whole band. Without
    quantiles there is the first number alone.

    Three groups of values are set after training and not learned: how much of the way from the
    random walk is gone in location and in spread, and by what factor each quantile's distance from
    the median is stretched.

    Args:
        horizon: rows that are forecast.
        num_targets: series that are forecast.
        levels: of the quantiles, with 0.5 among them; none forecasts a single value.
        growth: of a gap with its free number, `softplus` or `exp`.
        **kwargs: Keras's layer arguments.

    Call arguments:
        free: `(batch, horizon, targets, outputs)`, an output for every quantile or a single one.

    Returns:
        Changes from the last value in scaled units, `(batch, horizon, targets, outputs)`, rising
        along the last axis.
    """

    def __init__(
        self,
        *,
        horizon: int,
        num_targets: int,
        levels: tuple[float, ...],
        growth: str = "softplus",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.growth = growth
        self.horizon = horizon
        self.num_targets = num_targets
        self.levels = tuple(levels)

    def build(self, input_shape: Any = None) -> None:
        """Create what is set and not learned."""

        def kept(name: str, shape: tuple[int, ...]) -> Any:
            return self.add_weight(name=name, shape=shape, initializer="ones", trainable=False)

        self.location_share = kept("location_share", ())
        if self.levels:
            self.middle = self.levels.index(0.5)
            gaps = len(self.levels) - 1
            self.walk_gaps = kept("walk_gaps", (self.horizon, self.num_targets, gaps))
            self.spread_share = kept("spread_share", ())
            self.stretch = kept("stretch", (self.horizon, 1, gaps + 1))

    def call(self, free: Any) -> Any:
        """See the class."""
        location = self.location_share * free[..., :1]
        if not self.levels:
            return location
        free = free[..., 1:]
        factor = ops.exp(free) if self.growth == "exp" else ops.softplus(free + _UNIT)
        gaps = self.walk_gaps * (1 + self.spread_share * (factor - 1))
        below, above = gaps[..., : self.middle], gaps[..., self.middle :]
        lower = ops.flip(ops.cumsum(ops.flip(below, axis=-1), axis=-1), axis=-1)
        lower = lower * self.stretch[..., : self.middle]
        upper = ops.cumsum(above, axis=-1) * self.stretch[..., self.middle + 1 :]
        # Stretched by different factors quantiles could cross: each at least reaches its inner one.
        return ops.concatenate(
            [
                location - ops.flip(_running_maximum(ops.flip(lower, axis=-1)), axis=-1),
                location,
                location + _running_maximum(upper),
            ],
            axis=-1,
        )

    def set_walk(self, changes: np.ndarray) -> None:
        """Take the random walk's spread from how far the series moved in training.

        Args:
            changes: `(windows, horizon, targets)` in scaled units; divided by what the gaps grow
                with, where a start is not the walk.
        """
        if self.levels:
            self.walk_gaps.assign(np.diff(walk_quantiles(changes, self.levels), axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this layer again."""
        return {
            **super().get_config(),
            "horizon": self.horizon,
            "num_targets": self.num_targets,
            "levels": self.levels,
            "growth": self.growth,
        }


def _running_maximum(values: Any) -> Any:
    columns = [values[..., :1]]
    for index in range(1, values.shape[-1]):
        columns.append(ops.maximum(columns[-1], values[..., index : index + 1]))
    return ops.concatenate(columns, axis=-1)


def walk_quantiles(changes: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """What a random walk forecasts: no change, give or take what the training part shows.

    Args:
        changes: of the training part, `(windows, horizon, targets)`.
        levels: of the quantiles, with 0.5 among them.

    Returns:
        `(horizon, targets, quantiles)`, the median 0, strictly rising.
    """
    quantiles = np.moveaxis(np.quantile(changes, levels, axis=0), 0, -1)
    gaps = np.maximum(np.diff(quantiles, axis=-1), _SMALLEST_GAP)
    raised = np.concatenate([np.zeros_like(quantiles[..., :1]), np.cumsum(gaps, axis=-1)], axis=-1)
    return raised - raised[..., levels.index(0.5), None]


@keras.saving.register_keras_serializable("attention_apps.forecasting")
class Pinball(keras.losses.Loss):
    """The pinball loss: `max(q (y - f), (q - 1) (y - f))`, the mean over quantiles.

    Args:
        levels: of the quantiles.
        **kwargs: Keras's loss arguments.

    Reference: Koenker and Bassett 1978, "Regression Quantiles".
    """

    def __init__(self, levels: tuple[float, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.levels = tuple(levels)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of every forecast value.

        Args:
            y_true: `(batch, horizon, targets, 1)`.
            y_pred: `(batch, horizon, targets, quantiles)`.

        Returns:
            `(batch, horizon, targets)`.
        """
        levels = ops.convert_to_tensor(self.levels, dtype=y_pred.dtype)
        error = y_true - y_pred
        return ops.mean(ops.maximum(levels * error, (levels - 1) * error), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        return {**super().get_config(), "levels": self.levels}
