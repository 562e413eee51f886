"""Deletion for a model that is known to need one cell for each word."""

import numpy as np
import pytest

from captioning.deletion import deletion, deletion_figures

NEEDED = np.array([[0, 3, 5], [8, 2, 2]])


def log_probabilities(removed):
    """Each word loses 2 nats with the cell it needs, and a tenth with every other."""
    gone = np.take_along_axis(removed, NEEDED, axis=1)
    return -1.9 * gone - 0.1 * removed.sum(axis=1, keepdims=True)


def weights_at(cells):
    return np.eye(9)[cells] + 0.01


def test_cells_that_matter_lower_the_word_more_than_random_ones():
    falls, words = deletion(log_probabilities, weights_at(NEEDED), [3, 2], cells=1, draws=400)
    assert words.tolist() == [[True] * 3, [True, True, False]]
    np.testing.assert_allclose(falls[..., 0], 2)
    np.testing.assert_allclose(falls[..., 1], 0.1 + 1.9 / 9, atol=0.12)
    found = deletion_figures(falls, words, 1)
    assert found["words"] == 5
    assert found["fall"] == pytest.approx(2)
    assert found["more_than_random"] == 1
    assert found["difference_interval"][0] > 1


def test_attention_elsewhere_is_found_out():
    falls, words = deletion(log_probabilities, weights_at(np.full((2, 3), 7)), [3, 3], cells=1)
    np.testing.assert_allclose(falls[..., 0], 0.1)
    found = deletion_figures(falls, words, 1)
    assert found["difference"] < 0


def test_as_many_random_cells_are_taken_as_attended_ones():
    counts = []

    def counted(removed):
        counts.extend(removed.sum(axis=1))
        return np.zeros((2, 3))

    deletion(counted, weights_at(NEEDED), [3, 3], cells=4, draws=3)
    assert set(counts) == {0, 4}
    for cells in (0, 9):
        with pytest.raises(ValueError, match="not all 9"):
            deletion(counted, weights_at(NEEDED), [3, 3], cells=cells)
