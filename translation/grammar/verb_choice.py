"""Choosing a verb for a clause, before anything else of it is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from random import Random
from typing import Final

from translation.grammar.circumstances import SOMEONE, Wish, is_calm
from translation.grammar.lexicon import VERBS, Noun, Verb
from translation.grammar.phrases import ADJECTIVES_OF, Entry, entry_of
from translation.grammar.structure import Personal

_FRAME_WEIGHTS: Final = {
    "object": 44,
    "none": 14,
    "with": 9,
    "move": 8,
    "quality": 7,
    "dative": 6,
    "spot": 6,
    "put": 5,
    "carry": 3,
}
_FRAMES: Final = tuple(frame for frame, weight in _FRAME_WEIGHTS.items() for _ in range(weight))
_CLAUSAL: Final = ("that", "whether", "to")
_GOVERNING: Final = ("object", "dative", "both")
"""Frames whose object a relative clause can be about."""


def _indexed() -> dict[tuple[str, bool], tuple[Verb, ...]]:
    index: dict[tuple[str, bool], list[Verb]] = defaultdict(list)
    for verb in VERBS:
        index[verb.frame, bool(verb.german.prefix)].append(verb)
    return {key: tuple(verbs) for key, verbs in index.items()}


def _by_noun(attribute: str) -> dict[Entry, tuple[Verb, ...]]:
    index: dict[Entry, list[Verb]] = defaultdict(list)
    for verb in VERBS:
        if verb.frame not in _CLAUSAL:
            for entry in getattr(verb, attribute):
                index[entry].append(verb)
    return {entry: tuple(verbs) for entry, verbs in index.items()}


_VERBS: Final = _indexed()
_SUBJECT_OF: Final = _by_noun("subjects")
_OBJECT_OF: Final = _by_noun("objects")


class DeadEnd(Exception):
    """This attempt led nowhere; another may."""


def draw_verb(random: Random, wish: Wish, gap: str, used: Collection[str]) -> Verb:
    """A verb that a clause as wished for can have.

    Args:
        random: where chance comes from.
        wish: what the clause is to be.
        gap: `subject` or `object`, what a relative clause takes from its noun; or empty.
        used: English verbs that the sentence has already.

    Raises:
        DeadEnd: none was found.
    """
    for _ in range(25):
        candidates = _candidates(random, wish, gap)
        verb = candidates[int(random.random() * len(candidates))]
        if verb.english.base not in used and _suits(verb, wish, gap):
            return verb
    raise DeadEnd


def _candidates(random: Random, wish: Wish, gap: str) -> Sequence[Verb]:
    separable = "separable" in wish.verbal
    found: Sequence[Verb]
    if wish.head is not None:
        patient = gap == "object" or "passive" in wish.verbal
        found = (_OBJECT_OF if patient else _SUBJECT_OF).get(wish.head.noun, ())
        if gap == "subject" and not separable and random.random() < 0.12:
            found = _VERBS["quality", False]
    elif wish.frame:
        found = _VERBS.get((wish.frame, separable), ())
    elif "ditransitive" in wish.verbal:
        found = _VERBS["both", separable]
    elif "passive" in wish.verbal:
        found = _VERBS["object", separable]
    else:
        frame = random.choice(_FRAMES)
        found = _VERBS.get((frame, separable), ()) or _VERBS["object", separable]
    if not found:
        raise DeadEnd
    return found


def _suits(verb: Verb, wish: Wish, gap: str) -> bool:
    flags, frame, wanted = verb.flags, verb.frame, wish.verbal
    if (
        ("separable" in wanted) != bool(verb.german.prefix)
        or ("ditransitive" in wanted) != (frame == "both")
        or ("passive" in wanted and "passive" not in flags)
        or ("modal" in wanted and "accident" in flags)
        or ("perfect" in wanted and frame in ("quality", "spot"))
        or ("negation" in wanted and "bare" in flags)
        or (wish.inverted and is_calm(verb))
        or (wish.durative and "simple" in flags)
    ):
        return False
    stative = "stative" in flags
    if wish.eventful and (stative or frame in ("quality", "spot")):
        return False
    if stative and "able" not in flags and not wanted.isdisjoint(("modal", "perfect")):
        return False
    if wish.infinitive and not (
        flags.isdisjoint(("stative", "accident", "placed", "finite"))
        and frame not in ("quality", "spot")
    ):
        return False
    if gap == "object":
        plural = wish.head is None or wish.head.plural or "plural" not in flags
        return frame in _GOVERNING and "bare" not in flags and plural
    return _suits_doer(verb, wish)


def _suits_doer(verb: Verb, wish: Wish) -> bool:
    if isinstance(wish.subject, Personal) and verb.telling == "subject":
        return False
    doer = wish.doer or entry_of(wish.subject)
    if wish.head is not None:
        doer = wish.head.noun
    if doer is None:
        given = wish.subject is not None
        return not given or verb.frame == "quality" or SOMEONE in verb.suits
    if verb.frame == "quality":
        return isinstance(doer, Noun) and bool(ADJECTIVES_OF[doer])
    return doer in (verb.takes if "passive" in wish.verbal else verb.suits)
