"""The rows of results.json and the tables that Markdown files show of them.

A figure is published by adding its row and drawing the tables again:

    python -m benchmarks.results add --room translation --name multi30k_bleu --value 39.4 ...
    python -m benchmarks.results tables

In README.md, the rooms' README.md and docs/ two kinds of region are written from the rows:

    <!-- results:translation -->          a table of that room's rows; the two markers stand alone
    <!-- /results -->                     on their lines

    <!-- results:multi30k_bleu value -->39.4 BLEU<!-- /results -->
                                          one field of one row inside a line: value, floor,
                                          minutes, command, seeds, commit, hardware or date
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "benchmarks" / "results.json"
REGION = re.compile(
    r"(?P<opening><!-- results:(?P<name>[^\s>]+)(?: (?P<field>\w+))? -->)"
    r"(?P<body>(?:(?!<!-- results:).)*?)"
    r"(?P<closing><!-- /results -->)",
    re.DOTALL,
)
MARKER = re.compile(r"<!--\s*/?results\b.*")


def _commit() -> str:
    """The commit checked out; refuses when tracked files differ from it."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    if changed:
        raise ValueError(
            "The working tree differs from its commit, which therefore made no figure. "
            f"Received: {changed.splitlines()[0].strip()}, ... Commit first, or give --commit."
        )
    return _git("rev-parse", "--short=10", "HEAD")


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def _hardware() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return f"{os.cpu_count()} cores of {model[1] if model else platform.machine()}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One published figure and everything needed to get it again."""

    name: str
    """Data, split and figure in lower case, for example multi30k_en_de_test2016_bleu_lc_tok."""
    room: str
    """The room that made it, for example translation."""
    value: float
    """The figure; the mean when there are several seeds."""
    unit: str
    """What the value counts, for example BLEU."""
    command: str
    """What to type in the project's folder to get it again."""
    minutes: float
    """How long the command takes on that hardware."""
    interval: tuple[float, float] | None = None
    """Lower and upper end of the 95% interval, when there is one."""
    seeds: tuple[int, ...] = (0,)
    """Seeds that the value was measured with."""
    floor: float | None = None
    """What the figure is to be compared with."""
    floor_name: str | None = None
    """What the floor is, for example copy of the source."""
    commit: str = ""
    """Commit that was measured; by default the one checked out."""
    hardware: str = ""
    """Machine that was measured; by default this one."""
    date: str = ""
    """Day of the measurement, YEAR-MONTH-DAY; by default today."""

    def check(self) -> None:
        """Raise ValueError for the first field that is not as it must be."""

        def expect(condition: bool, field: str, expectation: str) -> None:
            if not condition:
                received = getattr(self, field)
                raise ValueError(
                    f"{field} of {self.name} must be {expectation}. Received: {received!r}"
                )

        words = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")
        expect(bool(words.fullmatch(self.name)), "name", "lower-case words joined by _")
        for field in ("room", "unit", "command", "hardware"):
            expect(bool(getattr(self, field).strip()), field, "some text")
        expect(not re.search(r"(^|[\s=])/", self.command), "command", "free of absolute paths")
        expect(math.isfinite(self.value), "value", "a finite number")
        expect(self.minutes > 0 and math.isfinite(self.minutes), "minutes", "positive")
        expect(len(self.seeds) > 0, "seeds", "one seed or more")
        expect(len(set(self.seeds)) == len(self.seeds), "seeds", "different from each other")
        if self.interval is not None:
            low, high = self.interval
            expect(low <= self.value <= high, "interval", "around the value")
        both = (self.floor is None) == (self.floor_name is None)
        expect(both, "floor_name", "given exactly when floor is")
        expect(bool(re.fullmatch(r"[0-9a-f]{7,40}", self.commit)), "commit", "7 to 40 hex digits")
        try:
            datetime.date.fromisoformat(self.date)
        except ValueError:
            expect(False, "date", "YEAR-MONTH-DAY")

    def show(self, field: str) -> str:
        """One field as text for a Markdown page."""
        if field == "value":
            text = f"{self.value:g}"
            if self.interval is not None:
                text += f" ({self.interval[0]:g} to {self.interval[1]:g})"
            return f"{text} {self.unit}"
        if field == "floor":
            return "" if self.floor is None else f"{self.floor:g} ({self.floor_name})"
        if field == "minutes":
            return f"{self.minutes:g}"
        if field == "seeds":
            return ", ".join(str(seed) for seed in self.seeds)
        if field == "command":
            return f"`{self.command}`"
        if field in ("name", "commit", "hardware", "date"):
            return str(getattr(self, field))
        raise ValueError(
            "A region shows value, floor, minutes, command, seeds, commit, hardware, date or name. "
            f"Received: {field!r}"
        )


