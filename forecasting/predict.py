"""Ask a run's exported model what follows the last rows of its data, or of a file of your own.

python -m forecasting.predict --run-dir RUN MAPLE            quantiles, and what was attended to
python -m forecasting.predict --run-dir RUN --data-dir NEW   every target, after the rows in NEW
python -m forecasting.predict --run-dir RUN MAPLE --chart fan.png
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import parse
from attention_apps.running.runs import read_config
from forecasting.config import Config

ROOM = "forecasting"
_KEYS_DRAWN = 12


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The run whose exported model is asked."""
    targets: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names of what is to be forecast; by default everything."""
    data_dir: str = ""
    """Folder with newer files like those the run was trained on; by default those themselves."""
    after: str = ""
    """Date of the last row that is read, YEAR-MONTH-DAY; by default the last there is."""
    chart: Path | None = None
    """Picture of the first target's forecast to write."""


def main(argv: Sequence[str] | None = None) -> int:
    """Forecast and print."""
    options = parse(Options, argv, prog=f"python -m {ROOM}.predict", description=__doc__)
    quiet_start()
    import tensorflow as tf

    from attention_apps.running.export import exported_model
    from forecasting.data import read_data

    folder = exported_model(options.run_dir, ROOM)
    config = read_config(options.run_dir, ROOM, Config)
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text("utf-8"))
    names = card["labels"]["targets"]
    for name in options.targets:
        if name not in names:
            raise UserError(f"the model forecasts {', '.join(names)}. Received: {name}")
    if options.data_dir:
        config = dataclasses.replace(config, data_dir=options.data_dir)
    panel, _ = read_data(config)
    if list(panel.names) != card["labels"]["variables"]:
        raise UserError(
            f"the model reads {', '.join(card['labels']['variables'])}. "
            f"Received: {', '.join(panel.names)}"
        )
    if list(panel.columns) != card["labels"]["columns"]:
        raise UserError(
            f"the model reads the columns {', '.join(card['labels']['columns'])} of every file. "
            f"Received: {', '.join(panel.columns)}"
        )
    for note in panel.notes:
        print(note)
    row = _row_of(panel, options.after)
    if row + 1 < config.lookback:
        raise UserError(
            f"the model reads {config.lookback} rows. Received: {row + 1} up to {panel.label(row)}"
        )
    function = tf.saved_model.load(str(folder)).signatures["with_attention"]
    inputs = question(panel, config, row)
    answers = {
        key: value.numpy()[0]
        for key, value in function(**{k: tf.constant(v) for k, v in inputs.items()}).items()
    }
    for name in options.targets or names:
        tell(panel, config, row, names.index(name), answers)
    if options.chart is not None:
        name = (options.targets or names)[0]
        draw(panel, config, row, names.index(name), answers["forecasts"], options.chart)
        print(f"chart: {options.chart}")
    return 0


def _row_of(panel: Any, after: str) -> int:
    if not after:
        return len(panel) - 1
    for row in range(len(panel) - 1, -1, -1):
        if panel.label(row) == after:
            return row
    raise UserError(
        f"--after must be the date of a row, from {panel.label(0)} to "
        f"{panel.label(len(panel) - 1)}. Received: {after}"
    )


def question(panel: Any, config: Config, row: int) -> dict[str, np.ndarray]:
    """All rows up to `row`, as the exported model takes them, in a batch of one.

    Args:
        panel: the cells.
        config: the room's configuration.
        row: the last that is read.

    Raises:
        UserError: when the future of a known column is not known.
    """
    from forecasting.series import seconds

    inputs = {"values": panel.values[None, : row + 1]}
    if config.calendar != "none":
        times = following(panel.times[: row + 1], config.horizon)
        inputs["times"] = seconds(np.concatenate([panel.times[: row + 1], times]))[None]
    if panel.known.shape[1]:
        if row + config.horizon >= len(panel):
            raise UserError(
                f"{', '.join(config.known_columns)} must be known for {config.horizon} rows after "
                f"{panel.label(row)}. Received: rows up to {panel.label(len(panel) - 1)}. Add "
                "rows with those columns and empty prices, and name the last price with --after"
            )
        inputs["known"] = panel.known[None, : row + config.horizon + 1]
    return inputs


