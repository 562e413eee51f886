"""Grouped-query attention under the names of Keras's layer, with the choice of a mechanism."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras

from attention_apps.attention.mechanism import Mechanism
from attention_apps.attention.multi_head import MultiHeadAttention


@keras.saving.register_keras_serializable("attention_apps")
class GroupedQueryAttention(MultiHeadAttention):
    """Multi-head attention whose query heads share fewer heads of keys and values.

    Keras's `GroupQueryAttention` with a mechanism: its arguments, its weights in its order. What a
    cache holds and what the projections of keys and values cost falls to `num_key_value_heads /
    num_query_heads`; scores are as many as ever. One head of keys and values is multi-query
    attention (Shazeer 2019), as many as of queries is multi-head attention.

    Args:
        head_dim: size of a query, key or value of one head.
        num_query_heads: number of query heads, a multiple of `num_key_value_heads`.
        num_key_value_heads: number of heads of keys and values.
        mechanism: the `Mechanism`; by default scaled dot products over everything.
        **kwargs: Keras's arguments (`dropout`, `use_bias`, `sliding_window`, `use_gate`,
            initialisers, ...) with their meaning.

    Call arguments, returns: as `MultiHeadAttention`, with weights of every query head.

    Raises:
        ValueError: for heads that cannot be shared out evenly, and for a mechanism that does not
            fit the layer.

    Reference: Ainslie et al. 2023, "GQA: Training Generalized Multi-Query Transformer Models from
    Multi-Head Checkpoints".
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        mechanism: Mechanism | None = None,
        **kwargs: Any,
    ) -> None:
        mechanism = replace(mechanism or Mechanism(), num_key_value_heads=num_key_value_heads)
        super().__init__(num_query_heads, head_dim, mechanism=mechanism, **kwargs)
        self.head_dim = head_dim
        self.num_query_heads = num_query_heads
        self.num_key_value_heads = num_key_value_heads
        self.sliding_window = self._sliding_window

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this layer again."""
        renamed = {"num_heads": "num_query_heads", "key_dim": "head_dim"}
        config = {renamed.get(name, name): value for name, value in super().get_config().items()}
        # What Keras's layer does not take either: a value has the size of a key.
        for name in ("value_dim", "output_shape", "attention_axes"):
            del config[name]
        return {**config, "num_key_value_heads": self.num_key_value_heads}
