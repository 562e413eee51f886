"""The report of a comparison: means over seeds with intervals, as Markdown, CSV and a picture."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_apps.running.atomic import whole_file
from benchmarks.compared_figures import Figure

CONFIDENCE = 0.95
COLUMNS = (
    *("value", "figure", "title", "better", "floor", "seeds", "each", "mean", "low", "high"),
    *("difference", "difference_low", "difference_high"),
)
PICTURED = ("quality", "gold", "entropy", "epoch_cpu_seconds", "peak_megabytes", "parameters")


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its interval; `low` and `high` are None of a single seed."""

    mean: float
    low: float | None
    high: float | None
    each: tuple[float, ...]

    def __str__(self) -> str:
        """Write the mean and, where it is not a point, the interval."""
        told = number(self.mean)
        if self.low is None or self.high is None or self.low == self.high:
            return told
        return f"{told} ({number(self.low)} to {number(self.high)})"


def estimate(values: Sequence[float]) -> Estimate | None:
    """The mean of a few values with Student's interval, of 95 % if they are draws of a normal one.

    Args:
        values: one of each seed.

    Returns:
        None of no values.
    """
    if not values:
        return None
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Estimate(mean, None, None, tuple(values))
    from scipy.stats import t  # here, for it takes a second

    factor = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    half = factor * statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, tuple(values))


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Attributes:
        room: that was trained.
        field: of its Config that was compared.
        command: what makes it again.
        seeds: of the runs, in order.
        figures: in the order of the columns.
        measured: by value (in the order asked) and figure, what each seed gave; None where it gave
            nothing.
    """

    room: str
    field: str
    command: str
    seeds: tuple[int, ...]
    figures: Sequence[Figure]
    measured: Mapping[str, Mapping[str, Sequence[float | None]]]

    @property
    def reference(self) -> str:
        """The value that others are compared with: the first."""
        return next(iter(self.measured))

    def of(self, value: str, figure: Figure) -> Estimate | None:
        """One cell: the seeds that gave something."""
        given = self.measured[value][figure.name]
        return estimate([single for single in given if single is not None])

    def difference(self, value: str, figure: Figure) -> Estimate | None:
        """How a value differs from the reference, seed by seed; None of the reference itself."""
        if value == self.reference:
            return None
        ours, theirs = (self.measured[name][figure.name] for name in (value, self.reference))
        return estimate(
            [
                one - other
                for one, other in zip(ours, theirs, strict=True)
                if one is not None and other is not None
            ]
        )


def number(value: float) -> str:
    """A figure for people: four digits, whole where it is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def write_report(comparison: Comparison, into: Path) -> list[Path]:
    """Write `ROOM_FIELD.md`, `.csv` and `.png`, each whole.

    Args:
        comparison: what was measured.
        into: an existing folder.

    Returns:
        Their paths.
    """
    name = f"{comparison.room}_{comparison.field}"
    texts = {".md": markdown(comparison, f"{name}.png"), ".csv": table(comparison)}
    for ending, text in texts.items():
        with whole_file(into / f"{name}{ending}") as partial:
            partial.write_text(text, encoding="utf-8")
    with whole_file(into / f"{name}.png") as partial:
        draw(comparison, partial)
    return [into / f"{name}{ending}" for ending in (*texts, ".png")]


