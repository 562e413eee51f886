"""Batches: what an epoch holds, that padding is in front, and that (seed, epoch) decide."""

from dataclasses import replace

import numpy as np
import pytest

from attention_apps.running.command import UserError
from recommendation.batches import Batches, before_the_last, hide, padded
from recommendation.config import TINY
from recommendation.interactions import Interactions, Items
from recommendation.losses import CHUNK
from recommendation.splits import leave_one_out

RNG = np.random.default_rng(0)
NUM_ITEMS = 300
CONFIG = replace(TINY, max_length=12, batch_tokens=60, seed=5)


def splits_of(lengths):
    keys = [str(i) for i in range(1, NUM_ITEMS + 1)]
    # Items of a user follow each other by number, so that a stretch can be recognised.
    starts = RNG.integers(1, NUM_ITEMS - 60, len(lengths))
    histories = [np.arange(s, s + n, dtype=np.int32) for s, n in zip(starts, lengths, strict=True)]
    return leave_one_out(
        Interactions(
            items=Items(keys, keys),
            users=[str(i) for i in range(len(lengths))],
            offsets=np.cumsum([0, *lengths]),
            item_ids=np.concatenate(histories),
        )
    )


LENGTHS = [3, 4, 5, 9, 14, 15, 16, 30, 50, 2, 1]
SPLITS = splits_of(LENGTHS)


def stretches(batches, epoch=0):
    """History, places, targets and weights of every row of an epoch."""
    for inputs, target, weights in batches.epoch(epoch):
        history, places = inputs["history"], inputs["places"]
        assert len(places) == len(target) == len(weights)
        assert len(places) % CHUNK == 0
        real = weights == 1
        assert real.sum() + (weights == 0).sum() == len(weights)
        yield history, places[real], target[real]


def test_every_user_is_read_once_and_every_item_predicts_the_next():
    batches = Batches(CONFIG, SPLITS)
    rows = []
    for history, places, target in stretches(batches):
        assert history.size <= CONFIG.batch_tokens
        flat = history.ravel()
        np.testing.assert_array_equal(flat[places] + 1, target)
        np.testing.assert_array_equal(np.flatnonzero(flat), places)
        for row in history:
            kept = np.flatnonzero(row)
            assert kept[-1] == len(row) - 1
            assert (np.diff(kept) == 1).all()
            rows.append(row[kept])
    # The training part of n is n - 2 items (n below 3), its last item only a target.
    expected = [min(n - 3, 12) for n in LENGTHS if n >= 4] + [1]
    assert sorted(map(len, rows)) == sorted(expected)
    assert len(rows) == len(expected)


def test_a_long_history_gives_another_stretch_in_every_epoch():
    batches = Batches(CONFIG, splits_of([50]))
    starts = {int(history[0, 0]) for e in range(40) for history, _, _ in stretches(batches, e)}
    first = int(batches._item_ids[0])
    # 48 items are trained on, 13 at a time.
    assert len(starts) > 20
    assert first <= min(starts)
    assert max(starts) <= first + 48 - 13


def test_the_epoch_is_decided_by_seed_and_number_alone():
    def flat(batches, epoch):
        return [h.tobytes() for h, _, _ in stretches(batches, epoch)]

    batches = Batches(CONFIG, SPLITS)
    first, second = flat(batches, 0), flat(batches, 1)
    assert flat(Batches(CONFIG, SPLITS), 1) == second
    assert flat(batches, 0) == first != second
    assert flat(Batches(replace(CONFIG, seed=6), SPLITS), 0) != first


def test_the_pipeline_goes_on_where_an_epoch_begins():
    batches = Batches(CONFIG, SPLITS)
    steps = batches.steps_per_epoch
    both = list(batches.epochs_from(0).take(2 * steps).as_numpy_iterator())
    again = list(batches.epochs_from(1).take(steps).as_numpy_iterator())
    for one, other in zip(both[steps:], again, strict=True):
        np.testing.assert_array_equal(one[0]["history"], other[0]["history"])
        np.testing.assert_array_equal(one[1], other[1])
    assert len(list(batches.epoch(0))) == steps


