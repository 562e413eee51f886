"""The laws of attention for every algorithm, each against the dense one or a loop in NumPy."""

import itertools
import json
import math
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from attention_apps.attention.adaptive_span import AdaptiveSpan
from attention_apps.attention.algorithms.chunked import _fitting_heads, _fitting_rows
from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.algorithms.linear import OrthogonalFeatures, linear_attention
from attention_apps.attention.algorithms.pooled import pooled_attention
from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.masks import causal as causal_mask
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.reporting import listening

RNG = np.random.default_rng(0)
BATCH, LENGTH, DIM, HEADS, KEY_DIM = 3, 75, 6, 2, 4
X = RNG.normal(size=(BATCH, LENGTH, DIM)).astype("float32")
# Padding behind, in front and within, and an example that is nothing but padding.
KEY_MASK = np.ones((BATCH, LENGTH), bool)
KEY_MASK[0, 60:] = False
KEY_MASK[1, [0, 1, 40, 41]] = False
KEY_MASK[2] = False
TILT = np.cos(np.arange(LENGTH * DIM)).reshape(LENGTH, DIM).astype("float32")

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


def make(text, dtype="float32", seed=1, **options):
    keras.utils.set_random_seed(seed)
    layer = MultiHeadAttention(
        HEADS, KEY_DIM, mechanism=parse_mechanism(text), dtype=dtype, **options
    )
    layer.build(X.shape, X.shape)
    for weight in layer.trainable_weights:
        # By name, so that what another mechanism learns besides does not change the rest.
        name = weight.path.partition("/")[2].encode()
        rng = np.random.default_rng([seed, zlib.crc32(name)])
        weight.assign(rng.normal(size=weight.shape) * 0.5)
        if weight.path.endswith("span"):
            weight.assign([0.1, 0.3])
    return layer


def numbers(tensor):
    return np.array(ops.cast(tf.convert_to_tensor(tensor), "float32"))


def projected(layer, x):
    """Queries, keys and values `(length, heads, dim)` of one example."""
    denses = layer.query_dense, layer.key_dense, layer.value_dense
    return [numbers(dense(x[None]))[0] for dense in denses]


def gradients(layer, x=X, **options):
    """Output, gradient by input and gradients by weights, of a loss that no symmetry cancels."""
    x = tf.Variable(x)
    with tf.GradientTape() as tape:
        output = layer(x, x, **options)
        loss = tf.reduce_sum(
            tf.cast(output, "float32") * np.cos(np.arange(x.shape[1] * DIM)).reshape(-1, DIM)
        )
    found = tape.gradient(loss, [x, *layer.trainable_variables])
    return [numbers(output), *(numbers(gradient) for gradient in found)]


def assert_near(ours, theirs, tolerance):
    """Equal up to a share of the largest number of all."""
    for one, other in zip(ours, theirs, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, atol=tolerance * max(np.abs(other).max(), 1))


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


@pytest.mark.parametrize("rows", [1, 16, 74, 75, 400])
def test_the_size_of_a_chunk_does_not_matter(rows):
    whole = gradients(make("chunked:75+alibi"), key_mask=KEY_MASK)
    assert_near(gradients(make(f"chunked:{rows}+alibi"), key_mask=KEY_MASK), whole, 1e-5)


