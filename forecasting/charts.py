"""A fan chart: what was, what is forecast with its bands, and what came."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forecasting.config import Config

_INK, _MEDIAN, _CAME = "#222222", "#1b4ca0", "#f08c00"
_PALEST, _DARKEST = (0.86, 0.92, 0.97), (0.42, 0.67, 0.84)
_LARGEST_LABELS = 8


def fan_chart(
    *,
    title: str,
    past: np.ndarray,
    past_labels: Sequence[str],
    quantiles: np.ndarray,
    future_labels: Sequence[str],
    levels: Sequence[float],
    actual: np.ndarray | None = None,
) -> Figure:
    """Draw one series with its forecast.

    Args:
        title: over the picture.
        past: values that were read.
        past_labels: of those rows.
        quantiles: `(horizon, outputs)` in the unit of the past.
        future_labels: of the rows that are forecast.
        levels: of the quantiles; none for a single value.
        actual: what came, where it is known.

    Returns:
        The figure, to be saved with its own `savefig`.
    """
    figure = Figure(figsize=(9, 4.2), dpi=100, layout="constrained")
    axes = figure.subplots()
    before = np.arange(1 - len(past), 1)
    ahead = np.arange(0, len(quantiles) + 1)
    fan = np.concatenate([np.full((1, quantiles.shape[1]), past[-1]), quantiles])
    middle = list(levels).index(0.5) if levels else 0
    pairs = nested(len(fan[0]), middle)
    for (lower, upper), shade in zip(
        pairs, np.linspace(_PALEST, _DARKEST, len(pairs)), strict=True
    ):
        axes.fill_between(
            ahead,
            fan[:, lower],
            fan[:, upper],
            color=tuple(shade),
            linewidth=0,
            label=_band_name(levels[lower], levels[upper]),
        )
    axes.plot(before, past, color=_INK, linewidth=1.4)
    name = "median" if levels else "forecast"
    axes.plot(ahead, fan[:, middle], color=_MEDIAN, linewidth=1.6, label=name)
    if actual is not None:
        axes.plot(ahead, [past[-1], *actual], color=_CAME, linewidth=1.4, label="what came")
    axes.axvline(0, color="#bbbbbb", linewidth=0.8)
    labels = [*past_labels, *future_labels]
    places = np.unique(np.linspace(0, len(labels) - 1, _LARGEST_LABELS).astype(int))
    axes.set_xticks(before[0] + places, [labels[place] for place in places])
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", parse_math=False)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def nested(count: int, middle: int) -> list[tuple[int, int]]:
    """Pairs of quantiles from the outermost inwards; where a side has fewer, the median ends it.

    Args:
        count: number of quantiles.
        middle: which of them is the median.
    """
    last = count - 1
    steps = range(max(middle, last - middle))
    return [(min(step, middle), max(last - step, middle)) for step in steps]


def _band_name(lower: float, upper: float) -> str:
    if abs(lower + upper - 1) < 1e-9:
        return f"{100 * (upper - lower):.4g}% band"
    return f"{100 * lower:.4g}% to {100 * upper:.4g}%"


def draw_fan(
    config: Config, splits: Any, origins: np.ndarray, forecast: np.ndarray, path: Path
) -> None:
    """Draw the forecast of the first target in the middle of the test part.

    Args:
        config: the room's configuration.
        splits: the data.
        origins: rows at which forecasts were made.
        forecast: changes in scaled units, `(origins, horizon, targets, outputs)`.
        path: of the picture.
    """
    index = len(origins) // 2
    row, panel = int(origins[index]), splits.panel
    first = row - config.lookback + 1

    def shown(values: np.ndarray) -> np.ndarray:
        return values if config.target == "levels" else np.exp(values)

    quantiles = splits.series[row, 0] + forecast[index, :, 0] * splits.scaling.scale[0]
    what = {"returns": "price", "volatility": "variance of a day", "levels": "value"}
    figure = fan_chart(
        title=f"{panel.names[0]}: {what[config.target]}",
        past=shown(splits.series[first : row + 1, 0]),
        past_labels=[panel.label(r) for r in range(first, row + 1)],
        quantiles=shown(quantiles),
        future_labels=[panel.label(r) for r in range(row + 1, row + 1 + config.horizon)],
        levels=config.levels,
        actual=shown(splits.series[row + 1 : row + 1 + config.horizon, 0]),
    )
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)
