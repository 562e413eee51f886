"""The embedded scenes: true captions, boxes where the objects are, pairs that never met."""

from random import Random

import numpy as np
import pytest

from captioning.phrases import captions_of
from captioning.scenes import COLOURS, HELD_OUT, NOUNS, SIZE, Group, Scene, draw_scene, render
from captioning.synthetic import SPLITS, generate
from captioning.tokens import words_of


def nouns(example):
    return frozenset(group.noun for group in example.scene.groups)


@pytest.mark.parametrize("split", SPLITS)
def test_pairs_of_the_test_split_are_in_no_other(split):
    pairs = {nouns(example) for example in generate(split, size=150, seed=0)}
    assert {frozenset([noun]) for noun in NOUNS} <= {
        frozenset([noun]) for pair in pairs for noun in pair
    }
    assert pairs <= HELD_OUT if split == "test" else not pairs & HELD_OUT


def test_the_same_seed_gives_the_same_pictures():
    first, second, other = ([*generate("train", size=3, seed=seed)] for seed in (0, 0, 1))
    for one, two, three in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(one.pixels, two.pixels)
        assert one.captions == two.captions
        assert not np.array_equal(one.pixels, three.pixels)


def test_boxes_hold_all_that_is_painted_of_an_object_and_nothing_else():
    random = Random(0)
    for _ in range(40):
        scene = draw_scene(random, held_out=False)
        empty = render(Scene((), scene.background), 5)
        for group in scene.groups:
            changed = (render(Scene((group,), scene.background), 5) != empty).any(-1)
            inside = np.zeros((SIZE, SIZE), bool)
            for box in group.boxes:
                top, left, bottom, right = (round(edge * SIZE) for edge in box)
                place = (slice(top, bottom + 1), slice(left, right + 1))
                assert changed[place].mean() > 0.1
                inside[place] = True
            assert not (changed & ~inside).any()


def test_captions_differ_and_are_true():
    for example in generate("train", size=200, seed=3):
        captions = [" ".join(word for word, _ in caption) for caption in example.captions]
        assert len(captions) == 5
        assert len({caption.split(" ")[0] + str(len(caption)) for caption in captions}) > 1
        relations = example.scene.relations
        for caption, text in zip(example.captions, captions, strict=True):
            assert [word for word, _ in caption] == words_of(text)
            for group in example.scene.groups:
                said = [word for word, boxes in caption if boxes == group.boxes]
                assert any(word.startswith(group.noun) for word in said)
                assert not {*COLOURS} & {*said} - {group.colour}
            if " above " in text:
                first_is_first = text.index(example.scene.groups[0].noun) < text.index(" above ")
                assert ("above" if first_is_first else "below") in relations


def test_relations_are_of_whole_groups():
    one = Group("ball", "red", "plain", "small", ((10, 10), (10, 30)), (5, 5))
    other = Group("box", "blue", "plain", "small", ((40, 50),), (5,))
    assert Scene((one, other), "sand").relations == ["left of", "above"]
    assert Scene((other, one), "sand").relations == ["right of", "below"]
    between = Group("box", "blue", "plain", "small", ((10, 20),), (4,))
    assert Scene((one, between), "sand").relations == []
    near = captions_of(Scene((one, between), "sand"), Random(0))
    assert any("near" in [word for word, _ in caption] for caption in near)


def test_objects_lie_everywhere():
    random, places = Random(1), []
    for _ in range(600):
        for group in draw_scene(random, held_out=False).groups:
            places += [(row / SIZE, column / SIZE) for row, column in group.centres]
    middle = np.mean(
        [(abs(row - 0.5) < 0.125) & (abs(column - 0.5) < 0.125) for row, column in places]
    )
    assert middle < 0.12  # a sixteenth of the picture, of which the rim cannot hold a centre
