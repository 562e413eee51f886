"""Runs that start from another's weights: hard attention from soft, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from attention_apps.running.command import UserError
from attention_apps.running.flags import RunOptions
from attention_apps.running.runs import load_run
from captioning.config import Config
from captioning.model import build_model
from captioning.starting_point import starting_point, take_over
from captioning.train import VOCABULARY, train


@pytest.fixture(scope="module")
def first(finished_run):
    return finished_run("captioning")


@pytest.mark.verify
def test_hard_attention_goes_on_from_soft_attention(first, tmp_path):
    """With a learning rate of zero it has its weights; fewer words in the data change no id."""
    config, run_dir = first
    again = replace(
        config,
        init_from=str(run_dir),
        decoder="hard",
        min_word_count=config.min_word_count + 20,
        learning_rate=0.0,
        weight_decay=0.0,
        average_momentum=0.0,
        epochs=1,
    )
    second = train(again, RunOptions(runs_dir=tmp_path))["run_dir"]
    assert (second / VOCABULARY).read_bytes() == (run_dir / VOCABULARY).read_bytes()
    soft, hard = (load_run(folder, "captioning", Config).model for folder in (run_dir, second))
    named = {weight.path: weight.numpy() for weight in hard.trainable_weights}
    assert named.keys() == {weight.path for weight in soft.trainable_weights}
    for weight in soft.trainable_weights:
        np.testing.assert_array_equal(named[weight.path], weight.numpy(), weight.path)


def test_a_glimpse_begins_with_nothing_of_the_surroundings(first):
    config, run_dir = first
    soft = load_run(run_dir, "captioning", Config).model
    alone, wide = (
        build_model(replace(config, decoder="hard", hard_glimpse=glimpse), soft.vocabulary_size)
        for glimpse in (1, 3)
    )
    for model in (alone, wide):
        take_over(model, soft)
    random = np.random.default_rng(0)
    size = config.image_size
    inputs = {
        "pixels": random.uniform(0, 255, (2, size, size, 3)).astype(np.float32),
        "previous": random.integers(1, soft.vocabulary_size, (2, 1, 4)),
    }
    one, other = (model(inputs, training=False)["logits"] for model in (alone, wide))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    # A run that goes on from such a run keeps what that one learned of them.
    learned = wide.decoder.surroundings.pointwise_kernel
    learned.assign(np.full(learned.shape, 0.5, np.float32))
    again = build_model(replace(config, decoder="hard", hard_glimpse=3), soft.vocabulary_size)
    take_over(again, wide)
    for weight, value in zip(again.weights, wide.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, value, weight.path)


def test_a_transformer_has_other_weights_than_soft_attention(first):
    config, run_dir = first
    with pytest.raises(UserError, match=r"pass --decoder soft\. Received: transformer"):
        starting_point(replace(config, init_from=str(run_dir), decoder="transformer"))


def test_surroundings_are_not_thrown_away(first, monkeypatch):
    config = replace(first[0], decoder="hard", hard_glimpse=3)
    monkeypatch.setattr(
        "captioning.starting_point.load_run", lambda *_: SimpleNamespace(config=config)
    )
    again = replace(config, init_from="run")
    assert starting_point(again).config == config
    for other in ({"hard_glimpse": 1}, {"hard_glimpse": 1, "decoder": "soft"}):
        with pytest.raises(UserError, match="--hard-glimpse 3"):
            starting_point(replace(again, **other))


def test_hard_attention_has_the_shapes_of_soft_attention(first):
    config, run_dir = first
    assert starting_point(replace(config, init_from=str(run_dir), decoder="hard")).config == config
