"""Scores of maps whose right answer is known."""

import numpy as np
import pytest

from captioning.pointing import centre_map, hit, mass, pointing
from captioning.word_maps import WordMap, centres_inside, covered, word_maps

LEFT = (0.0, 0.0, 1.0, 0.5)


def at(row, column, size=(4, 4)):
    weights = np.zeros(size, np.float32)
    weights[row, column] = 1
    return weights


def test_a_cell_counts_by_how_much_of_it_is_inside():
    found = covered([(0.125, 0.25, 0.5, 0.625)], 4, 4)
    expected = np.outer([0.5, 1, 0, 0], [0, 1, 0.5, 0])
    np.testing.assert_allclose(found, expected)


def test_boxes_that_overlap_count_once():
    one, other = (0.0, 0.0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75)
    both = covered([one, other], 4, 4)
    assert both.mean() == pytest.approx(0.25 + 0.25 - 0.0625)
    assert both.max() == 1
    np.testing.assert_allclose(covered([one, one], 4, 4), covered([one], 4, 4))


def test_the_centre_of_a_cell_decides_a_hit():
    box = (0.0, 0.0, 0.3, 0.12)  # in a grid of 4 the first centre is at 0.125
    assert not centres_inside([box], 4, 4).any()
    assert hit(at(0, 0), [(0.0, 0.0, 0.3, 0.13)]) == 1
    assert hit(at(0, 0), [box]) == 0
    assert hit(at(3, 3), [box, (0.75, 0.75, 1.0, 1.0)]) == 1


def test_a_map_that_is_the_same_everywhere_hits_as_often_as_chance():
    assert hit(np.full((4, 4), 1 / 16), [(0.0, 0.0, 0.5, 0.5)]) == 0.25
    assert mass(np.full((4, 4), 1 / 16), [(0.0, 0.0, 0.5, 0.5)]) == pytest.approx(0.25)


def test_the_centre_looks_at_the_centre():
    weights = centre_map(8, 8)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, weights[::-1, ::-1])
    assert hit(weights, [(0.4, 0.4, 0.6, 0.6)]) == 1
    assert mass(weights, [(0.25, 0.25, 0.75, 0.75)]) > 0.4


def test_figures_are_means_over_words_beside_their_floors():
    right, wrong = at(1, 0), at(1, 3)
    maps = [
        WordMap(0, 0, "dog", right, (LEFT,), "object"),
        WordMap(0, 0, "cat", wrong, (LEFT,), "object"),
        WordMap(1, 0, "red", right, (LEFT,), "colour"),
        WordMap(1, 0, "the", wrong),
    ]
    found = pointing(maps)
    assert found["words"] == 3
    assert found["hit"] == found["mass"] == pytest.approx(2 / 3)
    assert found["floor_uniform_hit"] == found["floor_centre_hit"] == pytest.approx(0.5)
    # Whichever way the two maps of the first picture are dealt, one of them is right.
    assert found["floor_shuffled_hit"] == pytest.approx(2 / 3)
    assert found["by_kind"]["object"]["hit"] == 0.5
    assert found["by_kind"]["colour"]["hit"] == 1
    low, high = found["hit_interval"]
    assert (low, high) == (0.5, 1.0)
    assert found["hit_over_centre_interval"] == pytest.approx((0.0, 0.5))
    assert pointing([maps[3]]) == {}


def test_words_behind_the_end_have_no_map():
    weights = np.arange(2 * 3 * 4, dtype=float).reshape(2, 3, 2, 2)
    found = word_maps([["a", "dog"], ["a", "b", "c", "d"]], weights, [7, 8], [1, 2])
    assert [(m.photo, m.caption, m.word) for m in found] == [
        (7, 1, "a"),
        (7, 1, "dog"),
        (8, 2, "a"),
        (8, 2, "b"),
        (8, 2, "c"),
    ]
    np.testing.assert_array_equal(found[1].weights, weights[0, 1])
    assert [m.is_content for m in found[:2]] == [False, True]
