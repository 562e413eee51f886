"""Losses against their definitions, values and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from translation.losses import SmoothedCrossEntropy, guided_attention, symmetric_divergence

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


def test_the_mean_is_over_the_tokens_with_weight():
    loss = float(SmoothedCrossEntropy(0.1)(TARGET, LOGITS, sample_weight=WEIGHTS))
    assert loss == pytest.approx(float(by_definition(LOGITS, 0.1)), rel=1e-5)


def test_it_survives_serialisation():
    loss = SmoothedCrossEntropy(0.3, 2.0)
    again = SmoothedCrossEntropy.from_config(loss.get_config())
    assert float(again(TARGET, LOGITS)) == float(loss(TARGET, LOGITS))


def test_divergence_is_that_of_the_definition_and_so_are_its_gradients():
    first, second = (tf.Variable(RNG.normal(size=(5, 7)) * 3) for _ in range(2))
    upstream = RNG.normal(size=5)
    results = []
    for function in (symmetric_divergence, divergence_by_definition):
        with tf.GradientTape() as tape:
            values = tf.cast(function(first, second), tf.float64)
            total = tf.reduce_sum(values * upstream)
        results.append((values, *tape.gradient(total, [first, second])))
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def divergence_by_definition(first, second):
    p, q = tf.nn.softmax(first), tf.nn.softmax(second)
    return tf.reduce_sum(p * tf.math.log(p / q) + q * tf.math.log(q / p), axis=-1)


def test_r_drop_adds_the_divergence_of_the_two_halves():
    logits = np.concatenate([LOGITS[:1], LOGITS[1:]])
    target, weights = np.repeat(TARGET[:1], 2, axis=0), np.repeat(WEIGHTS[:1], 2, axis=0)
    plain = SmoothedCrossEntropy(0.1)(target, logits, sample_weight=weights)
    both = SmoothedCrossEntropy(0.1, 3.0)(target, logits, sample_weight=weights)
    apart = divergence_by_definition(LOGITS[0].astype("float64"), LOGITS[1].astype("float64"))
    expected = 3 / 4 * float(tf.reduce_sum(apart * WEIGHTS[0]) / WEIGHTS[0].sum())
    assert float(both - plain) == pytest.approx(expected, rel=1e-5)
    same = np.repeat(LOGITS[:1], 2, axis=0)
    once = SmoothedCrossEntropy(0.1)(target, same, sample_weight=weights)
    assert float(SmoothedCrossEntropy(0.1, 3.0)(target, same, sample_weight=weights)) == float(once)


def test_guided_attention_counts_the_weight_on_the_linked_word_alone():
    weights = RNG.dirichlet(np.ones(4), size=(2, 3)).astype("float32")
    source_words = np.array([[1, 2, 2, 0], [1, 2, 3, 4]])
    linked_words = np.array([[0, 2, 1], [4, 0, 0]])
    masses = [weights[0, 1, 1] + weights[0, 1, 2], weights[0, 2, 0], weights[1, 0, 3]]
    loss = float(guided_attention(weights, source_words, linked_words))
    assert loss == pytest.approx(-np.log(masses).mean(), rel=1e-4)
    assert float(guided_attention(weights, source_words, 0 * linked_words)) == 0
    blind = np.where(source_words == 2, 0, 1 / 2).astype("float32")[:, None] * np.ones((1, 3, 1))
    assert np.isfinite(float(guided_attention(blind.astype("float32"), source_words, linked_words)))
