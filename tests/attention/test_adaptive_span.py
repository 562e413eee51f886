"""What a learned span may be, how far it reaches, what it costs and what it does to scores."""

import math

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from attention_apps.attention.adaptive_span import AdaptiveSpan
from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.mechanism import Mechanism
from tests.attention.small_layers import (
    HEADS,
    KEY_DIM,
    KEY_MASK,
    LENGTH,
    X,
    make,
    projected,
)

SPAN = np.array([0.1, 0.5, 1.0], "float32")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"size": 0}, "`size` of .* Received: 0"),
        ({"size": 2.5}, "`size` of .* Received: 2.5"),
        ({"size": True}, "`size` of .* Received: True"),
        ({"size": 4, "ramp": 0}, "`ramp` of .* Received: 0"),
        ({"size": 4, "ramp": "long"}, "`ramp` of .* Received: 'long'"),
        ({"size": 4, "ramp": True}, "`ramp` of .* Received: True"),
        ({"size": 4, "penalty": -0.5}, "at least 0. Received: penalty=-0.5"),
    ],
)
def test_spans_of_nothing_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        AdaptiveSpan(**options)


def test_the_smallest_span_is_kept_as_it_was_given():
    scope = AdaptiveSpan(1, ramp=1, penalty=0.0)
    assert AdaptiveSpan.from_config(scope.get_config()) == scope
    assert str(AdaptiveSpan(20)) == "span:20"


def test_every_head_begins_in_the_middle():
    ((name, (shape, initializer)),) = AdaptiveSpan(20).weights(3, 8).items()
    assert (name, shape) == ("span", (3,))
    np.testing.assert_array_equal(initializer(shape), [0.5] * 3)


def test_spans_stay_between_nothing_and_all():
    spans = AdaptiveSpan(20).spans(ops.convert_to_tensor([-3.0, 0.0, 0.25, 1.0, 7.0], "float16"))
    assert spans.dtype == "float32"
    np.testing.assert_array_equal(spans, [0, 0, 5, 20, 20])


def test_spans_are_paid_for_by_their_mean():
    assert float(AdaptiveSpan(20, penalty=3.0).loss(SPAN)) == pytest.approx(3 * 1.6 / 3)
    assert float(AdaptiveSpan(20).loss(SPAN)) == 0


@pytest.mark.parametrize(
    ("share", "ramp", "reach"),
    [
        (0.32, 32, 64),  # 32 positions and their ramp: one whole step.
        (0.33, 32, 128),
        (0.96, 32, 128),
        (1.0, 32, 132),  # No farther than the longest span and its ramp.
        (0.0, 5, 64),
    ],
)
def test_the_farthest_head_is_reached_in_steps(share, ramp, reach):
    found = AdaptiveSpan(100, ramp).reach(ops.convert_to_tensor([0.0, share]))
    assert found.dtype == "int32"
    assert int(found) == reach


def test_scores_fall_on_the_ramp_and_end_behind_it():
    scope, heads, queries, keys = AdaptiveSpan(20, ramp=6), 3, 4, 40
    scores = np.random.default_rng(0).normal(size=(2, heads, queries, keys)).astype("float16")
    distances = np.arange(keys) - np.array([0, 5, 20, 39])[:, None]
    mask = np.random.default_rng(1).random((2, 1, 1, keys)) < 0.6
    found, seen = scope.narrow(scores, distances, None, span=SPAN)
    assert found.dtype == "float32"
    # The paper: min(max((R + z - x) / R, 0), 1).
    behind = np.abs(distances)[None] - SPAN[:, None, None] * 20
    share = np.clip((6 - behind) / 6, 0, 1)
    np.testing.assert_array_equal(seen, share > 1e-6)
    for head, query, key in np.argwhere(share > 1e-6):
        expected = scores[:, head, query, key].astype(float) + math.log(share[head, query, key])
        np.testing.assert_allclose(found[:, head, query, key], expected, atol=1e-5)
    assert np.isfinite(found).all()
    _, both = scope.narrow(scores, distances, mask.astype("int32"), span=SPAN)
    np.testing.assert_array_equal(both, np.array(seen) & mask)


def test_an_adaptive_span_is_its_formula():
    layer = make("span:20")
    layer._scope_weights["span"].assign([0.0, 0.6])
    _, weights = layer(X, X, key_mask=KEY_MASK, return_attention_scores=True)
    query, key, _ = projected(layer, X[1])
    for h, span in enumerate((0.0, 12.0)):
        for t in range(LENGTH):
            ramp = [min(max((32 + span - abs(t - s)) / 32, 0), 1) for s in range(LENGTH)]
            masses = [
                ramp[s] * KEY_MASK[1, s] * math.exp(query[t, h] @ key[s, h] / 2)
                for s in range(LENGTH)
            ]
            np.testing.assert_allclose(
                np.array(weights)[1, h, t], np.array(masses) / sum(masses), atol=1e-5
            )


def test_an_adaptive_span_learns_pays_and_trims():
    scope = AdaptiveSpan(600, ramp=8, penalty=2.0)
    layer = MultiHeadAttention(HEADS, KEY_DIM, mechanism=Mechanism(scope=scope))
    layer.build(X.shape, X.shape)
    layer._scope_weights["span"].assign([0.01, 0.02])
    with tf.GradientTape() as tape:
        output = layer(X, X, training=True)
        loss = tf.reduce_sum(output**2)
        (penalty,) = layer.losses
    assert float(penalty) == pytest.approx(2.0 * 0.015)
    assert np.abs(tape.gradient(loss, layer._scope_weights["span"])).min() > 1e-6
    # The farthest head sees 12 + 8 positions: one step of 64, not 608.
    assert int(scope.reach(layer._scope_weights["span"])) == 64
    assert int(scope.reach(np.array([1.0, 0.0]))) == 608
    assert int(scope.reach(np.array([0.2, 0.0]))) == 128
