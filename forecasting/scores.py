"""The table of figures: which ones mean something for what is forecast, and in which unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from forecasting import metrics
from forecasting.config import Config
from forecasting.significance import diebold_mariano

_BASIS_POINTS = 1e4


class Scores:
    """Scores forecasts of the same origins alike.

    Returns are scored in basis points (hundredths of a percent) of log return, variances in their
    logarithms and by QLIKE, levels in scaled units, as the standard tables do. The exponential of
    the log variance that is forecast lies below the mean variance, which QLIKE asks for: every
    forecast is brought to it by `variance_level`.

    Args:
        config: what is forecast and how.
        splits: the data.
        origins: rows at which forecasts are made.
    """

    def __init__(self, config: Config, splits: Any, origins: np.ndarray) -> None:
        self._config, self._splits, self._origins = config, splits, origins
        scale = splits.scaling.scale
        self._unit = np.ones_like(scale) if config.target == "levels" else scale
        if config.target == "returns":
            self._unit = self._unit * _BASIS_POINTS
        self._actual = splits.windows.changes(origins) * self._unit
        cutoff = splits.parts.cutoff
        self._steps = np.diff(splits.windows.series[:cutoff], axis=0) * self._unit
        self._log_variance = splits.series[origins][:, None] if self._is_variance else None

    @property
    def unit(self) -> np.ndarray:
        """Of the figures, for each target, in scaled units."""
        return self._unit

    @property
    def _is_variance(self) -> bool:
        return self._config.target == "volatility"

    @property
    def main_figure(self) -> str:
        """The figure that a run is judged by."""
        if self._config.levels:
            return "pinball"
        return "mse" if self._config.loss == "squared" else "mae"

    def variance_level(self, forecast: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """By what factor variances exceeded the exponentials of a forecast before the test part.

        Args:
            forecast: from origins to changes in scaled units, as of `forecasters`.

        Returns:
            The mean of the ratio over the training and validation part, `(horizon, targets)`; 1
            where no variance is forecast.

        Reference: Duan 1983, "Smearing Estimate: A Nonparametric Retransformation Method".
        """
        windows, parts = self._splits.windows, self._splits.parts
        if not self._is_variance:
            return np.ones((windows.horizon, windows.series.shape[1]))
        before = np.concatenate([parts.origins("training"), parts.origins("validation")])
        errors = windows.changes(before) - self._point(forecast(before))
        return np.exp(errors * self._unit).mean(0)

    def _point(self, forecast: np.ndarray) -> np.ndarray:
        levels = self._config.levels
        return forecast[..., levels.index(0.5) if levels else 0]

    def figures(self, forecast: np.ndarray, level: np.ndarray) -> dict[str, float]:
        """All figures of one forecast.

        Args:
            forecast: changes in scaled units, `(origins, horizon, targets, outputs)`.
            level: of its variances, see `variance_level`.

        Returns:
            Figures by name; means over origins, rows and targets unless the name says otherwise.
        """
        forecast, actual = forecast * self._unit[:, None], self._actual
        levels = self._config.levels
        point = self._point(forecast)
        found: dict[str, Any] = {}
        if levels:
            inside = metrics.coverage(forecast, actual)
            found |= {
                "pinball": metrics.pinball(forecast, actual, levels).mean(),
                "pinball_first_row": metrics.pinball(forecast, actual, levels)[:, 0].mean(),
                "crps": metrics.crps(forecast, actual, levels).mean(),
                "coverage": inside.mean(),
                "coverage_first_row": inside[:, 0].mean(),
                "width": metrics.width(forecast).mean(),
                "width_first_row": metrics.width(forecast)[:, 0].mean(),
            }
        found |= {
            "mse": np.square(point - actual).mean(),
            "mae": np.abs(point - actual).mean(),
            "mase": metrics.scaled_error(point, actual, self._steps).mean(),
        }
        if self._log_variance is not None:
            found |= self._variance_figures(point, level)
        if self._config.target == "returns":
            found["directional_accuracy_first_row"] = metrics.directional_accuracy(
                point[:, 0], actual[:, 0]
            )
            if actual.shape[2] > 2:
                found["information_coefficient_first_row"] = metrics.information_coefficient(
                    point[:, 0], actual[:, 0]
                )
        return {name: float(value) for name, value in found.items()}

    def _qlike(self, point: np.ndarray, level: np.ndarray) -> np.ndarray:
        forecast = level * np.exp(self._log_variance + point)
        return metrics.qlike(forecast, np.exp(self._log_variance + self._actual))

    def _variance_figures(self, point: np.ndarray, level: np.ndarray) -> dict[str, Any]:
        qlike = self._qlike(point, level)
        return {
            "qlike": qlike.mean(),
            "qlike_first_row": qlike[:, 0].mean(),
            "mse_first_row": np.square(point - self._actual)[:, 0].mean(),
        }

    def daily_losses(self, forecast: np.ndarray, level: np.ndarray) -> dict[str, np.ndarray]:
        """The figures that forecasts are compared by, at every origin.

        Args:
            forecast: changes in scaled units, `(origins, horizon, targets, outputs)`.
            level: of its variances, see `variance_level`.

        Returns:
            By name, means over rows and targets, `(origins,)`; the main figure first.
        """
        forecast, actual = forecast * self._unit[:, None], self._actual
        levels = self._config.levels
        point = self._point(forecast)
        losses = {"mse": np.square(point - actual), "mae": np.abs(point - actual)}
        if levels:
            losses["pinball"] = metrics.pinball(forecast, actual, levels)
        if self._log_variance is not None:
            losses["qlike"] = self._qlike(point, level)
        main = self.main_figure
        ordered = {main: losses.pop(main), **losses}
        found = {name: loss.mean((1, 2)) for name, loss in ordered.items()}
        if levels and self._config.horizon > 1:
            found["pinball_first_row"] = ordered["pinball"][:, 0].mean(1)
        return found

    def compared(
        self, floor: dict[str, np.ndarray], model: dict[str, np.ndarray]
    ) -> dict[str, dict[str, Any]]:
        """Whether the model is better than a floor by the losses of `daily_losses`, by figure.

        Returns:
            By figure `skill`, `statistic`, `p_value`, `effective_size` and `size` of the test, and
            `largest_share`, how much of the summed difference of the losses one origin alone makes,
            `largest_after`: where that is most of it, the rest may prove more than the whole.
        """
        found: dict[str, dict[str, Any]] = {}
        for name, loss in model.items():
            horizon = 1 if name.endswith("_first_row") else self._config.horizon
            test = diebold_mariano(floor[name], loss, horizon=horizon)
            found[name] = {
                "skill": float(1 - loss.mean() / floor[name].mean()),
                "statistic": test.statistic,
                "p_value": test.p_value,
                "effective_size": test.effective_size,
                "size": test.size,
                **self._largest(floor[name] - loss),
            }
        return found

    def _largest(self, difference: np.ndarray) -> dict[str, Any]:
        place, total = int(np.abs(difference).argmax()), abs(float(difference.sum()))
        return {
            "largest_share": float(abs(difference[place]) / total) if total else 0.0,
            "largest_after": self._splits.panel.label(int(self._origins[place])),
        }


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Forecasts down, figures across, in aligned columns.

    Args:
        rows: figures of each forecast by name.
    """
    names = list(next(iter(rows.values())))
    lines = [["", *(name.replace("_first_row", " (1)").replace("_", " ") for name in names)]]
    lines += [[row, *(f"{figures[name]:.4g}" for name in names)] for row, figures in rows.items()]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
