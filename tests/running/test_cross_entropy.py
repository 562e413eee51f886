"""The loss of words against its definition, values and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from attention_apps.running.cross_entropy import smoothed_cross_entropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 3, 7)).astype("float32") * 3
TARGET = RNG.integers(0, 7, size=(2, 3))
UPSTREAM = np.array([[1, 2, 0], [-1, 0, 3]], "float32")


def by_definition(logits, target, smoothing):
    """Cross-entropy against a target of which a share is spread over the vocabulary."""
    spread = tf.one_hot(target, 7, dtype=tf.float64) * (1 - smoothing) + smoothing / 7
    return -tf.reduce_sum(spread * tf.nn.log_softmax(tf.cast(logits, tf.float64)), axis=-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("shape", [(2, 3), (6,), (1, 2, 3)])
def test_values_and_gradients_are_those_of_the_definition(shape, smoothing):
    values, gradients = [], []
    for function in (smoothed_cross_entropy, by_definition):
        logits = tf.Variable(LOGITS.reshape(*shape, 7))
        with tf.GradientTape() as tape:
            losses = tf.cast(function(logits, TARGET.reshape(shape), smoothing), tf.float64)
            total = tf.reduce_sum(losses * UPSTREAM.reshape(shape))
        values.append(losses.numpy())
        gradients.append(tape.gradient(total, logits).numpy())
    assert values[0].shape == shape
    np.testing.assert_allclose(*values, rtol=1e-5)
    np.testing.assert_allclose(*gradients, atol=1e-5)
    assert not gradients[0][UPSTREAM.reshape(shape) == 0].any()


def test_lengths_that_no_graph_knows_change_nothing():
    signature = [tf.TensorSpec([None, None, 7]), tf.TensorSpec([None, None], tf.int64)]
    graph = tf.function(lambda *given: smoothed_cross_entropy(*given, 0.1), signature)
    expected = smoothed_cross_entropy(LOGITS, TARGET, 0.1)
    np.testing.assert_allclose(graph(LOGITS, TARGET), expected, rtol=1e-6)


def test_huge_logits_stay_finite_and_bfloat16_gets_bfloat16_gradients():
    logits = tf.Variable(tf.cast(LOGITS * 1e4, tf.bfloat16))
    with tf.GradientTape() as tape:
        losses = smoothed_cross_entropy(logits, TARGET, 0.1)
    gradient = tape.gradient(losses, logits)
    assert np.isfinite(losses.numpy()).all()
    assert losses.dtype == tf.float32
    assert gradient.dtype == tf.bfloat16
    assert np.isfinite(tf.cast(gradient, tf.float32).numpy()).all()
