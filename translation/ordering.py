"""Which sentences share a batch."""

from __future__ import annotations

from collections.abc import Sequence


def batches_by_length(
    sentences: Sequence[str], batch_size: int, *, sort: bool = True
) -> list[list[int]]:
    """Put sentences of similar length together: a batch takes as long as its longest.

    Args:
        sentences: in any order.
        batch_size: most sentences of a batch.
        sort: False keeps the order given.

    Returns:
        The places of the sentences of every batch.
    """
    order = list(range(len(sentences)))
    if sort:
        order.sort(key=lambda index: len(sentences[index]))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
