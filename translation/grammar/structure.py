"""What a sentence says, before any word is inflected or put in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from translation.grammar.function_words import Pronoun
from translation.grammar.lexicon import Adjective, Adverb, Name, Noun, Verb

CONSTRUCTIONS: Final = (
    "modal",
    "perfect",
    "future",
    "passive",
    "negation",
    "separable",
    "ditransitive",
    "relative",
    "subordinate",
    "infinitive",
    "inversion",
    "coordination",
    "genitive",
)
"""What can make the order or the form of words differ between the languages."""


@dataclass(frozen=True, slots=True)
class Named:
    """A proper name."""

    name: Name


@dataclass(frozen=True, slots=True)
class Personal:
    """A personal pronoun."""

    pronoun: Pronoun


@dataclass(frozen=True, slots=True)
class Nominal:
    """A noun with what belongs to it."""

    noun: Noun
    determiner: str = "the"
    adjectives: tuple[Adjective, ...] = ()
    plural: bool = False
    owner: Nominal | Named | None = None
    """In German a genitive; in English `'s` for people, `of` for the rest."""
    content: Noun | None = None
    """A glass of this."""
    wearing: Nominal | None = None
    """With this: the woman with the hat."""
    relative: Relative | None = None


@dataclass(frozen=True, slots=True)
class Together:
    """Two joined by `and`."""

    first: Nominal | Named
    second: Nominal | Named


Phrase = Named | Personal | Nominal | Together


@dataclass(frozen=True, slots=True)
class Prepositional:
    """A preposition with its phrase; the case is German's."""

    english: str
    german: str
    case: str
    phrase: Nominal | Named


@dataclass(frozen=True, slots=True)
class Clause:
    """A verb with what belongs to it. What a relative clause takes from its noun stays None."""

    verb: Verb
    subject: Phrase | None = None
    object: Phrase | None = None
    recipient: Phrase | None = None
    quality: Adjective | None = None
    goal: Prepositional | None = None
    tense: str = "present"
    """present, progressive, past, perfect or future; with a modal or in the passive present or past."""
    modal: str = ""
    passive: bool = False
    """The subject is what the verb is done to; the agent is the `object`, or None."""
    negated: bool = False
    time: Adverb | None = None
    frequency: Adverb | None = None
    manner: Adverb | None = None
    place: Prepositional | Adverb | None = None
    means: Adverb | None = None
    front: str = ""
    """`time` or `place`: what stands first, or empty for the subject."""
    complement: Subordinate | None = None
    infinitive: Clause | None = None


@dataclass(frozen=True, slots=True)
class Relative:
    """A relative clause: `clause` lacks its subject or its object."""

    clause: Clause
    gap: str


@dataclass(frozen=True, slots=True)
class Subordinate:
    """A clause behind a conjunction."""

    conjunction: str
    clause: Clause


@dataclass(frozen=True, slots=True)
class Sentence:
    """A main clause, alone or with another clause."""

    main: Clause
    subordinate: Subordinate | None = None
    subordinate_first: bool = False
    joined: tuple[str, Clause] | None = None
    """`and` or `but` with another main clause, which shares the subject where it has none."""


def constructions(sentence: Sentence) -> frozenset[str]:
    """Which of CONSTRUCTIONS a sentence has, anywhere in it."""
    return frozenset(_sentence_constructions(sentence))


def _sentence_constructions(sentence: Sentence) -> Iterator[str]:
    yield from _clause_constructions(sentence.main)
    if sentence.subordinate is not None:
        yield "subordinate"
        yield from _clause_constructions(sentence.subordinate.clause)
    if sentence.subordinate_first:
        yield "inversion"
    if sentence.joined is not None:
        yield "coordination"
        yield from _clause_constructions(sentence.joined[1])


def _clause_constructions(clause: Clause) -> Iterator[str]:
    if clause.modal:
        yield "modal"
    if clause.tense in ("perfect", "future"):
        yield clause.tense
    if clause.passive:
        yield "passive"
    if clause.negated:
        yield "negation"
    if clause.verb.german.prefix:
        yield "separable"
    if clause.verb.frame == "both":
        yield "ditransitive"
    if clause.front:
        yield "inversion"
    for phrase in (clause.subject, clause.object, clause.recipient):
        yield from _phrase_constructions(phrase)
    for place in (clause.goal, clause.place):
        if isinstance(place, Prepositional):
            yield from _phrase_constructions(place.phrase)
    if clause.complement is not None:
        yield "subordinate"
        yield from _clause_constructions(clause.complement.clause)
    if clause.infinitive is not None:
        yield "infinitive"
        yield from _clause_constructions(clause.infinitive)


def _phrase_constructions(phrase: Phrase | None) -> Iterator[str]:
    if isinstance(phrase, Together):
        yield "coordination"
        yield from _phrase_constructions(phrase.first)
        yield from _phrase_constructions(phrase.second)
    if not isinstance(phrase, Nominal):
        return
    if phrase.owner is not None:
        yield "genitive"
        yield from _phrase_constructions(phrase.owner)
    yield from _phrase_constructions(phrase.wearing)
    if phrase.relative is not None:
        yield "relative"
        yield from _clause_constructions(phrase.relative.clause)
