"""Making up noun phrases that mean something."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from translation.grammar.function_words import PRONOUNS, Pronoun
from translation.grammar.lexicon import ADJECTIVES, NOUNS, Adjective, Name, Noun, matching
from translation.grammar.structure import Named, Nominal, Personal, Phrase, Together

Entry = Noun | Name

POSSESSIVES: Final = ("my", "your", "his", "her", "our", "their")
_CONTENTS: Final = {
    "cup": ("coffee", "tea", "milk"),
    "glass": ("water", "milk", "wine", "beer", "juice"),
    "bottle": ("water", "wine", "beer", "juice", "milk"),
}
_WEARABLE: Final = ("=hat", "=umbrella", "=bag", "=suitcase", "=guitar")


def _said_of(noun: Noun) -> tuple[Adjective, ...]:
    return tuple(a for a in ADJECTIVES if any(noun in matching(tag) for tag in a.tags))


ADJECTIVES_OF: Final = {noun: _said_of(noun) for noun in NOUNS}
"""What can be said of a noun."""
PEOPLE: Final = tuple(
    entry for entry in matching("person") if isinstance(entry, Name) or not entry.needs_owner
)
"""Whom one can give something to, and who can own something."""
_CONTAINERS: Final[dict[Entry, tuple[Noun, ...]]] = {
    drink: tuple(noun for noun in NOUNS if drink.english in _CONTENTS.get(noun.english, ()))
    for drink in matching("drink")
}


def pronoun_for(phrase: Phrase | None) -> Pronoun | None:
    """The pronoun that stands for a phrase, or None where the languages leave it open."""
    if isinstance(phrase, Personal):
        return phrase.pronoun
    if isinstance(phrase, Together) or (isinstance(phrase, Nominal) and phrase.plural):
        return PRONOUNS["they"]
    if isinstance(phrase, Nominal) and "person" not in phrase.noun.tags:
        return PRONOUNS[f"it/{phrase.noun.gender}"]
    entry = entry_of(phrase)
    if entry is not None and "male" in entry.tags:
        return PRONOUNS["he"]
    return PRONOUNS["she"] if entry is not None and "female" in entry.tags else None


def entry_of(phrase: Phrase | None) -> Entry | None:
    """The noun or name of a phrase."""
    if isinstance(phrase, Nominal):
        return phrase.noun
    return phrase.name if isinstance(phrase, Named) else None


def _can_be_owned(noun: Noun) -> bool:
    return bool(noun.owners) or not noun.tags.isdisjoint(("owned", "kin"))


class Phrases:
    """Noun phrases of one sentence, no noun twice."""

    def __init__(self, random: Random) -> None:
        """Begin a sentence, with `random` as the only source of chance."""
        self._random = random
        self._used: set[Entry] = set()

    def chance(self, probability: float) -> bool:
        """Whether something happens."""
        return self._random.random() < probability

    def pick(self, pool: Sequence[Entry], *, owned: bool = False) -> Entry | None:
        """A noun or name that the sentence does not have yet, and that can be `owned`."""
        for _ in range(6):
            entry = pool[int(self._random.random() * len(pool))]
            if entry in self._used:
                continue
            if owned and not (isinstance(entry, Noun) and _can_be_owned(entry)):
                continue
            if not owned and isinstance(entry, Noun) and entry.needs_owner:
                continue
            self._used.add(entry)
            return entry
        return None

    def phrase(
        self, entry: Entry, role: str, *, definite: bool = False, plural: bool | None = None
    ) -> Nominal | Named:
        """A phrase with a determiner and perhaps adjectives.

        Args:
            entry: its noun or name.
            role: `subject`, `object` or `place`.
            definite: whether it must be one that the hearer knows.
            plural: its number, drawn if None.
        """
        if isinstance(entry, Name):
            return Named(entry)
        random = self._random
        if role == "object" and entry in _CONTAINERS and random.random() < 0.35:
            container = random.choice(_CONTAINERS[entry])
            return Nominal(container, "the" if definite else "a", content=entry)
        if plural is None:
            counts = entry.counts and entry.tags.isdisjoint(("unique", "single"))
            plural = counts and random.random() < {"place": 0.03}.get(role, 0.25)
        determiner = self._determiner(entry, role, definite, plural)
        adjectives = self.adjectives(entry, 0.2 if role == "place" else 0.38)
        wearing = None
        if "adult" in entry.tags and role != "place" and random.random() < 0.04 and not plural:
            worn = self.pick([matching(tag)[0] for tag in _WEARABLE])
            if isinstance(worn, Noun):
                wearing = Nominal(worn, "the", self.adjectives(worn, 0.7))
        return Nominal(entry, determiner, adjectives, plural, wearing=wearing)

    def owned(self, entry: Noun) -> Nominal | None:
        """A phrase with what it belongs to, in the genitive of German."""
        random = self._random
        counts = entry.counts and not entry.owners and "single" not in entry.tags
        plural = counts and random.random() < 0.15
        adjectives = self.adjectives(entry, 0.25)
        if entry.owners and (entry.needs_owner or random.random() < 0.7):
            whole = self.pick(matching(random.choice(entry.owners)))
            if not isinstance(whole, Noun):
                return None
            determiner = random.choice(("the", "the", "the", "this", "a"))
            if "owned" in whole.tags and random.random() < 0.3:
                determiner = random.choice(POSSESSIVES)
            owner = Nominal(whole, determiner, self.adjectives(whole, 0.25))
            return Nominal(entry, "the", adjectives, plural, owner=owner)
        someone = self.pick(PEOPLE)
        if someone is None or not ("owned" in entry.tags or "kin" in entry.tags):
            return None
        if isinstance(someone, Name):
            return Nominal(entry, "the", adjectives, plural, owner=Named(someone))
        kin = not someone.tags.isdisjoint(("kin", "owned")) and random.random() < 0.6
        determiner = random.choice(POSSESSIVES) if kin else "the"
        owner = Nominal(someone, determiner, self.adjectives(someone, 0.25))
        return Nominal(entry, "the", adjectives, plural, owner=owner)

    def adjectives(self, noun: Noun, probability: float) -> tuple[Adjective, ...]:
        """No, one or two adjectives, in the order of their ranks."""
        random = self._random
        fitting = ADJECTIVES_OF[noun]
        if not fitting or random.random() > probability:
            return ()
        first = random.choice(fitting)
        if random.random() < 0.2:
            second = random.choice(fitting)
            if first.rank != second.rank:
                return tuple(sorted((first, second), key=lambda adjective: adjective.rank))
        return (first,)

    def _determiner(self, noun: Noun, role: str, definite: bool, plural: bool) -> str:
        random = self._random
        draw = random.random()
        kin = "kin" in noun.tags
        if "unique" in noun.tags:
            return "the"
        if (kin and draw < 0.88) or ("owned" in noun.tags and draw < 0.25):
            return random.choice(POSSESSIVES)
        if kin or role == "place":
            return "a" if draw > 0.93 and not (kin or definite or plural) else "the"
        if not noun.counts:
            return "" if role == "object" and draw > 0.5 and not definite else "the"
        if definite:
            return "the" if draw < 0.85 else "this"
        if plural:
            if draw < 0.45:
                return "the"
            if role == "object" and draw < 0.6:
                return ""
            return random.choice(("two", "three", "four", "some", "some", "many", "this"))
        if draw < 0.62:
            return "the"
        if draw < 0.87:
            return "a"
        return "this" if draw < 0.97 else "every"
