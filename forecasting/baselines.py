"""What every figure of forecasting stands beside: naive, seasonal, drift, ridge, theta, ETS.

A floor is a function from origins to forecasts, measured on the training part alone. Floors that
forecast one value are given the spread of their own errors in training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attention_apps.running.command import UserError
from forecasting.config import Config
from forecasting.quantiles import walk_quantiles

Points = Callable[[np.ndarray], np.ndarray]
"""From origins `(origins,)` to changes in scaled units, `(origins, horizon, targets)`."""

PENALTIES = 10.0 ** np.arange(-4, 6)
"""Of ridge, in units of the windows' mean square."""

_CHUNK = 512  # windows gathered at once: bounds the memory, changes no result


def random_walk(splits: Any, levels: tuple[float, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """The last value, with the spread of changes in training.

    Args:
        splits: the data.
        levels: of the quantiles; none gives single values.

    Returns:
        From origins to `(origins, horizon, targets, outputs)` in scaled units.
    """
    windows = splits.windows
    if levels:
        walk = walk_quantiles(windows.changes(splits.parts.origins("training")), levels)
    else:
        walk = np.zeros((windows.horizon, windows.series.shape[1], 1))
    return lambda origins: np.repeat(walk[None], len(origins), axis=0)


def with_spread(
    points: Points, splits: Any, levels: tuple[float, ...]
) -> Callable[[np.ndarray], np.ndarray]:
    """Give single forecasts the spread of their errors in training.

    Args:
        points: the forecasts.
        splits: the data.
        levels: of the quantiles; none leaves single values.

    Returns:
        From origins to `(origins, horizon, targets, outputs)`.
    """
    if not levels:
        return lambda origins: points(origins)[..., None]
    training = splits.parts.origins("training")
    errors = splits.windows.changes(training) - points(training)
    spread = np.moveaxis(np.quantile(errors, levels, axis=0), 0, -1)
    return lambda origins: points(origins)[..., None] + spread


def seasonal_naive(splits: Any, season: int) -> Points:
    """The value of the same place in the last season that is known."""
    series, horizon = splits.windows.series, splits.windows.horizon
    ahead = np.arange(1, horizon + 1)
    back = ahead - season * -(-ahead // season)

    def points(origins: np.ndarray) -> np.ndarray:
        rows = np.maximum(origins[:, None] + back, 0)
        return series[rows] - series[origins][:, None]

    return points


def drift(splits: Any) -> Points:
    """The mean step of the training part, again and again."""
    series, horizon = splits.windows.series, splits.windows.horizon
    training = series[: splits.parts.cutoff]
    step = (training[-1] - training[0]) / (len(training) - 1)
    changes = np.arange(1, horizon + 1)[:, None] * step
    return lambda origins: np.repeat(changes[None], len(origins), axis=0)


def ridge(splits: Any) -> Points:
    """Linear regression on the last rows, the last one subtracted, penalised as validation says.

    One matrix `(lookback, horizon)` serves all series.

    Reference: Hoerl and Kennard 1970, "Ridge Regression"; subtracting the last value is NLinear's,
    Zeng et al. 2023.
    """
    windows, parts = splits.windows, splits.parts
    size = windows.lookback
    products, moments = np.zeros((size, size)), np.zeros((size, windows.horizon))
    count = 0
    training = parts.origins("training")
    for start in range(0, len(training), _CHUNK):
        shown, changes = _pairs(windows, training[start : start + _CHUNK])
        products = products + shown.T @ shown
        moments = moments + shown.T @ changes
        count += len(shown)
    products, moments = products / count, moments / count
    mean_square = np.trace(products) / size
    matrices = [
        np.linalg.solve(products + penalty * mean_square * np.eye(size), moments)
        for penalty in PENALTIES
    ]
    errors = np.zeros(len(matrices))
    validation = parts.origins("validation")
    for start in range(0, len(validation), _CHUNK):
        shown, changes = _pairs(windows, validation[start : start + _CHUNK])
        errors += [np.square(shown @ matrix - changes).sum() for matrix in matrices]
    best = matrices[int(errors.argmin())]

    def points(origins: np.ndarray) -> np.ndarray:
        shown = _shown(windows, origins)  # (origins, targets, lookback)
        return np.moveaxis(shown @ best, 1, 2)

    return points


def _shown(windows: Any, origins: np.ndarray) -> np.ndarray:
    rows = origins[:, None] + np.arange(1 - windows.lookback, 1)
    past = windows.series[rows]
    return np.moveaxis(past - past[:, -1:], 1, 2)


def _pairs(windows: Any, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shown = _shown(windows, origins)
    changes = np.moveaxis(windows.changes(origins), 1, 2)
    return shown.reshape(-1, shown.shape[-1]), changes.reshape(-1, changes.shape[-1])


def floors(
    config: Config, splits: Any, names: tuple[str, ...] = ()
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The floors that mean something for what is forecast, by name; the random walk always.

    Args:
        config: the room's configuration.
        splits: the data.
        names: which to measure; none for all.

    Returns:
        Functions from origins to `(origins, horizon, targets, outputs)` in scaled units.

    Raises:
        UserError: for a name that no floor of this target has.
    """
    from forecasting.smoothing import exponential_smoothing, theta
    from forecasting.volatility import garch_returns, garch_variance, har, har_returns

    levels = config.levels
    season = config.season if config.target == "levels" else 1
    # Made only where asked for: some are estimated for minutes.
    points: dict[str, Callable[[], Points]] = {
        "seasonal naive": lambda: seasonal_naive(splits, config.season),
        "drift": lambda: drift(splits),
        "ridge": lambda: ridge(splits),
        "theta": lambda: theta(splits, season),
        "ETS": lambda: exponential_smoothing(splits, season),
    }
    bands: dict[str, Callable[[], Callable[[np.ndarray], np.ndarray]]] = {}
    if config.target == "volatility":
        points |= {"HAR": lambda: har(splits), "GARCH(1,1)": lambda: garch_variance(splits)}
        if config.covariates:
            points["HAR-X"] = lambda: har(splits, splits.shared)
    if config.target == "returns" and levels:
        bands["GARCH(1,1)"] = lambda: garch_returns(splits, levels)
        if splits.has_range:
            bands["HAR-scaled"] = lambda: har_returns(splits, levels)
            if config.covariates:
                bands["HAR-X-scaled"] = lambda: har_returns(splits, levels, splits.shared)
    for name in names:
        if name not in (*points, *bands):
            raise UserError(f"--floors knows {', '.join((*points, *bands))}. Received: {name}")
    asked = names or (*points, *bands)
    named = {"random walk": random_walk(splits, levels)}
    named |= {
        name: with_spread(make(), splits, levels) for name, make in points.items() if name in asked
    }
    return named | {name: make() for name, make in bands.items() if name in asked}