def following(times: np.ndarray, count: int) -> np.ndarray:
    """Times of the rows that follow: working days where no row lies on a weekend.

    Args:
        times: of the rows there are, `(time,)` datetime64[s].
        count: how many follow.

    Returns:
        `(count,)` datetime64[s].
    """
    step = np.median(np.diff(times).astype("int64")).astype("timedelta64[s]")
    days = times.astype("datetime64[D]")
    if step == np.timedelta64(1, "D") and np.is_busday(days).all():
        ahead = np.busday_offset(days[-1], np.arange(1, count + 1), roll="forward")
        return ahead.astype("datetime64[s]")
    return times[-1] + step * np.arange(1, count + 1)


def tell(panel: Any, config: Config, row: int, target: int, answers: dict[str, np.ndarray]) -> None:
    """Print one target's forecast and what was attended to."""
    from attention_apps.observation.terminal import draw_text

    what = {"returns": "price", "volatility": "variance of a day", "levels": "value"}
    print(f"{panel.names[target]}: {what[config.target]} after {panel.label(row)}")
    heads = [f"{100 * level:.4g}%" for level in config.levels] or ["forecast"]
    rows = answers["forecasts"][:, target]
    if "means" in answers:
        heads = [*heads, "mean"]
        rows = np.concatenate([rows, answers["means"][:, target, None]], axis=-1)
    labels = future_labels(panel, config, row)
    margin = max(map(len, labels))
    print(" " * margin + "".join(f"{head:>12}" for head in heads))
    for label, forecast in zip(labels, rows, strict=True):
        print(label.ljust(margin) + "".join(f"{value:12.5g}" for value in forecast))
    print()
    print(draw_text(attended(panel, config, row, target, answers["attention"])))
    print()


def future_labels(panel: Any, config: Config, row: int) -> list[str]:
    """What to call the rows that are forecast."""
    if panel.times is None:
        return [f"row {row + 1 + ahead}" for ahead in range(1, config.horizon + 1)]
    times = following(panel.times[: row + 1], config.horizon)
    daily = ":" not in panel.label(row)
    return [str(time).replace("T", " ")[: 10 if daily else 16] for time in times]


def attended(panel: Any, config: Config, row: int, target: int, attention: np.ndarray) -> Any:
    """What one target's forecast looked at, as a record for people.

    Args:
        panel: the cells.
        config: the room's configuration.
        row: the last that is read.
        target: index of the target.
        attention: of one window, as the exported model gives it.

    Returns:
        For the form `both` the variables and the latest patches of the next row, the mean of the
        heads; for `time` the patches of every forecast row; for `variables` the variables.
    """
    from attention_apps.observation.record import AttentionRecord, Axis

    length = config.patch_length
    ends = range(row - config.lookback + length, row + 1, length)
    past = _without_common_year([panel.label(end) for end in ends])
    if config.form == "variables":
        size = attention.shape[-1]
        names = (*panel.names, *(f"known {i + 1}" for i in range(size - len(panel.names))))
        weights = attention.mean(0)[target][None, None]
        return AttentionRecord(
            weights,
            "variables",
            Axis((panel.names[target],)),
            Axis(names, "items"),
            heads=("mean of heads",),
        )
    own = attention[:, target].mean(0)
    if config.form == "time":
        future = Axis(tuple(future_labels(panel, config, row)), "times")
        key = Axis(tuple(past), "times")
        return AttentionRecord(own[None], "horizon", future, key, heads=("mean of heads",))
    shown = own[0][:, -_KEYS_DRAWN:]
    return AttentionRecord(
        shown[None],
        f"{panel.names[target]}, next row: which rows of which variable",
        Axis(panel.names, "items"),
        Axis(tuple(past[-_KEYS_DRAWN:]), "times"),
        heads=("mean of heads",),
    )


def _without_common_year(labels: list[str]) -> list[str]:
    """Month and day where all labels are dates of one year: room is scarce."""
    years = {label[:5] for label in labels}
    return [label[5:] for label in labels] if len(years) == 1 and "-" in labels[0] else labels


def draw(
    panel: Any, config: Config, row: int, target: int, forecasts: np.ndarray, path: Path
) -> None:
    """Write the fan chart of one target."""
    from forecasting.charts import fan_chart
    from forecasting.data import read_series

    series, _ = read_series(panel, config)
    first = row - config.lookback + 1
    past = series[first : row + 1, target]
    what = {"returns": "price", "volatility": "variance of a day", "levels": "value"}
    figure = fan_chart(
        title=f"{panel.names[target]}: {what[config.target]}",
        past=past if config.target == "levels" else np.exp(past),
        past_labels=[panel.label(index) for index in range(first, row + 1)],
        quantiles=forecasts[:, target],
        future_labels=future_labels(panel, config, row),
        levels=config.levels,
    )
    figure.savefig(path)


if __name__ == "__main__":
    run_command(main)
