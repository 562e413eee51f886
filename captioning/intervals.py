"""How sure a figure is: intervals over photos, whatever the figure is made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_AT_ONCE = 100  # resamples whose counts are held at once: bounds the memory, changes no result


def bootstrap_interval(
    sums: NDArray[np.floating],
    figure: Callable[[NDArray[np.float64]], NDArray[np.float64] | float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """A 95 % interval of a figure by drawing whole photos again and again.

    A photo's captions, words and cells are no independent pieces of evidence; photos are. So a
    figure is written as a function of what is summed up over photos, and photos are drawn.

    Args:
        sums: `(photos, terms)`: what every photo adds.
        figure: from `(terms,)` summed over photos to the figure.
        resamples: how often as many photos are drawn with replacement.
        seed: of the draws; the same for every figure, so that differences are paired.

    Returns:
        The bounds. Resamples in which the figure is not defined are left out.

    Raises:
        ValueError: without a photo.

    Reference: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife".
    """
    rows = np.asarray(sums, np.float64)
    if not len(rows):
        raise ValueError("An interval takes at least one photo. Received: none")
    random = np.random.default_rng(seed)
    photos = len(rows)
    found: list[float] = []
    for start in range(0, resamples, _AT_ONCE):
        drawn = random.multinomial(
            photos, np.full(photos, 1 / photos), min(_AT_ONCE, resamples - start)
        )
        found += [float(figure(total)) for total in drawn @ rows]
    values = np.array(found)
    low, high = np.quantile(values[np.isfinite(values)], [0.025, 0.975])
    return float(low), float(high)


def ratio(total: NDArray[np.float64]) -> float:
    """The figure `total[0] / total[1]`; not defined where nothing was counted."""
    return float(total[0] / total[1]) if total[1] else float("nan")
