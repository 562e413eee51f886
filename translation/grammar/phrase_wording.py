"""The words of noun phrases and adverbs in both languages, with the links between them."""

from __future__ import annotations

from collections.abc import Callable

from translation.grammar.function_words import DETERMINERS
from translation.grammar.inflection import CONTRACTIONS, PARADIGMS, english_article
from translation.grammar.lexicon import Adverb
from translation.grammar.structure import Named, Nominal, Personal, Phrase, Prepositional, Relative
from translation.grammar.word_order import COMMA, Word, Wording

WordRelative = Callable[[Relative, Nominal], tuple[list[Word], list[Word]]]


class PhraseWording:
    """Words the phrases of one sentence and numbers all of its links."""

    def __init__(self, word_relative: WordRelative) -> None:
        """Begin a sentence.

        Args:
            word_relative: words a relative clause about a noun, in English and in German.
        """
        self._word_relative = word_relative
        self._links = 0

    def link(self) -> int:
        """A link that no word has yet."""
        self._links += 1
        return self._links

    def adverb(self, adverb: Adverb) -> Wording:
        """Word an adverb or a fixed phrase."""
        english: list[list[int]] = [[] for _ in adverb.english]
        german: list[list[int]] = [[] for _ in adverb.german]
        for one, other in adverb.links:
            link = self.link()
            english[one].append(link)
            german[other].append(link)
        return Wording(
            [Word(text, tuple(links)) for text, links in zip(adverb.english, english, strict=True)],
            [Word(text, tuple(links)) for text, links in zip(adverb.german, german, strict=True)],
            [],
        )

    def prepositional(self, part: Prepositional) -> Wording:
        """Word a preposition and its phrase, in German perhaps with the article in one word."""
        wording = self.phrase(part.phrase, part.case)
        link = self.link()
        english = [Word(text, (link,)) for text in part.english.split()]
        preposition = Word(part.german, (link,))
        first, *rest = wording.german
        contracted = CONTRACTIONS.get((part.german, first.text))
        # In dem Haus, das ...: the article of a noun that a relative clause tells apart stays.
        if contracted is None or wording.tail:
            german = [preposition, *wording.german]
        else:
            german = [Word(contracted, (link, *first.links)), *rest]
        return Wording(english + wording.english, german, wording.tail)

    def phrase(self, phrase: Phrase, case: str, negation: int = 0) -> Wording:
        """Word a noun phrase.

        Args:
            phrase: what it says.
            case: its case in German.
            negation: the link of the negation that makes its article kein; 0 for none.
        """
        if isinstance(phrase, Nominal):
            return self._nominal(phrase, case, negation)
        link = (self.link(),)
        if isinstance(phrase, Personal):
            pronoun = phrase.pronoun
            english = pronoun.english if case == "nominative" else pronoun.english_object
            return Wording([Word(english, link)], [Word(pronoun.german[case], link)], [])
        if isinstance(phrase, Named):
            return Wording([Word(phrase.name.english, link)], [Word(phrase.name.german, link)], [])
        first, second = self.phrase(phrase.first, case), self.phrase(phrase.second, case)
        return Wording(
            [*first.english, Word("and", link), *second.english],
            [*first.german, *first.tail, Word("und", link), *second.german],
            second.tail,
        )

    def _nominal(self, nominal: Nominal, case: str, negation: int = 0) -> Wording:
        article_link = self.link()
        article, german_article = self._article(nominal, case, negation, article_link)
        declension = DETERMINERS["no" if negation else nominal.determiner].declension
        owner = nominal.owner
        before: list[Word] = []
        after, german_after = [], []
        if isinstance(owner, Named):
            link, possessive = self.link(), self.link()
            before = [Word(owner.name.english, (link,)), Word("'s", (possessive,))]
            german_article = [Word(owner.name.german + "s", (link, possessive))]
            declension = "strong adjective"
        elif owner is not None:
            english, german, _ = self._nominal(owner, "genitive")
            if "person" in owner.noun.tags:
                before = [*english, Word("'s", (article_link,))]
            else:
                link = self.link()
                after = [Word("of", (link,)), *english]
                german[0] = german[0]._replace(links=(link, *german[0].links))
            german_after = german
        english, german = self._head(nominal, case, declension)
        if not before and article:
            text = english_article(english[0].text) if article == "a" else article
            before = [Word(text, (article_link,))]
        wording = Wording(before + english + after, german_article + german + german_after, [])
        if nominal.wearing is not None:
            worn = self.prepositional(Prepositional("with", "mit", "dative", nominal.wearing))
            wording = Wording(wording.english + worn.english, wording.german + worn.german, [])
        if nominal.relative is not None:
            english, german = self._word_relative(nominal.relative, nominal)
            tail = [COMMA, *german, COMMA]
            wording = Wording(wording.english + english, wording.german, tail)
        return wording

    def _article(
        self, nominal: Nominal, case: str, negation: int, link: int
    ) -> tuple[str, list[Word]]:
        """The English determiner, `a` for `an` too, and the German one."""
        determiner = DETERMINERS["no" if negation else nominal.determiner]
        english = determiner.english_plural if nominal.plural else determiner.english
        if negation and not nominal.determiner:
            english = "any"
        gender = "plural" if nominal.plural else nominal.noun.gender
        ending = PARADIGMS.get(determiner.paradigm, {}).get((case, gender), "")
        german = (determiner.german_plural if nominal.plural else determiner.german) + ending
        links = (link, negation) if negation else (link,)
        return english, [Word(german, links)] if german else []

    def _head(self, nominal: Nominal, case: str, declension: str) -> tuple[list[Word], list[Word]]:
        """Adjectives, noun and content."""
        noun, plural = nominal.noun, nominal.plural
        ending = PARADIGMS[declension][case, "plural" if plural else noun.gender]
        english, german = [], []
        for adjective in nominal.adjectives:
            link = (self.link(),)
            english.append(Word(adjective.english, link))
            german.append(Word(adjective.german_form(ending), link))
        link = (self.link(),)
        english += [Word(text, link) for text in noun.english_form(plural).split()]
        german.append(Word(noun.german_form(case, plural), link))
        if nominal.content is not None:
            content = (self.link(),)
            english += [Word("of", link), Word(nominal.content.english, content)]
            german.append(Word(nominal.content.german, content))
        return english, german
