"""The words that hold sentences together: pronouns, determiners, modal verbs, conjunctions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from translation.grammar.inflection import GermanVerb, german_verb


@dataclass(frozen=True, slots=True, eq=False)
class Pronoun:
    """A personal pronoun."""

    english: str
    english_object: str
    german: dict[str, str]
    """Case -> form."""
    person: int
    plural: bool


@dataclass(frozen=True, slots=True, eq=False)
class Determiner:
    """An article or what stands in its place."""

    english: str
    english_plural: str
    german: str
    """Stem of a der-word or ein-word, or the whole word; empty for no word."""
    german_plural: str
    paradigm: str
    """Row of the paradigms, or `fixed` for what does not change."""
    declension: str
    """Row of the paradigms for the adjectives that follow."""
    definite: bool


@dataclass(frozen=True, slots=True, eq=False)
class Modal:
    """A modal verb of both languages."""

    english: tuple[str, ...]
    """First and second person present, e.g. `want to`."""
    english_third: tuple[str, ...]
    english_past: tuple[str, ...]
    """Empty where it has none."""
    german: GermanVerb
    negation: str
    """How English negates it: `cannot`, `not`, `do`, or empty where it would mean another thing."""


@dataclass(frozen=True, slots=True, eq=False)
class Conjunction:
    """A subordinating conjunction."""

    english: tuple[str, ...]
    german: str
    eras: frozenset[str]
    """`now` and `past`: the times of a main clause it goes with."""


def _pronoun(key: str, english_object: str, german: str, person: int, plural: bool) -> Pronoun:
    cases = ("nominative", "accusative", "dative")
    forms = dict(zip(cases, german.split(), strict=True))
    return Pronoun(key.split("/")[0], english_object, forms, person, plural)


PRONOUNS: Final = {
    key: _pronoun(key, *row)
    for key, row in {
        "I": ("me", "ich mich mir", 1, False),
        "you": ("you", "du dich dir", 2, False),
        "he": ("him", "er ihn ihm", 3, False),
        "she": ("her", "sie sie ihr", 3, False),
        "it/masculine": ("it", "er ihn ihm", 3, False),
        "it/feminine": ("it", "sie sie ihr", 3, False),
        "it/neuter": ("it", "es es ihm", 3, False),
        "we": ("us", "wir uns uns", 1, True),
        "they": ("them", "sie sie ihnen", 3, True),
    }.items()
}
"""English -> pronoun; `it` translates by the gender of the German noun it stands for."""

DETERMINERS: Final = {
    "the": Determiner("the", "the", "", "", "definite article", "weak adjective", True),
    "a": Determiner("a", "", "ein", "", "ein-word", "mixed adjective", False),
    "": Determiner("", "", "", "", "fixed", "strong adjective", False),
    "this": Determiner("this", "these", "dies", "dies", "der-word", "weak adjective", True),
    "every": Determiner("every", "", "jed", "", "der-word", "weak adjective", True),
    "no": Determiner("a", "any", "kein", "kein", "ein-word", "mixed adjective", False),
    "my": Determiner("my", "my", "mein", "mein", "ein-word", "mixed adjective", True),
    "your": Determiner("your", "your", "dein", "dein", "ein-word", "mixed adjective", True),
    "his": Determiner("his", "his", "sein", "sein", "ein-word", "mixed adjective", True),
    "her": Determiner("her", "her", "ihr", "ihr", "ein-word", "mixed adjective", True),
    "our": Determiner("our", "our", "unser", "unser", "ein-word", "mixed adjective", True),
    "their": Determiner("their", "their", "ihr", "ihr", "ein-word", "mixed adjective", True),
    "two": Determiner("", "two", "", "zwei", "fixed", "strong adjective", False),
    "three": Determiner("", "three", "", "drei", "fixed", "strong adjective", False),
    "four": Determiner("", "four", "", "vier", "fixed", "strong adjective", False),
    "some": Determiner("", "some", "", "einig", "der-word", "strong adjective", False),
    "many": Determiner("", "many", "", "viel", "der-word", "strong adjective", False),
}
"""English -> determiner; `no` stands for an `a` or a bare noun that a negation turns into kein."""


def _modal(english: str, german: str, negation: str) -> Modal:
    first, third, past = (tuple(form.split()) for form in english.split(","))
    return Modal(first, third, past, german_verb(german), negation)


MODALS: Final = {
    "can": _modal("can, can, could", "können kann konnte gekonnt", "cannot"),
    "must": _modal("must, must,", "müssen muss musste gemusst", ""),
    "have to": _modal("have to, has to, had to", "müssen muss musste gemusst", "do"),
    "want to": _modal("want to, wants to, wanted to", "wollen will wollte gewollt", "do"),
    # The subjunctive, which has the endings of a past.
    "should": _modal("should, should,", "sollten sollte sollte gesollt", "not"),
    "may": _modal("may, may,", "dürfen darf durfte gedurft", "not"),
}

CONJUNCTIONS: Final = {
    key: Conjunction(tuple(key.split("/")[0].split()), german, frozenset(eras.split()))
    for key, (german, eras) in {
        "because": ("weil", "now past"),
        "although": ("obwohl", "now past"),
        "when/now": ("wenn", "now"),
        "when/past": ("als", "past"),
        "if": ("wenn", "now"),
        "while": ("während", "now past"),
        "before": ("bevor", "now past"),
        "as soon as": ("sobald", "now"),
        "that": ("dass", "now past"),
        "whether": ("ob", "now past"),
    }.items()
}
"""English -> conjunction; `when` translates by the time of its clause."""
