"""How long ago an item was taken, as a bias of the scores of attention."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

NUM_BUCKETS = 28
"""Gaps up to 2^27 seconds, four years, have buckets of their own; longer ones share the last."""


@keras.saving.register_keras_serializable("attention_apps.recommendation")
class RelativeTime(keras.layers.Layer):
    """A learned bias `b_h[floor(log2(1 + |t_query - t_key|))]` for every head.

    Args:
        num_heads: number of heads.
        **kwargs: Keras's layer arguments.

    Call arguments:
        times: `(batch, length)` int32 seconds, all from one moment.

    Returns:
        `(batch, heads, query, key)`.

    Reference: Zhai et al. 2024, "Actions Speak Louder than Words: Trillion-Parameter Sequential
    Transducers for Generative Recommendations" (relative attention bias), without the time of what
    is to be predicted.
    """

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def build(self, input_shape: Any) -> None:
        """Create the table of biases."""
        self.biases = self.add_weight(
            name="biases", shape=(NUM_BUCKETS, self.num_heads), initializer="zeros"
        )

    def call(self, times: Any) -> Any:
        """Look up the bias of every pair."""
        gaps = ops.abs(times[:, :, None] - times[:, None, :])
        buckets = ops.log(ops.cast(gaps, "float32") + 1.0) * (1.0 / math.log(2.0))
        # A power of two must not fall below itself by rounding.
        buckets = ops.cast(ops.floor(buckets + 1e-5), "int32")
        chosen = ops.take(self.biases, ops.minimum(buckets, NUM_BUCKETS - 1), axis=0)
        return ops.transpose(chosen, (0, 3, 1, 2))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this layer again."""
        return {**super().get_config(), "num_heads": self.num_heads}
