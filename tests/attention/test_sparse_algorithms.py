"""Block-sparse and local attention by themselves, on a few positions, against the dense one."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from attention_apps.attention.algorithms import block_sparse, local
from attention_apps.attention.algorithms.block_sparse import block_sparse_attention, touched_blocks
from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.algorithms.local import local_attention
from attention_apps.attention.masks import Everything, causal, global_tokens, window
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.scoring import SCORINGS

# Sizes that no two axes share; four blocks of three positions, of which the last is one short.
BATCH, LENGTH, HEADS, DIM, VALUE_DIM, SIZE = 2, 11, 5, 6, 7, 3
KEY_MASK = np.ones((BATCH, LENGTH), bool)
KEY_MASK[0, [0, 4, 5, 10]] = False
KEY_MASK[1] = False
TILT = np.cos(np.arange(LENGTH * HEADS * VALUE_DIM)).reshape(LENGTH, HEADS, VALUE_DIM)


def draws(dtype="float32"):
    """Queries, keys and values."""
    rng = np.random.default_rng(1)
    sizes = (DIM, DIM, VALUE_DIM)
    inputs = [rng.normal(size=(BATCH, LENGTH, HEADS, size)) for size in sizes]
    return [tf.Variable(one, dtype=dtype) for one in inputs]


def learned(declared):
    """Weights of names and shapes, which no symmetry hides."""
    rng = np.random.default_rng(2)
    return {
        name: tf.Variable(rng.uniform(0.1, 0.9, size=shape), dtype="float32")
        for name, (shape, _) in declared.items()
    }


def answers(attend, text, spans=False):
    """Context, and the gradients of a tilted sum of it by inputs and weights."""
    mechanism = parse_mechanism(text)
    position = mechanism.position
    weights = {
        "score_weights": learned(SCORINGS[mechanism.scoring].weights(HEADS, DIM)),
        "position_weights": learned(position.weights(HEADS, DIM) if position else {}),
    }
    if spans:
        weights["scope_weights"] = learned(mechanism.scope.weights(HEADS, DIM))
    inputs = draws()
    every = [*inputs, *(one for group in weights.values() for one in group.values())]
    with tf.GradientTape() as tape:
        context = attend(*inputs, mechanism=mechanism, **weights)
        loss = tf.reduce_sum(context * TILT)
    # By a bias that is gathered the gradient is one of slices.
    return [context, *(tf.convert_to_tensor(one) for one in tape.gradient(loss, every))]


def dense(scope, key_mask=None):
    """The dense algorithm with the same masks."""
    mask = np.ones((1, 1, LENGTH, LENGTH), bool)
    if scope is not None:
        mask = mask & np.array(scope.dense(LENGTH, LENGTH))
    if key_mask is not None:
        mask = mask & np.array(key_mask, bool)[:, None, None]
    distances = np.arange(LENGTH) - np.arange(LENGTH)[:, None]

    def attend(*inputs, **options):
        distance = ops.convert_to_tensor(distances, dtype="int32")
        return dense_attention(*inputs, mask=mask, distances=distance, **options)[0]

    return attend


def assert_equal(ours, theirs):
    assert ours[0].shape == (BATCH, LENGTH, HEADS, VALUE_DIM)
    for one, other in zip(ours, theirs, strict=True):
        assert np.isfinite(one).all()
        bound = 1e-5 * max(np.abs(other).max(), 1.0)
        np.testing.assert_allclose(one, other, atol=bound)


BLOCKS = {
    "window and global": ("full", window(2) | global_tokens(1), {}),
    "a mask of keys": ("general", window(2) | global_tokens(1), {"key_mask": KEY_MASK}),
    "a mask of numbers": ("full", causal(), {"key_mask": KEY_MASK.astype("float32")}),
    "a bias": ("relative-bias:20", causal() & (window(3) | global_tokens(2)), {}),
    "a bias by number": ("alibi", window(1), {"key_mask": KEY_MASK}),
    "sparsemax": ("sparsemax", ~causal(), {}),
    "rows of a mechanism without a bias": ("rotary", window(4), {}),
}


@functools.cache
def expected(text, scope, is_masked, spans=False):
    """What the dense algorithm answers."""
    return answers(dense(scope, KEY_MASK if is_masked else None), text, spans=spans)


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_the_dense_attention(name):
    text, scope, masks = BLOCKS[name]

    def ours(*inputs, **options):
        return block_sparse_attention(*inputs, scope=scope, size=SIZE, **masks, **options)

    if text == "sparsemax":  # The last query sees no key, of which sparsemax makes nothing.
        assert not np.array(answers(ours, text)[0])[:, -1].any()
    assert_equal(answers(ours, text), expected(text, scope, bool(masks)))


@pytest.mark.parametrize("size", [1, 4, LENGTH, 50])
def test_blocks_may_be_of_any_size(size):
    scope = window(2) | global_tokens(1)

    def ours(*inputs, **options):
        return block_sparse_attention(*inputs, scope=scope, size=size, **options)

    assert_equal(answers(ours, "alibi"), expected("alibi", scope, False))


def test_blocks_are_traced_with_an_unknown_batch():
    scope = window(2) | global_tokens(1)
    inputs = draws()
    signature = [tf.TensorSpec((None, *one.shape[1:]), "float32") for one in inputs]

    def attend(query, key, value):
        return block_sparse_attention(
            query, key, value, mechanism=parse_mechanism("alibi"), scope=scope, size=SIZE
        )

    traced = tf.function(attend, input_signature=signature, autograph=False)(*inputs)
    np.testing.assert_allclose(traced, attend(*inputs), atol=1e-6)
    assert attend(*draws("bfloat16")).dtype == "bfloat16"


def test_touched_blocks_are_those_with_an_allowed_pair():
    for scope in (causal(), window(3), causal() & window(4), window(1) | global_tokens(4)):
        pairs = np.zeros((12, 12), bool)
        pairs[:LENGTH, :LENGTH] = scope.dense(LENGTH, LENGTH)
        expected = pairs.reshape(4, 3, 4, 3).any((1, 3))
        np.testing.assert_array_equal(touched_blocks(scope, LENGTH, SIZE), expected)
    assert touched_blocks(Everything(), 12, 5).shape == (3, 3)
    assert touched_blocks(Everything(), 9, 3).all()


def test_blocks_that_see_nearly_all_are_computed_apart():
    """Of all ways to part rows by their number of columns, the one with the fewest blocks."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        touched = rng.random((9, 9)) < rng.uniform(0.05, 0.9, size=(9, 1))
        whole, gathered = block_sparse._split(touched)
        degrees = touched.sum(1)
        np.testing.assert_array_equal(np.sort([*whole, *gathered]), np.arange(9))

        def cost(is_whole, degrees=degrees):
            return sum(part.sum() * degrees[part].max(initial=0) for part in (is_whole, ~is_whole))

        parted = np.isin(np.arange(9), whole)
        assert parted[~parted].size == 0 or degrees[~parted].max() <= degrees[parted].min(initial=9)
        assert cost(parted) == min(cost(degrees > limit) for limit in range(10))
    everything, nothing = block_sparse._split(np.ones((4, 4), bool))
    assert (len(everything), len(nothing)) == (0, 4)


