"""The gradient of drawn sequences and what is drawn."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from attention_apps.attention.hypotheses import Rules
from attention_apps.running.self_critical import SAMPLES, draw, policy_gradient


def test_the_expected_gradient_is_that_of_the_expected_reward():
    """Summed over all that can be drawn, by its probability; baselines cancel."""
    random = np.random.default_rng(0)
    scores = tf.Variable(random.normal(size=3))
    reward = tf.constant(random.normal(size=3), tf.float32)
    with tf.GradientTape() as tape:
        expected = -tf.reduce_sum(tf.nn.softmax(scores) * tf.cast(reward, tf.float64))
    wanted = tape.gradient(expected, scores)
    drawn = np.array(list(itertools.product(range(3), repeat=SAMPLES)))
    likely = tf.reduce_prod(tf.gather(tf.nn.softmax(scores), drawn), axis=1)
    word_weights = tf.tile(tf.cast(likely, tf.float32)[:, None, None], (1, SAMPLES, 1))
    with tf.GradientTape() as tape:
        logits = tf.tile(tf.reshape(scores, (1, 1, 1, 3)), (len(drawn), SAMPLES, 1, 1))
        rewards = tf.gather(reward, drawn)
        total = policy_gradient(logits, drawn[..., None], rewards, word_weights)
    np.testing.assert_allclose(tape.gradient(total, scores), wanted, atol=1e-6)


def test_padding_of_what_was_drawn_has_no_part():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, SAMPLES, 4, 7)).astype(np.float32)
    drawn = random.integers(0, 7, (2, SAMPLES, 4))
    rewards = random.normal(size=(2, SAMPLES)).astype(np.float32)
    weights = np.ones((2, SAMPLES, 4), np.float32)
    weights[:, :, 2:] = 0
    before = float(policy_gradient(logits, drawn, rewards, weights))
    logits[:, :, 2:] += random.normal(size=(2, SAMPLES, 2, 7))
    assert float(policy_gradient(logits, drawn, rewards, weights)) == pytest.approx(before)
    logits[:, :, :2] += random.normal(size=(2, SAMPLES, 2, 7))
    assert float(policy_gradient(logits, drawn, rewards, weights)) != pytest.approx(before)


def test_what_is_drawn_keeps_to_the_model_and_to_its_limits():
    """A model that knows which input a row is of: its input's token, or the end."""
    rules = Rules(start_id=1, end_id=2, max_length=6, forbidden=(0, 1))
    num_inputs, vocabulary = 40, 4 + 40

    def step(state, tokens, encoded):
        likely = tf.one_hot(4 + encoded, vocabulary) + tf.one_hot(2, vocabulary)
        return tf.math.log(likely), state + 1, tf.zeros((tf.shape(tokens)[0], 3))

    limits = 1 + np.arange(num_inputs, dtype=np.int32) % 6
    args = (step, tf.constant(0), tf.range(num_inputs), rules)
    drawn = np.array(draw(*args, seed=3, length_limit=limits))
    assert drawn.shape == (num_inputs, SAMPLES, 6)
    own = 4 + np.arange(num_inputs)[:, None, None]
    assert ((drawn == own) | (drawn == 2) | (drawn == 0)).all()
    lengths = (drawn != 0).sum(axis=-1)
    assert (lengths <= limits[:, None]).all()
    assert (lengths == limits[:, None]).any()
    ended = (drawn == 2).sum(axis=-1)
    assert ((ended == 1) | (lengths == limits[:, None])).all()
    firsts = drawn[:, :, 0] == 2
    assert abs(firsts.mean() - 0.5) < 4 * 0.5 / np.sqrt(firsts.size)
    # Samples of one input differ from each other, and those of another seed from these.
    assert (drawn[:, 0] != drawn[:, 1]).any()
    assert (np.array(draw(*args, seed=4, length_limit=limits)) != drawn).any()
    np.testing.assert_array_equal(draw(*args, seed=3, length_limit=limits), drawn)
