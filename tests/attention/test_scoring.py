"""Every scoring against its formula, written again in NumPy with loops."""

import math

import numpy as np
import pytest
from keras import ops

from attention_apps.attention.scoring import SCORINGS

RNG = np.random.default_rng(0)
BATCH, QUERIES, KEYS, HEADS, DIM = 2, 3, 4, 2, 5
QUERY = RNG.normal(size=(BATCH, QUERIES, HEADS, DIM)).astype("float32")
KEY = RNG.normal(size=(BATCH, KEYS, HEADS, DIM)).astype("float32")
WEIGHTS = {
    "log_temperature": RNG.normal(size=(HEADS,)).astype("float32") + 1,
    "score_kernel": RNG.normal(size=(HEADS, DIM, DIM)).astype("float32"),
    "score_vector": RNG.normal(size=(HEADS, DIM)).astype("float32"),
}


def unit(vector):
    return vector / math.sqrt(sum(value * value for value in vector))


FORMULAS = {
    "dot": lambda q, k, h: sum(q * k),
    "scaled_dot": lambda q, k, h: sum(q * k) / math.sqrt(DIM),
    "cosine": lambda q, k, h: math.exp(WEIGHTS["log_temperature"][h]) * sum(unit(q) * unit(k)),
    "general": lambda q, k, h: q @ WEIGHTS["score_kernel"][h] @ k,
    "additive": lambda q, k, h: sum(WEIGHTS["score_vector"][h] * np.tanh(q + k)),
    "uniform": lambda q, k, h: 0.0,
}


def test_every_scoring_has_a_formula_here():
    assert set(FORMULAS) == set(SCORINGS)


@pytest.mark.parametrize("name", FORMULAS)
def test_scores_follow_the_formula(name):
    scoring = SCORINGS[name]
    declared = scoring.weights(HEADS, DIM)
    weights = {weight: WEIGHTS[weight] for weight in declared}
    assert {n: shape for n, (shape, _) in declared.items()} == {
        n: w.shape for n, w in weights.items()
    }
    scores = np.array(scoring(ops.array(QUERY), ops.array(KEY), **weights))
    assert scores.shape == (BATCH, HEADS, QUERIES, KEYS)
    for index in np.ndindex(scores.shape):
        b, h, q, k = index
        expected = FORMULAS[name](QUERY[b, q, h], KEY[b, k, h], h)
        assert scores[index] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_cosine_ignores_lengths_and_bounds_its_temperature():
    score = SCORINGS["cosine"]
    plain = score(ops.array(QUERY), ops.array(KEY), log_temperature=WEIGHTS["log_temperature"])
    longer = score(
        ops.array(QUERY * 7), ops.array(KEY / 3), log_temperature=WEIGHTS["log_temperature"]
    )
    np.testing.assert_allclose(plain, longer, rtol=1e-4, atol=1e-5)
    hottest = score(ops.array(QUERY), ops.array(KEY), log_temperature=np.full(HEADS, 50.0, "f4"))
    assert np.abs(hottest).max() <= 100.001


@pytest.mark.parametrize("name", FORMULAS)
def test_large_float16_vectors_give_finite_scores(name):
    weights = {weight: WEIGHTS[weight] for weight in SCORINGS[name].weights(HEADS, DIM)}
    large = ops.cast(ops.array(QUERY * 300), "float16")
    keys = ops.cast(ops.array(KEY * 300), "float16")
    scores = SCORINGS[name](large, keys, **weights)
    assert np.isfinite(np.array(ops.cast(scores, "float32"))).all()