def test_bert4rec_guesses_hidden_items_from_both_sides():
    batches = Batches(replace(CONFIG, model="bert4rec", mask_rate=0.3), SPLITS)
    mask_id, shares = NUM_ITEMS + 1, []
    for history, places, target in stretches(batches):
        flat = history.ravel()
        assert (flat[places] == mask_id).all()
        assert (flat == mask_id).sum() == len(places)
        for row in range(len(history)):
            assert (history[row] == mask_id).any()
        shares.append(len(places) / (flat != 0).sum())
        # The hidden item is the one that the user's numbers skip.
        rows, columns = np.divmod(places, history.shape[1])
        for row, column, item in zip(rows, columns, target, strict=True):
            others = np.flatnonzero((history[row] > 0) & (history[row] < mask_id))
            if len(others):
                other = others[0]
                assert item == history[row, other] + column - other
    assert 0.1 < np.mean(shares) < 0.6


def test_something_is_always_hidden_and_now_and_then_the_last_alone():
    hidden = [hide(6, 0.2, RNG) for _ in range(2000)]
    assert all(row.any() for row in hidden)
    last_alone = np.mean([row[-1] and row.sum() == 1 for row in hidden])
    assert 0.1 < last_alone < 0.5
    assert np.mean([row[0] for row in hidden]) == pytest.approx(0.18, abs=0.03)


@pytest.mark.parametrize("kind", ["sasrec", "bert4rec"])
def test_times_stand_beside_their_items(kind):
    given = splits_of(LENGTHS).interactions
    # The time of an item is told by its number, so that both can be compared.
    timed = replace(given, times=given.item_ids.astype(np.int64) * 10)
    batches = Batches(replace(CONFIG, model=kind, time_bias=True), leave_one_out(timed))
    inputs = [inputs for epoch in range(3) for inputs, _, _ in batches.epoch(epoch)]
    assert inputs
    for each in inputs:
        history, times = each["history"], each["times"]
        assert history.shape == times.shape
        assert not times[:, -1].any()
        for row, ago in zip(history, times, strict=True):
            real = np.flatnonzero((row > 0) & (row <= NUM_ITEMS))
            if kind == "bert4rec":  # of the last item the time is not known
                real = real[real < len(row) - 1]
                last = row[-2] if row[-2] <= NUM_ITEMS else 0
                if not last:
                    continue
            else:
                last = row[-1]
            np.testing.assert_array_equal(ago[real], 10 * (row[real] - last))
    assert "times" not in next(iter(Batches(CONFIG, leave_one_out(timed)).epoch(0)))[0]


def test_times_are_told_from_the_last_one():
    times = np.array([10**18, 5, 7], np.int64)
    assert before_the_last(times[1:]).tolist() == [-2, 0]
    assert before_the_last(times)[0] > 10**8
    assert before_the_last(times[:0]).tolist() == []


@pytest.mark.parametrize(
    ("loss", "expected"), [("bce", "own"), ("gbce", 7), ("sampled_softmax", 7), ("softmax", None)]
)
def test_negatives_are_drawn_as_the_loss_needs_them(loss, expected):
    batches = Batches(replace(CONFIG, loss=loss, num_negatives=7), SPLITS)
    for inputs, target, _ in batches.epoch(0):
        if expected is None:
            assert "negatives" not in inputs
            continue
        drawn = inputs["negatives"]
        assert len(drawn) == (len(target) if expected == "own" else expected)
        assert drawn.min() >= 1
        assert drawn.max() <= NUM_ITEMS


def test_negatives_by_popularity_follow_the_counts():
    config = replace(CONFIG, loss="bce", negatives="popularity")
    batches = Batches(config, SPLITS)
    counts = SPLITS.training_counts()[1:].clip(min=0.5)
    drawn = np.concatenate([x["negatives"] for e in range(60) for x, _, _ in batches.epoch(e)])
    found = np.bincount(drawn, minlength=NUM_ITEMS + 1)[1:] / len(drawn)
    popular, rare = counts == counts.max(), counts == counts.min()
    assert found[popular].mean() / found[rare].mean() == pytest.approx(
        counts.max() / counts.min(), rel=0.2
    )


def test_padding_stands_in_front_and_the_latest_items_are_kept():
    rows = padded([np.arange(1, 4), np.arange(1, 30), np.zeros(0, np.int32)], 10)
    assert rows.shape == (3, 10)
    assert rows[0].tolist() == [0] * 7 + [1, 2, 3]
    assert rows[1].tolist() == list(range(20, 30))
    assert not rows[2].any()
    assert padded([np.arange(1, 4)], 200).shape == (1, 8)


def test_without_two_items_there_is_nothing_to_learn():
    with pytest.raises(UserError, match="at most 1 for each of 2 users"):
        Batches(CONFIG, splits_of([3, 3]))
