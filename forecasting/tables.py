"""One CSV file as columns of numbers: what is wrong with it is said with file, line and column."""

from __future__ import annotations

import csv
import gzip
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attention_apps.running.command import UserError

ENDINGS = (".csv", ".csv.gz", ".txt", ".txt.gz")
_PRICES = ("close", "adj close", "price")  # first found first
_DATES = ("date", "datetime", "time", "timestamp")
# Of a time with a zone, the time: dates of one market are its own, also where clocks change.
_LOCAL = r"^(.*\d\d:\d\d(?::\d\d(?:\.\d+)?)?)\s*(?:Z|[+-]\d\d:?\d\d)$"
_MISSING = ("", "nan", "na", "n/a", "null", "none", "-", ".")


@dataclass(frozen=True)
class Table:
    """The cells of a CSV file, read as text and turned into numbers column by column.

    Attributes:
        path: of the file.
        cells: every column but the dates, as text.
        times: datetime64[s] of the rows, or None where no column holds dates.
        first_line: line of the file that the first row stands on.
    """

    path: Path
    cells: Any
    times: np.ndarray | None
    first_line: int

    @classmethod
    def read(cls, path: Path, *, max_gap_days: int) -> Table:
        """Read a file; a first line of numbers is a row, and columns then have numbers.

        A column of dates in front of such numbers is one, whatever it is called.

        Args:
            path: a CSV file, packed with gzip or not.
            max_gap_days: the longest gap between two dates.

        Raises:
            UserError: for a file that is no table, has no row, or dates that cannot be read,
                stand twice, go back or leave a gap.
        """
        first = _first_line(path)
        if not any(cell.strip() for cell in first):
            raise UserError(
                f"{path} must begin with the names of its columns, or with numbers. "
                "Received: an empty first line"
            )
        begins_with_date = len(first) > 1 and _is_date(first[0])
        names = [cell.strip() for cell in first]
        has_header = not all(map(_is_number, first[begins_with_date:]))
        if not has_header:
            names = [str(index + 1) for index in range(len(first))]
            if begins_with_date:
                names = ["Date", *names[:-1]]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"{path} has several columns of one name. Received: {name!r} twice")
        try:
            with warnings.catch_warnings():
                # Of rows with more cells than there are columns, which would be cut.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                cells = pd.read_csv(
                    path,
                    dtype=str,
                    keep_default_na=False,
                    header=0 if has_header else None,
                    names=names,
                    index_col=False,
                    skip_blank_lines=False,
                    encoding="utf-8-sig",
                )
        except (pd.errors.ParserError, UnicodeDecodeError, EOFError) as error:
            raise UserError(f"{path} is no table of comma-separated columns: {error}") from error
        except pd.errors.ParserWarning as error:
            raise UserError(
                f"{path} has rows of more cells than the {len(names)} columns of its first line: "
                f"{', '.join(names)}. Give every column a name, and end no row with a comma"
            ) from error
        first_line = 2 if has_header else 1
        # The last lines of a file are often empty; others are not skipped, or lines would shift.
        empty = (cells == "").all(axis=1) | cells.isna().all(axis=1)
        while len(cells) and empty.iloc[-1]:
            cells, empty = cells.iloc[:-1], empty.iloc[:-1]
        cells = cells.fillna("")
        if len(cells) < 2:
            raise UserError(f"{path} must hold rows to learn from. Received: {len(cells)} rows")
        dates = [name for name in cells.columns if name.lower() in _DATES]
        times = None
        if dates:
            times = _times(path, cells[dates[0]], dates[0], first_line, max_gap_days)
            cells = cells.drop(columns=dates[:1])
        return cls(path, cells, times, first_line)

    def find(self, name: str) -> str | None:
        """The column of that name, whatever the case, or with a prefix such as `AAPL.Close`."""
        for column in self.cells.columns:
            if name.lower() in (column.lower(), column.lower().rpartition(".")[2]):
                return str(column)
        return None

    def price(self) -> str | None:
        """The column of prices: Close, Adj Close or Price."""
        return next((column for name in _PRICES if (column := self.find(name))), None)

    def require(self, name: str) -> str:
        """The column of that name.

        Raises:
            UserError: when there is none.
        """
        column = self.find(name)
        if column is None:
            raise UserError(
                f"{self.path} has no column {name!r}. It has: {', '.join(self.cells.columns)}"
            )
        return column

    def numeric_columns(self) -> list[str]:
        """Columns of which most filled cells are numbers."""
        return [
            str(name)
            for name in self.cells.columns
            if _text(self.cells[name]).mean() <= 0.5 and not _missing(self.cells[name]).all()
        ]

    def numbers(self, column: str) -> np.ndarray:
        """A column as float64, NaN where a cell is empty or says that it holds nothing.

        Raises:
            UserError: naming the first cell that is neither a number nor empty.
        """
        cells = self.cells[column]
        text = _text(cells).to_numpy()
        if text.any():
            row = int(text.argmax())
            raise UserError(
                f"{self.where(row)}, column {column}, must hold a number. "
                f"Received: {cells.iloc[row]!r}"
            )
        return pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)

    def text(self, column: str) -> str:
        """The one text that a column holds.

        Raises:
            UserError: when it holds several.
        """
        values = sorted({str(cell) for cell in self.cells[column]})
        if len(values) > 1:
            raise UserError(
                f"A static column holds one value. Received: {', '.join(values[:3])}, ... in "
                f"column {column} of {self.path}"
            )
        return values[0]

    def where(self, row: int) -> str:
        """What a person calls the place of a row in its file."""
        return f"{self.path}, line {row + self.first_line}"


def _first_line(path: Path) -> list[str]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"{path} is no text in UTF-8: {error}") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_date(cell: str) -> bool:
    return not _is_number(cell) and not _parsed(pd.Series([cell])).isna().any()


def _parsed(cells: Any) -> Any:
    local = cells.str.strip().str.replace(_LOCAL, r"\1", regex=True)
    return pd.to_datetime(local, errors="coerce", format="ISO8601")


def _missing(cells: Any) -> Any:
    return cells.str.strip().str.lower().isin(_MISSING)


def _text(cells: Any) -> Any:
    return pd.to_numeric(cells, errors="coerce").isna() & ~_missing(cells)


def _times(path: Path, cells: Any, name: str, first_line: int, max_gap_days: int) -> np.ndarray:
    parsed = _parsed(cells)

    def refuse(row: int, problem: str) -> None:
        raise UserError(f"{path}, line {row + first_line}, column {name}: {problem}")

    bad = parsed.isna().to_numpy()
    if bad.any():
        row = int(bad.argmax())
        refuse(row, f"dates are written YEAR-MONTH-DAY. Received: {cells.iloc[row]!r}")
    times = parsed.to_numpy("datetime64[s]")
    steps = np.diff(times)
    if (steps <= np.timedelta64(0)).any():
        row = int((steps <= np.timedelta64(0)).argmax()) + 1
        kind = "stands twice" if times[row] == times[row - 1] else "is earlier than the one before"
        refuse(row, f"dates must rise. Received: {cells.iloc[row]}, which {kind}")
    longest = int(steps.argmax())
    if steps[longest] > np.timedelta64(max_gap_days, "D"):
        days = steps[longest] / np.timedelta64(1, "D")
        refuse(
            longest + 1,
            f"{days:.0f} days are missing before {cells.iloc[longest + 1]}. Cut the file there, or "
            "raise --max-gap-days",
        )
    return times
