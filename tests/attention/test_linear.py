"""Linear attention by itself, on a few positions, against its formula over all pairs."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from attention_apps.attention.algorithms import linear
from attention_apps.attention.algorithms.linear import (
    OrthogonalFeatures,
    implied_weights,
    linear_attention,
    linear_weights,
)
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.scoring import SCORINGS

# Sizes that no two axes share; three blocks of four positions, of which the last is one short.
BATCH, LENGTH, KEYS, HEADS, DIM, VALUE_DIM, FEATURES, BLOCK = 2, 11, 9, 3, 6, 5, 7, 4
KEY_MASK = np.ones((BATCH, LENGTH), bool)
KEY_MASK[0, [0, 4, 5, 6, 7, 10]] = False
KEY_MASK[1] = False
MECHANISM = parse_mechanism("general")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(linear, "_BLOCK", BLOCK)


def draws(keys=LENGTH, dtype="float32", scale=0.7):
    """Queries, keys, values, and the matrices of the scoring."""
    rng = np.random.default_rng(1)
    shapes = (LENGTH, HEADS, DIM), (keys, HEADS, DIM), (keys, HEADS, VALUE_DIM)
    inputs = [rng.normal(size=(BATCH, *shape)) * scale for shape in shapes]
    ((name, (shape, _)),) = SCORINGS["general"].weights(HEADS, DIM).items()
    matrix = tf.Variable(rng.normal(size=shape) * 0.5, dtype="float32")
    return [tf.Variable(one, dtype=dtype) for one in inputs], {name: matrix}


def directions():
    return np.random.default_rng(3).normal(size=(FEATURES, DIM)).astype("float32")


def by_formula(query, key, value, matrices, mask):
    """Context and weights in float64, of logarithms, so that nothing vanishes."""
    if matrices is not None:
        query, key = SCORINGS["general"].factors(query, key, **matrices)
    query, key, value = (tf.cast(one, "float64") for one in (query, key, value))

    def logarithm(vectors):
        along = tf.einsum("bthd,md->bthm", vectors, tf.cast(directions(), "float64"))
        return along - tf.reduce_sum(vectors**2, axis=-1, keepdims=True) / 2

    pairs = logarithm(query)[:, :, None] + logarithm(key)[:, None]
    products = tf.transpose(tf.reduce_logsumexp(pairs, axis=-1), (0, 3, 1, 2))
    products = tf.where(mask, products, tf.constant(-1e300, "float64"))
    shares = tf.where(mask, tf.nn.softmax(products, axis=-1), tf.zeros_like(products))
    return tf.einsum("bhqk,bkhd->bqhd", shares, value), shares


def with_gradients(attend, inputs, matrices):
    every = [*inputs, *matrices.values()]
    with tf.GradientTape() as tape:
        context = attend(*inputs)
        tilt = np.cos(np.arange(np.prod(context.shape[1:]))).reshape(context.shape[1:])
        loss = tf.reduce_sum(tf.cast(context, "float64") * tilt)
    return [context, *tape.gradient(loss, every)]


def assert_equal(ours, theirs, tolerance):
    for one, other in zip(ours, theirs, strict=True):
        bound = tolerance * max(np.abs(other).max(), 1.0)
        np.testing.assert_allclose(ops.cast(one, "float64"), other, atol=bound)


CALLS = {
    "everything": (False, None, LENGTH),
    "keys of another length": (False, None, KEYS),
    "a mask": (False, KEY_MASK, LENGTH),
    "causal": (True, None, LENGTH),
    "causal with a mask": (True, KEY_MASK, LENGTH),
}


def masked(causal, key_mask, keys):
    mask = np.ones((BATCH, 1, LENGTH, keys), bool)
    mask &= np.tri(LENGTH, keys, dtype=bool) if causal else True
    return mask if key_mask is None else mask & key_mask[:, None, None]


@functools.cache
def expected(name, scale):
    """Context and gradients by the formula."""
    causal, key_mask, keys = CALLS[name]
    inputs, matrices = draws(keys, scale=scale)

    def attend(*inputs):
        return by_formula(*inputs, matrices, masked(causal, key_mask, keys))[0]

    return with_gradients(attend, inputs, matrices)


@pytest.mark.parametrize("causal", [False, True])
def test_it_has_the_context_of_its_formula(causal):
    inputs, matrices = draws()
    context = linear_attention(
        *inputs,
        mechanism=MECHANISM,
        random_features=directions(),
        causal=causal,
        key_mask=KEY_MASK,
        score_weights=matrices,
    )
    name = "causal with a mask" if causal else "a mask"
    np.testing.assert_allclose(context, expected(name, 0.7)[0], atol=1e-5)


@pytest.mark.parametrize("scale", [0.7, 3.0])
@pytest.mark.parametrize("name", CALLS)
def test_it_is_its_formula_in_context_and_gradients(name, scale):
    causal, key_mask, keys = CALLS[name]
    inputs, matrices = draws(keys, scale=scale)
    # Without causality nothing is said of it: that is the default.
    options = {"causal": True} if causal else {}
    if key_mask is not None:
        options["key_mask"] = key_mask.astype("float32")

    def ours(*inputs):
        return linear_attention(
            *inputs,
            mechanism=MECHANISM,
            random_features=directions(),
            score_weights=matrices,
            **options,
        )

    found = with_gradients(ours, inputs, matrices)
    assert_equal(found, expected(name, scale), 1e-5 if scale < 1 else 1e-3)
    assert found[0].dtype == "float32"


@pytest.mark.parametrize(("length", "blocks"), [(3, 1), (8, 2), (9, 3)])
def test_there_are_as_many_blocks_as_positions_fill(length, blocks, monkeypatch):
    counted = []
    scan = ops.scan

    def counting(step, start, states):
        counted.append(states.shape[0])
        return scan(step, start, states)

    monkeypatch.setattr(ops, "scan", counting)
    inputs, matrices = draws()
    inputs = [one[:, :length] for one in inputs]
    context = linear_attention(
        *inputs,
        mechanism=MECHANISM,
        random_features=directions(),
        causal=True,
        score_weights=matrices,
    )
    mask = np.tri(length, dtype=bool)[None, None]
    np.testing.assert_allclose(context, by_formula(*inputs, matrices, mask)[0], atol=1e-5)
    assert counted == [blocks]


@pytest.mark.parametrize("block", [1, 2, 16])
def test_the_length_of_blocks_changes_nothing(block, monkeypatch):
    monkeypatch.setattr(linear, "_BLOCK", block)
    inputs, matrices = draws(scale=2.0)
    options = {
        "mechanism": MECHANISM,
        "random_features": directions(),
        "causal": True,
        "key_mask": KEY_MASK,
        "score_weights": matrices,
    }
    context, shares = by_formula(*inputs, matrices, masked(True, KEY_MASK, LENGTH))
    np.testing.assert_allclose(linear_attention(*inputs, **options), context, atol=1e-4)
    np.testing.assert_allclose(implied_weights(*inputs[:2], **options), shares, atol=1e-4)


def test_keys_far_from_the_origin_do_not_vanish_beside_what_fills_a_block():
    """Their features are e^-200, but all keys of a block are alike, and what fills it is none."""
    (query, key, value), _ = draws(scale=0.1)
    far = 20 * np.ones(DIM, "float32") / np.sqrt(DIM) + key
    context = linear_attention(
        query,
        far,
        value,
        mechanism=parse_mechanism("dot"),
        random_features=directions(),
        causal=True,
    )
    mask = np.tri(LENGTH, dtype=bool)[None, None]
    np.testing.assert_allclose(context, by_formula(query, far, value, None, mask)[0], atol=1e-4)


@pytest.mark.parametrize("length_of_keys", [1.0, 16.0, 45.0])
def test_a_later_key_does_not_move_earlier_contexts(length_of_keys):
    """The later key's features may be e^1000 of the others': nothing may be measured by it."""
    rng = np.random.default_rng(1)
    query, key, value = (rng.normal(size=(1, LENGTH, 1, DIM)).astype("float32") for _ in range(3))
    key *= length_of_keys / np.linalg.norm(key, axis=-1, keepdims=True)
    contexts = []
    for place in range(1, LENGTH):
        last = key.copy()
        last[:, place] = 0.0
        contexts = [
            linear_attention(
                query,
                keys,
                value,
                mechanism=parse_mechanism("dot"),
                random_features=directions(),
                causal=True,
            )
            for keys in (key, last)
        ]
        np.testing.assert_array_equal(contexts[0][:, :place], contexts[1][:, :place])
        mask = np.tri(LENGTH, dtype=bool)[None, None]
        expected, shares = by_formula(query, last, value, None, mask)
        np.testing.assert_allclose(contexts[1], expected, atol=1e-3)
        weights = implied_weights(
            query,
            last,
            mechanism=parse_mechanism("dot"),
            random_features=directions(),
            causal=True,
        )
        np.testing.assert_allclose(weights, shares, atol=1e-3)


@pytest.mark.parametrize(("name", "scale"), [*((name, 2.0) for name in CALLS), ("everything", 9.0)])
def test_its_weights_are_those_of_the_formula(name, scale):
    """At the larger scale features differ by more than float32 can hold."""
    causal, key_mask, keys = CALLS[name]
    inputs, matrices = draws(keys, scale=scale)
    options = {"causal": True} if causal else {}
    if key_mask is not None:
        options["key_mask"] = key_mask.astype("float32")
    weights = implied_weights(
        *inputs[:2],
        mechanism=MECHANISM,
        random_features=directions(),
        score_weights=matrices,
        **options,
    )
    mask = masked(causal, key_mask, keys)
    assert weights.dtype == "float32"
    expected = by_formula(*inputs, matrices, mask)[1]
    np.testing.assert_allclose(weights, expected, atol=2e-5 if scale < 9 else 2e-3)
    if key_mask is not None:
        assert not np.array(weights)[1].any()


@pytest.mark.parametrize("causal", [False, True])
def test_half_precision_is_summed_in_float32(causal):
    (query, key, value), matrices = draws(dtype="bfloat16")
    options = {"mechanism": MECHANISM, "random_features": directions(), "score_weights": matrices}
    context = linear_attention(query, key, value, causal=causal, **options)
    assert context.dtype == "bfloat16"
    factors = SCORINGS["general"].factors(query, key, **matrices)
    assert {one.dtype for one in factors} == {tf.bfloat16}
    wide = [tf.cast(one, "float32") for one in (*factors, value)]
    options = {"mechanism": parse_mechanism("dot"), "random_features": directions()}
    expected = linear_attention(*wide, causal=causal, **options)
    np.testing.assert_array_equal(
        ops.cast(context, "float32"), ops.cast(ops.cast(expected, "bfloat16"), "float32")
    )
    weights = implied_weights(
        query, key, score_weights=matrices, **{**options, "mechanism": MECHANISM}
    )
    np.testing.assert_allclose(weights, implied_weights(*wide[:2], **options), atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_it_is_traced_with_unknown_batch_and_length(causal):
    inputs, matrices = draws()
    signature = [tf.TensorSpec((None, None, *one.shape[2:]), "float32") for one in inputs]

    def attend(*inputs):
        return linear_attention(
            *inputs,
            mechanism=MECHANISM,
            random_features=directions(),
            causal=causal,
            score_weights=matrices,
        )

    traced = tf.function(attend, input_signature=signature, autograph=False)
    np.testing.assert_allclose(traced(*inputs), attend(*inputs), atol=1e-5)


def test_features_are_orthogonal_within_as_many_as_dimensions():
    drawn = np.array(OrthogonalFeatures(seed=5)((8, 3), "float32"))
    assert drawn.shape == (8, 3)
    for first in (0, 3, 6):
        products = drawn[first : first + 3] @ drawn[first : first + 3].T
        np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-5)
    assert np.abs(drawn[:3] @ drawn[3:6].T).max() > 0.1
    again, other = (OrthogonalFeatures(seed=seed)((8, 3), "float32") for seed in (5, 6))
    np.testing.assert_array_equal(drawn, again)
    assert np.abs(drawn - np.array(other)).max() > 0.1
    for dtype in ("bfloat16", "float64"):
        assert OrthogonalFeatures(seed=5)((8, 3), dtype).dtype == dtype
    assert OrthogonalFeatures(seed=-5)((8, 3), "float32").shape == (8, 3)


def test_features_are_as_long_as_gaussian_ones_and_prefer_no_direction():
    drawn = np.array(OrthogonalFeatures(seed=5)((6000, 3), "float32"))
    squares = np.sum(drawn**2, axis=1)
    # Chi squared of three degrees: mean 3, variance 6.
    assert squares.mean() == pytest.approx(3, abs=5 * np.sqrt(6 / 6000))
    assert squares.var() == pytest.approx(6, rel=0.2)
    # In every place of a rotation all directions are as likely.
    for place in range(3):
        np.testing.assert_allclose(drawn[place::3].mean(axis=0), 0, atol=5 / np.sqrt(2000))
        np.testing.assert_allclose(drawn[place::3].var(axis=0), 1, atol=0.2)


def test_features_without_a_seed_follow_the_global_one():
    drawn = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        drawn.append(np.array(OrthogonalFeatures()((4, 3), "float32")))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0] - drawn[2]).max() > 0.1


def test_a_layer_is_told_of_the_features():
    ((name, (shape, initializer)),) = linear_weights(16, 4).items()
    assert (name, shape) == ("random_features", (16, 4))
    assert initializer(shape, "float32").shape == (16, 4)
