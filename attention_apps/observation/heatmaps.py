"""Draw an attention record as a picture: a labelled heatmap for each head."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis as AxesSide
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from attention_apps.observation.record import AttentionRecord, Axis

# Ink on paper: no attention is white. CIELAB lightness falls in equal steps, 98, 82, ..., 18, so
# equal differences of weight look equal.
_COLOURS = LinearSegmentedColormap.from_list(
    "attention", ["#f8f9fb", "#a4d3e9", "#57a9d6", "#1b7cc0", "#1b4ca0", "#292264"]
)
_INK, _FAINT_INK, _GOLD = "#222222", "#777777", "#f08c00"
_SMALL_FONT, _LARGE_FONT = FontProperties(size=8), FontProperties(size=9.5)
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

    Args:
        record: the record; `record.head(index)` and `record.mean()` draw one map.

    Returns:
        The figure, for `to_pixels`, or to be saved with its own `savefig`.
    """
    num_heads, num_queries, num_keys = record.weights.shape
    width, height = (
        num_keys * _cell(num_keys, num_queries),
        num_queries * _cell(num_queries, num_keys),
    )
    slot = max(width, 90) + _GAP  # The name of a head needs its place over a narrow map, too.
    columns = max(1, min(num_heads, 4, int(_ROW / slot)))
    rows = math.ceil(num_heads / columns)

    figure = Figure(dpi=_DOTS_PER_INCH, facecolor="white")
    query_labels, key_labels = _short_labels(record.query), _short_labels(record.key)
    left = _AXIS_NAME + _longest(figure, query_labels, height) + 10
    bottom = _AXIS_NAME + _longest(figure, key_labels, width) + 10
    total_width = max(left + columns * slot + _SCALE, 460)
    total_height = _TITLE + rows * (_HEAD_TITLE + height) + (rows - 1) * _GAP + bottom
    figure.set_size_inches(total_width / _DOTS_PER_INCH, total_height / _DOTS_PER_INCH)

    def place(x: float, y: float, wide: float, high: float) -> Axes:
        """Axes whose upper left corner is `x` from the left and `y` from the top."""
        return figure.add_axes(
            (
                x / total_width,
                1 - (y + high) / total_height,
                wide / total_width,
                high / total_height,
            )
        )

    largest = float(np.nanmax(record.weights, initial=0)) or 1.0
    for index, name in enumerate(record.heads):
        row, column = divmod(index, columns)
        top = _TITLE + row * (_HEAD_TITLE + height + _GAP) + _HEAD_TITLE
        axes = place(left + column * slot, top, width, height)
        image = _draw_map(axes, record.weights[index], largest, record.gold)
        axes.set_title(name, loc="left", fontsize=10, color=_INK, pad=5)
        if column == 0:
            _label(axes.yaxis, query_labels, height)
        if index + columns >= num_heads:  # Nothing below.
            axes.tick_params(axis="x", labelrotation=90)
            _label(axes.xaxis, key_labels, width)

    scale = place(left + columns * slot, _TITLE + _HEAD_TITLE, 12, min(height, 160))
    bar = figure.colorbar(image, cax=scale, ticks=[0, largest])
    bar.ax.set_yticklabels(["0", f"{largest:.2f}"], fontsize=8, color=_FAINT_INK)
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        position = x / total_width, 1 - y / total_height
        figure.text(*position, text, parse_math=False, **style)

    write(12, 12, record.layer, va="top", fontsize=13, weight="bold", color=_INK)
    write(12, 36, _subtitle(record), va="top", fontsize=9.5, color=_FAINT_INK)
    if record.gold is not None:
        write(total_width - 12, 14, "▢ gold", va="top", ha="right", fontsize=9.5, color=_GOLD)
    middle = (total_height + _TITLE + _HEAD_TITLE - bottom) / 2
    centre = left + (columns * slot - _GAP) / 2
    style: dict[str, Any] = {"fontsize": 9.5, "color": _FAINT_INK, "ha": "center"}
    write(14, middle, _axis_name("query", record.query), rotation=90, va="center", **style)
    write(centre, total_height - 8, _axis_name("key", record.key), va="bottom", **style)
    return figure


def to_pixels(figure: Figure) -> np.ndarray:
    """The picture as `(height, width, 3)` uint8."""
    canvas = FigureCanvasAgg(figure)
    with _missing_glyphs_ignored():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_map(
    axes: Axes, weights: np.ndarray, largest: float, gold: np.ndarray | None
) -> AxesImage:
    image = axes.imshow(weights, cmap=_COLOURS, vmin=0, vmax=largest, aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#bbbbbb", linewidth=0.8)
    if gold is not None:
        for query, key in np.argwhere(gold > 0):
            corner = (key - 0.5, query - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=_GOLD, linewidth=1.6))
    return image


def _cell(num_along: int, num_across: int) -> float:
    """Size of a cell along one side: square with room for labels, or as much of that as can be."""
    square = min(_MAP / max(num_along, num_across), _LARGEST_CELL)
    return max(square, min(_MAP / num_along, _LINE), _SMALLEST_CELL)


def _label(side: AxesSide, labels: list[str], length: float) -> None:
    """Write every label, or where they find no room evenly spaced ones."""
    cell, font = length / len(labels), _font(labels, length)
    places = range(0, len(labels), 1 if cell >= _LINE else math.ceil(1.5 * _LINE / cell))
    side.set_ticks(places, [labels[place] for place in places], fontproperties=font)
    side.set_tick_params(length=0, pad=4, labelcolor=_INK)
    for text in side.get_ticklabels():
        text.set_parse_math(False)  # A dollar sign is a dollar sign.


def _short_labels(axis: Axis) -> list[str]:
    return [
        label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"
        for label in axis.labels
    ]


def _font(labels: list[str], length: float) -> FontProperties:
    return _LARGE_FONT if length / len(labels) > 1.5 * _LINE else _SMALL_FONT


def _longest(figure: Figure, labels: list[str], length: float) -> float:
    """Pixels that the longest label takes on a side of that length."""
    measure = FigureCanvasAgg(figure).get_renderer().get_text_width_height_descent
    font = _font(labels, length)
    with _missing_glyphs_ignored():
        return max(measure(label, font, False)[0] for label in labels)


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
