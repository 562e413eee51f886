"""Whether one forecast is better than another, or only looked so on these days."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Comparison:
    """The Diebold-Mariano test of two series of losses.

    Attributes:
        statistic: above 0 where the second forecast is better; NaN where nothing can be said.
        p_value: of the hypothesis that the second is not better (one-sided).
        effective_size: how many independent days the overlapping ones are worth.
        size: how many days there were.
    """

    statistic: float
    p_value: float
    effective_size: float
    size: int

    @property
    def is_proof(self) -> bool:
        """Whether the second forecast is better at the 5 % level."""
        return self.p_value < 0.05


def diebold_mariano(first: np.ndarray, second: np.ndarray, *, horizon: int) -> Comparison:
    """Test whether `second` has the lower expected loss.

    The variance of the mean difference counts autocorrelation (Bartlett weights up to the longer of
    `horizon - 1` and the cube root of the number of days), for forecasts of several rows overlap.

    Args:
        first: losses of one forecast, `(origins,)` in the order of time; of several assets the mean
            over them.
        second: losses of the other at the same origins.
        horizon: rows that were forecast.

    Returns:
        The comparison.

    Reference: Diebold and Mariano 1995, "Comparing Predictive Accuracy"; the correction for small
    samples and Student's distribution are those of Harvey, Leybourne and Newbold 1997, "Testing the
    Equality of Prediction Mean Squared Errors".
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    size = len(difference)
    centred = difference - difference.mean()
    variance = float(centred @ centred) / size
    if variance <= 0:
        return Comparison(math.nan, math.nan, float(size), size)
    longest = min(max(horizon - 1, round(size ** (1 / 3))), size - 1)
    long_run = variance
    for lag in range(1, longest + 1):
        autocovariance = float(centred[lag:] @ centred[:-lag]) / size
        long_run += 2 * (1 - lag / (longest + 1)) * autocovariance
    effective_size = min(size * variance / long_run, size)
    correction = (size + 1 - 2 * horizon + horizon * (horizon - 1) / size) / size
    if effective_size < 2 or horizon >= size:
        return Comparison(math.nan, math.nan, effective_size, size)
    statistic = difference.mean() / math.sqrt(long_run / size) * math.sqrt(correction)
    return Comparison(statistic, float(stats.t.sf(statistic, df=size - 1)), effective_size, size)
