"""The embedded recommendation data: people who watch films, with the known cause of some choices.

Most choices follow a person's drifting interests. Some have one cause, kept as gold: right behind
the first film of a series its sequel may follow; and whoever has seen a portrait of a studio next
watches the sequel to that studio's latest film whose sequel is still unseen, up to 50 films back.

Run `python -m recommendation.synthetic --show 3` to look at it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NoReturn

import numpy as np
import tensorflow_datasets as tfds

from attention_apps.running.command import UserError, run_command
from recommendation.catalogue import GENRES, SIZES, Film, catalogue

LONGEST_LAG: Final = 50
"""Most items from a cause to its effect."""
AGES: Final = ("under 30", "30 to 49", "50 and over")
_ACTIVITY: Final = {"under 30": 1.2, "30 to 49": 1.0, "50 and over": 0.6}
_MEAN_LENGTH: Final = {"small": 40, "full": 60}
_SHORTEST: Final = 8
_MINUTE, _DAY = 60, 86_400

_AT_ONCE: Final = 0.12
"""Chance that a first film is followed by its sequel at once."""
_PORTRAIT: Final = 0.2
"""Chance of a portrait, where some studio has a sequel to offer."""
_EFFECT: Final = 0.95
"""Chance that a portrait has its effect."""
_LATEST: Final = 0.95
"""Chance that the effect is the sequel to the latest film; else to an earlier one."""


@dataclass(frozen=True)
class Viewer:
    """A person and what they watched, in order."""

    name: str
    age: str
    """One of AGES."""
    items: tuple[int, ...]
    """Numbers of films, 0-based."""
    times: tuple[int, ...]
    """Seconds; equal where two films were entered together."""
    causes: tuple[int, ...]
    """For every item the place of its cause in `items`, or -1."""


def generate(size: str, *, count: int | None, seed: int) -> Iterator[Viewer]:
    """Make up viewers.

    Args:
        size: of the catalogue, one of its SIZES.
        count: number of viewers; None for no end.
        seed: the same seed gives the same viewers; a smaller count gives the first of them.

    Raises:
        ValueError: for a size or a count that there is not.
    """
    if size not in SIZES:
        raise ValueError(f"Expected one of the sizes {', '.join(SIZES)}. Received: {size!r}")
    if count is not None and count < 0:
        raise ValueError(f"Expected a number of viewers or None. Received: {count}")
    return _generate(size, count, seed)


def _generate(size: str, count: int | None, seed: int) -> Iterator[Viewer]:
    films = catalogue(size)
    shelves = _shelves(films)
    number = 0
    while count is None or number < count:
        yield _Life(films, shelves, Random(f"viewer {seed} {number}"), size).viewer(f"v{number}")
        number += 1


def pending(films: Sequence[Film], items: Sequence[int]) -> list[int]:
    """Where in a history stand first films whose sequel is unseen, as far back as causes reach.

    Args:
        films: the catalogue.
        items: the history.

    Returns:
        Places in `items`, in order.
    """
    seen = set(items)
    first = max(0, len(items) - LONGEST_LAG)
    return [
        place
        for place in range(first, len(items))
        if (sequel := films[items[place]].sequel) is not None and sequel not in seen
    ]


def likeliest_cause(films: Sequence[Film], items: Sequence[int]) -> int | None:
    """The best guess, by the rule of the data, at the cause of what comes next.

    Args:
        films: the catalogue.
        items: the history.

    Returns:
        A place in `items`, or None where nothing can be the cause.
    """
    if not items:
        return None
    open_places = pending(films, items)
    last = films[items[-1]]
    if last.is_portrait:
        open_places = [p for p in open_places if films[items[p]].studio == last.studio]
        return open_places[-1] if open_places else None
    return len(items) - 1 if len(items) - 1 in open_places else None


@dataclass(frozen=True)
class _Shelf:
    """The films of one genre that interest alone leads to, and their cumulative popularity."""

    films: list[int]
    cumulative: list[float]


def _shelves(films: Sequence[Film]) -> dict[str, _Shelf]:
    """Films by genre; sequels and portraits are chosen for other reasons than interest."""
    found: dict[str, list[int]] = {genre: [] for genre in GENRES}
    sequels = {film.sequel for film in films}
    for number, film in enumerate(films):
        if not film.is_portrait and number not in sequels:
            found[film.genre].append(number)
    shelves = {}
    for genre, numbers in found.items():
        # Every other place of the ranking is a series', so that both kinds have popular films.
        series = [n for n in numbers if films[n].sequel is not None]
        others = [n for n in numbers if films[n].sequel is None]
        ranked = sorted(
            [(i / len(series), n) for i, n in enumerate(series)]
            + [(i / len(others), n) for i, n in enumerate(others)]
        )
        weights = np.cumsum([1 / (rank + 4) ** 0.8 for rank in range(len(ranked))])
        shelves[genre] = _Shelf([n for _, n in ranked], weights.tolist())
    return shelves


class _Life:
    """Draws what one person watches."""

    def __init__(
        self, films: Sequence[Film], shelves: dict[str, _Shelf], random: Random, size: str
    ) -> None:
        self._films = films
        self._shelves = shelves
        self._random = random
        self._age = random.choice(AGES)
        mean = _MEAN_LENGTH[size] * _ACTIVITY[self._age] - _SHORTEST
        # Many watch little, a few very much.
        length = math.exp(random.gauss(math.log(mean) - 0.32, 0.8))
        self._length = _SHORTEST + min(int(length), 3 * _MEAN_LENGTH[size])
        self._interest = self._new_interest()
        self._items: list[int] = []
        self._causes: list[int] = []
        self._portraits: dict[str, list[int]] = {f.studio: [] for f in films if f.studio}
        for number, film in enumerate(films):
            if film.is_portrait:
                self._portraits[film.studio].append(number)

    def viewer(self, name: str) -> Viewer:
        """Draw everything."""
        random, times = self._random, []
        time = int(random.random() * 300 * _DAY)
        genre, left = "", 0
        while len(self._items) < self._length:
            if not left:
                left = 1 + int(random.expovariate(1 / 4))
                time += int(random.expovariate(1 / (6 * _DAY)))
                new = self._new_interest()
                self._interest = [
                    0.85 * old + 0.15 * share
                    for old, share in zip(self._interest, new, strict=True)
                ]
                genre = self._draw_genre()
            elif random.random() < 0.9:
                time += int(random.uniform(1, 180) * _MINUTE)
            left -= 1
            item, cause = self._next(genre if random.random() < 0.75 else self._draw_genre())
            if item is None:
                left = 0
                continue
            self._items.append(item)
            self._causes.append(cause)
            times.append(time)
        return Viewer(name, self._age, tuple(self._items), tuple(times), tuple(self._causes))

    def _new_interest(self) -> list[float]:
        # The old prefer other genres than the young.
        bias = AGES.index(self._age) - 1
        draws = [
            self._random.gammavariate(0.5 + 0.25 * max(0, bias * (1 if i % 2 else -1)), 1)
            for i in range(len(GENRES))
        ]
        total = sum(draws)
        return [draw / total for draw in draws]

    def _draw_genre(self) -> str:
        return self._random.choices(GENRES, self._interest)[0]

    def _next(self, genre: str) -> tuple[int | None, int]:
        random, items = self._random, self._items
        open_places = pending(self._films, items)
        if items and self._films[items[-1]].is_portrait:
            cause = likeliest_cause(self._films, items)
            if cause is not None and random.random() < _EFFECT:
                studio = self._films[items[-1]].studio
                earlier = [p for p in open_places[:-1] if self._films[items[p]].studio == studio]
                if earlier and random.random() >= _LATEST:
                    cause = random.choice(earlier)
                return self._films[items[cause]].sequel, cause
        elif open_places and open_places[-1] == len(items) - 1 and random.random() < _AT_ONCE:
            return self._films[items[-1]].sequel, len(items) - 1
        elif open_places and random.random() < _PORTRAIT:
            # A portrait takes a place of its own: what lies 50 back now is out of reach then.
            reachable = [p for p in open_places if p > len(items) - LONGEST_LAG]
            if reachable:
                # Long memories are preferred, so that all lags occur.
                (place,) = random.choices(reachable, [len(items) - p for p in reachable])
                portraits = self._portraits[self._films[items[place]].studio]
                if portraits:
                    return portraits.pop(random.randrange(len(portraits))), -1
        return self._unseen(genre), -1

    def _unseen(self, genre: str) -> int | None:
        shelf, seen = self._shelves[genre], set(self._items)
        for _ in range(30):
            (film,) = self._random.choices(shelf.films, cum_weights=shelf.cumulative)
            if film not in seen:
                return film
        return None  # This person has seen about everything of the genre.


class GeneratedRecommendation(tfds.core.GeneratorBasedBuilder):
    """The embedded viewers as a set of tensorflow-datasets.

    Prepared data is kept by version: rules that make other viewers need another version.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: Final = [
        tfds.core.BuilderConfig(name="full", description="8,000 viewers, 2,000 films"),
        tfds.core.BuilderConfig(name="small", description="1,500 viewers, 300 films"),
    ]
    COUNTS: Final = {"full": 8_000, "small": 1_500}
    """Config -> number of viewers."""

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description="What people watched, with the known cause of some choices.",
            features=tfds.features.FeaturesDict(
                {
                    "user": tfds.features.Text(),
                    "age": tfds.features.Text(),
                    "items": tfds.features.Tensor(shape=(None,), dtype=np.int32),
                    "times": tfds.features.Tensor(shape=(None,), dtype=np.int64),
                    "causes": tfds.features.Tensor(shape=(None,), dtype=np.int32),
                }
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"users": self._generate_examples(self.builder_config.name)}

    def _generate_examples(self, size: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, viewer in enumerate(generate(size, count=self.COUNTS[size], seed=0)):
            yield (
                index,
                {
                    "user": viewer.name,
                    "age": viewer.age,
                    "items": viewer.items,
                    "times": viewer.times,
                    "causes": viewer.causes,
                },
            )


def _shown(viewer: Viewer, films: Sequence[Film]) -> str:
    """A viewer as lines of text: when, what, and because of what."""
    lines = [f"{viewer.name}, {viewer.age}"]
    for place, (item, time, cause) in enumerate(
        zip(viewer.items, viewer.times, viewer.causes, strict=True)
    ):
        because = f"  <- {place - cause} back: {films[viewer.items[cause]].title}"
        lines.append(
            f"  day {time / _DAY:7.2f}  {films[item].title} ({films[item].genre})"
            + (because if cause >= 0 else "")
        )
    return "\n".join((*lines, ""))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print viewers with what they watched and why."""
    parser = _Parser(prog="python -m recommendation.synthetic", description=main.__doc__)
    parser.add_argument("--show", type=int, default=3, help="number of viewers (3)")
    parser.add_argument("--size", default="full", choices=SIZES, help="of the catalogue (full)")
    parser.add_argument("--seed", type=int, default=0, help="0 gives those of the prepared set")
    options = parser.parse_args(arguments)
    if options.show < 1:
        raise UserError(f"--show must be at least 1. Received: {options.show}")
    films = catalogue(options.size)
    for viewer in generate(options.size, count=options.show, seed=options.seed):
        print(_shown(viewer, films))


if __name__ == "__main__":
    run_command(main)
