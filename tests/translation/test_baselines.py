"""The floors, against definitions worked out a second time."""

import doctest
import math
import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from translation import baselines
from translation.alignments import alignment_error_rate
from translation.baselines import IbmModel1, copy_source, diagonal_links

# The diagonal and copying


@given(st.integers(0, 30))
def test_diagonal_of_equal_lengths_is_the_identity(length):
    assert diagonal_links(length, length) == [(i, i) for i in range(length)]


@given(st.integers(1, 30), st.integers(0, 30))
def test_diagonal_links_go_to_the_nearest_word(source_length, target_length):
    links = diagonal_links(source_length, target_length)
    assert [target for _, target in links] == list(range(target_length))
    assert links == sorted(links)
    middles = (np.arange(source_length) + 0.5) / source_length
    for source, target in links:
        distances = np.abs(middles - (target + 0.5) / target_length)
        assert distances[source] <= distances.min() + 1e-12


def test_diagonal_by_hand():
    assert diagonal_links(2, 4) == [(0, 0), (0, 1), (1, 2), (1, 3)]
    assert diagonal_links(5, 2) == [(1, 0), (3, 1)]
    assert diagonal_links(2, 1) == [(1, 0)]
    assert diagonal_links(0, 3) == diagonal_links(3, 0) == []


def test_copy_source_answers_each_sentence_with_itself():
    sources = ["ein haus .", ""]
    assert copy_source(sources) == sources
    assert copy_source(sources) is not sources


# IBM model 1


def naive_model_1(pairs, iterations):
    """Brown et al. 1993 in dictionaries: the table t[source][target] and its log-likelihoods."""
    targets = {word for _, target in pairs for word in target}
    table = defaultdict(dict)
    for source, target in pairs:
        for e in [None, *source]:
            for f in target:
                table[e][f] = 1 / len(targets)
    log_likelihoods = []
    for iteration in range(iterations + 1):
        counts = defaultdict(lambda: defaultdict(float))
        log_likelihood = 0.0
        for source, target in pairs:
            for f in target:
                total = sum(table[e][f] for e in [None, *source])
                log_likelihood += math.log(total / (len(source) + 1))
                for e in [None, *source]:
                    counts[e][f] += table[e][f] / total
        log_likelihoods.append(log_likelihood)
        if iteration < iterations:
            for e, row in counts.items():
                norm = sum(row.values())
                for f in row:
                    table[e][f] = row[f] / norm
    return table, log_likelihoods


def random_pairs(seed, num_pairs=50, with_empty=True):
    """Sentence pairs of words from small vocabularies: repeated words, empty sides, all lengths."""
    rng = random.Random(seed)
    shortest = 0 if with_empty else 1
    return [
        (
            [f"e{rng.randrange(12)}" for _ in range(rng.randint(shortest, 7))],
            [f"f{rng.randrange(15)}" for _ in range(rng.randint(shortest, 7))],
        )
        for _ in range(num_pairs)
    ]


