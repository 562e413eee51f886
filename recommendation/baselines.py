"""The floors every figure stands beside: popularity and two tables of transitions, all counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recommendation.metrics import Scorer
from recommendation.splits import Cases, Splits

_ENTRIES = 4_000_000
"""Transitions counted before they are added up."""
_TIE_BREAK = 1e-6
"""Weight of popularity, which orders items that were never seen to follow."""


def floors(splits: Splits) -> dict[str, Scorer]:
    """Every floor, fitted to what the model is trained on.

    Args:
        splits: the protocol.

    Returns:
        By name: `popularity`, `markov` (what followed the last item) and `transitions` (what
        followed each of the last 10 items within 5 steps, both with decay).
    """
    popularity = splits.training_counts().astype(np.float32)
    return {
        "popularity": lambda cases, numbers: np.tile(popularity, (len(numbers), 1)),
        "markov": Transitions(splits, popularity, gaps=1, memory=1),
        "transitions": Transitions(splits, popularity),
    }


class Transitions:
    """Scores by how often an item followed those of the history: `sum_k w^k P(item | item_-k)`.

    `P` has a row for each item: the shares of what came up to `gaps` steps behind it, a step
    further counting `gap_decay` times as much.

    Args:
        splits: the training parts of histories are counted.
        popularity: `(items + 1,)`, which decides ties.
        gaps: steps between two items that count.
        gap_decay: factor for every step.
        memory: how many of the last items of a history are asked.
        memory_decay: `w`, factor from an item to the one before.
    """

    def __init__(
        self,
        splits: Splits,
        popularity: NDArray[np.float32],
        *,
        gaps: int = 5,
        gap_decay: float = 0.7,
        memory: int = 10,
        memory_decay: float = 0.8,
    ) -> None:
        counts = transition_counts(splits, gaps=gaps, gap_decay=gap_decay)
        totals = np.asarray(counts.sum(axis=1)).ravel()
        self._shares = sparse.diags(1 / np.maximum(totals, 1e-12)).dot(counts).tocsr()
        self._memory = memory
        self._memory_decay = memory_decay
        self._tie_break = _TIE_BREAK * popularity / max(popularity.max(), 1.0)

    def __call__(self, cases: Cases, numbers: Sequence[int]) -> NDArray[np.floating]:
        """Score all items for cases: `(numbers, items + 1)`."""
        recent = [cases.history(number)[::-1][: self._memory] for number in numbers]
        rows = np.repeat(np.arange(len(recent)), [len(items) for items in recent])
        values = [self._memory_decay ** np.arange(len(items)) for items in recent]
        asked = sparse.csr_matrix(
            (np.concatenate(values), (rows, np.concatenate(recent))),
            shape=(len(recent), len(self._tie_break)),
        )
        return asked.dot(self._shares).toarray() + self._tie_break


def transition_counts(
    splits: Splits, *, gaps: int = 5, gap_decay: float = 0.7
) -> sparse.csr_matrix:
    """How often items follow each other in what is trained on.

    Args:
        splits: the protocol.
        gaps: steps between two items that count.
        gap_decay: factor for every step.

    Returns:
        `(items + 1, items + 1)`: a row for what came first, a column for what came later.
    """
    size = len(splits.interactions.items) + 1
    counts = sparse.csr_matrix((size, size), dtype=np.float32)
    for rows, columns, values in _transitions(splits, gaps, gap_decay):
        counts += sparse.coo_matrix((values, (rows, columns)), shape=(size, size)).tocsr()
    return counts


def _transitions(
    splits: Splits, gaps: int, gap_decay: float
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]]:
    """All pairs up to `gaps` apart as rows, columns and weights, a few million at a time."""
    interactions = splits.interactions
    parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
    held = 0
    for begin, end in zip(interactions.offsets, splits.train_ends, strict=False):
        history = interactions.item_ids[begin:end]
        for gap in range(1, min(gaps, len(history) - 1) + 1):
            weight = np.full(len(history) - gap, gap_decay ** (gap - 1), np.float32)
            parts.append((history[:-gap], history[gap:], weight))
            held += len(weight)
        if held >= _ENTRIES:
            yield _joined(parts)
            parts, held = [], 0
    if parts:
        yield _joined(parts)


def _joined(
    parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    rows, columns, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rows, columns, values
