"""The captions that models stand beside."""

import math
from collections import Counter

import numpy as np
import pytest

from captioning.baselines import (
    Consensus,
    commonest_caption,
    nearest,
    nearest_caption,
    one_person,
)

CAPTIONS = [
    ["a black dog runs", "a dog runs on grass", "the brown dog is running"],
    ["a dog runs in a field", "dogs play"],
    ["a man rides a bike", "a cyclist on a road"],
    ["a man on a bike", "a dog runs on grass"],
]


def likeness(one, other):
    """The mean over orders of the cosine of weighted n-grams, written for the eye."""
    total = 0.0
    for order in range(1, 5):

        def grams(text, order=order):
            words = text.split()
            return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))

        photos = Counter()
        for several in CAPTIONS:
            photos.update({g for text in several for g in grams(text)})
        first, second = (
            {g: n * math.log(len(CAPTIONS) / photos[g]) for g, n in grams(text).items()}
            for text in (one, other)
        )
        product = sum(value * second.get(gram, 0) for gram, value in first.items())
        lengths = [math.sqrt(sum(v**2 for v in vector.values())) for vector in (first, second)]
        total += product / math.prod(lengths) if all(lengths) else 0
    apart = len(one.split()) - len(other.split())
    return total / 4 * math.exp(-(apart**2) / 72)


@pytest.mark.parametrize("row", [[0, 1], [2, 3], [3, 0, 1], [1]])
def test_the_consensus_is_the_caption_most_like_the_others(row):
    texts = [text for other in row for text in CAPTIONS[other]]
    sums = [sum(likeness(text, other) for other in texts) for text in texts]
    (chosen,) = Consensus(CAPTIONS)(np.array([row]))
    assert chosen == texts[int(np.argmax(sums))]


def test_neighbours_are_those_of_the_largest_cosine_whatever_their_length():
    random = np.random.default_rng(0)
    features, others = random.normal(size=(700, 5)), random.normal(size=(40, 5))
    others[7] = 3 * features[650]
    found = nearest(features, others, 10)
    assert found.shape == (700, 10)
    assert found[650, 0] == 7
    cosines = [f @ o / np.linalg.norm(o) for f in features[:1] for o in others]
    assert found[0].tolist() == np.argsort(cosines)[::-1][:10].tolist()
    assert nearest(features, others[:3], 10).shape == (700, 3)


def test_the_nearest_photo_lends_its_first_caption():
    assert nearest_caption(np.array([[2, 0], [0, 2]]), CAPTIONS) == [
        "a man rides a bike",
        "a black dog runs",
    ]


def test_one_person_is_never_compared_with_himself():
    captions, references = one_person([["one", "two", "three"], ["alone"]])
    assert captions == ["one"]
    assert references == [["two", "three"]]


def test_the_commonest_caption_is_counted_over_all_photos():
    assert commonest_caption(CAPTIONS, 2) == ["a dog runs on grass"] * 2
