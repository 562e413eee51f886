"""Figures of heads, of tokens and of whole stacks, each counted again another way."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_apps.observation.alarms import ALARMS, Alarm, alarms
from attention_apps.observation.head_health import (
    head_gradient_norms,
    head_health,
    logit_range,
    nearest_head_similarity,
    query_independence,
    sink_mass,
)
from attention_apps.observation.health import head_similarity
from attention_apps.observation.record import AttentionRecord, Axis
from attention_apps.observation.rollout import attention_rollout, rollout_record
from attention_apps.observation.smoothing import token_similarity

RNG = np.random.default_rng(0)


def softmaxed(*shape):
    powers = np.exp(RNG.normal(size=shape))
    return powers / powers.sum(-1, keepdims=True)


def test_a_head_that_does_not_ask_is_found():
    dead = np.tile(softmaxed(1, 1, 4), (1, 4, 1))
    asking = np.eye(4)[None]
    np.testing.assert_allclose(query_independence(np.concatenate([dead, asking])), [1, 0])
    # Two rows, one on a key, one on two: JS by hand.
    rows = np.array([[[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]]])
    middle = [0.75, 0.25]
    entropy = -sum(share * math.log(share) for share in middle)
    expected = 1 - (entropy - math.log(2) / 2) / math.log(2)
    np.testing.assert_allclose(query_independence(rows), [expected])
    assert math.isnan(query_independence(np.ones((1, 1, 3)) / 3)[0])


def test_a_head_that_does_what_another_does_is_found():
    weights = np.concatenate([softmaxed(1, 3, 5), np.eye(5)[None, :3], np.eye(5)[None, :3]])
    first, second, third = nearest_head_similarity(weights)
    assert second == pytest.approx(1)
    assert third == pytest.approx(1)
    assert first == pytest.approx(head_similarity(weights[[0, 1]]))
    assert first < 0.9


def test_heads_without_a_row_in_common_are_not_alike():
    """No row at all, as of random blocks of which none lies within, or rows of their own."""
    weights = np.zeros((3, 2, 4))
    weights[0, 0, 1] = weights[1, 1, 1] = 1.0
    np.testing.assert_array_equal(nearest_head_similarity(weights), 0.0)


def test_a_sink_draws_its_share():
    weights = np.array([[[0.9, 0.1, 0.0], [0.7, 0.2, 0.1], [0.0, 0.0, 0.0]], np.eye(3)])
    np.testing.assert_allclose(sink_mass(weights), [0.8, 1 / 3])


def test_the_range_of_logits_is_read_off_the_weights():
    scores = RNG.normal(size=(2, 4, 6)) * 3
    powers = np.exp(scores)
    weights = powers / powers.sum(-1, keepdims=True)
    expected = (scores.max(-1) - scores.min(-1)).max(-1)
    np.testing.assert_allclose(logit_range(weights), expected)
    weights[:, 0] = 0
    assert np.isfinite(logit_range(weights)).all()
    weights[1, 1, 1] = np.nan
    assert np.isnan(logit_range(weights)).tolist() == [False, True]


def test_norms_by_head_are_those_of_its_part():
    gradient = RNG.normal(size=(5, 3, 2))
    expected = [np.linalg.norm(gradient[:, head]) for head in range(3)]
    np.testing.assert_allclose(head_gradient_norms(gradient), expected)


def test_tokens_that_are_one_are_found():
    one = np.tile(RNG.normal(size=(1, 1, 4)), (1, 5, 1)) * np.arange(1, 6)[None, :, None]
    assert token_similarity(one) == pytest.approx(1)
    assert token_similarity(np.eye(4)[None]) == pytest.approx(0)
    mixed = RNG.normal(size=(1, 3, 4))
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in itertools.combinations(mixed[0], 2)
    ]
    assert token_similarity(mixed) == pytest.approx(np.mean(cosines))
    padded = np.concatenate([mixed, np.full((1, 2, 4), 99.0)], axis=1)
    mask = np.array([[True, True, True, False, False]])
    assert token_similarity(padded, mask) == pytest.approx(np.mean(cosines))
    assert math.isnan(token_similarity(np.ones((1, 1, 2))))


def paths_by_hand(layers, residual):
    """Sum over all paths of tokens from the last layer to the first."""
    length = layers[0].shape[-1]
    steps = []
    for weights in layers:
        mean = weights.mean(0)
        steps.append(residual * np.eye(length) + (1 - residual) * mean)
    rolled = np.zeros((length, length))
    for path in itertools.product(range(length), repeat=len(layers) + 1):
        share = 1.0
        for layer in range(len(layers)):  # path[0] is the input, path[-1] the last layer
            share *= steps[layer][path[layer + 1], path[layer]]
        rolled[path[-1], path[0]] += share
    return rolled


@pytest.mark.parametrize("residual", [0.0, 0.5, 0.8])
def test_a_rollout_is_the_sum_over_all_paths(residual):
    layers = [softmaxed(2, 3, 3) for _ in range(3)]
    np.testing.assert_allclose(
        attention_rollout(layers, residual), paths_by_hand(layers, residual), atol=1e-12
    )


def test_a_rollout_keeps_what_attends_to_nothing():
    empty = softmaxed(1, 3, 3)
    empty[:, 1] = 0
    rolled = attention_rollout([empty, empty])
    np.testing.assert_allclose(rolled.sum(-1), 1)
    np.testing.assert_allclose(rolled[1], [0, 1, 0])
    words = Axis(("a", "b", "c"))
    record = AttentionRecord(empty, "layer", words, words, step=4, title="one")
    again = rollout_record([record, record])
    np.testing.assert_allclose(again.weights[0], rolled, atol=1e-6)
    assert (again.layer, again.step, again.title) == ("rollout", 4, "one")


@pytest.mark.parametrize(
    ("layers", "residual"),
    [([], 0.5), ([np.ones((1, 2, 3))], 0.5), ([np.ones((1, 2, 2))], 1.5)],
)
def test_rollouts_that_make_no_sense_are_refused(layers, residual):
    with pytest.raises(ValueError, match="Received"):
        attention_rollout(layers, residual)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.integers(2, 4), st.integers(2, 5), st.integers(1, 5))
def test_figures_stay_in_range(seed, heads, queries, keys):
    weights = np.random.default_rng(seed).dirichlet(np.ones(keys), size=(heads, queries))
    words, others = Axis(("x",) * queries), Axis(("y",) * keys)
    figures = head_health(AttentionRecord(weights, "layer", words, others))
    for name in ("query_independence", "nearest_head_similarity", "sink_mass"):
        assert -1e-6 <= figures[name] <= 1 + 1e-6
    assert figures["logit_range"] >= 0


def test_alarms_ring_beyond_their_bounds_alone():
    calm = {
        f"{alarm.figure}/layer": alarm.bound
        for alarm in ALARMS
        if alarm.bound < 0.9 or not alarm.is_floor
    }
    calm["relative_entropy/layer"] = 0.5
    assert alarms(calm) == []
    rung = alarms({"relative_entropy/a/b": 0.01, "sink_mass/c": 0.9, "largest_weight/c": 9.0})
    assert len(rung) == 2
    assert rung[0].startswith("a/b: relative_entropy 0.01, below 0.05: entropy collapse")
    assert rung[1].startswith("c: sink_mass 0.9, above 0.8: a sink")
    assert alarms({"relative_entropy/a": 0.99})[0].startswith("a: relative_entropy 0.99, above")
    assert "is no number" in alarms({"logit_range/a": float("nan")})[0]
    assert Alarm("x", 1.0, True, "").rings(0.9)
    assert not Alarm("x", 1.0, False, "").rings(0.9)
