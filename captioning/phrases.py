"""Captions of a scene, and for every word the boxes of what it names."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from captioning.photos import Box
from captioning.scenes import RELATIONS, Group, Scene

NUMBERS: Final = {1: "a", 2: "two", 3: "three"}
PLURALS: Final = {"box": "boxes", "cross": "crosses"}
CAPTIONS: Final = 5

Word = tuple[str, tuple[Box, ...]]
"""A word and the boxes that it refers to."""


def captions_of(scene: Scene, random: Random) -> list[list[Word]]:
    """Say what a scene shows in five ways; what is said of an object differs between them.

    Words that name an object, its number, size, colour or texture refer to its boxes. Backgrounds
    refer to none: whatever is looked at lies on one.

    Args:
        scene: what to describe.
        random: where chance comes from.

    Returns:
        Five captions, each a list of words.
    """
    ways = _ways(scene)
    return [way(random) for way in random.sample(ways, CAPTIONS)]


def _ways(scene: Scene) -> list[Callable[[Random], list[Word]]]:
    place = _words(f"on {scene.background}")

    def group(index: int, random: Random) -> list[Word]:
        return _group(scene.groups[index], random)

    if len(scene.groups) == 1:
        return [
            lambda random: [*group(0, random), *place],
            lambda random: [*_words("there"), *_be(scene.groups[0]), *group(0, random)],
            lambda random: [*place, *_words("you see"), *group(0, random)],
            lambda random: [*group(0, random), *_words("and nothing else")],
            lambda random: [*_words("a picture of"), *group(0, random), *place],
        ]

    def related(first: int, random: Random) -> list[Word]:
        relations = scene.relations
        if not relations:
            relation = "near"
        else:
            relation = random.choice(relations)
            relation = relation if first == 0 else RELATIONS[relation]
        return [*group(first, random), *_words(relation), *group(1 - first, random)]

    return [
        lambda random: related(0, random),
        lambda random: related(1, random),
        lambda random: [*related(random.randint(0, 1), random), *place],
        lambda random: [*group(0, random), *_words("and"), *group(1, random), *place],
        lambda random: [
            *_words("there"),
            *_be(scene.groups[1]),
            *group(1, random),
            *_words("and"),
            *group(0, random),
        ],
    ]


def _group(group: Group, random: Random) -> list[Word]:
    count = len(group.centres)
    adjectives = []
    if random.random() < 0.5:
        adjectives.append(group.size)
    if random.random() < 0.8:
        adjectives.append(group.colour)
    if group.texture != "plain" and random.random() < 0.5:
        adjectives.append(group.texture)
    noun = group.noun if count == 1 else PLURALS.get(group.noun, f"{group.noun}s")
    words = [*adjectives, noun]
    number = "an" if count == 1 and words[0][0] in "aeiou" else NUMBERS[count]
    # An article says nothing that could be pointed at.
    first = (number, () if count == 1 else group.boxes)
    return [first, *((word, group.boxes) for word in words)]


def _be(group: Group) -> list[Word]:
    return _words("is" if len(group.centres) == 1 else "are")


def _words(text: str) -> list[Word]:
    return [(word, ()) for word in text.split()]
