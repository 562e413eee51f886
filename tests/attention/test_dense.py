"""Dense attention by itself, against its formula in NumPy."""

import numpy as np
import pytest
from keras import ops

from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.scoring import SCORINGS

# Sizes that no two axes share.
BATCH, QUERIES, KEYS, HEADS, DIM, VALUE_DIM = 2, 4, 7, 3, 6, 5
RNG = np.random.default_rng(0)
QUERY, KEY, VALUE = (
    RNG.normal(size=(BATCH, *shape)).astype("float32")
    for shape in ((QUERIES, HEADS, DIM), (KEYS, HEADS, DIM), (KEYS, HEADS, VALUE_DIM))
)
MASK = RNG.random((BATCH, HEADS, QUERIES, KEYS)) < 0.7
BIAS = RNG.normal(size=(1, HEADS, 1, KEYS))
DISTANCES = np.arange(KEYS) - np.arange(QUERIES)[:, None] - (KEYS - QUERIES)


def learned(declared):
    rng = np.random.default_rng(2)
    return {
        name: rng.uniform(0.1, 0.9, size=shape).astype("float32")
        for name, (shape, _) in declared.items()
    }


def of(mechanism):
    """What a mechanism of the tests learns, by group."""
    groups = {"score_weights": learned(SCORINGS[mechanism.scoring].weights(HEADS, DIM))}
    if mechanism.position is not None:
        groups["position_weights"] = learned(mechanism.position.weights(HEADS, DIM))
    if hasattr(mechanism.scope, "weights"):
        groups["scope_weights"] = learned(mechanism.scope.weights(HEADS, DIM))
    return groups


def attend(text, **options):
    mechanism = parse_mechanism(text)
    if "distances" in options:
        options["distances"] = ops.convert_to_tensor(options["distances"], dtype="int32")
    return dense_attention(QUERY, KEY, VALUE, mechanism=mechanism, **of(mechanism), **options)


def shares(scores, mask):
    """Softmax of NumPy's numbers, 0 where nothing is allowed."""
    masses = np.where(mask, np.exp(scores - scores.max(-1, keepdims=True)), 0)
    return masses / np.maximum(masses.sum(-1, keepdims=True), 1e-30)


PRODUCTS = np.einsum("bqhd,bkhd->bhqk", QUERY, KEY)


def assert_attends(found, weights):
    context, ours = found
    np.testing.assert_allclose(ours, weights, atol=1e-5)
    np.testing.assert_allclose(context, np.einsum("bhqk,bkhd->bqhd", weights, VALUE), atol=1e-5)


def test_scores_are_masked_and_normalised():
    assert_attends(attend("dot", mask=MASK), shares(PRODUCTS, MASK))


@pytest.mark.parametrize("text", ["relative-bias:20", "alibi"])
def test_scores_are_capped_before_what_is_added_to_them(text):
    text = f"dot+soft-cap:2+{text}"
    mechanism = parse_mechanism(text)
    distances = ops.convert_to_tensor(DISTANCES, dtype="int32")
    position = mechanism.position.bias(QUERY, distances, HEADS, **of(mechanism)["position_weights"])
    capped = 2 * np.tanh(PRODUCTS / 2)
    # Of another type than the scores, which are float32.
    found = attend(text, mask=MASK, score_bias=BIAS.astype("float64"), distances=DISTANCES)
    assert_attends(found, shares(capped + np.array(position) + BIAS, MASK))
    # Positions that are not told of distances add nothing.
    assert_attends(attend(text, mask=MASK), shares(capped, MASK))


@pytest.mark.parametrize("text", ["general", "general+rotary"])
def test_what_the_scoring_learns_is_used(text):
    """Positions that turn vectors are the caller's: they add nothing here."""
    ((_, matrix),) = of(parse_mechanism("general"))["score_weights"].items()
    scores = np.einsum("bqhd,hde,bkhe->bhqk", QUERY, matrix, KEY)
    assert_attends(attend(text, distances=DISTANCES), shares(scores, np.True_))


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize(("text", "told"), [("local-p:2", QUERY), ("span:4", DISTANCES)])
def test_a_learned_scope_narrows_what_the_mask_leaves(text, told, mask):
    mechanism = parse_mechanism(f"dot+{text}")
    told = ops.convert_to_tensor(told, dtype="float32" if told is QUERY else "int32")
    scores, seen = mechanism.scope.narrow(
        ops.convert_to_tensor(PRODUCTS), told, mask, **of(mechanism)["scope_weights"]
    )
    found = attend(f"dot+{text}", mask=mask, distances=DISTANCES)
    assert_attends(found, shares(np.array(scores), np.array(seen)))


def test_noise_is_drawn_for_every_score():
    drawn = RNG.normal(size=PRODUCTS.shape).astype("float32")

    def noise(shape):
        assert tuple(shape) == PRODUCTS.shape
        return drawn

    found = attend("dot+gumbel:2", mask=MASK, noise=noise)
    assert_attends(found, shares((PRODUCTS + drawn) / 2, MASK))
    likeliest = attend("dot+gumbel:2", mask=MASK)[1]
    assert set(np.unique(likeliest)) == {0.0, 1.0}


def test_weights_are_dropped_before_they_meet_values_and_given_back_whole():
    context, weights = attend("dot", dropout=lambda weights: weights * 0.5)
    expected = shares(PRODUCTS, np.True_)
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    halved = np.einsum("bhqk,bkhd->bqhd", expected / 2, VALUE)
    np.testing.assert_allclose(context, halved, atol=1e-5)


def test_context_has_the_type_of_the_values_and_weights_are_float32():
    halves = [ops.cast(one, "bfloat16") for one in (QUERY, KEY, VALUE)]
    mechanism = parse_mechanism("dot+relative-keys:2")
    told = ops.convert_to_tensor(DISTANCES, dtype="int32")
    context, weights = dense_attention(
        *halves, mechanism=mechanism, distances=told, **of(mechanism), score_bias=BIAS
    )
    assert (context.dtype, weights.dtype) == ("bfloat16", "float32")
