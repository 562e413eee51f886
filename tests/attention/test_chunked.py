"""Chunked attention by itself, on sequences of a few positions, against the dense one."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from attention_apps.attention.algorithms import chunked
from attention_apps.attention.algorithms.chunked import chunked_attention
from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.masks import causal, window
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.scoring import SCORINGS

# Sizes that no two axes share; three chunks of three queries, of which the last is one short.
BATCH, QUERIES, KEYS, HEADS, DIM, VALUE_DIM, ROWS = 2, 8, 11, 4, 6, 5, 3
KEY_MASK = np.ones((BATCH, KEYS), bool)
KEY_MASK[0, [0, 4, 10]] = False
KEY_MASK[1] = False
TILT = np.cos(np.arange(QUERIES * HEADS * VALUE_DIM)).reshape(QUERIES, HEADS, VALUE_DIM)


def draws(dtype="float32", scale=1.0):
    """Queries, keys and values."""
    rng = np.random.default_rng(1)
    shapes = (QUERIES, HEADS, DIM), (KEYS, HEADS, DIM), (KEYS, HEADS, VALUE_DIM)
    return [tf.Variable(rng.normal(size=(BATCH, *shape)) * scale, dtype=dtype) for shape in shapes]


def learned(declared):
    """Weights of names and shapes, which no symmetry hides."""
    rng = np.random.default_rng(2)
    return {
        name: tf.Variable(rng.normal(size=shape), dtype="float32")
        for name, (shape, _) in declared.items()
    }


def answers(attend, text, inputs):
    """Context, and the gradients of a tilted sum of it by inputs and weights."""
    mechanism = parse_mechanism(text)
    position = mechanism.position
    weights = {
        "score_weights": learned(SCORINGS[mechanism.scoring].weights(HEADS, DIM)),
        "position_weights": learned(position.weights(HEADS, DIM) if position else {}),
    }
    every = [*inputs, *(one for group in weights.values() for one in group.values())]
    with tf.GradientTape() as tape:
        context = attend(*inputs, mechanism=mechanism, **weights)
        loss = tf.reduce_sum(tf.cast(context, "float64") * TILT)
    # By a bias that is gathered the gradient is one of slices.
    gradients = [tf.convert_to_tensor(one) for one in tape.gradient(loss, every)]
    assert [one.dtype for one in gradients] == [one.dtype for one in every]
    return context, gradients


def dense(scope=None, key_mask=None):
    """The dense algorithm with the same masks."""
    mask = np.ones((1, 1, QUERIES, KEYS), bool)
    if scope is not None:
        mask = mask & np.array(scope.dense(QUERIES, KEYS))
    if key_mask is not None:
        mask = mask & np.array(key_mask, bool)[:, None, None]
    distances = np.arange(KEYS) - np.arange(QUERIES)[:, None] - (KEYS - QUERIES)

    def attend(*inputs, **options):
        distance = ops.convert_to_tensor(distances, dtype="int32")
        return dense_attention(*inputs, mask=mask, distances=distance, **options)[0]

    return attend


def assert_equal(ours, theirs, tolerance):
    (context, gradients), (expected, others) = ours, theirs
    assert context.shape == (BATCH, QUERIES, HEADS, VALUE_DIM)
    for one, other in zip([context, *gradients], [expected, *others], strict=True):
        other = np.array(ops.cast(other, "float64"))
        bound = tolerance * max(np.abs(other).max(), 1.0)
        np.testing.assert_allclose(ops.cast(one, "float64"), other, atol=bound)


CALLS = {
    "everything": ("full", {}),
    "a scope": ("full", {"scope": causal()}),
    "a mask of keys": ("full", {"key_mask": KEY_MASK}),
    "both": ("general", {"scope": causal() & window(4), "key_mask": KEY_MASK.astype("float32")}),
    "a soft cap": ("soft-cap:2", {}),
    "a bias": ("relative-bias:20", {}),
    "a bias and a scope": ("alibi", {"scope": window(3)}),
    "a bias, a cap and a mask": ("relative-bias:20+soft-cap:1", {"key_mask": KEY_MASK}),
}


@functools.cache
def expected(name):
    text, masks = CALLS[name]
    return answers(dense(**masks), text, draws())


@pytest.mark.parametrize("name", ["both", "a bias, a cap and a mask"])
def test_chunks_have_the_context_of_dense_attention(name):
    text, masks = CALLS[name]
    mechanism = parse_mechanism(text)
    position = mechanism.position
    context = chunked_attention(
        *draws(),
        mechanism=mechanism,
        rows=ROWS,
        score_weights=learned(SCORINGS[mechanism.scoring].weights(HEADS, DIM)),
        position_weights=learned(position.weights(HEADS, DIM) if position else {}),
        **masks,
    )
    np.testing.assert_allclose(context, expected(name)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "rows", "heads", "clash"),
    [
        *((name, ROWS, HEADS, 1024) for name in CALLS),
        *((name, ROWS, 2, KEYS) for name in CALLS),
        ("a bias", 4, 1, 1024),
        ("both", 50, 1, 1),
    ],
)
def test_chunks_are_the_dense_attention(name, rows, heads, clash, monkeypatch):
    monkeypatch.setattr(chunked, "_PANEL", heads * min(rows, QUERIES) * KEYS)
    monkeypatch.setattr(chunked, "_CLASH", clash)
    monkeypatch.setattr(chunked, "_SPARE_KEYS", 3)
    text, masks = CALLS[name]

    def ours(*inputs, **options):
        return chunked_attention(*inputs, rows=rows, **masks, **options)

    assert_equal(answers(ours, text, draws()), expected(name), 1e-5)


def test_a_batch_may_be_of_one():
    inputs = [tf.Variable(one[:1]) for one in draws()]

    def ours(*inputs, **options):
        return chunked_attention(*inputs, rows=ROWS, **options)

    (context, gradients), (whole, others) = (
        answers(attend, "full", inputs) for attend in (ours, dense())
    )
    for one, other in zip([context, *gradients], [whole, *others], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "clash", "spare"),
    [("full", KEYS, 3), ("full", 10, 0), ("full", 22, 0), ("soft-cap:2", KEYS, 0)],
)
def test_keys_are_spared_in_the_gradient_and_where_rows_clash(text, clash, spare, monkeypatch):
    monkeypatch.setattr(chunked, "_CLASH", clash)
    monkeypatch.setattr(chunked, "_SPARE_KEYS", 3)
    widths = []
    softmax = ops.softmax
    monkeypatch.setattr(
        ops, "softmax", lambda x, **axis: (widths.append(x.shape[-1]), softmax(x, **axis))[1]
    )

    def ours(*inputs, **options):
        context = chunked_attention(*inputs, rows=QUERIES, **options)
        assert set(widths) == {KEYS}
        widths.clear()
        return context

    answers(ours, text, draws())
    assert set(widths) == {KEYS + spare}


def test_wide_numbers_stay_wide():
    attend = dense()
    ours = answers(
        lambda *inputs, **options: chunked_attention(*inputs, rows=ROWS, **options),
        "full",
        draws("float64"),
    )
    assert ours[0].dtype == "float64"
    assert_equal(ours, answers(attend, "full", draws("float64")), 1e-12)


@pytest.mark.parametrize("clash", [KEYS, 1024])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_numbers_are_summed_wide(dtype, clash, monkeypatch):
    """Of the same rounded inputs, the dense attention in float32 is what is approached."""
    monkeypatch.setattr(chunked, "_CLASH", clash)
    inputs = draws(dtype)
    wide = [tf.Variable(tf.cast(one, "float32")) for one in inputs]
    ours = answers(
        lambda *inputs, **options: chunked_attention(*inputs, rows=ROWS, **options), "full", inputs
    )
    assert ours[0].dtype == dtype
    assert_equal(ours, answers(dense(), "full", wide), 0.02 if dtype == "bfloat16" else 0.003)


def test_scores_beyond_half_precision_are_scores():
    inputs = draws("float16", scale=150.0)
    context = chunked_attention(*inputs, mechanism=parse_mechanism("dot"), rows=ROWS)
    wide = [tf.cast(one, "float32") for one in inputs]
    expected = dense()(*wide, mechanism=parse_mechanism("dot"))
    assert np.isfinite(np.array(context)).all()
    np.testing.assert_allclose(ops.cast(context, "float32"), expected, rtol=0.002)


@pytest.mark.parametrize("known", [False, True])
def test_a_traced_call_is_the_eager_one(known):
    inputs = [tf.convert_to_tensor(one) for one in draws()]
    lengths = (QUERIES, KEYS, KEYS) if known else (None, None, None)
    signature = [
        tf.TensorSpec((None, length, *one.shape[2:]), "float32")
        for length, one in zip(lengths, inputs, strict=True)
    ]

    @tf.function(input_signature=signature, autograph=False)
    def traced(query, key, value):
        with tf.GradientTape() as tape:
            tape.watch((query, key, value))
            context = chunked_attention(
                query, key, value, mechanism=parse_mechanism("alibi"), rows=ROWS
            )
            loss = tf.reduce_sum(tf.cast(context, "float64") * TILT)
        return context, tape.gradient(loss, (query, key, value))

    context, gradients = traced(*inputs)
    assert_equal((context, gradients), answers(dense(), "alibi", draws()), 1e-5)


def test_chunks_have_as_many_rows_as_fit_with_one_head(monkeypatch):
    monkeypatch.setattr(chunked, "_ONE_HEAD", 16 * KEYS)
    monkeypatch.setattr(chunked, "_FEWEST_ROWS", 3)
    monkeypatch.setattr(chunked, "_MOST_ROWS", 100)
    rows = chunked._fitting_rows
    assert [rows(keys) for keys in (KEYS, KEYS + 1, 2 * KEYS, 16 * KEYS)] == [16, 8, 8, 3]
    assert rows(10**9) == 3
    assert rows(2) == 64  # The largest power of two among 88.
    assert rows(1) == 100
    assert isinstance(rows(KEYS), int)
    assert rows(tf.constant(7)) == 128
    taken = []
    monkeypatch.setattr(chunked, "_fitting_rows", lambda *sizes: taken.append(sizes) or ROWS)
    inputs = draws()
    chunked_attention(*inputs, mechanism=parse_mechanism("full"))
    chunked_attention(*inputs, mechanism=parse_mechanism("full"), rows=2)
    assert taken == [(KEYS,)]


def test_a_panel_has_the_largest_part_of_the_heads_that_fits(monkeypatch):
    monkeypatch.setattr(chunked, "_PANEL", 6 * ROWS * KEYS)
    fitting = chunked._fitting_heads
    assert [fitting(heads, ROWS, KEYS) for heads in (1, 4, 6, 7, 8, 12)] == [1, 4, 6, 1, 4, 6]
    assert fitting(12, ROWS, KEYS + 1) == 4
    assert fitting(12, ROWS + 3, KEYS) == 3
    assert fitting(12, 100, 100) == 1
    assert fitting(12, 100, tf.constant(7)) == 12
    taken = []
    monkeypatch.setattr(chunked, "_fitting_heads", lambda *sizes: taken.append(sizes) or 2)
    chunked_attention(*draws(), mechanism=parse_mechanism("full"), rows=50)
    assert taken == [(HEADS, QUERIES, KEYS)]


def test_no_more_is_computed_than_there_are_queries(monkeypatch):
    """Chunks longer than all queries are cut; the last one begins before the last query."""
    shapes = []
    panels = chunked._Panels

    class Noted(panels):
        def __init__(self, rows, *others):
            super().__init__(rows, *others)
            shapes.append((self.rows, self.num_chunks, self.excess))

    monkeypatch.setattr(chunked, "_Panels", Noted)
    for rows in (1, 3, 4, 8, 50):
        chunked_attention(*draws(), mechanism=parse_mechanism("full"), rows=rows)
    assert shapes == [(1, 8, 0), (3, 3, 1), (4, 2, 0), (8, 1, 0), (8, 1, 0)]


@pytest.mark.parametrize("number", [0.0, np.nan, np.inf])
def test_waiting_for_a_tensor_changes_no_number(number):
    waited = chunked._after(ops.convert_to_tensor(3, dtype="int32"), ops.full((2, 2), number))
    assert int(waited) == 3
    assert keras.backend.standardize_dtype(waited.dtype) == "int32"


def test_what_a_short_type_loses_of_a_number_stands_beside_it():
    numbers = np.random.default_rng(3).normal(size=(50, 1)).astype("float32")
    high, low = np.split(np.array(ops.cast(chunked._parts(numbers, "bfloat16"), "float32")), 2, 1)
    assert np.abs(high - numbers).max() > 1e-4
    np.testing.assert_allclose(high + low, numbers, rtol=2.0**-16)


def test_what_chunks_add_is_not_added_in_a_short_type():
    """Two keys share the weight of 400 queries; in bfloat16 128 + 0.5 is 128."""
    query, key, value = (tf.ones((1, size, 1, 2), "bfloat16") for size in (400, 2, 2))
    with tf.GradientTape() as tape:
        tape.watch(value)
        context = chunked_attention(query, key, value, mechanism=parse_mechanism("full"), rows=1)
        loss = tf.reduce_sum(tf.cast(context, "float32"))
    np.testing.assert_array_equal(tape.gradient(loss, value), np.full((1, 2, 1, 2), 200.0))