def load(path: Path) -> list[Row]:
    """Read and check all rows.

    Raises:
        ValueError: for an unknown or missing field, a bad value, or a name that stands twice.
    """
    rows = []
    fields = {field.name for field in dataclasses.fields(Row)}
    for entry in json.loads(path.read_text()):
        if entry.keys() != fields:
            raise ValueError(
                f"A row has the fields {sorted(fields)}. "
                f"Received: {entry.get('name')} with {sorted(entry)}"
            )
        interval = entry["interval"] and tuple(entry["interval"])
        rows.append(Row(**{**entry, "interval": interval, "seeds": tuple(entry["seeds"])}))
        rows[-1].check()
    names = [row.name for row in rows]
    if len(set(names)) != len(names):
        raise ValueError(f"Every name stands once. Received: {sorted(names)}")
    return rows


def save(rows: list[Row], path: Path) -> None:
    """Write the rows, sorted by name, so that a new one is a small difference."""
    entries = [dataclasses.asdict(row) for row in sorted(rows, key=lambda row: row.name)]
    path.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")


def render(text: str, rows: list[Row]) -> str:
    """Write every region of a Markdown text anew from the rows.

    Raises:
        ValueError: for a marker without its partner and a name that no row has.
    """

    def body(region: re.Match[str]) -> str:
        name, field = region["name"], region["field"]
        if field is None:
            chosen = [row for row in rows if name in (row.name, row.room)]
            shown = f"\n{_table(chosen)}\n"
        else:
            chosen = [row for row in rows if row.name == name]
            shown = chosen[0].show(field) if chosen else ""
        if not chosen:
            raise ValueError(f"results.json has no row for a marker. Received: {region['opening']}")
        return f"{region['opening']}{shown}{region['closing']}"

    stray = MARKER.search(REGION.sub("", text))
    if stray is not None:
        raise ValueError(
            "A region is opened by `<!-- results:NAME -->` or `<!-- results:NAME FIELD -->` and "
            f"closed by `<!-- /results -->`. Received: {stray[0]}"
        )
    return REGION.sub(body, text)


def _table(rows: list[Row]) -> str:
    columns: dict[str, Callable[[Row], str]] = {
        "figure": lambda row: row.name,
        "value": lambda row: row.show("value"),
        "floor": lambda row: row.show("floor"),
        "seeds": lambda row: row.show("seeds"),
        "minutes": lambda row: row.show("minutes"),
        "measured": lambda row: f"{row.date}, {row.commit}, {row.hardware}",
        "command": lambda row: row.show("command"),
    }
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[show(row) for show in columns.values()] for row in rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def pages(root: Path) -> list[Path]:
    """The Markdown files that may show results: the project's, those of its rooms and of docs/."""
    return sorted([*root.glob("*.md"), *root.glob("[a-z]*/README.md"), *root.glob("docs/*.md")])


@dataclasses.dataclass(frozen=True)
class Add:
    """Add a row to results.json; a row of the same name is replaced (git keeps the old one)."""

    row: tyro.conf.OmitArgPrefixes[Row]

    def run(self) -> None:
        """Write the row and say what it replaced."""
        row = dataclasses.replace(
            self.row,
            commit=self.row.commit or _commit(),
            hardware=self.row.hardware or _hardware(),
            date=self.row.date or datetime.date.today().isoformat(),
        )
        row.check()
        rows = load(ROWS)
        old = next((other for other in rows if other.name == row.name), None)
        save([row, *(other for other in rows if other is not old)], ROWS)
        was = "new" if old is None else f"was {old.show('value')}"
        print(f"{row.name}: {row.show('value')} ({was})")


@dataclasses.dataclass(frozen=True)
class Tables:
    """Write the regions of all README files anew."""

    def run(self) -> None:
        """Rewrite the pages that differ and name them."""
        rows = load(ROWS)
        for page in pages(ROOT):
            before = page.read_text()
            after = render(before, rows)
            if after != before:
                page.write_text(after)
                print(f"rewrote {page.relative_to(ROOT)}")


def main() -> int:
    """Answer the command line; the number returned is the exit status."""
    try:
        command = tyro.cli(
            Annotated[Add, tyro.conf.subcommand("add")]
            | Annotated[Tables, tyro.conf.subcommand("tables")],
            description="Publish figures: the rows of results.json and the tables made of them.",
        )
        command.run()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
