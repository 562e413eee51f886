"""What the weights of several heads say about heads that do nothing, or what another does.

As in `health`, functions take weights `(heads, query, key)`, rows that sum to 0 do not count, and a
NaN is not hidden.
"""

from __future__ import annotations

import numpy as np

from attention_apps.observation.health import divergence_of_shares
from attention_apps.observation.record import AttentionRecord


def query_independence(weights: np.ndarray) -> np.ndarray:
    """How alike the rows of each head are: 1 = every query attends in the same way, a dead head.

    `1 - (H(mean row) - mean H(row)) / log n` over the n rows with attention: the share of what a
    row could tell about its query that it does not. Under a causal mask rows differ by what they
    may attend to, and a dead head stays below 1.

    Args:
        weights: `(heads, query, key)`.

    Returns:
        One value per head, `(heads,)`; NaN for a head with fewer than 2 rows.

    Reference: Michel et al. 2019, "Are Sixteen Heads Really Better than One?" (heads that can go).
    """
    found = []
    for head in weights:
        rows = head[head.sum(-1) != 0]
        if len(rows) < 2:
            found.append(np.nan)
            continue
        shares = rows / rows.sum(-1, keepdims=True)
        found.append(1 - divergence_of_shares(shares) / np.log(len(rows)))
    return np.array(found)


def nearest_head_similarity(weights: np.ndarray) -> np.ndarray:
    """How alike each head is to the head most like it: 1 = another head does the same.

    `1 - JS / log 2`, the mean over the rows both have, and of all other heads the largest; 0 of
    heads that have no row in common.

    Args:
        weights: `(heads, query, key)`, two heads or more.

    Returns:
        One value per head, `(heads,)`.

    Reference: Clark et al. 2019, "What Does BERT Look At?"; Voita et al. 2019, "Analyzing
    Multi-Head Self-Attention".
    """
    rows = weights.sum(-1) != 0
    totals = np.where(rows, weights.sum(-1), 1)[..., None]
    shares = weights / totals
    similar = np.full((len(weights), len(weights)), -np.inf)
    for one in range(len(weights)):
        for other in range(one):
            both = rows[one] & rows[other]
            if not both.any():
                similar[one, other] = similar[other, one] = 0.0
                continue
            pairs = np.stack([shares[one, both], shares[other, both]], axis=1)
            divergence = np.mean([divergence_of_shares(pair) for pair in pairs])
            similar[one, other] = similar[other, one] = 1 - divergence / np.log(2)
    return similar.max(-1)


def sink_mass(weights: np.ndarray) -> np.ndarray:
    """Share of all attention that one key draws, the key that draws most.

    Args:
        weights: `(heads, query, key)`.

    Returns:
        One value per head, `(heads,)`.

    Reference: Xiao et al. 2024, "Efficient Streaming Language Models with Attention Sinks".
    """
    totals = weights.sum((1, 2))
    return np.where(totals != 0, weights.sum(1).max(-1) / np.where(totals != 0, totals, 1), np.nan)


def logit_range(weights: np.ndarray) -> np.ndarray:
    """How far apart the scores of a row lie: `max log(w_largest / w_smallest above 0)` over rows.

    With the softmax, a difference of weights' logarithms is one of scores: a range that grows all
    along a training is the growth of logits that precedes collapse and divergence. It is a lower
    bound: what float32 rounds to 0 does not count.

    Args:
        weights: `(heads, query, key)`.

    Returns:
        One value per head, `(heads,)`.

    Reference: Dehghani et al. 2023, "Scaling Vision Transformers to 22 Billion Parameters".
    """
    if not np.isfinite(weights).all():
        return np.where(np.isfinite(weights).all((1, 2)), 0, np.nan)
    smallest = np.where(weights > 0, weights, np.inf).min(-1)
    rows = np.isfinite(smallest)
    largest = np.where(rows, weights.max(-1), 1)
    return np.log(largest / np.where(rows, smallest, 1)).max(-1)


def head_gradient_norms(gradient: np.ndarray) -> np.ndarray:
    """How fast each head learns: the norm of its share of a projection's gradient.

    Args:
        gradient: of the kernel of a query, key or value projection, `(dim, heads, key dim)`.

    Returns:
        One value per head, `(heads,)`.
    """
    return np.sqrt(np.square(gradient).sum((0, 2)))


def head_health(record: AttentionRecord) -> dict[str, float]:
    """The figures of one record by name, those that mean something for it.

    Of the heads the one that stands out most is given, the largest value; of sinks the mean.
    """
    weights = record.weights
    figures = {
        "query_independence": query_independence(weights).max(),
        "sink_mass": sink_mass(weights).mean(),
        "logit_range": logit_range(weights).max(),
    }
    if len(weights) > 1:
        figures["nearest_head_similarity"] = nearest_head_similarity(weights).max()
    faulty = not np.isfinite(weights).all()
    return {name: float(value) for name, value in figures.items() if faulty or np.isfinite(value)}
