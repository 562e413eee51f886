"""Position schemes against closed forms."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from attention_apps.attention.positions import (
    LearnedPositions,
    Rotary,
    SinusoidalPositions,
    sinusoidal_positions,
)


def test_rotary_turns_each_pair_like_a_complex_number():
    rng = np.random.default_rng(0)
    dim, length = 6, 5
    vectors = rng.normal(size=(2, length, 3, dim)).astype("float32")
    turned = np.array(Rotary(100.0).rotate(ops.array(vectors), ops.arange(length) + 7))
    for pair in range(dim // 2):
        first, second = vectors[..., pair], vectors[..., pair + dim // 2]
        for position in range(length):
            angle = (position + 7) * 100.0 ** (-2 * pair / dim)
            expected = (first[:, position] + 1j * second[:, position]) * np.exp(1j * angle)
            np.testing.assert_allclose(turned[:, position, :, pair], expected.real, atol=1e-5)
            np.testing.assert_allclose(
                turned[:, position, :, pair + dim // 2], expected.imag, atol=1e-5
            )


def test_rotary_products_depend_on_distance_alone():
    rng = np.random.default_rng(1)
    query, key = (ops.array(rng.normal(size=(1, 1, 1, 8)).astype("float32")) for _ in range(2))

    def product(query_position, key_position):
        turned_query = Rotary().rotate(query, ops.array([query_position]))
        turned_key = Rotary().rotate(key, ops.array([key_position]))
        return float(ops.sum(turned_query * turned_key))

    assert product(3, 1) == pytest.approx(product(103, 101), abs=1e-4)
    assert product(3, 1) != pytest.approx(product(4, 1), abs=1e-3)


def test_rotary_tells_far_bfloat16_positions_apart():
    vectors = ops.ones((1, 2, 1, 4), dtype="bfloat16")
    turned = np.array(ops.cast(Rotary().rotate(vectors, ops.array([257, 258])), "float32"))
    assert np.abs(turned[0, 0] - turned[0, 1]).max() > 0.1


def test_rotary_refuses_an_odd_size():
    with pytest.raises(ValueError, match="key_dim=5"):
        Rotary().rotate(ops.ones((1, 2, 1, 5)), ops.arange(2))


def test_sinusoidal_positions_are_the_formula():
    dim = 7
    table = np.array(sinusoidal_positions(ops.arange(50), dim, 1000.0))
    for position in range(50):
        for index in range(dim):
            angle = position / 1000.0 ** (2 * (index // 2) / dim)
            expected = math.sin(angle) if index % 2 == 0 else math.cos(angle)
            assert table[position, index] == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("layer", [SinusoidalPositions(), LearnedPositions(16)])
def test_starting_later_gives_the_later_rows(layer):
    embeddings = np.random.default_rng(2).normal(size=(2, 9, 4)).astype("float32")
    whole = np.array(layer(embeddings))
    later = np.array(layer(embeddings[:, 4:], start=4))
    np.testing.assert_allclose(later, whole[:, 4:], atol=1e-6)
    assert np.abs(np.array(layer(embeddings[:, 4:])) - later).max() > 1e-3
    again = type(layer).from_config(layer.get_config())
    again.build(embeddings.shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(embeddings), whole)


def test_sinusoidal_vectors_are_added_and_have_nothing_to_build():
    embeddings = np.random.default_rng(3).normal(size=(2, 5, 4)).astype("float32")
    for layer, wavelength in ((SinusoidalPositions(100.0), 100.0), (SinusoidalPositions(), 1e4)):
        assert layer.built
        expected = embeddings + np.array(sinusoidal_positions(ops.arange(5), 4, wavelength))
        np.testing.assert_allclose(layer(embeddings), expected, atol=1e-6)
    np.testing.assert_array_equal(
        sinusoidal_positions(ops.arange(9) * 1000, 4),
        sinusoidal_positions(ops.arange(9) * 1000, 4, 1e4),
    )


def test_learned_vectors_are_added_up_to_the_last():
    layer = LearnedPositions(5, initializer="ones")
    embeddings = np.random.default_rng(4).normal(size=(2, 5, 4)).astype("float32")
    np.testing.assert_allclose(layer(embeddings), embeddings + 1, atol=1e-6)
    (table,) = layer.trainable_weights
    assert (table.name, table.shape) == ("position_embeddings", (5, 4))
    table.assign(np.arange(20.0).reshape(5, 4))
    np.testing.assert_allclose(layer(embeddings), embeddings + np.array(table), atol=1e-6)


@pytest.mark.parametrize("layer", [SinusoidalPositions(), LearnedPositions(3)])
def test_padding_stays_known_behind_positions(layer):
    tokens = np.array([[3, 1, 0], [2, 0, 0]])
    behind = layer(keras.layers.Embedding(4, 6, mask_zero=True)(tokens))
    np.testing.assert_array_equal(behind._keras_mask, tokens != 0)


def test_learned_positions_refuse_what_is_too_long():
    with pytest.raises(ValueError, match="Received: 5 tokens"):
        LearnedPositions(4)(np.zeros((1, 5, 2), "float32"))


def test_rotary_survives_serialisation():
    rotary = Rotary(500.0)
    assert (
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rotary)) == rotary
    )
