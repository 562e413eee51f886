"""Every scoring against its formula, written again in NumPy with loops."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from attention_apps.attention.scoring import SCORINGS, add_declared

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
    hottest = score(ops.array(QUERY), ops.array(QUERY), log_temperature=np.full(HEADS, 50.0, "f4"))
    np.testing.assert_allclose(np.einsum("bhqq->bhq", hottest), 100.0, rtol=1e-5)


def test_cosine_begins_ten_times_as_large_and_knows_vectors_without_length():
    (weight,) = add_declared(keras.layers.Layer(), SCORINGS["cosine"].weights(HEADS, DIM)).values()
    np.testing.assert_allclose(np.exp(weight), np.full(HEADS, 10.0), rtol=1e-6)
    scores = SCORINGS["cosine"](ops.zeros_like(QUERY), ops.array(KEY), log_temperature=weight)
    np.testing.assert_array_equal(scores, np.zeros((BATCH, HEADS, QUERIES, KEYS)))
    # What is short, but not nothing, has its direction all the same.
    short = SCORINGS["cosine"](ops.array(QUERY * 1e-4), ops.array(KEY), log_temperature=weight)
    plain = SCORINGS["cosine"](ops.array(QUERY), ops.array(KEY), log_temperature=weight)
    np.testing.assert_allclose(short, plain, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in FORMULAS if SCORINGS[name].is_product])
def test_products_of_factors_are_the_scores(name):
    scoring = SCORINGS[name]
    weights = {weight: WEIGHTS[weight] for weight in scoring.weights(HEADS, DIM)}
    if name == "cosine":
        weights["log_temperature"] = np.array([1.0, 50.0], "f4")  # the second is cut
    query, key = scoring.factors(ops.array(QUERY), ops.array(KEY), **weights)
    np.testing.assert_allclose(
        np.einsum("bqhd,bkhd->bhqk", query, key),
        scoring(ops.array(QUERY), ops.array(KEY), **weights),
        rtol=1e-4,
        atol=1e-5,
    )
    if name == "scaled_dot":  # each side bears half of the scale
        np.testing.assert_allclose(query, QUERY / DIM**0.25, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", FORMULAS)
def test_half_precision_scores_are_near(name, dtype):
    scoring = SCORINGS[name]
    weights = {weight: WEIGHTS[weight] for weight in scoring.weights(HEADS, DIM)}
    query, key = ops.cast(QUERY, dtype), ops.cast(KEY, dtype)
    near = scoring(query, key, **weights)
    exact = scoring(ops.array(QUERY), ops.array(KEY), **weights)
    tolerance = 0.01 if dtype == "float16" else 0.08
    scale = float(np.abs(exact).max())
    np.testing.assert_allclose(ops.cast(near, "float32"), exact, atol=tolerance * max(scale, 1.0))
    if scoring.is_product:
        parts = scoring.factors(query, key, **weights)
        assert {keras.backend.standardize_dtype(part.dtype) for part in parts} == {dtype}
        np.testing.assert_allclose(
            np.einsum("bqhd,bkhd->bhqk", *(ops.cast(part, "float32") for part in parts)),
            exact,
            atol=tolerance * max(scale, 1.0),
        )


def test_declared_weights_are_made_as_they_are_declared():
    declared = {"one": ((2, 3), "ones"), "two": ((4,), keras.initializers.Constant(7.0))}
    layer = keras.layers.Layer()
    made = add_declared(layer, declared)
    assert {name: weight.name for name, weight in made.items()} == {"one": "one", "two": "two"}
    np.testing.assert_array_equal(made["one"], np.ones((2, 3)))
    np.testing.assert_array_equal(made["two"], np.full(4, 7.0))
    assert len(layer.trainable_weights) == 2
    add_declared(layer, declared, trainable=False)
    assert (len(layer.trainable_weights), len(layer.non_trainable_weights)) == (2, 2)


@pytest.mark.parametrize("name", FORMULAS)
def test_large_float16_vectors_give_finite_scores(name):
    weights = {weight: WEIGHTS[weight] for weight in SCORINGS[name].weights(HEADS, DIM)}
    large = ops.cast(ops.array(QUERY * 300), "float16")
    keys = ops.cast(ops.array(KEY * 300), "float16")
    scores = SCORINGS[name](large, keys, **weights)
    assert np.isfinite(np.array(ops.cast(scores, "float32"))).all()
