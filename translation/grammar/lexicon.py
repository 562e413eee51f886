"""The words of both languages, read from the tables in `words/`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from translation.grammar.inflection import (
    EnglishVerb,
    GermanVerb,
    adjective_stem,
    english_s,
    english_verb,
    german_verb,
    noun_form,
)

_WORDS: Final = Path(__file__).parent / "words"
_ARTICLES: Final = {"der": "masculine", "die": "feminine", "das": "neuter"}


@dataclass(frozen=True, slots=True, eq=False)
class Noun:
    """A noun of both languages."""

    english: str
    english_plural: str
    german: str
    gender: str
    genitive: str
    german_plural: str
    tags: frozenset[str]
    where: tuple[str, str] | None
    """Prepositions (English, German with dative) that place something at it."""
    where_to: tuple[str, str] | None
    """Prepositions (English, German) of a way to it."""
    owners: tuple[str, ...]
    """Tags of what it can be a part of."""
    needs_owner: bool

    @property
    def counts(self) -> bool:
        """Whether it has a plural."""
        return bool(self.german_plural)

    def english_form(self, plural: bool) -> str:
        """The English form in a number."""
        return self.english_plural if plural else self.english

    def german_form(self, case: str, plural: bool) -> str:
        """The German form in a case and number."""
        return noun_form(
            nominative=self.german,
            genitive=self.genitive,
            plural=self.german_plural,
            gender=self.gender,
            case=case,
            is_plural=plural,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A person or a city."""

    english: str
    german: str
    tags: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Adjective:
    """An adjective of both languages."""

    english: str
    german: str
    rank: int
    """Place before a noun: opinion 0, size 1, condition 2, age 3, colour 4."""
    tags: tuple[str, ...]
    """Tags of the nouns it can be said of."""
    is_state: bool

    def german_form(self, ending: str) -> str:
        """The German form with an ending."""
        return adjective_stem(self.german) + ending


@dataclass(frozen=True, slots=True, eq=False)
class Adverb:
    """An adverb or a fixed phrase, with the links between its words."""

    english: tuple[str, ...]
    german: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
    kind: str
    tenses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Spot:
    """A noun with the prepositions that make it a place or a way."""

    noun: Noun | Name
    english: str
    german: str


@dataclass(frozen=True, slots=True, eq=False)
class Verb:
    """A verb of both languages, with whom and what it goes with."""

    english: EnglishVerb
    german: GermanVerb
    frame: str
    preposition: str
    """German preposition of the object, or empty."""
    case: str
    """Case of the object."""
    subjects: tuple[Noun | Name, ...]
    objects: tuple[Noun | Name, ...]
    goals: tuple[Spot, ...]
    """Where to or, in the frame `spot`, where."""
    places: tuple[Spot, ...]
    """Where it may happen."""
    manners: tuple[Adverb, ...]
    telling: str
    """What tells which sense of an ambiguous English verb is meant, e.g. `object`; or empty."""
    flags: frozenset[str]
    suits: frozenset[Noun | Name] = field(repr=False)
    """Its subjects as a set."""
    takes: frozenset[Noun | Name] = field(repr=False)
    """Its objects as a set."""


