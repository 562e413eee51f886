"""People's own files: interactions, titles and users, read line by line."""

from __future__ import annotations

import csv
import gzip
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from attention_apps.running.command import UserError
from recommendation.interactions import Interactions, Spool

_NAMES = {
    "user": ("user", "userid", "user_id", "uid", "visitorid", "reviewerid"),
    "item": ("item", "itemid", "item_id", "iid", "movieid", "movie_id", "asin", "productid"),
    "rating": ("rating", "score", "stars", "overall"),
    "time": ("timestamp", "time", "unixreviewtime", "datetime", "date"),
}
_MOVIELENS_USERS = ("user", "gender", "age", "occupation", "zip")
"""Columns of the file of users that comes with MovieLens, which has no line of names."""
_EARLIEST_TIMESTAMP = 1_000_000
"""What stands in a third column without a name is a rating below this, else a time."""


def read_interactions(
    path: Path, *, titles: dict[str, str] | None = None, known_items: Sequence[str] = ()
) -> Interactions:
    """Read `user item [rating] [timestamp]`; memory does not grow with the number of lines.

    Columns are separated by `::`, tabs, commas or spaces. A first line of names tells which column
    is which; without one they stand in the order above, and a third and last column is a time if
    its first value is at least a million.

    Args:
        path: the file, plain or .gz.
        titles: by item key.
        known_items: keys of items that have numbers already.

    Returns:
        The interactions.

    Raises:
        UserError: for a missing file or column, a line that cannot be read, or no lines.
    """
    rows = _rows(path)
    first_number, first = next(rows, (0, []))
    if not first:
        raise UserError(f"An interaction file must hold interactions. Received: no line in {path}")
    columns = _columns_by_name(first, path)
    if columns is None:
        columns = _columns_by_place(first, path)
        rows = itertools.chain([(first_number, first)], rows)
    with Spool(known_items) as spool:
        for user, item, time in _events(rows, columns, path):
            spool.add(user, item, time)
        if not len(spool):
            raise UserError(
                f"An interaction file must hold interactions. Received: only names in {path}"
            )
        told = ", ".join(sorted(columns, key=lambda name: columns[name]))
        notes = [f"{len(spool):,} interactions of {path.name}; columns: {told}"]
        return spool.histories(titles or {}, notes)


def _events(
    rows: Iterator[tuple[int, list[str]]], columns: dict[str, int], path: Path
) -> Iterator[tuple[str, str, int | None]]:
    """User, item and seconds of every line."""
    user, item, time = columns["user"], columns["item"], columns.get("time")
    width = max(columns.values()) + 1
    for number, row in rows:
        if len(row) < width:
            raise UserError(
                f"Every line must have {width} columns. Received: {len(row)} in line {number} of "
                f"{path}"
            )
        if not row[user].strip() or not row[item].strip():
            raise UserError(
                f"Every line must name a user and an item. Received: an empty one in line {number} "
                f"of {path}"
            )
        seconds = None
        if time is not None:
            try:
                seconds = int(float(row[time]))
            except (ValueError, OverflowError) as error:
                raise UserError(
                    f"Times must be seconds since 1970. Received: {row[time]!r} in line {number} "
                    f"of {path}"
                ) from error
        yield row[user].strip(), row[item].strip(), seconds


def _columns_by_name(first: Sequence[str], path: Path) -> dict[str, int] | None:
    """Columns by the names of the first line; None when it holds no name."""
    names = [field.strip().lower().removeprefix("\ufeff").split(":")[0] for field in first]
    found = {
        column: place
        for column, known in _NAMES.items()
        for place, name in enumerate(names)
        if name in known
    }
    if not found:
        return None
    for column in ("user", "item"):
        if column not in found:
            raise UserError(
                f"There must be a column `{column}`. Received: the columns {', '.join(first)} in "
                f"{path}"
            )
    return found


