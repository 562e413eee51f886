"""What validation says of a trained model: how far to trust it, and how wide its quantiles are.

Only the validation part is looked at, and the answers are kept in the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forecasting.baselines import random_walk
from forecasting.config import Config
from forecasting.metrics import pinball
from forecasting.significance import diebold_mariano

SHARES = (0.25, 0.5, 0.75, 1.0)
_NARROWEST, _WIDEST = 0.2, 5.0


def forecast_all(
    model: Any, windows: Any, origins: np.ndarray, *, batch_size: int = 256
) -> np.ndarray:
    """Forecasts of a model at many origins.

    Args:
        model: the forecaster.
        windows: the rows.
        origins: rows at which forecasts are made.
        batch_size: windows at once; the forecasts do not depend on it.

    Returns:
        Changes in scaled units, `(origins, horizon, targets, outputs)` float64.
    """
    parts = [
        np.asarray(model(windows.inputs(origins[start : start + batch_size]), training=False))
        for start in range(0, len(origins), batch_size)
    ]
    return np.concatenate(parts).astype(np.float64)


def losses_of(config: Config, forecast: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """What training minimises, of every forecast value.

    Args:
        config: `loss` and `quantiles` are used.
        forecast: `(origins, horizon, targets, outputs)`.
        actual: `(origins, horizon, targets)`.

    Returns:
        `(origins, horizon, targets)`.
    """
    if config.levels:
        return pinball(forecast, actual, config.levels)
    error = forecast[..., 0] - actual
    return np.square(error) if config.loss == "squared" else np.abs(error)


def validation_loss(model: Any, config: Config, splits: Any) -> float:
    """What training minimises, on the validation part.

    Args:
        model: the forecaster.
        config: names the loss.
        splits: the data.
    """
    origins = splits.parts.origins("validation")
    forecast = forecast_all(model, splits.windows, origins)
    return float(losses_of(config, forecast, splits.windows.changes(origins)).mean())


def calibrate_run(run_dir: Path, config: Config, splits: Any) -> dict[str, Any]:
    """Calibrate the weights that validation chose, and keep that in `model.keras`.

    Args:
        run_dir: the run folder.
        config: `departure` and `calibration` are used.
        splits: the data.

    Returns:
        `val_loss_walk`, `val_loss_calibrated`, `location_share`, `spread_share` and
        `val_stretch`, the mean factor of each quantile.
    """
    import keras

    from attention_apps.running.runs import MODEL

    path = Path(run_dir) / MODEL
    if not path.exists():
        return {}
    model = keras.saving.load_model(path, compile=False)
    figures = calibrate(model, config, splits)
    save_model(run_dir, model)
    return figures


def save_model(run_dir: Path, model: Any) -> None:
    """Keep a model as the run's `model.keras`.

    Args:
        run_dir: the run folder.
        model: the forecaster, without an optimizer.
    """
    from attention_apps.running.atomic import whole_file
    from attention_apps.running.runs import MODEL

    with whole_file(Path(run_dir) / MODEL) as partial:
        model.save(partial)


def calibrate(model: Any, config: Config, splits: Any) -> dict[str, Any]:
    """Set the shares and stretches of a model by the validation part; see `calibrate_run`."""
    output = model.output_quantiles
    output.location_share.assign(1.0)
    if config.levels:
        output.spread_share.assign(1.0)
        output.stretch.assign(np.ones(output.stretch.shape))
    origins = splits.parts.origins("validation")
    actual = splits.windows.changes(origins)
    full = forecast_all(model, splits.windows, origins)
    departure = Departure.of(full, output)
    walk = random_walk(splits, config.levels)(origins)
    location, spread = 1.0, 1.0
    if config.departure == "proven":
        location, spread = departure.proven(config, actual)
    output.location_share.assign(location)
    figures: dict[str, Any] = {
        "val_loss_walk": float(losses_of(config, walk, actual).mean()),
        "location_share": location,
        "spread_share": spread,
    }
    if config.levels:
        output.spread_share.assign(spread)
        if config.calibration == "conformal":
            factors = stretches(departure.at(location, spread), actual, config.levels)
            output.stretch.assign(factors[:, None])
            figures["val_stretch"] = [float(factor) for factor in factors.mean(0)]
    calibrated = forecast_all(model, splits.windows, origins)
    figures["val_loss_calibrated"] = float(losses_of(config, calibrated, actual).mean())
    return figures


@dataclass(frozen=True)
class Departure:
    """A forecast taken apart: where the random walk is, and the way from there.

    Attributes:
        location: the median, or the single value, `(origins, horizon, targets, 1)`.
        walk: the random walk's quantiles around 0, `(horizon, targets, outputs)`.
        spread: the forecast's quantiles around its median, `(origins, horizon, targets, outputs)`.
    """

    location: np.ndarray
    walk: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, forecast: np.ndarray, output: Any) -> Departure:
        """Take apart what a model with all shares at 1 forecasts."""
        if not output.levels:
            return cls(forecast, np.zeros(forecast.shape[1:]), np.zeros_like(forecast))
        middle = output.levels.index(0.5)
        location = forecast[..., middle : middle + 1]
        gaps = np.asarray(output.walk_gaps, np.float64)
        raised = np.concatenate([np.zeros_like(gaps[..., :1]), np.cumsum(gaps, axis=-1)], axis=-1)
        return cls(location, raised - raised[..., middle : middle + 1], forecast - location)

    def at(self, location: float, spread: float) -> np.ndarray:
        """The forecast that goes these shares of the way from the random walk."""
        return location * self.location + self.walk + spread * (self.spread - self.walk)

    def proven(self, config: Config, actual: np.ndarray) -> tuple[float, float]:
        """The shares of the way that have the lowest loss, if that is proof, else 0.

        Proof is a Diebold-Mariano test at the 5 % level: first of the location with the walk's
        spread around it, then of the spread around that location.

        Args:
            config: names the loss.
            actual: `(origins, horizon, targets)`.

        Returns:
            Shares of location and spread, from 0 to 1.
        """

        def best(losses: dict[float, np.ndarray]) -> float:
            share = min(losses, key=lambda share: losses[share].mean())
            test = diebold_mariano(losses[0.0], losses[share], horizon=actual.shape[1])
            return share if test.is_proof else 0.0

        def daily(location: float, spread: float) -> np.ndarray:
            return losses_of(config, self.at(location, spread), actual).mean((1, 2))

        every = (0.0, *SHARES)
        location = best({share: daily(share, 0.0) for share in every})
        if not config.levels:
            return location, 0.0
        # Errors around a location that was moved are smaller: the spread comes second.
        return location, best({share: daily(location, share) for share in every})


def stretches(forecast: np.ndarray, actual: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """By what factors to stretch quantiles, so that as much lies beyond them as should.

    Every quantile has its own factor for every forecast row: the conformal quantile of how far the
    outcome lies from the median, in units of the quantile's own distance from it.

    Args:
        forecast: `(origins, horizon, targets, quantiles)`.
        actual: `(origins, horizon, targets)`.
        levels: of the quantiles, with 0.5 among them.

    Returns:
        `(horizon, quantiles)`, 1 for the median.

    Reference: Romano, Patterson and Candes 2019, "Conformalized Quantile Regression", each side by
    itself and in proportion, as in Sesia and Candes 2020, "A Comparison of Some Conformal Quantile
    Regression Methods".
    """
    middle = levels.index(0.5)
    median = forecast[..., middle]
    factors = np.ones((forecast.shape[1], len(levels)))
    for index, level in enumerate(levels):
        if index == middle:
            continue
        distance = forecast[..., index] - median
        scores = np.moveaxis((actual - median) / distance, 1, 0).reshape(forecast.shape[1], -1)
        size, covered = scores.shape[1], max(level, 1 - level)
        share = min(math.ceil((size + 1) * covered) / size, 1.0)
        factors[:, index] = np.quantile(scores, share, axis=1, method="higher")
    return np.clip(factors, _NARROWEST, _WIDEST)
