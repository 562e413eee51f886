"""The translator: masks, causality, cached steps, learning, choices of attention."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from translation.config import TINY
from translation.losses import SmoothedCrossEntropy
from translation.model import build_model
from translation.words import PAD, START

SIZE = 20
CONFIG = replace(TINY, vocabulary_size=SIZE, num_encoder_layers=2, num_decoder_layers=2, dim=16)
RNG = np.random.default_rng(0)
SOURCE = RNG.integers(4, SIZE, size=(3, 6)).astype("int32")
SOURCE[1, 4:] = PAD
PREVIOUS = np.concatenate([np.full((3, 1), START), RNG.integers(4, SIZE, (3, 4))], 1).astype("i4")
INPUTS = {"source": SOURCE, "previous": PREVIOUS}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return build_model(CONFIG)


def test_what_pads_the_source_cannot_matter(model):
    longer = np.concatenate([SOURCE, np.full((3, 3), PAD, "int32")], axis=1)
    once, again = model(INPUTS), model({**INPUTS, "source": longer})
    np.testing.assert_allclose(once, again, atol=1e-5)


def test_later_target_tokens_cannot_matter(model):
    changed = PREVIOUS.copy()
    changed[:, 3] = (changed[:, 3] - 4 + 1) % (SIZE - 4) + 4
    before = np.array(model(INPUTS))
    after = np.array(model({**INPUTS, "previous": changed}))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 1e-3


@pytest.mark.parametrize("attention", ["full", "rotary", "cosine+window:3", "additive", "general"])
def test_steps_equal_one_call(attention):
    model = build_model(replace(CONFIG, encoder_attention=attention, decoder_attention=attention))
    whole = np.array(model(INPUTS))
    state, encoded = model.begin(SOURCE, 8)
    for position in range(PREVIOUS.shape[1]):
        logits, state, weights = model.step(state, PREVIOUS[:, position], encoded)
        np.testing.assert_allclose(logits, whole[:, position], atol=2e-5)
    assert weights.shape == (3, 2, CONFIG.num_heads, 6)
    np.testing.assert_allclose(np.array(weights).sum(-1), 1, atol=1e-5)
    assert not np.array(weights)[1, ..., 4:].any()


def test_positions_matter_in_source_and_target(model):
    swapped = SOURCE.copy()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    assert np.abs(np.array(model({**INPUTS, "source": swapped}) - model(INPUTS))).max() > 1e-3
    again = PREVIOUS.copy()
    again[:, [1, 2]] = again[:, [2, 1]]
    changed = np.array(model({**INPUTS, "previous": again}) - model(INPUTS))
    assert np.abs(changed[:, -1]).max() > 1e-4


def test_one_step_of_training_changes_every_weight():
    keras.utils.set_random_seed(1)
    model = build_model(CONFIG)
    model.compile("adam", SmoothedCrossEntropy(0.1), run_eagerly=True)
    before = [weight.copy() for weight in model.get_weights()]
    model.train_on_batch(INPUTS, PREVIOUS, sample_weight=np.ones(PREVIOUS.shape))
    for variable, old in zip(model.weights, before, strict=True):
        # The bias of a key moves all scores of a row alike, which softmax cannot feel.
        if not variable.path.endswith("key/bias"):
            assert np.abs(variable.numpy() - old).max() > 0, variable.path


def test_eight_pairs_can_be_learned_by_heart():
    keras.utils.set_random_seed(2)
    model = build_model(replace(CONFIG, dim=32, dropout_rate=0.0))
    model.compile(keras.optimizers.Adam(0.01), SmoothedCrossEntropy())
    source = RNG.integers(4, SIZE, size=(8, 5)).astype("int32")
    target = source[:, ::-1]
    previous = np.concatenate([np.full((8, 1), START, "int32"), target[:, :-1]], axis=1)
    inputs = {"source": source, "previous": previous}
    dataset = tf.data.Dataset.from_tensors((inputs, target)).repeat()
    model.fit(dataset, steps_per_epoch=120, verbose=0, shuffle=False)
    assert (np.argmax(model(inputs), axis=-1) == target).mean() == 1


def test_a_saved_model_is_the_same_model(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(INPUTS), model(INPUTS))


@pytest.mark.parametrize(
    ("flag", "attention"),
    [
        ("cross_attention", "window:4"),
        ("cross_attention", "rotary"),
        ("encoder_attention", "fast"),
    ],
)
def test_an_attention_that_makes_no_sense_at_its_site_is_refused(flag, attention):
    with pytest.raises(ValueError, match="Received"):
        build_model(replace(CONFIG, **{flag: attention}))


@pytest.mark.parametrize(("kind", "parts"), [("transformer", 4), ("rnn", 2)])
def test_a_batch_in_parts_teaches_what_the_batch_teaches(kind, parts):
    """The same loss, guided attention in it, and the same step of every weight.

    Of three rows, two parts have one and two, and of four parts one has none.
    """
    words = np.where(SOURCE == PAD, 0, np.arange(1, 7))
    links = np.array([[0, 4, 3, 2, 1], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    inputs = {**INPUTS, "source_words": words, "linked_words": links}
    learned = []
    for batch_parts in (1, parts):
        keras.utils.set_random_seed(0)
        config = replace(CONFIG, model=kind, dropout_rate=0.0, batch_parts=batch_parts)
        model = build_model(replace(config, alignment_weight=1.0))
        model.compile(keras.optimizers.SGD(0.1), SmoothedCrossEntropy(0.1), run_eagerly=True)
        loss = model.train_on_batch(inputs, PREVIOUS)
        learned.append([np.array(loss), *model.get_weights()])
    for whole, in_parts in zip(*learned, strict=True):
        np.testing.assert_allclose(in_parts, whole, atol=1e-5)


@pytest.mark.verify
def test_a_guided_head_learns_to_look_where_the_teacher_says():
    """Reversed links, which no translation asks for, are learned by one head."""
    keras.utils.set_random_seed(0)
    model = build_model(replace(CONFIG, alignment_weight=1.0, dropout_rate=0.0))
    words = np.where(SOURCE == PAD, 0, np.arange(1, 7))
    inputs = {**INPUTS, "source_words": words, "linked_words": np.array([[0, 4, 3, 2, 1]] * 3)}
    model.compile(keras.optimizers.Adam(0.01), SmoothedCrossEntropy())
    model.fit(inputs, PREVIOUS, epochs=60, verbose=0)
    assert len(model.losses) == 1
    state, encoded = model.begin(SOURCE, 8)
    for position in range(5):
        _, state, weights = model.step(state, PREVIOUS[:, position], encoded)
        if position:
            np.testing.assert_array_equal(np.array(weights)[:, 1, 0].argmax(-1), 4 - position)
    assert not np.array_equal(np.array(weights)[:, 0, 0].argmax(-1), [0, 0, 0])
