"""Losses against their definitions, value and gradient."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from recommendation.config import Config
from recommendation.losses import (
    CHUNK,
    BinaryCrossEntropy,
    FullSoftmax,
    GeneralisedBinaryCrossEntropy,
    SampledSoftmax,
    draw_probabilities,
    make_loss,
)

RNG = np.random.default_rng(0)
NUM_ITEMS, DIM, COUNT = 9, 5, 2 * CHUNK
HIDDEN = RNG.normal(size=(COUNT, DIM)).astype("float32")
TABLE = RNG.normal(size=(NUM_ITEMS, DIM)).astype("float32")
TARGET = RNG.integers(0, NUM_ITEMS, COUNT).astype("int32")
WEIGHTS = (RNG.random(COUNT) < 0.7).astype("float32")
SHARED = np.array([1, 4, 4, 7], "int32")
OWN = RNG.integers(0, NUM_ITEMS, COUNT).astype("int32")


def value_and_gradients(function):
    hidden, table = tf.Variable(HIDDEN), tf.Variable(TABLE)
    with tf.GradientTape() as tape:
        value = function(hidden, table)
    gradients = tape.gradient(value, [hidden, table])
    return [float(value), *(tf.convert_to_tensor(gradient).numpy() for gradient in gradients)]


def mean(losses):
    return tf.reduce_sum(losses * WEIGHTS) / WEIGHTS.sum()


def full_by_definition(hidden, table):
    logits = tf.matmul(hidden, table, transpose_b=True)
    return mean(tf.nn.sparse_softmax_cross_entropy_with_logits(TARGET, logits))


def bce_by_definition(hidden, table):
    def score(items):
        return tf.reduce_sum(hidden * tf.gather(table, items), -1)

    losses = -tf.math.log_sigmoid(score(TARGET))
    losses += tf.where(OWN == TARGET, 0.0, -tf.math.log_sigmoid(-score(OWN)))
    return mean(losses)


def gbce_by_definition(hidden, table):
    """The paper's: the positive's probability to the power of beta."""
    alpha, t = 4 / (NUM_ITEMS - 1), 0.75
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    positive = tf.reduce_sum(hidden * tf.gather(table, TARGET), -1)
    loss = -tf.math.log(tf.sigmoid(positive) ** beta)
    for item in SHARED:
        score = tf.linalg.matvec(hidden, table[item])
        loss += tf.where(item == TARGET, 0.0, -tf.math.log(1 - tf.sigmoid(score)))
    return mean(loss / 5)


CASES = {
    "softmax": (FullSoftmax(), full_by_definition, None),
    "bce": (BinaryCrossEntropy(), bce_by_definition, OWN),
    "gbce": (
        GeneralisedBinaryCrossEntropy(num_items=NUM_ITEMS, num_negatives=4, calibration=0.75),
        gbce_by_definition,
        SHARED,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_those_of_the_definition(name):
    loss, definition, negatives = CASES[name]
    ours = value_and_gradients(
        lambda hidden, table: loss(hidden, table, TARGET, WEIGHTS, negatives)
    )
    theirs = value_and_gradients(definition)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert not ours[1][WEIGHTS == 0].any()


def test_the_number_of_chunks_changes_nothing():
    def repeated(times):
        return FullSoftmax()(
            np.tile(HIDDEN, (times, 1)), TABLE, np.tile(TARGET, times), np.tile(WEIGHTS, times)
        )

    assert float(repeated(3)) == pytest.approx(float(repeated(1)), rel=1e-5)


def test_huge_scores_stay_finite_and_bfloat16_gets_bfloat16_gradients():
    hidden = tf.Variable(tf.cast(HIDDEN * 1e3, tf.bfloat16))
    table = tf.Variable(tf.cast(TABLE, tf.bfloat16))
    with tf.GradientTape() as tape:
        value = FullSoftmax()(hidden, table, TARGET, WEIGHTS)
    gradients = tape.gradient(value, [hidden, table])
    assert np.isfinite(float(value))
    for gradient in gradients:
        assert gradient.dtype == tf.bfloat16
        assert np.isfinite(tf.cast(gradient, tf.float32).numpy()).all()


def test_sampled_softmax_of_everything_is_the_full_softmax():
    """Every item drawn once, all with probability 1 / items: the correction cancels."""
    loss = SampledSoftmax(np.full(NUM_ITEMS, 1 / NUM_ITEMS), NUM_ITEMS)
    everything = np.arange(NUM_ITEMS, dtype="int32")
    ours = value_and_gradients(
        lambda hidden, table: loss(hidden, table, TARGET, WEIGHTS, everything)
    )
    theirs = value_and_gradients(full_by_definition)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_correction_makes_the_way_of_drawing_not_matter():
    """With many draws by any probabilities the loss comes near that of the full softmax."""
    skewed = np.array([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.04, 0.03, 0.03])
    drawn = RNG.choice(NUM_ITEMS, 20_000, p=skewed).astype("int32")
    hidden, table = HIDDEN[:CHUNK], TABLE
    arguments = (hidden, table, TARGET[:CHUNK], WEIGHTS[:CHUNK])
    full = float(FullSoftmax()(*arguments))
    corrected = float(SampledSoftmax(skewed, len(drawn))(*arguments, drawn))
    naive = float(SampledSoftmax(np.full(NUM_ITEMS, 1 / NUM_ITEMS), len(drawn))(*arguments, drawn))
    assert corrected == pytest.approx(full, abs=0.02)
    assert abs(naive - full) > 0.05


def test_gbce_without_calibration_is_bce_over_its_negatives():
    loss = GeneralisedBinaryCrossEntropy(num_items=100, num_negatives=10, calibration=0.0)
    assert loss.power == pytest.approx(1.0)
    full = GeneralisedBinaryCrossEntropy(num_items=100, num_negatives=10, calibration=1.0)
    assert full.power == pytest.approx(10 / 99)


@pytest.mark.parametrize(
    ("loss", "kind", "needs"),
    [
        ("softmax", FullSoftmax, "none"),
        ("sampled_softmax", SampledSoftmax, "shared"),
        ("gbce", GeneralisedBinaryCrossEntropy, "shared"),
        ("bce", BinaryCrossEntropy, "own"),
    ],
)
def test_a_configuration_names_its_loss(loss, kind, needs):
    made = make_loss(replace(Config(), loss=loss), np.arange(5))
    assert isinstance(made, kind)
    assert made.needs == needs


def test_probabilities_of_drawing_sum_to_one():
    counts = np.array([0, 1, 7])
    by_count = draw_probabilities(replace(Config(), negatives="popularity"), counts)
    np.testing.assert_allclose(by_count, np.array([0.5, 1, 7]) / 8.5)
    np.testing.assert_allclose(draw_probabilities(Config(), counts), [1 / 3] * 3)
