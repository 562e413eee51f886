"""Figures of forecasts; each keeps the axis of origins, so that sums do not depend on batches."""

from __future__ import annotations

import numpy as np
from scipy import stats


def pinball(forecast: np.ndarray, actual: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """The pinball loss, the mean over quantiles.

    Args:
        forecast: `(origins, horizon, targets, quantiles)`.
        actual: `(origins, horizon, targets)`.
        levels: of the quantiles.

    Returns:
        `(origins, horizon, targets)`.
    """
    error, level = actual[..., None] - forecast, np.asarray(levels)
    return np.maximum(level * error, (level - 1) * error).mean(-1)


def crps(forecast: np.ndarray, actual: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """The continuous ranked probability score: twice the pinball loss, integrated over levels.

    The integral is the trapezoidal rule over the levels there are; beyond the outermost ones the
    loss falls linearly to 0, as it does at the levels 0 and 1.

    Args:
        forecast: `(origins, horizon, targets, quantiles)`.
        actual: `(origins, horizon, targets)`.
        levels: of the quantiles.

    Returns:
        `(origins, horizon, targets)`, in the unit of the values.

    Reference: Gneiting and Raftery 2007, "Strictly Proper Scoring Rules, Prediction, and
    Estimation".
    """
    error, level = actual[..., None] - forecast, np.asarray(levels)
    losses = np.maximum(level * error, (level - 1) * error)
    edges = np.concatenate([[0.0], level, [1.0]])
    padded = np.pad(losses, [(0, 0)] * (losses.ndim - 1) + [(1, 1)])
    return 2 * np.trapezoid(padded, edges, axis=-1)


def coverage(forecast: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Whether the outcome lies between the outermost quantiles, `(origins, horizon, targets)`."""
    return (actual >= forecast[..., 0]) & (actual <= forecast[..., -1])


def width(forecast: np.ndarray) -> np.ndarray:
    """Distance of the outermost quantiles, `(origins, horizon, targets)`."""
    return forecast[..., -1] - forecast[..., 0]


def scaled_error(
    forecast: np.ndarray, actual: np.ndarray, training_changes: np.ndarray
) -> np.ndarray:
    """Absolute error over that of the one-step naive forecast in training (MASE).

    Args:
        forecast: single values, `(origins, horizon, targets)`.
        actual: the same shape.
        training_changes: changes from row to row in the training part, `(time, targets)`.

    Returns:
        `(origins, horizon, targets)`.

    Reference: Hyndman and Koehler 2006, "Another Look at Measures of Forecast Accuracy".
    """
    return np.abs(forecast - actual) / np.abs(training_changes).mean(0)


def qlike(forecast: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """The quasi-likelihood loss of variances: `a / f - ln(a / f) - 1`, 0 where they agree.

    Args:
        forecast: variances.
        actual: variances, of the same shape.

    Reference: Patton 2011, "Volatility Forecast Comparison Using Imperfect Volatility Proxies".
    """
    ratio = actual / forecast
    return ratio - np.log(ratio) - 1


def directional_accuracy(forecast: np.ndarray, actual: np.ndarray) -> float:
    """Share of moves whose direction was forecast, of those that moved; no forecast is up.

    Args:
        forecast: changes, any shape.
        actual: changes, the same shape.
    """
    moved = actual != 0
    return float(((forecast >= 0) == (actual > 0))[moved].mean())


def information_coefficient(forecast: np.ndarray, actual: np.ndarray) -> float:
    """Mean over days of the rank correlation across assets; NaN where forecasts never differ.

    Args:
        forecast: changes, `(origins, targets)`.
        actual: changes, `(origins, targets)`.

    Reference: Grinold and Kahn 2000, "Active Portfolio Management".
    """
    ranks = [stats.rankdata(values, axis=1) for values in (forecast, actual)]
    first, second = (values - values.mean(1, keepdims=True) for values in ranks)
    spread = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    days = spread > 0
    if not days.any():
        return float("nan")
    return float(((first * second).sum(1)[days] / spread[days]).mean())
