"""Whether the cells a word looked at matter: its probability when they are taken away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioning.intervals import bootstrap_interval, ratio

LogProbabilities = Callable[[NDArray[np.bool_]], NDArray[np.floating]]
"""From cells that are taken away, `(batch, cells)`, to the log-probability of every word of the
captions that are forced, `(batch, words)`."""


def deletion(
    log_probabilities: LogProbabilities,
    weights: NDArray[np.floating],
    lengths: Sequence[int],
    *,
    cells: int,
    draws: int = 5,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Take away the cells that each word attended to most, and as many at random.

    Args:
        log_probabilities: the model, forced to write these captions of these pictures.
        weights: `(batch, words, cells)` with nothing taken away.
        lengths: words of each caption.
        cells: how many are taken away.
        draws: how often cells are drawn at random.
        seed: of the draws.

    Returns:
        By how many nats the log-probability of each word falls, `(batch, words, 2)`: without its
        own cells, and without random ones, the mean of the draws; and `(batch, words)` booleans,
        which of them are words of the captions.

    Reference: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models" (deletion).
    """
    batch, words, num_cells = weights.shape
    if not 0 < cells < num_cells:
        raise ValueError(
            f"Expected to take away at least one cell and not all {num_cells}. Received: {cells}"
        )
    whole = np.asarray(log_probabilities(np.zeros((batch, num_cells), bool)), np.float64)
    order = np.argsort(-weights, axis=-1, kind="stable")[..., :cells]
    falls = np.zeros((batch, words, 2))
    for word in range(words):
        removed = np.zeros((batch, num_cells), bool)
        np.put_along_axis(removed, order[:, word], True, axis=1)
        falls[:, word, 0] = whole[:, word] - np.asarray(log_probabilities(removed))[:, word]
    random = np.random.default_rng(seed)
    for _ in range(draws):
        removed = random.random((batch, num_cells)).argsort(axis=1) < cells
        falls[..., 1] += (whole - np.asarray(log_probabilities(removed))) / draws
    return falls, np.arange(words) < np.asarray(lengths)[:, None]


def deletion_figures(
    falls: NDArray[np.float64], chosen: NDArray[np.bool_], cells: int
) -> dict[str, Any]:
    """Sum up what was taken away.

    Args:
        falls: `(photos, words, 2)`, see `deletion`.
        chosen: `(photos, words)`, which words count.
        cells: how many were taken away.

    Returns:
        `fall` in nats and `floor_random_fall`, means over words; their `difference`, with
        `difference_interval` of 95 % over photos; `more_than_random`, the share of words that lose
        more without their own cells; `cells` and `words`.
    """
    counted = np.where(chosen[..., None], falls, 0)
    more = chosen & (falls[..., 0] > falls[..., 1])
    sums = np.column_stack([counted.sum(axis=1), more.sum(axis=1), chosen.sum(axis=1)])
    own, at_random, above, words = sums.sum(axis=0)
    return {
        "cells": cells,
        "words": int(words),
        "fall": own / words,
        "floor_random_fall": at_random / words,
        "difference": (own - at_random) / words,
        "difference_interval": bootstrap_interval(
            sums, lambda t: ratio(np.array([t[0] - t[1], t[3]]))
        ),
        "more_than_random": above / words,
    }