@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_the_size_of_a_block_does_not_matter(size):
    whole = gradients(make("dense+window:9+global:2"), key_mask=KEY_MASK)
    assert_near(gradients(make(f"blocks:{size}+window:9+global:2"), key_mask=KEY_MASK), whole, 1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_chunks_attend_across_sequences_of_two_lengths(causal):
    found = []
    for text in ("chunked:16+relative-bias", "dense+relative-bias"):
        layer = make(text)
        with tf.GradientTape() as tape:
            output = layer(X[:, :33], X, use_causal_mask=causal, key_mask=KEY_MASK)
            loss = tf.reduce_sum(output * TILT[:33])
        by_weight = tape.gradient(loss, layer.trainable_variables)
        found.append([numbers(output), *(numbers(gradient) for gradient in by_weight)])
    assert_near(*found, 1e-5)


@pytest.mark.parametrize(
    ("words", "num_queries", "options"),
    [
        ("", 40, {}),
        ("", 40, {"key_mask": True}),
        ("soft-cap:2", 40, {}),
        ("alibi", 40, {}),
        ("window:30", 40, {"key_mask": True}),
        # The first queries stand before all keys.
        ("relative-bias:20", 1034, {"use_causal_mask": True}),
        ("random:1:16:1024:3+window:20", 1024, {}),
    ],
)
def test_chunks_of_keys_as_many_as_clash_in_a_cache(words, num_queries, options):
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(2, 1024, DIM)).astype("float32")
    queries = rng.normal(size=(2, num_queries, DIM)).astype("float32")
    if "key_mask" in options:
        options = {"key_mask": rng.random((2, 1024)) < 0.5}
    tilt = np.cos(np.arange(num_queries * DIM)).reshape(num_queries, DIM).astype("float32")
    found = []
    for algorithm in ("chunked:64", "dense"):
        layer = make(algorithm + "+" * bool(words) + words)
        inputs = [tf.Variable(queries), tf.Variable(keys)]
        with tf.GradientTape() as tape:
            output = layer(*inputs, **options)
            loss = tf.reduce_sum(output * tilt)
        every = tape.gradient(loss, [*inputs, *layer.trainable_variables])
        found.append([numbers(output), *(numbers(gradient) for gradient in every)])
    assert_near(*found, 1e-4)


@pytest.mark.parametrize(
    ("keys", "panel"), [(128, (256, 8)), (512, (256, 4)), (2048, (256, 1)), (2**16, (64, 1))]
)
def test_a_panel_of_eight_heads_is_cut_to_what_a_cache_holds(keys, panel):
    rows = _fitting_rows(keys)
    assert (rows, _fitting_heads(8, rows, keys)) == panel


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


def naive_low_rank(layer, x, kept):
    projection = layer._algorithm_weights["sequence_projection"].numpy()[:, : x.shape[0]]
    query, key, value = projected(layer, x)
    context = np.zeros_like(query)
    for head in range(HEADS):
        mixed_keys = sum(np.outer(projection[:, s], key[s, head]) for s in kept)
        mixed_values = sum(np.outer(projection[:, s], value[s, head]) for s in kept)
        for t in range(x.shape[0]):
            scores = mixed_keys @ query[t, head] / math.sqrt(KEY_DIM)
            shares = np.exp(scores - scores.max())
            context[t, head] = shares / shares.sum() @ mixed_values
    return (
        np.einsum("qhd,hde->qe", context, layer.output_dense.kernel.numpy())
        + layer.output_dense.bias.numpy()
    )


def test_low_rank_attention_is_its_formula():
    layer = make("low-rank:8:80")
    output = numbers(layer(X, X, key_mask=KEY_MASK))
    for b in range(2):
        expected = naive_low_rank(layer, X[b], np.flatnonzero(KEY_MASK[b]))
        np.testing.assert_allclose(output[b], expected, atol=1e-4)


def test_low_rank_attention_of_full_rank_is_exact_and_refuses_what_is_longer():
    layer, dense = make("low-rank:75:75"), make("dense")
    layer._algorithm_weights["sequence_projection"].assign(np.eye(LENGTH))
    np.testing.assert_allclose(layer(X, X), dense(X, X), atol=1e-5)
    with pytest.raises(ValueError, match="Received: 75 keys"):
        make("low-rank:8:70")(X, X)
    with pytest.raises(ValueError, match="cannot leave out the future"):
        layer(X, X, use_causal_mask=True)


@pytest.mark.parametrize("causal", [False, True])
def test_linear_attention_is_the_ratio_of_its_features(causal):
    layer = make("linear:16")
    features = layer._algorithm_weights["random_features"].numpy().astype("float64")
    query, key, value = (part.astype("float64") for part in projected(layer, X[0]))

    def feature(vector):
        return np.exp(features @ vector - vector @ vector / 2)

    context = np.zeros_like(query)
    for t, h in itertools.product(range(LENGTH), range(HEADS)):
        asked = feature(query[t, h] / KEY_DIM**0.25)
        seen = range(t + 1 if causal else LENGTH)
        products = np.array([asked @ feature(key[s, h] / KEY_DIM**0.25) for s in seen])
        context[t, h] = products @ value[: len(products), h] / products.sum()
    expected = np.einsum("qhd,hde->qe", context, layer.output_dense.kernel.numpy())
    output = layer(X[:1], X[:1], use_causal_mask=causal)
    np.testing.assert_allclose(output[0], expected + layer.output_dense.bias.numpy(), atol=1e-4)


