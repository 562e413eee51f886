"""Parts of a batch that are computed side by side, a processor core for each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from keras import ops, tree


def side_by_side(call: Callable[[Any], Any], inputs: Any, parts: int) -> Any:
    """Call on parts of a batch and lay what they give end to end.

    The products of a small model are too small to be shared out well, and what stands between them
    is not shared out at all; parts do not wait for each other.

    Args:
        call: gives a nest of tensors for a nest of tensors, row by row.
        inputs: tensors with one first axis, the batch.
        parts: how many; 1 calls once on the whole batch.

    Returns:
        What `call` gives for the whole batch.
    """
    if parts == 1:
        return call(inputs)
    rows = ops.shape(tree.flatten(inputs)[0])[0]
    edges = [rows * part // parts for part in range(parts + 1)]
    outputs = [
        call(tree.map_structure(lambda leaf, start=start, end=end: leaf[start:end], inputs))
        for start, end in pairwise(edges)
    ]
    return tree.map_structure(lambda *leaves: ops.concatenate(leaves), *outputs)
