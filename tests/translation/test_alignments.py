"""What attention says about words, and what gold says about that."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from translation.alignments import (
    alignment_error_rate,
    links,
    shifted,
    symmetrise,
    word_weights,
)
from translation.gold import links_outside, read_alignments

link_sets = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


# Shifted read-out


def test_shifted_reads_each_token_one_step_later():
    # "das haus" -> "the house </s>"; each step looks at the word it was just given.
    weights = np.array(
        [
            [0.5, 0.3, 0.2],  # predicts "the", input: start of sentence
            [0.9, 0.1, 0.0],  # predicts "house", input: "the"
            [0.1, 0.8, 0.1],  # predicts the end, input: "house"
        ]
    )
    np.testing.assert_array_equal(
        shifted(weights), [[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.0, 0.0, 0.0]]
    )
    source_words, target_words = [0, 1, -1], [0, 1, -1]
    raw = links(word_weights(weights, source_words, target_words))
    read_later = links(word_weights(shifted(weights), source_words, target_words))
    assert raw == [(0, 0), (0, 1)]
    assert read_later == [(0, 0), (1, 1)]


def test_shifted_treats_every_layer_and_head_alike_and_keeps_the_given_map():
    weights = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    before = weights.copy()
    together = shifted(weights)
    assert together.dtype == np.float32
    for layer in range(2):
        for head in range(3):
            np.testing.assert_array_equal(together[layer, head], shifted(weights[layer, head]))
    np.testing.assert_array_equal(weights, before)


def test_shifted_without_the_end_row_leaves_the_last_word_without_a_link():
    assert links(shifted(np.eye(3))) == [(1, 0), (2, 1)]


def test_shifted_refuses_a_vector():
    with pytest.raises(ValueError, match=r"Received: shape \(3,\)"):
        shifted(np.ones(3))


# From subwords to words

SUBWORDS = np.array(
    [
        # start  un  ##glück  !   end
        [0.10, 0.20, 0.30, 0.30, 0.10],  # mis
        [0.00, 0.50, 0.30, 0.10, 0.10],  # ##fortune
        [0.05, 0.05, 0.05, 0.80, 0.05],  # !
        [0.00, 0.00, 0.00, 0.00, 1.00],  # end
    ]
)


def test_word_weights_sum_over_source_and_average_over_target_subwords():
    words = word_weights(SUBWORDS, [-1, 0, 0, 1, -1], [0, 0, 1, -1])
    np.testing.assert_allclose(words, [[0.65, 0.20], [0.10, 0.80]], atol=1e-12)


def test_word_weights_of_whole_words_is_the_map_itself():
    np.testing.assert_array_equal(word_weights(SUBWORDS, range(5), range(4)), SUBWORDS)


def test_word_weights_gives_words_without_subwords_zeros():
    words = word_weights(np.full((2, 2), 0.5), [0, 2], [1, 1])
    np.testing.assert_array_equal(words, [[0, 0, 0], [0.5, 0, 0.5]])
    assert links(words) == [(0, 1)]


def test_word_weights_with_special_tokens_alone_has_no_words():
    assert word_weights(np.ones((1, 2)) / 2, [-1, -1], [-1]).shape == (0, 0)
    assert links(word_weights(np.ones((1, 2)) / 2, [-1, -1], [-1])) == []
    assert links(word_weights(np.ones((1, 2)) / 2, [-1, -1], [0])) == []


@given(st.data())
def test_word_weights_lose_only_what_special_tokens_receive(data):
    num_source, num_target = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    words = st.integers(-1, 3)
    source_words = np.array(data.draw(st.lists(words, min_size=num_source, max_size=num_source)))
    target_words = np.array(data.draw(st.lists(words, min_size=num_target, max_size=num_target)))
    seed = data.draw(st.integers(0, 1000))
    weights = np.random.default_rng(seed).dirichlet(np.ones(num_source), (2, num_target))
    found = word_weights(weights, source_words, target_words)
    for word in range(found.shape[-2]):
        rows = weights[:, target_words == word]
        kept = rows[..., source_words >= 0].sum(axis=-1)
        expected = kept.mean(axis=-1) if rows.shape[1] else np.zeros(2)
        np.testing.assert_allclose(found[:, word].sum(axis=-1), expected, atol=1e-12)


def test_word_weights_refuses_indices_that_do_not_match_the_map():
    # Source and target exchanged, the mistake to expect.
    with pytest.raises(ValueError, match=r"weights \(4, 5\), target_words \(5,\)"):
        word_weights(SUBWORDS, [0, 0, 1, -1], [-1, 0, 0, 1, -1])


# Links


def test_links_take_the_largest_weight_of_each_target_word():
    weights = [[0.1, 0.6, 0.3], [0.0, 0.0, 0.0], [0.4, 0.2, 0.4]]
    assert links(weights) == [(0, 2), (1, 0)]


def test_links_by_threshold_take_every_large_enough_weight():
    weights = [[0.1, 0.6, 0.3], [0.0, 0.0, 0.0], [0.4, 0.2, 0.4]]
    assert links(weights, threshold=0.3) == [(0, 2), (1, 0), (2, 0), (2, 2)]
    assert links(weights, threshold=1.0) == []


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.5, float("nan")])
def test_links_refuse_a_threshold_that_means_nothing(threshold):
    with pytest.raises(ValueError, match=f"Received: {threshold}"):
        links(np.eye(2), threshold=threshold)


def test_links_refuse_a_map_per_head():
    with pytest.raises(ValueError, match=r"Received: shape \(8, 2, 2\)"):
        links(np.zeros((8, 2, 2)))


# Symmetrisation


def test_symmetrise_by_hand():
    forward = [(0, 0), (1, 1), (2, 2), (4, 4)]
    backward = [(0, 0), (1, 2), (2, 2), (3, 4), (5, 0)]
    assert symmetrise(forward, backward, method="intersection") == [(0, 0), (2, 2)]
    assert symmetrise(forward, backward, method="union") == sorted({*forward, *backward})
    # Target 0: (1, 1) is diagonal to (0, 0), and new on both sides. Target 2: (1, 2) is beside
    # (2, 2), but source 1 and target 2 are both taken by then. (3, 4), (4, 4) and (5, 0) touch
    # nothing that is in.
    assert symmetrise(forward, backward) == [(0, 0), (1, 1), (2, 2)]


def test_grow_diag_adds_where_only_one_word_is_free_and_grows_from_what_it_added():
    forward = [(0, 0), (0, 1), (0, 2)]
    backward = [(0, 0)]
    assert symmetrise(forward, backward, method="grow_diag") == forward
    # Nothing in common, nothing to grow from.
    assert symmetrise([(0, 1)], [(1, 0)]) == []


def koehn_grow_diag(forward, backward):
    """The published pseudo-code, word for word, over the whole matrix."""
    alignment = set(forward) & set(backward)
    union = set(forward) | set(backward)
    neighbouring = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    added = True
    while added:
        added = False
        for e in range(6):
            for f in range(6):
                if (f, e) in alignment:
                    for e_step, f_step in neighbouring:
                        e_new, f_new = e + e_step, f + f_step
                        e_free = all(target != e_new for _, target in alignment)
                        f_free = all(source != f_new for source, _ in alignment)
                        if (e_free or f_free) and (f_new, e_new) in union - alignment:
                            alignment.add((f_new, e_new))
                            added = True
    return sorted(alignment)


def koehn_final(alignment, directed, joined):
    """The published pseudo-code's last part, for the links of one direction."""
    alignment = set(alignment)
    for e_new in range(6):
        for f_new in range(6):
            e_free = all(target != e_new for _, target in alignment)
            f_free = all(source != f_new for source, _ in alignment)
            free = (e_free and f_free) if joined else (e_free or f_free)
            if free and (f_new, e_new) in directed:
                alignment.add((f_new, e_new))
    return sorted(alignment)


