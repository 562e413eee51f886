"""Make a run's SavedModel: raw prices in, quantiles of what follows and attention out.

python -m forecasting.export --run-dir RUN
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from forecasting.config import Config

TOLERANCE = 1e-5  # of changes in scaled units
_MORE_ROWS = 64  # rows that parity shows before the lookback, for gaps to be filled from
_BATCH = 37


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run to export."""
    parity_windows: int = 500
    """Most test windows on which the export must answer as Python does."""


def export(run_dir: Path, *, parity_windows: int = 500) -> Path:
    """Export a finished run, checked window by window against Python.

    `serving_default` gives `forecasts`, `changes` and of a variance `means`; `with_attention` also
    `attention`; see `serving`.

    Args:
        run_dir: the run folder.
        parity_windows: most test windows to compare.

    Returns:
        The folder of the SavedModel.

    Raises:
        UserError: for a run that is missing or unfinished.
        ParityError: when the export answers otherwise than Python; nothing is left behind then.
    """
    from attention_apps.running.export import export_model
    from attention_apps.running.runs import load_run
    from forecasting.calibration import forecast_all
    from forecasting.data import load
    from forecasting.scores import Scores
    from forecasting.serving import Serving
    from forecasting.train import ROOM

    run = load_run(run_dir, ROOM, Config)
    splits = load(run.config)
    run.model.units.refuse_others(splits.scaling)
    origins = splits.parts.origins("test")
    level = None
    if run.config.target == "volatility":
        scores = Scores(run.config, splits, origins)
        level = scores.variance_level(lambda rows: forecast_all(run.model, splits.windows, rows))
    serving = Serving(run.model, run.config, splits.panel.columns, level)
    chosen = origins[np.unique(np.linspace(0, len(origins) - 1, parity_windows).astype(int))]
    figures = run.metrics.get("test", {})
    folder = export_model(
        run.run_dir,
        endpoints={
            "serving_default": (serving.forecast, serving.signature),
            "with_attention": (serving.forecast_with_attention, serving.signature),
        },
        tracked=[run.model],
        parity=lambda loaded: compare(run.model, loaded, splits, run.config, chosen),
        model_card={
            "room": ROOM,
            "data": _data(run.config, splits),
            "figures": {name: section["model"] for name, section in figures.items()},
            "floors": {name: section["floors"] for name, section in figures.items()},
            "limits": {
                "lookback": run.config.lookback,
                "horizon": run.config.horizon,
                "gaps": "a missing price or covariate is the last one before it; an unusable range "
                "has the variance of the day before",
                "not_for": "data unlike that of the training part; nothing was checked beyond "
                "`figures`",
            },
            "labels": {
                "variables": splits.panel.names,
                "targets": splits.panel.targets,
                "columns": splits.panel.columns,
                "quantiles": run.config.levels,
                "target": run.config.target,
                "form": run.config.form,
                "patch_length": run.config.patch_length,
                "calendar": run.config.calendar,
                "last_row": splits.panel.label(len(splits.panel) - 1),
            },
        },
    )
    print(f"{len(chosen)} windows: the export answers as Python does")
    return folder


def _data(config: Config, splits: Any) -> dict[str, Any]:
    names = ("dataset", "file", "covariates", "target", "variance", "calendar")
    fields = asdict(config)
    return {
        **{name: fields[name] for name in names},
        "rows": len(splits.panel),
        "training_rows": splits.parts.cutoff,
        "notes": splits.notes,
    }


def raw_inputs(panel: Any, config: Config, origins: np.ndarray, *, rows: int) -> dict[str, Any]:
    """What an exported model is asked at some origins: cells as they stand in files.

    Args:
        panel: the cells.
        config: the room's configuration.
        origins: the last row of each window; `rows - 1` rows at least lie before it.
        rows: how many rows each window shows.

    Returns:
        The inputs of the signature, by name.
    """
    from forecasting.series import seconds

    shown = origins[:, None] + np.arange(1 - rows, 1)
    inputs = {"values": panel.values[shown]}
    with_future = origins[:, None] + np.arange(1 - rows, config.horizon + 1)
    if config.calendar != "none":
        inputs["times"] = seconds(panel.times)[with_future]
    if panel.known.shape[1]:
        inputs["known"] = panel.known[with_future]
    return inputs


def compare(model: Any, loaded: Any, splits: Any, config: Config, origins: np.ndarray) -> list[str]:
    """Ask Python and the export about the same windows, in another order and other batches.

    Args:
        model: the forecaster in Python.
        loaded: the reloaded SavedModel.
        splits: the data.
        config: the room's configuration.
        origins: rows to ask at.

    Returns:
        A sentence for every difference.
    """
    import tensorflow as tf

    from forecasting.calibration import forecast_all

    expected = forecast_all(model, splits.windows, origins)
    rows = min(config.lookback + _MORE_ROWS, int(origins[0]) + 1)
    problems = []
    order = np.random.default_rng(config.seed).permutation(len(origins))
    function = loaded.signatures["serving_default"]
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        inputs = raw_inputs(splits.panel, config, origins[batch], rows=rows)
        answers = function(**{name: tf.constant(value) for name, value in inputs.items()})
        scaled = answers["changes"].numpy() / splits.scaling.scale[:, None]
        # In units of the largest change, for a band may be many times wider than a day's move.
        size = np.maximum(1.0, np.abs(expected[batch]).max())
        differences = np.abs(scaled - expected[batch]).max(axis=(1, 2, 3)) / size
        problems += [
            f"after {splits.panel.label(int(origins[index]))} changes differ by {difference:.1e}"
            for index, difference in zip(batch, differences, strict=True)
            if not difference <= TOLERANCE
        ]
    return problems


def main(argv: Sequence[str] | None = None) -> int:
    """Export and print where the SavedModel lies."""
    options = parse(Options, argv, prog="python -m forecasting.export", description=__doc__)
    quiet_start()
    print(f"exported: {export(options.run_dir, parity_windows=options.parity_windows)}")
    return 0


if __name__ == "__main__":
    run_command(main)
