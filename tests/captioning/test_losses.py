"""The losses against what they are defined by."""

import numpy as np
import pytest
import tensorflow as tf

from captioning.losses import (
    doubly_stochastic,
    hard_attention,
    own_cells,
    rewards,
    weighted_mean,
)


def test_the_mean_is_over_what_has_weight():
    values, weights = np.array([1.0, 5.0, 100.0]), np.array([1.0, 1.0, 0.0])
    assert float(weighted_mean(values, weights)) == 3
    assert float(weighted_mean(values, weights * 0)) == 0


def test_the_doubly_stochastic_penalty_by_hand():
    weights = np.zeros((1, 2, 3, 2), np.float32)
    weights[0, 0] = [[1, 0], [0.5, 0.5], [9, 9]]  # the third step is padding
    weights[0, 1] = [[1, 0], [0, 1], [9, 9]]
    word_weights = np.array([[[1, 1, 0], [1, 1, 0]]], np.float32)
    # Sums over words are 1.5 and 0.5 for the first caption, 1 and 1 for the second.
    assert float(doubly_stochastic(weights, word_weights)) == pytest.approx(0.25 / 2)
    # A caption that is all padding has no part.
    word_weights[0, 1] = 0
    assert float(doubly_stochastic(weights, word_weights)) == pytest.approx(0.25)


def test_looking_at_the_own_cells_costs_nothing():
    weights = np.zeros((2, 1, 4, 4), np.float32)
    weights[0] = [[0, 0, 1, 0], [0, 0, 0, 1], [0.25, 0.25, 0.5, 0], [0, 0, 0, 1]]
    weights[1] = [0, 0, 0, 1]
    word_weights = np.array([[[1, 1, 1, 0]], [[1, 1, 1, 1]]], np.float32)
    # The first two words are free, the last is padding; the second photo stands alone.
    alone = float(own_cells(weights, word_weights, np.array([True, False])))
    assert alone == pytest.approx(np.log(2), rel=1e-4)
    weights[0, 0, 2] = [0.4, 0.6, 0, 0]
    own = float(own_cells(weights, word_weights, np.array([True, False])))
    assert own == pytest.approx(0, abs=1e-5)


def test_the_reward_is_the_mean_of_what_follows():
    told = np.array([[[-1.0, -2.0, -6.0, -100.0]]])
    weights = np.array([[[1.0, 1.0, 1.0, 0.0]]])
    np.testing.assert_allclose(rewards(told, weights)[0, 0, :3], [-3, -4, -6])


@pytest.mark.parametrize("baseline", [0.0, -2.5])
def test_the_expected_gradient_is_that_of_the_expected_reward(baseline):
    """Summed over all locations by their probability; the baseline cancels."""
    random = np.random.default_rng(0)
    scores = tf.Variable(random.normal(size=(1, 1, 1, 5)))
    reward = tf.constant(random.normal(size=5))
    word_weights = tf.ones((1, 1, 1), tf.float64)
    with tf.GradientTape() as tape:
        expected = -tf.reduce_sum(tf.nn.softmax(scores)[0, 0, 0] * reward)
    wanted = tape.gradient(expected, scores)
    with tf.GradientTape() as tape:
        weights = tf.nn.softmax(scores)
        losses = [
            tf.stop_gradient(weights[0, 0, 0, place])
            * hard_attention(
                tf.reshape(reward[place], (1, 1, 1)),
                weights,
                tf.reshape(tf.one_hot(place, 5, dtype=tf.float64), (1, 1, 1, 5)),
                word_weights,
                baseline,
                0.0,
            )
            for place in range(5)
        ]
        total = tf.add_n(losses)
    np.testing.assert_allclose(tape.gradient(total, scores), wanted, atol=1e-7)


def test_the_entropy_is_drawn_up():
    scores = tf.Variable([[[[3.0, 0.0, 0.0]]]])
    with tf.GradientTape() as tape:
        weights = tf.nn.softmax(scores)
        looked = tf.constant([[[[0.0, 1.0, 0.0]]]])
        loss = hard_attention(tf.zeros((1, 1, 1)), weights, looked, tf.ones((1, 1, 1)), 0.0, 0.1)
    assert tape.gradient(loss, scores)[0, 0, 0, 0] > 0  # so that a step lowers the highest score
