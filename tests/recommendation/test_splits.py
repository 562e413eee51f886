"""Protocols: what is trained on, what is predicted, and that nothing leaks."""

import numpy as np
import pytest

from attention_apps.running.command import UserError
from recommendation.interactions import Interactions, Items
from recommendation.splits import MOST_SUCCESSIVE, at_time, leave_one_out


def interactions(histories, times=None):
    keys = [str(i) for i in range(1, max(max(h, default=1) for h in histories) + 1)]
    return Interactions(
        items=Items(keys, keys),
        users=[f"u{i}" for i in range(len(histories))],
        offsets=np.cumsum([0, *map(len, histories)]),
        item_ids=np.concatenate([np.array(h, np.int32) for h in histories]),
        times=None if times is None else np.concatenate([np.array(t) for t in times]),
    )


def test_the_last_is_the_test_and_the_one_before_the_validation():
    splits = leave_one_out(interactions([[1, 2, 3, 4], [5, 6], [7, 8, 9], [3]]))
    assert splits.validation.targets().tolist() == [3, 8]
    assert splits.test.targets().tolist() == [4, 9]
    assert splits.test.users.tolist() == [0, 2]
    assert [splits.test.history(c).tolist() for c in (0, 1)] == [[1, 2, 3], [7, 8]]
    assert [splits.validation.history(c).tolist() for c in (0, 1)] == [[1, 2], [7]]
    begins = splits.interactions.offsets[:-1]
    assert (splits.train_ends - begins).tolist() == [2, 2, 1, 1]
    assert "2 of 4 users have fewer than 3" in splits.notes[0]
    assert splits.training_counts().tolist() == [0, 1, 1, 1, 0, 1, 1, 1, 0, 0]


def test_histories_that_are_all_short_are_refused():
    with pytest.raises(UserError, match="at most 2 for each of 2 users"):
        leave_one_out(interactions([[1, 2], [3]]))


TIMES = [[0, 10, 60, 70, 90], [5, 20, 61, 95, 99], [80, 91], [1, 2, 3, 4, 5, 6, 7, 8]]
HISTORIES = [[1, 2, 3, 4, 5], [6, 7, 8, 9, 1], [2, 3], [1, 2, 3, 4, 5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("target", "test", "validation"),
    [
        ("first", [[5, 9], [0, 1]], [[3, 8], [0, 1]]),
        ("last", [[5, 1], [0, 1]], [[4, 8], [0, 1]]),
        ("successive", [[5, 9, 1], [0, 1, 1]], [[3, 4, 8], [0, 0, 1]]),
    ],
)
def test_one_cut_in_time_for_all(target, test, validation):
    # 20 interactions: 4 behind the cut (time 90), of the 16 before it 4 behind the other (60).
    splits = at_time(
        interactions(HISTORIES, TIMES), test_share=0.2, validation_share=0.25, target=target
    )
    for cases, (targets, users) in ((splits.test, test), (splits.validation, validation)):
        keep = cases.users != 2
        assert cases.targets()[keep].tolist() == targets
        assert cases.users[keep].tolist() == users
    begins = splits.interactions.offsets[:-1]
    assert (splits.train_ends - begins).tolist() == [2, 2, 0, 8]


@pytest.mark.parametrize("target", ["first", "last", "successive"])
def test_nothing_behind_a_cut_is_trained_on_and_nothing_before_it_predicted(target):
    random = np.random.default_rng(1)
    lengths = random.integers(1, 90, 60)
    times = [np.sort(random.integers(0, 1000, n)) for n in lengths]
    histories = [random.integers(1, 40, n) for n in lengths]
    given = interactions(histories, times)
    splits = at_time(given, test_share=0.2, validation_share=0.2, target=target)
    ordered = np.sort(given.times)
    cut = ordered[int(len(ordered) * 0.8)]
    assert (given.times[splits.test.places] >= cut).all()
    assert (given.times[splits.validation.places] < cut).all()
    earliest = given.times[splits.validation.places].min()
    for begin, end in zip(given.offsets, splits.train_ends, strict=False):
        assert (given.times[begin:end] < earliest).all()
    for cases in (splits.test, splits.validation):
        assert all(len(cases.history(case)) for case in range(len(cases)))
        per_user = np.bincount(cases.users)
        assert per_user.max() <= (MOST_SUCCESSIVE if target == "successive" else 1)


def test_users_without_a_past_are_left_out_and_counted():
    splits = at_time(
        interactions(HISTORIES, TIMES), test_share=0.1, validation_share=0.25, target="last"
    )
    assert any("validation" in note and "1 users without" in note for note in splits.notes)


def test_a_cut_needs_times_and_somebody_on_both_sides():
    options = {"test_share": 0.2, "validation_share": 0.2, "target": "last"}
    with pytest.raises(UserError, match="Use --split leave_one_out"):
        at_time(interactions([[1, 2, 3]]), **options)
    with pytest.raises(UserError, match="no user with a history before and an item behind it"):
        at_time(interactions([[1], [2], [3]], [[1], [5], [9]]), **options)
