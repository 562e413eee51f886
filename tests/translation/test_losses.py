"""The smoothed cross-entropy against its definition, value and gradient."""

import numpy as np
import pytest
import tensorflow as tf

from translation.losses import SmoothedCrossEntropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 3, 7)).astype("float32") * 3
TARGET = RNG.integers(0, 7, size=(2, 3))
WEIGHTS = np.array([[1, 1, 0], [1, 0, 0]], "float32")


def by_definition(logits, smoothing):
    """Cross-entropy against a target of which a share is spread over the vocabulary."""
    logits = tf.cast(logits, tf.float64)
    spread = tf.one_hot(TARGET, 7, dtype=tf.float64) * (1 - smoothing) + smoothing / 7
    losses = -tf.reduce_sum(spread * tf.nn.log_softmax(logits), axis=-1)
    return tf.reduce_sum(losses * WEIGHTS) / WEIGHTS.sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_value_and_gradient_are_those_of_the_definition(smoothing):
    loss = SmoothedCrossEntropy(smoothing)
    values, gradients = [], []
    for function in (
        lambda logits: loss(TARGET, logits, sample_weight=WEIGHTS),
        lambda logits: by_definition(logits, smoothing),
    ):
        logits = tf.Variable(LOGITS)
        with tf.GradientTape() as tape:
            value = function(logits)
        values.append(float(value))
        gradients.append(tape.gradient(value, logits).numpy())
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-6)
    assert not gradients[0][WEIGHTS == 0].any()


def test_huge_logits_stay_finite_and_bfloat16_gets_bfloat16_gradients():
    logits = tf.Variable(tf.cast(LOGITS * 1e4, tf.bfloat16))
    with tf.GradientTape() as tape:
        value = SmoothedCrossEntropy(0.1)(TARGET, logits, sample_weight=WEIGHTS)
    gradient = tape.gradient(value, logits)
    assert np.isfinite(float(value))
    assert gradient.dtype == tf.bfloat16
    assert np.isfinite(tf.cast(gradient, tf.float32).numpy()).all()


def test_it_survives_serialisation():
    loss = SmoothedCrossEntropy(0.3)
    again = SmoothedCrossEntropy.from_config(loss.get_config())
    assert float(again(TARGET, LOGITS)) == float(loss(TARGET, LOGITS))
