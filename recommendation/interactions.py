"""Who took what, in the order of time: histories laid end to end, on disk while they are used."""

from __future__ import annotations

import itertools
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 500_000
"""Interactions held in memory at once."""


@dataclass(frozen=True)
class Items:
    """The catalogue: item number 1 comes first, 0 is no item."""

    keys: list[str]
    """What the data calls the items."""
    titles: list[str]
    """What people call them."""

    def __len__(self) -> int:
        """Number of items."""
        return len(self.keys)

    def title(self, item: int) -> str:
        """The title of an item's number."""
        return self.titles[item - 1]


@dataclass(frozen=True)
class Interactions:
    """Histories of all users, laid end to end and each in the order of time."""

    items: Items
    users: list[str]
    """Names of the users."""
    offsets: NDArray[np.int64]
    """`(users + 1,)` where each history begins, and the end of the last."""
    item_ids: NDArray[np.int32]
    """`(interactions,)` item numbers, from 1."""
    times: NDArray[np.int64] | None = None
    """`(interactions,)` seconds, where they are known."""
    causes: NDArray[np.int32] | None = None
    """`(interactions,)` the place in the same history of what caused an interaction, or -1."""
    groups: dict[str, list[str]] = field(default_factory=dict)
    """For every attribute (age, gender) the group of every user."""
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of interactions."""
        return int(self.offsets[-1])

    def history(self, user: int) -> NDArray[np.int32]:
        """All items of a user."""
        return self.item_ids[self.offsets[user] : self.offsets[user + 1]]


class Spool:
    """Collects interactions in any order of users and gives them back as histories.

    Interactions are kept in files that are deleted already: they take no memory but what the
    system can reclaim, and nothing is left behind however the process ends. Memory grows with the
    numbers of users and items alone. It is a context manager: leaving it lets the files go, which
    the histories keep.

    Args:
        known_items: keys of items that have numbers already; new items are numbered behind them.
    """

    def __init__(self, known_items: Sequence[str] = ()) -> None:
        self._users: dict[str, int] = {}
        self._items = {key: number for number, key in enumerate(known_items, start=1)}
        self._columns = (array("i"), array("i"), array("q"))
        self._files = [_unlinked_file() for _ in self._columns]
        self._count = 0
        self._timed = True

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def add(self, user: str, item: str, time: int | None) -> None:
        """Take one interaction; later ones of a user stand behind earlier ones of equal time."""
        users, items, times = self._columns
        users.append(self._users.setdefault(user, len(self._users)))
        items.append(self._items.setdefault(item, len(self._items) + 1))
        if time is None:
            self._timed = False
        times.append(time or 0)
        self._count += 1
        if len(users) >= _CHUNK:
            self._flush()

    def __len__(self) -> int:
        """Number of interactions so far."""
        return self._count

    def _flush(self) -> None:
        for column, file in zip(self._columns, self._files, strict=True):
            column.tofile(file)
            del column[:]

    def histories(self, titles: dict[str, str], notes: Iterable[str] = ()) -> Interactions:
        """Sort by user, and by time where there are times; equal times keep their order.

        Args:
            titles: by item key; an item without one is called by its key.
            notes: what to tell the user besides.

        Returns:
            The interactions.
        """
        self._flush()
        told = list(notes)
        user_of, item_of, time_of = (
            _mapped(file, dtype, self._count)
            for file, dtype in zip(self._files, (np.int32, np.int32, np.int64), strict=True)
        )
        counts = np.zeros(len(self._users), np.int64)
        for start in range(0, self._count, _CHUNK):
            counts += np.bincount(user_of[start : start + _CHUNK], minlength=len(counts))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        item_ids, times = _mapped_new(np.int32, self._count), _mapped_new(np.int64, self._count)
        free = offsets[:-1].copy()
        for start in range(0, self._count, _CHUNK):
            users = user_of[start : start + _CHUNK]
            order = np.argsort(users, kind="stable")
            ordered = users[order]
            present, first, sizes = np.unique(ordered, return_index=True, return_counts=True)
            places = free[ordered] + np.arange(len(ordered)) - np.repeat(first, sizes)
            item_ids[places] = item_of[start : start + _CHUNK][order]
            times[places] = time_of[start : start + _CHUNK][order]
            free[present] += sizes
        if self._timed:
            moved = _sort_by_time(offsets, item_ids, times)
            if moved:
                told.append(
                    f"{moved} of {self._count} interactions stood behind a later one of the same "
                    "user and were sorted by time"
                )
        keys = list(self._items)
        return Interactions(
            items=Items(keys, [titles.get(key, key) for key in keys]),
            users=list(self._users),
            offsets=offsets,
            item_ids=item_ids,
            times=times if self._timed else None,
            notes=told,
        )


def sorted_copy(values: NDArray[Any]) -> NDArray[Any]:
    """Values in order, held in a file as histories are."""
    copy = _mapped_new(values.dtype.type, len(values))
    for start in range(0, len(values), _CHUNK):
        copy[start : start + _CHUNK] = values[start : start + _CHUNK]
    copy.sort()
    return copy


def _sort_by_time(
    offsets: NDArray[np.int64], item_ids: NDArray[np.int32], times: NDArray[np.int64]
) -> int:
    """Sort every history in place; returns how many interactions stood behind a later one."""
    moved = 0
    for start, end in itertools.pairwise(offsets):
        own = times[start:end]
        behind = int((own[1:] < np.maximum.accumulate(own)[:-1]).sum())
        if behind:
            moved += behind
            order = np.argsort(own, kind="stable")
            times[start:end] = own[order]
            item_ids[start:end] = item_ids[start:end][order]
    return moved


def _unlinked_file() -> Any:
    """A file without a name, which ends with the process."""
    return tempfile.TemporaryFile(prefix="interactions-")


def _mapped_new(dtype: type, count: int) -> NDArray[Any]:
    with _unlinked_file() as file:
        return _mapped(file, dtype, count)


def _mapped(file: Any, dtype: type, count: int) -> NDArray[Any]:
    """What a file holds as an array; the file may be closed."""
    file.flush()
    if not count:
        return np.zeros(0, dtype)
    file.truncate(count * np.dtype(dtype).itemsize)
    return np.memmap(file, dtype, mode="r+", shape=(count,))
