"""Heads over pooled keys against a loop in NumPy."""

import itertools
import math
import zlib

import numpy as np
import pytest
from keras import ops

from attention_apps.attention.algorithms.pooled import pooled_attention
from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
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


@pytest.mark.parametrize("causal", [False, True])
def test_pooled_heads_are_their_formula(causal):
    layer = make("multi-scale:2")
    output, weights = layer(
        X, X, key_mask=KEY_MASK, use_causal_mask=causal, return_attention_scores=True
    )
    b = 1
    query, key, value = projected(layer, X[b])
    for h, factor in enumerate((1, 2)):
        pools = []
        for first in range(0, LENGTH, factor):
            members = [s for s in range(first, min(first + factor, LENGTH)) if KEY_MASK[b, s]]
            if members:
                pools.append((first + factor - 1, members))
        for t in range(LENGTH):
            seen = [members for last, members in pools if not causal or last <= t]
            scores = [
                query[t, h] @ key[members, h].mean(0) / math.sqrt(KEY_DIM) for members in seen
            ]
            expected = np.zeros(LENGTH)
            for score, members in zip(scores, seen, strict=True):
                share = math.exp(score) / sum(math.exp(other) for other in scores)
                expected[members] = share / len(members)
            np.testing.assert_allclose(np.array(weights)[b, h, t], expected, atol=1e-5)
    assert value.shape == (LENGTH, HEADS, KEY_DIM)
    assert np.isfinite(numbers(output)).all()


@pytest.mark.parametrize("causal", [False, True])
def test_pools_may_be_of_any_size_and_the_last_one_short(causal):
    rng = np.random.default_rng(0)
    factors, num_keys, num_heads, dim = (3, 4), 11, 4, 5
    query, key, value = rng.normal(size=(3, 2, num_keys, num_heads, dim)).astype("float32")
    kept = rng.random((2, num_keys)) < 0.6
    positions = ops.arange(num_keys) if causal else None
    context, weights = pooled_attention(
        *(query, key, value),
        mechanism=Mechanism(),
        factors=factors,
        key_mask=kept,
        query_positions=positions,
    )
    for b, h, t in itertools.product(range(2), range(num_heads), range(num_keys)):
        factor = factors[h % 2]
        pools = [
            [s for s in range(first, min(first + factor, num_keys)) if kept[b, s]]
            for first in range(0, num_keys, factor)
            if not causal or first + factor - 1 <= t
        ]
        expected = np.zeros(num_keys)
        for pool in filter(None, pools):
            mass = math.exp(query[b, t, h] @ key[b, pool, h].mean(0) / math.sqrt(dim))
            expected[pool] = mass / len(pool)
        expected /= max(expected.sum(), 1e-30)
        np.testing.assert_allclose(weights[b, h, t], expected, atol=1e-5)
        np.testing.assert_allclose(context[b, t, h], expected @ value[b, :, h], atol=1e-5)


def test_pooled_heads_over_single_keys_are_dense_ones_with_weights_of_their_own():
    texts = ("multi-scale:2+general", "dense+general")
    pooled, dense = (
        MultiHeadAttention(4, KEY_DIM, mechanism=parse_mechanism(text)) for text in texts
    )
    for layer in (pooled, dense):
        layer.build(X.shape, X.shape)
        for weight in layer.trainable_weights:
            name = weight.path.partition("/")[2].encode()
            rng = np.random.default_rng(zlib.crc32(name))
            weight.assign(rng.normal(size=weight.shape) * 0.5)
    _, ours = pooled(X, X, key_mask=KEY_MASK, return_attention_scores=True)
    _, theirs = dense(X, X, key_mask=KEY_MASK, return_attention_scores=True)
    np.testing.assert_allclose(ours[:, ::2], theirs[:, ::2], atol=1e-6)
    # Heads over pairs of keys are others, and score by matrices of their own.
    assert np.abs(ours[:, 1::2] - theirs[:, 1::2]).max() > 0.01
    pairs = np.array(ours[0, 1::2, :, :60]).reshape(2, LENGTH, 30, 2)
    np.testing.assert_allclose(pairs[..., 0], pairs[..., 1], atol=1e-6)
    assert np.abs(pairs[0] - pairs[1]).max() > 0.01
