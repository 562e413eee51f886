"""Figures of captions against formulas written down anew."""

import math
import shutil
from collections import Counter

import numpy as np
import pytest

from captioning.intervals import bootstrap_interval
from captioning.metrics import bleu, meteor, score
from captioning.tokens import words_of

PHOTOS = [
    ("a dog runs on grass", ["A brown dog runs over the grass .", "The dog is running on grass"]),
    ("a man in a red shirt", ["A man in red stands .", "a man wears a red shirt", "one man"]),
    ("two children play", ["Two kids are playing in a park", "children play"]),
]
CAPTIONS = [caption for caption, _ in PHOTOS]
REFERENCES = [several for _, several in PHOTOS]


def grams(words, order):
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def bleu_anew(captions, references, order):
    precisions = []
    for n in range(1, order + 1):
        matched = possible = 0
        for caption, several in zip(captions, references, strict=True):
            found, best = grams(words_of(caption), n), Counter()
            for text in several:
                best |= grams(words_of(text), n)
            matched += sum((found & best).values())
            possible += sum(found.values())
        precisions.append(matched / possible)
    lengths = [len(words_of(caption)) for caption in captions]
    nearest = [
        min((abs(len(words_of(t)) - n), len(words_of(t))) for t in several)[1]
        for n, several in zip(lengths, references, strict=True)
    ]
    brevity = min(1, math.exp(1 - sum(nearest) / sum(lengths)))
    return 100 * brevity * math.exp(sum(map(math.log, precisions)) / order)


def cider_anew(captions, references):
    """CIDEr-D by its paper: clipped, a Gaussian over the difference of lengths, times 10."""
    total = 0.0
    for n in range(1, 5):
        documents = Counter()
        for several in references:
            documents.update({g for t in several for g in grams(words_of(t), n)})

        def weighted(text, n=n, documents=documents):
            found = grams(words_of(text), n)
            logs = {g: math.log(len(references) / max(1, documents[g])) for g in found}
            return {g: count * logs[g] for g, count in found.items()}

        def norm(vector):
            return math.sqrt(sum(value**2 for value in vector.values()))

        for caption, several in zip(captions, references, strict=True):
            own = weighted(caption)
            for text in several:
                other = weighted(text)
                both = sum(min(v, other.get(g, 0)) * other.get(g, 0) for g, v in own.items())
                scale = norm(own) * norm(other)
                apart = len(words_of(caption)) - len(words_of(text))
                likeness = both / scale if scale else 0
                total += likeness * math.exp(-(apart**2) / 72) / len(several)
    return 100 * 10 * total / 4 / len(captions)


def test_bleu_and_cider_are_those_of_the_papers():
    figures = score(CAPTIONS, REFERENCES).figures()
    for order in (1, 2, 3):
        anew = bleu_anew(CAPTIONS, REFERENCES, order)
        assert figures[f"bleu_{order}"] == pytest.approx(anew, rel=1e-5)
    assert figures["cider"] == pytest.approx(cider_anew(CAPTIONS, REFERENCES), rel=1e-5)
    assert figures["bleu_4"] < 1


def test_bleu_from_summed_counts_is_that_of_the_library():
    from pycocoevalcap.bleu.bleu import Bleu

    given = {i: [" ".join(words_of(c))] for i, c in enumerate(CAPTIONS)}
    wanted = {i: [" ".join(words_of(t)) for t in r] for i, r in enumerate(REFERENCES)}
    library, _ = Bleu(4).compute_score(wanted, given, verbose=0)
    total = score(CAPTIONS, REFERENCES).bleu.sum(0)
    np.testing.assert_allclose([bleu(total, n) / 100 for n in (1, 2, 3, 4)], library, rtol=1e-9)


def test_rouge_l_of_a_caption_that_is_a_reference_is_full_and_of_a_foreign_one_nothing():
    scores = score(["a dog runs", "xyz"], [["A dog runs!", "x"], ["a cat", "no"]])
    np.testing.assert_allclose(scores.rouge_l, [1, 0])


def test_counts_of_captions():
    figures = score(["a dog", "A dog.", ""], [["a dog"], ["a cat"], ["a bird"]]).figures()
    assert figures["distinct_captions"] == pytest.approx(2 / 3)
    assert figures["vocabulary_used"] == 2
    assert figures["words"] == pytest.approx(4 / 3)
    assert figures["empty_captions"] == 1
    low, high = figures["bleu_4_interval"]
    assert low <= figures["bleu_4"] <= high


def test_what_cannot_be_scored_is_refused():
    for captions, references in ([], []), (["a"], []), (["a"], [[]]):
        with pytest.raises(ValueError, match="one for each photo"):
            score(captions, references)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Two dogs , one black ; run .", "two dogs one black run"),
        ("A boy's T-shirt isn't red!", "a boy 's t-shirt is n't red"),
        ("The dogs' ball, they\u2019ll say", "the dogs ball they 'll say"),
        ('at 10:30 p.m. "number" (7)', "at 10:30 p.m. number 7"),
        ("Élan vital … 20,000", "élan vital 20,000"),
        (" .!", ""),
    ],
)
def test_words_are_those_of_the_penn_treebank(text, words):
    assert words_of(text) == words.split()


def test_an_interval_is_that_of_the_normal_distribution_where_there_are_many_photos():
    values = np.random.default_rng(0).normal(5, 2, 2000)
    terms = np.column_stack([values, np.ones(2000)])
    low, high = bootstrap_interval(terms, lambda total: total[0] / total[1])
    half = 1.96 * values.std() / math.sqrt(2000)
    assert low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.2 * half)
    with pytest.raises(ValueError, match="at least one photo"):
        bootstrap_interval(np.zeros((0, 2)), lambda total: total[0])


@pytest.mark.verify
@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR is a Java program")
def test_meteor_of_the_same_words_is_full():
    texts = ["a brown dog runs over green grass", "two men sit in a small boat"]
    assert meteor(texts, [[text] for text in texts]) == pytest.approx(100, abs=0.5)


def test_without_java_there_is_no_meteor(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert meteor(["a dog"], [["a dog"]]) is None
