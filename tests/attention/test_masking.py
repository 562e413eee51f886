"""Masks of several sources become one, and what they forbid stays where it is."""

import numpy as np
from keras import ops

from attention_apps.attention.masking import attendable, merge_masks, with_axes

ONE = np.array([[1, 1, 0, 0]], bool)
OTHER = np.array([[1], [0]], bool)


def test_what_all_masks_allow_is_allowed():
    assert merge_masks() is None
    assert merge_masks(None, None) is None
    for given in ((ONE, None), (None, ONE), (ONE, ONE)):
        merged = merge_masks(*given)
        assert merged.dtype == "bool"
        np.testing.assert_array_equal(merged, ONE)
    np.testing.assert_array_equal(merge_masks(ONE, None, OTHER), ONE & OTHER)
    # Any number but 0 allows.
    numbers = merge_masks(2 * ONE.astype("int32"), OTHER.astype("float32"))
    np.testing.assert_array_equal(numbers, ONE & OTHER)


def test_axes_of_one_are_put_in_front():
    mask = ops.convert_to_tensor(ONE)
    for rank, shape in ((1, (1, 4)), (2, (1, 4)), (3, (1, 1, 4)), (5, (1, 1, 1, 1, 4))):
        found = with_axes(mask, rank)
        assert tuple(found.shape) == shape
        np.testing.assert_array_equal(np.array(found).reshape(1, 4), ONE)


def test_what_is_forbidden_becomes_zero_whatever_it_was():
    tensor = np.arange(1, 13, dtype="float32").reshape(2, 2, 3)
    tensor[0, 1], tensor[1, 0] = np.nan, np.inf
    mask = np.array([[1, 0], [0, 1]], bool)
    expected = np.array([[[1, 2, 3], [0, 0, 0]], [[0, 0, 0], [10, 11, 12]]])
    np.testing.assert_array_equal(attendable(ops.convert_to_tensor(tensor), mask), expected)
