"""Training on the model's own captions: the reward, what is drawn, the run."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from pycocoevalcap.cider.cider import Cider

from attention_apps.running.flags import RunOptions
from attention_apps.running.self_critical import SAMPLES
from captioning.config import TINY
from captioning.model import build_model
from captioning.overlay_log import OverlayLog
from captioning.self_critical import CiderReward, draw_captions
from captioning.train import train
from captioning.words import END, PAD, START, UNKNOWN

WORDS = 11


def _captions(random, shape, shortest):
    ids = random.integers(4, 12, shape)
    lengths = random.integers(shortest, shape[-1] + 1, shape[:-1])
    return np.where(np.arange(shape[-1]) < lengths[..., None], ids, PAD)


def _text(row):
    return " ".join(str(word) for word in row if word)


def test_the_reward_is_cider_of_the_library():
    random = np.random.default_rng(0)
    references, captions = _captions(random, (30, 5, 8), 3), _captions(random, (30, 2, 8), 2)
    found = CiderReward(references)(references, captions)
    wanted = {photo: [_text(row) for row in several] for photo, several in enumerate(references)}
    for place in range(2):
        given = {photo: [_text(several[place])] for photo, several in enumerate(captions)}
        np.testing.assert_allclose(found[:, place], Cider().compute_score(wanted, given)[1], 1e-5)


def test_a_photo_without_references_rewards_nothing():
    references = _captions(np.random.default_rng(0), (4, 2, 6), 3)
    reward = CiderReward(references)
    assert reward(references, references)[1].min() > 1
    references[1] = PAD
    assert not reward(references, references)[1].any()


@pytest.fixture(params=["soft", "hard", "transformer"])
def model(request):
    config = replace(
        TINY, image_size=32, dim=16, embedding_dim=8, decoder=request.param, max_length=6
    )
    config = replace(config, self_critical_epochs=1)
    if request.param == "transformer":
        config = replace(config, cross_attention="full", num_heads=2, feedforward_dim=32)
    keras.utils.set_random_seed(0)
    return build_model(config, WORDS)


def _inputs(photos):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (photos, 32, 32, 3)).astype(np.float32)
    target = _captions(random, (photos, 2, 6), 3).clip(0, WORDS - 1).astype(np.int32)
    return {"pixels": pixels, "previous": np.full_like(target, START)}, target


def test_what_is_drawn_are_captions_with_the_model_s_probabilities(model):
    model.output_layer.bias.assign(np.linspace(0, 2, WORDS).astype(np.float32))
    pixels = np.repeat(_inputs(1)[0]["pixels"], 200, axis=0)
    drawn = np.array(draw_captions(model, {"pixels": pixels}, 6, model.draws))
    assert drawn.shape == (200, SAMPLES, 6)
    assert not np.isin(drawn, [START, UNKNOWN]).any()
    behind = np.cumsum(drawn == END, axis=-1) - (drawn == END) > 0
    np.testing.assert_array_equal(behind, drawn == PAD)
    assert (np.array(draw_captions(model, {"pixels": pixels}, 6, model.draws)) != drawn).any()
    state, encoded = model.begin({"pixels": pixels[:1]}, 6)
    logits = np.array(model.step(state, tf.constant([START]), encoded)[0])[0]
    logits[[PAD, START, UNKNOWN]] = -np.inf
    wanted = np.exp(logits) / np.exp(logits).sum()
    counts = np.bincount(drawn[:, :, 0].ravel(), minlength=WORDS)
    error = 4 * np.sqrt(wanted * (1 - wanted) / counts.sum())
    assert (np.abs(counts / counts.sum() - wanted) <= error).all()


@pytest.mark.parametrize("model", ["soft"], indirect=True)
def test_captions_get_better_by_their_reward_alone(model):
    inputs, target = _inputs(4)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    model.reward = CiderReward(target)
    weights = (target != PAD).astype(np.float32)

    draw = tf.function(lambda: draw_captions(model, inputs, 6, model.draws))

    def mean():
        drawn = [draw() for _ in range(10)]
        return np.mean([model.reward(target, np.array(captions)) for captions in drawn])

    before = mean()
    for _ in range(40):
        loss = model.train_on_batch(inputs, target, weights)
    assert np.isfinite(loss)
    assert mean() > before + 0.3


def test_a_photo_that_cannot_be_read_teaches_nothing(model):
    inputs, target = _inputs(2)
    model.reward = CiderReward(target)
    with tf.GradientTape() as tape:
        told = model(inputs, training=True)
        loss = model.compute_loss(inputs, target, told, np.zeros(target.shape, np.float32))
    gradient = tape.gradient(loss, model.output_layer.bias)
    assert "drawn" in told
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.verify
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch):
    config = replace(TINY, image_size=32, dim=16, embedding_dim=8, batch_photos=100, epochs=1)
    config = replace(config, self_critical_epochs=2, max_length=8, validate_every=3)
    whole = train(config, RunOptions(runs_dir=tmp_path / "whole"))["run_dir"]

    def fail(self, epoch, logs=None):
        if epoch == 2:
            raise RuntimeError("cut")

    with monkeypatch.context() as patched:
        patched.setattr(OverlayLog, "on_epoch_begin", fail, raising=False)
        with pytest.raises(RuntimeError, match="cut"):
            train(config, RunOptions(runs_dir=tmp_path / "cut"))
    cut = next((tmp_path / "cut" / "captioning").iterdir())
    assert not (cut / "checkpoints" / "epoch-0003").exists()
    train(config, RunOptions(resume=cut))
    ours, theirs = (
        np.load(run / "checkpoints" / "epoch-0003" / "variables.npz") for run in (whole, cut)
    )
    assert ours.files == theirs.files
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name])
