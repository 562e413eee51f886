"""Training, answering and asking, on the embedded scenes and on files."""

import io
from dataclasses import replace
from itertools import chain
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attention_apps.observation.events import read_records
from attention_apps.running.command import UserError
from attention_apps.running.flags import RunOptions
from captioning import predict
from captioning.augment import augment, may_be_mirrored
from captioning.batches import Batches
from captioning.config import EXAMPLE, TINY, Config
from captioning.data import load
from captioning.features import extract
from captioning.finished import load_captioner
from captioning.photos import Photos
from captioning.train import train
from captioning.words import END, PAD, START, Vocabulary


@pytest.fixture(scope="module")
def finished(finished_run):
    config, run_dir = finished_run("captioning")
    return config, run_dir, load_captioner(run_dir)[1]


def test_answers_do_not_depend_on_who_shares_the_batch(finished):
    config, _, captioner = finished
    test = load(config, captioner.vocabulary).test
    images = [test.encoded(index) for index in range(7)]
    captions, scores, weights = captioner.caption([*images, b"none"])
    alone = [captioner.caption([image]) for image in images]
    assert captions == [*(caption for ((caption,), _, _) in alone), ""]
    np.testing.assert_allclose(scores[:7], [score for _, (score,), _ in alone], atol=1e-5)
    assert scores[7] == -np.inf
    for caption, maps in zip(captions, weights, strict=True):
        assert maps.shape == (len(caption.split()), 8, 8)
        np.testing.assert_allclose(maps.sum((1, 2)), 1, atol=1e-5)


def test_what_is_forced_is_what_was_said(finished):
    config, _, captioner = finished
    test = load(config, captioner.vocabulary).test
    pixels = [test.pixels(index) for index in range(3)]
    captions, _, weights = captioner.caption(pixels)
    for forced, said in zip(captioner.force(pixels, captions), weights, strict=True):
        np.testing.assert_allclose(forced, said, atol=1e-5)


def test_the_export_serves_the_rest_of_a_batch(finished):
    _, run_dir, captioner = finished
    loaded = tf.saved_model.load(str(run_dir / "saved_model" / "1"))
    example = Path(EXAMPLE).read_bytes()
    told = loaded.signatures["with_attention"](tf.constant([b"text", example, example[:99]]))
    (expected,), (score,), (weights,) = captioner.caption([example])
    assert [text.decode() for text in told["captions"].numpy()] == ["", expected, ""]
    np.testing.assert_allclose(told["scores"], [-np.inf, score, -np.inf], rtol=1e-5)
    np.testing.assert_allclose(told["attention"][1, : len(weights)], weights, atol=1e-5)
    assert not np.array(told["attention"])[[0, 2]].any()


