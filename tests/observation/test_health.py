import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_apps.observation.health import (
    attention_distance,
    gold_argmax_error,
    gold_error,
    head_similarity,
    health,
    largest_weight,
    relative_entropy,
)
from attention_apps.observation.record import AttentionRecord, Axis

UNIFORM = [0.25, 0.25, 0.25, 0.25]
HALVES = [0.5, 0.5, 0.0, 0.0]
ONE = [0.0, 0.0, 1.0, 0.0]
EMPTY = [0.0, 0.0, 0.0, 0.0]


def line(length):
    return np.linspace(0, 1, length)[:, None]


def test_relative_entropy_by_hand():
    everything = np.ones((3, 4), bool)
    weights = np.array([[UNIFORM, HALVES, EMPTY], [ONE, [0.7, 0.1, 0.1, 0.1], EMPTY]])
    mixed = -(0.7 * math.log(0.7) + 0.3 * math.log(0.1))
    expected = [(1 + math.log(2) / math.log(4)) / 2, (0 + mixed / math.log(4)) / 2]
    np.testing.assert_allclose(relative_entropy(weights, everything), expected, rtol=1e-6)


def test_relative_entropy_counts_only_keys_that_may_be_attended():
    """Under a causal mask row i has i + 1 keys; spreading over all of them is entropy 1."""
    causal = np.tril(np.ones((5, 5)))
    weights = (causal / causal.sum(-1, keepdims=True))[None]
    np.testing.assert_allclose(relative_entropy(weights), [1.0])
    # What one head may attend to, all may: a head that chooses is not flattered.
    choosing = np.stack([weights[0], np.eye(5)])
    np.testing.assert_allclose(relative_entropy(choosing), [1.0, 0.0])
    np.testing.assert_allclose(relative_entropy(np.eye(5)[None], causal > 0), [0.0])


def test_largest_weight_by_hand():
    weights = np.array([[UNIFORM, HALVES, EMPTY], [ONE, UNIFORM, ONE]])
    np.testing.assert_allclose(largest_weight(weights), [0.375, 0.75])


def test_attention_distance_by_hand():
    # Three queries at 0, 1/2 and 1 on four keys at 0, 1/3, 2/3 and 1.
    weights = np.array([[ONE, HALVES, UNIFORM]])
    expected = (2 / 3 + (1 / 2 + 1 / 6) / 2 + (1 + 2 / 3 + 1 / 3 + 0) / 4) / 3
    np.testing.assert_allclose(attention_distance(weights, line(3), line(4)), [expected])
    np.testing.assert_allclose(attention_distance(np.eye(6)[None], line(6), line(6)), [0])


def test_attention_distance_between_opposite_corners_of_a_picture_is_one():
    cells = Axis.cells(3, 2).positions()
    weights = np.zeros((1, 6, 6))
    weights[0, 0, 5] = 0.5  # rows need not sum to 1
    np.testing.assert_allclose(attention_distance(weights, cells, cells), [1.0])
    weights = np.zeros((1, 6, 6))
    weights[0, 0, 1] = 1  # one column aside: a whole width, no height
    np.testing.assert_allclose(attention_distance(weights, cells, cells), [math.sqrt(1 / 2)])


def test_head_similarity_by_hand():
    same = np.array([[UNIFORM, ONE], [UNIFORM, ONE]])
    assert head_similarity(same) == pytest.approx(1)
    disjoint = np.array([[[0.5, 0.5, 0, 0]], [[0, 0, 0.3, 0.7]]])
    assert head_similarity(disjoint) == pytest.approx(0)
    half = np.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    # JS((1, 0), (1/2, 1/2)) with the middle (3/4, 1/4).
    divergence = (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2
    assert head_similarity(half) == pytest.approx(1 - divergence / math.log(2))
    three = np.array([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
    assert head_similarity(three) == pytest.approx(1 / 3)
    assert math.isnan(head_similarity(same[:1]))


def test_a_row_empty_in_one_head_does_not_count_in_a_pair():
    weights = np.array([[ONE, EMPTY], [ONE, UNIFORM]])
    assert head_similarity(weights) == pytest.approx(1)


def test_gold_errors_by_hand():
    gold = np.array([[0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]], float)
    weights = np.array([[ONE, [0.3, 0.6, 0.0, 0.1], UNIFORM, EMPTY]])
    # The third query has no gold and the fourth attends to nothing.
    np.testing.assert_allclose(gold_error(weights, gold), [(0 + 0.6) / 2])
    np.testing.assert_allclose(gold_argmax_error(weights, gold), [1 / 2])


def test_a_nan_is_not_hidden():
    weights = np.full((2, 2, 2), 0.5)
    weights[1, 0] = np.nan
    gold = np.eye(2)
    figures = [
        relative_entropy(weights),
        largest_weight(weights),
        attention_distance(weights, line(2), line(2)),
        gold_error(weights, gold),
        gold_argmax_error(weights, gold),
    ]
    for figure in figures:
        assert np.isfinite(figure[0])
        assert np.isnan(figure[1])
    assert math.isnan(head_similarity(weights))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 4),
    st.integers(1, 5),
    st.integers(2, 6),
    st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_figures_stay_in_range_and_do_not_see_empty_rows(seed, heads, queries, keys, sparse):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(keys, 0.3 if sparse else 3.0), (heads, queries))
    gold = rng.random((queries, keys)) < 0.5
    gold[0, 0] = True
    query, key = rng.random((queries, 2)), rng.random((keys, 2))
    padding = [(0, 0), (0, 2), (0, 0)]
    padded, padded_gold = np.pad(weights, padding), np.pad(gold, padding[1:])
    for figure, again in [
        (relative_entropy(weights), relative_entropy(padded)),
        (largest_weight(weights), largest_weight(padded)),
        (
            attention_distance(weights, query, key),
            attention_distance(padded, np.pad(query, padding[1:]), key),
        ),
        (head_similarity(weights), head_similarity(padded)),
        (gold_error(weights, gold), gold_error(padded, padded_gold)),
        (gold_argmax_error(weights, gold), gold_argmax_error(padded, padded_gold)),
    ]:
        assert np.all(figure >= -1e-9)
        assert np.all(figure <= 1 + 1e-9)
        np.testing.assert_allclose(figure, again, atol=1e-9)


def test_health_gives_what_means_something():
    words, cells = Axis(("a", "b")), Axis.cells(1, 2)
    weights = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.0, 1.0]]])
    gold = np.eye(2)
    both = health(AttentionRecord(weights, "layer", words, words, gold=gold))
    assert set(both) == {
        "relative_entropy",
        "largest_weight",
        "attention_distance",
        "head_similarity",
        "gold_error",
        "gold_argmax_error",
    }
    assert both["gold_error"] == pytest.approx(1 - (0.7 + 0.9) / 2)
    assert both["largest_weight"] == pytest.approx((0.9 + 0.8 + 0.5 + 1.0) / 4)
    single = health(AttentionRecord(weights[:1], "layer", words, cells))
    assert set(single) == {"relative_entropy", "largest_weight"}
    one_key = health(AttentionRecord(np.ones((2, 1, 1)), "layer", Axis(("a",)), Axis(("a",))))
    assert "relative_entropy" not in one_key
