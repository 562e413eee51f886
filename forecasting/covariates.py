"""What all series share and none of them holds: columns of other files, joined by date.

A covariate is read beside every series and is not forecast, such as an index of volatility, which
knows what prices do not. It is read in logarithms, so a cell that is empty, not finite, zero or
negative cannot be used, and the last before it that can stands in; so it does on dates that the
file lacks. Never is a later one taken: a value is known when its day, or its hour, is over.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from attention_apps.running.command import UserError
from forecasting.config import Config
from forecasting.panel import Panel
from forecasting.tables import Table

_DAY = np.timedelta64(1, "D")


def covariate_files(config: Config) -> list[tuple[Path, str]]:
    """The files of `--covariates`, each with the column that is named; empty where none is.

    Args:
        config: `data_dir` and `covariates` are used.

    Raises:
        UserError: for a file that is not there.
    """
    folder, found = Path(config.data_dir), []
    for name in config.covariates:
        file, _, column = (name, "", "") if (folder / name).is_file() else name.rpartition(":")
        if not file or not (folder / file).is_file():
            raise UserError(
                "--covariates takes FILE or FILE:COLUMN as seen from --data-dir, such as "
                f"../index.csv:Close. Received: {name}, and there is no file {folder / name}"
            )
        found.append((folder / file, column))
    return found


def with_covariates(panel: Panel, config: Config) -> Panel:
    """The panel with a further column of every variable for each of `--covariates`.

    Args:
        panel: the cells of the series.
        config: `data_dir`, `covariates` and `max_gap_days` are used.

    Returns:
        The panel; its notes count what was filled.

    Raises:
        UserError: for files that cannot be joined, naming file, line or date, and column.
    """
    if not config.covariates:
        return panel
    if panel.times is None:
        raise UserError("--covariates are joined by date. Received: series without a column Date")
    joined, notes = [], []
    for path, column in covariate_files(config):
        table = Table.read(path, max_gap_days=config.max_gap_days)
        values, found = _on_rows(table, _column(table, column), panel, config.max_gap_days)
        joined.append(np.broadcast_to(values[:, None], panel.values.shape[:2]))
        notes += found
    return replace(
        panel,
        columns=(*panel.columns, *(Path(name).name for name in config.covariates)),
        values=np.concatenate([panel.values, np.stack(joined, axis=-1)], axis=-1),
        notes=[*panel.notes, *notes],
        num_shared=len(joined),
    )


def _column(table: Table, name: str) -> str:
    if name:
        return table.require(name)
    column = table.price()
    if column is None:
        numeric = table.numeric_columns()
        if len(numeric) != 1:
            raise UserError(
                f"{table.path} has no column Close or Price: name one as --covariates FILE:COLUMN. "
                f"It has: {', '.join(table.cells.columns)}"
            )
        column = numeric[0]
    return column


def _on_rows(
    table: Table, column: str, panel: Panel, max_gap_days: int
) -> tuple[np.ndarray, list[str]]:
    """The last usable value that is known at every row, `(time,)`, and what had to be filled."""
    assert panel.times is not None
    if table.times is None:
        raise UserError(f"{table.path} must have a column Date: --covariates are joined by date")
    values, notes = table.numbers(column), []
    usable = np.isfinite(values) & (values > 0)
    bad = np.flatnonzero(~usable)
    if len(bad):
        notes.append(
            f"{len(bad)} of {len(values)} cells cannot be used and take the value before them: "
            f"column {column}, first {table.where(int(bad[0]))}"
        )
    known, asked = _over(table.times)[usable], _over(panel.times)
    place = np.searchsorted(known, asked, side="right") - 1
    if not len(known) or place[0] < 0:
        raise UserError(
            f"{table.path}, column {column}, has no usable value up to {panel.label(0)}, the first "
            "row of the series. Take a covariate that begins before them, or cut them there"
        )
    age = asked - known[place]
    if (age > max_gap_days * _DAY).any():
        row = int((age > max_gap_days * _DAY).argmax())
        raise UserError(
            f"{table.path}, column {column}, has no usable value in the {age[row] // _DAY} days up "
            f"to {panel.label(row)}. Take a file that reaches further, or raise --max-gap-days"
        )
    lacking = ~np.isin(asked, known)
    if lacking.any():
        notes.append(
            f"{table.path.name} has no usable value of its own for {int(lacking.sum())} of "
            f"{len(asked)} rows, the first {panel.label(int(lacking.argmax()))}: the value before "
            "stands in"
        )
    return values[usable][place], notes


def _over(times: np.ndarray) -> np.ndarray:
    """When rows are over, and their values known: those with a date alone at the end of the day."""
    days = times.astype("datetime64[D]")
    return times + _DAY if (times == days).all() else times
