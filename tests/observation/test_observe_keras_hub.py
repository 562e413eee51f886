"""Observing models made of keras-hub's layers, which know nothing of this project."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from attention_apps.observation.observe import observe

LENGTH, DIM = 6, 16


def bits(tensor):
    return np.asarray(tensor).tobytes()


def batch():
    return np.random.default_rng(0).normal(size=(2, LENGTH, DIM)).astype("float32")


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_encoder_and_decoder_blocks(dropout):
    source, target = keras.Input((LENGTH, DIM)), keras.Input((LENGTH, DIM))
    encoded = keras_hub.layers.TransformerEncoder(32, 2, dropout, name="encoder")(source)
    decoded = keras_hub.layers.TransformerDecoder(32, 2, dropout, name="decoder")(target, encoded)
    model = keras.Model([source, target], decoded)
    inputs = [batch(), batch()[::-1].copy()]
    outputs, maps = observe(model)(inputs)
    assert bits(outputs) == bits(model(inputs))
    graph_outputs, graph_maps = tf.function(observe(model))(inputs)
    assert bits(graph_outputs) == bits(tf.function(model)(inputs))
    assert list(maps) == list(graph_maps)
    assert [path.split("/")[0] for path in maps] == ["encoder", "decoder", "decoder"]
    own, self_attention, cross = (weights.numpy() for weights in maps.values())
    assert own.shape == self_attention.shape == cross.shape == (2, 2, LENGTH, LENGTH)
    assert np.triu(own, 1).any()
    assert np.triu(cross, 1).any()
    assert not np.triu(self_attention, 1).any()  # the decoder is causal
    for weights in maps.values():
        np.testing.assert_allclose(weights.numpy().sum(-1), 1, rtol=1e-5)


def test_cached_steps_show_the_rows_of_the_full_map():
    inputs = batch()
    layer = keras_hub.layers.CachedMultiHeadAttention(2, 8)
    layer.build(inputs.shape, inputs.shape)
    causal = np.tril(np.ones((1, LENGTH, LENGTH), bool))
    (_, maps) = observe(layer)(inputs, inputs, attention_mask=causal)
    full = next(iter(maps.values())).numpy()
    cache = np.zeros((2, 2, LENGTH, 2, 8), "float32")
    for step in range(LENGTH):
        now = inputs[:, step : step + 1]
        arguments = {
            "cache": cache,
            "cache_update_index": step,
            "attention_mask": causal[:, step : step + 1],
        }
        (output, new_cache), maps = observe(layer)(now, now, **arguments)
        plain_output, plain_cache = layer(now, now, **arguments)
        assert bits(output) == bits(plain_output)
        assert bits(new_cache) == bits(plain_cache)
        row = next(iter(maps.values())).numpy()
        assert row.shape == (2, 2, 1, LENGTH)
        np.testing.assert_allclose(row[:, :, 0], full[:, :, step], atol=1e-6)
        cache = new_cache
