"""Making up clauses: a verb, and what it can be said of and done to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final, TypeVar

from translation.grammar.circumstances import (
    SOMEONE,
    Circumstances,
    Wish,
    adverbs,
    draw_circumstances,
    draw_tense,
)
from translation.grammar.function_words import PRONOUNS
from translation.grammar.lexicon import (
    NOUNS,
    Adjective,
    Adverb,
    Name,
    Noun,
    Spot,
    Verb,
    matching,
)
from translation.grammar.phrases import ADJECTIVES_OF, PEOPLE, POSSESSIVES, Entry, Phrases, entry_of
from translation.grammar.structure import (
    Clause,
    Named,
    Nominal,
    Personal,
    Phrase,
    Prepositional,
    Relative,
    Together,
)
from translation.grammar.verb_choice import DeadEnd, draw_verb

_QUALIFIED: Final = tuple(noun for noun in NOUNS if ADJECTIVES_OF[noun] and not noun.needs_owner)
_PAIRS: Final = frozenset(matching("pair"))
_MEANS: Final = adverbs("means")
Chosen = TypeVar("Chosen")


class Clauses:
    """The clauses of one sentence, no verb or noun twice."""

    def __init__(self, random: Random) -> None:
        """Begin a sentence, with `random` as the only source of chance."""
        self._random = random
        self._phrases = Phrases(random)
        self._verbs_used: set[str] = set()

    def clause(self, wish: Wish) -> Clause:
        """A clause as wished for.

        Raises:
            DeadEnd: this attempt found none.
        """
        gap = ""
        if wish.head is not None:
            gap = "subject" if "passive" in wish.verbal or self._chance(0.6) else "object"
        verb = draw_verb(self._random, wish, gap, self._verbs_used)
        self._verbs_used.add(verb.english.base)
        sites = self._sites(wish, verb, gap)
        subject = None if wish.infinitive else wish.subject
        if subject is None and gap != "subject" and not wish.infinitive:
            subject = self._subject(wish, verb, sites.get("subject", ""))
        doer = wish.doer or entry_of(wish.head if gap == "subject" else subject)
        if "modal" in wish.verbal and doer and doer.tags.isdisjoint(("person", "animal")):
            raise DeadEnd
        object_ = None if gap == "object" else self._object(wish, verb, sites, subject)
        recipient = self._recipient(verb, subject)
        goal = self._goal(wish, verb, sites.get("goal", ""))
        quality = self._quality(wish, verb, doer, subject) if verb.frame == "quality" else None
        tense, modal = "present", ""
        when = Circumstances()
        if not wish.infinitive:
            tense, modal = draw_tense(self._random, wish, verb)
            heavy = _is_heavy(object_) or (goal is not None and _is_heavy(goal.phrase))
            lasting = quality is not None and not quality.is_state
            when = draw_circumstances(
                self._random, wish, verb, tense, modal, heavy=heavy, lasting=lasting
            )
        place: Prepositional | Adverb | None = when.place
        if place is None and when.placed:
            place = self._place(verb.places)
        return Clause(
            verb,
            subject=subject,
            object=object_,
            recipient=recipient,
            quality=quality,
            goal=goal,
            tense=tense,
            modal=modal,
            passive="passive" in wish.verbal,
            negated="negation" in wish.verbal,
            time=when.time,
            frequency=when.frequency,
            manner=when.manner,
            place=place,
            means=self._choose(_MEANS) if "means" in verb.flags else None,
            front=when.front,
        )

    def _choose(self, pool: Sequence[Chosen]) -> Chosen:
        return pool[int(self._random.random() * len(pool))]

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _sites(self, wish: Wish, verb: Verb, gap: str) -> dict[str, str]:
        """Which phrase of the clause gets which of the nominal constructions."""
        free = []
        passive = "passive" in wish.verbal
        if (
            wish.subject is None
            and gap != "subject"
            and not wish.infinitive
            and verb.frame != "weather"
        ):
            free.append("subject")
        if verb.objects and gap != "object" and not passive and "bare" not in verb.flags:
            free.append("object")
        if verb.goals:
            free.append("goal")
        # What would follow a relative clause on the object would be taken for a part of it.
        followed = bool(verb.goals) or "to" in verb.flags
        barred = {
            ("relative", "object"): followed,
            ("coordination", "goal"): True,
            ("coordination", "object"): "negation" in wish.verbal,
        }
        sites: dict[str, str] = {}
        for wanted in wish.nominal:
            fitting = [site for site in free if not barred.get((wanted, site))]
            if not fitting:
                raise DeadEnd
            site = self._choose(fitting)
            free.remove(site)
            sites[site] = wanted
        return sites

    # Its phrases

    def _subject(self, wish: Wish, verb: Verb, special: str) -> Phrase:
        if verb.frame == "weather":
            return Personal(PRONOUNS["it/neuter"])
        pool: Sequence[Entry] = verb.objects if "passive" in wish.verbal else verb.subjects
        if verb.frame == "quality":
            lasting = verb.english.base == "be" and not (wish.passing or wish.inverted)
            pool = _QUALIFIED if lasting else PEOPLE
        if special:
            return self._special(special, pool, "subject", wish)
        human = SOMEONE in verb.suits or verb.frame == "quality"
        likely = 0.35 if wish.head is not None else 0.13
        if (
            human
            and "passive" not in wish.verbal
            and verb.telling != "subject"
            and self._chance(likely)
        ):
            key = self._choose(("I", "you", "he", "she", "we", "they"))
            if not (key == "you" and wish.era == "past"):
                return Personal(PRONOUNS[key])
        stated = "negation" in wish.verbal or verb.frame == "quality"
        definite = stated or wish.head is not None
        return self._phrases.phrase(self._pick(pool), "subject", definite=definite)

    def _object(
        self, wish: Wish, verb: Verb, sites: dict[str, str], subject: Phrase | None
    ) -> Phrase | None:
        if not verb.objects:
            return None
        if "passive" in wish.verbal:
            if self._chance(0.45):
                return None
            return self._phrases.phrase(self._pick(verb.subjects), "subject", definite=True)
        if special := sites.get("object", ""):
            return self._special(special, verb.objects, "object", wish)
        if "pronoun" in verb.flags and verb.telling != "object" and self._chance(0.12):
            return self._object_pronoun(subject)
        entry = self._pick(verb.objects)
        if "bare" in verb.flags and isinstance(entry, Noun):
            return Nominal(entry)
        plural = None
        if isinstance(entry, Noun) and entry.counts and ("plural" in verb.flags or entry in _PAIRS):
            plural = "plural" in verb.flags or self._chance(0.85)
        phrase = self._phrases.phrase(entry, "object", plural=plural)
        negated = "negation" in wish.verbal
        if negated and isinstance(phrase, Nominal) and phrase.determiner not in ("the", "a", ""):
            phrase = replace(phrase, determiner="the")
        return phrase

    def _object_pronoun(self, subject: Phrase | None) -> Personal:
        key = self._choose(("I", "you", "he", "she", "we", "they"))
        pronoun = PRONOUNS[key]
        if isinstance(subject, Personal) and subject.pronoun.person == pronoun.person:
            raise DeadEnd
        return Personal(pronoun)

    def _recipient(self, verb: Verb, subject: Phrase | None) -> Phrase | None:
        if verb.frame != "both":
            return None
        if "to" not in verb.flags and self._chance(0.25):
            return self._object_pronoun(subject)
        return self._phrases.phrase(self._pick(PEOPLE), "object", definite=True)

    def _goal(self, wish: Wish, verb: Verb, special: str) -> Prepositional | None:
        if not verb.goals:
            return None
        spot = self._choose(verb.goals)
        self._pick((spot.noun,), owned=special == "genitive")
        case = "accusative"
        if verb.frame == "spot" or spot.german in ("zu", "nach"):
            case = "dative"
        phrase: Nominal | Named
        if special:
            found = self._special(special, (spot.noun,), "place", wish, picked=True)
            if not isinstance(found, Nominal):
                raise DeadEnd
            phrase = found
        else:
            phrase = self._phrases.phrase(spot.noun, "place")
        return Prepositional(spot.english, spot.german, case, phrase)

    def _special(
        self, wanted: str, pool: Sequence[Entry], role: str, wish: Wish, *, picked: bool = False
    ) -> Phrase:
        """A phrase with a relative clause, an owner or a second noun."""
        definite = "negation" in wish.verbal and role == "subject"
        if wanted == "coordination":
            first, second = self._pick(pool), self._pick(pool)
            if ("person" in first.tags) != ("person" in second.tags):
                raise DeadEnd
            one = self._phrases.phrase(first, role, definite=True)
            return Together(one, self._phrases.phrase(second, role, definite=True))
        if wanted == "genitive":
            parts = [noun for noun in pool if isinstance(noun, Noun) and noun.owners]
            if parts and self._chance(0.4):
                pool = parts
            entry = pool[0] if picked else self._pick(pool, owned=True)
            owned = self._phrases.owned(entry) if isinstance(entry, Noun) else None
            if owned is None:
                raise DeadEnd
            return owned
        entry = pool[0] if picked else self._pick(pool)
        if isinstance(entry, Name) or not entry.tags.isdisjoint(("kin", "unique")):
            raise DeadEnd
        phrase = self._phrases.phrase(entry, role, definite=definite or role == "object")
        if not isinstance(phrase, Nominal) or phrase.content or phrase.wearing:
            raise DeadEnd
        if phrase.determiner in POSSESSIVES:
            phrase = replace(phrase, determiner="the")
        era, tenses = wish.era, ("present", "past", "progressive") if wish.era == "now" else ()
        inner = Wish(era, verbal=wish.relative, head=phrase, adverbs=0.3, tenses=tenses)
        clause = self.clause(inner)
        gap = "subject" if clause.subject is None else "object"
        return replace(phrase, relative=Relative(clause, gap))

    def _pick(self, pool: Sequence[Entry], *, owned: bool = False) -> Entry:
        entry = self._phrases.pick(pool, owned=owned)
        if entry is None:
            raise DeadEnd
        return entry

    def _quality(
        self, wish: Wish, verb: Verb, doer: Entry | None, subject: Phrase | None
    ) -> Adjective:
        """What the subject is, looks or becomes; nothing that is at odds with what it is called."""
        noun = doer if isinstance(doer, Noun) else SOMEONE
        described = wish.head or subject
        said = described.adjectives if isinstance(described, Nominal) else wish.called
        lasting = verb.english.base == "be" and not (wish.passing or wish.inverted or said)
        fitting = [
            adjective
            for adjective in ADJECTIVES_OF[noun]
            if adjective.is_state or (lasting and noun is doer)
        ]
        if not fitting or any(adjective.is_state for adjective in said):
            raise DeadEnd
        return self._choose(fitting)

    def _place(self, spots: Sequence[Spot]) -> Prepositional:
        spot = self._choose(spots)
        self._pick((spot.noun,))
        phrase = self._phrases.phrase(spot.noun, "place")
        return Prepositional(spot.english, spot.german, "dative", phrase)


def _is_heavy(phrase: Phrase | None) -> bool:
    return isinstance(phrase, Nominal) and phrase.relative is not None
