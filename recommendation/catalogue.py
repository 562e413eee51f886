"""The films of the embedded data: series, the studios behind them, and everything else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

GENRES: Final = ("comedy", "crime", "drama", "fantasy", "history", "romance", "thriller", "western")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_STUDIOS: Final = _words(
    "Meridian Northlight Bluebird Coppergate Halcyon Foxglove Larkspur Ironbridge Seafarer "
    "Juniper Palisade Redwood Starling Thornfield Windward Ashgrove Brightwater Clearwater "
    "Dovecote Evergreen"
)
_ADJECTIVES: Final = _words(
    "Amber Silent Broken Hidden Golden Distant Frozen Crimson Restless Lonely Borrowed "
    "Painted Sleeping Wandering Forgotten Velvet Hollow Burning Paper Winter"
)
_NOUNS: Final = _words(
    "Harbour Orchard Compass Lantern Garden Bridge Letter Mirror River Station Violin Tower "
    "Carousel Island Kingdom Shadow Meadow Clock Voyage Window"
)
_OCCASIONS: Final = _words(
    "Night Summer Winter Wedding Stranger Week Holiday Secret Rumour Promise Lesson Morning "
    "Detective Dancer Bargain Picnic Letter Journey Trial Reunion Storm Dinner Murder Song"
)
_CITIES: Final = _words(
    "Lisbon Vienna Oslo Naples Prague Dublin Cairo Boston Kyoto Havana Seville Zagreb Tunis "
    "Lima Bergen Odessa Quito Bruges Geneva Malta Riga Porto Delhi Hanoi Tampa Leeds Turin "
    "Sofia Minsk Crete Dakar Luxor Tahiti Warsaw Perth Cork Basel Genoa Nice Ghent"
)


@dataclass(frozen=True)
class Film:
    """One item of the catalogue."""

    title: str
    genre: str
    studio: str = ""
    """Whose film it is, or whom a documentary is about; empty for the other films."""
    sequel: int | None = None
    """Of the first film of a series, the number of the second."""
    is_portrait: bool = False
    """Whether it is a documentary about its studio."""


@dataclass(frozen=True)
class Size:
    """How much there is of everything."""

    studios: int
    series_each: int
    portraits_each: int
    others: int


SIZES: Final = {"small": Size(8, 8, 8, 108), "full": Size(20, 20, 12, 960)}


def catalogue(size: str) -> list[Film]:
    """All films; the same for the same size.

    Args:
        size: one of SIZES.

    Returns:
        First the series, studio by studio, each first film before its sequel; then the studios'
        portraits; then all others, the more popular ones of a genre first.
    """
    plan = SIZES[size]
    series = _shuffled(f"The {adjective} {noun}" for adjective in _ADJECTIVES for noun in _NOUNS)
    others = _shuffled(f"A {occasion} in {city}" for occasion in _OCCASIONS for city in _CITIES)
    films: list[Film] = []
    for number, studio in enumerate(_STUDIOS[: plan.studios]):
        # Every studio takes from a stretch of its own, so that a small catalogue is part of a
        # large one.
        first = number * SIZES["full"].series_each
        for name in series[first : first + plan.series_each]:
            films.append(Film(name, _genre(name), studio, sequel=len(films) + 1))
            films.append(Film(f"{name} II", _genre(name), studio))
    for studio in _STUDIOS[: plan.studios]:
        for part in range(1, plan.portraits_each + 1):
            title = f"Inside {studio} Pictures, Part {part}"
            films.append(Film(title, "documentary", studio, is_portrait=True))
    films += [Film(name, _genre(name)) for name in others[: plan.others]]
    return films


def _shuffled(names: Iterable[str]) -> list[str]:
    ordered = list(names)
    Random("catalogue").shuffle(ordered)
    return ordered


def _genre(name: str) -> str:
    return Random(name).choice(GENRES)
