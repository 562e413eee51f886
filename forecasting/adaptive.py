"""Bands that follow their own misses: conformal calibration of the test part, day by day."""

from __future__ import annotations

from typing import Any

import numpy as np


def band_scores(forecast: np.ndarray, actual: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """How far the outcome lies from the median, in units of the band's own end on that side.

    Args:
        forecast: `(origins, horizon, targets, quantiles)`.
        actual: `(origins, horizon, targets)`.
        levels: of the quantiles, with 0.5 among them.

    Returns:
        `(origins, horizon, targets)`; above 1 outside of the outermost quantiles.
    """
    median = forecast[..., levels.index(0.5)]
    move = actual - median
    above, below = forecast[..., -1] - median, median - forecast[..., 0]
    return np.where(move >= 0, move / above, -move / below)


def adaptive_factors(
    calibration: np.ndarray, scores: np.ndarray, *, level: float, rate: float, delay: int
) -> np.ndarray:
    """Factors that stretch a band, so that it covers what it should even where the world changes.

    A band that missed too much aims higher the day after its outcome is known.

    Args:
        calibration: scores of the days before, `(days, targets)`, see `band_scores`.
        scores: of the days that are measured, in order, `(days, targets)`.
        level: the share that the band should cover.
        rate: step by which a miss lowers the share of misses it aims at.
        delay: days until an outcome is known.

    Returns:
        `(days,)`; the factor of a day depends on outcomes known before it alone.

    Reference: Gibbs and Candes 2021, "Adaptive Conformal Inference Under Distribution Shift".
    """
    aimed = 1 - level
    # Sorted once and then only added to: a quantile over all days before costs a look-up.
    known = np.sort(calibration.ravel())
    factors = np.empty(len(scores))
    for day in range(len(scores)):
        learned = day - delay
        if learned >= 0:
            outcome = np.sort(scores[learned])
            known = np.insert(known, np.searchsorted(known, outcome), outcome)
            missed = float((scores[learned] > factors[learned]).mean())
            aimed += rate * ((1 - level) - missed)
        factors[day] = np.quantile(known, np.clip(1 - aimed, 0.0, 1.0), method="higher")
    return factors


def adaptive_figures(
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    levels: tuple[float, ...],
    rate: float,
    unit: Any = 1.0,
) -> dict[str, float]:
    """Coverage and width of the outermost band when it is calibrated day by day.

    Args:
        validation: forecast `(origins, horizon, targets, quantiles)` and what came
            `(origins, horizon, targets)`, of the days before.
        test: the same of the days that are measured.
        levels: of the quantiles.
        rate: see `adaptive_factors`.
        unit: of the width, a number or one for each target.

    Returns:
        `coverage`, `coverage_first_row`, `width` and `width_first_row`.
    """
    before = band_scores(*validation, levels)
    scores = band_scores(*test, levels)
    width = (test[0][..., -1] - test[0][..., 0]) * unit
    covered, widths = [], []
    for row in range(scores.shape[1]):
        factors = adaptive_factors(
            # The last outcomes of the days before are not known yet on the first day measured.
            before[:, row],
            scores[:, row],
            level=levels[-1] - levels[0],
            rate=rate,
            delay=row + 1,
        )[:, None]
        covered.append(float((scores[:, row] <= factors).mean()))
        widths.append(float((width[:, row] * factors).mean()))
    return {
        "coverage": float(np.mean(covered)),
        "coverage_first_row": covered[0],
        "width": float(np.mean(widths)),
        "width_first_row": widths[0],
    }
