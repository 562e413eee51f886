"""Draw where every word of a caption looked: the picture once a word, lit where attention lay."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from captioning.photos import Box

_COLUMNS = 8
_PANEL = 1.5  # inches
_DARKEST = 0.2  # what is left of the light where nothing was attended to
_GOLD = "#f08c00"


def draw_overlays(
    pixels: NDArray[np.uint8],
    words: Sequence[str],
    weights: Sequence[NDArray[np.floating]],
    *,
    boxes: Sequence[Sequence[Box]] | None = None,
    title: str = "",
) -> Figure:
    """Draw a caption word for word.

    Every panel is as light as its word's attention, with the cell attended to most at full light
    and outlined, the one that hard attention reads; how much of all attention lies there is beside
    the word. Of equal cells none is outlined.

    Args:
        pixels: `(height, width, 3)`.
        words: of the caption.
        weights: for every word `(rows, columns)`, which sum to 1.
        boxes: for every word where it is, outlined; None outlines nothing.
        title: stands above.

    Returns:
        The figure, to be saved or turned into pixels.
    """
    count = len(words) + 1
    columns = min(count, _COLUMNS)
    rows = math.ceil(count / columns)
    height, width = pixels.shape[:2]
    panel = _PANEL * height / width
    top = 0.35 if title else 0.05
    figure = Figure((columns * _PANEL, rows * (panel + 0.25) + top), dpi=100)
    total = figure.get_figheight()
    if title:
        figure.text(0.01, 1 - 0.12 / total, title, va="top", fontsize=9)
    for place in range(count):
        row, column = divmod(place, columns)
        left = (column + 0.02) / columns
        bottom = 1 - (top + (row + 1) * (panel + 0.25)) / total
        axes = figure.add_axes((left, bottom, 0.96 / columns, panel / total))
        axes.set_axis_off()
        shown = pixels if place == 0 else _lit(pixels, weights[place - 1])
        axes.imshow(shown, extent=(0, width, height, 0), aspect="auto")
        if place == 0:
            continue
        largest = weights[place - 1].max()
        axes.set_title(f"{words[place - 1]}  {largest:.0%}", fontsize=8, pad=2, parse_math=False)
        for box in boxes[place - 1] if boxes is not None else ():
            axes.add_patch(_outline(box, height, width, _GOLD))
        cell = _largest_cell(weights[place - 1])
        if cell is not None:
            axes.add_patch(_outline(cell, height, width, "white"))
    return figure


def _outline(box: Box, height: int, width: int, colour: str) -> Rectangle:
    y, x, lower, right = box
    return Rectangle(
        (x * width, y * height),
        (right - x) * width,
        (lower - y) * height,
        fill=False,
        edgecolor=colour,
        linewidth=1.2,
    )


def _largest_cell(weights: NDArray[np.floating]) -> Box | None:
    """Where the largest weight stands, as a box; None where several are as large."""
    rows, columns = weights.shape
    places = np.argwhere(weights == weights.max())
    if len(places) > 1:
        return None
    row, column = places[0].tolist()
    return (row / rows, column / columns, (row + 1) / rows, (column + 1) / columns)


def _lit(pixels: NDArray[np.uint8], weights: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The picture, as light in each place as the attention there; smooth between cells."""
    light = _smooth(weights / max(float(weights.max()), 1e-12), *pixels.shape[:2])
    light = _DARKEST + (1 - _DARKEST) * light
    return (pixels * light[..., None]).astype(np.uint8)


def _smooth(values: NDArray[np.floating], height: int, width: int) -> NDArray[np.float64]:
    """Bring a grid to a size, straight lines between the centres of cells."""
    rows, columns = values.shape
    y = (np.arange(height) + 0.5) / height * rows - 0.5
    x = (np.arange(width) + 0.5) / width * columns - 0.5
    across = np.stack([np.interp(x, np.arange(columns), row) for row in values])
    return np.stack([np.interp(y, np.arange(rows), column) for column in across.T], axis=1)
