"""Layers of linear attention against a loop in NumPy, and how fast their error falls."""

import itertools
import math

import numpy as np
import pytest
from keras import ops

from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.algorithms.linear import OrthogonalFeatures, linear_attention
from attention_apps.attention.masks import causal as causal_mask
from attention_apps.attention.mechanism import Mechanism
from tests.attention.small_layers import (
    HEADS,
    KEY_DIM,
    LENGTH,
    X,
    make,
    projected,
)


@pytest.mark.parametrize("causal", [False, True])
def test_linear_attention_is_the_ratio_of_its_features(causal):
    layer = make("linear:16")
    features = layer._algorithm_weights["random_features"].numpy().astype("float64")
    query, key, value = (part.astype("float64") for part in projected(layer, X[0]))

    def feature(vector):
        return np.exp(features @ vector - vector @ vector / 2)

    context = np.zeros_like(query)
    for t, h in itertools.product(range(LENGTH), range(HEADS)):
        asked = feature(query[t, h] / KEY_DIM**0.25)
        seen = range(t + 1 if causal else LENGTH)
        products = np.array([asked @ feature(key[s, h] / KEY_DIM**0.25) for s in seen])
        context[t, h] = products @ value[: len(products), h] / products.sum()
    expected = np.einsum("qhd,hde->qe", context, layer.output_dense.kernel.numpy())
    output = layer(X[:1], X[:1], use_causal_mask=causal)
    np.testing.assert_allclose(output[0], expected + layer.output_dense.bias.numpy(), atol=1e-4)


@pytest.mark.parametrize("causal", [False, True])
def test_the_error_of_linear_attention_falls_with_the_root_of_its_features(causal):
    rng = np.random.default_rng(7)
    query, key, value = (
        ops.convert_to_tensor(rng.normal(size=(2, 40, 2, 8)) * 0.25, dtype="float32")
        for _ in range(3)
    )
    mask = causal_mask().dense(40, 40) if causal else None
    exact, _ = dense_attention(query, key, value, mechanism=Mechanism(), mask=mask)
    counts, errors = [32, 128, 512, 2048], []
    for count in counts:
        squares = []
        for seed in range(24):
            context = linear_attention(
                query,
                key,
                value,
                mechanism=Mechanism(),
                random_features=OrthogonalFeatures(seed)((count, 8), "float32"),
                causal=causal,
            )
            squares.append(np.square(np.array(context) - np.array(exact)).mean())
        errors.append(math.sqrt(np.mean(squares)))
    # The paper: the error falls as features^-1/2.
    assert np.polyfit(np.log(counts), np.log(errors), 1)[0] < -0.45


def test_random_features_are_orthogonal_and_saved():
    layer = make("linear:8")
    features = layer._algorithm_weights["random_features"].numpy()
    products = features[:4] @ features[:4].T
    np.testing.assert_allclose(products - np.diag(np.diag(products)), 0, atol=1e-5)
    assert not any("random_features" in weight.path for weight in layer.trainable_weights)
    assert any("random_features" in weight.path for weight in layer.weights)
