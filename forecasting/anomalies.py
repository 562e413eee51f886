"""Which rows came as no forecast expected, and how good such alarms are where the truth is known.

python -m forecasting.anomalies --run-dir RUN

A row is as strange as it lies far outside of what was forecast for it the row before. Its p-value
is the share of training rows that were stranger; alarm is given where that is at most `--level`.
What is right is known of anomalies that are injected into the prices of the test part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import parse
from forecasting.alarms import alarm_figures, p_values, random_figures
from forecasting.config import Config
from forecasting.series import BARS, VOLUME

ROOM = "forecasting"
_SMALLEST, _LARGEST = 4.0, 8.0  # size of what is injected, in ordinary steps of its series


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run whose forecasts are asked."""
    level: float = 0.005
    """Share of training rows that would have given alarm."""
    injected: int = 3
    """Anomalies of each kind injected into every series of the test part."""
    seed: int = 0
    """Decides where and how large."""
    shown: int = 10
    """Strangest rows of the test part, as it is, to print."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not 0 < self.level < 1:
            raise ValueError(f"--level must lie between 0 and 1. Received: {self.level}")
        for name in ("injected", "shown"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1. Received: {getattr(self, name)}")


def inject(
    steps: np.ndarray, days: int, *, count: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw anomalies: spikes that are taken back, shifts that stay, bursts of large steps.

    Args:
        steps: ordinary size of the steps of each series, `(targets,)`.
        days: rows to spread them over.
        count: of each kind in every series.
        random: where the chance comes from.

    Returns:
        Steps to add `(days, targets)`, and which of them are anomalous, booleans.

    Raises:
        UserError: when there is no room for so many.
    """
    lengths = [length for _ in range(count) for length in (2, 1, 8)]
    slot = days // len(lengths)
    if slot < 2 * max(lengths):
        raise UserError(
            f"{len(lengths)} anomalies need {2 * max(lengths) * len(lengths)} rows. "
            f"Received: a test part of {days}. Lower --injected"
        )
    extra, truth = np.zeros((days, len(steps))), np.zeros((days, len(steps)), bool)
    for target, step in enumerate(steps):
        for place, length in enumerate(random.permutation(lengths)):
            # One anomaly in every slot, never two that touch.
            first = place * slot + int(random.integers(1, slot - length))
            size = step * random.uniform(_SMALLEST, _LARGEST) * random.choice([-1, 1])
            rows = slice(first, first + length)
            truth[rows, target] = True
            if length == 1:
                extra[rows, target] = size
            elif length == 2:
                extra[rows, target] = [size, -size]
            else:
                extra[rows, target] = abs(size) / 2 * random.standard_normal(length)
    return extra, truth


def injected_values(values: np.ndarray, extra: np.ndarray, config: Config, columns: Any) -> Any:
    """Cells after the steps of some series were changed.

    Args:
        values: `(time, variables, columns)`; the targets come first.
        extra: steps to add, `(time, targets)`: log returns of prices, differences of levels.
        config: what is forecast.
        columns: names of the columns.

    Returns:
        Cells of the same shape.
    """
    changed, moved = values.copy(), np.cumsum(extra, axis=0)
    for index, name in enumerate(columns):
        if name == VOLUME or name not in BARS:
            continue
        own = changed[:, : extra.shape[1], index]
        own[:] = own + moved if config.target == "levels" else own * np.exp(moved)
    return changed


