"""The paradigms of both languages: articles, endings of adjectives, forms of verbs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

CASES: Final = ("nominative", "accusative", "dative", "genitive")
GENDERS: Final = ("masculine", "feminine", "neuter", "plural")
"""The plural is a fourth gender: German articles and adjectives make no difference in it."""

# One row per paradigm: for every gender of GENDERS the forms of the four CASES.
_TABLES: Final = {
    "definite article": "der den dem des, die die der der, das das dem des, die die den der",
    "relative pronoun": "der den dem dessen, die die der deren, das das dem dessen, "
    "die die denen deren",
    "der-word": "er en em es, e e er er, es es em es, e e en er",
    "ein-word": "- en em es, e e er er, - - em es, e e en er",
    "weak adjective": "e en en en, e e en en, e e en en, en en en en",
    "mixed adjective": "er en en en, e e en en, es es en en, en en en en",
    "strong adjective": "er en em en, e e er er, es es em en, e e en er",
}


def _read(table: str) -> dict[tuple[str, str], str]:
    columns = [column.split() for column in table.split(",")]
    return {
        (case, gender): form.replace("-", "")
        for gender, forms in zip(GENDERS, columns, strict=True)
        for case, form in zip(CASES, forms, strict=True)
    }


PARADIGMS: Final = {name: _read(table) for name, table in _TABLES.items()}
"""Paradigm -> (case, gender) -> form or ending."""

PERSONS: Final = ((1, False), (2, False), (3, False), (1, True), (3, True))
"""Person and number (True = plural) of the subjects of this grammar; `you` is one friend."""

CONTRACTIONS: Final = {
    ("in", "dem"): "im",
    ("an", "dem"): "am",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
    ("von", "dem"): "vom",
    ("in", "das"): "ins",
    ("an", "das"): "ans",
}

_VOWELS: Final = "aeiou"


def adjective_stem(adjective: str) -> str:
    """The form of a German adjective that endings are added to: hoch -> hoh-, teuer -> teur-."""
    irregular = {"hoch": "hoh", "teuer": "teur", "dunkel": "dunkl"}
    return irregular.get(adjective, adjective.removesuffix("e"))


def noun_form(
    *, nominative: str, genitive: str, plural: str, gender: str, case: str, is_plural: bool
) -> str:
    """The form of a German noun in a case and number."""
    if is_plural:
        return plural + "n" if case == "dative" and plural[-1] not in "ns" else plural
    if gender == "feminine" or case == "nominative":
        return nominative
    if case == "genitive":
        return genitive
    if genitive.endswith("n") and gender == "masculine" and genitive != nominative:
        return genitive  # weak: der Junge, den Jungen
    if genitive.endswith("ns") and nominative.endswith("e"):
        return genitive[:-1]  # der Buchstabe, den Buchstaben, des Buchstabens
    return nominative


@dataclass(frozen=True, slots=True, eq=False)
class GermanVerb:
    """The forms of a German verb, without its separable prefix."""

    infinitive: str
    prefix: str
    participle: str
    auxiliary: str
    present: dict[tuple[int, bool], str] = field(repr=False)
    past: dict[tuple[int, bool], str] = field(repr=False)

    @property
    def joined(self) -> str:
        """The infinitive with its prefix: aufmachen."""
        return self.prefix + self.infinitive

    @property
    def perfect_participle(self) -> str:
        """The participle with its prefix: aufgemacht."""
        return self.prefix + self.participle

    @property
    def zu_infinitive(self) -> tuple[str, ...]:
        """The infinitive with zu, one word where the prefix is separable: aufzumachen."""
        if self.prefix:
            return (f"{self.prefix}zu{self.infinitive}",)
        return ("zu", self.infinitive)


def german_verb(entry: str) -> GermanVerb:
    """Read `[prefix+]infinitive [present past participle [second person]] [sein]`.

    Args:
        entry: present and past in the third person singular (`sehen sieht sah gesehen`); a verb
            without them is regular. `sein` at the end is its auxiliary of the perfect.
    """
    head, *parts = entry.split()
    prefix, _, infinitive = head.rpartition("+")
    auxiliary = "haben"
    if parts and parts[-1] == "sein":
        auxiliary = parts.pop()
    stem = infinitive.removesuffix("n").removesuffix("e")
    linked = stem + "e" if stem[-1] in "td" or stem.endswith(("chn", "ffn", "gn")) else stem
    if not parts:
        unstressed = stem.startswith(("be", "ver", "er", "ge", "unter", "zer", "ent"))
        prefixed = unstressed or stem.endswith("ier")
        parts = [linked + "t", linked + "te", linked + "t" if prefixed else f"ge{linked}t"]
    third, past, participle = parts[:3]
    second = parts[3] if len(parts) > 3 else _second_person(third)
    first = third if not third.endswith("t") else stem + "e"
    if stem.endswith("el") and not stem.endswith("iel"):
        first = f"{stem[:-2]}le"
    plural = infinitive
    present = dict(zip(PERSONS, (first, second, third, plural, plural), strict=True))
    if infinitive == "sein":
        present = dict(zip(PERSONS, ("bin", "bist", "ist", "sind", "sind"), strict=True))
    if infinitive == "werden":
        present[1, False] = "werde"
        present[2, False] = "wirst"
    past_plural = past + "n" if past.endswith("e") else past + "en"
    past_second = past + "st"
    past_forms = dict(
        zip(PERSONS, (past, past_second, past, past_plural, past_plural), strict=True)
    )
    return GermanVerb(infinitive, prefix, participle, auxiliary, present, past_forms)


def _second_person(third: str) -> str:
    """The second person singular from the third: er sieht -> du siehst, er liest -> du liest."""
    if not third.endswith("t"):  # kann, weiß
        return third + ("t" if third[-1] in "sß" else "st")
    stem = third[:-1]
    return third if stem[-1] in "sßzx" else stem + "st"


@dataclass(frozen=True, slots=True, eq=False)
class EnglishVerb:
    """The forms of an English verb, with the words that follow it."""

    base: str
    third: str
    past: str
    participle: str
    progressive: str
    particle: str
    preposition: str


def english_verb(entry: str) -> EnglishVerb:
    """Read `base[+particle|~preposition] [past participle [progressive]]`."""
    head, *parts = entry.split()
    head, _, preposition = head.partition("~")
    base, _, particle = head.partition("+")
    past = parts[0] if parts else _suffixed(base, "ed")
    participle = parts[1] if len(parts) > 1 else past
    progressive = parts[2] if len(parts) > 2 else _suffixed(base, "ing")
    third = {"have": "has", "be": "is"}.get(base, english_s(base))
    return EnglishVerb(base, third, past, participle, progressive, particle, preposition)


def english_s(word: str) -> str:
    """A word with the ending of plurals and of the third person: goes, carries, dogs."""
    if word.endswith(("s", "x", "ch", "sh", "go", "do")):
        return word + "es"
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def _suffixed(base: str, suffix: str) -> str:
    if base.endswith("y") and base[-2] not in _VOWELS and suffix == "ed":
        return base[:-1] + "ied"
    if base.endswith("e") and not base.endswith("ee"):
        return base[:-1] + suffix
    return base + suffix


def english_article(next_word: str) -> str:
    """The indefinite article before a word; no word of this grammar is spelt against its sound."""
    return "an" if next_word[0].lower() in _VOWELS else "a"
