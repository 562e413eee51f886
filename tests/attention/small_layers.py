"""Layers of a few positions whose weights no symmetry hides, and what they are asked."""

import zlib

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.mechanism import parse_mechanism

BATCH, LENGTH, DIM, HEADS, KEY_DIM = 3, 75, 6, 2, 4
X = np.random.default_rng(0).normal(size=(BATCH, LENGTH, DIM)).astype("float32")
# Padding behind, in front and within, and an example that is nothing but padding.
KEY_MASK = np.ones((BATCH, LENGTH), bool)
KEY_MASK[0, 60:] = False
KEY_MASK[1, [0, 1, 40, 41]] = False
KEY_MASK[2] = False
TILT = np.cos(np.arange(LENGTH * DIM)).reshape(LENGTH, DIM).astype("float32")


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
