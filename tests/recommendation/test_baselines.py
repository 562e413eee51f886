"""The floors against a count in dictionaries."""

from collections import defaultdict

import numpy as np
import pytest

from recommendation import baselines
from recommendation.baselines import floors
from recommendation.interactions import Interactions, Items
from recommendation.splits import leave_one_out

RNG = np.random.default_rng(0)
NUM_ITEMS = 15
HISTORIES = [RNG.integers(1, NUM_ITEMS + 1, RNG.integers(1, 25)) for _ in range(40)]


def splits_of(histories):
    keys = [str(i) for i in range(1, NUM_ITEMS + 1)]
    return leave_one_out(
        Interactions(
            items=Items(keys, keys),
            users=[str(i) for i in range(len(histories))],
            offsets=np.cumsum([0, *map(len, histories)]),
            item_ids=np.concatenate(histories).astype(np.int32),
        )
    )


SPLITS = splits_of(HISTORIES)


def training_parts():
    return [h[:-2] if len(h) >= 3 else h for h in HISTORIES]


def by_hand(history, gaps, memory):
    table = defaultdict(lambda: defaultdict(float))
    for part in training_parts():
        for place, item in enumerate(part):
            for gap in range(1, gaps + 1):
                if place + gap < len(part):
                    table[item][part[place + gap]] += 0.7 ** (gap - 1)
    scores = np.zeros(NUM_ITEMS + 1)
    for back, item in enumerate(history[::-1][:memory]):
        total = sum(table[item].values())
        for follower, count in table[item].items():
            scores[follower] += 0.8**back * count / total
    return scores


@pytest.mark.parametrize("entries", [10, 10**6])
def test_transitions_are_those_counted_by_hand(monkeypatch, entries):
    monkeypatch.setattr(baselines, "_ENTRIES", entries)
    fitted = floors(SPLITS)
    asked = [SPLITS.test.history(case) for case in range(8)]
    for name, gaps, memory in (("markov", 1, 1), ("transitions", 5, 10)):
        expected = np.stack([by_hand(history, gaps, memory) for history in asked])
        np.testing.assert_allclose(fitted[name](SPLITS.test, range(8)), expected, atol=2e-6)


def test_popularity_counts_the_training_part_alone():
    counts = np.bincount(np.concatenate(training_parts()), minlength=NUM_ITEMS + 1)
    scores = floors(SPLITS)["popularity"](SPLITS.test, [3, 4])
    np.testing.assert_array_equal(scores, [counts, counts])


def test_what_never_followed_is_ordered_by_popularity():
    histories = [np.array([1, 2, 9, 9]), np.array([5, 4, 4, 3, 9, 9]), np.array([1, 1, 9])]
    splits = splits_of(histories)
    # The validation of the last user asks what follows item 1.
    scores = floors(splits)["markov"](splits.validation, [2])[0]
    assert scores[2] == pytest.approx(1, abs=1e-5)
    assert scores[4] > scores[5] > 0
    assert scores[5] == scores[3]
