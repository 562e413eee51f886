"""Positions inside attention against tables, loops and papers."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.relative_positions import (
    Alibi,
    RelativeBias,
    RelativeKeys,
    alibi_slopes,
)
from attention_apps.attention.rotary import Rotary
from attention_apps.attention.score_shaping import qk_norm, soft_cap

RNG = np.random.default_rng(0)
DISTANCES = np.arange(-40, 41)


def test_slopes_are_those_of_the_paper():
    assert alibi_slopes(8) == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    # For 12 heads: those of 8, then every second one of 16.
    between = [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert alibi_slopes(12) == pytest.approx([*alibi_slopes(8), *between])
    assert len(alibi_slopes(1)) == 1


def test_alibi_counts_distance_in_both_directions():
    bias = np.array(Alibi().bias(None, ops.convert_to_tensor(DISTANCES[None]), 4))
    for head, slope in enumerate(alibi_slopes(4)):
        np.testing.assert_allclose(bias[head, 0], [-slope * abs(d) for d in DISTANCES])


def test_alibi_tells_all_positions_apart_in_bfloat16():
    layer = MultiHeadAttention(2, 4, mechanism=parse_mechanism("alibi"), dtype="bfloat16")
    x = np.zeros((1, 600, 4), "float32")
    layer.build(x.shape, x.shape)
    layer.set_weights([np.zeros(w.shape) for w in layer.get_weights()])
    _, weights = layer(x, x, return_attention_scores=True, use_causal_mask=True)
    row = np.array(weights)[0, 1, -1].astype("float64")  # Slope 1/256: scores alone decide.
    np.testing.assert_allclose(np.diff(np.log(row)), 1 / 256, atol=1e-5)


def bucket_by_hand(distance, num_buckets, max_distance):
    """T5's rule, one distance at a time."""
    half, exact = num_buckets // 2, num_buckets // 4
    first = half if distance > 0 else 0
    size = abs(distance)
    if size < exact:
        return first + size
    share = math.log(size / exact) / math.log(max_distance / exact)
    return first + min(exact + int(share * (half - exact)), half - 1)


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (8, 20), (4, 3)])
def test_buckets_are_those_of_t5(num_buckets, max_distance):
    position = RelativeBias(num_buckets, max_distance)
    distances = np.arange(-200, 201)
    # At exact powers the logarithm may fall on either side: none are among these.
    ours = np.array(position.buckets(distances))
    expected = [bucket_by_hand(int(d), num_buckets, max_distance) for d in distances]
    assert (ours != expected).mean() < 0.02
    assert np.abs(ours - expected).max() <= 1
    table = RNG.normal(size=(num_buckets, 3)).astype("float32")
    bias = position.bias(None, distances[None], 3, relative_bias=table)
    np.testing.assert_array_equal(np.array(bias)[:, 0], table[ours].T)


def test_relative_keys_are_their_formula():
    query = RNG.normal(size=(2, 3, 2, 4)).astype("float32")
    table = RNG.normal(size=(5, 4)).astype("float32")
    distances = np.array([[k - q for k in range(6)] for q in range(3)])
    bias = np.array(RelativeKeys(2).bias(query, distances, 2, relative_keys=table))
    for b, h, q, k in np.ndindex(bias.shape):
        vector = table[min(max(k - q, -2), 2) + 2]
        assert bias[b, h, q, k] == pytest.approx(query[b, q, h] @ vector / 2, abs=1e-5)


@pytest.mark.parametrize("text", ["alibi", "relative-bias:9", "relative-keys:3", "rotary"])
def test_scores_depend_on_distance_alone(text):
    layer = MultiHeadAttention(2, 4, mechanism=parse_mechanism(text))
    same = np.tile(RNG.normal(size=(1, 1, 6)), (1, 12, 1)).astype("float32")
    layer.build(same.shape, same.shape)
    layer.set_weights([RNG.normal(size=w.shape) for w in layer.get_weights()])
    _, weights = layer(same, same, return_attention_scores=True)
    logs = np.log(np.array(weights))[0]
    for head in logs:
        ratios = {}
        for q in range(12):
            for k in range(11):
                ratios.setdefault(k - q, []).append(head[q, k + 1] - head[q, k])
        assert all(np.ptp(values) < 1e-3 for values in ratios.values())
        assert np.ptp(np.concatenate(list(ratios.values()))) > 5e-3


# Angles per position of a 128-wide head, base 10,000, stretched ten times from 2,048 positions, as
# the tests of Hugging Face's transformers list them.
YARN = {
    0: 1.0,
    16: 1.0e-1,
    17: 8.3479e-2,
    20: 4.8136e-2,
    30: 6.6143e-3,
    40: 4.3007e-4,
    41: 2.7384e-4,
}


def test_yarn_has_the_published_frequencies():
    ours = Rotary(scaling="yarn", factor=10.0, original_length=2048).frequencies(128)
    for pair, expected in YARN.items():
        assert ours[pair] == pytest.approx(expected, rel=1e-4)


def pair_that_turns(turns, dim, base, length):
    """Where between the pairs a frequency turns so often in `length`, by halving an interval."""
    low, high = -100.0, 100.0
    for _ in range(200):
        middle = (low + high) / 2
        if length * base ** (-2 * middle / dim) / (2 * math.pi) > turns:
            low = middle
        else:
            high = middle
    return low


