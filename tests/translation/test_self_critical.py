"""Training on the model's own translations: the reward, what is drawn, the run."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import sacrebleu
import tensorflow as tf

from attention_apps.running.flags import RunOptions
from attention_apps.running.scalars import EpochScalars
from attention_apps.running.self_critical import SAMPLES
from translation.config import TINY
from translation.losses import SmoothedCrossEntropy
from translation.model import build_model
from translation.self_critical import ROOM_TO_SPARE, BleuReward, sentence_bleu
from translation.train import train
from translation.words import END, PAD, START, UNKNOWN

SIZE = 12


def words(ids):
    """Ids as words of their own, as a vocabulary without subwords would write them."""
    kept = tf.where((ids == PAD) | (ids == START) | (ids == END), "", tf.strings.as_string(ids))
    return tf.strings.strip(tf.strings.reduce_join(kept, axis=1, separator=" "))


def test_the_bleu_of_a_sentence_is_sacrebleu_s():
    random = np.random.default_rng(0)
    for _ in range(200):
        ours, theirs = (
            [str(word) for word in random.integers(0, 5, random.integers(1, 12))] for _ in range(2)
        )
        wanted = sacrebleu.sentence_bleu(
            " ".join(ours),
            [" ".join(theirs)],
            smooth_method="add-k",
            smooth_value=1,
            tokenize="none",
        )
        assert sentence_bleu(theirs, ours) == pytest.approx(wanted.score / 100)
    assert sentence_bleu([], ["a"]) == sentence_bleu(["a"], []) == 0.0


def test_a_translation_is_rewarded_by_its_own_target():
    target = np.array([[5, 6, 7, END], [8, 9, END, PAD]], np.int32)
    drawn = np.repeat(target[:, None], SAMPLES, axis=1)
    drawn[1, 1] = target[0]
    drawn[0, 2, :2] = drawn[0, 2, 1::-1]
    scores = np.array(BleuReward(words)(target, drawn))
    right = np.ones((2, SAMPLES), bool)
    right[1, 1] = right[0, 2] = False
    np.testing.assert_allclose(scores[right], 1)
    assert scores[1, 1] == 0
    assert 0 < scores[0, 2] < 1


@pytest.fixture(params=["transformer", "rnn"])
def model(request):
    config = replace(TINY, model=request.param, vocabulary_size=SIZE, dim=16, dropout_rate=0.0)
    config = replace(config, alignment_weight=0.0, max_length=12)
    keras.utils.set_random_seed(0)
    model = build_model(config)
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=SmoothedCrossEntropy())
    return model


def _pairs(count):
    """Sources, and targets that say them backwards."""
    random = np.random.default_rng(0)
    source = random.integers(4, SIZE, (count, 4)).astype(np.int32)
    target = np.concatenate([source[:, ::-1], np.full((count, 1), END, np.int32)], axis=1)
    start = np.full((count, 1), START, np.int32)
    previous = np.concatenate([start, target[:, :-1]], axis=1)
    return {"source": source, "previous": previous}, target


def test_what_is_drawn_is_predicted_as_if_it_had_been_given(model):
    inputs, target = _pairs(3)
    model.batch_parts, model.reward = 4, BleuReward(words)  # one part has no row
    told = model(inputs, training=True)
    drawn = np.array(told["drawn"])
    assert drawn.shape == (3, SAMPLES, target.shape[1] + ROOM_TO_SPARE)
    assert not np.isin(drawn, [START, UNKNOWN]).any()
    behind = np.cumsum(drawn == END, axis=-1) - (drawn == END) > 0
    np.testing.assert_array_equal(behind, drawn == PAD)
    for sample in range(SAMPLES):
        start = np.full((3, 1), START, np.int32)
        previous = np.concatenate([start, drawn[:, sample, :-1]], axis=1)
        logits = model({"source": inputs["source"], "previous": previous})
        np.testing.assert_allclose(told["logits"][:, sample], logits, atol=1e-5)
    np.testing.assert_array_equal(model(inputs, training=True)["drawn"], drawn)
    model.optimizer.iterations.assign_add(1)
    assert (np.array(model(inputs, training=True)["drawn"]) != drawn).any()


@pytest.mark.verify
@pytest.mark.parametrize("model", ["transformer"], indirect=True)
def test_translations_get_better_by_their_reward_alone(model):
    inputs, target = _pairs(4)
    model.reward = BleuReward(words)

    @tf.function
    def mean():
        drawn = model.own_translations(inputs)["drawn"]
        return tf.reduce_mean(model.reward(target, drawn))

    before = float(mean())
    for _ in range(40):
        loss = model.train_on_batch(inputs, target, np.ones(target.shape, np.float32))
    assert np.isfinite(loss)
    assert float(mean()) > before + 0.1


def test_without_a_reward_targets_are_learned(model):
    inputs, target = _pairs(4)
    weights = np.ones(target.shape, np.float32)
    wanted = SmoothedCrossEntropy()(target, model(inputs), sample_weight=weights)
    model.compile(keras.optimizers.SGD(0.1), SmoothedCrossEntropy(), run_eagerly=True)
    assert model.train_on_batch(inputs, target, weights) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.verify
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch):
    config = replace(TINY, epochs=1, self_critical_epochs=2, validate_every=3)
    whole = train(config, RunOptions(runs_dir=tmp_path / "whole"))["run_dir"]

    def fail(self, epoch, logs=None):
        if epoch == 2:
            raise RuntimeError("cut")

    with monkeypatch.context() as patched:
        patched.setattr(EpochScalars, "on_epoch_begin", fail, raising=False)
        with pytest.raises(RuntimeError, match="cut"):
            train(config, RunOptions(runs_dir=tmp_path / "cut"))
    cut = next((tmp_path / "cut" / "translation").iterdir())
    assert not (cut / "checkpoints" / "epoch-0003").exists()
    train(config, RunOptions(resume=cut))
    ours, theirs = (
        np.load(run / "checkpoints" / "epoch-0003" / "variables.npz") for run in (whole, cut)
    )
    assert ours.files == theirs.files
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.verify
def test_a_finished_run_goes_on_with_its_own_translations_at_once(finished_run, tmp_path):
    config, first = finished_run("translation")
    config = replace(config, init_from=str(first), epochs=0, self_critical_epochs=1)
    again = train(config, RunOptions(runs_dir=tmp_path))
    assert np.isfinite(again["val_bleu"])
    assert again["run_dir"] != first
