"""Axes are folded into one and come back: what stood at an index stands where it belongs."""

import itertools

import numpy as np
import pytest

from attention_apps.attention.folding import FoldedAxes

# Sizes that no two axes share: (batch, rows, columns, heads, dim).
SHAPE = (2, 3, 4, 5, 6)
TENSOR = np.arange(np.prod(SHAPE)).reshape(SHAPE)
AXES = [(1, 2), (2,), (1,)]


def kept_and_attended(axes):
    kept = tuple(axis for axis in range(3) if axis not in axes)
    return kept, [SHAPE[axis] for axis in kept], [SHAPE[axis] for axis in axes]


@pytest.mark.parametrize("axes", AXES)
def test_rows_of_the_folded_are_the_attended_positions(axes):
    kept, outer_sizes, inner_sizes = kept_and_attended(axes)
    folded, outer, inner = FoldedAxes(len(SHAPE), axes).fold(TENSOR)
    assert (list(outer), list(inner)) == (outer_sizes, inner_sizes)
    folded = np.array(folded)
    assert folded.shape == (np.prod(outer_sizes), np.prod(inner_sizes), 5, 6)
    for place in itertools.product(*map(range, SHAPE[:3])):
        row = np.ravel_multi_index([place[axis] for axis in kept], outer_sizes)
        column = np.ravel_multi_index([place[axis] for axis in axes], inner_sizes)
        np.testing.assert_array_equal(folded[row, column], TENSOR[place])


@pytest.mark.parametrize("axes", AXES)
def test_what_was_folded_comes_back(axes):
    folding = FoldedAxes(len(SHAPE), axes)
    folded, outer, inner = folding.fold(TENSOR)
    np.testing.assert_array_equal(folding.unfold(folded, outer, inner), TENSOR)
    # Values may be of another size than queries.
    np.testing.assert_array_equal(folding.unfold(folded[..., :2], outer, inner), TENSOR[..., :2])


@pytest.mark.parametrize("axes", AXES)
def test_masks_and_weights_have_queries_before_keys(axes):
    """Queries and keys of other numbers, so that no two axes of the weights can be mixed up."""
    kept, outer, queries = kept_and_attended(axes)
    keys = [size + 2 for size in queries]
    folding = FoldedAxes(len(SHAPE), axes)
    rng = np.random.default_rng(0)
    flat = (np.prod(outer), -1, np.prod(queries), np.prod(keys))
    weights = rng.random((*outer, 5, *queries, *keys))
    unfolded = folding.unfold_weights(weights.reshape(flat), outer, queries, keys)
    np.testing.assert_array_equal(unfolded, weights)
    assert folding.fold_mask(None, outer, queries, keys) is None
    for heads in (5, 1):
        mask = rng.random((*outer, heads, *queries, *keys)) < 0.5
        folded = folding.fold_mask(mask, outer, queries, keys)
        np.testing.assert_array_equal(folded, mask.reshape(flat))
    # Without an axis of heads, and without those that are kept but the batch, as in Keras.
    whole = np.broadcast_to(mask, (*outer, 1, *queries, *keys))
    without_heads = folding.fold_mask(
        whole[(slice(None),) * len(kept) + (0,)], outer, queries, keys
    )
    np.testing.assert_array_equal(without_heads, mask.reshape(flat))
    pairs = rng.random((*queries, *keys)) < 0.5
    everywhere = np.broadcast_to(pairs, (*outer, 1, *queries, *keys)).reshape(flat)
    for given in (pairs, pairs[None], pairs[None, None]):
        found = folding.fold_mask(given, outer, queries, keys)
        np.testing.assert_array_equal(found, everywhere)