def next_row_scores(
    forecast: Callable[[np.ndarray], np.ndarray],
    splits: Any,
    part: str,
    levels: tuple[float, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """How strange the row behind every origin of a part is.

    Args:
        forecast: from origins to `(origins, horizon, targets, quantiles)`.
        splits: the data.
        part: `training`, `validation` or `test`.
        levels: of the quantiles.

    Returns:
        The rows, and scores `(rows, targets)`, see `adaptive.band_scores`.
    """
    from forecasting.adaptive import band_scores

    origins = splits.parts.origins(part)
    actual = splits.windows.changes(origins)[:, :1]
    return origins + 1, band_scores(forecast(origins)[:, :1], actual, levels)[:, 0]


def detect(run_dir: Path, options: Options) -> dict[str, Any]:
    """Score alarms on injected anomalies, and name the strangest rows of the data as it is.

    Args:
        run_dir: the run folder.
        options: see `Options`.

    Returns:
        The section `anomalies` of `metrics.json`: `model`, `floors`, and `strangest`, the rows by
        date, name, p-value and size of the step.

    Raises:
        UserError: for a run without a distribution, or whose target is a variance.
    """
    from attention_apps.running.runs import load_run, write_metrics
    from forecasting.baselines import floors
    from forecasting.calibration import forecast_all
    from forecasting.data import load, with_values
    from forecasting.model import with_uniform_attention

    run = load_run(run_dir, ROOM, Config)
    config = run.config
    if not config.levels or config.target == "volatility":
        raise UserError(
            "Anomalies are found with quantiles of returns or levels. Received: a run with "
            f"--target {config.target} --loss {config.loss}"
        )
    splits = load(config)
    run.model.units.refuse_others(splits.scaling)
    random = np.random.default_rng(options.seed)
    first = splits.parts.origins("test")[0] + 1
    end = splits.parts.ends[2]
    steps = np.diff(splits.series[: splits.parts.cutoff], axis=0).std(0)
    drawn, real = inject(steps, end - first, count=options.injected, random=random)
    extra, truth = (np.zeros((len(splits.panel), len(steps)), kind) for kind in (float, bool))
    extra[first:end], truth[first:end] = drawn, real
    values = injected_values(splits.panel.values, extra, config, splits.panel.columns)
    contaminated = with_values(splits, config, values)

    tables = {}
    uniform = with_uniform_attention(run.model)
    bands = ("HAR-scaled",) if splits.has_range and config.target == "returns" else ("drift",)
    for name, forecaster in {
        "model": lambda data: lambda origins: forecast_all(run.model, data.windows, origins),
        "model, attention made uniform": lambda data: (
            lambda origins: forecast_all(uniform, data.windows, origins)
        ),
        "random walk": lambda data: floors(config, data, bands)["random walk"],
        bands[0]: lambda data: floors(config, data, bands)[bands[0]],
    }.items():
        _, training = next_row_scores(forecaster(splits), splits, "training", config.levels)
        rows, scores = next_row_scores(
            forecaster(contaminated), contaminated, "test", config.levels
        )
        tables[name] = alarm_figures(p_values(training, scores), truth[rows], options.level)
        if name == "model":
            _, clean = next_row_scores(forecaster(splits), splits, "test", config.levels)
            strangest = _strangest(splits, rows, p_values(training, clean), clean, options.shown)
            tables["scores by chance"] = random_figures(truth[rows], options.level, random)
    section = {
        "level": options.level,
        "rows": int(truth.sum()),
        "model": tables.pop("model"),
        "floors": tables,
        "strangest": strangest,
    }
    write_metrics(run.run_dir, anomalies=section)
    return section


def _strangest(
    splits: Any, rows: np.ndarray, p_value: np.ndarray, scores: np.ndarray, count: int
) -> list[dict[str, Any]]:
    # Beyond all of training every p-value is the same; then the score decides.
    order = np.lexsort((-scores.ravel(), p_value.ravel()))[:count]
    found = []
    for day, target in zip(*np.unravel_index(order, scores.shape), strict=True):
        row = int(rows[day])
        found.append(
            {
                "row": splits.panel.label(row),
                "name": splits.panel.names[target],
                "p_value": float(p_value[day, target]),
                "step": float(splits.series[row, target] - splits.series[row - 1, target]),
            }
        )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Detect and print."""
    options = parse(Options, argv, prog="python -m forecasting.anomalies", description=__doc__)
    quiet_start()
    section = detect(options.run_dir, options)
    from forecasting.scores import table

    print(f"{section['rows']} injected rows of the test part, alarm at p <= {section['level']:g}:")
    print(table({"model": section["model"], **section["floors"]}))
    print("strangest rows of the test part as it is:")
    for row in section["strangest"]:
        print(f"  {row['row']}  {row['name']}  step {row['step']:+.4f}  p = {row['p_value']:.2g}")
    print(f"figures: {options.run_dir / 'metrics.json'}")
    return 0


if __name__ == "__main__":
    run_command(main)
