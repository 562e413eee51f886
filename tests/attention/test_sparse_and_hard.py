"""Sparsemax, top-k, hard attention and its draws, each against another way to say it."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import ops

from attention_apps.attention.hard import (
    Gumbel,
    Hard,
    gumbel_noise,
    highest_place,
    moved_baseline,
    reinforce,
    sample_place,
)
from attention_apps.attention.layers import Attention, MultiHeadAttention
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.normalizers import Normalizer, Softmax
from attention_apps.attention.sparse_normalizers import Sparsemax, TopK
from attention_apps.attention.stepwise import StepwiseAttention

# TensorFlow takes subnormal numbers for zero.
SCORES = hnp.arrays(
    np.float32, (2, 6), elements=st.floats(-60, 60, width=32, allow_subnormal=False)
)
MASKS = hnp.arrays(np.bool_, (2, 6))
RNG = np.random.default_rng(0)
ALL = [Softmax(), Sparsemax(), TopK(2), TopK(9), Hard(), Gumbel(0.5)]


def simplex_projection(scores):
    """The nearest distribution, its threshold found by halving an interval."""
    low, high = max(scores) - 1.0, max(scores)
    for _ in range(100):
        middle = (low + high) / 2
        if sum(max(score - middle, 0.0) for score in scores) > 1:
            low = middle
        else:
            high = middle
    return [max(score - low, 0.0) for score in scores]


@settings(max_examples=60, deadline=None)
@given(SCORES, MASKS)
def test_sparsemax_is_the_nearest_distribution(scores, mask):
    expected = np.zeros(scores.shape)
    for row in range(2):
        kept = np.flatnonzero(mask[row])
        if len(kept):
            expected[row, kept] = simplex_projection(scores[row, kept].astype("float64").tolist())
    np.testing.assert_allclose(Sparsemax()(scores, mask), expected, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_sparsemax_shares_out_among_scores_that_are_near(masked):
    generator = np.random.default_rng(3)
    scores = generator.normal(scale=0.3, size=(2, 3, 20, 6)).astype("float32")
    mask = generator.random(scores.shape) < 0.7 if masked else np.ones(scores.shape, bool)
    expected = np.zeros(scores.shape)
    for row in np.ndindex(scores.shape[:-1]):
        if mask[row].any():
            near = scores[row][mask[row]].astype("float64").tolist()
            expected[row][mask[row]] = simplex_projection(near)
    kept = (expected > 0).sum(axis=-1)
    assert {2, 3, 4, 5} <= set(kept.ravel().tolist())  # rows of many kinds
    np.testing.assert_allclose(Sparsemax()(scores, mask if masked else None), expected, atol=1e-5)


@pytest.mark.parametrize("normalizer", ALL, ids=str)
def test_rows_of_four_axes_are_normalised_as_rows_of_two(normalizer):
    generator = np.random.default_rng(4)
    scores = generator.normal(size=(2, 3, 4, 6)).astype("float32")
    mask = generator.random(scores.shape) < 0.7
    for allowed in (mask, None):
        flat = None if allowed is None else mask.reshape(24, 6)
        np.testing.assert_allclose(
            np.array(normalizer(scores, allowed)).reshape(24, 6),
            normalizer(scores.reshape(24, 6), flat),
            atol=1e-6,
        )


def test_the_gradient_of_sparsemax_is_that_of_its_paper():
    scores = tf.Variable([[1.0, 0.6, 0.5, -3.0]])
    with tf.GradientTape() as tape:
        weights = Sparsemax()(scores)
    jacobian = tape.jacobian(weights, scores).numpy()[0, :, 0]
    support = np.array(weights)[0] > 0
    np.testing.assert_array_equal(support, [True, True, True, False])
    # Diag(s) - s s^T / |s|.
    expected = np.diag(support.astype(float)) - np.outer(support, support) / support.sum()
    np.testing.assert_allclose(jacobian, expected, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 9])
def test_top_k_keeps_that_many_keys(count):
    scores = np.random.default_rng(0).permuted(np.tile(np.arange(6.0), (4, 1)), axis=1)
    kept = (np.array(TopK(count)(scores)) > 0).sum(axis=-1)
    np.testing.assert_array_equal(kept, min(count, 6))


@settings(max_examples=60, deadline=None)
@given(SCORES, MASKS, st.integers(1, 8))
def test_top_k_is_the_softmax_of_the_highest(scores, mask, count):
    expected = np.zeros(scores.shape)
    for row in range(2):
        allowed = [k for k in range(6) if mask[row, k]]
        if not allowed:
            continue
        least = sorted((scores[row, k] for k in allowed), reverse=True)[:count][-1]
        kept = [k for k in allowed if scores[row, k] >= least]
        powers = np.exp(scores[row, kept].astype("float64") - scores[row, kept].max())
        expected[row, kept] = powers / powers.sum()
    np.testing.assert_allclose(TopK(count)(scores, mask), expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(SCORES, MASKS)
def test_hard_attention_takes_the_first_highest_alone(scores, mask):
    expected = np.zeros(scores.shape)
    for row in range(2):
        allowed = [k for k in range(6) if mask[row, k]]
        if allowed:
            expected[row, max(allowed, key=lambda k: (scores[row, k], -k))] = 1
    np.testing.assert_array_equal(Hard()(scores, mask), expected)
    np.testing.assert_array_equal(Gumbel(3.0)(scores, mask), expected)


def test_hard_attention_learns_straight_through():
    scores, mask = tf.Variable(RNG.normal(size=(3, 5))), RNG.random((3, 5)) < 0.7
    slopes = RNG.normal(size=(3, 5))
    found = []
    for normalizer in (Hard(), Softmax()):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(normalizer(scores, mask) * slopes)
        found.append(tape.gradient(loss, scores).numpy())
    np.testing.assert_allclose(*found, atol=1e-12)
    assert np.abs(found[0]).max() > 0.01


@pytest.mark.parametrize("normalizer", ALL, ids=str)
@settings(max_examples=15, deadline=None)
@given(SCORES, MASKS, st.sampled_from([np.nan, np.inf, -np.inf, 3e38]))
def test_what_is_masked_cannot_matter(normalizer, scores, mask, rubbish):
    noise = np.ones(scores.shape, "float32") if normalizer.draws else None
    spoiled = np.where(mask, scores, np.float32(rubbish))
    clean = np.array(normalizer(scores, mask, noise))
    np.testing.assert_array_equal(normalizer(spoiled, mask, noise), clean)
    np.testing.assert_allclose(clean.sum(-1), mask.any(-1), atol=1e-5)
    assert (clean >= 0).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("normalizer", ALL, ids=str)
def test_empty_rows_give_zeros_and_finite_gradients_in_every_dtype(normalizer, dtype):
    scores = tf.Variable(tf.cast([[60000.0, -60000.0, 1.0], [2.0, 3.0, 2.0]], dtype))
    mask = np.array([[True, True, False], [False, False, False]])
    for noise in (None, np.zeros((2, 3))) if normalizer.draws else (None,):
        with tf.GradientTape() as tape:
            weights = normalizer(scores, mask, noise)
            loss = tf.reduce_sum(weights * tf.cast([1.0, 2.0, 3.0], weights.dtype))
        assert weights.dtype == ("float64" if dtype == "float64" else "float32")
        np.testing.assert_allclose(weights, [[1, 0, 0], [0, 0, 0]])
        gradient = tape.gradient(loss, scores)
        assert gradient is None or np.isfinite(tf.cast(gradient, "float32").numpy()).all()


def test_draws_follow_the_softmax():
    scores = np.array([1.0, 0.0, -1.0, 2.0], "float32")
    seed = keras.random.SeedGenerator(3)
    repeated = np.tile(scores, (20000, 1))
    noise = gumbel_noise(repeated.shape, seed)
    weights, log_probability, entropy = sample_place(repeated, None, noise)
    shares = np.exp(scores) / np.exp(scores).sum()
    # Four standard errors of a share of 20,000 draws.
    np.testing.assert_allclose(np.mean(weights, axis=0), shares, atol=4 * 0.5 / math.sqrt(20000))
    drawn = np.argmax(weights, axis=-1)
    np.testing.assert_allclose(log_probability, np.log(shares)[drawn], atol=1e-5)
    np.testing.assert_allclose(entropy, -(shares * np.log(shares)).sum(), rtol=1e-4)
    cold = Gumbel(0.01)(repeated, None, noise)
    np.testing.assert_array_equal(np.argmax(cold, axis=-1), drawn)


@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_reinforce_has_the_gradient_of_the_expected_reward(baseline, entropy_weight):
    """Summed over all places by their probabilities, for rewards that are not differentiable."""
    scores, rewards = tf.Variable([[0.3, -1.0, 0.7, 2.0]]), np.array([2.0, -1.0, 0.5, 9.0])
    mask = np.array([[True, True, True, False]])
    with tf.GradientTape() as tape:
        shares = tf.nn.softmax(scores[:, :3])
        expected = tf.reduce_sum(shares * rewards[:3])
        entropy = -tf.reduce_sum(shares * tf.math.log(shares))
        wished = -expected - entropy_weight * entropy
    wanted = tape.gradient(wished, scores).numpy()
    shares, total = shares.numpy()[0], np.zeros((1, 4))
    for place in range(3):
        noise = np.where(np.arange(4) == place, 99.0, 0.0)[None]  # Draws this place.
        with tf.GradientTape() as tape:
            weights, log_probability, entropy = sample_place(scores, mask, noise)
            # A reward that depends on the scores must not be differentiated either.
            reward = rewards[place] + 0.0 * tf.reduce_sum(scores)
            loss = reinforce(reward, log_probability, entropy, baseline, entropy_weight)
        assert np.argmax(weights) == place
        total += shares[place] * tape.gradient(loss, scores).numpy()
    np.testing.assert_allclose(total, wanted, atol=1e-6)


def test_a_reward_is_no_part_of_the_function_that_is_differentiated():
    scores = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        _, log_probability, entropy = sample_place(scores)
        reward = tf.reduce_sum(scores, axis=-1)
        loss = tf.reduce_sum(reinforce(reward, log_probability, entropy, reward, 0.0))
    np.testing.assert_allclose(tape.gradient(loss, scores), [[0, 0]], atol=1e-7)


def test_a_baseline_near_the_rewards_steadies_the_gradient():
    """Its variance over the draws falls, computed over all places."""
    shares, rewards = np.array([0.2, 0.3, 0.5], "float32"), [-10.0, -11.0, -10.5]

    def variance(baseline):
        found = []
        for place, reward in enumerate(rewards):
            scores = tf.Variable(np.log(shares)[None])
            noise = np.where(np.arange(3) == place, 99.0, 0.0)[None]
            with tf.GradientTape() as tape:
                _, log_probability, entropy = sample_place(scores, None, noise)
                loss = reinforce(reward, log_probability, entropy, baseline, 0.0)
            found.append(tape.gradient(loss, scores).numpy()[0])
        found = np.array(found)
        return shares @ np.square(found - shares @ found).sum(axis=1)

    assert variance(-10.5) < variance(0.0) / 100


def test_the_baseline_is_the_exponential_average_of_the_rewards():
    rewards, baseline = [-3.0, -1.0, -2.0, 0.5], 0.0
    for reward in rewards:
        baseline = moved_baseline(baseline, reward)
    behind = len(rewards) - 1 - np.arange(len(rewards))
    assert float(baseline) == pytest.approx(np.sum(0.1 * 0.9**behind * rewards))
    assert float(moved_baseline(4.0, 2.0, momentum=0.25)) == pytest.approx(2.5)
    reward = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        moved = moved_baseline(baseline, reward)
    assert tape.gradient(moved, reward) is None


def test_a_place_is_drawn_among_what_may_be_attended():
    mask = np.array([[False, True, False], [False, False, False]])
    weights, log_probability, entropy = sample_place(np.array([[9.0, 1.0, 9.0]] * 2), mask)
    np.testing.assert_array_equal(weights, [[0, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(log_probability, [0, 0], atol=1e-6)
    np.testing.assert_allclose(entropy, [0, 0], atol=1e-6)


def test_noise_comes_in_training_alone_and_from_the_layers_own_seed():
    x = RNG.normal(size=(2, 5, 4)).astype("float32")

    def trained(seed):
        keras.utils.set_random_seed(1)
        layer = MultiHeadAttention(2, 3, mechanism=parse_mechanism("gumbel:0.7"), seed=seed)
        calm = layer(x, x, return_attention_scores=True)[1]
        assert set(np.unique(calm)) == {0.0, 1.0}
        return [layer(x, x, training=True, return_attention_scores=True)[1] for _ in range(2)]

    first, second = trained(5)
    assert np.abs(np.array(first) - np.array(second)).max() > 0.01
    for one, other in zip(trained(5), (first, second), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(np.array(trained(6)[0]) - np.array(first)).max() > 0.01


@pytest.mark.parametrize("text", ["sparsemax", "top-k:2", "hard", "gumbel", "soft-cap:3+general"])
def test_layers_of_one_head_normalise_alike(text):
    query, value = (RNG.normal(size=(2, length, 4)).astype("float32") for length in (3, 5))
    mask = [None, np.array([[1, 1, 1, 0, 1], [0, 0, 0, 0, 0]], bool)]
    layer = Attention(mechanism=parse_mechanism(text))
    context, weights = layer([query, value], mask=mask, return_attention_scores=True)
    np.testing.assert_allclose(np.einsum("bqk,bkd->bqd", weights, value), context, atol=1e-5)
    assert not np.array(weights)[1].any()
    np.testing.assert_allclose(np.sum(weights[0], axis=-1), 1, atol=1e-5)
    if "gumbel" in text:
        noisy = layer([query, value], training=True)
        assert np.abs(np.array(noisy) - np.array(layer([query, value], training=True))).max() > 1e-3
    else:
        stepwise = StepwiseAttention(mechanism=parse_mechanism(text))
        _, by_step = stepwise(query, value, mask[1])
        np.testing.assert_allclose(np.array(by_step).sum(-1)[0], 1, atol=1e-5)


@pytest.mark.parametrize("text", ["gumbel", "qk-norm", "chunked", "multi-scale:2"])
def test_a_loop_over_time_takes_no_such_mechanism(text):
    with pytest.raises(ValueError, match="in a loop over time"):
        StepwiseAttention(mechanism=parse_mechanism(text))
    if text != "gumbel":
        with pytest.raises(ValueError, match="without projections"):
            Attention(mechanism=parse_mechanism(text))


@pytest.mark.parametrize("normalizer", ALL, ids=str)
def test_a_normalizer_survives_serialisation(normalizer):
    config = keras.saving.serialize_keras_object(normalizer)
    assert keras.saving.deserialize_keras_object(config) == normalizer
    assert isinstance(normalizer, Normalizer)


def test_numbers_that_make_no_sense_are_refused():
    for make in (lambda: TopK(0), lambda: TopK(2.5), lambda: Gumbel(0.0), lambda: Gumbel(-1.0)):
        with pytest.raises(ValueError, match="Received"):
            make()


def test_permuting_keys_permutes_weights():
    scores, order = RNG.normal(size=(3, 6)).astype("float32"), RNG.permutation(6)
    for normalizer in itertools.chain(ALL[:-1]):
        permuted = normalizer(ops.convert_to_tensor(scores[:, order]))
        np.testing.assert_allclose(permuted, np.array(normalizer(scores))[:, order], atol=1e-6)


def test_a_negative_zero_is_no_less_than_zero():
    scores = np.array([[[[-0.0, 0.0, 0.0], [0.0, -0.0, 0.0], [-1.0, -0.0, -2.0]]]], np.float32)
    wanted = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(np.array(highest_place(scores))[0, 0], wanted)


def test_zero_is_a_score_like_others():
    np.testing.assert_array_equal(Hard()(np.array([[0.0, 0.5]], "float32")), [[0, 1]])
    np.testing.assert_array_equal(Hard()(np.array([[-0.5, 0.0]], "float32")), [[0, 1]])


def test_gumbel_is_the_softmax_of_noisy_scores_over_the_temperature():
    scores, noise = RNG.normal(size=(2, 1, 3, 4, 5)).astype("float32")
    powers = np.exp((scores.astype("float64") + noise) / 0.5)
    expected = powers / powers.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(Gumbel(0.5)(scores, None, noise), expected, atol=1e-5)


def test_noise_is_finite_wherever_the_draw_falls(monkeypatch):
    def ends(shape, minval=0.0, maxval=1.0, seed=None):
        return ops.cast(np.array([minval, maxval]), "float32")

    monkeypatch.setattr(keras.random, "uniform", ends)
    low, high = np.array(gumbel_noise((2,), None))
    assert np.isfinite([low, high]).all()
    assert low < -2 < 10 < high


@pytest.mark.parametrize("masked", [False, True])
def test_a_draw_tells_its_probability_and_the_entropy_of_its_row(masked):
    scores = RNG.normal(size=(2, 3, 4, 5)).astype("float32")
    mask = RNG.random(scores.shape) < 0.7 if masked else np.ones(scores.shape, bool)
    mask[0, 0, 0] = not masked  # a row in which nothing may be attended
    weights, logarithm, entropy = sample_place(
        scores, mask if masked else None, RNG.gumbel(size=scores.shape).astype("float32")
    )
    for row in np.ndindex(scores.shape[:-1]):
        kept = np.flatnonzero(mask[row])
        if not len(kept):
            assert not np.array(weights)[row].any()
            assert (logarithm[row], entropy[row]) == (0, 0)
            continue
        powers = np.exp(scores[row][kept].astype("float64"))
        shares = powers / powers.sum()
        (drawn,) = np.flatnonzero(weights[row])
        expected = math.log(shares[kept.tolist().index(drawn)])
        assert float(logarithm[row]) == pytest.approx(expected, abs=1e-5)
        assert float(entropy[row]) == pytest.approx(-(shares @ np.log(shares)), abs=1e-5)
