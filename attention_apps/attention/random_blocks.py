"""Blocks of keys that a block of queries attends to by chance, the same after every reload."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops

from attention_apps.attention.masks import Mask


@cache
def _table(count: int, num_blocks: int, seed: int) -> np.ndarray:
    """Which block of keys each block of queries may attend to, `(blocks, blocks)` booleans."""
    rng = np.random.default_rng(seed)
    table = np.zeros((num_blocks, num_blocks), bool)
    for row in table:
        row[rng.choice(num_blocks, size=min(count, num_blocks), replace=False)] = True
    return table


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class RandomBlocks(Mask):
    """Every block of `size` queries may attend to `count` blocks of `size` keys, drawn once.

    With a window and global tokens the pattern of BigBird. The draw belongs to `seed`, which is
    saved with the layer; positions from `length` on have no random blocks.

    Args:
        count: blocks of keys per block of queries.
        size: positions in a block.
        length: positions for which blocks are drawn.
        seed: of the draw.

    Reference: Zaheer et al. 2020, "Big Bird: Transformers for Longer Sequences".
    """

    count: int
    size: int = 64
    length: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse no blocks."""
        for name in ("count", "size", "length"):
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise ValueError(
                    f"`{name}` of random blocks is a whole number of at least 1. "
                    f"Received: {number!r}"
                )

    @property
    def num_blocks(self) -> int:
        """Number of blocks for which others are drawn."""
        return -(-self.length // self.size)

    def allowed(self, query_positions: Any, key_positions: Any) -> Any:
        """See `Mask.allowed`."""
        query_block = ops.floor_divide(query_positions, self.size)
        key_block = ops.floor_divide(key_positions, self.size)
        # A border of blocks that may attend to nothing takes the positions beyond.
        table = np.pad(_table(self.count, self.num_blocks, self.seed), (0, 1))
        last = self.num_blocks
        row = ops.where(query_block < 0, last, ops.minimum(query_block, last))
        column = ops.where(key_block < 0, last, ops.minimum(key_block, last))
        cells = ops.reshape(ops.convert_to_tensor(table), (-1,))
        return ops.take(cells, row * (last + 1) + column, axis=0)

    def touches(self, query_span: Any, key_span: Any) -> np.ndarray:
        """See `Mask.touches`."""
        table = np.pad(_table(self.count, self.num_blocks, self.seed), (0, 1))

        def blocks(span: Any) -> tuple[np.ndarray, np.ndarray]:
            first, last = (np.clip(edge // self.size, 0, self.num_blocks) for edge in span)
            return first, last

        (q_first, q_last), (k_first, k_last) = blocks(query_span), blocks(key_span)
        # How many allowed cells each rectangle of blocks holds, from running sums.
        sums = np.pad(table.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        return (
            sums[q_last + 1, k_last + 1]
            - sums[q_first, k_last + 1]
            - sums[q_last + 1, k_first]
            + sums[q_first, k_first]
        ) > 0

    def __str__(self) -> str:
        """Write the expression that builds this mask."""
        return f"random_blocks({self.count}, {self.size}, {self.length}, {self.seed})"
