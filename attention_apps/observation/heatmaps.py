"""Draw an attention record as a picture: a labelled heatmap for each head."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.collections import PatchCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from attention_apps.observation.record import AttentionRecord, Axis

# Ink on paper: no attention is white. CIELAB lightness falls in equal steps, 98, 82, ..., 18, so
# equal differences of weight look equal.
_COLOURS = LinearSegmentedColormap.from_list(
    "attention", ["#f8f9fb", "#a4d3e9", "#57a9d6", "#1b7cc0", "#1b4ca0", "#292264"]
)
_INK, _FAINT_INK, _GOLD = "#222222", "#777777", "#f08c00"
_SMALL_FONT, _LARGE_FONT = FontProperties(size=8), FontProperties(size=9.5)
_TITLE_FONT, _FAINT_FONT = FontProperties(size=13, weight="bold"), FontProperties(size=9.5)
_LONGEST_LABEL = 16  # Characters.

# Lengths in pixels, since the picture must be readable on a screen as it is.
_DOTS_PER_INCH = 100
_LARGEST_CELL, _SMALLEST_CELL = 26, 3
_MAP = 480  # What a map may take in either direction, unless the smallest cells need more.
_ROW = 1300  # What the maps side by side may take.
_LINE = 12  # What a line of labels takes in the small font.
_TITLE, _HEAD_TITLE, _AXIS_NAME, _GAP, _SCALE = 62, 22, 26, 24, 60


def draw_heatmaps(record: AttentionRecord) -> Figure:
    """Draw all heads of a record on one colour scale: queries down, keys across, gold outlined.

    The scale ends at the largest weight, but not below four times the weight that each key has
    when all are attended to alike: that stays pale.

    Args:
        record: the record; `record.head(index)` and `record.mean()` draw one map.

    Returns:
        The figure, for `to_pixels`, or to be saved with its own `savefig`.
    """
    num_heads, num_queries, num_keys = record.weights.shape
    width = round(num_keys * _cell(num_keys, num_queries))
    height = round(num_queries * _cell(num_queries, num_keys))
    slot = max(width, 90) + _GAP  # The name of a head needs its place over a narrow map, too.
    columns = max(1, min(num_heads, 4, _ROW // slot))
    rows = math.ceil(num_heads / columns)
    query_labels, key_labels = _labels(record.query, height), _labels(record.key, width)
    left = _AXIS_NAME + query_labels.longest + 10
    bottom = _AXIS_NAME + key_labels.longest + 10
    title_width = max(_length(record.layer, _TITLE_FONT), _length(_subtitle(record), _FAINT_FONT))
    total_width = max(left + columns * slot + _SCALE, title_width + 24 + _SCALE)
    total_height = _TITLE + rows * (_HEAD_TITLE + height) + (rows - 1) * _GAP + bottom

    figure = Figure((total_width / _DOTS_PER_INCH, total_height / _DOTS_PER_INCH), _DOTS_PER_INCH)
    canvas = figure.add_axes((0, 0, 1, 1))  # All is drawn on one, in pixels: one for each is slow.
    write = partial(canvas.text, parse_math=False)  # A dollar sign is a dollar sign.
    faint: dict[str, Any] = {"font": _FAINT_FONT, "color": _FAINT_INK}
    query_style: dict[str, Any] = {"font": query_labels.font, "color": _INK}
    key_style: dict[str, Any] = {"font": key_labels.font, "color": _INK, "rotation": 90}

    write(12, 12, record.layer, va="top", font=_TITLE_FONT, color=_INK)
    write(12, 36, _subtitle(record), va="top", **faint)
    largest = min(max(float(np.nanmax(record.weights, initial=0)), 4 / num_keys), 1)
    for index, name in enumerate(record.heads):
        row, column = divmod(index, columns)
        x, y = left + column * slot, _TITLE + row * (_HEAD_TITLE + height + _GAP) + _HEAD_TITLE
        write(x, y - 5, name, va="bottom", fontsize=10, color=_INK)
        extent = (x, x + width, y + height, y)
        canvas.imshow(record.weights[index], _COLOURS, vmin=0, vmax=largest, extent=extent)
        canvas.add_patch(Rectangle((x, y), width, height, fill=False, ec="#bbbbbb", lw=0.8))
        if record.gold is not None:
            canvas.add_collection(_outlines(record.gold, x, y, width, height))
        if column == 0:
            for place, label in query_labels.placed:
                write(x - 6, y + place, label, ha="right", va="center_baseline", **query_style)
        if index + columns >= num_heads:  # Nothing below.
            for place, label in key_labels.placed:
                write(x + place, y + height + 6, label, ha="center", va="top", **key_style)

    x, y, length = left + columns * slot, _TITLE + _HEAD_TITLE, min(height, 160)
    canvas.imshow(np.linspace(1, 0, 256)[:, None], _COLOURS, extent=(x, x + 12, y + length, y))
    write(x + 16, y, f"{largest:.2f}", va="center", **faint)
    write(x + 16, y + length, "0", va="center", **faint)
    if record.gold is not None:
        write(total_width - 12, 36, "▢ gold", va="top", ha="right", font=_FAINT_FONT, color=_GOLD)
    middle, centre = (total_height + y - bottom) / 2, left + (columns * slot - _GAP) / 2
    query_name, key_name = _axis_name("query", record.query), _axis_name("key", record.key)
    write(14, middle, query_name, ha="center", va="center", rotation=90, **faint)
    write(centre, total_height - 8, key_name, ha="center", va="bottom", **faint)
    canvas.set(xlim=(0, total_width), ylim=(total_height, 0), aspect="auto")
    canvas.set_axis_off()
    return figure


def to_pixels(figure: Figure) -> np.ndarray:
    """The picture as `(height, width, 3)` uint8."""
    canvas = FigureCanvasAgg(figure)
    with _missing_glyphs_ignored():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@dataclass(frozen=True)
class _Labels:
    """The labels along one side of a map: which are written where, in pixels."""

    placed: list[tuple[float, str]]
    font: FontProperties
    longest: float


def _labels(axis: Axis, length: int) -> _Labels:
    """Every label, or where they find no room evenly spaced ones."""
    cell = length / len(axis)
    font = _LARGE_FONT if cell > 1.5 * _LINE else _SMALL_FONT
    step = 1 if cell >= _LINE else math.ceil(1.5 * _LINE / cell)
    placed = [((index + 0.5) * cell, _short(label)) for index, label in enumerate(axis.labels)][
        ::step
    ]
    return _Labels(placed, font, max(_length(label, font) for _, label in placed))


def _length(text: str, font: FontProperties) -> float:
    """Pixels that the text takes."""
    with _missing_glyphs_ignored():
        renderer = RendererAgg(1, 1, _DOTS_PER_INCH)
        return renderer.get_text_width_height_descent(text, font, False)[0]


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _cell(num_along: int, num_across: int) -> float:
    """Size of a cell along one side: square with room for labels, or as much of that as can be."""
    square = min(_MAP / max(num_along, num_across), _LARGEST_CELL)
    return max(square, min(_MAP / num_along, _LINE), _SMALLEST_CELL)


def _outlines(gold: np.ndarray, x: float, y: float, width: float, height: float) -> PatchCollection:
    high, wide = height / gold.shape[0], width / gold.shape[1]
    cells = [
        Rectangle((x + key * wide, y + query * high), wide, high)
        for query, key in np.argwhere(gold > 0)
    ]
    return PatchCollection(cells, facecolor="none", edgecolor=_GOLD, linewidth=1.6)


@contextmanager
def _missing_glyphs_ignored() -> Iterator[None]:
    """A script that the font lacks is drawn as boxes: that is no reason to stop a training."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def _subtitle(record: AttentionRecord) -> str:
    num_heads = len(record.heads)
    heads = f"{num_heads} heads" if num_heads > 1 else ""
    return "  ·  ".join(part for part in (record.title, f"step {record.step}", heads) if part)


def _axis_name(role: str, axis: Axis) -> str:
    if axis.grid is not None:
        return f"{role}: cells of the picture, {axis.grid[0]} by {axis.grid[1]}"
    return role if axis.kind == "text" else f"{role}: {axis.kind}"
