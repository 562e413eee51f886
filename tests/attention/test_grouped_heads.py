"""Grouped-query attention: heads of keys and values that groups of query heads share."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from attention_apps.attention.blocks import CausalBlock, DecoderBlock
from attention_apps.attention.grouped_heads import shared_out
from attention_apps.attention.layers import Attention, GroupedQueryAttention, MultiHeadAttention
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.stepwise import StepwiseAttention

RNG = np.random.default_rng(0)
HEADS, KEY_DIM, LENGTH, DIM = 6, 4, 7, 8
QUERY = RNG.normal(size=(2, 5, DIM)).astype("float32")
VALUE = RNG.normal(size=(2, LENGTH, DIM)).astype("float32")
KEY_MASK = np.array([[1, 1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1, 1]], bool)


def filled(layer, *shapes):
    layer.build(*shapes)
    layer.set_weights([RNG.normal(size=weight.shape) * 0.5 for weight in layer.get_weights()])
    return layer


def multi_head_twin(grouped):
    """Multi-head attention whose heads have copies of what the groups share, written as a loop."""
    config = grouped.get_config()
    mechanism = grouped.mechanism.get_config() | {"num_key_value_heads": None}
    options = {name: config[name] for name in ("use_gate", "use_bias", "value_dim")}
    twin = MultiHeadAttention(HEADS, KEY_DIM, mechanism=Mechanism.from_config(mechanism), **options)
    twin.build(QUERY.shape, VALUE.shape)
    size = HEADS // grouped.mechanism.num_key_value_heads
    for ours, theirs in zip(grouped.weights, twin.weights, strict=True):
        weight = np.array(ours)
        if ours.path.split("/")[-2] in ("key", "value"):
            heads = weight.ndim - 2
            weight = np.stack(
                [np.take(weight, head // size, axis=heads) for head in range(HEADS)], axis=heads
            )
        theirs.assign(weight)
    return twin


@pytest.mark.parametrize("num_key_value_heads", [1, 2, 3, 6])
@pytest.mark.parametrize("options", [{}, {"use_gate": True}, {"use_bias": False, "value_dim": 3}])
def test_equals_multi_head_attention_with_heads_repeated(num_key_value_heads, options):
    mechanism = Mechanism(num_key_value_heads=num_key_value_heads)
    grouped = filled(
        MultiHeadAttention(HEADS, KEY_DIM, mechanism=mechanism, **options), QUERY.shape, VALUE.shape
    )
    assert grouped.key_dense.kernel.shape == (DIM, num_key_value_heads, KEY_DIM)
    twin = multi_head_twin(grouped)
    found = []
    for layer in (grouped, twin):
        query, value = tf.Variable(QUERY), tf.Variable(VALUE)
        with tf.GradientTape() as tape:
            output, weights = layer(query, value, key_mask=KEY_MASK, return_attention_scores=True)
            loss = tf.reduce_sum(output * np.cos(np.arange(DIM)))
        by_key, *by_input = tape.gradient(loss, [layer.key_dense.kernel.value, query, value])
        summed = by_key.numpy().reshape(DIM, num_key_value_heads, -1, KEY_DIM).sum(axis=2)
        found.append([output, weights, *by_input, summed])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize(
    "text",
    [
        *("cosine+rotary", "additive", "general+alibi", "window:3+qk-norm", "span:4", "sparsemax"),
        *("chunked:3", "local+window:3", "linear:16", "multi-scale:2", "hard", "relative-keys:3"),
    ],
)
def test_every_mechanism_shares_its_heads_alike(text):
    mechanism = parse_mechanism(f"{text}+grouped:3")
    grouped = filled(
        MultiHeadAttention(HEADS, KEY_DIM, mechanism=mechanism), VALUE.shape, VALUE.shape
    )
    twin = multi_head_twin(grouped)
    ours, theirs = (
        layer(VALUE, VALUE, key_mask=KEY_MASK, use_causal_mask=True, return_attention_scores=True)
        for layer in (grouped, twin)
    )
    np.testing.assert_allclose(ours[0], theirs[0], atol=2e-5)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5)


@pytest.mark.parametrize("use_gate", [False, True])
def test_equals_keras_with_the_weights_of_keras(use_gate):
    sizes = {"head_dim": 4, "num_query_heads": 6, "num_key_value_heads": 2, "use_gate": use_gate}
    theirs = filled(keras.layers.GroupQueryAttention(**sizes), QUERY.shape, VALUE.shape)
    ours = GroupedQueryAttention(**sizes)
    ours.build(QUERY.shape, VALUE.shape)
    ours.set_weights(theirs.get_weights())
    mask = RNG.random(size=(2, 5, LENGTH)) < 0.7
    mask[..., 0] = True
    for options in ({}, {"attention_mask": mask}):
        expected = theirs(QUERY, VALUE, return_attention_scores=True, **options)
        found = ours(QUERY, VALUE, return_attention_scores=True, **options)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    same = {"use_causal_mask": True}
    np.testing.assert_allclose(ours(VALUE, VALUE, **same), theirs(VALUE, VALUE, **same), atol=1e-5)


@pytest.mark.parametrize("text", ["full", "rotary", "window:3", "multi-scale:2", "linear:16"])
def test_cached_steps_equal_one_call_and_hold_the_shared_heads_alone(text):
    mechanism = parse_mechanism(f"{text}+grouped:2")
    layer = filled(
        MultiHeadAttention(HEADS, KEY_DIM, mechanism=mechanism), VALUE.shape, VALUE.shape
    )
    whole, of_whole = layer(VALUE, VALUE, use_causal_mask=True, return_attention_scores=True)
    cache = layer.empty_cache(2, LENGTH)
    assert cache["key"].shape == cache["value"].shape == (2, 2, LENGTH, KEY_DIM)
    for position in range(LENGTH):
        output, cache, weights = layer.step(VALUE[:, position : position + 1], cache, position)
        np.testing.assert_allclose(output[:, 0], whole[:, position], atol=2e-5)
        np.testing.assert_allclose(weights[:, :, 0], of_whole[:, :, position], atol=1e-5)


def test_a_rolling_cache_holds_the_shared_heads_alone():
    layer = filled(
        MultiHeadAttention(HEADS, KEY_DIM, mechanism=parse_mechanism("window:3+grouped:1")),
        VALUE.shape,
        VALUE.shape,
    )
    whole = layer(VALUE, VALUE, use_causal_mask=True)
    cache = layer.empty_cache(2, LENGTH, rolling=True)
    assert cache["key"].shape == (2, 1, 3, KEY_DIM)
    for position in range(LENGTH):
        output, cache, _ = layer.step(VALUE[:, position : position + 1], cache, position)
        np.testing.assert_allclose(output[:, 0], whole[:, position], atol=2e-5)


@pytest.mark.parametrize("text", ["full", "linear:16"])
def test_attention_to_projected_keys_equals_one_call(text):
    mechanism = parse_mechanism(f"{text}+grouped:3")
    layer = filled(
        MultiHeadAttention(HEADS, KEY_DIM, mechanism=mechanism), QUERY.shape, VALUE.shape
    )
    projected = layer.project(VALUE, key_mask=KEY_MASK)
    assert projected["key"].shape == (2, 3, LENGTH, KEY_DIM)
    found = layer.attend(QUERY, projected, KEY_MASK)
    expected = layer(QUERY, VALUE, key_mask=KEY_MASK, return_attention_scores=True)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_a_saved_model_answers_as_before(tmp_path):
    inputs = keras.Input((LENGTH, DIM))
    attended = GroupedQueryAttention(4, 6, 2, parse_mechanism("rotary"), sliding_window=4)
    hidden = attended(inputs, inputs, use_causal_mask=True)
    hidden = CausalBlock(
        num_heads=4, key_dim=4, feedforward_dim=8, mechanism=parse_mechanism("grouped:2+cosine")
    )(hidden)
    model = keras.Model(inputs, hidden)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(VALUE), model(VALUE))
    (restored,) = (layer for layer in again.layers if isinstance(layer, GroupedQueryAttention))
    assert restored.get_config() == attended.get_config()
    assert (restored.head_dim, restored.num_query_heads, restored.num_key_value_heads) == (4, 6, 2)
    assert restored.mechanism == parse_mechanism("rotary+grouped:2")


def test_a_decoder_block_shares_heads_in_both_its_attentions():
    block = DecoderBlock(
        num_heads=HEADS,
        key_dim=KEY_DIM,
        feedforward_dim=8,
        mechanism=parse_mechanism("grouped:2"),
        cross_mechanism=parse_mechanism("grouped:3"),
    )
    filled(block, VALUE.shape, QUERY.shape)
    whole = block(VALUE, QUERY)
    cache = block.self_attention.empty_cache(2, LENGTH)
    projected = block.cross_attention.project(QUERY)
    assert (cache["key"].shape[1], projected["key"].shape[1]) == (2, 3)
    for position in range(LENGTH):
        here = VALUE[:, position : position + 1]
        output, cache, _ = block.step(here, cache, position, projected, None)
        np.testing.assert_allclose(output[:, 0], whole[:, position], atol=2e-5)


@pytest.mark.parametrize("heads", [(6, 4), (2, 4), (4, 0), (0, 2), (4, -1), (4, 1.0)])
def test_heads_that_cannot_be_shared_out_are_refused(heads):
    with pytest.raises(ValueError, match=r"num_.*Received: num_"):
        GroupedQueryAttention(4, *heads)


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (2, 5, 6, 3, 4)])
def test_heads_that_are_not_shared_are_given_back_as_they_are(shape):
    tensor = tf.zeros(shape)
    assert shared_out(tensor, 3) is tensor


def test_what_has_no_heads_takes_no_groups():
    grouped = Mechanism(num_key_value_heads=1)
    for kind in (Attention, StepwiseAttention):
        with pytest.raises(ValueError, match="no groups of heads"):
            kind(mechanism=grouped)
    layer = MultiHeadAttention(2, 4, attention_axes=(1, 2), mechanism=grouped)
    with pytest.raises(ValueError, match="no groups of heads"):
        layer.build((2, 3, 3, 4), (2, 3, 3, 4))
