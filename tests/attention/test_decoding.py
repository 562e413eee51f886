"""Decoding against exhaustive search, in every mode that a model may be run in."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from attention_apps.attention.decoding import beam_search, greedy, sample
from attention_apps.attention.hypotheses import Decoded, Rules
from attention_apps.attention.sampling import draw

PAD, START, END = 0, 1, 2
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
needs_tensorflow = pytest.mark.skipif(not ON_TENSORFLOW, reason="a mode of TensorFlow's own")
SIZES = {"vocabulary": 5, "states": 61, "length": 4}


def next_hash(value, token):
    return (value * 7 + token * 3 + 5) % SIZES["states"]


class Toy:
    """A model whose logits depend on the whole prefix and whose weights spell it out.

    The weights of step i are `(batch, 2, length)`: the tokens chosen before i plus one, and the
    key of the example in every place, so that a mix-up of beams or of rows is seen.
    """

    def __init__(self, seed=0, vocabulary=SIZES["vocabulary"], length=SIZES["length"], spread=1.5):
        generator = np.random.default_rng(seed)
        shape = (SIZES["states"], vocabulary)
        self.table = (generator.normal(size=shape) * spread).astype("float32")
        self.vocabulary, self.length = vocabulary, length

    def start(self, batch):
        return {
            "hash": ops.zeros((batch,), "int32"),
            "prefix": ops.zeros((batch, self.length + 1)),
            "position": 0,
        }

    def step(self, state, tokens, encoded):
        value = next_hash(state["hash"], tokens)
        logits = ops.take(ops.convert_to_tensor(self.table), value, axis=0) + encoded["bias"]
        place = ops.arange(self.length + 1, dtype="int32") == state["position"]
        prefix = ops.where(place, ops.cast(tokens, "float32")[:, None] + 1, state["prefix"])
        weights = ops.stack(
            [prefix[:, 1:], ops.broadcast_to(encoded["key"], ops.shape(prefix[:, 1:]))], axis=1
        )
        return (
            logits,
            {"hash": value, "prefix": prefix, "position": state["position"] + 1},
            weights,
        )

    def encoded(self, batch, seed=1):
        generator = np.random.default_rng(seed)
        return {
            "bias": generator.normal(size=(batch, self.vocabulary)).astype("float32"),
            "key": np.arange(1, batch + 1, dtype="float32")[:, None] * 100,
            "nothing": None,
        }

    def log_probabilities(self, bias, prefix, forbidden=()):
        value = 0
        for token in (START, *prefix):
            value = next_hash(value, token)
        logits = (self.table[value] + bias).astype("float64")
        logits[list(forbidden)] = -np.inf
        return logits - np.log(np.exp(logits).sum())


def score(log_probability, length, alpha):
    return log_probability * 6**alpha / (5 + length) ** alpha


def every_hypothesis(toy, bias, limit, forbidden=(), prefix=()):
    """(tokens, log-probability) of all that can be said within the limit."""
    found, open_ones = [], [((), 0.0)]
    while open_ones:
        tokens, total = open_ones.pop()
        if len(tokens) == limit or tokens[-1:] == (END,):
            found.append((tokens, total))
            continue
        forced = prefix[len(tokens)] if len(tokens) < len(prefix) else PAD
        gained = toy.log_probabilities(bias, tokens, () if forced != PAD else forbidden)
        for token in range(toy.vocabulary):
            if forced not in (PAD, token) or np.isneginf(gained[token]):
                continue
            open_ones.append(((*tokens, token), total + gained[token]))
    return found


def true_best(toy, bias, count, alpha, limit, forbidden=(), prefix=()):
    found = [
        (tokens, score(total, len(tokens), alpha))
        for tokens, total in every_hypothesis(toy, bias, limit, forbidden, prefix)
    ]
    return sorted(found, key=lambda pair: (pair[0][-1] != END, -pair[1]))[:count]


def said(decoded, row, place=0):
    """The tokens of a hypothesis; checks that padding and nothing else follows."""
    tokens = np.array(decoded.tokens)[row, place]
    length = int(np.array(decoded.lengths)[row, place])
    assert (tokens[length:] == PAD).all()
    assert END not in tokens[: length - 1]
    return tuple(tokens[:length].tolist())


def spelled(decoded):
    """Check that all weights are those of the hypothesis they stand beside."""
    weights = np.array(decoded.weights)
    for row, place in np.ndindex(weights.shape[:2]):
        tokens = said(decoded, row, place)
        expected = np.zeros(weights.shape[2:])
        for i in range(len(tokens)):
            expected[i, 0, :i] = np.array(tokens[:i]) + 1
            expected[i, 1] = 100 * (row + 1)
        np.testing.assert_array_equal(weights[row, place], expected)


def same(one, other, exact=False):
    np.testing.assert_array_equal(np.array(one.tokens), np.array(other.tokens))
    np.testing.assert_array_equal(np.array(one.lengths), np.array(other.lengths))
    tolerance = 0 if exact else 1e-5
    np.testing.assert_allclose(np.array(one.scores), np.array(other.scores), rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        np.array(one.weights), np.array(other.weights), rtol=0, atol=tolerance
    )


def rules(**changes):
    return Rules(**{"start_id": START, "end_id": END, "max_length": SIZES["length"], **changes})


def run(search, toy, encoded, rules, **options):
    encoded = {
        name: None if leaf is None else ops.convert_to_tensor(leaf)
        for name, leaf in encoded.items()
    }
    return search(toy.step, toy.start(ops.shape(encoded["bias"])[0]), encoded, rules, **options)


def rows(decoded, chosen):
    return Decoded(*(np.array(leaf)[chosen] for leaf in decoded))


def table_step(probabilities):
    """A step by a table of next-token probabilities given the previous token; no attention."""
    logits = np.log(np.maximum(np.array(probabilities, "float32"), 1e-30))

    def step(state, tokens, encoded):
        return ops.take(ops.convert_to_tensor(logits), tokens, axis=0), state, encoded[:, :0]

    return step


# Search


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 3.0])
def test_a_beam_that_holds_all_finds_the_true_best(alpha):
    toy, batch, count = Toy(), 3, 6
    encoded = toy.encoded(batch)
    decoded = run(
        beam_search, toy, encoded, rules(length_penalty=alpha), beam_size=320, num_hypotheses=count
    )
    for row in range(batch):
        expected = true_best(toy, encoded["bias"][row], count, alpha, toy.length)
        assert [said(decoded, row, place) for place in range(count)] == [t for t, _ in expected]
        np.testing.assert_allclose(
            np.array(decoded.scores)[row], [s for _, s in expected], rtol=1e-5, atol=1e-5
        )
    spelled(decoded)


@needs_tensorflow
def test_one_graph_serves_every_length_penalty():
    import tensorflow as tf

    toy = Toy(9, length=7)
    encoded = toy.encoded(3)

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32)], autograph=False)
    def decode(alpha):
        ours = rules(max_length=7, length_penalty=alpha)
        return run(beam_search, toy, encoded, ours, beam_size=4, num_hypotheses=2)

    found = set()
    for alpha in (0.0, 0.6, 3.0):
        ours = rules(max_length=7, length_penalty=alpha)
        expected = run(beam_search, toy, encoded, ours, beam_size=4, num_hypotheses=2)
        same(decode(alpha), expected)
        found.add(tuple(np.array(expected.lengths)[:, 0].tolist()))
    assert len(found) == 3


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    limits=st.lists(st.integers(1, 3), min_size=2, max_size=2),
    forbidden=st.sets(st.sampled_from([PAD, START, 4])),
    prefix=st.lists(
        st.lists(st.integers(1, 4), max_size=2).map(lambda row: row + [PAD] * (2 - len(row))),
        min_size=2,
        max_size=2,
    ),
)
def test_limits_forbidden_and_prefix_keep_to_exhaustive_search(
    seed, alpha, limits, forbidden, prefix
):
    toy = Toy(seed, length=3)
    encoded = toy.encoded(2, seed + 1)
    decoded = run(
        beam_search,
        toy,
        encoded,
        rules(max_length=3, length_penalty=alpha, forbidden=tuple(forbidden)),
        beam_size=80,
        num_hypotheses=3,
        length_limit=np.array(limits),
        prefix=np.array(prefix),
    )
    for row in range(2):
        expected = true_best(
            toy, encoded["bias"][row], 3, alpha, limits[row], tuple(forbidden), prefix[row]
        )
        found = [said(decoded, row, place) for place in range(3)]
        assert found == [tokens for tokens, _ in expected] + [()] * (3 - len(expected))
        np.testing.assert_allclose(
            np.array(decoded.scores)[row, : len(expected)],
            [s for _, s in expected],
            rtol=1e-5,
            atol=1e-5,
        )
        assert np.isneginf(np.array(decoded.scores)[row, len(expected) :]).all()
    spelled(decoded)


def test_tokens_after_the_end_add_nothing():
    # [END] has probability 0.5, [3, END] 0.3; were the end followed by more tokens at 1/4 each,
    # the second would win.
    after_start = [0.0, 0.0, 0.5, 0.3, 0.2]
    probabilities = [
        [0.2] * 5,
        after_start,
        [0.25, 0.25, 0, 0.25, 0.25],
        [0, 0, 1, 0, 0],
        [0.2] * 5,
    ]
    decoded = beam_search(
        table_step(probabilities),
        (),
        ops.zeros((1, 1)),
        rules(max_length=6, length_penalty=0.0),
        beam_size=4,
        num_hypotheses=2,
    )
    assert [said(decoded, 0, place) for place in range(2)] == [(END,), (3, END)]
    np.testing.assert_allclose(
        np.array(decoded.scores)[0], np.log([0.5, 0.3]), rtol=1e-5, atol=1e-5
    )


def test_a_row_goes_on_while_length_may_still_win():
    # [END] has 0.5, [3, 4, 5, 6, END] only 0.3, but divides by ((5 + 5) / 6) ** 3.
    probabilities = np.zeros((7, 7))
    probabilities[START, [END, 3, 4]] = 0.5, 0.3, 0.2
    for token, following in ((3, 4), (4, 5), (5, 6), (6, END), (END, END)):
        probabilities[token, following] = 1
    inputs = (table_step(probabilities), (), ops.zeros((1, 1)))
    for alpha, best in ((3.0, (3, 4, 5, 6, END)), (0.0, (END,))):
        ours = rules(max_length=5, length_penalty=alpha)
        assert said(beam_search(*inputs, ours, beam_size=3), 0) == best


def test_nothing_that_the_model_says_after_the_end_matters():
    toy = Toy(length=8)

    def spoilt(state, tokens, encoded):
        logits, state, weights = toy.step(state, tokens, encoded)
        ended = (tokens == END)[:, None]
        return (
            ops.where(ended, float("nan"), logits),
            state,
            ops.where(ended[:, None], float("nan"), weights),
        )

    encoded = {name: leaf for name, leaf in toy.encoded(4).items() if leaf is not None}
    encoded = {name: ops.convert_to_tensor(leaf) for name, leaf in encoded.items()}
    for search, options in (
        (greedy, {}),
        (sample, {"seed": 1}),
        (beam_search, {"beam_size": 3, "num_hypotheses": 3}),
    ):
        ours = rules(max_length=8)
        clean = search(toy.step, toy.start(4), encoded, ours, **options)
        same(clean, search(spoilt, toy.start(4), encoded, ours, **options), exact=True)
        assert len({tuple(row) for row in np.array(clean.lengths).tolist()}) > 1


def test_a_beginning_that_cannot_go_on_is_dropped():
    # Token 3 is the most probable at first, but the model allows nothing after it.
    probabilities = np.zeros((5, 5))
    probabilities[START, [3, 4]] = 0.9, 0.1
    probabilities[4, END] = 1
    plain = table_step(probabilities)

    def step(state, tokens, encoded):
        logits, state, weights = plain(state, tokens, encoded)
        return ops.where((tokens == 3)[:, None], -np.inf, logits), state, weights

    decoded = beam_search(step, (), ops.zeros((1, 1)), rules(), beam_size=2, num_hypotheses=2)
    assert said(decoded, 0) == (4, END)
    assert not np.isnan(np.array(decoded.scores)).any()


def test_the_best_come_first_and_differ():
    toy = Toy(3, length=9)
    decoded = run(
        beam_search, toy, toy.encoded(6), rules(max_length=9), beam_size=5, num_hypotheses=5
    )
    tokens, scores = np.array(decoded.tokens), np.array(decoded.scores)
    for row in range(6):
        hypotheses = [said(decoded, row, place) for place in range(5)]
        assert len(set(hypotheses)) == 5
        ended = sum(hypothesis[-1] == END for hypothesis in hypotheses)
        assert all(hypothesis[-1] == END for hypothesis in hypotheses[:ended])
        assert all(better >= worse for better, worse in pairwise(scores[row, :ended]))
        assert all(better >= worse for better, worse in pairwise(scores[row, ended:]))
    assert tokens.dtype == np.int32
    assert scores.dtype == np.float32
    spelled(decoded)


def test_scores_are_those_of_the_returned_tokens():
    toy = Toy(5, length=9)
    encoded = toy.encoded(4)
    ours = rules(max_length=9, forbidden=(PAD, START), length_penalty=0.7)
    for search, options in (
        (greedy, {}),
        (sample, {"seed": 4, "temperature": 2.0, "top_k": 3}),
        (beam_search, {"beam_size": 3, "num_hypotheses": 3}),
    ):
        decoded = run(search, toy, encoded, ours, **options)
        for row, place in np.ndindex(*decoded.scores.shape):
            tokens = said(decoded, row, place)
            gained = [
                toy.log_probabilities(encoded["bias"][row], tokens[:i], (PAD, START))[token]
                for i, token in enumerate(tokens)
            ]
            expected = score(sum(gained), len(tokens), 0.7)
            np.testing.assert_allclose(
                np.array(decoded.scores)[row, place], expected, rtol=1e-5, atol=1e-5
            )
        spelled(decoded)


def test_greedy_follows_the_most_probable_token_and_is_a_beam_of_one():
    toy = Toy(7, length=9)
    encoded = toy.encoded(8)
    ours = rules(max_length=9, length_penalty=1.0)
    decoded = run(greedy, toy, encoded, ours)
    for row in range(8):
        tokens: tuple[int, ...] = ()
        while len(tokens) < 9 and tokens[-1:] != (END,):
            following = toy.log_probabilities(encoded["bias"][row], tokens)
            tokens = (*tokens, int(following.argmax()))
        assert said(decoded, row) == tokens
    same(decoded, run(beam_search, toy, encoded, ours, beam_size=1), exact=True)
    same(decoded, run(sample, toy, encoded, ours, seed=3, top_k=1))
    assert len(set(np.array(decoded.lengths)[:, 0].tolist())) > 1


def test_what_ended_stands_before_what_was_cut_off():
    # Token 3 repeats itself almost surely: its score is better than that of the honest end.
    probabilities = np.full((4, 4), 1e-9)
    probabilities[START, [END, 3]] = 0.4, 0.6
    probabilities[3, [END, 3]] = 0.001, 0.999
    assert score(np.log(0.6 * 0.999**4), 5, 1.0) > score(np.log(0.4), 1, 1.0)
    ours = rules(max_length=5, length_penalty=1.0)
    inputs = (table_step(probabilities), (), ops.zeros((1, 1)), ours)
    assert said(beam_search(*inputs, beam_size=2), 0) == (END,)
    assert said(greedy(*inputs), 0) == (3,) * 5


def test_ties_go_to_the_one_that_ended_first():
    probabilities = np.zeros((4, 4))
    probabilities[START, [END, 3]] = 0.5
    probabilities[3, END] = 1
    ours = rules(length_penalty=0.0)
    inputs = (table_step(probabilities), (), ops.zeros((1, 1)), ours)
    decoded = beam_search(*inputs, beam_size=3, num_hypotheses=2)
    assert [said(decoded, 0, place) for place in range(2)] == [(END,), (3, END)]
    assert len(set(np.array(decoded.scores)[0].tolist())) == 1


def test_ties_go_to_the_lower_token_and_the_earlier_beam():
    flat = np.zeros((6, 6), "float32") + 1 / 6
    ours = rules(max_length=2, forbidden=(PAD, START, END), length_penalty=0.0)
    decoded = beam_search(
        table_step(flat), (), ops.zeros((2, 1)), ours, beam_size=4, num_hypotheses=4
    )
    for row in range(2):
        found = [said(decoded, row, place) for place in range(4)]
        assert found == [(3, 3), (3, 4), (3, 5), (4, 3)]
    assert said(greedy(table_step(flat), (), ops.zeros((1, 1)), ours), 0) == (3, 3)


def test_rows_do_not_know_of_each_other():
    toy = Toy(11, length=8)
    encoded = toy.encoded(5)
    limits, prefix = np.array([99, 3, 8, 0, 6]), np.array([[3], [0], [4], [0], [3]])
    ours = rules(max_length=8)

    def searched(chosen):
        part = {name: None if leaf is None else leaf[chosen] for name, leaf in encoded.items()}
        return run(
            beam_search,
            toy,
            part,
            ours,
            beam_size=3,
            num_hypotheses=2,
            length_limit=limits[chosen],
            prefix=prefix[chosen],
        )

    together = searched(np.arange(5))
    order = np.array([3, 0, 4, 2, 1])
    same(rows(together, order), searched(order))
    for row in range(5):
        same(rows(together, [row]), searched([row]))
    assert (np.array(together.lengths) <= np.clip(limits, 1, 8)[:, None]).all()
    assert said(together, 3) != ()


def test_a_cache_changes_nothing():
    """A toy of attention over what was said: keys kept in a cache, or made anew at every step."""
    generator = np.random.default_rng(0)
    length, vocabulary, dim = 7, 6, 4
    embedding, query, out = (
        ops.convert_to_tensor((generator.normal(size=shape) * 1.5).astype("float32"))
        for shape in ((vocabulary, dim), (dim, dim), (dim, vocabulary))
    )

    def attend(keys, newest, position, encoded):
        scores = ops.einsum("bkd,bd->bk", keys, ops.matmul(newest, query)) + encoded
        open_keys = ops.arange(length, dtype="int32") <= position
        weights = ops.softmax(ops.where(open_keys, scores, -1e9), axis=-1)
        return ops.matmul(ops.einsum("bk,bkd->bd", weights, keys), out), weights

    def cached(state, tokens, encoded):
        keys, position = state
        newest = ops.take(embedding, tokens, axis=0)
        keys = ops.slice_update(keys, (0, position, 0), newest[:, None])
        logits, weights = attend(keys, newest, position, encoded)
        return logits, (keys, position + 1), weights

    def uncached(state, tokens, encoded):
        spoken, position = state
        spoken = ops.slice_update(spoken, (0, position), tokens[:, None])
        keys = ops.take(embedding, spoken, axis=0)
        logits, weights = attend(keys, ops.take(embedding, tokens, axis=0), position, encoded)
        return logits, (spoken, position + 1), weights

    encoded = ops.convert_to_tensor(generator.normal(size=(4, length)).astype("float32"))
    for search, options in (
        (greedy, {}),
        (sample, {"seed": 2}),
        (beam_search, {"beam_size": 4, "num_hypotheses": 4}),
    ):
        same(
            search(
                cached, (ops.zeros((4, length, dim)), 0), encoded, rules(max_length=7), **options
            ),
            search(
                uncached,
                (ops.zeros((4, length), "int32"), 0),
                encoded,
                rules(max_length=7),
                **options,
            ),
        )


def test_a_prefix_may_hold_forbidden_tokens_and_even_the_end():
    toy = Toy(13, length=6)
    encoded = toy.encoded(3)
    decoded = run(
        beam_search,
        toy,
        encoded,
        rules(max_length=6, forbidden=(PAD, START, 4)),
        beam_size=3,
        num_hypotheses=2,
        prefix=np.array([[4, START, 3], [3, END, 0], [0, 0, 0]]),
    )
    assert said(decoded, 0, 0)[:3] == said(decoded, 0, 1)[:3] == (4, START, 3)
    assert 4 not in said(decoded, 0)[1:]
    assert said(decoded, 1) == (3, END)
    assert said(decoded, 1, 1) == ()
    assert np.isneginf(np.array(decoded.scores)[1, 1])
    assert not {PAD, START, 4} & set(said(decoded, 2))
    drawn = run(sample, toy, encoded, rules(max_length=6), seed=1, prefix=np.array([[4, 3]] * 3))
    assert all(said(drawn, row)[:2] == (4, 3) for row in range(3))
    spelled(decoded)
    spelled(drawn)


def test_log_probabilities_are_float32_whatever_the_model_is():
    toy = Toy(17, length=12, vocabulary=8, spread=0.3)

    def half(state, tokens, encoded):
        logits, state, weights = toy.step(state, tokens, encoded)
        return ops.cast(logits * 8, "float16"), state, ops.cast(weights, "bfloat16")

    def full(state, tokens, encoded):
        logits, state, weights = half(state, tokens, encoded)
        return ops.cast(logits, "float32"), state, ops.cast(weights, "float32")

    encoded = {
        name: ops.convert_to_tensor(leaf)
        for name, leaf in toy.encoded(3).items()
        if leaf is not None
    }
    ours = rules(max_length=12, forbidden=(END,))
    found = [beam_search(step, toy.start(3), encoded, ours, beam_size=4) for step in (half, full)]
    same(*found, exact=True)
    assert found[0].scores.dtype == found[0].weights.dtype == found[1].scores.dtype


# Sampling


def probabilities_of_pairs(first, after, count=40_000, **options):
    """Relative frequencies of the two tokens drawn in each of many equal rows."""
    table = np.full((5, 5), 0.2)
    table[START] = first
    table[3:] = after
    decoded = sample(
        table_step(table), (), ops.zeros((count, 1)), rules(max_length=2), seed=5, **options
    )
    tokens = np.array(decoded.tokens)[:, 0]
    return np.histogram2d(*tokens.T, bins=[np.arange(6)] * 2)[0] / count


def near(frequencies, probabilities, count=40_000):
    deviation = np.sqrt(np.maximum(probabilities * (1 - probabilities), 1e-12) / count)
    assert (np.abs(frequencies - probabilities) <= 4.5 * deviation + 1e-9).all()


def test_frequencies_are_the_probabilities():
    first = np.array([0.0, 0.05, 0.0, 0.6, 0.35])
    after = np.array([[0.1, 0.2, 0.3, 0.4, 0.0], [0.5, 0.1, 0.1, 0.1, 0.2]])
    joint = np.zeros((5, 5))
    joint[START] = first[START] * first  # token 1 is the start again
    joint[3:] = first[3:, None] * after
    near(probabilities_of_pairs(first, after), joint)


def test_temperature_sharpens_and_flattens():
    first = np.array([0.0, 0.1, 0.0, 0.6, 0.3])
    for temperature in (0.5, 2.0):
        expected = first ** (1 / temperature)
        found = probabilities_of_pairs(first, [0.2] * 5, temperature=temperature).sum(axis=1)
        near(found, expected / expected.sum())


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 2}, [3, 4]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.45}, [3]),
        ({"top_p": 0.6}, [3, 4]),
        ({"top_p": 0.95}, [1, 2, 3, 4]),
        ({"top_k": 3, "top_p": 0.85}, [1, 3, 4]),
        ({"top_k": 3, "top_p": 0.6}, [3, 4]),
    ],
)
def test_the_improbable_is_left_out(options, kept):
    # After top_k=3, the shares are 1/2 * 1/0.92, 1/4 and 0.17 of 0.92: 0.6 needs two of them.
    first = np.array([0.02, 0.17, 0.06, 0.5, 0.25])
    expected = np.where(np.isin(np.arange(5), kept), first, 0)
    found = probabilities_of_pairs(first, [0.2] * 5, **options).sum(axis=1)
    near(found, expected / expected.sum())


def test_forbidden_tokens_are_never_drawn():
    flat = np.full((50, 50), 1 / 50)
    forbidden = tuple(range(0, 50, 2))
    decoded = sample(
        table_step(flat),
        (),
        ops.zeros((1000, 1)),
        rules(max_length=20, end_id=49, forbidden=forbidden),
        seed=0,
    )
    inside = np.arange(20) < np.array(decoded.lengths)[..., None]
    assert set(np.array(decoded.tokens)[inside].tolist()) == set(range(1, 50, 2))


def test_a_draw_past_the_end_of_the_sum_falls_on_what_is_possible():
    never = -np.inf
    logits = ops.convert_to_tensor([[never, 0.0, 1.0, never]] * 2)
    drawn = draw(logits, ops.convert_to_tensor([[0.0], [1.0]]), None, 1.0)
    assert np.array(drawn).tolist() == [[1], [2]]


def test_a_seed_tells_the_sample():
    toy = Toy(19, length=8)
    encoded = toy.encoded(16)
    ours = rules(max_length=8)
    first = run(sample, toy, encoded, ours, seed=6)
    same(first, run(sample, toy, encoded, ours, seed=6), exact=True)
    same(first, run(sample, toy, encoded, ours, seed=ops.convert_to_tensor(6)), exact=True)
    for other in (7, 6 + 2**31, -6):
        tokens = run(sample, toy, encoded, ours, seed=other).tokens
        assert (np.array(tokens) != np.array(first.tokens)).any()
    generators = [keras.random.SeedGenerator(6), keras.random.SeedGenerator(6)]
    drawn = [run(sample, toy, encoded, ours, seed=g) for g in generators for _ in range(2)]
    same(drawn[0], drawn[2], exact=True)
    same(drawn[1], drawn[3], exact=True)
    assert (np.array(drawn[0].tokens) != np.array(drawn[1].tokens)).any()


def test_draws_of_rows_steps_and_seeds_are_independent():
    flat = np.full((4, 4), 1 / 4)
    ours = rules(max_length=16, forbidden=(END, PAD))
    halves = np.stack(
        [
            np.array(sample(table_step(flat), (), ops.zeros((512, 1)), ours, seed=seed).tokens)
            for seed in range(3)
        ]
    )[:, :, 0]
    signs = (halves == 3) * 2.0 - 1
    count = signs.size
    assert abs(signs.mean()) < 4.5 / np.sqrt(count)
    for axis in range(3):
        together = (signs * np.roll(signs, 1, axis=axis)).mean()
        assert abs(together) < 4.5 / np.sqrt(count)


# Modes


SEARCHES = {
    "greedy": (greedy, {}),
    "sample": (sample, {"seed": 8, "top_p": 0.9}),
    "beam": (beam_search, {"beam_size": 4, "num_hypotheses": 3}),
}


def traceable(toy, search, options, ours):
    """The search as a function of tensors; the source length is that of `source`."""

    def step(state, tokens, encoded):
        logits, state, spelled = toy.step(state, tokens, encoded)
        seen = ops.softmax(encoded["source"] * ops.cast(tokens, "float32")[:, None], axis=-1)
        return logits, state, ops.concatenate([spelled[:, 0], seen], axis=-1)

    def decode(bias, source, limits, prefix):
        batch = ops.shape(bias)[0]
        encoded = {"bias": bias, "key": ops.zeros((batch, 1)), "source": source}
        return search(
            step, toy.start(batch), encoded, ours, length_limit=limits, prefix=prefix, **options
        )

    return decode


def mode_inputs(batch, source_length):
    generator = np.random.default_rng(batch)
    prefix = np.zeros((batch, 2), "int32")
    prefix[::2, 0] = 3
    return [
        ops.convert_to_tensor(value)
        for value in (
            Toy().encoded(batch)["bias"],
            generator.normal(size=(batch, source_length)).astype("float32"),
            generator.integers(1, 8, size=batch).astype("int32"),
            prefix,
        )
    ]


@needs_tensorflow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "beam" else pytest.mark.verify) for name in SEARCHES],
)
def test_eager_graph_xla_and_saved_model_agree(name, tmp_path):
    import tensorflow as tf

    search, options = SEARCHES[name]
    decode = traceable(Toy(23, length=7), search, options, rules(max_length=7, forbidden=(PAD,)))
    signature = [
        tf.TensorSpec(shape, dtype)
        for shape, dtype in (
            ((None, SIZES["vocabulary"]), tf.float32),
            ((None, None), tf.float32),
            ((None,), tf.int32),
            ((None, None), tf.int32),
        )
    ]
    module = tf.Module()
    module.decode = tf.function(
        lambda *inputs: decode(*inputs)._asdict(), input_signature=signature
    )
    tf.saved_model.save(module, tmp_path, signatures={"serving_default": module.decode})
    loaded = tf.saved_model.load(tmp_path).signatures["serving_default"]
    names = list(loaded.structured_input_signature[1])
    by_xla = tf.function(decode, jit_compile=True)
    by_xla_of_any_size = tf.function(decode, jit_compile=True, input_signature=signature)
    for batch, source_length, compiled in ((5, 3, by_xla), (2, 6, by_xla_of_any_size)):
        inputs = mode_inputs(batch, source_length)
        eager = decode(*inputs)
        assert len(set(np.array(eager.lengths).flat)) > 1
        same(eager, Decoded(**module.decode(*inputs)))
        same(eager, Decoded(**loaded(**dict(zip(sorted(names), inputs, strict=True)))))
        same(eager, compiled(*inputs))
    static = module.decode.get_concrete_function().structured_outputs["weights"].shape
    assert static[1:3] == (options.get("num_hypotheses", 1), 7)


@needs_tensorflow
def test_a_batch_of_none_gives_a_batch_of_none():
    import tensorflow as tf

    decode = traceable(Toy(length=7), *SEARCHES["beam"], rules(max_length=7))
    graph = tf.function(decode, reduce_retracing=True)
    for compute in (decode, graph):
        decoded = compute(*mode_inputs(0, 3))
        assert decoded.tokens.shape == (0, 3, 7)
        assert decoded.weights.shape[:3] == (0, 3, 7)


@needs_tensorflow
def test_the_loop_stops_when_no_row_can_improve():
    steps = []

    def counted(probabilities):
        step = table_step(probabilities)

        def counting(state, tokens, encoded):
            steps.append(int(tokens.shape[0]))
            return step(state, tokens, encoded)

        steps.clear()
        return counting

    ends_at_once = np.full((4, 4), 0.01)
    ends_at_once[:, END] = 0.97
    greedy(counted(ends_at_once), (), ops.zeros((3, 1)), rules(max_length=30))
    assert steps == [1, 3]  # the one row that tells the shapes, and one step
    beam_search(counted(ends_at_once), (), ops.zeros((3, 1)), rules(max_length=30), beam_size=2)
    assert steps == [1, 6]
    beam_search(
        counted(np.full((4, 4), 0.25)),
        (),
        ops.zeros((3, 1)),
        rules(max_length=30, forbidden=(END,)),
        beam_size=2,
        length_limit=np.array([2, 5, 3]),
    )
    assert steps == [1] + [6] * 5


@needs_tensorflow
def test_a_state_that_loses_its_static_shape_still_loops():
    import tensorflow as tf

    def step(state, tokens, encoded):
        blurred = tf.ensure_shape(state, [None, 4])[:, : tf.shape(encoded)[1]]
        return ops.ones((ops.shape(tokens)[0], 5)), blurred, encoded

    @tf.function(input_signature=[tf.TensorSpec([None, None])])
    def decode(encoded):
        state = ops.zeros((ops.shape(encoded)[0], 4))
        return beam_search(step, state, encoded, rules(), beam_size=2).lengths

    assert decode(tf.zeros((3, 4))).shape == (3, 1)


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"max_length": 0}, "max_length.*Received: 0"), ({"length_penalty": -1.0}, "Received: -1.0")],
)
def test_rules_refuse_what_makes_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        rules(**changes)


@pytest.mark.parametrize(
    ("search", "changes", "options", "message"),
    [
        (beam_search, {}, {"beam_size": 0}, "num_hypotheses"),
        (beam_search, {}, {"beam_size": 2, "num_hypotheses": 3}, "num_hypotheses=3, beam_size=2"),
        (sample, {}, {"seed": 1, "temperature": 0.0}, "temperature"),
        (sample, {}, {"seed": 1, "top_k": 0}, "top_k"),
        (sample, {}, {"seed": 1, "top_p": 0.0}, "top_p"),
        (sample, {}, {"seed": 1, "top_p": 1.5}, "top_p"),
        (sample, {}, {"seed": [1, 2]}, "seed"),
        (greedy, {"end_id": 5}, {}, "5 tokens"),
        (greedy, {"start_id": -1}, {}, "5 tokens"),
        (greedy, {"forbidden": (0, 9)}, {}, "5 tokens"),
        (greedy, {"forbidden": (0, 1, 2, 3, 4)}, {}, "stay allowed"),
        (greedy, {}, {"length_limit": 3}, "length_limit"),
        (greedy, {}, {"prefix": [1, 2]}, r"prefix.*Received: shape \(2,\)"),
        (greedy, {}, {"prefix": [[3] * 5] * 2}, r"max_length=4.*Received: shape \(2, 5\)"),
    ],
)
def test_searches_refuse_what_makes_no_sense(search, changes, options, message):
    toy = Toy()
    with pytest.raises(ValueError, match=message):
        run(search, toy, toy.encoded(2), rules(**changes), **options)


def test_a_step_is_held_to_its_contract():
    ones = ops.ones((2, 3))

    def search(step, state=(), encoded=ones):
        return greedy(step, state, encoded, rules())

    with pytest.raises(ValueError, match=r"logits of shape.*\(1, 1, 5\)"):
        search(lambda state, tokens, encoded: (ops.zeros((1, 1, 5)), state, encoded))
    with pytest.raises(ValueError, match="weights of shape"):
        search(lambda state, tokens, encoded: (ops.zeros((1, 5)), state, ops.sum(encoded)))
    with pytest.raises(ValueError, match="buffers of full length"):
        search(
            lambda state, tokens, encoded: (
                ops.zeros((1, 5)),
                ops.concatenate([state, state], axis=1),
                encoded,
            ),
            state=ones,
        )
    with pytest.raises(ValueError, match="float16"):
        search(
            lambda state, tokens, encoded: (ops.zeros((1, 5)), ops.cast(state, "float16"), encoded),
            state=ones,
        )
    with pytest.raises(ValueError, match="batch size"):
        search(lambda state, tokens, encoded: None, encoded=())


# Backends


def report_of_all_searches():
    """What all searches say, as JSON; the process of another backend prints it."""
    found = {}
    for name, (search, options) in SEARCHES.items():
        decode = traceable(Toy(29, length=7), search, options, rules(max_length=7))
        decoded = decode(*mode_inputs(6, 3))
        found[name] = {field: np.array(leaf).tolist() for field, leaf in decoded._asdict().items()}
    return json.dumps(found)


@pytest.mark.verify
def test_jax_passes_such_tests_and_says_the_same():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    here = Path(__file__).resolve()

    def python(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            cwd=here.parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # The tests that ask least of JAX's compiler, which starts anew for every loop.
    few = "(true_best and 0.6) or after_the_end_add or frequencies or prefix_may"
    passed = python("-m", "pytest", "-q", "-k", few, str(here))
    assert "4 passed" in passed
    printed = python(
        "-c",
        "import runpy, sys; sys.path.insert(0, '.');"
        f"print(runpy.run_path({str(here)!r})['report_of_all_searches']())",
    )
    theirs, ours = json.loads(printed), json.loads(report_of_all_searches())
    for name in SEARCHES:
        same(*(Decoded(**{f: np.array(v) for f, v in r[name].items()}) for r in (ours, theirs)))
