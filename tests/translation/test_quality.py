"""What is said of translations, against counts by hand."""

import numpy as np
import pytest
import sacrebleu

from translation.config import Config
from translation.corpus import Corpus
from translation.quality import bleu_by_length, bleu_metric, copied_sentences, copied_words, quality
from translation.significance import paired_bootstrap

SOURCES = ["a b c d e", "a b c d e f", "x x y", "  a   b c d e f g h i j k"]
REFERENCES = ["A B C D E", "A B c D E F", "X Y", "A B C D E F G H I J K"]


def test_words_and_sentences_that_are_only_copied_are_counted():
    outputs = ["a b c d e", "A b A b A b", "x", "a b c d e f g h i j k"]
    assert copied_sentences(SOURCES, outputs) == 2 / 4
    # "b" of the second source and "x" of the third's output are there once and count once.
    assert copied_words(SOURCES, outputs) == (5 + 1 + 1 + 11) / (5 + 6 + 3 + 11)
    assert copied_words(SOURCES, REFERENCES) == 1 / 25


def test_bleu_by_length_is_bleu_of_each_bin():
    outputs = ["A B C D X", "A B c D E F", "Y X", "A B C D E F G H I J"]
    metric = bleu_metric(Config())
    rows = bleu_by_length(outputs, Corpus("test", SOURCES, REFERENCES), metric)
    assert [(row["words"], row["sentences"]) for row in rows] == [
        ("1-5", 2),
        ("6-10", 1),
        ("11-15", 1),
    ]
    for row, places in zip(rows, ([0, 2], [1], [3]), strict=True):
        expected = metric.corpus_score(
            [outputs[i] for i in places], [[REFERENCES[i] for i in places]]
        )
        assert row["bleu"] == expected.score
    long = Corpus("test", ["a " * 51, "a " * 50], ["b", "b"])
    assert [row["words"] for row in bleu_by_length(["b", "b"], long, metric)] == ["31-50", "51-"]


def test_what_stands_beside_bleu():
    outputs = ["A B C D E", "A B C D E", "X Y", "A B C D E F G H I J K"]
    figures = quality(outputs, Corpus("test", SOURCES, REFERENCES), Config())
    assert figures["length_ratio"] == 23 / 24
    assert (figures["distinct_outputs"], figures["distinct_references"]) == (3, 4)
    assert figures["copied_sentences"] == figures["copied_sentences_of_references"] == 0
    assert figures["floor_copy_source_bleu"] < figures["bleu"] < 100
    expected = sacrebleu.corpus_bleu(outputs, [REFERENCES], tokenize="none", force=True)
    assert figures["bleu"] == expected.score
    assert "tok:none" in figures["bleu_signature"]
    assert (
        "tok:13a"
        in quality(outputs, Corpus("test", SOURCES, REFERENCES), Config(bleu_tokenizer="13a"))[
            "bleu_signature"
        ]
    )


# Significance


def system(error_rate, seed, count=200):
    """References of random letters, and a system that misses each with this probability."""
    generator = np.random.default_rng(0)
    references = [
        " ".join(generator.choice(list("abcdefgh"), generator.integers(4, 15)))
        for _ in range(count)
    ]
    misses = np.random.default_rng(seed)
    outputs = [
        " ".join("-" if misses.random() < error_rate else word for word in reference.split())
        for reference in references
    ]
    return outputs, references


METRIC = sacrebleu.BLEU(tokenize="none", force=True)


def test_a_clear_difference_is_found_and_has_a_sign():
    better, references = system(0.05, 1)
    worse, _ = system(0.2, 2)
    found = paired_bootstrap(better, worse, references, METRIC, resamples=200)
    scores = [METRIC.corpus_score(outputs, [references]).score for outputs in (better, worse)]
    assert found["difference"] == pytest.approx(scores[0] - scores[1])
    assert found["bleu_other"] == pytest.approx(scores[1])
    low, high = found["difference_interval"]
    assert 0 < low < found["difference"] < high
    assert found["better_in"] == 1
    assert found["p_value"] == found["p_value_sacrebleu"] == 1 / 201
    turned = paired_bootstrap(worse, better, references, METRIC, resamples=200)
    assert turned["difference"] == -found["difference"]
    assert turned["better_in"] == 0
    assert turned["p_value"] == found["p_value"]


def test_a_system_is_not_better_than_itself():
    outputs, references = system(0.1, 1)
    found = paired_bootstrap(outputs, outputs, references, METRIC, resamples=100)
    assert found["difference"] == 0
    assert found["difference_interval"] == [0, 0]
    assert found["p_value"] == 1


def test_the_p_value_is_a_rate_of_false_alarms():
    """Of 60 pairs of equally good systems few may differ at 20 %, but some do."""
    p_values = []
    for seed in range(60):
        one, references = system(0.1, 2 * seed + 10, count=60)
        other, _ = system(0.1, 2 * seed + 11, count=60)
        found = paired_bootstrap(one, other, references, METRIC, resamples=60)
        p_values.append(found["p_value"])
    # Binomial(60, 0.2): between 4 and 21 with probability 0.997.
    assert 4 <= sum(p <= 0.2 for p in p_values) <= 21
