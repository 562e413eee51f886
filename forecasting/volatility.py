"""Floors of volatility: HAR and GARCH(1,1), and the bands of returns that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from arch import arch_model

from forecasting.baselines import Points

_SPANS = (1, 5, 22)  # rows of a day, a week and a month
_PERCENT = 100.0  # arch estimates best where returns are of order 1


def har(splits: Any, covariates: np.ndarray | None = None) -> Points:
    """Regression of the log variance on its means over a day, a week and a month, for each asset.

    Every forecast row has a regression of its own.

    Args:
        splits: the data.
        covariates: known at each row and regressed on, too, `(time, covariates)`.

    Reference: Corsi 2009, "A Simple Approximate Long-Memory Model of Realized Volatility"; with
    implied volatility as a covariate Busch, Christensen and Nielsen 2011, "The Role of Implied
    Volatility in Forecasting Future Realized Volatility and Jumps".
    """
    series, horizon = splits.windows.series, splits.windows.horizon
    targets = [_ahead(series, row) for row in range(1, horizon + 1)]
    forecasts = _regressions(series, targets, splits.parts.cutoff, horizon, covariates)
    return lambda origins: forecasts[origins] - series[origins][:, None]


def har_returns(
    splits: Any, levels: tuple[float, ...], covariates: np.ndarray | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Bands of returns in proportion to the volatility that HAR forecasts for those rows.

    Args:
        splits: the data; its first feature is the log variance.
        levels: of the quantiles.
        covariates: see `har`.

    Returns:
        From origins to `(origins, horizon, targets, quantiles)` in scaled units.
    """
    horizon, targets = splits.windows.horizon, splits.windows.series.shape[1]
    log_variance = splits.features[:, :targets, 0]
    variance = np.exp(log_variance)
    spans = [
        np.log(np.mean([_ahead(variance, row) for row in range(1, end + 1)], axis=0))
        for end in range(1, horizon + 1)
    ]
    forecasts = _regressions(log_variance, spans, splits.parts.cutoff, horizon, covariates)
    ahead = np.sqrt(np.arange(1, horizon + 1))[:, None]
    return _band(splits, levels, np.exp(forecasts / 2) * ahead)


def _ahead(values: np.ndarray, rows: int) -> np.ndarray:
    """Values some rows later; NaN where there are none."""
    return np.concatenate([values[rows:], np.full_like(values[:rows], np.nan)])


def _regressions(
    log_variance: np.ndarray,
    targets: list[np.ndarray],
    cutoff: int,
    horizon: int,
    covariates: np.ndarray | None,
) -> np.ndarray:
    """Fit each target on the training part, and forecast it from every row.

    Args:
        log_variance: `(time, assets)`.
        targets: for every forecast row what follows each row, `(time, assets)`.
        cutoff: the first row that may not be seen.
        horizon: rows that targets reach ahead.
        covariates: known at each row, `(time, covariates)`, or None.

    Returns:
        `(time, horizon, assets)`.
    """
    others = [] if covariates is None else [covariates]
    sums = np.cumsum(np.concatenate([np.zeros_like(log_variance[:1]), log_variance]), axis=0)
    rows = np.arange(len(log_variance))
    means = [
        (sums[rows + 1] - sums[np.maximum(rows + 1 - span, 0)])
        / np.minimum(rows + 1, span)[:, None]
        for span in _SPANS
    ]
    seen = slice(_SPANS[-1] - 1, cutoff - horizon)
    forecasts = np.empty((len(log_variance), len(targets), log_variance.shape[1]))
    for asset in range(log_variance.shape[1]):
        own = [np.ones(len(rows)), *(mean[:, asset] for mean in means)]
        shown = np.column_stack([*own, *others])
        for row, target in enumerate(targets):
            weights, *_ = np.linalg.lstsq(shown[seen], target[seen, asset], rcond=None)
            forecasts[:, row, asset] = shown @ weights
    return forecasts


def _band(
    splits: Any, levels: tuple[float, ...], deviation: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Quantiles of what moves in proportion to a deviation, as in training.

    Args:
        splits: the data.
        levels: of the quantiles.
        deviation: forecast from every row, `(time, horizon, targets)`, in any unit.

    Returns:
        From origins to `(origins, horizon, targets, quantiles)` in scaled units.
    """
    training = splits.parts.origins("training")
    moves = splits.windows.changes(training) / deviation[training]
    quantiles = np.moveaxis(np.quantile(moves, levels, axis=0), 0, -1)
    return lambda origins: deviation[origins][..., None] * quantiles


def garch_variances(splits: Any) -> np.ndarray:
    """Variances of each of the next rows' returns by GARCH(1,1), from every row.

    Estimated on the training part with a constant mean and Student's errors; then followed.

    Returns:
        `(time, horizon, targets)`, of returns in percent.

    Reference: Bollerslev 1986, "Generalized Autoregressive Conditional Heteroskedasticity".
    """
    horizon, targets = splits.windows.horizon, splits.windows.series.shape[1]
    variances = []
    for asset in range(targets):
        returns = _PERCENT * splits.features[1:, asset, -1]
        fitted = arch_model(returns[: splits.parts.cutoff - 1], dist="t").fit(disp="off")
        ahead = (
            arch_model(returns, dist="t")
            .fix(fitted.params)
            .forecast(horizon=horizon, start=0, reindex=True)
        )
        values = np.asarray(ahead.variance)
        variances.append(np.concatenate([values[:1], values]))  # no return leads to the first row
    return np.stack(variances, axis=-1)


def garch_returns(splits: Any, levels: tuple[float, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """Bands of returns in proportion to the volatility that GARCH(1,1) forecasts."""
    return _band(splits, levels, np.sqrt(np.cumsum(garch_variances(splits), axis=1)))


def garch_variance(splits: Any) -> Points:
    """The log variance by GARCH(1,1), brought to the mean of the range's in training."""
    series, training = splits.windows.series, splits.parts.origins("training")
    log_variance = np.log(garch_variances(splits)) / splits.scaling.scale
    ahead = np.arange(1, splits.windows.horizon + 1)
    offset = (series[training[:, None] + ahead] - log_variance[training]).mean(0)
    return lambda origins: log_variance[origins] + offset - series[origins][:, None]
