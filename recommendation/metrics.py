"""How good rankings of the whole catalogue are, for whom, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommendation.splits import Cases

CUTOFFS = (1, 5, 10, 20)
MISS = np.inf
"""The rank of a target that cannot be recommended."""

Scorer = Callable[[Cases, Sequence[int]], NDArray[np.floating]]
"""From cases and the numbers of some of them to scores `(numbers, items + 1)`."""


@dataclass(frozen=True)
class Ranking:
    """Where the targets of cases came among all items that their users had not had."""

    cases: Cases
    ranks: NDArray[np.float64]
    """`(cases,)` from 1; `MISS` for targets that the user had had before."""
    top: NDArray[np.int32]
    """`(cases, 20)` the first items; 0 where the catalogue is exhausted."""


def rank(scorer: Scorer, cases: Cases, *, batch_size: int = 256) -> Ranking:
    """Rank every target among all items of the catalogue that its user has not had.

    A tie is never a win: items that score as high as the target, or not a number, come before it.

    Args:
        scorer: scores all items for cases.
        cases: what to predict.
        batch_size: cases scored at once.

    Returns:
        The ranking.
    """
    targets = cases.targets()
    ranks, tops = [], []
    for start in range(0, len(cases), batch_size):
        numbers = range(start, min(start + batch_size, len(cases)))
        histories = [cases.history(number) for number in numbers]
        scores = np.array(scorer(cases, numbers), np.float32)
        batch = targets[start : start + len(histories)]
        ranks.append(_ranks(scores, histories, batch))
        tops.append(_top(scores, max(CUTOFFS)))
    return Ranking(cases, np.concatenate(ranks), np.concatenate(tops))


def _ranks(
    scores: NDArray[np.float32],
    histories: Sequence[NDArray[np.int32]],
    targets: NDArray[np.int32],
) -> NDArray[np.float64]:
    """Ranks `(batch,)`; takes what was seen, and no item, out of `scores`."""
    rows = np.arange(len(targets))
    scores[:, 0] = -np.inf
    for row, history in enumerate(histories):
        scores[row, history] = -np.inf
    of_target = scores[rows, targets].copy()
    seen = np.array([target in history for target, history in zip(targets, histories, strict=True)])
    candidates = scores != -np.inf
    ahead = (candidates & ~(scores < of_target[:, None])).sum(axis=1)
    # The target is not ahead of itself, unless its score is no score at all.
    ranks = 1.0 + ahead - candidates[rows, targets]
    return np.where(seen | ~np.isfinite(of_target), MISS, ranks)


def _top(scores: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """The highest `(batch, count)`, equals in the order of their numbers; 0 for none."""
    scores = np.where(np.isnan(scores), -np.inf, scores)
    count = min(count, scores.shape[1])
    chosen = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    of_chosen = np.take_along_axis(scores, chosen, axis=1)
    order = np.lexsort((chosen, -of_chosen), axis=1)
    chosen = np.take_along_axis(chosen, order, axis=1)
    of_chosen = np.take_along_axis(of_chosen, order, axis=1)
    top = np.zeros((len(scores), max(CUTOFFS)), np.int32)
    top[:, :count] = np.where(of_chosen == -np.inf, 0, chosen)
    return top


def gains(ranks: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """What every case adds to each figure.

    With one target, `HR@k = [rank <= k]`, `NDCG@k = [rank <= k] / log2(rank + 1)` and
    `MRR@k = [rank <= k] / rank`.

    Args:
        ranks: `(cases,)` from 1.

    Returns:
        By figure, such as `ndcg_10`, `(cases,)`.
    """
    found: dict[str, NDArray[np.float64]] = {}
    for cutoff in CUTOFFS:
        hit = ranks <= cutoff
        found[f"hr_{cutoff}"] = hit.astype(np.float64)
        found[f"ndcg_{cutoff}"] = np.where(hit, 1 / np.log2(ranks + 1), 0.0)
        found[f"mrr_{cutoff}"] = np.where(hit, 1 / ranks, 0.0)
    return found


def figures(ranking: Ranking) -> dict[str, float]:
    """HR, NDCG and MRR at 1, 5, 10 and 20: the means over all cases."""
    return {name: float(values.mean()) for name, values in gains(ranking.ranks).items()}


def bootstrap_interval(
    values: NDArray[np.float64],
    users: NDArray[np.integer],
    *,
    resamples: int = 1000,
    share: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of a mean over cases, where users are drawn with all their cases.

    Args:
        values: `(cases,)`.
        users: `(cases,)` whose they are.
        resamples: number of draws.
        share: of draws inside the interval.
        seed: of the draws.

    Returns:
        Lower and upper end.

    Reference: Efron and Tibshirani 1993, "An Introduction to the Bootstrap" (percentile interval).
    """
    _, groups = np.unique(users, return_inverse=True)
    sums, counts = np.bincount(groups, values), np.bincount(groups).astype(float)
    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    for draw in range(resamples):
        times = np.bincount(random.integers(0, len(sums), len(sums)), minlength=len(sums))
        means[draw] = (times @ sums) / (times @ counts)
    lower, upper = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(lower), float(upper)


