"""local-p against its formula, written again in NumPy with loops, and the laws it must keep."""

import itertools
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.blocks import DecoderBlock, EncoderBlock
from attention_apps.attention.layers import Attention, MultiHeadAttention
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.positions import Rotary
from attention_apps.attention.predicted_window import PredictedWindow

RNG = np.random.default_rng(0)
BATCH, QUERIES, KEYS, HEADS, DIM = 3, 4, 9, 2, 5
QUERY = RNG.normal(size=(BATCH, QUERIES, HEADS, DIM)).astype("float32")
KEY = RNG.normal(size=(BATCH, KEYS, HEADS, DIM)).astype("float32")
VALUE = RNG.normal(size=(BATCH, KEYS, HEADS, DIM)).astype("float32")
KERNEL = RNG.normal(size=(HEADS, DIM, DIM)).astype("float32")
VECTOR = 2 * RNG.normal(size=(HEADS, DIM)).astype("float32")
WEIGHTS = {"center_kernel": KERNEL, "center_vector": VECTOR}
# Padding in front, behind, within, and nothing but padding.
KEY_MASK = np.ones((BATCH, KEYS), bool)
KEY_MASK[1, [0, 1, 5, 8]] = False
KEY_MASK[2] = False


def attend(mechanism, query=QUERY, key=KEY, value=VALUE, mask=KEY_MASK):
    mask = None if mask is None else mask[:, None, None]
    tensors = (ops.array(tensor) for tensor in (query, key, value))
    return dense_attention(*tensors, mechanism=mechanism, mask=mask, scope_weights=WEIGHTS)


def by_hand(size, mask):
    """Luong's `align(h_t, h_s) exp(-(s - p_t)^2 / (2 sigma^2))`, each row divided by its sum."""
    weights = np.zeros((BATCH, HEADS, QUERIES, KEYS))
    for b, h, t in itertools.product(range(BATCH), range(HEADS), range(QUERIES)):
        real = [k for k in range(KEYS) if mask[b, k]]
        query = QUERY[b, t, h].astype("float64")
        center = len(real) / (1 + math.exp(-VECTOR[h] @ np.tanh(query @ KERNEL[h])))
        near = [(s, k) for s, k in enumerate(real) if abs(s - center) <= size]
        align = {k: math.exp(query @ KEY[b, k, h]) for _, k in near}
        gauss = {k: math.exp(-((s - center) ** 2) / (2 * (size / 2) ** 2)) for s, k in near}
        total = sum(align[k] * gauss[k] for _, k in near)
        for _, k in near:
            weights[b, h, t, k] = align[k] * gauss[k] / total
    return weights


@pytest.mark.parametrize("size", [1, 3, 10])
def test_weights_follow_the_formula(size):
    context, weights = attend(Mechanism(scoring="dot", scope=PredictedWindow(size)))
    expected = by_hand(size, KEY_MASK)
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    np.testing.assert_allclose(context, np.einsum("bhqk,bkhd->bqhd", expected, VALUE), atol=1e-5)
    # The window is small enough to matter, and no row that has keys is left with none.
    assert size == 10 or (expected[:2] == 0).sum() > (~KEY_MASK[:2]).sum() * HEADS * QUERIES
    np.testing.assert_allclose(np.array(weights).sum(-1)[:2], 1, atol=1e-5)
    assert not np.array(weights)[2].any()


