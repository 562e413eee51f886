"""Protocols: what is trained on, what is predicted while training, and what is predicted last.

A case is one interaction to be predicted from everything the same user did before it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from attention_apps.running.command import UserError
from recommendation.interactions import Interactions, sorted_copy

MOST_SUCCESSIVE = 50
"""Successive targets of one user that count."""


@dataclass(frozen=True)
class Cases:
    """Interactions to predict."""

    name: str
    interactions: Interactions
    users: NDArray[np.int32]
    """`(cases,)` whose they are."""
    places: NDArray[np.int64]
    """`(cases,)` where they stand among all interactions."""

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.users)

    def history(self, case: int) -> NDArray[np.int32]:
        """Everything its user took before the case."""
        begin = self.interactions.offsets[self.users[case]]
        return self.interactions.item_ids[begin : self.places[case]]

    def times(self, case: int) -> NDArray[np.int64] | None:
        """When its user took that, in seconds; None where times are not known."""
        times = self.interactions.times
        begin = self.interactions.offsets[self.users[case]]
        return None if times is None else times[begin : self.places[case]]

    def targets(self) -> NDArray[np.int32]:
        """`(cases,)` the items to predict."""
        return np.asarray(self.interactions.item_ids[self.places])

    def causes(self) -> NDArray[np.int32] | None:
        """`(cases,)` places in the histories of what caused the cases, or -1."""
        causes = self.interactions.causes
        return None if causes is None else np.asarray(causes[self.places])


@dataclass(frozen=True)
class Splits:
    """What a run trains on and is measured on."""

    interactions: Interactions
    train_ends: NDArray[np.int64]
    """`(users,)` where the part of each history ends that is trained on."""
    validation: Cases
    test: Cases
    notes: list[str] = field(default_factory=list)

    def training_counts(self) -> NDArray[np.int64]:
        """`(items + 1,)` how often each item occurs in what is trained on."""
        counts = np.zeros(len(self.interactions.items) + 1, np.int64)
        for begin, end in zip(self.interactions.offsets, self.train_ends, strict=False):
            np.add.at(counts, self.interactions.item_ids[begin:end], 1)
        return counts


def leave_one_out(interactions: Interactions) -> Splits:
    """A user's last item is the test, the one before it the validation, the others are trained on.

    Histories of fewer than 3 are trained on whole.

    Args:
        interactions: of all users.

    Returns:
        The splits.

    Raises:
        UserError: when no history has 3 items.
    """
    ends = interactions.offsets[1:]
    lengths = np.diff(interactions.offsets)
    users = np.flatnonzero(lengths >= 3).astype(np.int32)
    if not len(users):
        raise UserError(
            "To leave one out for the test and one for validation some history must have 3 items. "
            f"Received: at most {lengths.max(initial=0)} for each of {len(lengths)} users"
        )
    notes = []
    if len(users) < len(lengths):
        notes.append(
            f"{len(lengths) - len(users)} of {len(lengths)} users have fewer than 3 items: they "
            "are trained on, not tested"
        )
    train_ends = ends.copy()
    train_ends[users] -= 2
    return Splits(
        interactions,
        train_ends,
        Cases("validation", interactions, users, ends[users] - 2),
        Cases("test", interactions, users, ends[users] - 1),
        notes,
    )


def at_time(
    interactions: Interactions, *, test_share: float, validation_share: float, target: str
) -> Splits:
    """One cut in time for all: nothing behind it is known to any user's model.

    The test is what users with a history took behind the cut; the validation has a cut of its own
    before it, and the same kind of target.

    Args:
        interactions: with times.
        test_share: share of interactions behind the cut.
        validation_share: share of those before it that lie behind the validation's cut.
        target: `first`, `last` or `successive` (the first 50 of a user).

    Returns:
        The splits.

    Raises:
        UserError: without times, or when a cut leaves nothing to train on or to predict.

    Reference: Gusak et al. 2025, "Time to Split: Exploring Data Splitting Strategies for Offline
    Evaluation of Sequential Recommenders".
    """
    if interactions.times is None:
        raise UserError(
            "--split time needs a time with every interaction. Received: interactions without. Use "
            "--split leave_one_out"
        )
    count = len(interactions)
    first_test = int(count * (1 - test_share))
    first_validation = int(first_test * (1 - validation_share))
    ordered = sorted_copy(interactions.times)
    cuts = [int(ordered[min(p, count - 1)]) for p in (first_validation, first_test)]
    offsets = interactions.offsets
    bounds = np.empty((len(offsets) - 1, 4), np.int64)
    for user, (begin, end) in enumerate(itertools.pairwise(offsets)):
        inside = np.searchsorted(interactions.times[begin:end], cuts)
        bounds[user] = begin, begin + inside[0], begin + inside[1], end
    splits = []
    notes = [
        f"cut in time at {cuts[1]}, for validation at {cuts[0]} (seconds since 1970)",
    ]
    for name, column in (("validation", 1), ("test", 2)):
        past, future = bounds[:, column] - bounds[:, 0], bounds[:, column + 1] - bounds[:, column]
        users = np.flatnonzero((past > 0) & (future > 0))
        begins, ends = bounds[users, column], bounds[users, column + 1]
        if target == "first":
            places = begins
        elif target == "last":
            places = ends - 1
        else:
            counts = np.minimum(ends - begins, MOST_SUCCESSIVE)
            users = np.repeat(users, counts)
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            places = np.repeat(begins, counts) + within
        if not len(users):
            raise UserError(
                f"The cut in time leaves no user with a history before and an item behind it for "
                f"the {name}. Received: --test-share {test_share} --validation-share "
                f"{validation_share}"
            )
        without = int(((past == 0) & (future > 0)).sum())
        notes.append(
            f"{name}: {len(users)} targets; {without} users without a history before the cut are "
            "left out"
        )
        splits.append(Cases(name, interactions, users.astype(np.int32), places))
    return Splits(interactions, bounds[:, 1].copy(), splits[0], splits[1], notes)
