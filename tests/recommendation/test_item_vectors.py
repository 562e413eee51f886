"""What item vectors begin as."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from recommendation.baselines import transition_counts
from recommendation.config import TINY
from recommendation.interactions import Interactions, Items
from recommendation.item_vectors import vectors_of_transitions
from recommendation.model import build_model
from recommendation.splits import leave_one_out

RNG = np.random.default_rng(0)
NUM_ITEMS = 60


def splits_of(histories, num_items=NUM_ITEMS):
    keys = [str(i) for i in range(1, num_items + 1)]
    return leave_one_out(
        Interactions(
            items=Items(keys, keys),
            users=[str(i) for i in range(len(histories))],
            offsets=np.cumsum([0, *map(len, histories)]),
            item_ids=np.concatenate([np.array(h, np.int32) for h in histories]),
        )
    )


@pytest.fixture(scope="module")
def splits():
    """Walks among six blocks of ten items each."""
    starts = RNG.integers(0, NUM_ITEMS, 200)
    steps = RNG.integers(0, 10, (200, 12))
    return splits_of([start // 10 * 10 + row + 1 for start, row in zip(starts, steps, strict=True)])


def test_counts_are_those_of_pairs_within_reach():
    # The last two of a history are not trained on.
    counts = transition_counts(splits_of([[1, 2, 3, 9, 9], [2, 3, 9, 9]], 9), gaps=2, gap_decay=0.5)
    expected = np.zeros((10, 10))
    expected[1, 2], expected[2, 3], expected[1, 3] = 1, 2, 0.5
    np.testing.assert_allclose(counts.toarray(), expected)


@pytest.mark.parametrize("dim", [4, 16])  # few factors of many, and most of all
def test_products_of_vectors_are_the_best_of_their_size(splits, dim):
    vectors = vectors_of_transitions(splits, dim)
    counts = transition_counts(splits).toarray()[1:, 1:].astype(np.float64)
    logarithms = np.log1p(counts + counts.T)
    u, s, v = np.linalg.svd(logarithms)
    positive = np.einsum("iu,iu->u", u, v.T) > 0  # singular values that are eigenvalues
    chosen = np.flatnonzero(positive)[:dim]
    best = (u[:, chosen] * s[chosen]) @ u[:, chosen].T
    products = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    scale = (products * best).sum() / (products**2).sum()
    np.testing.assert_allclose(scale * products, best, atol=1e-4)
    assert (vectors**2).mean() == pytest.approx(1 / dim, rel=1e-4)
    np.testing.assert_array_equal(vectors, vectors_of_transitions(splits, dim))


def test_more_factors_than_items_are_zero():
    vectors = vectors_of_transitions(splits_of([[1, 2, 3, 1, 2], [3, 1, 2, 3, 1]], 3), 8)
    assert vectors.shape == (3, 8)
    assert np.isfinite(vectors).all()
    assert not vectors[:, 3:].any()
    assert vectors.any()


def test_histories_without_transitions_leave_vectors_alone():
    assert not vectors_of_transitions(splits_of([[1, 2, 3], [2, 3, 1]], 3), 8).any()


def test_a_model_begins_with_them_and_knows_who_follows_whom(splits):
    keras.utils.set_random_seed(0)
    config = replace(TINY, dim=16, num_heads=1)
    model = build_model(config, NUM_ITEMS)
    before = model.embedding.embeddings.numpy()

    def hits():
        history = np.pad(np.arange(1, NUM_ITEMS + 1, dtype="int32")[:, None], ((0, 0), (1, 0)))
        hidden = model.next_hidden(history)
        scores = np.array(model.scores(hidden))
        scores[np.arange(NUM_ITEMS), np.arange(NUM_ITEMS)] = -np.inf
        best = np.argsort(-scores, axis=1)[:, :5]
        return (best // 10 == np.arange(NUM_ITEMS)[:, None] // 10).mean()

    assert hits() < 0.5
    model.begin_with(vectors_of_transitions(splits, 16))
    after = model.embedding.embeddings.numpy()
    np.testing.assert_array_equal(after[[0, -1]], before[[0, -1]])
    np.testing.assert_array_equal(after[1:-1], vectors_of_transitions(splits, 16))
    assert hits() > 0.9
