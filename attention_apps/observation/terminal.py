"""Draw an attention record as text, for the terminal."""

from __future__ import annotations

import math
import unicodedata

import numpy as np

from attention_apps.observation.record import AttentionRecord

_SHADES = " ░▒▓█"
_GOLD = "◂"
_LONGEST_QUERY, _LONGEST_KEY = 20, 12  # Columns of the terminal.
_SHORTEST_LABEL = 5  # A key label cut shorter than this is better written upright.
_HIGHEST_LABEL = 12  # Lines, for a key written upright.


def draw_text(record: AttentionRecord, width: int = 100) -> str:
    """Draw a record as text: a row per query, a column per key, darker = more attention.

    Several heads are drawn as their mean. Key labels stand over their columns, upright where that
    takes less room; where even that is too wide, a column shows the largest weight of several keys.

    Args:
        record: what to draw.
        width: columns of the terminal, at least 20.

    Returns:
        Lines no wider than `width`.
    """
    if len(record.heads) > 1:
        record = record.mean()
    weights = record.weights[0]
    gold = np.zeros(weights.shape, bool) if record.gold is None else record.gold > 0
    keys = [_printable(label) for label in record.key.labels]
    queries = [_printable(label) for label in record.query.labels]
    margin = min(max(map(_width, queries)), _LONGEST_QUERY, width // 3)
    room = width - margin - 1

    longest = min(max(max(map(_width, keys)), 2), _LONGEST_KEY)
    cell = min(longest, room // len(keys) - 1)  # Less the space between two labels.
    if cell >= min(longest, _SHORTEST_LABEL):
        gap = " "
        header = [gap.join(_fit(label, cell) for label in keys)]
    else:
        gap = ""
        merged = math.ceil(len(keys) / room)
        weights, gold, keys = _merge(weights, merged), _merge(gold, merged), keys[::merged]
        cell = 2 if 2 * len(keys) <= room else 1
        header = _upright(keys, cell)

    largest = float(np.nanmax(weights, initial=0)) or 1.0
    lines = [_title(record, largest, width), *(" " * (margin + 1) + line for line in header)]
    for query, row, gold_row in zip(queries, weights, gold, strict=True):
        cells = (_cell(w / largest, g, cell) for w, g in zip(row, gold_row, strict=True))
        lines.append(f"{_fit(query, margin)} {gap.join(cells)}")
    return "\n".join(line.rstrip() for line in lines)


def _cell(share: float, gold: bool, cell: int) -> str:
    if np.isnan(share):
        return "?" * cell
    shade = _SHADES[round(share * (len(_SHADES) - 1))] * cell
    return shade[:-1] + _GOLD if gold and cell > 1 else shade


def _title(record: AttentionRecord, largest: float, width: int) -> str:
    parts = [record.layer, record.title, *record.heads, f"{_SHADES[-1]} = {largest:.2f}"]
    if record.gold is not None:
        parts.append(f"{_GOLD} = gold")
    return _cut(_printable(" · ".join(part for part in parts if part)), width)


def _upright(labels: list[str], cell: int) -> list[str]:
    height = min(max(map(len, labels)), _HIGHEST_LABEL)
    columns = [_cut_letters(label, height).rjust(height) for label in labels]
    return ["".join(_fit(column[line], cell) for column in columns) for line in range(height)]


def _merge(values: np.ndarray, count: int) -> np.ndarray:
    """The largest of each `count` neighbouring keys."""
    starts = np.arange(0, values.shape[1], count)
    return np.maximum.reduceat(values, starts, axis=1)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def _cut_letters(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _width(text: str) -> int:
    """Columns of the terminal that the text takes."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    while _width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def _fit(text: str, width: int) -> str:
    """Cut or fill up to exactly `width` columns."""
    text = _cut(text, width)
    return text + " " * (width - _width(text))