def markdown(comparison: Comparison, picture: str) -> str:
    """The report for people; `picture` is where it finds the picture."""
    seeds = comparison.seeds
    heads = [_head(figure) for figure in comparison.figures]
    rows = [
        [f"`{value}`", *(_cell(comparison.of(value, figure)) for figure in comparison.figures)]
        for value in comparison.measured
    ]
    lines = [
        f"# {comparison.room}: {comparison.field} compared",
        "",
        f"    {comparison.command}",
        "",
        f"Seeds {', '.join(map(str, seeds))}. Means over seeds"
        + (", in brackets Student's 95 % interval of the mean." if len(seeds) > 1 else ", of one.")
        + " It holds what changes with the seed, not what another test part would change.",
        "",
        *_rows([["value", *heads], *rows]),
    ]
    floors = [
        f"{figure.title}: {number(figure.floor)} ({figure.floor_name})"
        for figure in comparison.figures
        if figure.floor is not None
    ]
    if floors:
        lines += ["", f"Floors: {'; '.join(floors)}."]
    lines += ["", f"![{comparison.room}: {comparison.field} compared]({picture})"]
    if len(comparison.measured) > 1:
        differences = [
            [
                f"`{value}`",
                *(_cell(comparison.difference(value, figure)) for figure in comparison.figures),
            ]
            for value in list(comparison.measured)[1:]
        ]
        lines += [
            "",
            f"Differences from `{comparison.reference}`, seed by seed:",
            "",
            *_rows([["value", *(figure.title for figure in comparison.figures)], *differences]),
        ]
    return "\n".join(lines) + "\n"


def _head(figure: Figure) -> str:
    return f"{figure.title} ({figure.better} is better)" if figure.better else figure.title


def _cell(found: Estimate | None) -> str:
    return "not known" if found is None else str(found)


def _rows(cells: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in cells]
    return [lines[0], "|" + "---|" * len(cells[0]), *lines[1:]]


def table(comparison: Comparison) -> str:
    """The report for machines: a row for each value and figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for value in comparison.measured:
        for figure in comparison.figures:
            each = comparison.measured[value][figure.name]
            row = [value, figure.name, figure.title, figure.better, _plain(figure.floor)]
            row += [" ".join(map(str, comparison.seeds)), ";".join(map(_plain, each))]
            row += _three(comparison.of(value, figure))
            row += _three(comparison.difference(value, figure))
            writer.writerow(row)
    return text.getvalue()


def _three(found: Estimate | None) -> list[str]:
    return (
        ["", "", ""] if found is None else [_plain(x) for x in (found.mean, found.low, found.high)]
    )


def _plain(value: float | None) -> str:
    return "" if value is None else repr(value)


def draw(comparison: Comparison, path: Path) -> None:
    """Draw a panel for each figure: every seed, the mean, its interval, and the floor.

    Args:
        comparison: what was measured.
        path: of the picture, a PNG whatever it is called.
    """
    from matplotlib.figure import Figure as Picture

    by_name = {figure.name: figure for figure in comparison.figures}
    shown = [by_name[name] for name in PICTURED if name in by_name]
    values = list(comparison.measured)
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    height = rows * (0.28 * len(values) + 1.1)
    picture = Picture(figsize=(3.4 * columns + 0.8, height), dpi=130, layout="constrained")
    panels = list(picture.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for panel in panels:
        panel.axis("off")
    for panel, figure in zip(panels, shown, strict=False):
        panel.axis("on")
        for place, value in enumerate(values):
            found = comparison.of(value, figure)
            if found is None:
                panel.text(
                    0.02,
                    place,
                    "not known",
                    color="#999999",
                    fontsize=7,
                    va="center",
                    transform=panel.get_yaxis_transform(),
                )
                continue
            panel.plot(found.each, [place] * len(found.each), "|", color="#9db4d6", ms=9)
            if found.low is not None:
                panel.plot([found.low, found.high], [place, place], color="#1b4ca0", linewidth=1.2)
            panel.plot(found.mean, place, "o", color="#1b4ca0", ms=4.5)
        if figure.floor is not None:
            panel.axvline(figure.floor, color="#777777", linewidth=1, linestyle="--")
            panel.set_xlabel(f"dashed: {figure.floor_name}", fontsize=7, color="#777777")
        panel.set_title(_head(figure), fontsize=8)
        panel.set_yticks(range(len(values)), values, fontsize=8)
        panel.set_ylim(len(values) - 0.4, -0.6)
        panel.tick_params(axis="x", labelsize=7)
        panel.grid(axis="y", color="#eeeeee")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    picture.savefig(path, format="png")
