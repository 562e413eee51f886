"""From a structure to a sentence of each language and the links between their words.

Every part of the structure is worded once in both languages, and the words that say the same carry
the same link. The order is each language's own, so the alignment falls out of the derivation.

What is linked: content words to content words, articles to articles, prepositions to prepositions,
conjunctions and relative pronouns to theirs, both parts of a separable verb to every word of the
English verb, the auxiliary of English (do, be, have, will) to the finite verb of German, `not` to
nicht or kein, `to` to zu or to the infinitive, `'s` to the article of what is owned, `im` to both
`in` and `the`. Only commas can be without a link: German has more of them.
"""

from __future__ import annotations

from typing import NamedTuple

from translation.grammar.function_words import CONJUNCTIONS
from translation.grammar.inflection import PARADIGMS
from translation.grammar.lexicon import Adverb
from translation.grammar.phrase_wording import PhraseWording
from translation.grammar.structure import (
    Clause,
    Nominal,
    Personal,
    Phrase,
    Prepositional,
    Relative,
    Sentence,
    Subordinate,
    Together,
)
from translation.grammar.verb_group import Agreement, VerbWord, english_group, german_group
from translation.grammar.word_order import (
    COMMA,
    Parts,
    Word,
    Wording,
    english_order,
    german_order,
    is_definite,
)


class Derived(NamedTuple):
    """A sentence pair, its words separated by spaces, and the links between them."""

    source: str
    target: str
    alignment: tuple[tuple[int, int], ...]


def derive(sentence: Sentence) -> Derived:
    """Word a structure in both languages.

    Raises:
        ValueError: the structure says what the languages cannot, e.g. `must` in the past.
    """
    return _Derivation().sentence(sentence)


def agreement(phrase: Phrase | None) -> Agreement:
    """Person and number that a verb takes from its subject."""
    if isinstance(phrase, Personal):
        return phrase.pronoun.person, phrase.pronoun.plural
    return 3, isinstance(phrase, Together) or (isinstance(phrase, Nominal) and phrase.plural)


