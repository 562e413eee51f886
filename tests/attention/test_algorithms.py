"""The laws of attention for every algorithm, each against the dense one or a loop in NumPy."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.reporting import listening
from tests.attention.small_layers import (
    BATCH,
    DIM,
    HEADS,
    KEY_MASK,
    LENGTH,
    X,
    assert_near,
    gradients,
    make,
    numbers,
)

# What is computed without the matrix, and the words of the dense attention that it must equal.
EXACT = {
    "chunked:16": "dense",
    "chunked:75+rotary+cosine": "dense+rotary+cosine",
    "chunked:32+general+alibi+soft-cap:2": "dense+general+alibi+soft-cap:2",
    "chunked:20+relative-bias:20+window:30": "dense+relative-bias:20+window:30",
    "chunked:7+global:2+window:5": "dense+global:2+window:5",
    "local+window:9": "dense+window:9",
    "local+window:50+rotary+qk-norm": "dense+window:50+rotary+qk-norm",
    "local+window:5+relative-keys:3+additive": "dense+window:5+relative-keys:3+additive",
    "local+window:12+alibi+sparsemax": "dense+window:12+alibi+sparsemax",
    "local+span:40": "dense+span:40",
    "blocks:8+window:9+global:3": "dense+window:9+global:3",
    "blocks:10+window:9+random:2:8:80:5+relative-bias": (
        "dense+window:9+random:2:8:80:5+relative-bias"
    ),
    "blocks:16+window:4+global:1+top-k:3": "dense+window:4+global:1+top-k:3",
}
APPROXIMATE = ["linear:64", "linear:64+rotary", "low-rank:8:80", "multi-scale:4"]
CAUSAL = [text for text in (*EXACT, *APPROXIMATE) if "low-rank" not in text]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("text", EXACT)
def test_exact_algorithms_equal_the_dense_one_in_output_and_every_gradient(text, causal):
    fast, dense = make(text), make(EXACT[text])
    options = {"key_mask": KEY_MASK, "use_causal_mask": causal}
    ours, theirs = gradients(fast, **options), gradients(dense, **options)
    assert_near(ours, theirs, 2e-5)
    _, weights = fast(X, X, return_attention_scores=True, **options)
    _, expected = dense(X, X, return_attention_scores=True, **options)
    np.testing.assert_allclose(weights, expected, atol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_the_size_of_a_block_does_not_matter(size):
    whole = gradients(make("dense+window:9+global:2"), key_mask=KEY_MASK)
    assert_near(gradients(make(f"blocks:{size}+window:9+global:2"), key_mask=KEY_MASK), whole, 1e-5)


@pytest.mark.parametrize("text", [*EXACT, *APPROXIMATE])
def test_asking_and_listening_change_no_bit(text):
    layer = make(text)
    plain = numbers(layer(X, X, key_mask=KEY_MASK))
    asked, weights = layer(X, X, key_mask=KEY_MASK, return_attention_scores=True)
    heard = []
    with listening(lambda who, what: heard.append((who, what))):
        listened = layer(X, X, key_mask=KEY_MASK)
    np.testing.assert_array_equal(numbers(asked), plain)
    np.testing.assert_array_equal(numbers(listened), plain)
    assert [who for who, _ in heard] == [layer]
    np.testing.assert_array_equal(heard[0][1], weights)
    assert weights.shape == (BATCH, HEADS, LENGTH, LENGTH)
    assert weights.dtype == "float32"


@pytest.mark.parametrize("text", [*EXACT, *APPROXIMATE])
def test_weights_are_what_the_output_amounts_to(text):
    layer = make(text)
    options = {"key_mask": KEY_MASK, "use_causal_mask": text in CAUSAL}
    output, weights = layer(X, X, return_attention_scores=True, **options)
    value = np.where(KEY_MASK[..., None, None], numbers(layer.value_dense(X)), 0)
    context = np.einsum("bhqk,bkhd->bqhd", weights, value)
    expected = np.einsum("bqhd,hde->bqe", context, layer.output_dense.kernel.numpy())
    np.testing.assert_allclose(output, expected + layer.output_dense.bias.numpy(), atol=2e-4)


@pytest.mark.parametrize("rubbish", [np.nan, 1e30])
@pytest.mark.parametrize("text", [*EXACT, *APPROXIMATE])
def test_masked_keys_cannot_matter(text, rubbish):
    layer = make(text)
    spoiled = np.where(KEY_MASK[..., None], X, np.float32(rubbish))
    one, other = (
        layer(X, value, key_mask=KEY_MASK, return_attention_scores=True) for value in (X, spoiled)
    )
    for clean, rotten in zip(one, other, strict=True):
        np.testing.assert_array_equal(clean, rotten)


@pytest.mark.parametrize("text", [*EXACT, *APPROXIMATE])
def test_an_example_without_keys_gives_nothing_and_finite_gradients(text):
    layer = make(text)
    output, by_input, *by_weight = gradients(layer, key_mask=KEY_MASK)
    bias = np.broadcast_to(layer.output_dense.bias.numpy(), (LENGTH, DIM))
    np.testing.assert_allclose(output[2], bias, atol=1e-6)
    assert not by_input[2].any()
    assert all(np.isfinite(gradient).all() for gradient in by_weight)


@pytest.mark.parametrize("text", [*EXACT, *APPROXIMATE])
def test_queries_that_are_masked_attend_to_nothing(text):
    layer = make(text)
    output, weights = layer(X, X, query_mask=KEY_MASK, return_attention_scores=True)
    assert not np.array(weights).transpose(0, 2, 1, 3)[~KEY_MASK].any()
    bias = layer.output_dense.bias.numpy()
    np.testing.assert_allclose(numbers(output)[~KEY_MASK], np.tile(bias, (94, 1)), atol=1e-6)


@pytest.mark.parametrize("text", CAUSAL)
def test_the_future_has_no_gradient(text):
    layer = make(text)
    x = tf.Variable(X[:1])
    for position in (0, 6, 33, 63, 64, LENGTH - 1):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, x, use_causal_mask=True)[:, position] ** 2)
        gradient = np.abs(tape.gradient(loss, x).numpy()).sum(axis=(0, 2))
        assert not gradient[position + 1 :].any()
        assert gradient[: position + 1].any()


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.verify)])
@pytest.mark.parametrize("text", [*EXACT, *APPROXIMATE])
def test_half_precision_is_finite_and_near(text, dtype):
    options = {"key_mask": KEY_MASK, "use_causal_mask": text in CAUSAL}
    halves = gradients(make(text, dtype), **options)
    assert all(np.isfinite(half).all() for half in halves)
    if "top-k" not in text:  # There the nearest of two scores may be another.
        whole = numbers(make(text)(X, X, **options))
        np.testing.assert_allclose(halves[0], whole, atol=0.1 * np.abs(whole).max())
    large = make(text, dtype)(X * 100, X * 100, **options)
    assert np.isfinite(numbers(large)).all()


@pytest.mark.parametrize("text", CAUSAL)
def test_cached_steps_equal_one_call(text):
    layer = make(text)
    x = X[:, :20]
    whole, weights = layer(x, x, use_causal_mask=True, return_attention_scores=True)
    cache = layer.empty_cache(BATCH, 22)
    for position in range(20):
        output, cache, row = layer.step(x[:, position : position + 1], cache, position)
        np.testing.assert_allclose(output[:, 0], whole[:, position], atol=1e-4)
        np.testing.assert_allclose(row[:, :, 0, :20], weights[:, :, position], atol=1e-4)


@pytest.mark.parametrize("text", ["window:4+alibi", "window:7+rotary", "window:3+relative-keys:2"])
def test_a_rolling_cache_holds_the_window_and_no_more(text):
    layer = make(text)
    whole = numbers(layer(X, X, use_causal_mask=True))
    cache = layer.empty_cache(BATCH, LENGTH, rolling=True)
    assert cache["key"].shape[2] == layer.mechanism.scope.size
    for position in range(LENGTH):
        output, cache, _ = layer.step(X[:, position : position + 1], cache, position)
        np.testing.assert_allclose(numbers(output)[:, 0], whole[:, position], atol=1e-4)
    with pytest.raises(ValueError, match="rolling=True"):
        make("full").empty_cache(1, 4, rolling=True)


@pytest.mark.parametrize("text", [*EXACT, *APPROXIMATE])
def test_graph_and_reloaded_agree(text, tmp_path):
    inputs = keras.Input((LENGTH, DIM))
    layer = make(text)
    model = keras.Model(inputs, layer(inputs, inputs, use_causal_mask=text in CAUSAL))
    eager = numbers(model(X))
    np.testing.assert_allclose(tf.function(model)(X), eager, atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numbers(again(X)), eager)
    assert again.layers[-1].mechanism == layer.mechanism


@pytest.mark.parametrize(
    "text", ["chunked:16+alibi", "local+window:9", "linear:32", "local+span:9"]
)
def test_lengths_may_be_unknown_when_traced(text):
    layer = make(text)
    signature = tf.TensorSpec((None, None, DIM), "float32")
    traced = tf.function(lambda x: layer(x, x, use_causal_mask=True), input_signature=[signature])
    for length in (5, 40, LENGTH):
        x = X[:2, :length]
        np.testing.assert_allclose(traced(x), layer(x, x, use_causal_mask=True), atol=1e-5)


def largest_tensors(text, length):
    """Numbers in the largest tensor that a forward and backward pass makes, loops included."""
    layer = make(text)
    x = tf.zeros((1, length, DIM))

    @tf.function
    def passes(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, x, use_causal_mask="low-rank" not in text))
        return tape.gradient(loss, [x, *layer.trainable_variables])

    graph = passes.get_concrete_function(x).graph
    graphs = [graph, *graph._functions.values()]
    largest = 0
    for part in graphs:
        for operation in getattr(part, "graph", part).get_operations():
            for output in operation.outputs:
                if output.shape.is_fully_defined() and output.dtype.size:
                    largest = max(largest, output.shape.num_elements())
    return largest


@pytest.mark.parametrize(
    "text",
    ["local+window:16", "blocks:16+window:16", "linear:16", "chunked:16", "low-rank:8:1024"],
)
def test_no_tensor_is_as_large_as_the_matrix(text):
    short, long = largest_tensors(text, 256), largest_tensors(text, 1024)
    assert long <= 4.5 * short  # Linear in the length; the matrix would grow 16 times.
    assert largest_tensors("dense", 1024) >= HEADS * 1024**2


@pytest.mark.parametrize("text", ["multi-scale:2", "low-rank:8:80"])
def test_what_mixes_keys_drops_draws_and_scores_as_it_learned(text):
    drops = make(text, dropout=0.5)
    assert np.abs(numbers(drops(X, X, training=True)) - numbers(drops(X, X))).max() > 0.01
    draws = make(f"{text}+gumbel:1")
    once, again = (numbers(draws(X, X, training=True)) for _ in range(2))
    assert np.abs(once - again).max() > 0.01
    scores = make(f"{text}+general")
    before = numbers(scores(X, X))
    (matrix,) = scores._score_weights.values()
    matrix.assign(0 * matrix)
    assert np.abs(numbers(scores(X, X)) - before).max() > 0.01


@pytest.mark.parametrize("text", [*EXACT, *APPROXIMATE, "random:2", "gumbel:0.5", "rotary-yarn:4"])
def test_every_mechanism_survives_json(text):
    mechanism = parse_mechanism(text)
    assert Mechanism.from_config(json.loads(json.dumps(mechanism.get_config()))) == mechanism
    assert str(mechanism.algorithm) in text or mechanism.algorithm.name == "auto"