@pytest.mark.parametrize("causal", [False, True])
def test_the_error_of_linear_attention_falls_with_the_root_of_its_features(causal):
    rng = np.random.default_rng(7)
    query, key, value = (
        ops.convert_to_tensor(rng.normal(size=(2, 40, 2, 8)) * 0.25, dtype="float32")
        for _ in range(3)
    )
    mask = causal_mask().dense(40, 40) if causal else None
    exact, _ = dense_attention(query, key, value, mechanism=Mechanism(), mask=mask)
    counts, errors = [32, 128, 512, 2048], []
    for count in counts:
        squares = []
        for seed in range(24):
            context = linear_attention(
                query,
                key,
                value,
                mechanism=Mechanism(),
                random_features=OrthogonalFeatures(seed)((count, 8), "float32"),
                causal=causal,
            )
            squares.append(np.square(np.array(context) - np.array(exact)).mean())
        errors.append(math.sqrt(np.mean(squares)))
    # The paper: the error falls as features^-1/2.
    assert np.polyfit(np.log(counts), np.log(errors), 1)[0] < -0.45


def test_random_features_are_orthogonal_and_saved():
    layer = make("linear:8")
    features = layer._algorithm_weights["random_features"].numpy()
    products = features[:4] @ features[:4].T
    np.testing.assert_allclose(products - np.diag(np.diag(products)), 0, atol=1e-5)
    assert not any("random_features" in weight.path for weight in layer.trainable_weights)
    assert any("random_features" in weight.path for weight in layer.weights)


@pytest.mark.parametrize("causal", [False, True])
def test_pooled_heads_are_their_formula(causal):
    layer = make("multi-scale:2")
    output, weights = layer(
        X, X, key_mask=KEY_MASK, use_causal_mask=causal, return_attention_scores=True
    )
    b = 1
    query, key, value = projected(layer, X[b])
    for h, factor in enumerate((1, 2)):
        pools = []
        for first in range(0, LENGTH, factor):
            members = [s for s in range(first, min(first + factor, LENGTH)) if KEY_MASK[b, s]]
            if members:
                pools.append((first + factor - 1, members))
        for t in range(LENGTH):
            seen = [members for last, members in pools if not causal or last <= t]
            scores = [
                query[t, h] @ key[members, h].mean(0) / math.sqrt(KEY_DIM) for members in seen
            ]
            expected = np.zeros(LENGTH)
            for score, members in zip(scores, seen, strict=True):
                share = math.exp(score) / sum(math.exp(other) for other in scores)
                expected[members] = share / len(members)
            np.testing.assert_allclose(np.array(weights)[b, h, t], expected, atol=1e-5)
    assert value.shape == (LENGTH, HEADS, KEY_DIM)
    assert np.isfinite(numbers(output)).all()


@pytest.mark.parametrize("causal", [False, True])
def test_pools_may_be_of_any_size_and_the_last_one_short(causal):
    rng = np.random.default_rng(0)
    factors, num_keys, num_heads, dim = (3, 4), 11, 4, 5
    query, key, value = rng.normal(size=(3, 2, num_keys, num_heads, dim)).astype("float32")
    kept = rng.random((2, num_keys)) < 0.6
    positions = ops.arange(num_keys) if causal else None
    context, weights = pooled_attention(
        *(query, key, value),
        mechanism=Mechanism(),
        factors=factors,
        key_mask=kept,
        query_positions=positions,
    )
    for b, h, t in itertools.product(range(2), range(num_heads), range(num_keys)):
        factor = factors[h % 2]
        pools = [
            [s for s in range(first, min(first + factor, num_keys)) if kept[b, s]]
            for first in range(0, num_keys, factor)
            if not causal or first + factor - 1 <= t
        ]
        expected = np.zeros(num_keys)
        for pool in filter(None, pools):
            mass = math.exp(query[b, t, h] @ key[b, pool, h].mean(0) / math.sqrt(dim))
            expected[pool] = mass / len(pool)
        expected /= max(expected.sum(), 1e-30)
        np.testing.assert_allclose(weights[b, h, t], expected, atol=1e-5)
        np.testing.assert_allclose(context[b, t, h], expected @ value[b, :, h], atol=1e-5)


