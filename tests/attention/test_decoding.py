"""Decoding against exhaustive search, and what it refuses."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from attention_apps.attention.decoding import beam_search, greedy, sample
from tests.attention.toy_search import (
    END,
    PAD,
    START,
    Toy,
    needs_tensorflow,
    rows,
    rules,
    run,
    said,
    same,
    score,
    spelled,
    table_step,
    true_best,
)


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
