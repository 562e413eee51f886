"""The mask algebra against predicates written by hand."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_apps.attention.masks import causal, everything, global_tokens, window

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


@pytest.mark.parametrize(("mask", "predicate"), PREDICATES, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 5), (3, 7), (6, 2)])
def test_a_mask_is_its_predicate_with_the_last_query_at_the_last_key(
    mask, predicate, queries, keys
):
    expected = [[predicate(q + keys - queries, k) for k in range(keys)] for q in range(queries)]
    np.testing.assert_array_equal(np.array(mask.dense(queries, keys)), expected)


@pytest.mark.parametrize(("mask", "predicate"), PREDICATES, ids=lambda value: str(value)[:40])
def test_a_mask_survives_serialisation(mask, predicate):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(mask))
    assert again == mask
    np.testing.assert_array_equal(np.array(again.dense(4, 6)), np.array(mask.dense(4, 6)))


def test_a_mask_draws_itself():
    assert causal().draw(3) == "■··\n■■·\n■■■"
    assert (causal() & window(2)).draw(2, 4) == "·■■·\n··■■"


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
