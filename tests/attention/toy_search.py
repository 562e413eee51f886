"""A model small enough to be searched exhaustively, and what tests of searches ask of it."""

import keras
import numpy as np
import pytest
from keras import ops

from attention_apps.attention.hypotheses import Decoded, Rules

PAD, START, END = 0, 1, 2
needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="a mode of TensorFlow's own"
)
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