def test_columns_are_filled_up_with_none():
    touched = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(block_sparse._columns(touched), [[1, 3], [0, -1], [-1, -1]])
    np.testing.assert_array_equal(block_sparse._columns(touched[2:]), [[-1]])
    wide = np.random.default_rng(0).random((1, 500)) < 0.5
    np.testing.assert_array_equal(block_sparse._columns(wide)[0], np.flatnonzero(wide))


def widths(attend, blocks=None):
    """How many keys the queries of a call meet at a time, in so many blocks of every example."""
    met = []

    def dropout(weights):
        met.append(tuple(weights.shape[1:]))
        assert blocks is None or weights.shape[0] == BATCH * blocks
        return weights * 0.5

    halved = attend(dropout=dropout)
    np.testing.assert_allclose(halved, attend() * 0.5, atol=1e-6)
    return met


def test_blocks_are_no_more_than_are_touched():
    def attend(scope, **options):
        return block_sparse_attention(
            *draws(), mechanism=parse_mechanism("full"), scope=scope, size=SIZE, **options
        )

    one_side = widths(lambda **options: attend(causal() & window(4), **options))
    # The first block sees itself alone: it costs less to compute it apart.
    assert one_side == [(HEADS, SIZE, 2 * SIZE), (HEADS, SIZE, SIZE)]
    apart = widths(lambda **options: attend(window(1) | global_tokens(1), **options))
    assert apart == [(HEADS, SIZE, 4 * SIZE), (HEADS, SIZE, 2 * SIZE)]


def test_blocks_are_filled_up_and_no_more(monkeypatch):
    lengths = []
    pad = ops.pad

    def padding(tensor, width):
        padded = pad(tensor, width)
        lengths.append(padded.shape[1])
        return padded

    monkeypatch.setattr(ops, "pad", padding)
    options = {"mechanism": parse_mechanism("full"), "scope": causal()}
    block_sparse_attention(*draws(), size=SIZE, **options)
    assert lengths == 4 * [12]


