"""The order of the parts of a clause in each language."""

from __future__ import annotations

from typing import Final, NamedTuple

from translation.grammar.function_words import DETERMINERS
from translation.grammar.structure import Clause, Nominal, Personal, Phrase, Together


class Word(NamedTuple):
    """A word and the links it carries."""

    text: str
    links: tuple[int, ...] = ()


class Wording(NamedTuple):
    """The words of a part of a sentence in both languages."""

    english: list[Word]
    german: list[Word]
    tail: list[Word]
    """A German relative clause with its commas, which can be moved to the end of the clause."""


COMMA: Final = Word(",")

Parts = dict[str, Wording]
"""The parts of a clause by the names of the fields of Clause; `not` is German's nicht."""


def english_order(
    clause: Clause, parts: Parts, helpers: list[Word], verbs: list[Word], particle: list[Word]
) -> list[Word]:
    """Subject, verb, object, then where, how and when; a front stands before all."""

    def of(*names: str) -> list[Word]:
        found = (parts[name].english for name in names if name in parts and name != clause.front)
        return [word for words in found for word in words]

    front = parts[clause.front].english if clause.front else []
    objects = [*particle, *of("object")]
    if isinstance(clause.object, Personal):
        objects = [*of("object"), *particle]
    if "to" in clause.verb.flags:
        objects += of("recipient")
    else:
        objects = [*of("recipient"), *objects]
    return [
        *front,
        *of("subject"),
        *helpers,
        *of("frequency"),
        *verbs,
        *objects,
        *of("quality", "goal", "means", "manner", "agent", "place", "time"),
    ]


def german_order(
    clause: Clause,
    parts: Parts,
    order: str,
    finite: list[Word],
    prefix: list[Word],
    cluster: list[Word],
) -> list[Word]:
    """Verb second, first or last; between it and the end, pronouns and the known before the new.

    Args:
        clause: what is worded.
        parts: its parts.
        order: `second`, `first` or `final`, the place of the finite verb.
        finite: the finite verb, empty in an infinitive.
        prefix: what a separable verb leaves behind.
        cluster: participle or infinitive.
    """
    opening: list[Word] = []
    names = sorted((_rank(name, clause), name) for name in parts)
    middle = [parts[name] for _, name in names]
    if order == "second":
        first = parts[clause.front or "subject"]
        middle.remove(first)
        opening = [*first.german, *first.tail, *finite]
        closing = [*prefix, *cluster]
    elif order == "first":
        opening = finite
        closing = [*prefix, *cluster]
    elif prefix:
        joined = Word(prefix[0].text + finite[0].text, finite[0].links)
        closing = [joined]
    else:
        closing = [*cluster, *finite]
    light = {id(parts[name]) for name in ("not", "frequency") if name in parts}
    heavy = [wording for wording in middle if id(wording) not in light]
    moved: list[Word] = []
    words: list[Word] = []
    for wording in middle:
        words += wording.german
        if wording.tail and wording is heavy[-1]:
            moved = wording.tail
        else:
            words += wording.tail
    return [*opening, *words, *closing, *moved]


_RANKS: Final = {
    "subject": 0,
    "time": 4,
    "recipient": 5,
    "frequency": 6,
    "agent": 8,
    "not": 9,
    "manner": 10,
    "place": 11,
    "means": 13,
    "goal": 14,
    "quality": 14,
}
_PRONOUN, _DATIVE_PRONOUN, _NEW_SUBJECT, _DATIVE = 1, 2, 3, 5
_DEFINITE, _INDEFINITE, _GOVERNED = 7, 12, 14


def _rank(name: str, clause: Clause) -> int:
    """Place in the middle of a German clause, from the left."""
    if name == "frequency" and clause.frequency is not None and "late" in clause.frequency.tenses:
        return _RANKS["not"]
    if name == "recipient" and isinstance(clause.recipient, Personal):
        return _DATIVE_PRONOUN
    if name == "subject" and not is_definite(clause.subject):
        return _NEW_SUBJECT
    if name != "object":
        return _RANKS[name]
    if clause.verb.preposition or "bare" in clause.verb.flags:
        return _GOVERNED
    if isinstance(clause.object, Personal):
        return _DATIVE_PRONOUN if clause.verb.case == "dative" else _PRONOUN
    if clause.verb.case == "dative":
        return _DATIVE
    return _DEFINITE if is_definite(clause.object) else _INDEFINITE


def is_definite(phrase: Phrase | None) -> bool:
    """Whether the hearer is to know who or what is meant."""
    if isinstance(phrase, Together):
        return is_definite(phrase.first) and is_definite(phrase.second)
    if isinstance(phrase, Nominal):
        return phrase.owner is not None or DETERMINERS[phrase.determiner].definite
    return True
