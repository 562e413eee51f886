"""A panel: the rows of several series side by side, as they stand in files or in the market."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from forecasting.series import CLOSE


@dataclass(frozen=True)
class Panel:
    """Cells of several variables over time, not yet cleaned.

    Attributes:
        names: of the variables; those that are forecast come first.
        num_targets: how many are forecast.
        columns: what is known of each variable and row; `close` is among them.
        values: `(time, variables, columns)` float64, NaN where there is nothing.
        times: of the rows, `(time,)` datetime64[s]; None where the data has no dates.
        known: columns whose future is known, `(time, known)` float64.
        static: what tells assets apart, `(variables, static)` float64.
        notes: what was found and how it is handled, a sentence each.
        num_shared: how many of the columns, the last ones, are the same for every variable.
    """

    names: tuple[str, ...]
    num_targets: int
    columns: tuple[str, ...]
    values: np.ndarray
    times: np.ndarray | None
    known: np.ndarray
    static: np.ndarray
    notes: list[str] = field(default_factory=list)
    num_shared: int = 0

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.values)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the variables that are forecast."""
        return self.names[: self.num_targets]

    @property
    def closes(self) -> np.ndarray:
        """Closing prices or values as they came, `(time, variables)`."""
        return self.values[..., self.columns.index(CLOSE)]

    def label(self, row: int) -> str:
        """What a person calls a row: its date, with the hour where rows are closer than a day."""
        if self.times is None:
            return f"row {row + 1}"
        date, _, hour = str(self.times[row]).partition("T")
        daily = len(self.times) < 2 or (np.diff(self.times[:50]) >= np.timedelta64(1, "D")).all()
        return date if daily else f"{date} {hour[:5]}"
