"""From raw cells to forecasts in their own units, in graph code: what an exported model runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from attention_apps.observation.observe import observe
from forecasting.config import Config
from forecasting.model import Forecaster
from forecasting.series import calendar_features, read


class Serving:
    """A forecaster that takes cells as they stand in files.

    Args:
        model: the forecaster; its units are inside.
        config: the room's configuration.
        columns: of every variable, in order.
        level: by what factor variances exceed the exponentials of what is forecast,
            `(horizon, targets)`, see `Scores.variance_level`; None where no variance is forecast.
    """

    def __init__(
        self,
        model: Forecaster,
        config: Config,
        columns: tuple[str, ...],
        level: np.ndarray | None = None,
    ) -> None:
        self.model = model
        self._level = level
        self._config = config
        self._columns = columns
        self._observed = observe(model)

    @property
    def signature(self) -> list[tf.TensorSpec]:
        """What the endpoints take, in order; see `forecast`."""
        sizes = self.model.sizes
        shape = (None, None, sizes["num_variables"], len(self._columns))
        specs = [tf.TensorSpec(shape, tf.float64, name="values")]
        if self._config.calendar != "none":
            specs.append(tf.TensorSpec((None, None), tf.int64, name="times"))
        if sizes["num_columns"]:
            known = (None, None, sizes["num_columns"])
            specs.append(tf.TensorSpec(known, tf.float64, name="known"))
        return specs

    def forecast(self, values: Any, *others: Any) -> dict[str, Any]:
        """Forecast what follows the last row.

        Args:
            values: `(batch, time, variables, columns)` float64, NaN where there is nothing; `time`
                is the lookback or more. Gaps are filled by the rules of `series`.
            *others: `times` `(batch, time + horizon)` int64 seconds since 1970, of the rows and of
                those that are forecast, if the model knows a calendar; `known`
                `(batch, time + horizon, columns)` float64, if it has such columns.

        Returns:
            `forecasts` in the unit of the prices, variances or values, and `changes` from the last
            value (log returns, log variances or values), both
            `(batch, horizon, targets, quantiles)` float64. Of a variance also `means`
            `(batch, horizon, targets)`: what days like these had in the mean, where `forecasts` is
            a typical one.
        """
        inputs, last = self._inputs(values, *others)
        return self._told(self.model(inputs, training=False), last)

    def forecast_with_attention(self, values: Any, *others: Any) -> dict[str, Any]:
        """`forecast`, and `attention` of the layer that speaks for the model.

        Returns:
            The same and `attention` float32: `(batch, heads, targets, horizon, patches)` for the
            form `time`, `(batch, heads, targets, horizon, variables, patches)` for `both`,
            `(batch, heads, variables, variables)`, of the last block, for `variables`.
        """
        inputs, last = self._inputs(values, *others)
        changes, maps = self._observed(inputs, training=False)
        return {**self._told(changes, last), "attention": self._attention(maps)}

    def _inputs(self, values: Any, *others: Any) -> tuple[dict[str, Any], Any]:
        sizes, units, config = self.model.sizes, self.model.units, self._config
        given = dict(zip([spec.name for spec in self.signature], (values, *others), strict=True))
        series, features = read(
            values,
            columns=self._columns,
            target=config.target,
            variance=config.variance,
            context=config.context,
            num_targets=sizes["num_targets"],
            num_shared=len(config.covariates),
        )
        tf.debugging.assert_greater_equal(
            tf.shape(values)[1],
            sizes["lookback"],
            message=f"values must hold at least {sizes['lookback']} rows",
        )
        features = (features - _raw(units.feature_center)) / _raw(units.feature_scale)
        inputs = {"past": tf.cast(features, tf.float32)[:, -sizes["lookback"] :]}
        known = []
        if "times" in given:
            known.append(calendar_features(given["times"], config.calendar))
        if "known" in given:
            scaled = (given["known"] - _raw(units.known_center)) / _raw(units.known_scale)
            known.append(tf.cast(scaled, tf.float32))
        if known:
            rows = sizes["lookback"] + sizes["horizon"]
            inputs["known"] = tf.concat(known, axis=-1)[:, -rows:]
        return inputs, series[:, -1, : sizes["num_targets"]]

    def _told(self, changes: Any, last: Any) -> dict[str, Any]:
        changes = tf.cast(changes, tf.float64) * _raw(self.model.units.scale)[:, None]
        forecasts = last[:, None, :, None] + changes
        if self._config.target != "levels":
            forecasts = tf.exp(forecasts)
        told = {"forecasts": forecasts, "changes": changes}
        if self._level is not None:
            levels = self._config.levels
            told["means"] = forecasts[..., levels.index(0.5) if levels else 0] * self._level
        return told

    def _attention(self, maps: dict[str, Any]) -> Any:
        sizes = self.model.sizes
        if sizes["form"] == "variables":
            return list(maps.values())[-1]
        (weights,) = (w for path, w in maps.items() if "horizon_attention" in path)
        heads, patches = weights.shape[1], sizes["lookback"] // sizes["patch_length"]
        targets, horizon = sizes["num_targets"], sizes["horizon"]
        if sizes["form"] == "time":
            weights = tf.reshape(weights, (-1, targets, heads, horizon, patches))
            return tf.transpose(weights, (0, 2, 1, 3, 4))
        return tf.reshape(weights, (-1, heads, targets, horizon, sizes["num_variables"], patches))


def _raw(variable: Any) -> Any:
    """A float64 value of the model, whatever the precision that layers compute in."""
    return tf.convert_to_tensor(variable.value)
