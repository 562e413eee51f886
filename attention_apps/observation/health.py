"""What the weights alone say about how a layer attends.

Every function takes weights `(heads, query, key)` and leaves out rows that sum to 0, in which
nothing could be attended to. A NaN in the weights makes the figure NaN: it is not hidden. So does
having nothing to measure.
"""

from __future__ import annotations

import numpy as np

from attention_apps.observation.record import AttentionRecord


def relative_entropy(weights: np.ndarray, attendable: np.ndarray | None = None) -> np.ndarray:
    """Entropy of each row as a share of the largest possible, 0 = one key, 1 = all keys alike.

    `-sum_k w_k log(w_k) / log(n)`, the mean over rows with `n > 1` attendable keys. Values near 0
    go with unstable training, values near 1 with heads that do not choose.

    Args:
        weights: `(heads, query, key)`.
        attendable: `(query, key)` booleans, which keys a row may attend to; by default those to
            which any head gives a weight.

    Returns:
        One value per head, `(heads,)`.

    Reference: Zhai et al. 2023, "Stabilizing Transformer Training by Preventing Attention Entropy
    Collapse".
    """
    if attendable is None:
        attendable = (weights != 0).any(0)
    counts = np.maximum(attendable.sum(-1), 1)
    entropy = -np.sum(weights * np.log(np.where(weights > 0, weights, 1)), axis=-1)
    relative = entropy / np.log(np.where(counts > 1, counts, 2))
    return _row_mean(relative, _rows(weights) & (counts > 1))


def largest_weight(weights: np.ndarray) -> np.ndarray:
    """How sure each head is: the largest weight of a row, the mean over rows.

    Args:
        weights: `(heads, query, key)`.

    Returns:
        One value per head, `(heads,)`.

    Reference: Voita et al. 2019, "Analyzing Multi-Head Self-Attention: Specialized Heads Do the
    Heavy Lifting, the Rest Can Be Pruned" ("confidence").
    """
    return _row_mean(weights.max(-1), _rows(weights))


def attention_distance(
    weights: np.ndarray, query_positions: np.ndarray, key_positions: np.ndarray
) -> np.ndarray:
    """How far each head looks, as a share of the whole length: 0 = at the same place.

    `sum_k w_k |p_query - p_k| / sum_k w_k`, the mean over rows; positions go from 0 to 1 along each
    dimension and distances are divided by the diagonal, so a text and its translation compare.

    Args:
        weights: `(heads, query, key)`.
        query_positions: `(query, dimensions)`, as `Axis.positions` gives them.
        key_positions: `(key, dimensions)`.

    Returns:
        One value per head, `(heads,)`.

    Reference: Vig and Belinkov 2019, "Analyzing the Structure of Attention in a Transformer
    Language Model"; for pictures Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words".
    """
    difference = query_positions[:, None] - key_positions[None]
    distance = np.sqrt(np.square(difference).mean(-1))
    rows = _rows(weights)
    total = np.where(rows, weights.sum(-1), 1)
    return _row_mean((weights * distance).sum(-1) / total, rows)


def head_similarity(weights: np.ndarray) -> float:
    """How alike the heads are: 1 = all the same, 0 = no two ever attend to the same key.

    `1 - JS(p, q) / log 2`, the mean over all pairs of heads and the rows both have; JS is the
    Jensen-Shannon divergence.

    Args:
        weights: `(heads, query, key)`.

    Returns:
        One value; NaN for a single head.

    Reference: Clark et al. 2019, "What Does BERT Look At?".
    """
    rows = _rows(weights)
    shares = weights / np.where(rows, weights.sum(-1), 1)[..., None]
    first, second = np.triu_indices(len(weights), k=1)
    p, q = shares[first], shares[second]
    middle = (p + q) / 2
    divergence = (_negative_entropy(p) + _negative_entropy(q)) / 2 - _negative_entropy(middle)
    similarity = 1 - divergence / np.log(2)
    return float(_row_mean(similarity[None], (rows[first] & rows[second])[None])[0])


def gold_error(weights: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Share of the attention that does not lie where it should.

    `1 - sum of w_k over gold keys / sum_k w_k`, the mean over rows that have gold.

    Args:
        weights: `(heads, query, key)`.
        gold: `(query, key)`, above 0 where attention should be.

    Returns:
        One value per head, `(heads,)`.
    """
    rows = _rows(weights)
    on_gold = (weights * (gold > 0)).sum(-1) / np.where(rows, weights.sum(-1), 1)
    return _row_mean(1 - on_gold, rows & (gold > 0).any(-1))


def gold_argmax_error(weights: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Share of rows whose largest weight does not lie where it should, of rows that have gold.

    Args:
        weights: `(heads, query, key)`.
        gold: `(query, key)`, above 0 where attention should be.

    Returns:
        One value per head, `(heads,)`.
    """
    missed = ~np.take_along_axis((gold > 0)[None], weights.argmax(-1)[..., None], axis=-1)[..., 0]
    return _row_mean(missed + 0 * weights.sum(-1), _rows(weights) & (gold > 0).any(-1))


def divergence_of_shares(shares: np.ndarray) -> float:
    """Jensen-Shannon divergence of distributions `(distributions, key)`: `H(mean) - mean H`."""
    return float(_negative_entropy(shares).mean() - _negative_entropy(shares.mean(0)))


def health(record: AttentionRecord) -> dict[str, float]:
    """All figures of one record by name, those that mean something for it.

    Of several heads the mean is given; the gold errors are those of the mean map of all heads,
    which is what alignments are read from.
    """
    weights, query, key = record.weights, record.query.positions(), record.key.positions()
    figures = {
        "relative_entropy": relative_entropy(weights).mean(),
        "largest_weight": largest_weight(weights).mean(),
    }
    if query.shape[-1] == key.shape[-1]:
        figures["attention_distance"] = attention_distance(weights, query, key).mean()
    if len(weights) > 1:
        figures["head_similarity"] = head_similarity(weights)
    if record.gold is not None:
        mean = weights.mean(0, keepdims=True)
        figures["gold_error"] = gold_error(mean, record.gold)[0]
        figures["gold_argmax_error"] = gold_argmax_error(mean, record.gold)[0]
    faulty = not np.isfinite(weights).all()
    return {name: float(value) for name, value in figures.items() if faulty or np.isfinite(value)}


def _rows(weights: np.ndarray) -> np.ndarray:
    return weights.sum(-1) != 0


def _row_mean(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean of `(..., query)` over its last axes where `rows` holds, per first axis."""
    axes = tuple(range(1, values.ndim))
    count = np.broadcast_to(rows, values.shape).sum(axes)
    total = np.where(rows, values, 0).sum(axes)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _negative_entropy(shares: np.ndarray) -> np.ndarray:
    return np.sum(shares * np.log(np.where(shares > 0, shares, 1)), axis=-1)