def test_pooled_heads_over_single_keys_are_dense_ones_with_weights_of_their_own():
    texts = ("multi-scale:2+general", "dense+general")
    pooled, dense = (
        MultiHeadAttention(4, KEY_DIM, mechanism=parse_mechanism(text)) for text in texts
    )
    for layer in (pooled, dense):
        layer.build(X.shape, X.shape)
        for weight in layer.trainable_weights:
            name = weight.path.partition("/")[2].encode()
            rng = np.random.default_rng(zlib.crc32(name))
            weight.assign(rng.normal(size=weight.shape) * 0.5)
    _, ours = pooled(X, X, key_mask=KEY_MASK, return_attention_scores=True)
    _, theirs = dense(X, X, key_mask=KEY_MASK, return_attention_scores=True)
    np.testing.assert_allclose(ours[:, ::2], theirs[:, ::2], atol=1e-6)
    # Heads over pairs of keys are others, and score by matrices of their own.
    assert np.abs(ours[:, 1::2] - theirs[:, 1::2]).max() > 0.01
    pairs = np.array(ours[0, 1::2, :, :60]).reshape(2, LENGTH, 30, 2)
    np.testing.assert_allclose(pairs[..., 0], pairs[..., 1], atol=1e-6)
    assert np.abs(pairs[0] - pairs[1]).max() > 0.01


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


def test_a_low_rank_projection_begins_small_and_leaves_padding_out():
    layer = MultiHeadAttention(2, 4, mechanism=parse_mechanism("low-rank:64:400"))
    layer.build(X.shape, X.shape)
    (projection,) = layer._algorithm_weights.values()
    assert projection.shape == (64, 400)
    assert np.std(projection) == pytest.approx(64**-0.5, rel=0.05)
    mixing = make("low-rank:8:80")
    padded = numbers(mixing(X, X, key_mask=KEY_MASK))[2]
    bias = numbers(mixing._output_dense.bias)
    np.testing.assert_allclose(padded, np.broadcast_to(bias, padded.shape), atol=1e-6)


def test_an_adaptive_span_is_its_formula():
    layer = make("span:20")
    layer._scope_weights["span"].assign([0.0, 0.6])
    _, weights = layer(X, X, key_mask=KEY_MASK, return_attention_scores=True)
    query, key, _ = projected(layer, X[1])
    for h, span in enumerate((0.0, 12.0)):
        for t in range(LENGTH):
            ramp = [min(max((32 + span - abs(t - s)) / 32, 0), 1) for s in range(LENGTH)]
            masses = [
                ramp[s] * KEY_MASK[1, s] * math.exp(query[t, h] @ key[s, h] / 2)
                for s in range(LENGTH)
            ]
            np.testing.assert_allclose(
                np.array(weights)[1, h, t], np.array(masses) / sum(masses), atol=1e-5
            )


def test_an_adaptive_span_learns_pays_and_trims():
    scope = AdaptiveSpan(600, ramp=8, penalty=2.0)
    layer = MultiHeadAttention(HEADS, KEY_DIM, mechanism=Mechanism(scope=scope))
    layer.build(X.shape, X.shape)
    layer._scope_weights["span"].assign([0.01, 0.02])
    with tf.GradientTape() as tape:
        output = layer(X, X, training=True)
        loss = tf.reduce_sum(output**2)
        (penalty,) = layer.losses
    assert float(penalty) == pytest.approx(2.0 * 0.015)
    assert np.abs(tape.gradient(loss, layer._scope_weights["span"])).min() > 1e-6
    # The farthest head sees 12 + 8 positions: one step of 64, not 608.
    assert int(scope.reach(layer._scope_weights["span"])) == 64
    assert int(scope.reach(np.array([1.0, 0.0]))) == 608
    assert int(scope.reach(np.array([0.2, 0.0]))) == 128


@pytest.mark.parametrize("text", [*EXACT, *APPROXIMATE, "random:2", "gumbel:0.5", "rotary-yarn:4"])
def test_every_mechanism_survives_json(text):
    mechanism = parse_mechanism(text)
    assert Mechanism.from_config(json.loads(json.dumps(mechanism.get_config()))) == mechanism
    assert str(mechanism.algorithm) in text or mechanism.algorithm.name == "auto"
