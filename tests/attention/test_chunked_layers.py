"""Layers that attend chunk by chunk, against dense ones."""

import numpy as np
import pytest
import tensorflow as tf

from attention_apps.attention.algorithms.chunked import _fitting_heads, _fitting_rows
from tests.attention.small_layers import (
    DIM,
    KEY_MASK,
    TILT,
    X,
    assert_near,
    gradients,
    make,
    numbers,
)


@pytest.mark.parametrize("rows", [1, 16, 74, 75, 400])
def test_the_size_of_a_chunk_does_not_matter(rows):
    whole = gradients(make("chunked:75+alibi"), key_mask=KEY_MASK)
    assert_near(gradients(make(f"chunked:{rows}+alibi"), key_mask=KEY_MASK), whole, 1e-5)


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
