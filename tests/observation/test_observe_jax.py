"""Observing on the JAX backend, in a process of its own since a process has one backend."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import jax
import keras
import numpy as np
from keras import layers

from attention_apps.attention import layers as own
from attention_apps.observation.observe import observe

assert keras.backend.backend() == "jax"


def bits(tensor):
    return np.asarray(tensor).tobytes()


for length in (3, 8, 13):  # shorter than a head is wide, equal, longer
    inputs = keras.Input((length, 16))
    hidden = inputs
    for layer in (
        layers.MultiHeadAttention(4, 8),
        layers.MultiHeadAttention(4, 8, dropout=0.1),
        layers.GroupQueryAttention(8, 4, 2),
        own.MultiHeadAttention(4, 8),
    ):
        hidden = layer(hidden, hidden, use_causal_mask=True)
    for layer in (layers.Attention(), layers.AdditiveAttention(), own.Attention()):
        hidden = layer([hidden, hidden])
    model = keras.Model(inputs, hidden)
    batch = np.random.default_rng(0).normal(size=(3, length, 16)).astype("float32")

    outputs, maps = observe(model)(batch)
    assert bits(outputs) == bits(model(batch))
    jit_outputs, jit_maps = jax.jit(observe(model))(batch)
    assert bits(jit_outputs) == bits(jax.jit(lambda batch: model(batch))(batch))
    assert len(maps) == len(jit_maps) == 7
    for path, weights in maps.items():
        assert weights.shape == (3, weights.shape[1], length, length)
        np.testing.assert_allclose(weights, jit_maps[path], atol=1e-5)
        np.testing.assert_allclose(np.asarray(weights).sum(-1), 1, atol=1e-5)

    fused = layers.MultiHeadAttention(4, 8)
    fused.build(batch.shape, batch.shape)
    output, maps = observe(fused)(batch, batch)
    (weights,) = maps.values()
    context = np.einsum("bhqk,bkhd->bqhd", weights, fused.value_dense(batch))
    np.testing.assert_allclose(output, fused.output_dense(context), atol=1e-5)
print("all seen")
"""


@pytest.mark.verify
def test_stock_and_own_layers_are_seen_on_jax():
    root = Path(__file__).parents[2]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(root)}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.endswith("all seen\n"), result.stderr