def _columns_by_place(first: Sequence[str], path: Path) -> dict[str, int]:
    if len(first) < 2:
        raise UserError(
            "A line must hold at least a user and an item, separated by spaces, tabs, commas or "
            f"'::'. Received: {' '.join(first)[:60]!r} in line 1 of {path}"
        )
    columns = {"user": 0, "item": 1}
    if len(first) == 3:
        try:
            value = float(first[2])
        except ValueError as error:
            raise UserError(
                "A third column must hold ratings or times in seconds. Received: "
                f"{first[2]!r} in line 1 of {path}"
            ) from error
        columns["time" if value >= _EARLIEST_TIMESTAMP else "rating"] = 2
    elif len(first) > 3:
        columns.update(rating=2, time=3)
    return columns


def read_titles(path: Path) -> dict[str, str]:
    """Read `item title [genres]`, genres told in brackets behind the title.

    Args:
        path: the file; columns are separated by `::`, tabs or commas (a title with a comma in
            quotation marks), with or without a line of names.

    Returns:
        Titles by item key. Of two items of one title the second is told apart by its key.

    Raises:
        UserError: for a missing file or a line without a title.
    """
    titles: dict[str, str] = {}
    taken: set[str] = set()
    for number, row in _rows(path, spaces=False):
        if len(row) < 2 or not row[1].strip():
            raise UserError(
                "Every line must hold an item and its title, separated by tabs, commas or '::'. "
                f"Received: {' '.join(row)[:60]!r} in line {number} of {path}"
            )
        if number == 1 and row[0].strip().lower() in _NAMES["item"]:
            continue
        key, title = row[0].strip(), row[1].strip()
        if title in taken:
            title = f"{title} [{key}]"
        taken.add(title)
        titles[key] = title
    return titles


def read_groups(path: Path, users: Sequence[str]) -> dict[str, list[str]]:
    """Read `user,age,gender,...`: what groups users belong to.

    Args:
        path: the file, with a line of names, or `users.dat` of MovieLens, which has none.
        users: whose groups are wanted.

    Returns:
        For every column but the first, the group of every user; `unknown` for users not in it.

    Raises:
        UserError: for a missing file or line of names.
    """
    rows = _rows(path)
    first_number, names = next(rows, (0, []))
    if len(names) == len(_MOVIELENS_USERS) and names[1] in ("F", "M"):
        rows = itertools.chain([(first_number, names)], rows)
        names = list(_MOVIELENS_USERS)
    if len(names) < 2 or names[0].strip().lower() not in _NAMES["user"]:
        raise UserError(
            "A file of users begins with a line of names, the first of them `user`. Received: "
            f"{' '.join(names)[:60]!r} in {path}"
        )
    found = {row[0].strip(): row for _, row in rows if len(row) == len(names)}
    unknown = ["unknown"] * len(names)
    return {
        name.strip(): [found.get(user, unknown)[place].strip() for user in users]
        for place, name in enumerate(names)
        if place
    }


def _rows(path: Path, *, spaces: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Numbered lines of a file as columns; empty lines are passed over."""
    if not path.is_file():
        present = ""
        if path.parent.is_dir():
            names = sorted(p.name for p in path.parent.iterdir() if p.is_file())[:8]
            present = f" The folder holds: {', '.join(names) or 'nothing'}"
        raise UserError(f"There is no file {path}.{present}")
    try:
        with _open(path) as lines:
            first = lines.readline().removeprefix("\ufeff")
            separator = next((s for s in ("::", "\t", ",") if s in first), " ")
            if separator == " " and not spaces:
                separator = "\t"
            given: Iterator[str] = itertools.chain([first], lines)
            if separator == "::":  # the reader takes single letters only
                given = (line.replace("::", "\x1f") for line in given)
            reader = csv.reader(
                given,
                delimiter="\x1f" if separator == "::" else separator,
                quoting=csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE,
                skipinitialspace=True,
            )
            for row in reader:
                if row and any(row):
                    yield reader.line_num, row if row[-1] else row[:-1]
    except UnicodeDecodeError as error:
        raise UserError(
            f"Files must be UTF-8. Received: byte 0x{error.object[error.start]:02x} in {path}. "
            f"Convert it, e.g. with: iconv -f latin1 -t utf-8 {path.name}"
        ) from error
    except (csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open("rt", encoding="utf-8", newline="")
