"""What a clause is to be, and when, where and how what it says takes place."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from translation.grammar.lexicon import ADVERBS, NOUNS, Adjective, Adverb, Verb
from translation.grammar.phrases import Entry
from translation.grammar.structure import Nominal, Phrase


@dataclass(frozen=True)
class Wish:
    """What a clause is to be."""

    era: str
    """`now` or `past`."""
    verbal: frozenset[str] = frozenset()
    """modal, perfect, future, passive, negation, separable, ditransitive: these and no others."""
    nominal: tuple[str, ...] = ()
    """relative, genitive, coordination: each of them once."""
    inverted: bool = False
    frame: str = ""
    """A frame of verbs; empty for any but that, whether, to and weather."""
    subject: Phrase | None = None
    """The subject if it is given."""
    doer: Entry | None = None
    """The noun of a subject that is given as a pronoun or left out."""
    called: tuple[Adjective, ...] = ()
    """What that noun has been called."""
    head: Nominal | None = None
    """What a relative clause tells about."""
    infinitive: bool = False
    adverbs: float = 1.0
    """How many, relative to what is usual."""
    tenses: tuple[str, ...] = ()
    """The simple tenses to choose from, if not those of the era."""
    eventful: bool = False
    """Whether something has to happen in it."""
    durative: bool = False
    """Whether that has to take some time."""
    once: bool = False
    """Whether it tells of one occasion, so that nothing says how often."""
    passing: bool = False
    """Whether a quality has to be one that passes."""
    relative: frozenset[str] = frozenset()
    """What is verbal about the relative clause."""


class Circumstances(NamedTuple):
    """The adverbs of a clause."""

    time: Adverb | None = None
    frequency: Adverb | None = None
    manner: Adverb | None = None
    place: Adverb | None = None
    placed: bool = False
    """Whether it says where; in a phrase if `place` is None."""
    front: str = ""


def adverbs(kind: str, tense: str = "") -> tuple[Adverb, ...]:
    """The adverbs of a kind that go with a tense."""
    return tuple(a for a in ADVERBS if a.kind == kind and (not tense or tense in a.tenses))


SOMEONE: Final = next(noun for noun in NOUNS if noun.english == "man")
"""Who does what anybody does."""
_TIMES: Final = {
    tense: adverbs("time", tense)
    for tense in ("present", "progressive", "past", "perfect", "future", "modal")
}
_ONCE: Final = {
    tense: tuple(adverb for adverb in times if adverb.english[0] != "every")
    for tense, times in _TIMES.items()
}
_FREQUENCIES: Final = adverbs("frequency")
_ASPECTS: Final = adverbs("aspect")
_PLACES: Final = adverbs("place")
_MODALS: Final = {
    "now": ("can", "must", "have to", "want to", "should", "may"),
    "past": ("can", "have to", "want to"),
}


def draw_tense(random: Random, wish: Wish, verb: Verb) -> tuple[str, str]:
    """Tense and modal of a clause.

    Args:
        random: where chance comes from.
        wish: what the clause is to be.
        verb: its verb.
    """
    if "modal" in wish.verbal:
        options = list(_MODALS[wish.era])
        if "negation" in wish.verbal:
            options = [modal for modal in options if modal != "must"]
        if "stative" in verb.flags:
            options = ["can"]
        return "past" if wish.era == "past" else "present", random.choice(options)
    for tense in ("perfect", "future"):
        if tense in wish.verbal:
            return tense, ""
    tense = random.choice(
        wish.tenses or (("present", "progressive") if wish.era == "now" else ("past",))
    )
    lasting = not verb.flags.isdisjoint(("stative", "simple"))
    if tense == "progressive" and ("passive" in wish.verbal or lasting):
        tense = "present"
    return tense, ""


def draw_circumstances(
    random: Random, wish: Wish, verb: Verb, tense: str, modal: str, *, heavy: bool, lasting: bool
) -> Circumstances:
    """Adverbs that go with a clause, few enough to read well.

    Args:
        random: where chance comes from.
        wish: what the clause is to be.
        verb: its verb.
        tense: its tense.
        modal: its modal, or empty.
        heavy: whether it ends in a relative clause, behind which no adverb is understood.
        lasting: whether it states a lasting quality.
    """
    many = wish.adverbs
    chance = random.random
    passive, negated = "passive" in wish.verbal, "negation" in wish.verbal
    key = ("modal" if tense == "present" else "past") if modal else tense
    if key == "present" and verb.english.base in ("be", "look"):
        key = "progressive"
    calm = lasting or is_calm(verb)
    once = wish.once or negated or "accident" in verb.flags or verb.frame == "weather"
    front = time = place = frequency = manner = None
    if wish.inverted:
        front = "place" if verb.places and chance() < 0.3 else "time"
    placed = front == "place"
    if not (placed or heavy or passive) and verb.places:
        placed = "placed" in verb.flags or chance() < 0.38 * many
        if placed and chance() < 0.12:
            place = random.choice(_PLACES)
    if front == "time" or (not (calm or heavy or front) and chance() < 0.22 * many):
        time = random.choice((_ONCE if once else _TIMES)[key])
    if tense == "perfect":
        if time is None and not negated and chance() < 0.45:
            frequency = random.choice(_ASPECTS)
    elif key in ("present", "past") and not (once or modal or time or calm):
        frequency = random.choice(_FREQUENCIES) if chance() < 0.16 * many else None
    crowded = placed and time is not None
    if verb.manners and not (crowded or heavy or negated or passive) and chance() < 0.2 * many:
        manner = random.choice(verb.manners)
    return Circumstances(time, frequency, manner, place, placed, front or "")


def is_calm(verb: Verb) -> bool:
    """Whether it lasts, so that it is odd to say when or how often."""
    things = verb.frame == "spot" and SOMEONE not in verb.suits
    return ("stative" in verb.flags and verb.frame != "quality") or things