@given(link_sets, link_sets, st.booleans())
def test_growing_is_the_published_procedure(forward, backward, overlap):
    if overlap:
        backward = backward | set(sorted(forward)[::2])
    grown = symmetrise(forward, backward, method="grow_diag")
    assert grown == koehn_grow_diag(forward, backward)
    assert forward & backward <= set(grown) <= forward | backward
    for method, joined in (("grow_diag_final", False), ("grow_diag_final_and", True)):
        expected = koehn_final(koehn_final(grown, forward, joined), backward, joined)
        assert symmetrise(forward, backward, method=method) == expected


def test_the_last_part_adds_what_touches_nothing():
    forward, backward = [(0, 0), (3, 1)], [(0, 0), (3, 1), (0, 2), (5, 5)]
    assert symmetrise(forward, backward) == [(0, 0), (3, 1)]
    final = symmetrise(forward, backward, method="grow_diag_final")
    assert final == [(0, 0), (0, 2), (3, 1), (5, 5)]
    assert symmetrise(forward, backward, method="grow_diag_final_and") == [(0, 0), (3, 1), (5, 5)]


def test_symmetrise_refuses_an_unknown_method():
    with pytest.raises(ValueError, match="Received: 'grow-diag-final'"):
        symmetrise([], [], method="grow-diag-final")


# Alignment error rate


def test_alignment_error_rate_by_hand():
    predicted = [[(0, 0), (1, 1), (2, 1), (3, 3)], [(0, 1)]]
    sure = [[(0, 0), (1, 1), (2, 2)], [(0, 0), (1, 1)]]
    possible = [[(2, 1)], [(0, 0)]]
    # |A| = 4 + 1, |S| = 3 + 2. A and S: (0, 0), (1, 1). A and P: these and (2, 1).
    error = alignment_error_rate(predicted, sure, possible)
    assert error.error_rate == pytest.approx(1 - (2 + 3) / (5 + 5))
    assert error.precision == pytest.approx(3 / 5)
    assert error.recall == pytest.approx(2 / 5)


