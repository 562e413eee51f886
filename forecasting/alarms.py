"""How strange a score is, and how good alarms are where the truth is known."""

from __future__ import annotations

import numpy as np

_RANDOM_DRAWS = 20


def p_values(training: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The conformal p-value: the share of training scores, and of itself, that are as high.

    Args:
        training: scores of the training part, `(rows, targets)`.
        scores: `(days, targets)`.

    Returns:
        `(days, targets)`, above 0. Every target is compared with its own.

    Reference: Laxhammar and Falkman 2010, "Conformal Prediction for Distribution-Independent
    Anomaly Detection in Streaming Vessel Data".
    """
    columns = []
    for own, asked in zip(np.sort(training, axis=0).T, scores.T, strict=True):
        lower = np.searchsorted(own, asked, side="left")
        columns.append((1 + len(own) - lower) / (1 + len(own)))
    return np.stack(columns, axis=-1)


def ranges(flags: np.ndarray) -> list[tuple[int, int]]:
    """Runs of True as first row and row behind the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def alarm_figures(p_value: np.ndarray, truth: np.ndarray, level: float) -> dict[str, float]:
    """How good alarms are; nothing is adjusted to the truth.

    A range counts by the share of its rows that overlap and, found ranges, half by being found at
    all.

    Args:
        p_value: `(days, targets)`; the lower, the stranger.
        truth: booleans of the same shape.
        level: alarm is given where the p-value is at most this.

    Returns:
        `precision`, `recall`, `f1` by rows; `range_precision`, `range_recall`, `range_f1`;
        `auc_pr`, the average precision over all levels; `alarms`, the share of rows.

    Reference: Tatbul et al. 2018, "Precision and Recall for Time Series"; against adjusting to the
    truth Kim et al. 2022, "Towards a Rigorous Evaluation of Time-Series Anomaly Detection".
    """
    alarm = p_value <= level
    hits = float((alarm & truth).sum())
    precision, recall = hits / max(alarm.sum(), 1), hits / truth.sum()
    found, right = [], []
    for flags, real in zip(alarm.T, truth.T, strict=True):
        for first, end in ranges(real):
            overlap = flags[first:end].mean()
            found.append(0.5 * (overlap > 0) + 0.5 * overlap)
        right += [real[first:end].mean() for first, end in ranges(flags)]
    range_precision = float(np.mean(right)) if right else 0.0
    range_recall = float(np.mean(found))
    return {
        "precision": float(precision),
        "recall": float(recall),
        "f1": _harmonic(precision, recall),
        "range_precision": range_precision,
        "range_recall": range_recall,
        "range_f1": _harmonic(range_precision, range_recall),
        "auc_pr": average_precision(-p_value.ravel(), truth.ravel()),
        "alarms": float(alarm.mean()),
    }


def _harmonic(one: float, other: float) -> float:
    return float(2 * one * other / (one + other)) if one + other else 0.0


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the precision-recall curve, as a step function; equal scores come together.

    Args:
        scores: `(rows,)`; the higher, the stranger.
        truth: booleans, `(rows,)`.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float((precision * np.diff(recall, prepend=0.0)).sum())


def random_figures(
    truth: np.ndarray, level: float, random: np.random.Generator
) -> dict[str, float]:
    """What scores drawn by chance reach, the mean of some draws: the least a detector must beat."""
    draws = [alarm_figures(random.random(truth.shape), truth, level) for _ in range(_RANDOM_DRAWS)]
    return {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}