def test_no_mask_is_a_mask_of_ones():
    mechanism = Mechanism(scoring="dot", scope=PredictedWindow(3))
    for one, other in zip(
        attend(mechanism, mask=None), attend(mechanism, mask=np.ones_like(KEY_MASK)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_padding_cannot_matter_wherever_it_stands():
    mechanism = Mechanism(scoring="dot", scope=PredictedWindow(2))
    kept = np.flatnonzero(KEY_MASK[1])
    _, padded = attend(mechanism)
    alone = [tensor[1:2, kept] for tensor in (KEY, VALUE)]
    _, weights = attend(mechanism, QUERY[1:2], *alone, mask=None)
    np.testing.assert_allclose(np.array(padded)[1][..., kept], np.array(weights)[0], atol=1e-6)


def test_gradients_reach_the_centre_and_are_finite_where_nothing_may_be_attended():
    variables = {name: tf.Variable(value) for name, value in WEIGHTS.items()}
    query = tf.Variable(QUERY)
    with tf.GradientTape() as tape:
        context, _ = dense_attention(
            query,
            tf.constant(KEY),
            tf.constant(VALUE),
            mechanism=Mechanism(scope=PredictedWindow(3)),
            mask=KEY_MASK[:, None, None],
            scope_weights=variables,
        )
        loss = tf.reduce_sum(context**2)
    gradients = [np.array(g) for g in tape.gradient(loss, [query, *variables.values()])]
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert all(np.abs(gradient).max() > 1e-4 for gradient in gradients)
    assert not gradients[0][2].any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_finite_and_near(dtype):
    mechanism = Mechanism(scoring="dot", scope=PredictedWindow(10))
    _, weights = attend(mechanism)
    _, half = dense_attention(
        *(ops.cast(tensor, dtype) for tensor in (QUERY, KEY, VALUE)),
        mechanism=mechanism,
        mask=KEY_MASK[:, None, None],
        scope_weights=WEIGHTS,
    )
    assert half.dtype == "float32"
    np.testing.assert_allclose(half, weights, atol=0.1)


def test_multi_head_attention_predicts_a_place_per_head(tmp_path):
    inputs = keras.Input((None, DIM)), keras.Input((None, DIM))
    layer = MultiHeadAttention(HEADS, 3, mechanism=parse_mechanism("general+local-p:1"))
    model = keras.Model(inputs, layer(*inputs, return_attention_scores=True))
    tensors = [QUERY[:, :, 0], VALUE[:, :, 0]]
    _, weights = model(tensors)
    assert ((np.array(weights) > 0).sum(-1) <= 3).all()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(tensors)[1], weights)


def test_cross_attention_of_a_transformer_steps_as_it_calls():
    block = DecoderBlock(
        num_heads=2, key_dim=4, feedforward_dim=8, cross_mechanism=parse_mechanism("local-p:2")
    )
    x, encoded = (RNG.normal(size=(BATCH, n, 8)).astype("float32") for n in (QUERIES, KEYS))
    block.build(x.shape, encoded.shape)
    whole = np.array(block(x, encoded, encoded_mask=KEY_MASK))
    cache = block.self_attention.empty_cache(BATCH, QUERIES)
    projected = block.cross_attention.project(encoded, key_mask=KEY_MASK)
    for position in range(QUERIES):
        now = x[:, position : position + 1]
        output, cache, _ = block.step(now, cache, position, projected, KEY_MASK)
        np.testing.assert_allclose(np.array(output)[:, 0], whole[:, position], atol=1e-5)


def test_it_survives_json_and_prints_its_flag():
    mechanism = parse_mechanism("general+local-p:7")
    assert mechanism == Mechanism(scoring="general", scope=PredictedWindow(7))
    config = json.loads(json.dumps(mechanism.get_config()))
    assert Mechanism.from_config(config) == mechanism
    assert str(mechanism.scope) == "local-p:7"


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_sizes_that_make_no_sense_are_refused(size):
    with pytest.raises(ValueError, match="Received"):
        PredictedWindow(size)


LOCAL = parse_mechanism("local-p:3")
SIZES = {"num_heads": 2, "key_dim": 4, "feedforward_dim": 8}


@pytest.mark.parametrize(
    "use",
    [
        lambda: Mechanism(scope=PredictedWindow(3), position=Rotary()),
        lambda: EncoderBlock(mechanism=LOCAL, **SIZES),
        lambda: DecoderBlock(mechanism=LOCAL, **SIZES),
        lambda: Attention(mechanism=LOCAL),
        lambda: MultiHeadAttention(2, 4, mechanism=LOCAL)(
            QUERY[:, :, 0], QUERY[:, :, 0], use_causal_mask=True
        ),
        lambda: parse_mechanism("local-p"),
        lambda: parse_mechanism("local-p:3+window:2"),
    ],
)
def test_where_it_makes_no_sense_it_is_refused_in_one_sentence(use):
    with pytest.raises(ValueError, match="Received") as refusal:
        use()
    assert "\n" not in str(refusal.value)
