"""Low-rank attention against a loop in NumPy."""

import math

import numpy as np
import pytest

from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.mechanism import parse_mechanism
from tests.attention.small_layers import (
    HEADS,
    KEY_DIM,
    KEY_MASK,
    LENGTH,
    X,
    make,
    numbers,
    projected,
)


def naive_low_rank(layer, x, kept):
    projection = layer._algorithm_weights["sequence_projection"].numpy()[:, : x.shape[0]]
    query, key, value = projected(layer, x)
    context = np.zeros_like(query)
    for head in range(HEADS):
        mixed_keys = sum(np.outer(projection[:, s], key[s, head]) for s in kept)
        mixed_values = sum(np.outer(projection[:, s], value[s, head]) for s in kept)
        for t in range(x.shape[0]):
            scores = mixed_keys @ query[t, head] / math.sqrt(KEY_DIM)
            shares = np.exp(scores - scores.max())
            context[t, head] = shares / shares.sum() @ mixed_values
    return (
        np.einsum("qhd,hde->qe", context, layer.output_dense.kernel.numpy())
        + layer.output_dense.bias.numpy()
    )


def test_low_rank_attention_is_its_formula():
    layer = make("low-rank:8:80")
    output = numbers(layer(X, X, key_mask=KEY_MASK))
    for b in range(2):
        expected = naive_low_rank(layer, X[b], np.flatnonzero(KEY_MASK[b]))
        np.testing.assert_allclose(output[b], expected, atol=1e-4)


def test_low_rank_attention_of_full_rank_is_exact_and_refuses_what_is_longer():
    layer, dense = make("low-rank:75:75"), make("dense")
    layer._algorithm_weights["sequence_projection"].assign(np.eye(LENGTH))
    np.testing.assert_allclose(layer(X, X), dense(X, X), atol=1e-5)
    with pytest.raises(ValueError, match="Received: 75 keys"):
        make("low-rank:8:70")(X, X)
    with pytest.raises(ValueError, match="cannot leave out the future"):
        layer(X, X, use_causal_mask=True)


def test_a_low_rank_projection_begins_small_and_leaves_padding_out():
    layer = MultiHeadAttention(2, 4, mechanism=parse_mechanism("low-rank:64:400"))
    layer.build(X.shape, X.shape)
    (projection,) = layer._algorithm_weights.values()
    assert projection.shape == (64, 400)
    assert np.std(projection) == pytest.approx(64**-0.5, rel=0.05)
    mixing = make("low-rank:8:80")
    padded = numbers(mixing(X, X, key_mask=KEY_MASK))[2]
    bias = numbers(mixing._output_dense.bias)
    np.testing.assert_allclose(padded, np.broadcast_to(bias, padded.shape), atol=1e-6)
