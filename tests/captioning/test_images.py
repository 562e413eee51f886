"""Pictures of every kind, and what is none."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from captioning.images import decode, prepare, resize


def encoded(mode="RGB", form="PNG", size=(20, 10), colour=None):
    colour = colour or {"RGB": (200, 30, 40), "L": 77, "CMYK": (0, 255, 255, 0)}[mode]
    stream = io.BytesIO()
    Image.new(mode, size, colour).save(stream, form)
    return stream.getvalue()


def test_a_picture_of_the_right_size_is_left_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    prepared, valid = prepare(tf.constant([tf.io.encode_png(pixels).numpy()]), 16)
    np.testing.assert_array_equal(prepared[0], pixels)
    assert valid.numpy().tolist() == [True]


def test_a_larger_picture_becomes_means_of_areas():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    expected = pixels.reshape(4, 2, 4, 3, 3).astype(float).mean((1, 3))
    assert abs(resize(pixels, 4).numpy() - expected).max() <= 0.5 + 1e-4


def test_grey_becomes_rgb():
    (pixels,), _ = prepare(tf.constant([encoded("L")]), 8)
    np.testing.assert_array_equal(pixels, np.full((8, 8, 3), 77))


def test_cmyk_becomes_rgb():
    (pixels,), _ = prepare(tf.constant([encoded("CMYK", "JPEG")]), 8)
    red, green, blue = np.array(pixels)[4, 4]
    assert red > 180
    assert max(green, blue) < 80


def test_a_single_pixel_is_a_picture():
    (pixels,), valid = prepare(tf.constant([encoded(size=(1, 1))]), 8)
    assert bool(valid[0])
    np.testing.assert_array_equal(
        np.unique(np.array(pixels).reshape(-1, 3), axis=0), [[200, 30, 40]]
    )


@pytest.mark.parametrize("bad", [b"", b"no picture", "cut", "cut png"])
def test_a_corrupt_picture_stops_no_other(bad):
    if bad == "cut":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        bad = tf.io.encode_jpeg(noise).numpy()[:1500]
    elif bad == "cut png":
        bad = encoded()[:40]
    good = [encoded(), encoded(colour=(1, 2, 3))]
    alone, _ = prepare(tf.constant(good), 8)
    pixels, valid = tf.function(lambda images: prepare(images, 8))(
        tf.constant([bad, good[0], bad, good[1], bad])
    )
    assert valid.numpy().tolist() == [False, True, False, True, False]
    np.testing.assert_array_equal(np.array(pixels)[[1, 3]], alone)
    assert not np.array(pixels)[[0, 2, 4]].any()


def test_a_batch_in_which_nothing_can_be_read_is_an_answer_too():
    pixels, valid = prepare(tf.constant([b"x", b"y"]), 8)
    assert pixels.shape == (2, 8, 8, 3)
    assert not valid.numpy().any()
    assert prepare(tf.constant([], tf.string), 8)[0].shape == (0, 8, 8, 3)


def test_the_first_frame_of_a_gif_is_taken():
    stream = io.BytesIO()
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("white", "black")]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    pixels = decode(tf.constant(stream.getvalue()))
    assert pixels.shape == (4, 6, 3)
    assert int(np.min(pixels)) == 255