def planted_pairs(seed, num_pairs=300):
    """Word for word translations in shuffled order, with their gold links."""
    rng = random.Random(seed)
    pairs, gold = [], []
    for _ in range(num_pairs):
        words = rng.sample(range(30), rng.randint(2, 6))
        order = rng.sample(range(len(words)), len(words))
        pairs.append(([f"e{word}" for word in words], [f"f{words[place]}" for place in order]))
        gold.append([(place, target) for target, place in enumerate(order)])
    return pairs, gold


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
@pytest.mark.parametrize("iterations", [1, 5])
def test_table_equals_a_naive_dictionary_implementation(monkeypatch, batch_size, iterations):
    monkeypatch.setattr(baselines, "_BATCH_SIZE", batch_size)
    pairs = random_pairs(seed=1)
    assert any(not source for source, _ in pairs)
    assert any(not target for _, target in pairs)
    table, log_likelihoods = naive_model_1(pairs, iterations)
    model = IbmModel1(pairs, iterations=iterations)
    for e in table:
        for f in table[e]:
            assert model.probability(f, e) == pytest.approx(table[e][f], abs=1e-9)
    np.testing.assert_allclose(model.log_likelihoods, log_likelihoods, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_likelihood_never_falls_and_tables_are_distributions(seed):
    pairs = random_pairs(seed)
    model = IbmModel1(pairs, iterations=20)
    assert len(model.log_likelihoods) == 21
    assert min(np.diff(model.log_likelihoods)) >= -1e-9
    assert model.log_likelihoods[1] > model.log_likelihoods[0]
    targets = {word for _, target in pairs for word in target}
    for e in [None, *{word for source, target in pairs if target for word in source}]:
        assert sum(model.probability(f, e) for f in targets) == pytest.approx(1)


def test_planted_dictionary_is_recovered_whatever_the_word_order():
    pairs, gold = planted_pairs(seed=3)
    model = IbmModel1(pairs, iterations=10)
    for word in range(30):
        best = max(range(30), key=lambda target: model.probability(f"f{target}", f"e{word}"))
        assert best == word
    predicted = [model.align(source, target) for source, target in pairs]
    assert alignment_error_rate(predicted, gold).error_rate == 0
    diagonal = [diagonal_links(len(source), len(target)) for source, target in pairs]
    assert alignment_error_rate(diagonal, gold).error_rate > 0.4


def test_target_words_from_nowhere_have_no_link():
    rng = random.Random(5)
    pairs = []
    for _ in range(200):
        words = rng.sample(range(30), rng.randint(2, 6))
        pairs.append(([f"e{word}" for word in words], ["too", *(f"f{word}" for word in words)]))
    model = IbmModel1(pairs, iterations=10)
    assert model.align(["e1", "e2"], ["too", "f2", "f1"]) == [(0, 2), (1, 1)]
    assert model.probability("too", None) > 0.9


def test_words_that_never_met_have_no_link():
    model = IbmModel1([(["a"], ["x"]), (["b"], ["y"])])
    assert model.align(["a"], ["y", "x", "unseen"]) == [(0, 1)]
    assert model.align(["unseen"], ["x"]) == []
    assert model.align([], ["x"]) == model.align(["a"], []) == []
    assert model.probability("y", "a") == model.probability("x", "unseen") == 0
    assert model.probability("unseen", "a") == model.probability("unseen", None) == 0


def test_of_repeated_source_words_the_one_nearest_the_diagonal_is_linked():
    pairs, _ = planted_pairs(seed=3)
    model = IbmModel1(pairs)
    assert model.align(["e1", "e2", "e1"], ["f1", "f2", "f1"]) == [(0, 0), (1, 1), (2, 2)]
    assert model.align(["e2", "e1", "e1"], ["f1", "f2"]) == [(0, 1), (1, 0)]


def test_the_example_in_the_documentation_runs():
    result = doctest.testmod(baselines)
    assert result.attempted
    assert not result.failed


def test_the_same_pairs_give_the_same_model_bit_for_bit():
    pairs = random_pairs(seed=2)
    first, second = IbmModel1(pairs), IbmModel1(iter(pairs))
    assert first.log_likelihoods == second.log_likelihoods
    words = [f"e{i}" for i in range(12)]
    for f in (f"f{i}" for i in range(15)):
        for e in words:
            assert first.probability(f, e) == second.probability(f, e)


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(ValueError, match="0 sentence pairs without a target word"):
        IbmModel1([])
    with pytest.raises(ValueError, match="1 sentence pairs without a target word"):
        IbmModel1([(["a"], [])])
    with pytest.raises(ValueError, match=r"split the sentence first\. Received: 'das haus'"):
        IbmModel1([("das haus", "the house")])
    with pytest.raises(ValueError, match=r"at least one iteration\. Received: 0"):
        IbmModel1([(["a"], ["x"])], iterations=0)
