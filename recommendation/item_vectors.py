"""Item vectors to begin with: what follows what in the histories, factorised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh

from recommendation.baselines import transition_counts
from recommendation.splits import Splits


def vectors_of_transitions(splits: Splits, dim: int) -> NDArray[np.float32]:
    """Vectors whose products are close to `log(1 + c_ij)`, the best such of their size.

    `c` counts, in both directions, how often two items stood within 5 steps in what is trained on,
    a step further counting less. A model whose item vectors begin so knows at once what a table of
    transitions knows, and need not find it out by gradients: it learns in fewer epochs.

    Args:
        splits: the training parts of histories are counted.
        dim: size of the vectors.

    Returns:
        `(items, dim)`, item 1 first, with the mean square `1 / dim` that random ones have; columns
        beyond what the counts can fill are zero.

    Reference: Levy and Goldberg 2014, "Neural Word Embedding as Implicit Matrix Factorization";
    with logarithms of counts instead of shifted PMI, so that popularity is among what is known.
    """
    counts = transition_counts(splits)[1:, 1:]
    logarithms = sparse.csr_matrix(counts + counts.T).log1p().astype(np.float64)
    size = logarithms.shape[0]
    count = min(dim, size)
    if size > 4 * dim:
        # From the same start, since eigsh would draw one of its own.
        values, vectors = eigsh(logarithms, k=dim, which="LA", v0=np.ones(size))
    else:  # where nearly all factors are wanted, all are found
        values, vectors = np.linalg.eigh(logarithms.toarray())
    best = np.argsort(-values, kind="stable")[:count]
    found = vectors[:, best] * np.sqrt(np.maximum(values[best], 0.0))
    # A vector and its opposite are the same factor: the sign must not depend on the library.
    found *= np.where(found.sum(axis=0) < 0, -1.0, 1.0)
    found = np.pad(found, ((0, 0), (0, dim - count)))
    mean_square = (found**2).mean()
    scale = (dim * mean_square) ** -0.5 if mean_square else 0.0
    return (found * scale).astype(np.float32)