def test_predict_draws_and_names_what_it_cannot_read(finished, tmp_path, capsys):
    _, run_dir, _ = finished
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    argv = ["--run-dir", str(run_dir), str(text), EXAMPLE, "--folder", str(tmp_path)]
    with pytest.raises(UserError, match=r"1 of 2 files .* Received: .*text\.jpg"):
        predict.main(argv)
    assert "→ " in capsys.readouterr().out
    with Image.open(tmp_path / "example-attention.png") as strip:
        assert len(np.unique(np.array(strip.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_a_strip_takes_the_place_of_no_photo_and_of_no_other_strip(tmp_path):
    photos = [tmp_path / "a" / "1.jpg", tmp_path / "b" / "1.jpg", tmp_path / "2.png"]
    strips = predict.strip_paths(photos, tmp_path)
    assert [path.name for path in strips] == [
        "1-attention.png",
        "1-attention-2.png",
        "2-attention.png",
    ]
    with pytest.raises(UserError, match=r"would overwrite a photo.*2-attention\.png"):
        predict.strip_paths([*photos, tmp_path / "a" / ".." / "2-attention.png"], tmp_path)


@pytest.mark.parametrize(
    ("photos", "told"), [([], "give photos"), (["none.jpg"], "must be a file"), (["."], "a file")]
)
def test_predict_refuses_what_is_no_file(photos, told, tmp_path):
    with pytest.raises(UserError, match=told):
        predict.main(["--run-dir", str(tmp_path), *photos])


def test_gold_stands_beside_attention(finished):
    _, run_dir, _ = finished
    records = read_records(run_dir / "attention")
    assert records
    for record in records:
        assert record.key.grid == (8, 8)
        sums = record.gold.sum(-1)
        assert np.all(np.isclose(sums, 0) | np.isclose(sums, 1, atol=0.02))  # kept coarsely
        assert (sums > 0).any()
    assert list((run_dir / "overlays").glob("*.tfevents.*"))


@pytest.fixture
def flickr(tmp_path):
    """Ten noisy photos of Flickr8k's layout, one of them corrupt, and an encoder's weights."""
    random = np.random.default_rng(0)
    lines = []
    for index in range(10):
        name = f"photo{index}.jpg"
        stream = io.BytesIO()
        pixels = random.integers(0, 256, (70, 50, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG")
        (tmp_path / name).write_bytes(b"no photo" if index == 3 else stream.getvalue())
        lines += [f"{name}#{n}\tdog {index % 3} runs {n} .\n" for n in range(2)]
    (tmp_path / "captions.token.txt").write_text("".join(lines))
    names = [f"photo{index}.jpg\n" for index in range(10)]
    (tmp_path / "x.trainImages.txt").write_text("".join(names[:8]))
    (tmp_path / "x.testImages.txt").write_text("".join(names[8:]))
    keras.utils.set_random_seed(0)
    backbone = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    backbone.save_weights(tmp_path / "mobilenet.weights.h5")
    return replace(
        TINY,
        dataset="files",
        data_dir=str(tmp_path),
        cache_dir=str(tmp_path / "cache"),
        encoder="mobilenet_v2",
        encoder_weights=str(tmp_path / "mobilenet.weights.h5"),
        grid="both",
        validation_photos=2,
        min_word_count=1,
        batch_photos=4,
        epochs=1,
    )


@pytest.mark.verify
def test_a_frozen_encoder_is_read_from_the_cache_and_served_from_bytes(flickr, capsys):
    options = RunOptions(runs_dir=Path(flickr.data_dir) / "runs")
    run_dir = train(flickr, options)["run_dir"]
    assert "photo3.jpg" in capsys.readouterr().out
    run, captioner = load_captioner(run_dir)
    fresh = keras.applications.MobileNetV2(include_top=False, weights=None)
    fresh.load_weights(flickr.encoder_weights)
    for kept, first in zip(run.model.encoder.get_weights(), fresh.get_weights(), strict=False):
        np.testing.assert_array_equal(kept, first)
    test = load(flickr).test
    features = extract(run.model.encoder, test, 64, Path(flickr.cache_dir))
    forced = captioner.forced([test.encoded(i) for i in range(2)], ["dog 1", "dog 2"])
    cached = captioner.forced_on({"grids": tuple(features.rows(np.arange(2)))}, ["dog 1", "dog 2"])
    for (maps, told), (of_cache, also) in zip(forced, cached, strict=True):
        np.testing.assert_allclose(maps, of_cache, atol=1e-4)
        np.testing.assert_allclose(told, also, atol=1e-3)


@pytest.mark.verify
def test_a_tuned_encoder_changes(flickr):
    config = replace(flickr, fine_tune=True, grid="coarse", flips=True, crops=0.2, colours=0.2)
    options = RunOptions(runs_dir=Path(flickr.data_dir) / "runs")
    run, _ = load_captioner(train(config, options)["run_dir"])
    fresh = keras.applications.MobileNetV2(include_top=False, weights=None)
    fresh.load_weights(flickr.encoder_weights)
    changed = [
        not np.array_equal(kept, first)
        for kept, first in zip(run.model.encoder.weights, fresh.weights, strict=False)
        if "moving" not in first.path
    ]
    assert np.mean(changed) > 0.9


def test_batches_are_decided_by_seed_and_epoch():
    encoded = [tf.io.encode_png(np.full((8, 8, 3), i, np.uint8)).numpy() for i in range(5)]
    captions = [["one two", "one"], ["two"], ["one one two"], ["two two"], ["one"]]
    photos = Photos("train", list("abcde"), captions, encoded.__getitem__)
    vocabulary = Vocabulary.learn([text for of_photo in captions for text in of_photo], 1)
    batches = Batches(
        Config(batch_photos=2, image_size=8, max_length=6, seed=3), vocabulary, photos
    )
    assert batches.steps_per_epoch == 3
    whole = [*batches.epochs_from(0).take(6)]
    again = [*batches.epochs_from(1).take(3)]
    seen = [np.array(inputs["pixels"])[:, 0, 0, 0].astype(int).tolist() for inputs, *_ in whole]
    assert sorted(chain(*seen[:3])) == sorted(chain(*seen[3:])) == [0, 1, 2, 3, 4]
    assert seen[:3] != seen[3:]
    for (one, target, weights), (two, *_) in zip(whole[3:], again, strict=True):
        np.testing.assert_array_equal(one["pixels"], two["pixels"])
        previous, target = np.array(one["previous"]), np.array(target)
        assert (previous[..., 0] == START).all()
        np.testing.assert_array_equal(previous[..., 1:], target[..., :-1])
        np.testing.assert_array_equal(weights, target != PAD)
        assert (target == END).sum() == (target.any(-1)).sum()


def test_pictures_are_mirrored_only_where_their_captions_allow_it():
    assert may_be_mirrored(["a dog", "a cat on a leftover"])
    assert not may_be_mirrored(["a dog", "The LEFT one"])
    pixels = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3)).astype(np.uint8)
    mirrored = np.arange(64) % 2 == 0
    changed = augment(pixels, mirrored, [1, 2], Config(flips=True, image_size=8)).numpy()
    flipped = (changed != pixels).any((1, 2, 3))
    assert not flipped[~mirrored].any()
    assert 5 < flipped.sum() < 27
    np.testing.assert_array_equal(changed[flipped], pixels[flipped][:, :, ::-1])
    np.testing.assert_array_equal(augment(pixels, mirrored, [1, 2], Config()), pixels)


def test_crops_and_colours_stay_in_range():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    config = Config(crops=0.3, colours=0.5, image_size=16)
    changed = augment(pixels, np.ones(8, bool), [0, 0], config).numpy()
    assert changed.shape == pixels.shape
    assert 0 <= changed.min() <= changed.max() <= 255
    np.testing.assert_array_equal(
        changed, augment(pixels, np.ones(8, bool), [0, 0], config).numpy()
    )
    assert abs(changed - pixels).mean() > 5
