"""One position at a time, over a cache or over what was projected before, equals one call."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.masks import causal, window
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.reporting import listening

# Sizes that no two axes share.
BATCH, LENGTH, KEYS, DIM, HEADS, KEY_DIM, VALUE_DIM = 2, 5, 7, 6, 4, 8, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(BATCH, LENGTH, DIM)).astype("float32")
ENCODED = RNG.normal(size=(BATCH, KEYS, DIM)).astype("float32")
KEY_MASK = np.array([[1, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]], bool)


def make(text="full", **options):
    keras.utils.set_random_seed(1)
    options = {"value_dim": VALUE_DIM, **options}
    layer = MultiHeadAttention(HEADS, KEY_DIM, mechanism=parse_mechanism(text), **options)
    layer.build(X.shape, ENCODED.shape)
    for number, weight in enumerate(layer.trainable_weights):
        rng = np.random.default_rng(number)
        weight.assign(rng.uniform(0.1, 0.9, size=weight.shape) * rng.choice([-1, 1], weight.shape))
    return layer


def stepped(layer, x, slots, **options):
    """Outputs and weights of every position in turn, and the last cache."""
    cache = layer.empty_cache(len(x), slots, **options)
    outputs, rows = [], []
    for position in range(x.shape[1]):
        output, cache, row = layer.step(x[:, position : position + 1], cache, position)
        outputs.append(output)
        rows.append(row)
    return np.concatenate(outputs, axis=1), np.concatenate(rows, axis=2), cache


STEPS = [
    *("full", "rotary", "window:2", "window:3+relative-bias:20", "qk-norm", "general"),
    *("grouped:2+rotary", "multi-scale:2+general", "linear:8+rotary+general", "span:3"),
]


@pytest.mark.parametrize("text", STEPS)
def test_steps_over_a_cache_equal_one_causal_call(text):
    layer = make(text, use_gate=True)
    heard = []
    with listening(lambda who, what: heard.append((who, what))):
        outputs, rows, cache = stepped(layer, X, LENGTH + 2)
    whole, weights = layer(X, X, use_causal_mask=True, return_attention_scores=True)
    np.testing.assert_allclose(outputs, whole, atol=1e-5)
    np.testing.assert_allclose(rows[..., :LENGTH], weights, atol=1e-5)
    assert not rows[..., LENGTH:].any()
    assert rows.shape == (BATCH, HEADS, LENGTH, LENGTH + 2)
    groups = layer.mechanism.num_key_value_heads or HEADS
    assert cache["key"].shape == (BATCH, groups, LENGTH + 2, KEY_DIM)
    assert cache["value"].shape == (BATCH, groups, LENGTH + 2, VALUE_DIM)
    # Every step is told of once, with what it gives.
    assert [who for who, _ in heard] == [layer] * LENGTH
    np.testing.assert_array_equal(np.concatenate([what for _, what in heard], axis=2), rows)


def test_what_no_slot_holds_yet_cannot_matter():
    """Slots behind the position may hold anything: a cache may be used again."""
    for text in ("full", "linear:8"):
        layer = make(text)
        cache = layer.empty_cache(BATCH, LENGTH)
        spoiled = {name: 9 + tensor for name, tensor in cache.items()}
        clean, rotten = (layer.step(X[:, :1], one, 0) for one in (cache, spoiled))
        np.testing.assert_allclose(clean[0], rotten[0], atol=1e-6)
        np.testing.assert_allclose(clean[2], rotten[2], atol=1e-6)


@pytest.mark.parametrize("text", ["full", "linear:8"])
def test_steps_over_a_cache_that_grows_see_all_of_it(text):
    layer = make(text)

    @tf.function(autograph=False)
    def two_steps(x):
        outputs, rows, cache = [], [], layer.empty_cache(BATCH, LENGTH, growing=True)
        for position in range(2):
            output, cache, row = layer.step(x[:, position : position + 1], cache, position)
            outputs.append(output)
            rows.append(row)
        return tf.concat(outputs, axis=1), rows[-1]

    output, row = two_steps(X)
    whole, weights = layer(X, X, use_causal_mask=True, return_attention_scores=True)
    np.testing.assert_allclose(output, whole[:, :2], atol=1e-5)
    np.testing.assert_allclose(row[:, :, 0], weights[:, :, 1, :2], atol=1e-5)


def test_a_row_alone_is_what_it_is_among_others():
    layer = make()
    outputs, rows, _ = stepped(layer, X, LENGTH)
    alone, its_rows, _ = stepped(layer, X[:1, :3], LENGTH)
    np.testing.assert_allclose(alone, outputs[:1, :3], atol=1e-5)
    np.testing.assert_allclose(its_rows, rows[:1, :, :3], atol=1e-5)


def test_a_step_drops_nothing():
    calm, dropping = make(), make(dropout=0.5)
    for layer in (calm, dropping):
        outputs, *_ = stepped(layer, X[:, :2], 2)
        np.testing.assert_allclose(outputs, calm(X, X, use_causal_mask=True)[:, :2], atol=1e-5)
        across, _ = layer.attend(X, layer.project(ENCODED))
        np.testing.assert_allclose(across, calm(X, ENCODED), atol=1e-5)


def test_a_position_may_be_a_tensor_of_any_kind():
    layer = make("rotary")
    cache = layer.empty_cache(BATCH, LENGTH)
    for position in (2, ops.convert_to_tensor(2, "int64"), np.int32(2)):
        output, _, _ = layer.step(X[:, :1], cache, position)
        np.testing.assert_allclose(output, layer.step(X[:, :1], cache, 2)[0], atol=1e-6)


@pytest.mark.parametrize("text", ["window:3+alibi", "window:4+rotary"])
def test_a_rolling_cache_holds_the_window_and_no_more(text):
    layer = make(text)
    outputs, _, cache = stepped(layer, X, LENGTH, rolling=True)
    np.testing.assert_allclose(outputs, layer(X, X, use_causal_mask=True), atol=1e-5)
    assert cache["key"].shape[2] == layer.mechanism.scope.size
    assert make("window:9").empty_cache(BATCH, LENGTH, rolling=True)["key"].shape[2] == LENGTH
    assert layer.empty_cache(BATCH, LENGTH)["key"].shape[2] == LENGTH
    # How far ahead a window sees is nothing to a cache.
    ahead = MultiHeadAttention(HEADS, KEY_DIM, mechanism=Mechanism(scope=window(3) & causal()))
    assert ahead.empty_cache(BATCH, LENGTH, rolling=True)["key"].shape[2] == 3


@pytest.mark.parametrize(
    ("text", "growing"), [("full", False), ("window:3+global:1", False), ("window:3", True)]
)
def test_what_a_later_query_may_see_is_not_given_up(text, growing):
    with pytest.raises(ValueError, match=f"rolling=True with scope=.* growing={growing}"):
        make(text).empty_cache(BATCH, LENGTH, rolling=True, growing=growing)


def test_a_cache_begins_with_zeros_of_the_computing_type():
    cache = make("grouped:2", dtype="bfloat16").empty_cache(3, LENGTH)
    assert {name: tuple(tensor.shape) for name, tensor in cache.items()} == {
        "key": (3, 2, LENGTH, KEY_DIM),
        "value": (3, 2, LENGTH, VALUE_DIM),
    }
    for tensor in cache.values():
        assert keras.backend.standardize_dtype(tensor.dtype) == "bfloat16"
        assert not np.array(ops.cast(tensor, "float32")).any()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("local-p:2", "in its own a query knows its place"), ("low-rank:2:9", "it has no cache")],
)
def test_what_cannot_go_step_by_step_is_refused(text, complaint):
    layer = make(text)
    with pytest.raises(ValueError, match=complaint):
        layer.step(X[:, :1], layer.empty_cache(BATCH, LENGTH), 0)


ACROSS = [
    *("full", "qk-norm", "grouped:2+general", "local-p:2", "sparsemax"),
    *("low-rank:3:9+general", "linear:8+general", "multi-scale:2+general"),
]


@pytest.mark.parametrize("text", ACROSS)
@pytest.mark.parametrize("mask", [None, KEY_MASK], ids=["all", "some"])
def test_attending_to_what_was_projected_equals_one_call(text, mask):
    layer = make(text, use_gate=True)
    spoiled = ENCODED if mask is None else np.where(mask[..., None], ENCODED, np.float32(np.nan))
    projected = layer.project(spoiled, key_mask=mask)
    heard = []
    with listening(lambda who, what: heard.append((who, what))):
        output, weights = layer.attend(X, projected, mask)
    whole, expected = layer(X, ENCODED, key_mask=mask, return_attention_scores=True)
    np.testing.assert_allclose(output, whole, atol=1e-5)
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    ((who, what),) = heard
    assert who is layer
    np.testing.assert_array_equal(what, weights)
    groups = layer.mechanism.num_key_value_heads or HEADS
    assert projected["key"].shape == (BATCH, groups, KEYS, KEY_DIM)
    assert projected["value"].shape == (BATCH, groups, KEYS, VALUE_DIM)
    # A decoder asks with one query after the other.
    alone, row = layer.attend(X[:, 1:2], projected, mask)
    np.testing.assert_allclose(alone[:, 0], output[:, 1], atol=1e-5)
    np.testing.assert_allclose(row[:, :, 0], weights[:, :, 1], atol=1e-5)


@pytest.mark.parametrize("mask", [None, KEY_MASK], ids=["all", "some"])
def test_keys_may_be_others_than_values(mask):
    layer, keys = make(), np.cos(ENCODED)
    expected = layer(X, ENCODED, keys, key_mask=mask)
    output, _ = layer.attend(X, layer.project(ENCODED, keys, mask), mask)
    np.testing.assert_allclose(output, expected, atol=1e-5)
