"""Ranks and figures against their definitions, counted the slow way."""

import math

import numpy as np
import pytest

from recommendation.interactions import Interactions, Items
from recommendation.metrics import (
    CUTOFFS,
    MISS,
    beyond_accuracy,
    bootstrap_interval,
    by_group,
    figures,
    gains,
    rank,
    sampled_ranks,
)
from recommendation.splits import Cases

RNG = np.random.default_rng(0)
NUM_ITEMS = 40


def cases(histories, targets, groups=None):
    rows = [np.array([*h, t], np.int32) for h, t in zip(histories, targets, strict=True)]
    keys = [str(i) for i in range(1, NUM_ITEMS + 1)]
    offsets = np.cumsum([0, *map(len, rows)])
    given = Interactions(
        items=Items(keys, keys),
        users=[str(i) for i in range(len(rows))],
        offsets=offsets,
        item_ids=np.concatenate(rows),
        groups=groups or {},
    )
    return Cases("test", given, np.arange(len(rows), dtype=np.int32), offsets[1:] - 1)


def fixed(scores):
    """A scorer that gives each case its row."""
    return lambda cases, numbers: np.stack([scores[number] for number in numbers])


def slow_rank(scores, history, target):
    if target in history:
        return MISS
    rank = 1
    for item in range(1, NUM_ITEMS + 1):
        if item != target and item not in history and not scores[item] < scores[target]:
            rank += 1
    return rank


def test_ranks_are_those_counted_one_by_one():
    histories = [RNG.choice(np.arange(1, 41), RNG.integers(1, 9)) for _ in range(60)]
    targets = RNG.integers(1, 41, 60)
    # Few different scores: many ties.
    scores = RNG.integers(0, 6, size=(60, NUM_ITEMS + 1)).astype(float)
    found = rank(fixed(scores), cases(histories, targets), batch_size=7)
    expected = [slow_rank(*row) for row in zip(scores, histories, targets, strict=True)]
    np.testing.assert_array_equal(found.ranks, expected)
    assert np.isinf(expected).any()


def test_a_model_that_knows_nothing_wins_nothing():
    given = cases([[1], [2]], [3, 4])
    for nothing in (np.zeros((2, 41)), np.full((2, 41), np.nan), np.full((2, 41), -np.inf)):
        found = rank(fixed(nothing), given)
        assert (found.ranks >= NUM_ITEMS - 1).all()
        assert figures(found)["hr_20"] == 0


def test_no_item_and_seen_items_are_never_recommended():
    scores = np.tile(np.arange(NUM_ITEMS + 1, 0.0, -1), (1, 1))
    found = rank(fixed(scores), cases([[1, 3]], [2]))
    assert found.ranks.tolist() == [1]
    assert found.top[0, :4].tolist() == [2, 4, 5, 6]
    everything = list(range(1, NUM_ITEMS))
    found = rank(fixed(scores), cases([everything], [NUM_ITEMS]))
    assert found.top[0].tolist() == [NUM_ITEMS] + [0] * 19


def test_equal_scores_are_listed_in_the_order_of_their_numbers():
    scores = np.zeros((1, NUM_ITEMS + 1))
    scores[0, [30, 7, 12]] = 1
    top = rank(fixed(scores), cases([[1]], [2])).top[0]
    assert top[:3].tolist() == [7, 12, 30]


def test_gains_by_hand():
    found = gains(np.array([1.0, 3.0, 10.0, 11.0, MISS]))
    assert found["hr_10"].tolist() == [1, 1, 1, 0, 0]
    assert found["ndcg_10"] == pytest.approx([1, 0.5, 1 / math.log2(11), 0, 0])
    assert found["mrr_20"] == pytest.approx([1, 1 / 3, 0.1, 1 / 11, 0])
    assert found["ndcg_1"].tolist() == found["hr_1"].tolist() == [1, 0, 0, 0, 0]
    assert len(found) == 3 * len(CUTOFFS)


def test_the_interval_covers_and_grows_with_users_that_bring_many_cases():
    values = RNG.random(400)
    low, high = bootstrap_interval(values, np.arange(400))
    assert low < values.mean() < high
    # Known: the standard error of a mean.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    groups = np.repeat(np.arange(40), 10)
    clustered = np.repeat(RNG.random(40), 10)
    apart = bootstrap_interval(clustered, np.arange(400))
    together = bootstrap_interval(clustered, groups)
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


def test_beyond_accuracy_by_hand():
    counts = np.array([0, 6, 2, 0, 0])
    top = np.array([[1, 2], [1, 0]])
    found = beyond_accuracy(top, counts, cutoff=2)
    assert found["coverage_2"] == 0.5
    assert found["popularity_2"] == pytest.approx((6 + 2 + 6) / 3)
    expected = -(2 * math.log2(6 / 8) + math.log2(2 / 8)) / 3
    assert found["novelty_2"] == pytest.approx(expected)
    # Exposure 0, 0, 1, 2: mean absolute difference over twice the mean.
    exposure = np.array([2, 1, 0, 0])
    gini = np.abs(exposure[:, None] - exposure).mean() / (2 * exposure.mean())
    assert found["gini_2"] == pytest.approx(gini)
    equal = beyond_accuracy(np.array([[1, 2], [3, 4]]), counts, cutoff=2)
    assert equal["gini_2"] == pytest.approx(0)


def test_groups_show_for_whom_it_works():
    histories = [[1], [1, 2], [1, 2, 3], [1], [1, 2], [1, 2, 3]]
    scores = np.zeros((6, NUM_ITEMS + 1))
    targets = [10, 11, 12, 13, 14, 15]
    for row in (2, 5):  # right for the most active alone
        scores[row, targets[row]] = 1
    groups = {"age": ["old", "old", "young", "old", "old", "young"]}
    tables = by_group(rank(fixed(scores), cases(histories, targets, groups)))
    found = {
        name: {group: (row["cases"], row["ndcg_10"]) for group, row in table.items()}
        for name, table in tables.items()
    }
    assert found["age"] == {"old": (4, 0), "young": (2, 1)}
    assert list(found["activity"].values()) == [(2, 0), (2, 0), (2, 1)]


def test_a_group_has_the_interval_of_its_own_users():
    histories = [[1]] * 60
    targets = [10] * 60
    scores = np.zeros((60, NUM_ITEMS + 1))
    scores[:45:2, 10] = 1  # half of the young, and nothing at all for the old
    groups = {"age": ["young"] * 45 + ["old"] * 15}
    table = by_group(rank(fixed(scores), cases(histories, targets, groups)))["age"]
    assert table["old"]["ndcg_10_interval"] == (0, 0)
    low, high = table["young"]["ndcg_10_interval"]
    assert low < 23 / 45 < high
    # 1.96 standard errors of a share of a half among 45.
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / 45**0.5, rel=0.25)


def test_sampled_ranks_flatter():
    histories = [RNG.choice(np.arange(1, 41), 3, replace=False) for _ in range(50)]
    targets = np.array([next(i for i in range(1, 41) if i not in h) for h in histories])
    scores = RNG.random((50, NUM_ITEMS + 1))
    given = cases(histories, targets)
    sampled = sampled_ranks(fixed(scores), given, count=5)
    real = rank(fixed(scores), given).ranks
    assert (sampled <= 6).all()
    assert (sampled <= real).all()
    np.testing.assert_array_equal(sampled_ranks(fixed(scores), given, count=99), real)