def beyond_accuracy(
    top: NDArray[np.int32], counts: NDArray[np.int64], *, cutoff: int = 10
) -> dict[str, float]:
    """What is recommended, whoever likes it.

    Args:
        top: `(cases, cutoff or more)` recommended items.
        counts: `(items + 1,)` how often each was taken in training.
        cutoff: how many of them are looked at.

    Returns:
        `coverage` (share of the catalogue that anybody is recommended), `popularity` (mean count
        in training of what is recommended), `novelty` (mean of `-log2` of an item's share of all
        interactions, in bits; an item never taken counts as half a time) and `gini` (0: all items
        are recommended equally often, 1: one alone).
    """
    shown = top[:, :cutoff]
    shown = shown[shown > 0]
    num_items = len(counts) - 1
    exposure = np.sort(np.bincount(shown, minlength=num_items + 1)[1:])
    places = np.arange(1, num_items + 1)
    shares = np.maximum(counts, 0.5) / counts.sum()
    return {
        f"coverage_{cutoff}": float((exposure > 0).mean()),
        f"popularity_{cutoff}": float(counts[shown].mean()),
        f"novelty_{cutoff}": float(-np.log2(shares[shown]).mean()),
        f"gini_{cutoff}": float(
            ((2 * places - num_items - 1) * exposure).sum() / (num_items * exposure.sum())
        ),
    }


def by_group(
    ranking: Ranking, *, figure: str = "ndcg_10", resamples: int = 1000
) -> dict[str, dict[str, dict[str, Any]]]:
    """One figure for every group of users: by activity, and by what else is known of them.

    Args:
        ranking: of all cases.
        figure: which.
        resamples: number of draws for the intervals.

    Returns:
        By attribute and group: `cases`, the figure and its `_interval` over users. Activity is the
        length of the history in thirds of the cases.
    """
    cases = ranking.cases
    values = gains(ranking.ranks)[figure]
    lengths = cases.places - cases.interactions.offsets[cases.users]
    lower, upper = np.quantile(lengths, [1 / 3, 2 / 3])
    names = [f"up to {lower:.0f} items", f"up to {upper:.0f}", f"more than {upper:.0f}"]
    third = (lengths > lower).astype(int) + (lengths > upper)
    tables = {"activity": {names[t]: third == t for t in range(3)}}
    for attribute, groups in cases.interactions.groups.items():
        of_case = np.array(groups)[cases.users]
        tables[attribute] = {str(group): of_case == group for group in np.unique(of_case)}
    return {
        attribute: {
            group: {
                "cases": int(inside.sum()),
                figure: float(values[inside].mean()),
                f"{figure}_interval": bootstrap_interval(
                    values[inside], cases.users[inside], resamples=resamples
                ),
            }
            for group, inside in table.items()
            if inside.any()
        }
        for attribute, table in tables.items()
    }


def sampled_ranks(
    scorer: Scorer, cases: Cases, *, count: int = 100, seed: int = 0, batch_size: int = 256
) -> NDArray[np.float64]:
    """Ranks among `count` random items that the user has not had: only to compare with 2018.

    Such ranks are not consistent with those among all items, not even in expectation.

    Args:
        scorer: scores all items for cases.
        cases: what to predict.
        count: items drawn uniformly for every case.
        seed: of the draws.
        batch_size: cases scored at once.

    Returns:
        `(cases,)` from 1.

    Reference: Krichene and Rendle 2020, "On Sampled Metrics for Item Recommendation".
    """
    random = np.random.default_rng(seed)
    num_items = len(cases.interactions.items)
    targets, ranks = cases.targets(), np.empty(len(cases))
    for start in range(0, len(cases), batch_size):
        numbers = range(start, min(start + batch_size, len(cases)))
        scores = np.asarray(scorer(cases, numbers))
        for row, number in enumerate(numbers):
            target = targets[number]
            had = {*cases.history(number).tolist(), int(target)}
            unseen = np.array([i for i in range(1, num_items + 1) if i not in had])
            drawn = random.choice(unseen, min(count, len(unseen)), replace=False)
            ranks[number] = 1 + np.sum(~(scores[row, drawn] < scores[row, target]))
    return ranks