class _Derivation:
    """One derivation, with links of its own."""

    def __init__(self) -> None:
        self._phrases = PhraseWording(self._relative)

    # Sentences

    def sentence(self, sentence: Sentence) -> Derived:
        main = sentence.main
        if sentence.subordinate is not None and sentence.subordinate_first:
            english, german = self._subordinate(sentence.subordinate)
            comma = Word(",", (self._phrases.link(),))
            main_english, main_german = self._clause(main, "first")
            english += [comma, *main_english]
            german += [comma, *main_german]
        else:
            english, german = self._clause(main, "second")
            if sentence.subordinate is not None:
                more_english, more_german = self._subordinate(sentence.subordinate)
                english += more_english
                german += [COMMA, *more_german]
        if sentence.joined is not None:
            more_english, more_german = self._joined(main, *sentence.joined)
            english += more_english
            german += more_german
        stop = Word(".", (self._phrases.link(),))
        return _align([*english, stop], _punctuate([*german, stop]))

    def _joined(
        self, main: Clause, conjunction: str, clause: Clause
    ) -> tuple[list[Word], list[Word]]:
        link = self._phrases.link()
        one = [Word(conjunction, (link,))]
        other = [Word({"and": "und", "but": "aber"}[conjunction], (link,))]
        if clause.subject is None:
            english, german = self._clause(clause, "first", agreement(main.subject))
            return one + english, other + german
        comma = [Word(",", (self._phrases.link(),))]
        english, german = self._clause(clause, "second")
        return comma + one + english, comma + other + german

    def _subordinate(self, subordinate: Subordinate) -> tuple[list[Word], list[Word]]:
        conjunction = CONJUNCTIONS[subordinate.conjunction]
        link = self._phrases.link()
        english, german = self._clause(subordinate.clause, "final")
        words = [Word(text, (link,)) for text in conjunction.english]
        return words + english, [Word(conjunction.german, (link,)), *german]

    # Clauses

    def _clause(
        self, clause: Clause, order: str, subject: Agreement | None = None
    ) -> tuple[list[Word], list[Word]]:
        """Word a clause.

        Args:
            clause: what it says.
            order: place of the German finite verb, `second`, `first` or `final`, or `zu` for an
                infinitive.
            subject: person and number of the subject where the clause has none of its own.
        """
        subject = subject or agreement(clause.subject)
        links = {role: self._phrases.link() for role in ("main", "auxiliary", "negation", "to")}

        def linked(words: list[VerbWord]) -> list[Word]:
            return [Word(word.text, tuple(links[role] for role in word.roles)) for word in words]

        infinitive = order == "zu"
        helpers, verbs = map(linked, english_group(clause, subject, infinitive=infinitive))
        particle = []
        if word := clause.verb.english.particle:
            particle = [Word(word, (links["main"],))]
        if clause.verb.english.preposition and not clause.verb.preposition:
            verbs.append(Word(clause.verb.english.preposition, (links["main"],)))
        parts = self._parts(clause, links["negation"])
        german_verbs = map(linked, german_group(clause, subject, infinitive=infinitive))
        english = english_order(clause, parts, helpers, verbs, particle)
        german = german_order(clause, parts, order, *german_verbs)
        if clause.complement is not None:
            more_english, more_german = self._subordinate(clause.complement)
            english += more_english
            german += [COMMA, *more_german, COMMA]
        if clause.infinitive is not None:
            more_english, more_german = self._clause(clause.infinitive, "zu", subject)
            english += more_english
            german += [COMMA, *more_german, COMMA]
        return english, german

    def _parts(self, clause: Clause, negation: int) -> Parts:
        parts: Parts = {}
        if clause.subject is not None:
            parts["subject"] = self._phrases.phrase(clause.subject, "nominative")
        kein = clause.negated and _takes_kein(clause)
        if clause.object is not None:
            wording = self._object(clause, clause.object, negation if kein else 0)
            parts["agent" if clause.passive else "object"] = wording
        if clause.recipient is not None:
            parts["recipient"] = self._recipient(clause, clause.recipient)
        if clause.negated and not kein:
            parts["not"] = Wording([], [Word("nicht", (negation,))], [])
        if clause.quality is not None:
            link = (self._phrases.link(),)
            words = clause.quality.english, clause.quality.german
            parts["quality"] = Wording([Word(words[0], link)], [Word(words[1], link)], [])
        for name in ("time", "frequency", "manner", "place", "means", "goal"):
            part = getattr(clause, name)
            if isinstance(part, Adverb):
                parts[name] = self._phrases.adverb(part)
            elif part is not None:
                parts[name] = self._phrases.prepositional(part)
        return parts

    def _object(self, clause: Clause, phrase: Phrase, negation: int) -> Wording:
        verb = clause.verb
        if clause.passive:
            return self._phrases.prepositional(Prepositional("by", "von", "dative", phrase))
        if verb.preposition:
            preposition = verb.english.preposition
            return self._phrases.prepositional(
                Prepositional(preposition, verb.preposition, verb.case, phrase)
            )
        if "bare" in verb.flags:
            english, (article, noun), _ = self._phrases.phrase(phrase, verb.case)
            return Wording(english, [noun._replace(links=noun.links + article.links)], [])
        return self._phrases.phrase(phrase, verb.case, negation)

    def _recipient(self, clause: Clause, phrase: Phrase) -> Wording:
        wording = self._phrases.phrase(phrase, "dative")
        if "to" not in clause.verb.flags:
            return wording
        link = self._phrases.link()
        article, *rest = wording.german
        german = [article._replace(links=(link, *article.links)), *rest]
        return Wording([Word("to", (link,)), *wording.english], german, wording.tail)

    def _relative(self, relative: Relative, head: Nominal) -> tuple[list[Word], list[Word]]:
        clause = relative.clause
        link = (self._phrases.link(),)
        of_subject = relative.gap == "subject"
        person = of_subject and "person" in head.noun.tags
        case = "nominative" if of_subject else clause.verb.case
        gender = "plural" if head.plural else head.noun.gender
        subject = (3, head.plural) if of_subject else None
        english, german = self._clause(clause, "final", subject)
        return (
            [Word("who" if person else "that", link), *english],
            [Word(PARADIGMS["relative pronoun"][case, gender], link), *german],
        )


def _takes_kein(clause: Clause) -> bool:
    """Whether the negation of a clause falls on its object: a dog -> kein Hund."""
    phrase = clause.object
    return (
        isinstance(phrase, Nominal)
        and phrase.determiner in ("a", "")
        and not is_definite(phrase)
        and not (clause.passive or clause.verb.preposition or clause.verb.case == "dative")
    )


def _punctuate(words: list[Word]) -> list[Word]:
    """Merge commas that meet, and let a comma give way to the full stop."""
    kept: list[Word] = []
    for word in words:
        if kept and kept[-1].text == "," and word.text in ",.":
            word = word._replace(
                links=word.links + kept[-1].links if word.text == "," else word.links
            )
            kept[-1] = word
        else:
            kept.append(word)
    return kept


def _align(english: list[Word], german: list[Word]) -> Derived:
    places: dict[int, list[int]] = {}
    for index, word in enumerate(german):
        for link in word.links:
            places.setdefault(link, []).append(index)
    pairs = {
        (index, other)
        for index, word in enumerate(english)
        for link in word.links
        for other in places.get(link, ())
    }
    return Derived(_text(english), _text(german), tuple(sorted(pairs)))


def _text(words: list[Word]) -> str:
    text = " ".join(word.text for word in words)
    return text[0].upper() + text[1:]
