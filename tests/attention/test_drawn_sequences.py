"""Sequences drawn from a model: frequencies, what is left out, seeds."""

import keras
import numpy as np
import pytest
from keras import ops

from attention_apps.attention.decoding import sample
from attention_apps.attention.sampling import draw
from tests.attention.toy_search import (
    END,
    PAD,
    START,
    Toy,
    rules,
    run,
    same,
    table_step,
)


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