def test_alignment_error_rate_counts_over_the_corpus_not_the_mean_of_sentences():
    sure = [[(i, i) for i in range(9)], [(0, 0)]]
    predicted = [sure[0], []]
    # Means of sentences would give (0 + 1) / 2.
    assert alignment_error_rate(predicted, sure).error_rate == pytest.approx(1 - 18 / 19)


def test_alignment_error_rate_counts_a_repeated_link_once():
    assert alignment_error_rate([[(0, 0), (0, 0)]], [[(0, 0)]]).error_rate == 0


def test_nothing_predicted_is_all_error_and_no_false_claim():
    assert alignment_error_rate([[]], [[(0, 0)]]) == (1.0, 1.0, 0.0)


corpora = st.lists(st.tuples(link_sets, link_sets, link_sets), min_size=1, max_size=4).filter(
    lambda corpus: any(sure for _, sure, _ in corpus)
)


@given(corpora)
def test_alignment_error_rate_is_a_rate_and_zero_only_between_sure_and_possible(corpus):
    predicted, sure, possible = (list(part) for part in zip(*corpus, strict=True))
    error = alignment_error_rate(predicted, sure, possible)
    assert all(0 <= value <= 1 for value in error)
    perfect = all(s <= a <= s | p for a, s, p in corpus)
    assert (error.error_rate == 0) == perfect
    assert perfect == (error.precision == error.recall == 1)
    assert alignment_error_rate(predicted, sure).error_rate >= error.error_rate - 1e-12


@given(corpora)
def test_with_sure_links_alone_the_error_is_one_less_f1(corpus):
    predicted, sure, _ = (list(part) for part in zip(*corpus, strict=True))
    error = alignment_error_rate(predicted, sure)
    if error.precision + error.recall:
        f1 = 2 * error.precision * error.recall / (error.precision + error.recall)
        assert error.error_rate == pytest.approx(1 - f1)


def test_alignment_error_rate_refuses_what_it_cannot_measure():
    with pytest.raises(ValueError, match="predicted 1, sure 2, possible 2"):
        alignment_error_rate([[]], [[(0, 0)], []])
    with pytest.raises(ValueError, match="none in 2 sentences"):
        alignment_error_rate([[(0, 0)], []], [[], []], [[(0, 0)], []])


# Gold files


def write(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


def test_both_layouts_of_a_gold_file_say_the_same(tmp_path):
    by_sentence = write(tmp_path / "gold.wa", "0-0 2-1 3p3\n\n1-0\n")
    by_link = write(tmp_path / "gold.ref.wa", "3 1 0\n1 0 0 S \n1 2 1 S \n\n1 3 3 P\n")
    gold = read_alignments(by_sentence)
    assert gold.sure == [[(0, 0), (2, 1)], [], [(1, 0)]]
    assert gold.possible == [[(0, 0), (2, 1), (3, 3)], [], [(1, 0)]]
    assert read_alignments(by_link) == gold


@pytest.mark.parametrize("text", ["0-0 1-2\n", "1 0 0 S\n1 1 2 S\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path, text, newline):
    path = write(tmp_path / "gold", text.replace("\n", newline), encoding="utf-8-sig")
    assert read_alignments(path).sure == [[(0, 0), (1, 2)]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an empty file"),
        ("\n \n", "an empty file"),
        ("0-0\n1-x\n", "line 2 .*'1-x'"),
        ("0-0 1--1\n", "line 1 "),
        ("0-0 -1-1\n", "line 1 "),
        ("the house\n", "line 1 .*'the house'"),
        ("1 0 0 S\n1 0\n", "line 2 .*'1 0'"),
        ("1 0 0 S\n2 0 0 X\n", "line 2 .*'2 0 0 X'"),
        ("0 0 0\n", "line 1 "),
        ("1 0 0 S\n0-0\n", "line 2 .*'0-0'"),
        ("0-0\n1 0 0 S\n", "line 2 .*'1 0 0 S'"),
    ],
)
def test_malformed_gold_is_refused_in_one_line(tmp_path, text, said):
    path = write(tmp_path / "gold", text)
    with pytest.raises(ValueError, match=said) as caught:
        read_alignments(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_gold_that_is_not_utf_8_is_refused_in_one_line(tmp_path):
    path = tmp_path / "gold"
    path.write_bytes(b"0-0 \xff\n")
    with pytest.raises(ValueError, match="UTF-8") as caught:
        read_alignments(path)
    assert "\n" not in str(caught.value)


def test_links_beyond_their_sentence_are_named():
    alignments = [[(0, 0), (1, 1)], [(0, 2), (3, 0), (2, 1)]]
    sources, targets = ["das haus", "ja , gern"], ["the house", "yes please"]
    assert links_outside(alignments, sources, targets) == [(1, (0, 2)), (1, (3, 0))]
    with pytest.raises(ValueError, match="alignments 2, sources 2, targets 1"):
        links_outside(alignments, sources, targets[:1])
