"""CSV files as a panel: roles of columns, rows side by side, and a count of every dirty cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attention_apps.running.command import UserError
from forecasting.config import Config
from forecasting.covariates import covariate_files, with_covariates
from forecasting.panel import Panel
from forecasting.series import BARS, CLOSE, HIGH, LOW, OPEN, VOLUME
from forecasting.tables import ENDINGS, Table


def read_panel(config: Config) -> Panel:
    """Read `--file`, or every file of `--data-dir` as an asset, and the covariates that all share.

    Args:
        config: names the folder, the file and the roles of columns.

    Raises:
        UserError: for data that cannot be read, naming file, line and column.
    """
    folder = Path(config.data_dir)
    if not folder.is_dir():
        raise UserError(f"--data-dir must be a folder. Received: {folder}")
    if config.file:
        paths = [folder / config.file]
        if not paths[0].is_file():
            raise UserError(f"There is no file {paths[0]}. The folder holds: {_listed(folder)}")
    else:
        shared = {path.resolve() for path, _ in covariate_files(config)}
        paths = sorted(
            path
            for path in folder.iterdir()
            if path.name.lower().endswith(ENDINGS) and path.resolve() not in shared
        )
        if not paths:
            raise UserError(
                f"--data-dir must hold CSV files. Received: {folder} with {_listed(folder)}"
            )
    tables = [Table.read(path, max_gap_days=config.max_gap_days) for path in paths]
    if len(tables) == 1 and (config.target == "levels" or not _price_column(tables[0], config)):
        panel = _wide(tables[0], config)
    else:
        panel = _assets(tables, config)
    return with_covariates(panel, config)


def _listed(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"


def _price_column(table: Table, config: Config) -> str | None:
    if config.target_columns:
        return table.find(config.target_columns[0]) if len(config.target_columns) == 1 else None
    return table.price()


def _wide(table: Table, config: Config) -> Panel:
    """A column a variable."""
    past = [table.require(name) for name in config.past_columns]
    known = [table.require(name) for name in config.known_columns]
    if config.static_columns:
        raise UserError(
            "--static-columns tell assets apart that have a file each. "
            f"Received: {', '.join(config.static_columns)} for one file with a column a series"
        )
    if config.target == "volatility":
        raise UserError(
            "--target volatility reads Open, High, Low and Close. "
            f"Received: {table.path} with {', '.join(table.cells.columns)}"
        )
    if config.target_columns:
        targets = [table.require(name) for name in config.target_columns]
    else:
        targets = [name for name in table.numeric_columns() if name not in (*past, *known)]
    if not targets:
        raise UserError(f"{table.path} has no column of numbers to forecast")
    names = [*targets, *past]
    values = np.stack([table.numbers(name) for name in names], axis=-1)[..., None]
    panel = Panel(
        names=tuple(names),
        num_targets=len(targets),
        columns=(CLOSE,),
        values=values,
        times=table.times,
        known=_known(table, known),
        static=np.zeros((len(names), 0)),
    )
    notes = [
        note
        for index, name in enumerate(names)
        for note in _close_notes(table, name, values[:, index, 0], config)
    ]
    return _begun(panel, notes, config)


def _assets(tables: list[Table], config: Config) -> Panel:
    """A file an asset, brought to the dates of all."""
    found = [_price_column(table, config) for table in tables]
    for table, column in zip(tables, found, strict=True):
        if column is None:
            raise UserError(
                f"{table.path} has no column of prices (Close or Price; others are named with "
                f"--target-columns). It has: {', '.join(table.cells.columns)}"
            )
        if table.times is None and len(tables) > 1:
            raise UserError(
                f"Files of several assets are matched by their dates. Received: {table.path} "
                "without a column Date"
            )
    bars = [
        name
        for name in (OPEN, HIGH, LOW, VOLUME)
        if config.target != "levels"
        and all(table.find(name) for table in tables)
        and (name != VOLUME or VOLUME in [past.lower() for past in config.past_columns])
    ]
    if config.target == "volatility":
        needed = (HIGH, LOW) if config.variance == "parkinson" else (OPEN, HIGH, LOW)
        for table in tables:
            for name in needed:
                table.require(name)
    covariates = _past_columns(tables[0], found[0], bars, config)
    columns = (*bars, CLOSE, *covariates)
    notes, blocks = [], []
    for table, price in zip(tables, found, strict=True):
        assert price is not None
        block = [table.numbers(price if n == CLOSE else table.require(n)) for n in columns]
        blocks.append(np.stack(block, axis=-1))
        notes += _close_notes(table, price, blocks[-1][:, columns.index(CLOSE)], config)
        notes += _range_notes(table, dict(zip(columns, blocks[-1].T, strict=True)))
    times, values, alignment = _aligned(tables, blocks)
    known_columns = [tables[0].require(name) for name in config.known_columns]
    known = _known(tables[0], known_columns)
    if known.shape[1] and len(tables) > 1:
        known = _on_dates(tables[0], known, times)
    panel = Panel(
        names=tuple(table.path.name.partition(".")[0] for table in tables),
        num_targets=len(tables),
        columns=columns,
        values=values,
        times=times,
        known=known,
        static=_static(tables, config),
    )
    return _begun(panel, [*notes, *alignment], config)


def _past_columns(table: Table, price: str | None, bars: list[str], config: Config) -> list[str]:
    """The columns read beside an asset's prices, without the volume that stands among its bars."""
    names = []
    for name in config.past_columns:
        read = table.find(name) == price or name.lower() in bars
        if read and name.lower() != VOLUME:
            raise UserError(
                f"--past-columns are read beside the prices {', '.join((*bars, CLOSE))}, which are "
                f"read anyway. Received: {name}. Leave it out"
            )
        if not read:
            names.append(name.lower() if name.lower() in BARS else name)
    return names