@pytest.mark.parametrize(
    ("dim", "length", "base"),
    [
        (8, 2048, 1e4),
        (16, 512, 1e4),
        (64, 4096, 5e5),
        (16, 64, 1e4),
        (4, 64, 1e4),
        (4, 10**9, 1e4),
        (8, 476, 10.0),
    ],
)
def test_yarn_mixes_the_pairs_between_two_counts_of_turns(dim, length, base):
    ours = Rotary(base, "yarn", 4.0, length).frequencies(dim)
    first = max(math.floor(pair_that_turns(32, dim, base, length)), 0)
    last = min(math.ceil(pair_that_turns(1, dim, base, length)), dim - 1)
    for pair in range(dim // 2):
        plain = base ** (-2 * pair / dim)
        if pair <= first:
            expected = plain
        elif pair >= last:
            expected = plain / 4
        else:
            share = (pair - first) / (last - first)
            expected = share * plain / 4 + (1 - share) * plain
        assert ours[pair] == pytest.approx(expected, rel=1e-9)
    assert len(ours) == dim // 2


def test_rotary_positions_are_written_as_their_words():
    assert str(Rotary()) == "rotary"
    assert str(Rotary(scaling="ntk", factor=2.0)) == "rotary-ntk:2"


def test_the_least_that_positions_take():
    # Four buckets: here and before, before that; ahead, and ahead of that.
    np.testing.assert_array_equal(
        RelativeBias(4, 2).buckets(np.array([-9, -2, -1, 0, 1, 2, 9])), [1, 1, 1, 0, 3, 3, 3]
    )
    assert RelativeKeys(1).weights(2, 8)["relative_keys"][0] == (3, 8)


@pytest.mark.parametrize("scaling", ["linear", "ntk", "yarn"])
def test_a_head_of_one_pair_turns_too(scaling):
    (frequency,) = Rotary(scaling=scaling, factor=2.0).frequencies(2)
    assert frequency == (0.5 if scaling == "linear" else 1.0)


def turned(rotary, positions):
    return np.array(rotary.rotate(ops.ones((1, len(positions), 1, 8)), np.array(positions)))


def test_linear_scaling_divides_positions():
    stretched = turned(Rotary(scaling="linear", factor=4.0), [8, 20])
    np.testing.assert_allclose(stretched, turned(Rotary(), [2, 5]), atol=1e-6)


def test_ntk_keeps_the_fastest_pair_and_stretches_the_slowest():
    plain, ntk = Rotary().frequencies(64), Rotary(scaling="ntk", factor=8.0).frequencies(64)
    assert ntk[0] == plain[0]
    assert ntk[-1] == pytest.approx(plain[-1] / 8)


def test_yarn_lengthens_what_it_turns():
    lengths = np.linalg.norm(turned(Rotary(scaling="yarn", factor=4.0), [3]), axis=-1)
    expected = (0.1 * math.log(4) + 1) * math.sqrt(8)
    np.testing.assert_allclose(lengths, expected, rtol=1e-5)


@pytest.mark.parametrize("scaling", ["linear", "ntk", "yarn"])
def test_a_factor_of_one_changes_nothing(scaling):
    stretched = turned(Rotary(scaling=scaling), [1, 9])
    np.testing.assert_allclose(stretched, turned(Rotary(), [1, 9]), atol=1e-5)


def test_qk_norm_makes_scores_independent_of_lengths():
    vectors = RNG.normal(size=(2, 3, 2, 4)).astype("float32")
    gain = np.array([1.0, 2.0, 3.0, 4.0], "float32")
    normed = np.array(qk_norm(vectors * 50, gain))
    expected = vectors / np.sqrt(np.square(vectors).mean(-1, keepdims=True)) * gain
    np.testing.assert_allclose(normed, expected, rtol=1e-4)
    halves = qk_norm(ops.cast(vectors * 1000, "float16"), gain)
    assert halves.dtype == "float16"
    np.testing.assert_allclose(ops.cast(halves, "float32"), expected, atol=0.01)
    nothing = np.zeros((1, 2, 2, 4), "float32")
    np.testing.assert_array_equal(qk_norm(nothing, gain), nothing)


def test_a_soft_cap_bounds_scores_and_leaves_small_ones():
    scores = np.array([-1e6, -0.1, 0.0, 0.1, 1e6], "float32")
    np.testing.assert_allclose(soft_cap(scores, 30.0), [-30, -0.1, 0, 0.1, 30], atol=1e-5)


@pytest.mark.parametrize("text", ["qk-norm", "soft-cap:2", "qk-norm+rotary", "soft-cap:2+alibi"])
def test_shaped_scores_are_kept_in_cached_steps_and_across(text):
    x = RNG.normal(size=(2, 6, 8)).astype("float32")
    layer = MultiHeadAttention(2, 4, mechanism=parse_mechanism(text))
    layer.build(x.shape, x.shape)
    layer.set_weights([RNG.normal(size=w.shape) for w in layer.get_weights()])
    whole = layer(x, x, use_causal_mask=True)
    cache = layer.empty_cache(2, 6)
    for position in range(6):
        output, cache, _ = layer.step(x[:, position : position + 1], cache, position)
        np.testing.assert_allclose(output[:, 0], whole[:, position], atol=1e-4)
    if "+" not in text:
        across, _ = layer.attend(x[:, :2], layer.project(x))
        np.testing.assert_allclose(across, layer(x[:, :2], x), atol=1e-5)


@pytest.mark.parametrize(
    "position",
    [Alibi(), RelativeBias(8, 30), RelativeKeys(4), Rotary(scaling="yarn", factor=2.0)],
    ids=str,
)
def test_positions_survive_serialisation(position):
    config = keras.saving.serialize_keras_object(position)
    assert keras.saving.deserialize_keras_object(config) == position
    assert Mechanism.from_config(Mechanism(position=position).get_config()).position == position


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rotary(scaling="cubic"),
        lambda: Rotary(factor=2.0),
        lambda: Rotary(scaling="linear", factor=0.5),
        lambda: RelativeBias(6),
        lambda: RelativeBias(32, 8),
        lambda: RelativeKeys(0),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match="Received"):
        make()
