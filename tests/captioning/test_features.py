"""The encoders, and the cache of what the frozen ones see."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioning import features
from captioning.config import Config
from captioning.encoder import build_encoder, read_grids
from captioning.features import encoder_digest, extract
from captioning.photos import Photos


def small_encoder(seed):
    pixels = keras.Input((32, 32, 3))
    convolution = keras.layers.Conv2D(
        4, 8, strides=8, kernel_initializer=keras.initializers.GlorotUniform(seed)
    )
    return keras.Model(pixels, convolution(keras.layers.Rescaling(1 / 255)(pixels)))


def photos(count, seed=0):
    random = np.random.default_rng(seed)
    encoded = [
        tf.io.encode_png(random.integers(0, 256, (32, 32, 3)).astype(np.uint8)).numpy()
        for _ in range(count)
    ]
    names = [f"photo{index}" for index in range(count)]
    return Photos("train", names, [["a caption"]] * count, encoded.__getitem__)


@pytest.fixture
def counted(monkeypatch):
    """How many photos were computed, part by part."""
    written, write = [], features.write_part
    monkeypatch.setattr(features, "_PART", 4)

    def count(folder, grids, valid, digests):
        written.append(len(digests))
        write(folder, grids, valid, digests)

    monkeypatch.setattr(features, "write_part", count)
    return written


def test_only_parts_with_asked_photos_are_open(tmp_path, counted):
    encoder, first, second = small_encoder(0), photos(6), photos(3, seed=1)
    extract(encoder, first, 32, tmp_path)
    kept = extract(encoder, second, 32, tmp_path)
    assert (len(kept.parts), len(extract(encoder, first, 32, tmp_path).parts)) == (1, 2)
    expected = read_grids(encoder, np.stack([second.pixels(index) for index in range(3)]))
    np.testing.assert_allclose(kept.rows(np.arange(3))[0], expected[0], atol=2e-3)


def test_features_are_those_of_the_encoder(tmp_path):
    encoder, some = small_encoder(0), photos(5)
    kept = extract(encoder, some, 32, tmp_path)
    pixels = np.stack([some.pixels(index) for index in (3, 1)])
    (expected,) = read_grids(encoder, pixels)
    (grid,) = kept.rows(np.array([3, 1]))
    assert grid.dtype == np.float16
    np.testing.assert_allclose(grid, expected, atol=2e-3)
    assert kept.shapes == [(4, 4, 4)]
    np.testing.assert_array_equal(kept.take(np.array([3, 1])).rows(np.array([0]))[0], grid[:1])


def test_every_photo_is_computed_once_whatever_the_split(tmp_path, counted):
    encoder, some = small_encoder(0), photos(10)
    whole = extract(encoder, some, 32, tmp_path)
    assert counted == [4, 4, 2]
    part = extract(encoder, some.take([7, 2]), 32, tmp_path)
    assert counted == [4, 4, 2]
    np.testing.assert_array_equal(part.rows(np.array([0, 1]))[0], whole.rows(np.array([7, 2]))[0])


def test_after_a_kill_only_what_is_missing_is_computed(tmp_path, counted, monkeypatch):
    encoder, some, write = small_encoder(0), photos(10), features.write_part

    def killed(folder, grids, valid, digests):
        if len(counted) == 2:
            raise KeyboardInterrupt
        write(folder, grids, valid, digests)

    monkeypatch.setattr(features, "write_part", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(encoder, some, 32, tmp_path)
    monkeypatch.setattr(features, "write_part", write)
    counted.clear()
    kept = extract(encoder, some, 32, tmp_path)
    assert counted == [2]
    whole = extract(encoder, some, 32, tmp_path / "other")
    np.testing.assert_array_equal(kept.rows(np.arange(10))[0], whole.rows(np.arange(10))[0])


def test_other_weights_or_sizes_are_another_encoder():
    first, same, other = (encoder_digest(small_encoder(seed), 32) for seed in (0, 0, 1))
    assert first == same != other
    assert encoder_digest(small_encoder(0), 64) != first


def test_a_corrupt_photo_is_marked(tmp_path):
    some = photos(3)
    broken = Photos("train", some.names, some.captions, lambda i: b"x" if i == 1 else some.read(i))
    kept = extract(small_encoder(0), broken, 32, tmp_path)
    assert kept.valid.tolist() == [True, False, True]


FLICKR = Config(dataset="files", data_dir="x", encoder="mobilenet_v2", image_size=64)


@pytest.mark.parametrize(
    ("grid", "sides"),
    [("fine", [(4, 576)]), ("coarse", [(2, 1280)]), ("both", [(4, 576), (2, 1280)])],
)
def test_grids_of_mobilenet(grid, sides):
    encoder = build_encoder(replace(FLICKR, grid=grid), pretrained=False)
    grids = read_grids(encoder, np.zeros((1, 64, 64, 3)))
    assert [(g.shape[1], g.shape[-1]) for g in grids] == sides
    names = {"fine": ["block_13_expand_relu"], "coarse": ["out_relu"]}
    names["both"] = names["fine"] + names["coarse"]
    backbone = encoder.get_layer("backbone")
    assert [output._keras_history.operation.name for output in backbone.outputs] == names[grid]


def test_a_cell_of_the_small_cnn_sees_itself_and_three_pixels_around_it():
    encoder = build_encoder(Config(image_size=32))
    pixels = tf.Variable(np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)), dtype="float32")
    with tf.GradientTape(persistent=True) as tape:
        (cells,) = read_grids(encoder, pixels)
        told = {
            place: tf.reduce_sum(cells[0, place[0], place[1]] ** 2) for place in ((1, 2), (3, 0))
        }
    assert cells.shape[1:3] == (4, 4)
    for (row, column), one in told.items():
        seen = np.any(tape.gradient(one, pixels)[0] != 0, axis=-1)
        expected = np.zeros((32, 32), bool)
        rows, columns = (slice(max(8 * at - 3, 0), 8 * at + 11) for at in (row, column))
        expected[rows, columns] = True
        np.testing.assert_array_equal(seen, expected)


def test_weights_of_another_architecture_are_one_sentence(tmp_path):
    path = tmp_path / "other.weights.h5"
    small_encoder(0).save_weights(path)
    with pytest.raises(ValueError, match="--encoder-weights must fit MobileNetV2"):
        build_encoder(replace(FLICKR, encoder_weights=str(path)))
    with pytest.raises(ValueError, match="--encoder-weights must be a weights file"):
        build_encoder(replace(FLICKR, encoder_weights=str(tmp_path / "none")))


def test_a_preset_of_keras_hub_saved_here_is_an_encoder(tmp_path):
    import keras_hub

    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    backbone.save_to_preset(str(tmp_path / "preset"))
    assert json.loads((tmp_path / "preset" / "config.json").read_text())
    config = replace(FLICKR, encoder=f"hub:{tmp_path / 'preset'}", grid="both")
    encoder = build_encoder(config)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    fine, coarse = read_grids(encoder, pixels)
    assert fine.shape[1:3] == (4, 4)
    np.testing.assert_allclose(coarse, backbone(pixels / 255), atol=1e-4)
    with pytest.raises(ValueError, match="hub:PRESET"):
        build_encoder(replace(FLICKR, encoder="hub:nothing_like_it"))
