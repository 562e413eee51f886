"""Scenes of textured objects: what is in them, where, and their picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import Final

import numpy as np

SIZE: Final = 64
"""Pixels of a picture's side."""
NOUNS: Final = ("ball", "box", "cross", "kite", "moon", "ring", "star", "tent")
COLOURS: Final = {
    "red": (205, 40, 45),
    "green": (40, 150, 60),
    "blue": (45, 80, 205),
    "yellow": (235, 205, 50),
    "purple": (135, 55, 170),
    "orange": (240, 130, 35),
    "white": (240, 240, 240),
}
TEXTURES: Final = ("plain", "striped", "spotted", "checked")
SIZES: Final = {"small": (5, 6), "large": (9, 11)}
"""Name -> smallest and largest half of an object's side, in pixels."""
BACKGROUNDS: Final = {
    "grass": (118, 158, 92),
    "sand": (205, 184, 138),
    "water": (116, 160, 190),
    "bricks": (160, 112, 96),
}
RELATIONS: Final = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}
"""A relation and its inverse."""
_PAIRS: Final = list(combinations(NOUNS, 2))
HELD_OUT: Final = frozenset(frozenset(_PAIRS[index]) for index in range(1, len(_PAIRS), 4))
"""Pairs of nouns that stand in one picture in the test split alone."""
_GAP = 2
_TRIES = 40


@dataclass(frozen=True)
class Group:
    """Objects that are alike but for their places.

    Attributes:
        noun, colour, texture, size: what they are, as words.
        centres: row and column of each, in pixels.
        radii: half of each one's side.
    """

    noun: str
    colour: str
    texture: str
    size: str
    centres: tuple[tuple[int, int], ...]
    radii: tuple[int, ...]

    @property
    def boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """Top, left, bottom and right of each object, as shares of the picture."""
        return tuple(
            (
                (row - radius) / SIZE,
                (column - radius) / SIZE,
                (row + radius) / SIZE,
                (column + radius) / SIZE,
            )
            for (row, column), radius in zip(self.centres, self.radii, strict=True)
        )


@dataclass(frozen=True)
class Scene:
    """One or two groups on a background."""

    groups: tuple[Group, ...]
    background: str

    @property
    def relations(self) -> list[str]:
        """Every relation that the first group as a whole has to the second."""
        if len(self.groups) < 2:
            return []
        one, other = (np.array(group.boxes) for group in self.groups)
        holds = {
            "left of": one[:, 3].max() <= other[:, 1].min(),
            "right of": one[:, 1].min() >= other[:, 3].max(),
            "above": one[:, 2].max() <= other[:, 0].min(),
            "below": one[:, 0].min() >= other[:, 2].max(),
        }
        return [relation for relation, true in holds.items() if true]


def draw_scene(random: Random, *, held_out: bool) -> Scene:
    """Make up a scene; objects lie anywhere in it with equal chance, none over another.

    Args:
        random: where chance comes from.
        held_out: make a pair of nouns of `HELD_OUT`, else one noun or another pair.

    Returns:
        The scene.
    """
    while True:
        pair = random.sample(NOUNS, 2)
        if (frozenset(pair) in HELD_OUT) != held_out:
            continue
        nouns = pair if held_out or random.random() < 0.85 else pair[:1]
        colours = random.sample(sorted(COLOURS), len(nouns))
        taken: list[tuple[int, int, int]] = []
        groups = []
        for noun, colour in zip(nouns, colours, strict=True):
            size = random.choice(sorted(SIZES))
            count = random.choices((1, 2, 3), (6, 3, 2 if size == "small" else 0))[0]
            group = _place(random, noun, colour, size, count, taken)
            if group is None:
                break
            groups.append(group)
        if len(groups) == len(nouns):
            return Scene(tuple(groups), random.choice(sorted(BACKGROUNDS)))


def _place(
    random: Random, noun: str, colour: str, size: str, count: int, taken: list[tuple[int, int, int]]
) -> Group | None:
    texture = random.choice(TEXTURES)
    centres, radii = [], []
    for _ in range(count):
        for _ in range(_TRIES):
            radius = random.randint(*SIZES[size])
            row, column = (random.randint(radius + 1, SIZE - radius - 2) for _ in range(2))
            if all(
                max(abs(row - other_row), abs(column - other_column)) > radius + other + _GAP
                for other_row, other_column, other in taken
            ):
                break
        else:
            return None
        taken.append((row, column, radius))
        centres.append((row, column))
        radii.append(radius)
    return Group(noun, colour, texture, size, tuple(centres), tuple(radii))


def render(scene: Scene, seed: int) -> np.ndarray:
    """Paint a scene.

    Args:
        scene: what to paint.
        seed: of the background's grain.

    Returns:
        `(SIZE, SIZE, 3)` uint8.
    """
    picture = _background(scene.background, np.random.default_rng(seed))
    for group in scene.groups:
        colour = np.array(COLOURS[group.colour], float)
        for (row, column), radius in zip(group.centres, group.radii, strict=True):
            y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1] / radius
            shape = _shape(group.noun, y, x)
            rows, columns = (slice(c - radius, c + radius + 1) for c in (row, column))
            painted = np.where(_pattern(group.texture, radius)[..., None], colour, colour * 0.45)
            rim = shape & ~_eroded(shape)
            painted = np.where(rim[..., None], (25, 25, 30), painted)
            picture[rows, columns] = np.where(shape[..., None], painted, picture[rows, columns])
    return np.clip(picture, 0, 255).astype(np.uint8)


def _background(name: str, generator: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    shade = generator.normal(0, 7, (SIZE, SIZE))
    if name == "water":
        shade = shade / 2 + 12 * np.sin(rows / 2 + 2 * np.sin(columns / 9))
    if name == "bricks":
        shift = (rows // 8 % 2) * 6
        shade = shade / 2 - 28 * ((rows % 8 == 0) | ((columns + shift) % 12 == 0))
    if name == "grass":
        shade = shade * 2
    return np.array(BACKGROUNDS[name], float) + shade[..., None]


def _shape(noun: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Which pixels of its square an object covers; y and x run from -1 to 1."""
    distance, angle = np.hypot(y, x), np.arctan2(x, -y)
    shapes = {
        "ball": distance <= 1,
        "box": np.maximum(abs(y), abs(x)) <= 0.9,
        "cross": np.minimum(abs(y), abs(x)) <= 0.34,
        "kite": abs(x) * 1.35 + abs(y) <= 1,
        "moon": (distance <= 1) & (np.hypot(y, x - 0.55) > 0.8),
        "ring": (distance <= 1) & (distance >= 0.5),
        "star": distance <= 0.42 + 0.58 * abs((angle * 5 / (2 * np.pi)) % 1 - 0.5) * 2,
        "tent": (y >= 2 * abs(x) - 1) & (y <= 0.9),
    }
    return shapes[noun]


def _pattern(texture: str, radius: int) -> np.ndarray:
    """Which pixels of an object's square are light."""
    y, x = np.mgrid[: 2 * radius + 1, : 2 * radius + 1]
    patterns = {
        "plain": np.ones_like(y, bool),
        "striped": y // 2 % 2 == 0,
        "spotted": (y % 4 > 1) | (x % 4 > 1),
        "checked": (y // 3 + x // 3) % 2 == 0,
    }
    return patterns[texture]


def _eroded(shape: np.ndarray) -> np.ndarray:
    padded = np.pad(shape, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
