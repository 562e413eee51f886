"""Floors of classical forecasting: theta and exponential smoothing.

Both are estimated by statsmodels on the training part, once; from then on their states follow the
series row by row, so that a forecast exists at every origin.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.signal import lfilter
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from statsmodels.tsa.forecasting.theta import ThetaModel

from forecasting.baselines import Points


def theta(splits: Any, season: int) -> Points:
    """Simple exponential smoothing, plus half of the training part's trend.

    Args:
        splits: the data.
        season: rows of a season, whose mean pattern in training is taken off first; 1 for none.

    Reference: Assimakopoulos and Nikolopoulos 2000, "The Theta Model"; Hyndman and Billah 2003,
    "Unmasking the Theta Method".
    """
    series, horizon = splits.windows.series, splits.windows.horizon
    cutoff = splits.parts.cutoff
    pattern = _pattern(series[:cutoff], season)
    place = np.arange(len(series) + horizon) % season
    flat = series - pattern[place[: len(series)]]
    ahead = np.arange(1, horizon + 1)
    forecasts = []
    for values in flat.T:
        fitted = ThetaModel(values[:cutoff], period=1, deseasonalize=False).fit()
        share, slope = float(fitted.params["alpha"]), float(fitted.params["b0"])
        share = min(max(share, 1e-6), 1.0)
        level, _ = lfilter([share], [1, share - 1], values, zi=[(1 - share) * values[0]])
        trend = slope / 2 * (ahead - 1 + 1 / share)
        forecasts.append((level, trend))

    def points(origins: np.ndarray) -> np.ndarray:
        levels = np.stack([level[origins] for level, _ in forecasts], axis=-1)
        trends = np.stack([trend for _, trend in forecasts], axis=-1)
        ahead_pattern = pattern[place[origins[:, None] + ahead]]
        return levels[:, None] + trends + ahead_pattern - series[origins][:, None]

    return points


def _pattern(training: np.ndarray, season: int) -> np.ndarray:
    """Mean of every place of the season less the mean of all, `(season, targets)`."""
    place = np.arange(len(training)) % season
    means = np.stack([training[place == index].mean(0) for index in range(season)])
    return means - means.mean(0)


def exponential_smoothing(splits: Any, season: int) -> Points:
    """ETS with additive errors, a damped trend and, where there is a season, an additive one.

    Args:
        splits: the data.
        season: rows of a season; 1 for none.

    Reference: Hyndman, Koehler, Ord and Snyder 2008, "Forecasting with Exponential Smoothing".
    """
    series, horizon = splits.windows.series, splits.windows.horizon
    cutoff = splits.parts.cutoff
    seasonal = {"seasonal": "add", "seasonal_periods": season} if season > 1 else {}
    ahead = np.arange(1, horizon + 1)
    states = []
    for values in series.T:
        with warnings.catch_warnings():
            # A floor that did not quite converge is still a floor.
            warnings.simplefilter("ignore")
            model = ETSModel(
                values[:cutoff], error="add", trend="add", damped_trend=True, **seasonal
            )
            parameters = model.fit(disp=False).params
            followed = ETSModel(values, error="add", trend="add", damped_trend=True, **seasonal)
            result = followed.smooth(parameters)
        damping = float(parameters[model.param_names.index("damping_trend")])
        states.append((result.level, result.slope, result.season if seasonal else None, damping))

    def points(origins: np.ndarray) -> np.ndarray:
        columns = []
        for level, slope, pattern, damping in states:
            damped = np.cumsum(damping**ahead)
            forecast = level[origins][:, None] + slope[origins][:, None] * damped
            if pattern is not None:
                rows = origins[:, None] + ahead - season * -(-ahead // season)
                forecast = forecast + pattern[rows]
            columns.append(forecast)
        return np.stack(columns, axis=-1) - series[origins][:, None]

    return points
