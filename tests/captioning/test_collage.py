"""Collages, and what maps score on them whose merit is known."""

import numpy as np
import pytest

from captioning.collage import choose_collages, collage_figures, compose, part_box
from captioning.word_maps import WordMap, covered

REFERENCES = [
    ["a dog runs"],
    ["a dog sleeps", "the puppy rests"],
    ["a man surfs on a wave"],
    ["two girls dance"],
    ["the man dances"],
    ["a red car"],
    ["a puppy in a car"],
    ["a girl on a swing"],
]


def collage(weights_of, parts, words=("dog", "the", "grass")):
    return [
        [WordMap(0, part, word, weights_of(part, place)) for place, word in enumerate(words)]
        for part in range(parts)
    ]


def inside(part, parts, size=(4, 4)):
    weights = covered([part_box(part, parts)], *size)
    return weights / weights.sum()


def test_photos_lie_in_the_order_of_reading():
    pixels = np.stack([np.full((2, 3, 3), value, np.uint8) for value in (1, 2, 3, 4)])
    np.testing.assert_array_equal(compose(pixels[:2])[0, :, 0], [1, 1, 1, 2, 2, 2])
    whole = compose(pixels)
    assert whole.shape == (4, 6, 3)
    for part in range(4):
        top, left, bottom, right = part_box(part, 4)
        box = whole[int(top * 4) : int(bottom * 4), int(left * 6) : int(right * 6)]
        assert (box == part + 1).all()


@pytest.mark.parametrize("parts", [2, 4])
def test_a_map_that_does_not_depend_on_the_caption_is_at_chance_wherever_it_looks(parts):
    peak = np.zeros((4, 4))
    peak[0, 3] = 1
    found = collage_figures([collage(lambda *_: peak, parts)] * 3)
    assert found["chance"] == 1 / parts
    assert found["mass"] == pytest.approx(1 / parts)
    assert found["hit"] == pytest.approx(1 / parts)
    assert found["floor_shuffled_interval"] == pytest.approx((1 / parts, 1 / parts))


@pytest.mark.parametrize("parts", [2, 4])
def test_maps_in_the_right_photo_score_fully_and_above_their_own_shuffle(parts):
    found = collage_figures([collage(lambda part, _: inside(part, parts), parts)] * 5)
    assert found["mass"] == pytest.approx(1)
    assert found["hit"] == 1
    low, high = found["floor_shuffled_interval"]
    assert low < 1 / parts < high < 1


def test_content_words_are_counted_apart():
    def weights_of(part, place):
        return inside(part, 2) if place != 1 else np.full((4, 4), 1 / 16)

    found = collage_figures([collage(weights_of, 2)] * 4)
    assert found["mass"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert found["content_mass"] == pytest.approx(1)


def test_photos_of_a_collage_share_no_content_word_and_come_once():
    for parts in (2, 4):
        found = choose_collages(REFERENCES, parts, 10, seed=3)
        assert found
        used = [photo for photos in found for photo in photos]
        assert len(used) == len(set(used))
        for photos in found:
            assert len(photos) == parts
            texts = [" ".join(REFERENCES[photo]).split() for photo in photos]
            shared = set(texts[0]).intersection(*texts[1:])
            assert shared <= {"a", "the", "two", "on"}
    assert choose_collages(REFERENCES, 2, 1, seed=1) == choose_collages(REFERENCES, 2, 1, seed=1)
    assert choose_collages([["a dog"], ["the dog"]], 2, 5) == []