def _rows(table: str) -> Iterator[list[str]]:
    for line in (_WORDS / f"{table}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield [cell.strip() for cell in line.split("|")]


def _prepositions(pair: str | None) -> tuple[str, str] | None:
    if pair is None:
        return None
    english, german = pair.split("/")
    return english, german


def _read_noun(english: str, german: str, tags: str) -> Noun:
    singular, _, plural = english.partition("/")
    article, head = german.split(" ", 1)
    forms = [form.strip() for form in head.split(",")]
    if article == "die":
        forms.insert(1, forms[0])
    words = tags.split()
    options = dict(word.split("=", 1) for word in words if "=" in word)
    owners = options.get("of", "")
    return Noun(
        english=singular,
        english_plural="" if plural == "-" else plural or english_s(singular),
        german=forms[0],
        gender=_ARTICLES[article],
        genitive=forms[1],
        german_plural="" if forms[2] == "-" else forms[2],
        tags=frozenset(word for word in words if "=" not in word),
        where=_prepositions(options.get("at")),
        where_to=_prepositions(options.get("to")),
        owners=tuple(owners.removesuffix("!").split(",")) if owners else (),
        needs_owner=owners.endswith("!"),
    )


NOUNS: Final = tuple(_read_noun(*row) for row in _rows("nouns"))
NAMES: Final = tuple(
    Name(english, german, frozenset(tags.split())) for english, german, tags in _rows("names")
)


def _read_adverb(english: str, german: str, links: str, kind: str, tenses: str) -> Adverb:
    pairs = (link.split("-") for link in links.split())
    return Adverb(
        english=tuple(english.split()),
        german=tuple(german.split()),
        links=tuple((int(one), int(other)) for one, other in pairs),
        kind=kind,
        tenses=frozenset(tenses.split()),
    )


ADVERBS: Final = tuple(_read_adverb(*row) for row in _rows("adverbs"))
_RANKS: Final = ("opinion", "size", "condition", "age", "colour")


def _read_adjective(english: str, german: str, rank: str, tags: str) -> Adjective:
    words = tags.split()
    return Adjective(
        english=english,
        german=german,
        rank=_RANKS.index(rank),
        tags=tuple(word for word in words if word != "state"),
        is_state="state" in words,
    )


ADJECTIVES: Final = tuple(_read_adjective(*row) for row in _rows("adjectives"))


@cache
def matching(tag: str) -> tuple[Noun | Name, ...]:
    """The nouns and names that have a tag, or that are `=word` in English.

    Raises:
        ValueError: no noun has it, which is a misprint in a table.
    """
    entries: tuple[Noun | Name, ...] = (*NOUNS, *NAMES)
    if tag.startswith("="):
        found = tuple(entry for entry in entries if entry.english == tag[1:].replace("_", " "))
        found = found if len(found) == 1 else ()
    else:
        found = tuple(entry for entry in entries if tag in entry.tags)
    if not found:
        raise ValueError(f"Expected a noun's tag or `=` with one English noun. Received: {tag!r}")
    return found


def _matching_any(tags: str) -> tuple[Noun | Name, ...]:
    return tuple(dict.fromkeys(entry for tag in tags.split() for entry in matching(tag)))


_USUAL_SPOTS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "surface": (("on", "auf"), ("on", "auf"), ("under", "unter")),
    "box": (("in", "in"),),
    "landmark": (("next to", "neben"), ("behind", "hinter"), ("in front of", "vor")),
}
_TO_NAMED: Final = ("to", "nach")


def _spots(tags: list[str], *, ways: bool) -> tuple[Spot, ...]:
    """Read `tag[:english/german]`; without prepositions, those usual for the tag or the noun."""
    found: list[Spot] = []
    for tag, _, given in (tag.partition(":") for tag in tags):
        for entry in matching(tag):
            pair = _prepositions(given or None)
            pairs = (pair,) if pair else _usual_prepositions(entry, tag, ways=ways)
            found.extend(Spot(entry, english, german) for english, german in pairs)
    return tuple(found)


def _usual_prepositions(entry: Noun | Name, tag: str, *, ways: bool) -> tuple[tuple[str, str], ...]:
    if tag in _USUAL_SPOTS:
        return _USUAL_SPOTS[tag]
    pair = _TO_NAMED if ways else None
    if isinstance(entry, Noun):
        pair = entry.where_to if ways else entry.where
    if pair is None:
        raise ValueError(f"Expected a place with its prepositions. Received: {entry.english!r}")
    return (pair,)


def _read_verb(
    english: str, german: str, frame: str, subjects: str, objects: str, goals: str, extras: str
) -> Verb:
    frame, *government = frame.split()
    preposition, case = government or ("", "dative" if frame == "dative" else "accusative")
    flags, places, manners, telling = set(), [], set(), ""
    for extra in extras.split():
        if extra.startswith("@"):
            places = extra[1:].split(",")
        elif extra.startswith("%"):
            manners = set(extra[1:].replace("_", " ").split(","))
        elif extra.startswith("telling="):
            telling = extra.removeprefix("telling=")
        else:
            flags.add(extra)
    doers, taken = _matching_any(subjects), _matching_any(objects)
    return Verb(
        english=english_verb(english),
        german=german_verb(german),
        frame=frame,
        preposition=preposition,
        case=case,
        subjects=doers,
        objects=taken,
        goals=_spots(goals.split(), ways=frame != "spot"),
        places=_spots(places, ways=False),
        manners=tuple(a for a in ADVERBS if a.kind == "manner" and " ".join(a.english) in manners),
        telling=telling,
        flags=frozenset(flags),
        suits=frozenset(doers),
        takes=frozenset(taken),
    )


VERBS: Final = tuple(_read_verb(*row) for row in _rows("verbs"))
