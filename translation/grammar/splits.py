"""Which split a sentence pair belongs to.

The nouns of a sentence decide: they can be read from either language alone, so no English sentence
and no German one can be in two splits, whatever the seed, and no test sentence is a training
sentence with one adjective changed. Nouns that share a form in one of the languages (Ufer and Bank
are both `bank`) count as the same; nouns that look like another word (to `light` a `light`) do not
count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final
from zlib import crc32

from translation.grammar.function_words import CONJUNCTIONS, DETERMINERS, MODALS, PRONOUNS
from translation.grammar.inflection import CASES, PARADIGMS, EnglishVerb, GermanVerb
from translation.grammar.lexicon import ADJECTIVES, ADVERBS, NAMES, NOUNS, VERBS, Name, Noun
from translation.grammar.structure import Sentence, nouns

SHARES: Final = {"train": 70, "validation": 10, "test": 10, "test_constructions": 10}
"""Split -> its share of all sets of nouns, in percent."""

HELD_OUT: Final = (
    frozenset(("relative", "modal")),
    frozenset(("negation", "perfect")),
    frozenset(("inversion", "separable")),
    frozenset(("subordinate", "ditransitive")),
    frozenset(("genitive", "passive")),
)
"""Constructions that meet in `test_constructions` and nowhere else."""

Entry = Noun | Name


def is_held_out(constructions: frozenset[str]) -> bool:
    """Whether some of the constructions meet in `test_constructions` only."""
    return any(pair <= constructions for pair in HELD_OUT)


def split_of_structure(sentence: Sentence) -> str:
    """The split of a structure, as long as its two sentences agree."""
    names = _classes()
    return _split(names[noun] for noun in nouns(sentence) if noun in names)


def split_of_source(source: str) -> str:
    """The split of an English sentence, read from its words."""
    forms, _ = _forms()
    return _split(forms[word] for word in source.casefold().split() if word in forms)


def split_of_target(target: str) -> str:
    """The split of a German sentence, read from its words."""
    _, forms = _forms()
    return _split(forms[word] for word in target.casefold().split() if word in forms)


def _split(names: Iterable[str]) -> str:
    place = crc32(" ".join(sorted(names)).encode()) % 100
    for split, share in SHARES.items():
        place -= share
        if place < 0:
            return split
    raise AssertionError("the shares make 100 percent")


@cache
def _classes() -> dict[Entry, str]:
    """Noun -> name of its class, for the nouns that count."""
    groups: dict[str, set[Entry]] = {}
    entries: tuple[Entry, ...] = (*NOUNS, *NAMES)
    for entry in entries:
        merged: set[Entry] = {entry}
        words = [f"en {word}" for word in _english_words(entry)]
        words += [f"de {word}" for word in _german_words(entry)]
        for word in words:
            merged |= groups.get(word, set())
        for other in merged:
            for word in _english_words(other):
                groups[f"en {word}"] = merged
            for word in _german_words(other):
                groups[f"de {word}"] = merged
    english, german = set(_other_english()), set(_other_german())
    named = {}
    for group in groups.values():
        clear = all(
            len(entry.english.split()) == 1
            and english.isdisjoint(_english_words(entry))
            and german.isdisjoint(_german_words(entry))
            for entry in group
        )
        if clear:
            named.update(dict.fromkeys(group, min(entry.german for entry in group)))
    return named


@cache
def _forms() -> tuple[dict[str, str], dict[str, str]]:
    """Form -> name of the class, in English and in German."""
    english, german = {}, {}
    for entry, name in _classes().items():
        english.update(dict.fromkeys(_english_words(entry), name))
        german.update(dict.fromkeys(_german_words(entry), name))
    return english, german


def _english_words(entry: Noun | Name) -> set[str]:
    forms = [entry.english]
    if isinstance(entry, Noun):
        forms.append(entry.english_plural)
    return {word for form in forms for word in form.casefold().split()}


def _german_words(entry: Entry) -> set[str]:
    if isinstance(entry, Name):
        return {entry.german.casefold(), entry.german.casefold() + "s"}
    numbers = (False, True) if entry.counts else (False,)
    return {entry.german_form(case, plural).casefold() for case in CASES for plural in numbers}


def _other_english() -> Iterator[str]:
    for verb in VERBS:
        yield from _english_verb(verb.english)
    for modal in MODALS.values():
        yield from (*modal.english, *modal.english_third, *modal.english_past)
    yield from (adjective.english for adjective in ADJECTIVES)
    for adverb in ADVERBS:
        yield from (word.casefold() for word in adverb.english)
    for conjunction in CONJUNCTIONS.values():
        yield from conjunction.english
    for determiner in DETERMINERS.values():
        yield from (determiner.english, determiner.english_plural)
    for pronoun in PRONOUNS.values():
        yield from (pronoun.english.casefold(), pronoun.english_object)


def _english_verb(verb: EnglishVerb) -> Iterator[str]:
    yield from (verb.base, verb.third, verb.past, verb.participle, verb.progressive)
    yield from (verb.particle, verb.preposition)


def _other_german() -> Iterator[str]:
    for verb in VERBS:
        yield from _german_verb(verb.german)
    for modal in MODALS.values():
        yield from _german_verb(modal.german)
    endings = {ending for table in PARADIGMS.values() for ending in table.values()}
    for adjective in ADJECTIVES:
        yield adjective.german
        yield from (adjective.german_form(ending) for ending in endings)
    for adverb in ADVERBS:
        yield from (word.casefold() for word in adverb.german)
    yield from (conjunction.german for conjunction in CONJUNCTIONS.values())
    for determiner in DETERMINERS.values():
        for stem in (determiner.german, determiner.german_plural):
            yield from (stem + ending for ending in endings)
    for pronoun in PRONOUNS.values():
        yield from pronoun.german.values()


def _german_verb(verb: GermanVerb) -> Iterator[str]:
    yield from (verb.prefix, verb.joined, verb.perfect_participle, *verb.zu_infinitive)
    for form in (*verb.present.values(), *verb.past.values()):
        yield from (form, verb.prefix + form)
