"""The laws of attention, for every scoring, in eager code, graphs and after reloading."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.layers import AdditiveAttention, Attention, MultiHeadAttention
from attention_apps.attention.masks import causal, window
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.positions import Rotary
from attention_apps.attention.reporting import listening

RNG = np.random.default_rng(0)
BATCH, QUERIES, KEYS, DIM, HEADS, KEY_DIM = 3, 5, 6, 8, 2, 4
QUERY = RNG.normal(size=(BATCH, QUERIES, DIM)).astype("float32")
VALUE = RNG.normal(size=(BATCH, KEYS, DIM)).astype("float32")
KEY_MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], bool)
MECHANISMS = ["full", "dot", "cosine", "general", "additive", "rotary", "cosine+window:2"]
DTYPES = ["float32", "bfloat16", "float16"]


def numbers(tensor):
    return np.array(ops.cast(tensor, "float32"))


def make(text="full", dtype="float32", **options):
    keras.utils.set_random_seed(1)
    layer = MultiHeadAttention(
        HEADS, KEY_DIM, mechanism=parse_mechanism(text), dtype=dtype, **options
    )
    layer.build(QUERY.shape, VALUE.shape)
    layer.set_weights([RNG.normal(size=w.shape) * 0.4 for w in layer.get_weights()])
    return layer


def by_hand(layer, query, value, allowed, bias=None):
    """Multi-head attention head by head and query by query, scaled dot products only."""
    bias = np.zeros((1, 1, 1, 1)) if bias is None else bias
    bias = np.broadcast_to(bias, (len(query), HEADS, query.shape[1], value.shape[1]))
    (wq, bq), (wk, bk), (wv, bv), (wo, bo) = (
        (dense.kernel.numpy(), dense.bias.numpy())
        for dense in (layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense)
    )
    output = np.tile(bo, (*query.shape[:2], 1)).astype("float64")
    weights = np.zeros((len(query), HEADS, query.shape[1], value.shape[1]))
    for b, h, t in itertools.product(range(len(query)), range(HEADS), range(query.shape[1])):
        q = query[b, t] @ wq[:, h] + bq[h]
        kept = [s for s in range(value.shape[1]) if allowed[b, t, s]]
        scores = {s: q @ (value[b, s] @ wk[:, h] + bk[h]) / math.sqrt(KEY_DIM) for s in kept}
        scores = {s: score + bias[b, h, t, s] for s, score in scores.items()}
        total = sum(math.exp(score) for score in scores.values())
        for s, score in scores.items():
            weights[b, h, t, s] = math.exp(score) / total
            context = weights[b, h, t, s] * (value[b, s] @ wv[:, h] + bv[h])
            output[b, t] += context @ wo[h]
    return output, weights


def test_every_head_is_what_a_loop_over_heads_and_queries_gives():
    layer = make()
    allowed = RNG.random((BATCH, QUERIES, KEYS)) < 0.6
    output, weights = layer(QUERY, VALUE, attention_mask=allowed, return_attention_scores=True)
    expected_output, expected_weights = by_hand(layer, QUERY, VALUE, allowed)
    np.testing.assert_allclose(weights, expected_weights, atol=1e-5)
    np.testing.assert_allclose(output, expected_output, atol=1e-5)


def test_without_masks_it_is_what_keras_computes_gradients_included():
    ours = make()
    theirs = keras.layers.MultiHeadAttention(HEADS, KEY_DIM)
    theirs.build(QUERY.shape, VALUE.shape)
    theirs.set_weights(ours.get_weights())
    gradients = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            output = layer(QUERY, VALUE, use_causal_mask=False)
            loss = tf.reduce_sum(output * np.cos(np.arange(DIM)))
        gradients.append([output, *tape.gradient(loss, layer.trainable_variables)])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("text", MECHANISMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_asking_and_listening_change_no_bit(text, dtype):
    layer = make(text, dtype)
    options = {"key_mask": KEY_MASK, "use_causal_mask": True}
    plain = numbers(layer(QUERY, VALUE, **options))
    asked, weights = layer(QUERY, VALUE, return_attention_scores=True, **options)
    heard = []
    with listening(lambda who, what: heard.append((who, what))):
        listened = layer(QUERY, VALUE, **options)
    np.testing.assert_array_equal(numbers(asked), plain)
    np.testing.assert_array_equal(numbers(listened), plain)
    assert heard[0][0] is layer
    np.testing.assert_array_equal(heard[0][1], weights)
    assert weights.dtype == "float32"
    assert np.isfinite(plain).all()
    sums = np.array(weights).sum(axis=-1)
    np.testing.assert_allclose(sums, np.round(sums), atol=1e-6)


@pytest.mark.parametrize("text", MECHANISMS)
def test_a_row_that_may_attend_to_nothing_gives_nothing_and_finite_gradients(text):
    layer = make(text)
    query = tf.Variable(QUERY)
    with tf.GradientTape() as tape:
        output, weights = layer(query, VALUE, key_mask=KEY_MASK, return_attention_scores=True)
        loss = tf.reduce_sum(output**2)
    gradients = tape.gradient(loss, [query, *layer.trainable_variables])
    assert not np.array(weights)[2].any()
    bias = np.broadcast_to(layer.output_dense.bias.numpy(), output.shape[1:])
    np.testing.assert_allclose(output[2], bias, atol=1e-6)
    assert all(np.isfinite(np.array(gradient)).all() for gradient in gradients)


@pytest.mark.parametrize("rubbish", [np.nan, 1e30, np.inf])
@pytest.mark.parametrize("text", MECHANISMS)
def test_masked_keys_cannot_matter(text, rubbish):
    layer = make(text)
    spoiled = np.where(KEY_MASK[..., None], VALUE, np.float32(rubbish))

    def outputs(value, **masks):
        with tf.GradientTape() as tape:
            output = layer(QUERY, value, **masks)
            loss = tf.reduce_sum(output**2)
        return [output, *tape.gradient(loss, layer.trainable_variables)]

    for masks in ({"key_mask": KEY_MASK}, {"attention_mask": KEY_MASK[:, None, :]}):
        for one, other in zip(outputs(VALUE, **masks), outputs(spoiled, **masks), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("text", MECHANISMS)
def test_the_future_has_no_gradient(text):
    layer = make(text)
    x = tf.Variable(QUERY[:1])
    for position in range(QUERIES):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, x, use_causal_mask=True)[:, position] ** 2)
        gradient = np.abs(tape.gradient(loss, x).numpy()).sum(axis=(0, 2))
        assert not gradient[position + 1 :].any()
        assert gradient[position] > 0


def test_a_bias_is_added_to_the_scores_and_cannot_matter_where_masked():
    layer = make()
    allowed = np.broadcast_to(KEY_MASK[:, None], (BATCH, QUERIES, KEYS))
    for shape in ((BATCH, HEADS, QUERIES, KEYS), (1, HEADS, 1, KEYS)):
        bias = RNG.normal(size=shape).astype("float32")
        output, weights = layer(
            QUERY, VALUE, key_mask=KEY_MASK, score_bias=bias, return_attention_scores=True
        )
        expected, expected_weights = by_hand(layer, QUERY, VALUE, allowed, bias)
        np.testing.assert_allclose(output, expected, atol=1e-5)
        np.testing.assert_allclose(weights, expected_weights, atol=1e-6)
    whole = np.broadcast_to(bias, (BATCH, HEADS, QUERIES, KEYS))
    spoiled = np.where(allowed[:, None], whole, np.nan).astype("float32")
    again = layer(QUERY, VALUE, key_mask=KEY_MASK, score_bias=spoiled)
    np.testing.assert_array_equal(again, output)
    nothing = np.zeros((1, 1, 1, 1), "float32")
    np.testing.assert_array_equal(
        layer(QUERY, VALUE, key_mask=KEY_MASK, score_bias=nothing),
        layer(QUERY, VALUE, key_mask=KEY_MASK),
    )


def test_a_bias_over_several_axes_is_refused():
    layer = MultiHeadAttention(2, 4, attention_axes=(1, 2))
    x = np.ones((2, 3, 3, 8), "float32")
    with pytest.raises(ValueError, match="Received: score_bias with projected queries of rank 5"):
        layer(x, x, score_bias=np.zeros((1, 1, 1, 1), "float32"))


def test_a_causal_mask_is_aligned_to_the_end_of_the_keys():
    layer = make()
    _, weights = layer(QUERY[:, :2], VALUE, use_causal_mask=True, return_attention_scores=True)
    attended = np.array(weights)[0, 0] > 0
    np.testing.assert_array_equal(attended, [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]])


def test_all_masks_are_anded():
    layer = make("window:3")
    attention_mask = RNG.random((BATCH, HEADS, QUERIES, KEYS)) < 0.7
    query_mask = RNG.random((BATCH, QUERIES)) < 0.7
    value_mask = RNG.random((BATCH, KEYS)) < 0.7
    _, weights = layer(
        QUERY,
        VALUE,
        query_mask=query_mask,
        value_mask=value_mask,
        key_mask=KEY_MASK,
        attention_mask=attention_mask,
        use_causal_mask=True,
        return_attention_scores=True,
    )
    scope = np.array((window(3) & causal()).dense(QUERIES, KEYS))
    keys = (value_mask & KEY_MASK)[:, None, None, :]
    expected = attention_mask & query_mask[:, None, :, None] & keys & scope
    np.testing.assert_array_equal(np.array(weights) > 0, expected)


def test_implicit_keras_masks_are_honoured_and_passed_on():
    ids = np.array([[3, 4, 0, 0], [1, 0, 0, 0]])
    embedded = keras.layers.Embedding(5, DIM, mask_zero=True)(ids)
    layer = make()
    output, weights = layer(embedded, embedded, return_attention_scores=True)
    expected = (ids != 0)[:, None, :, None] & (ids != 0)[:, None, None, :]
    np.testing.assert_array_equal(np.array(weights) > 0, np.tile(expected, (1, HEADS, 1, 1)))
    np.testing.assert_array_equal(layer(embedded, embedded)._keras_mask, ids != 0)
    assert output.shape == (2, 4, DIM)


@pytest.mark.parametrize("text", [text for text in MECHANISMS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cached_steps_equal_one_call(text, dtype):
    layer = make(text, dtype)
    x = ops.cast(QUERY, dtype)
    whole, weights = layer(x, x, use_causal_mask=True, return_attention_scores=True)
    cache = layer.empty_cache(BATCH, QUERIES + 3)
    tolerance = {"float32": 1e-5, "bfloat16": 5e-2, "float16": 5e-3}[dtype]
    for position in range(QUERIES):
        output, cache, step_weights = layer.step(x[:, position : position + 1], cache, position)
        np.testing.assert_allclose(
            numbers(output)[:, 0], numbers(whole)[:, position], atol=tolerance
        )
        np.testing.assert_allclose(
            np.array(step_weights)[:, :, 0, :QUERIES],
            np.array(weights)[:, :, position],
            atol=tolerance,
        )


def test_attending_to_projected_keys_equals_one_call():
    layer = make(use_gate=True)
    whole, weights = layer(QUERY, VALUE, key_mask=KEY_MASK, return_attention_scores=True)
    spoiled = np.where(KEY_MASK[..., None], VALUE, np.nan)
    output, again = layer.attend(QUERY, layer.project(spoiled, key_mask=KEY_MASK), KEY_MASK)
    np.testing.assert_allclose(output, whole, atol=1e-6)
    np.testing.assert_allclose(again, weights, atol=1e-6)


@pytest.mark.parametrize("text", MECHANISMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_inputs_never_give_nan(text, dtype):
    layer = make(text, dtype)
    output, weights = layer(
        QUERY * 100, VALUE * 100, key_mask=KEY_MASK, return_attention_scores=True
    )
    assert np.isfinite(numbers(output)).all()
    assert np.isfinite(np.array(weights)).all()


@pytest.mark.parametrize("text", MECHANISMS)
def test_eager_graph_and_reloaded_agree(text, tmp_path):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((None, DIM)), keras.Input((None, DIM))
    layer = MultiHeadAttention(HEADS, KEY_DIM, mechanism=parse_mechanism(text), dropout=0.1)
    outputs = layer(*inputs, use_causal_mask=True, return_attention_scores=True)
    model = keras.Model(inputs, outputs)
    eager = model([QUERY, VALUE])
    graph = tf.function(lambda *x: model(list(x)))(QUERY, VALUE)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    again = reloaded([QUERY, VALUE])
    for one, two, three in zip(eager, graph, again, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
        np.testing.assert_array_equal(one, three)
    restored = next(x for x in reloaded.layers if isinstance(x, MultiHeadAttention))
    assert restored.mechanism == parse_mechanism(text)
    # The symbolic shapes are those of the values, keys of another number than queries included.
    assert [tuple(o.shape) for o in model.outputs] == [
        (None, None, DIM),
        (None, HEADS, None, None),
    ]
    spec = layer.compute_output_spec(
        keras.KerasTensor((2, 5, DIM)), keras.KerasTensor((2, 3, DIM)), return_attention_scores=True
    )
    assert spec[1].shape == (2, HEADS, 5, 3)


def test_permuting_the_keys_permutes_the_weights_only():
    layer = make()
    order = RNG.permutation(KEYS)
    output, weights = layer(QUERY, VALUE, return_attention_scores=True)
    permuted, permuted_weights = layer(QUERY, VALUE[:, order], return_attention_scores=True)
    np.testing.assert_allclose(permuted, output, atol=1e-6)
    np.testing.assert_allclose(permuted_weights, np.array(weights)[..., order], atol=1e-6)


def test_dropout_changes_the_output_in_training_and_not_the_weights_returned():
    layer = make(dropout=0.5)
    calm, weights = layer(QUERY, VALUE, return_attention_scores=True, training=False)
    dropped, same = layer(QUERY, VALUE, return_attention_scores=True, training=True)
    np.testing.assert_array_equal(same, weights)
    assert np.abs(np.array(dropped) - np.array(calm)).max() > 1e-2


def test_what_the_layer_cannot_do_is_refused():
    with pytest.raises(ValueError, match="several axes"):
        MultiHeadAttention(2, 2, mechanism=parse_mechanism("rotary")).build(
            (1, 3, 3, 4), (1, 3, 3, 4)
        )
    with pytest.raises(ValueError, match="rotary"):
        Attention(mechanism=Mechanism(position=Rotary()))
    with pytest.raises(ValueError, match="scores additively"):
        AdditiveAttention(mechanism=Mechanism(scoring="dot"))


@pytest.mark.parametrize(
    "layer",
    [
        Attention(),
        Attention(use_scale=True, score_mode="concat"),
        Attention(mechanism=parse_mechanism("general")),
        Attention(mechanism=parse_mechanism("scaled_dot+window:2")),
        AdditiveAttention(),
        AdditiveAttention(mechanism=parse_mechanism("additive+window:3")),
    ],
    ids=str,
)
def test_single_head_layers_keep_the_laws(layer):
    masks = [None, KEY_MASK]
    output, weights = layer([QUERY, VALUE], mask=masks, return_attention_scores=True)
    heard = []
    with listening(lambda who, what: heard.append(what)):
        plain = layer([QUERY, VALUE], mask=masks)
    np.testing.assert_array_equal(plain, output)
    np.testing.assert_array_equal(np.array(heard[0])[:, 0], weights)
    assert not np.array(weights)[2].any()
    assert not np.array(output)[2].any()
    np.testing.assert_allclose(np.einsum("bqk,bkd->bqd", weights, VALUE), output, atol=1e-5)
    spoiled = np.where(KEY_MASK[..., None], VALUE, np.nan).astype("float32")
    np.testing.assert_array_equal(layer([QUERY, spoiled], mask=masks), output)
    third = layer([QUERY, VALUE, VALUE], mask=[None, None, KEY_MASK])
    np.testing.assert_array_equal(third, output)
    again = type(layer).from_config(layer.get_config())
    again.build([QUERY.shape, VALUE.shape])
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again([QUERY, VALUE], mask=masks), output)


def test_single_head_causality_is_aligned_to_the_end_and_empty_rows_are_safe_in_float16():
    _, weights = Attention()(
        [QUERY[:, :2], VALUE], use_causal_mask=True, return_attention_scores=True
    )
    np.testing.assert_array_equal(np.array(weights)[0, 0] > 0, [1, 1, 1, 1, 1, 0])
    half = Attention(dtype="float16")([QUERY * 9, VALUE * 9], mask=[None, KEY_MASK])
    assert np.isfinite(numbers(half)).all()


@pytest.mark.parametrize("scoring", ["dot", "scaled_dot"])
def test_large_products_do_not_overflow_in_float16(scoring):
    """64 x 60 x 60 is more than float16 holds; the key that is a little larger takes it all."""
    query = np.full((1, 2, 1, 64), 60, "float16")
    key = np.concatenate([query[:, :1], query[:, :1] + 1], axis=1)
    _, weights = dense_attention(
        ops.convert_to_tensor(query),
        ops.convert_to_tensor(key),
        ops.convert_to_tensor(key),
        mechanism=Mechanism(scoring=scoring),
    )
    np.testing.assert_array_equal(numbers(weights)[0, 0], [[0, 1], [0, 1]])
