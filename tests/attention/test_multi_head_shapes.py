"""Shapes and types of multi-head attention before there is a number."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.mechanism import parse_mechanism

# Sizes that no two axes share.
BATCH, QUERIES, KEYS, DIM, HEADS, KEY_DIM = 2, 5, 7, 6, 4, 8
RNG = np.random.default_rng(0)
QUERY = RNG.normal(size=(BATCH, QUERIES, DIM)).astype("float32")
VALUE = RNG.normal(size=(BATCH, KEYS, DIM)).astype("float32")


def make(text="full", **options):
    layer = MultiHeadAttention(HEADS, KEY_DIM, mechanism=parse_mechanism(text), **options)
    layer.build(QUERY.shape, VALUE.shape)
    return layer


@pytest.mark.parametrize("text", ["full", "grouped:2", "chunked:2"])
def test_symbolic_shapes_and_types_are_those_of_tensors(text):
    layer = make(text, dtype="bfloat16", output_shape=9)
    query, value, key = (
        keras.KerasTensor((None, length, DIM), "bfloat16") for length in (QUERIES, KEYS, KEYS)
    )
    alone = layer.compute_output_spec(query, value)
    assert (tuple(alone.shape), alone.dtype) == ((None, QUERIES, 9), "bfloat16")
    for given in ((query, value), (query, value, key)):
        output, weights = layer.compute_output_spec(*given, return_attention_scores=True)
        assert (tuple(output.shape), output.dtype) == ((None, QUERIES, 9), "bfloat16")
        assert tuple(weights.shape) == (None, HEADS, QUERIES, KEYS)
        assert weights.dtype == "float32"
    found = layer(ops.cast(QUERY, "bfloat16"), ops.cast(VALUE, "bfloat16"))
    assert isinstance(found, tf.Tensor)
    assert (tuple(found.shape), found.dtype) == ((BATCH, QUERIES, 9), "bfloat16")


@pytest.mark.parametrize(
    ("axes", "kept", "attended"), [(None, (2,), (3, 5)), ((1,), (2, 5), (3,)), ((2,), (2, 3), (5,))]
)
def test_shapes_may_be_asked_for_before_there_are_weights(axes, kept, attended):
    layer = MultiHeadAttention(HEADS, KEY_DIM, attention_axes=axes)
    grid = keras.KerasTensor((2, 3, 5, DIM))
    output, weights = layer.compute_output_spec(grid, grid, return_attention_scores=True)
    assert tuple(output.shape) == (2, 3, 5, DIM)
    assert tuple(weights.shape) == (*kept, HEADS, *attended, *attended)


def test_keys_of_another_number_than_values_are_refused():
    query, value, key = (keras.KerasTensor((2, length, DIM)) for length in (QUERIES, KEYS, 3))
    for asked in (False, True):
        with pytest.raises(ValueError, match="must be equal"):
            make().compute_output_spec(query, value, key, return_attention_scores=asked)


@pytest.mark.parametrize("shape", [(2, 5, DIM), (2, 3, 5, DIM)])
def test_a_graph_need_not_know_any_length(shape):
    layer = MultiHeadAttention(HEADS, KEY_DIM)
    x = RNG.normal(size=shape).astype("float32")
    expected = layer(x, x)
    unknown = tf.TensorSpec((None,) * (len(shape) - 1) + (DIM,), "float32")
    graph = tf.function(lambda y: layer(y, y), input_signature=[unknown])
    np.testing.assert_allclose(graph(x), expected, atol=1e-6)
    assert graph(x[:0]).shape == (0, *shape[1:])