def _aligned(
    tables: list[Table], blocks: list[np.ndarray]
) -> tuple[np.ndarray | None, np.ndarray, list[str]]:
    """Rows of the dates that any file has, within those that all files span."""
    if len(tables) == 1:
        return tables[0].times, blocks[0][:, None], []
    spans = [table.times for table in tables if table.times is not None]
    first, last = max(times[0] for times in spans), min(times[-1] for times in spans)
    union = np.unique(np.concatenate(spans))
    union = union[(union >= first) & (union <= last)]
    if len(union) < 2:
        raise UserError(
            "The files share no dates. Received: "
            + "; ".join(
                f"{table.path.name} {_day(times[0])} to {_day(times[-1])}"
                for table, times in zip(tables, spans, strict=True)
            )
        )
    values = np.full((len(union), len(tables), blocks[0].shape[1]), np.nan)
    notes = []
    for index, (table, times, block) in enumerate(zip(tables, spans, blocks, strict=True)):
        inside = (times >= first) & (times <= last)
        values[np.searchsorted(union, times[inside]), index] = block[inside]
        lacking = len(union) - int(inside.sum())
        if lacking:
            missing = _day(np.setdiff1d(union, times)[0])
            notes.append(
                f"{table.path.name} lacks {lacking} of {len(union)} dates, the first {missing}: "
                "the prices before them stand in"
            )
    return union, values, notes


def _day(time: np.datetime64) -> str:
    return str(time.astype("datetime64[D]"))


def _on_dates(table: Table, known: np.ndarray, times: np.ndarray | None) -> np.ndarray:
    assert table.times is not None
    assert times is not None
    place = np.clip(np.searchsorted(table.times, times, side="right") - 1, 0, None)
    return known[place]


def _known(table: Table, columns: list[str]) -> np.ndarray:
    known = [table.numbers(name) for name in columns]
    for name, values in zip(columns, known, strict=True):
        bad = ~np.isfinite(values)
        if bad.any():
            raise UserError(
                f"{table.where(int(bad.argmax()))}, column {name}, must hold a number: its future "
                f"is said to be known. Received: {table.cells[name].iloc[int(bad.argmax())]!r}"
            )
    return np.stack(known, axis=-1) if known else np.zeros((len(table.cells), 0))


def _static(tables: list[Table], config: Config) -> np.ndarray:
    """One-hot values of the static columns, `(assets, static)`."""
    groups = []
    for name in config.static_columns:
        values = [table.text(table.require(name)) for table in tables]
        groups.append(
            np.array([[value == other for other in sorted(set(values))] for value in values])
        )
    return np.concatenate([np.zeros((len(tables), 0)), *groups], axis=1)


def _close_notes(table: Table, name: str, close: np.ndarray, config: Config) -> list[str]:
    usable = np.isfinite(close)
    if config.target != "levels" and name not in config.past_columns:
        usable &= close > 0
    if not usable.any():
        raise UserError(f"{table.path}, column {name}, holds no usable value")
    bad = np.flatnonzero(~usable)
    if not len(bad):
        return []
    return [
        f"{len(bad)} of {len(close)} cells cannot be used and take the value before them: "
        f"column {name}, first {table.where(int(bad[0]))}"
    ]


def _range_notes(table: Table, column: dict[str, np.ndarray]) -> list[str]:
    if HIGH not in column or LOW not in column:
        return []
    high, low, close = column[HIGH], column[LOW], column[CLOSE]
    usable = (low > 0) & (high > low) & (close <= high) & (close >= low) & np.isfinite(high)
    bad = np.flatnonzero(~usable)
    if not len(bad):
        return []
    return [
        f"{len(bad)} of {len(close)} days have no usable range and take the variance of the day "
        f"before: High and Low, first {table.where(int(bad[0]))}"
    ]


def _begun(panel: Panel, notes: list[str], config: Config) -> Panel:
    """The panel from the first row on in which every variable has had a value."""
    closes = panel.closes
    usable = np.isfinite(closes)
    if config.target != "levels":
        usable[:, : panel.num_targets] &= closes[:, : panel.num_targets] > 0
    begun = np.logical_or.accumulate(usable, axis=0)
    if not begun[-1].all():
        name = panel.names[int((~begun[-1]).argmax())]
        raise UserError(f"{name} has no usable value on the dates that all files span")
    first = int(begun.all(axis=1).argmax())
    if first:
        notes = [*notes, f"left out the first {first} rows, before every series has begun"]
    repeated = (closes[1:] == closes[:-1]).all(axis=1)
    if repeated.mean() > 0.01:
        notes = [
            *notes,
            f"{int(repeated.sum())} of {len(closes)} rows repeat the row before in every series",
        ]
    return Panel(
        names=panel.names,
        num_targets=panel.num_targets,
        columns=panel.columns,
        values=panel.values[first:],
        times=None if panel.times is None else panel.times[first:],
        known=panel.known[first:],
        static=panel.static,
        notes=notes,
    )
