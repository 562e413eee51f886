"""What users hand in: files that are no pictures, captions without photos, weights of others."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from attention_apps.running.command import UserError
from captioning.config import Config
from captioning.data import load
from captioning.encoder import build_encoder
from captioning.images import prepare
from captioning.readable import readable


def picture(size=(20, 10), mode="RGB", form="JPEG"):
    pixels = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(held, form)
    return held.getvalue()


PHOTOS = {
    "good.jpg": picture(),
    "one.jpg": picture((1, 1)),
    "long.jpg": picture((12_000, 2)),
    "cmyk.jpg": picture(mode="CMYK"),
    "grey.jpg": picture(mode="L"),
    "text.jpg": b"no picture\n",
    "truncated.jpg": picture((200, 200))[:2000],
    "empty.jpg": b"",
}
UNREADABLE = ("text.jpg", "truncated.jpg", "empty.jpg")


@pytest.fixture
def folder(tmp_path):
    """A folder in Flickr8k's layout with every kind of bad photo among the training photos."""
    names = [*PHOTOS, "no_caption.jpg", "no_photo.jpg"]
    for name, encoded in {**PHOTOS, "no_caption.jpg": picture()}.items():
        (tmp_path / name).write_bytes(encoded)
    captions = [f"{name}#{i}\ta dog runs" for name in names for i in range(5)]
    kept = [line for line in captions if not line.startswith("no_caption")]
    (tmp_path / "x.token.txt").write_text("\n".join(kept), "utf-8")
    lists = {"train": names, "dev": ["good.jpg"], "test": ["good.jpg"], "none": []}
    for split, of_split in lists.items():
        (tmp_path / f"{split}Images.txt").write_text("\n".join(of_split), "utf-8")
    return tmp_path


def config(folder, **flags):
    known = {"validation_name": "dev", "image_size": 32, "min_word_count": 1}
    return Config(dataset="files", data_dir=str(folder), **{**known, **flags})


def test_what_cannot_be_used_is_left_out_by_name_and_the_rest_is_kept(folder):
    splits = load(config(folder))
    (train,) = readable(config(folder), splits.train)
    assert train.photos.names == [name for name in PHOTOS if name not in UNREADABLE]
    told = "\n".join([*splits.notes, *train.notes])
    for words in (*UNREADABLE, "no caption: no_caption.jpg", "no photo file: no_photo.jpg"):
        assert words in told
    assert "CMYK and were converted to RGB: cmyk.jpg" in told
    assert "grey and were converted to RGB: grey.jpg" in told


def test_a_picture_that_is_none_changes_no_other_of_its_batch():
    pixels, valid = prepare(tf.constant(list(PHOTOS.values())), 32)
    assert valid.numpy().tolist() == [name not in UNREADABLE for name in PHOTOS]
    for row, encoded in enumerate(PHOTOS.values()):
        alone, _ = prepare(tf.constant([encoded]), 32)
        np.testing.assert_array_equal(pixels[row], alone[0])
    assert not prepare(tf.constant([b"", b"text"]), 32)[1].numpy().any()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"train_name": "none"}, "empty list"),
        ({"train_name": "absent"}, "absentImages.txt"),
        ({"validation_name": "", "validation_photos": 8}, "sets aside 8"),
        ({"min_word_count": 1000}, "--min-word-count"),
    ],
)
def test_splits_that_hold_nothing_are_refused_in_a_sentence(folder, flags, words):
    with pytest.raises(UserError, match=words):
        load(config(folder, **flags))


def test_photos_of_which_none_can_be_read_are_refused(folder):
    (folder / "good.jpg").write_bytes(b"no picture")
    splits = load(config(folder))
    with pytest.raises(UserError, match="'test'"):
        list(readable(config(folder), splits.test))


def test_weights_of_another_architecture_are_refused_in_one_sentence(tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    given = {"encoder": "mobilenet_v2", "image_size": 32}
    for name in ("other.weights.h5", "absent.weights.h5"):
        with pytest.raises(ValueError, match="--encoder-weights must") as raised:
            build_encoder(Config(encoder_weights=str(tmp_path / name), **given))
        assert "\n" not in str(raised.value)
