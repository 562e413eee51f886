"""Divergence of maps that are alike, differ by chance, or follow their words."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from captioning.variation import divergences, variation
from captioning.word_maps import WordMap

WORDS = ("dog", "grass", "ball", "sky")


def maps_of(weights_of, photos=10, captions=3):
    return [
        WordMap(photo, caption, word, weights_of(photo, caption, place))
        for photo in range(photos)
        for caption in range(captions)
        for place, word in enumerate(WORDS)
    ]


def test_divergence_is_that_of_an_independent_implementation():
    maps = np.random.default_rng(0).random((5, 3, 4)) ** 4
    found = divergences(maps)
    for i, one in enumerate(maps):
        for j, other in enumerate(maps):
            expected = jensenshannon(one.ravel(), other.ravel(), base=2) ** 2
            assert found[i, j] == pytest.approx(expected, abs=1e-7)
    apart = divergences(np.eye(2).reshape(2, 1, 2))
    np.testing.assert_allclose(apart, [[0, 1], [1, 0]])


def test_maps_that_are_all_the_same_raise_the_alarm():
    same = np.random.default_rng(0).random((4, 4))
    found = variation(maps_of(lambda *_: same))
    assert found["between_words"] == pytest.approx(0, abs=1e-9)
    assert found["all_alike"]
    assert found["between_photos"] == pytest.approx(0, abs=1e-9)


def test_maps_that_differ_by_chance_alone_are_not_above_the_shuffled_floor():
    random = np.random.default_rng(0)
    found = variation(maps_of(lambda *_: random.random((4, 4)) ** 4, photos=60))
    assert found["between_words"] > 0.1
    assert not found["all_alike"]
    low, high = found["words_matter_interval"]
    assert low < 0 < high


def test_maps_that_follow_their_words_are():
    random = np.random.default_rng(0)
    places = {photo: random.permutation(16).reshape(4, 4) for photo in range(10)}

    def weights_of(photo, caption, place):
        return (places[photo] == place) + 0.02 * random.random((4, 4))

    found = variation(maps_of(weights_of))
    assert found["same_word"] < found["floor_shuffled"] < found["different_words"]
    assert found["words_matter_interval"][0] > 0.1
    assert found["between_photos"] > 0.1


def test_words_without_a_place_are_left_out_and_one_caption_has_nothing_across():
    weights = np.eye(4, dtype=np.float32).reshape(4, 2, 2)
    words = ("a", "dog", "the", "grass")
    maps = [WordMap(0, 0, word, one) for word, one in zip(words, weights, strict=True)]
    found = variation(maps)
    assert found["words"] == 2
    assert found["between_words"] == 1
    assert "same_word" not in found
    assert "between_words" not in variation(maps[:2])
