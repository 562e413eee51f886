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
    phrase: Phrase


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
    """present, progressive, past, perfect, future; with modals and in the passive present, past."""
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
    found = set()
    if sentence.subordinate is not None:
        found.add("subordinate")
    if sentence.subordinate_first:
        found.add("inversion")
    if sentence.joined is not None:
        found.add("coordination")
    for clause in clauses(sentence):
        found.update(_of_clause(clause))
        for phrase in phrases(clause):
            if isinstance(phrase, Together):
                found.add("coordination")
            elif isinstance(phrase, Nominal):
                if phrase.owner is not None:
                    found.add("genitive")
                if phrase.relative is not None:
                    found.add("relative")
    return frozenset(found)


def _of_clause(clause: Clause) -> Iterator[str]:
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
    if clause.recipient is not None:
        yield "ditransitive"
    if clause.complement is not None:
        yield "subordinate"
    if clause.infinitive is not None:
        yield "infinitive"
    if clause.front:
        yield "inversion"


def nouns(sentence: Sentence) -> Iterator[Noun | Name]:
    """Every noun and name of a sentence, but for those of its adverbs."""
    for clause in clauses(sentence):
        for phrase in phrases(clause):
            if isinstance(phrase, Named):
                yield phrase.name
            elif isinstance(phrase, Nominal):
                yield phrase.noun
                if phrase.content is not None:
                    yield phrase.content


def clauses(sentence: Sentence) -> Iterator[Clause]:
    """Every clause of a sentence."""
    waiting = [sentence.main]
    if sentence.subordinate is not None:
        waiting.append(sentence.subordinate.clause)
    if sentence.joined is not None:
        waiting.append(sentence.joined[1])
    while waiting:
        clause = waiting.pop()
        yield clause
        if clause.complement is not None:
            waiting.append(clause.complement.clause)
        if clause.infinitive is not None:
            waiting.append(clause.infinitive)
        for phrase in phrases(clause):
            if isinstance(phrase, Nominal) and phrase.relative is not None:
                waiting.append(phrase.relative.clause)


def phrases(clause: Clause) -> Iterator[Phrase]:
    """Every phrase of a clause, but for those of other clauses in it."""
    waiting = [clause.subject, clause.object, clause.recipient]
    for part in (clause.goal, clause.place):
        if isinstance(part, Prepositional):
            waiting.append(part.phrase)
    while waiting:
        phrase = waiting.pop()
        if phrase is None:
            continue
        yield phrase
        if isinstance(phrase, Together):
            waiting += [phrase.first, phrase.second]
        elif isinstance(phrase, Nominal):
            waiting += [phrase.owner, phrase.wearing]
