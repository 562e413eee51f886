"""Ask a run's exported model.

python -m recommendation.predict --run-dir RUN "First title; Second title"    what next, and why
python -m recommendation.predict --run-dir RUN --file HISTORIES               a history a line
... | python -m recommendation.predict --run-dir RUN                          from standard input

Items are told by id or title, the latest last, with `;` between them.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import parse
from attention_apps.running.lines import text_lines
from recommendation.config import ROOM

SEPARATOR = ";"
MOST_SHOWN = 15


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The run whose exported model is asked."""
    items: tyro.conf.Positional[tuple[str, ...]] = ()
    """A history; without any, lines are read from --file or standard input."""
    file: Path | None = None
    """Text file with a history a line."""
    count: int = 5
    """Number of recommendations shown."""
    batch_size: int = 64
    """Histories answered at once."""


def read_histories(options: Options, stream: Any = None) -> list[str]:
    """Collect whom to recommend to.

    Args:
        options: the command's flags.
        stream: standard input, when neither items nor a file are given.

    Returns:
        Histories as they were written; an empty one asks for what is popular.

    Raises:
        UserError: for no history at all, or text that is not UTF-8.
    """
    if options.items and options.file is not None:
        raise UserError("give items or --file. Received: both")
    if options.items:
        return [f"{SEPARATOR} ".join(options.items)]
    if options.file is not None:
        lines = text_lines(options.file.read_bytes(), str(options.file))
    else:
        lines = text_lines((stream or sys.stdin.buffer).read(), "standard input")
    if not lines:
        raise UserError("give a history of items. Received: none")
    return lines


class Names:
    """Finds items by what people call them.

    Args:
        keys: ids of all items.
        titles: their titles.
    """

    def __init__(self, keys: Sequence[str], titles: Sequence[str]) -> None:
        self._titles = {title.casefold(): key for key, title in zip(keys, titles, strict=True)}
        self._keys = set(keys)
        self._spelled = list(titles)

    def read(self, history: str) -> tuple[list[str], list[str]]:
        """Split a history into items.

        Args:
            history: ids or titles with `;` between them.

        Returns:
            Ids, the written name where none is known; and notes about those.
        """
        ids, notes = [], []
        for name in self._split(history):
            key = self._find(name)
            if key is None:
                close = difflib.get_close_matches(name, self._spelled, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                notes.append(f"note: no item is called {name!r}; it is passed over.{hint}")
            ids.append(name if key is None else key)
        return ids, notes

    def _find(self, name: str) -> str | None:
        return name if name in self._keys else self._titles.get(name.casefold())

    def _split(self, history: str) -> list[str]:
        if self._find(history.strip()):  # a title may hold the separator
            return [history.strip()]
        return [name.strip() for name in history.split(SEPARATOR) if name.strip()]


def main(argv: Sequence[str] | None = None) -> int:
    """Recommend and print."""
    options = parse(Options, argv, prog=f"python -m {ROOM}.predict", description=__doc__)
    if options.count < 1:
        raise UserError(f"--count must be at least 1. Received: {options.count}")
    histories = read_histories(options)
    quiet_start()
    import tensorflow as tf

    from attention_apps.running.export import exported_model
    from recommendation.recommend import recommend_all
    from recommendation.starting_point import read_items

    folder = exported_model(options.run_dir, ROOM)
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text("utf-8"))
    catalogue = read_items(options.run_dir)
    names = Names(catalogue.keys, catalogue.titles)
    loaded = tf.saved_model.load(str(folder))
    if card["limits"]["reads_times"]:
        print("note: this model also reads times; it is told that all was at once", file=sys.stderr)
    explained = bool(options.items)
    for start in range(0, len(histories), options.batch_size):
        read = [names.read(history) for history in histories[start : start + options.batch_size]]
        for _, notes in read:
            print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
        rows = recommend_all(loaded, [ids for ids, _ in read], attention=explained)
        for history, row in zip(histories[start:], rows, strict=False):
            titles = [title.decode() for title in row["titles"][: options.count] if title]
            if explained:
                print(f"{history}\n")
                print("\n".join(explain(titles, row, card["labels"]["explanation"])))
            else:
                print(f"{SEPARATOR} ".join(titles))
    return 0


def explain(titles: Sequence[str], row: Mapping[str, Any], place: Mapping[str, Any]) -> list[str]:
    """Write an answer and its grounds for a person.

    Args:
        titles: the recommendations shown.
        row: outputs of `with_attention` for one history.
        place: `layer` and `head` (None: the mean) that are read as an explanation.

    Returns:
        Lines: the recommendations, then the items attended to, the most first.
    """
    lines = [
        f"→ {number}. {title}  {score:.2f}"
        for number, (title, score) in enumerate(zip(titles, row["scores"], strict=False), start=1)
    ]
    if row["popular"]:
        return [*lines, "", "no item of the history is known: this is what is most popular"]
    weights = row["attention"][place["layer"]]
    head = place["head"]
    weights = weights.mean(axis=0) if head is None else weights[head]
    named = "mean of heads" if head is None else f"head {head}"
    lines += ["", f"because of (attention of block {place['layer']}, {named}):"]
    for item in weights.argsort(kind="stable")[::-1][:MOST_SHOWN]:
        bar = "█" * round(20 * float(weights[item])) or "░"
        title = row["history_titles"][item].decode()
        if title:
            lines.append(f"  {weights[item]:.3f} {bar:20} {title}")
    return lines


if __name__ == "__main__":
    run_command(main)
