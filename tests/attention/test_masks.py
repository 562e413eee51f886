"""The mask algebra against predicates written by hand."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_apps.attention.masks import causal, everything, global_tokens, window
from attention_apps.attention.random_blocks import RandomBlocks

PREDICATES = [
    (everything(), lambda q, k: True),
    (causal(), lambda q, k: k <= q),
    (window(1), lambda q, k: q == k),
    (window(3), lambda q, k: abs(q - k) <= 2),
    (global_tokens(2), lambda q, k: q in (0, 1) or k in (0, 1)),
    (causal() & window(2), lambda q, k: q - 1 <= k <= q),
    (
        causal() & (window(2) | global_tokens(1)),
        lambda q, k: k <= q and (abs(q - k) < 2 or q == 0 or k == 0),
    ),
    (~causal(), lambda q, k: k > q),
]


@pytest.mark.parametrize(
    ("mask", "predicate"), PREDICATES, ids=lambda value: "" if callable(value) else str(value)[:40]
)
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 5), (3, 7), (6, 2)])
def test_a_mask_is_its_predicate_with_the_last_query_at_the_last_key(
    mask, predicate, queries, keys
):
    expected = [[predicate(q + keys - queries, k) for k in range(keys)] for q in range(queries)]
    np.testing.assert_array_equal(np.array(mask.dense(queries, keys)), expected)


@pytest.mark.parametrize(
    ("mask", "predicate"), PREDICATES, ids=lambda value: "" if callable(value) else str(value)[:40]
)
def test_a_mask_survives_serialisation(mask, predicate):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(mask))
    assert again == mask
    np.testing.assert_array_equal(np.array(again.dense(4, 6)), np.array(mask.dense(4, 6)))


def test_a_mask_draws_itself():
    assert causal().draw(3) == "■··\n■■·\n■■■"
    assert (causal() & window(2)).draw(2, 4) == "·■■·\n··■■"
    assert everything().draw() == "\n".join(["■" * 12] * 12)


def test_the_text_of_a_mask_builds_it():
    mask = causal() & (window(3) | ~global_tokens(2))
    names = {
        "causal": causal,
        "window": window,
        "global_tokens": global_tokens,
        "everything": everything,
    }
    assert eval(str(mask), names) == mask


@pytest.mark.parametrize("make", [window, global_tokens])
@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_sizes_that_make_no_sense_are_refused(make, size):
    with pytest.raises(ValueError, match="Received"):
        make(size)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.integers(1, 3))
def test_de_morgan(queries, keys, size, count):
    left = ~(window(size) & global_tokens(count))
    right = ~window(size) | ~global_tokens(count)
    np.testing.assert_array_equal(
        np.array(left.dense(queries, keys)), np.array(right.dense(queries, keys))
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 7), st.integers(0, 5))
def test_blocks_that_are_not_touched_hold_no_pair(length, size, window_size, seed):
    mask = causal() & (window(window_size) | global_tokens(2) | RandomBlocks(1, 3, 30, seed))
    for part in (mask, mask.left, mask.right, ~mask, everything()):
        first = np.arange(0, length, size)
        last = np.minimum(first + size, length) - 1
        touched = part.touches((first[:, None], last[:, None]), (first[None], last[None]))
        dense = np.array(part.dense(length, length))
        for row, column in np.ndindex(len(first), len(first)):
            block = dense[first[row] : last[row] + 1, first[column] : last[column] + 1]
            assert touched.shape == (len(first), len(first))
            assert touched[row, column] or not block.any()


@pytest.mark.parametrize(
    "mask",
    [
        causal(),
        window(1),
        window(4),
        global_tokens(3),
        global_tokens(4),
        everything(),
        causal() & window(3),
    ],
    ids=str,
)
def test_masks_without_holes_touch_no_block_that_is_empty(mask):
    first, last = np.arange(0, 12, 2), np.arange(1, 12, 2)
    first_key, last_key = np.arange(0, 12, 3), np.arange(2, 12, 3)
    touched = mask.touches((first[:, None], last[:, None]), (first_key[None], last_key[None]))
    dense = np.array(mask.dense(12, 12)).reshape(6, 2, 4, 3)
    np.testing.assert_array_equal(touched, dense.any(axis=(1, 3)))


@pytest.mark.parametrize("seed", range(4))
def test_random_blocks_touch_what_they_draw_and_nothing_else(seed):
    mask = RandomBlocks(1, size=3, length=12, seed=seed)
    dense = np.array(mask.dense(15, 15))  # three positions beyond what was drawn for
    for size in (1, 2, 3, 5):
        first = np.arange(0, 15, size)
        last = np.minimum(first + size, 15) - 1
        touched = mask.touches((first[:, None], last[:, None]), (first[None], last[None]))
        for row, column in np.ndindex(touched.shape):
            block = dense[first[row] : last[row] + 1, first[column] : last[column] + 1]
            assert touched[row, column] == block.any()


def test_doubt_is_a_boolean_of_every_pair_of_blocks():
    touched = (~causal() & everything()).touches(
        (np.zeros((2, 1), int), np.ones((2, 1), int)), (np.zeros((1, 3), int), np.ones((1, 3), int))
    )
    np.testing.assert_array_equal(touched, np.ones((2, 3), bool))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 7), st.integers(1, 9))
def test_nobody_sees_beyond_the_reach(length, one, other):
    for mask in (
        window(one) & causal(),
        window(one) | window(other),
        window(one) & window(other),
        window(one) | causal(),
        window(one) & ~window(other),
    ):
        behind, ahead = mask.reach()
        for query, key in np.argwhere(np.array(mask.dense(length, length))):
            assert behind is None or query - key <= behind
            assert ahead is None or key - query <= ahead
    assert (window(3) & causal()).reach() == (causal() & window(3)).reach() == (2, 0)
    assert (window(3) | window(5)).reach() == (4, 4)


def test_random_blocks_are_drawn_once_for_a_seed():
    mask = RandomBlocks(2, size=4, length=40, seed=3)
    dense = np.array(mask.dense(40, 40))
    np.testing.assert_array_equal(dense, np.array(RandomBlocks(2, 4, 40, 3).dense(40, 40)))
    assert (dense != np.array(RandomBlocks(2, 4, 40, 4).dense(40, 40))).any()
    assert (dense.sum(1) == 8).all()
    blocks = dense.reshape(10, 4, 10, 4)
    assert (blocks.all(axis=(1, 3)) == blocks.any(axis=(1, 3))).all()
    # Beyond the length that was drawn for there are none.
    assert not np.array(mask.dense(60, 60))[40:].any()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(mask))
    np.testing.assert_array_equal(np.array(again.dense(40, 40)), dense)


@pytest.mark.parametrize("numbers", [(0,), (1, 0), (1, 2, 0), (1.5,)])
def test_random_blocks_of_nothing_are_refused(numbers):
    with pytest.raises(ValueError, match="Received"):
        RandomBlocks(*numbers)
