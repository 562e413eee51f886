"""Making up sentences that mean something and have the constructions that are asked for."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from translation.grammar.circumstances import Wish
from translation.grammar.clauses import Clauses, DeadEnd
from translation.grammar.phrases import entry_of, pronoun_for
from translation.grammar.structure import (
    Clause,
    Nominal,
    Personal,
    Prepositional,
    Sentence,
    Subordinate,
    constructions,
)

_WEIGHTS: Final = {
    "modal": 10,
    "perfect": 10,
    "future": 8,
    "passive": 7,
    "negation": 11,
    "separable": 14,
    "ditransitive": 10,
    "relative": 13,
    "subordinate": 15,
    "infinitive": 8,
    "inversion": 13,
    "coordination": 10,
    "genitive": 10,
}
_LOTS: Final = tuple(name for name, weight in _WEIGHTS.items() for _ in range(weight))
_HOW_MANY: Final = (0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3)
_VERBAL: Final = (
    "modal",
    "perfect",
    "future",
    "passive",
    "negation",
    "separable",
    "ditransitive",
)
_BRACKETS: Final = frozenset(("modal", "perfect", "future", "passive"))
"""A clause has one of these at most."""
_CONJUNCTIONS: Final = {
    "now": ("because", "because", "although", "when/now", "if", "while", "before", "as soon as"),
    "past": ("because", "because", "although", "when/past", "while", "before"),
}
_REASONS: Final = ("because", "although")
_WITH_WEATHER: Final = (*_REASONS, "when/now", "when/past", "if")


def draw_constructions(random: Random) -> frozenset[str]:
    """Which constructions the next sentence is to have: none to three of them."""
    count = random.choice(_HOW_MANY)
    return frozenset(random.choice(_LOTS) for _ in range(count))


def compose(random: Random, wanted: frozenset[str]) -> Sentence | None:
    """Make up a sentence with exactly the constructions that are wanted.

    Returns:
        None where this attempt led nowhere: draw again.
    """
    try:
        sentence = _Composer(random, wanted).sentence()
    except DeadEnd:
        return None
    return sentence if constructions(sentence) == wanted else None


def _may_follow(conjunction: str, main: frozenset[str], other: frozenset[str]) -> bool:
    """Whether a conjunction can join two clauses with these verbal constructions."""
    if conjunction in _REASONS:
        return True
    if "perfect" in main or not other.isdisjoint(("perfect", "future")):
        return False
    if conjunction in ("when/now", "if"):
        return True
    modal = conjunction == "while" and "modal" in main | other
    return not (modal or "negation" in main | other)


class _Composer:
    """Shares out the constructions among the clauses of one sentence."""

    def __init__(self, random: Random, wanted: frozenset[str]) -> None:
        self._random = random
        self._wanted = wanted
        self._clauses = Clauses(random)

    def sentence(self) -> Sentence:
        wanted, random = self._wanted, self._random
        now = not wanted.isdisjoint(("perfect", "future")) or random.random() < 0.5
        joins = ""
        if "coordination" in wanted:
            joins = random.choice(("phrases", "phrases", "verbs", "clauses"))
            if not wanted.isdisjoint(("subordinate", "infinitive")):
                joins = "phrases"
        frame = "to" if "infinitive" in wanted else ""
        if "subordinate" in wanted and not frame and random.random() < 0.4:
            frame = random.choice(("that", "that", "that", "whether"))
        verbal = self._shared(joins, frame)
        nominal: list[str] = [name for name in ("relative", "genitive") if name in wanted]
        if joins == "phrases":
            nominal.append("coordination")
        random.shuffle(nominal)
        in_main: tuple[str, ...] = tuple(nominal)
        in_other: tuple[str, ...] = ()
        if "subordinate" in wanted and random.random() < 0.3:
            in_main, in_other = in_other, in_main
        main = Wish(
            "now" if now else "past",
            verbal["main"],
            in_main,
            frame=frame,
            relative=verbal.get("relative", frozenset()),
        )
        if "subordinate" in wanted:
            other = replace(
                main, verbal=verbal["subordinate"], nominal=in_other, frame="", adverbs=0.35
            )
            if frame in ("that", "whether"):
                return self._with_complement(main, other)
            return self._with_adverbial(main, other, verbal.get("infinitive"))
        main = replace(main, inverted="inversion" in wanted)
        if joins == "verbs":
            return self._with_verbs_joined(main)
        clause = self._main(main, verbal.get("infinitive"))
        if joins == "clauses":
            second = Wish(main.era, verbal["joined"], adverbs=0.6)
            return Sentence(
                clause, joined=(random.choice(("and", "but")), self._clauses.clause(second))
            )
        return Sentence(clause)

    def _shared(self, joins: str, frame: str) -> dict[str, frozenset[str]]:
        """Which clause is to have which of the verbal constructions."""
        hosts: dict[str, set[str]] = {"main": set()}
        for host in ("subordinate", "relative", "infinitive"):
            if host in self._wanted:
                hosts[host] = set()
        if joins == "clauses":
            hosts["joined"] = set()
        for name in _VERBAL:
            if name not in self._wanted:
                continue
            fitting = [
                host
                for host, given in hosts.items()
                if not (name in _BRACKETS and (given & _BRACKETS or host == "infinitive"))
                and not (name == "negation" and host == "infinitive")
                and not (host == "main" and frame and name in ("passive", "ditransitive"))
                and not (name == "ditransitive" and "passive" in given)
            ]
            if not fitting:
                raise DeadEnd
            hosts[self._random.choice(fitting)].add(name)
        return {host: frozenset(given) for host, given in hosts.items()}

    def _main(self, wish: Wish, infinitive: frozenset[str] | None) -> Clause:
        """The main clause, with its infinitive clause if there is to be one."""
        if infinitive is None:
            return self._clauses.clause(wish)
        clause = self._clauses.clause(replace(wish, adverbs=0.0))
        doer = wish.doer or entry_of(clause.subject)
        inner = Wish(wish.era, infinitive, subject=clause.subject, doer=doer, infinitive=True)
        return replace(clause, infinitive=self._clauses.clause(inner))

    def _with_verbs_joined(self, wish: Wish) -> Sentence:
        if not wish.verbal.isdisjoint(_BRACKETS | {"negation"}):
            raise DeadEnd
        tenses = ("present",) if wish.era == "now" else ("past",)
        first = self._clauses.clause(replace(wish, tenses=tenses, adverbs=0.3))
        doer = entry_of(first.subject)
        if doer is None and not isinstance(first.subject, Personal):
            raise DeadEnd
        second = Wish(wish.era, subject=first.subject, doer=doer, tenses=tenses, adverbs=0.3)
        shared = replace(self._clauses.clause(second), subject=None)
        return Sentence(first, joined=("and", shared))

    def _with_complement(self, main: Wish, other: Wish) -> Sentence:
        main = replace(main, inverted="inversion" in self._wanted, adverbs=0.0)
        clause = self._clauses.clause(main)
        tenses = ("present", "progressive", "past") if main.era == "now" else ()
        inner = self._clauses.clause(replace(other, tenses=tenses))
        return Sentence(replace(clause, complement=Subordinate(main.frame, inner)))

    def _with_adverbial(
        self, main: Wish, other: Wish, infinitive: frozenset[str] | None
    ) -> Sentence:
        random = self._random
        conjunction = random.choice(_CONJUNCTIONS[main.era])
        reason = conjunction in _REASONS
        if not _may_follow(conjunction, main.verbal, other.verbal):
            raise DeadEnd
        tenses: tuple[str, ...] = ()
        if main.era == "now" and not reason:
            tenses = ("progressive",) if conjunction == "while" else ("present",)
        main = replace(
            main,
            tenses=tenses,
            eventful=conjunction in ("while", "before", "as soon as"),
            durative=conjunction == "while",
            once=not reason,
        )
        other = replace(
            main,
            verbal=other.verbal,
            nominal=other.nominal,
            frame="",
            adverbs=other.adverbs,
            passing=True,
        )
        first = "inversion" in self._wanted and random.random() < 0.65
        if first:
            clause = self._clauses.clause(self._about_weather(other, conjunction))
            main = self._about_same(main, clause)
            sentence = Sentence(
                self._main(main, infinitive), Subordinate(conjunction, clause), True
            )
            return sentence
        clause = self._main(replace(main, inverted="inversion" in self._wanted), infinitive)
        other = self._about_weather(self._about_same(other, clause), conjunction)
        return Sentence(clause, Subordinate(conjunction, self._clauses.clause(other)))

    def _about_weather(self, wish: Wish, conjunction: str) -> Wish:
        """Now and then a subordinate clause is about the weather, or gives a state as a reason."""
        if wish.verbal or wish.nominal:
            return wish
        if wish.subject is not None:
            if conjunction in _REASONS and self._random.random() < 0.4:
                return replace(wish, frame="quality")
        elif conjunction in _WITH_WEATHER and self._random.random() < 0.2:
            return replace(wish, frame="weather")
        return wish

    def _about_same(self, wish: Wish, first: Clause) -> Wish:
        """Often the second clause goes on about the subject of the first, with a pronoun."""
        pronoun = pronoun_for(first.subject)
        doer = entry_of(first.subject)
        if pronoun is None or self._random.random() > 0.75:
            return wish
        if doer is None and not isinstance(first.subject, Personal):
            return wish
        others = [first.object, first.recipient]
        others += [p.phrase for p in (first.goal, first.place) if isinstance(p, Prepositional)]
        rivals = [pronoun_for(phrase) for phrase in others if phrase is not None]
        if pronoun.person == 3 and any(
            rival is None or rival.english == pronoun.english for rival in rivals
        ):
            return wish
        called = first.subject.adjectives if isinstance(first.subject, Nominal) else ()
        return replace(wish, subject=Personal(pronoun), doer=doer, called=called)
