"""Attention for loops against its formula, and step by step against all at once."""

import math

import numpy as np
import pytest

from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.reporting import listening
from attention_apps.attention.stepwise import StepwiseAttention

RNG = np.random.default_rng(0)
BATCH, QUERIES, KEYS, DIM = 2, 3, 5, 4
QUERY = RNG.normal(size=(BATCH, QUERIES, DIM)).astype("float32")
ENCODED = RNG.normal(size=(BATCH, KEYS, DIM)).astype("float32")
KEY_MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)
CHOICES = ["dot", "full", "general", "additive", "general+local-p:2", "additive+local-p:3"]


def make(text, encoded=ENCODED):
    layer = StepwiseAttention(mechanism=parse_mechanism(text))
    layer.build(QUERY.shape, encoded.shape)
    layer.set_weights([RNG.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def test_additive_attention_is_bahdanaus_formula():
    encoded = RNG.normal(size=(BATCH, KEYS, 7)).astype("float32")
    layer = make("additive", encoded)
    context, weights = layer(QUERY, encoded, KEY_MASK)
    query_kernel = layer.query_dense.kernel.numpy()
    key_kernel, key_bias = layer.key_dense.kernel.numpy(), layer.key_dense.bias.numpy()
    vector = layer._score_weights["score_vector"].numpy()[0]
    for b in range(BATCH):
        for t in range(QUERIES):
            kept = np.flatnonzero(KEY_MASK[b])
            energies = [
                vector @ np.tanh(QUERY[b, t] @ query_kernel + encoded[b, s] @ key_kernel + key_bias)
                for s in kept
            ]
            shares = np.exp(energies) / sum(math.exp(energy) for energy in energies)
            np.testing.assert_allclose(np.array(weights)[b, 0, t, kept], shares, rtol=1e-4)
            np.testing.assert_allclose(context[b, t], shares @ encoded[b, kept], atol=1e-5)
    assert not np.array(weights)[1, ..., 3:].any()


@pytest.mark.parametrize("text", CHOICES)
def test_step_by_step_is_all_at_once_and_rubbish_in_padding_cannot_matter(text):
    layer = make(text)
    heard = []
    with listening(lambda who, what: heard.append((who, what))):
        context, weights = layer(QUERY, ENCODED, KEY_MASK)
        spoiled = np.where(KEY_MASK[..., None], ENCODED, np.nan)
        projected = layer.project(spoiled, KEY_MASK)
        for step in range(QUERIES):
            one, its_weights = layer.attend(QUERY[:, step : step + 1], projected)
            np.testing.assert_allclose(one[:, 0], context[:, step], atol=1e-6)
            np.testing.assert_allclose(its_weights[:, :, 0], weights[:, :, step], atol=1e-6)
    assert [who for who, _ in heard] == [layer]
    np.testing.assert_array_equal(heard[0][1], weights)
    assert weights.shape == (BATCH, 1, QUERIES, KEYS)


@pytest.mark.parametrize("text", CHOICES)
def test_a_source_of_nothing_gives_nothing(text):
    context, weights = make(text)(QUERY, ENCODED, np.zeros_like(KEY_MASK))
    assert not np.array(context).any()
    assert not np.array(weights).any()


@pytest.mark.parametrize("text", CHOICES)
def test_it_survives_serialisation(text):
    layer = make(text)
    again = StepwiseAttention.from_config(layer.get_config())
    again.build(QUERY.shape, ENCODED.shape)
    again.set_weights(layer.get_weights())
    for one, other in zip(
        layer(QUERY, ENCODED, KEY_MASK), again(QUERY, ENCODED, KEY_MASK), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_what_it_cannot_do_is_refused():
    for text in ("window:2", "rotary"):
        with pytest.raises(ValueError, match="two sequences"):
            StepwiseAttention(mechanism=parse_mechanism(text))
    for text in ("multi-scale:2", "qk-norm", "grouped:1", "gumbel", "chunked", "linear:8"):
        with pytest.raises(ValueError, match="it takes no scales, no QK-norm"):
            StepwiseAttention(mechanism=parse_mechanism(text))
    with pytest.raises(ValueError, match="Received: 4 and 7"):
        StepwiseAttention(mechanism=parse_mechanism("dot")).build(QUERY.shape, (BATCH, KEYS, 7))


def test_projections_have_names_and_types_of_their_layer():
    layer = StepwiseAttention(mechanism=parse_mechanism("additive"), dtype="mixed_bfloat16")
    layer.build(QUERY.shape, (BATCH, KEYS, 7))
    assert [layer.query_dense.name, layer.key_dense.name] == ["query", "key"]
    for dense in (layer.query_dense, layer.key_dense):
        assert dense.dtype_policy.name == "mixed_bfloat16"
        assert dense.kernel.shape[1] == DIM
    assert layer.query_dense.bias is None
    assert layer.key_dense.kernel.shape[0] == 7
    assert layer.built
