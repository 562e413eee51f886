"""The verbs of a clause in both languages: which words, in which forms.

Every word says by its roles what it expresses; words that share a role are linked.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from translation.grammar.function_words import MODALS
from translation.grammar.inflection import GermanVerb, german_verb
from translation.grammar.structure import Clause

MAIN: Final = "main"
AUXILIARY: Final = "auxiliary"
NEGATION: Final = "negation"
TO: Final = "to"

Agreement = tuple[int, bool]
"""Person and whether it is plural."""


class VerbWord(NamedTuple):
    """A word of a verb group."""

    text: str
    roles: tuple[str, ...]


class EnglishGroup(NamedTuple):
    """The verbs of an English clause; an adverb such as `often` stands between the parts."""

    helpers: list[VerbWord]
    verbs: list[VerbWord]


class GermanGroup(NamedTuple):
    """The verbs of a German clause."""

    finite: list[VerbWord]
    """One word, or none in an infinitive."""
    prefix: list[VerbWord]
    """What a separable verb leaves at the end."""
    cluster: list[VerbWord]
    """Participle or infinitive at the end."""


_HABEN: Final = german_verb("haben hat hatte gehabt")
_SEIN: Final = german_verb("sein ist war gewesen")
_WERDEN: Final = german_verb("werden wird wurde geworden")
_NOT: Final = VerbWord("not", (NEGATION,))


def english_group(clause: Clause, agreement: Agreement, *, infinitive: bool) -> EnglishGroup:
    """The verbs of an English clause.

    Raises:
        ValueError: the modal has no such form.
    """
    verb = clause.verb.english
    negation = [_NOT] if clause.negated else []

    def main(text: str) -> VerbWord:
        return VerbWord(text, (MAIN,))

    def helped_by(text: str, form: str) -> EnglishGroup:
        return EnglishGroup([VerbWord(text, (AUXILIARY,)), *negation], [main(form)])

    if infinitive:
        return EnglishGroup([], [VerbWord("to", (TO,)), main(verb.base)])
    if clause.modal:
        return _english_modal(clause, agreement)
    if clause.passive:
        return helped_by(_be(clause.tense, agreement), verb.participle)
    if clause.tense == "progressive":
        return helped_by(_be("present", agreement), verb.progressive)
    if clause.tense == "perfect":
        return helped_by(_third(agreement, "has", "have"), verb.participle)
    if clause.tense == "future":
        return helped_by("will", verb.base)
    if verb.base == "be":
        return EnglishGroup([main(_be(clause.tense, agreement)), *negation], [])
    if clause.negated:
        return helped_by(_do(clause.tense, agreement), verb.base)
    present = _third(agreement, verb.third, verb.base)
    return EnglishGroup([], [main(verb.past if clause.tense == "past" else present)])


def _english_modal(clause: Clause, agreement: Agreement) -> EnglishGroup:
    modal = MODALS[clause.modal]
    base = clause.verb.english.base
    words = modal.english_third if agreement == (3, False) else modal.english
    words = modal.english_past if clause.tense == "past" else words
    if not words or (clause.negated and not modal.negation):
        told = f"{'not ' if clause.negated else ''}{clause.modal} ({clause.tense})"
        raise ValueError(f"Expected a modal that has this form in both languages. Received: {told}")
    helpers = []
    if clause.negated and modal.negation == "do":
        helpers = [VerbWord(_do(clause.tense, agreement), (AUXILIARY,)), _NOT]
        words = modal.english
    verbs = [VerbWord(word, (MAIN if word == "to" else AUXILIARY,)) for word in words]
    verbs.append(VerbWord(base, (MAIN,)))
    if words[-1] == "to":
        return EnglishGroup(helpers, verbs)
    if clause.negated and words == ("can",):
        return EnglishGroup([VerbWord("cannot", (AUXILIARY, NEGATION))], verbs[1:])
    return EnglishGroup([verbs[0], *([_NOT] if clause.negated else [])], verbs[1:])


def german_group(clause: Clause, agreement: Agreement, *, infinitive: bool) -> GermanGroup:
    """The verbs of a German clause."""
    verb = clause.verb.german
    tense = "past" if clause.tense == "past" else "present"
    if infinitive:
        *zu, last = verb.zu_infinitive
        roles = (MAIN,) if zu else (MAIN, TO)
        return GermanGroup([], [], [*(VerbWord(word, (TO,)) for word in zu), VerbWord(last, roles)])
    if clause.modal:
        return _bracket(MODALS[clause.modal].german, tense, agreement, verb.joined)
    if clause.passive:
        return _bracket(_WERDEN, tense, agreement, verb.perfect_participle)
    if clause.tense == "perfect":
        auxiliary = _SEIN if verb.auxiliary == "sein" else _HABEN
        return _bracket(auxiliary, tense, agreement, verb.perfect_participle)
    if clause.tense == "future":
        return _bracket(_WERDEN, tense, agreement, verb.joined)
    finite = VerbWord(_finite(verb, tense, agreement), (MAIN, AUXILIARY))
    prefix = [VerbWord(verb.prefix, (MAIN,))] if verb.prefix else []
    return GermanGroup([finite], prefix, [])


def _bracket(auxiliary: GermanVerb, tense: str, agreement: Agreement, last: str) -> GermanGroup:
    finite = VerbWord(_finite(auxiliary, tense, agreement), (AUXILIARY,))
    return GermanGroup([finite], [], [VerbWord(last, (MAIN,))])


def _finite(verb: GermanVerb, tense: str, agreement: Agreement) -> str:
    return (verb.past if tense == "past" else verb.present)[agreement]


def _third(agreement: Agreement, third: str, other: str) -> str:
    return third if agreement == (3, False) else other


def _do(tense: str, agreement: Agreement) -> str:
    return "did" if tense == "past" else _third(agreement, "does", "do")


def _be(tense: str, agreement: Agreement) -> str:
    person, plural = agreement
    if tense == "past":
        return "were" if plural or person == 2 else "was"
    if plural or person == 2:
        return "are"
    return "am" if person == 1 else "is"