@pytest.mark.parametrize("is_local", [False, True])
def test_noise_is_drawn_for_every_score(is_local):
    shapes = []

    def noise(shape):
        shapes.append(tuple(shape))
        return np.arange(shape[-1]) * 1e3 * np.ones(shape, "float32")

    scope = causal() & window(3)
    inputs = draws()

    def attend(noise):
        options = {"mechanism": parse_mechanism("gumbel:1"), "scope": scope, "noise": noise}
        if is_local:
            return local_attention(*inputs, reach=(2, 0), **options)
        return block_sparse_attention(*inputs, size=SIZE, **options)

    # It outweighs all scores: every query takes the last key it may see, which is its own.
    np.testing.assert_allclose(attend(noise), inputs[2], atol=1e-5)
    assert np.abs(attend(None) - inputs[2]).max() > 0.1
    assert {shape[1] for shape in shapes} == {HEADS}


@pytest.fixture
def _small_blocks(monkeypatch):
    monkeypatch.setattr(local, "_SMALLEST_BLOCK", 1)


REACHES = {
    "both sides": ("full", window(3), (2, 2), {}),
    "behind": ("general", causal() & window(4), (3, 0), {"key_mask": KEY_MASK}),
    "ahead": ("full", ~causal() & window(5), (0, 4), {}),
    "farther behind": ("full", window(3) & window(4), (3, 1), {"key_mask": KEY_MASK}),
    "a bias": ("relative-bias:20", window(3), (2, 2), {"key_mask": KEY_MASK.astype("float32")}),
    "what asks the query": ("relative-keys:3", causal() & window(3), (2, 0), {}),
    "longer than all": ("alibi", window(40), (39, 39), {}),
}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", REACHES)
@pytest.mark.usefixtures("_small_blocks")
def test_neighbouring_blocks_are_the_dense_attention(name, known):
    text, scope, reach, masks = REACHES[name]
    if not known:
        reach = tuple(ops.convert_to_tensor(number, dtype="int32") for number in reach)

    def ours(*inputs, **options):
        return local_attention(*inputs, reach=reach, scope=scope, **masks, **options)

    assert_equal(answers(ours, text), expected(text, scope, bool(masks)))


@pytest.mark.usefixtures("_small_blocks")
def test_a_span_narrows_neighbouring_blocks():
    """A scope that is learned is no mask of pairs: the blocks are all that is cut."""

    def ours(*inputs, **options):
        return local_attention(*inputs, reach=(5, 5), **options)

    text = "span:4"
    mechanism = parse_mechanism(text)
    assert mechanism.scope.size + mechanism.scope.ramp > LENGTH  # Each key is within some reach.

    def whole(*inputs, **options):
        return local_attention(*inputs, reach=(LENGTH, LENGTH), **options)

    theirs = expected(text, None, False, spans=True)
    assert_equal(answers(whole, text, spans=True), theirs)
    near = np.abs(answers(ours, text, spans=True)[0] - theirs[0])
    # In blocks of 5, the last position has no block ahead and the one behind begins at 5.
    assert near[:, 5].max() < 1e-5 < near[:, 10].max()


@pytest.mark.parametrize(
    ("reach", "smallest", "keys"),
    [
        ((2, 2), 1, (2, 6)),
        ((1, 4), 1, (4, 12)),
        ((4, 0), 1, (4, 8)),
        ((4, 0), 5, (5, 10)),
        ((0, 0), 3, (3, 6)),
        ((0, 1), 3, (3, 9)),
        ((40, 3), 3, (LENGTH, 3 * LENGTH)),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_blocks_are_as_long_as_the_window_reaches(reach, smallest, keys, known, monkeypatch):
    monkeypatch.setattr(local, "_SMALLEST_BLOCK", smallest)
    rows, columns = keys
    if not known:
        reach = tuple(ops.convert_to_tensor(number, dtype="int32") for number in reach)
        columns = 3 * rows  # Nobody knows that nothing ahead may be seen.

    def attend(**options):
        scope = window(2) if reach[1] else causal()
        return local_attention(
            *draws(), mechanism=parse_mechanism("full"), reach=reach, scope=scope, **options
        )

    assert widths(attend, -(-LENGTH // rows)) == [(HEADS, rows, columns)]


def test_neighbouring_blocks_are_traced_with_unknown_lengths():
    inputs = draws()
    signature = [tf.TensorSpec((None, None, *one.shape[2:]), "float32") for one in inputs]

    def attend(query, key, value):
        scope = causal() & window(3)
        return local_attention(
            query, key, value, mechanism=parse_mechanism("alibi"), reach=(2, 0), scope=scope
        )

    traced = tf.function(attend, input_signature=signature, autograph=False)(*inputs)
    np.testing.assert_allclose(traced, attend(*inputs), atol=1e-6)
    assert attend(*draws("bfloat16")).dtype == "bfloat16"
