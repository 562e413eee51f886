"""Attention of the rows that are forecast to what was read."""

from __future__ import annotations

from typing import Any

import keras

from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.mechanism import Mechanism


@keras.saving.register_keras_serializable("attention_apps.forecasting")
class HorizonAttention(keras.layers.Layer):
    """Every forecast row asks the past, then a feed-forward network; each with a residual.

    Keys are normalised and values are not: what is read stays in proportion to what was there.

    Args:
        dim: size of queries and of what is encoded.
        num_heads: number of attention heads.
        feedforward_dim: size of the inner feed-forward layer.
        dropout_rate: share dropped of what each half adds, in training.
        mechanism: how it attends; over everything and without positions.
        **kwargs: Keras's layer arguments.

    Call arguments:
        queries: `(batch, query, dim)`.
        encoded: `(batch, key, dim)`.
        training: whether to drop.

    Returns:
        `(batch, query, dim)`.

    Raises:
        ValueError: for a mechanism with a window or positions.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout_rate: float,
        mechanism: Mechanism,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not mechanism.attends_everywhere or mechanism.position is not None:
            raise ValueError(
                "Attention of forecast rows to the past takes no window and no rotary positions: "
                f"the two do not stand in one sequence. Received: {mechanism}"
            )
        self.dim = dim
        self.num_heads = num_heads
        self.feedforward_dim = feedforward_dim
        self.dropout_rate = dropout_rate
        self.mechanism = mechanism
        self.query_norm = keras.layers.LayerNormalization(epsilon=1e-5, name="query_norm")
        self.key_norm = keras.layers.LayerNormalization(epsilon=1e-5, name="key_norm")
        self.feedforward_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, name="feedforward_norm"
        )
        self.attention = MultiHeadAttention(
            num_heads, dim // num_heads, mechanism=mechanism, name="attention"
        )
        self.feedforward_inner = keras.layers.Dense(
            feedforward_dim, activation="relu", name="feedforward_inner"
        )
        self.feedforward_outer = keras.layers.Dense(dim, name="feedforward_outer")
        self.dropout = keras.layers.Dropout(dropout_rate, name="dropout")

    def build(self, queries_shape: Any, encoded_shape: Any) -> None:
        """Create the weights."""
        self.query_norm.build(queries_shape)
        self.key_norm.build(encoded_shape)
        self.attention.build(queries_shape, encoded_shape, encoded_shape)
        self.feedforward_norm.build(queries_shape)
        self.feedforward_inner.build(queries_shape)
        self.feedforward_outer.build((*queries_shape[:-1], self.feedforward_dim))

    def call(self, queries: Any, encoded: Any, training: bool | None = None) -> Any:
        """See the class."""
        context = self.attention(
            query=self.query_norm(queries),
            value=encoded,
            key=self.key_norm(encoded),
            training=training,
        )
        x = queries + self.dropout(context, training=training)
        inner = self.feedforward_inner(self.feedforward_norm(x))
        return x + self.dropout(self.feedforward_outer(inner), training=training)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this layer again."""
        return {
            **super().get_config(),
            "dim": self.dim,
            "num_heads": self.num_heads,
            "feedforward_dim": self.feedforward_dim,
            "dropout_rate": self.dropout_rate,
            "mechanism": keras.saving.serialize_keras_object(self.mechanism),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HorizonAttention:
        """Build the layer from what `get_config` returned."""
        mechanism = keras.saving.deserialize_keras_object(config["mechanism"])
        return cls(**{**config, "mechanism": mechanism})
