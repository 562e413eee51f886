"""The one masked softmax."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import ops

from attention_apps.attention.normalizers import Softmax, masked_softmax

SCORES = hnp.arrays(np.float32, (2, 5), elements=st.floats(-80, 80, width=32))
MASKS = hnp.arrays(np.bool_, (2, 5))


def by_hand(scores, mask):
    weights = np.zeros(scores.shape)
    for row in range(len(scores)):
        kept = [k for k in range(scores.shape[1]) if mask[row, k]]
        if kept:
            highest = max(float(scores[row, k]) for k in kept)
            values = {k: np.exp(float(scores[row, k]) - highest) for k in kept}
            for k in kept:
                weights[row, k] = values[k] / sum(values.values())
    return weights


@settings(max_examples=60, deadline=None)
@given(SCORES, MASKS)
def test_weights_are_the_softmax_of_what_may_be_attended(scores, mask):
    np.testing.assert_allclose(masked_softmax(scores, mask), by_hand(scores, mask), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(SCORES, MASKS, st.sampled_from([np.nan, np.inf, -np.inf, 1e38, -1e38]))
def test_masked_scores_cannot_matter_whatever_they_hold(scores, mask, rubbish):
    spoiled = np.where(mask, scores, np.float32(rubbish))
    np.testing.assert_array_equal(masked_softmax(spoiled, mask), masked_softmax(scores, mask))


def test_an_empty_row_gives_zeros_and_zero_finite_gradients():
    scores = tf.Variable([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    mask = np.array([[False, False, False], [True, True, False]])
    with tf.GradientTape() as tape:
        weights = masked_softmax(scores, mask)
        total = tf.reduce_sum(weights * [1.0, 2.0, 3.0])
    gradient = tape.gradient(total, scores).numpy()
    np.testing.assert_array_equal(weights[0], [0, 0, 0])
    np.testing.assert_array_equal(gradient[0], [0, 0, 0])
    assert np.abs(gradient[1]).max() > 0.1
    assert gradient[1, 2] == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_weights_are_float32_and_never_nan(dtype):
    scores = ops.cast(np.array([[60000.0, -60000.0, 1.0], [2.0, 2.0, 2.0]]), dtype)
    weights = masked_softmax(scores, np.array([[True, True, False], [False, False, False]]))
    assert weights.dtype == "float32"
    np.testing.assert_allclose(weights, [[1, 0, 0], [0, 0, 0]])


def test_a_row_without_a_mask_sums_to_one_after_a_shift_too():
    scores = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
    np.testing.assert_allclose(np.sum(masked_softmax(scores), axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(masked_softmax(scores + 30), masked_softmax(scores), atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_rows_are_those_of_the_last_axis(masked):
    generator = np.random.default_rng(2)
    scores = generator.normal(size=(2, 3, 4, 5)).astype("float32")
    mask = generator.random((2, 3, 4, 5)) < 0.6 if masked else None
    weights = np.array(Softmax()(scores, mask))
    allowed = np.ones((24, 5), bool) if mask is None else mask.reshape(24, 5)
    np.testing.assert_allclose(
        weights.reshape(24, 5), by_hand(scores.reshape(24, 5), allowed), atol=1e-6
    )


def test_double_precision_stays():
    scores = np.random.default_rng(3).normal(size=(2, 5))
    weights = masked_softmax(tf.constant(scores, "float64"))
    assert weights.dtype == "float64"
    np.testing.assert_allclose(weights, by_hand(scores, np.ones((2, 5), bool)), rtol=1e-14)
