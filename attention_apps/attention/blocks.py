"""Pre-norm Transformer blocks over any mechanism; causality belongs to the block, not to a flag.

Reference: Vaswani et al. 2017, "Attention Is All You Need"; pre-norm as in Xiong et al. 2020, "On
Layer Normalization in the Transformer Architecture".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.mechanism import Mechanism, refuse_positions_across
from attention_apps.attention.reporting import report_states


class _Block(keras.layers.Layer):
    """What all blocks hold: sizes, their config, self-attention and the feed-forward half."""

    def __init__(
        self,
        *,
        num_heads: int,
        key_dim: int,
        feedforward_dim: int,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        activation: str = "relu",
        mechanism: Mechanism | None = None,
        rematerialize: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rematerialize = rematerialize
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.feedforward_dim = feedforward_dim
        self.dropout_rate = dropout_rate
        self.attention_dropout_rate = attention_dropout_rate
        self.activation = activation
        self.mechanism = mechanism or Mechanism()
        if self.mechanism.predicts_scope:
            raise ValueError(
                "local-p predicts a place in another sequence; in its own a query knows its place. "
                f"Received: mechanism={self.mechanism}. Use window:SIZE."
            )
        if rematerialize and (
            dropout_rate or attention_dropout_rate or self.mechanism.normalizer.draws
        ):
            raise ValueError(
                "What is computed twice must be the same twice, and Keras draws anew: a block with "
                "rematerialize=True takes no dropout and no noise. "
                f"Received: dropout_rate={dropout_rate}, "
                f"attention_dropout_rate={attention_dropout_rate}, mechanism={self.mechanism}"
            )
        self.supports_masking = True
        self.self_attention = self._attention("self_attention", self.mechanism)
        self.self_attention_norm = self._norm("self_attention_norm")
        self.feedforward_norm = self._norm("feedforward_norm")
        self.feedforward_inner = keras.layers.Dense(
            feedforward_dim,
            activation=activation,
            dtype=self.dtype_policy,
            name="feedforward_inner",
        )
        self.residual_dropout = keras.layers.Dropout(
            dropout_rate, dtype=self.dtype_policy, name="residual_dropout"
        )

    def _attention(self, name: str, mechanism: Mechanism) -> MultiHeadAttention:
        return MultiHeadAttention(
            self.num_heads,
            self.key_dim,
            mechanism=mechanism,
            dropout=self.attention_dropout_rate,
            dtype=self.dtype_policy,
            name=name,
        )

    def _norm(self, name: str) -> keras.layers.Layer:
        return keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name=name)

    def _build_halves(self, shape: Any) -> None:
        self.self_attention_norm.build(shape)
        self.self_attention.build(shape, shape)
        self.feedforward_norm.build(shape)
        self.feedforward_inner.build(shape)
        self.feedforward_outer = keras.layers.Dense(
            shape[-1], dtype=self.dtype_policy, name="feedforward_outer"
        )
        self.feedforward_outer.build((*shape[:-1], self.feedforward_dim))

    def _attend_to_itself(
        self,
        x: Any,
        key_mask: Any,
        training: bool | None,
        *,
        use_causal_mask: bool = False,
        score_bias: Any = None,
    ) -> Any:
        normed = self.self_attention_norm(x)
        attended = self.self_attention(
            query=normed,
            value=normed,
            key_mask=key_mask,
            use_causal_mask=use_causal_mask,
            score_bias=score_bias,
            training=training,
        )
        return x + self.residual_dropout(attended, training=training)

    def _computed(self, compute: Callable[..., Any], training: bool | None, *inputs: Any) -> Any:
        """`compute(*inputs)`; with `rematerialize` nothing of it is kept for the backward pass."""
        if self.rematerialize and training:
            return keras.remat(compute)(*inputs)
        return compute(*inputs)

    def _feed_forward(self, x: Any, training: bool | None) -> Any:
        inner = self.feedforward_inner(self.feedforward_norm(x))
        return x + self.residual_dropout(self.feedforward_outer(inner), training=training)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this block again."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "feedforward_dim": self.feedforward_dim,
            "dropout_rate": self.dropout_rate,
            "attention_dropout_rate": self.attention_dropout_rate,
            "activation": self.activation,
            "mechanism": keras.saving.serialize_keras_object(self.mechanism),
            "rematerialize": self.rematerialize,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Build the block from what `get_config` returned."""
        mechanisms = {
            name: keras.saving.deserialize_keras_object(value)
            for name, value in config.items()
            if name.endswith("mechanism")
        }
        return cls(**{**config, **mechanisms})


@keras.saving.register_keras_serializable("attention_apps")
class EncoderBlock(_Block):
    """Self-attention over the whole input, then a feed-forward network, each with a residual.

    Args:
        num_heads: number of heads.
        key_dim: size of a query or key of one head.
        feedforward_dim: size of the inner feed-forward layer.
        dropout_rate: share dropped of what each half adds to the residual.
        attention_dropout_rate: share dropped of the weights.
        activation: of the inner feed-forward layer.
        mechanism: of the self-attention.
        rematerialize: in training keep nothing of the block but its inputs, and compute it again
            for the backward pass: less memory, about a third more time.
        **kwargs: Keras's layer arguments.

    Call arguments:
        x: `(batch, length, dim)`.
        key_mask: `(batch, length)` booleans, True = may attend.
        score_bias: added to the scores, broadcastable to `(batch, heads, query, key)`.
        training: whether to drop.

    Returns:
        `(batch, length, dim)`.
    """

    def build(self, x_shape: Any) -> None:
        """Create the weights."""
        self._build_halves(x_shape)

    def call(
        self, x: Any, key_mask: Any = None, score_bias: Any = None, training: bool | None = None
    ) -> Any:
        """Attend, then feed forward."""

        def compute(x: Any, *score_bias: Any) -> Any:
            bias = score_bias[0] if score_bias else None
            x = self._attend_to_itself(x, key_mask, training, score_bias=bias)
            return self._feed_forward(x, training)

        inputs = (x,) if score_bias is None else (x, score_bias)
        return report_states(self, self._computed(compute, training, *inputs))


@keras.saving.register_keras_serializable("attention_apps")
class CausalBlock(_Block):
    """Causal self-attention, then a feed-forward network: a decoder with nothing to decode from.

    Args:
        num_heads: number of heads.
        key_dim: size of a query or key of one head.
        feedforward_dim: size of the inner feed-forward layer.
        dropout_rate: share dropped of what each half adds to the residual.
        attention_dropout_rate: share dropped of the weights.
        activation: of the inner feed-forward layer.
        mechanism: of the self-attention; causality is added to its scope.
        rematerialize: in training keep nothing of the block but its inputs, and compute it again
            for the backward pass: less memory, about a third more time.
        **kwargs: Keras's layer arguments.

    Call arguments:
        x: `(batch, length, dim)`.
        key_mask: `(batch, length)` booleans, True = may attend.
        score_bias: added to the scores, broadcastable to `(batch, heads, query, key)`.
        training: whether to drop.

    Returns:
        `(batch, length, dim)`.

    Reference: Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training".
    """

    def build(self, x_shape: Any) -> None:
        """Create the weights."""
        self._build_halves(x_shape)

    def call(
        self, x: Any, key_mask: Any = None, score_bias: Any = None, training: bool | None = None
    ) -> Any:
        """Attend to what came before, then feed forward."""

        def compute(x: Any, *score_bias: Any) -> Any:
            bias = score_bias[0] if score_bias else None
            x = self._attend_to_itself(x, key_mask, training, use_causal_mask=True, score_bias=bias)
            return self._feed_forward(x, training)

        inputs = (x,) if score_bias is None else (x, score_bias)
        return report_states(self, self._computed(compute, training, *inputs))


@keras.saving.register_keras_serializable("attention_apps")
class DecoderBlock(_Block):
    """Causal self-attention, cross-attention to what was encoded, then a feed-forward network.

    Args:
        num_heads: number of heads.
        key_dim: size of a query or key of one head.
        feedforward_dim: size of the inner feed-forward layer.
        dropout_rate: share dropped of what each half adds to the residual.
        attention_dropout_rate: share dropped of the weights.
        activation: of the inner feed-forward layer.
        mechanism: of the self-attention; causality is added to its scope.
        cross_mechanism: of the cross-attention, over everything or a predicted window.
        rematerialize: in training keep nothing of the block but its inputs, and compute it again
            for the backward pass: less memory, about a third more time.
        **kwargs: Keras's layer arguments.

    Call arguments:
        x: `(batch, target, dim)`.
        encoded: `(batch, source, dim)`.
        encoded_mask: `(batch, source)` booleans, True = may attend.
        training: whether to drop.

    Returns:
        `(batch, target, dim)`.

    Raises:
        ValueError: when the cross-attention is given a window or rotary positions: positions of
            two sequences cannot be compared.
    """

    def __init__(
        self,
        *,
        cross_mechanism: Mechanism | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cross_mechanism = cross_mechanism or Mechanism()
        refuse_positions_across(self.cross_mechanism)
        self.cross_attention = self._attention("cross_attention", self.cross_mechanism)
        self.cross_attention_norm = self._norm("cross_attention_norm")

    def build(self, x_shape: Any, encoded_shape: Any) -> None:
        """Create the weights."""
        self._build_halves(x_shape)
        self.cross_attention_norm.build(x_shape)
        self.cross_attention.build(x_shape, encoded_shape)

    def call(
        self, x: Any, encoded: Any, encoded_mask: Any = None, training: bool | None = None
    ) -> Any:
        """Attend to oneself, attend across, then feed forward."""

        def compute(x: Any, encoded: Any) -> Any:
            x = self._attend_to_itself(x, None, training, use_causal_mask=True)
            attended = self.cross_attention(
                query=self.cross_attention_norm(x),
                value=encoded,
                key_mask=encoded_mask,
                training=training,
            )
            x = x + self.residual_dropout(attended, training=training)
            return self._feed_forward(x, training)

        return report_states(self, self._computed(compute, training, x, encoded))

    def step(
        self, x: Any, cache: dict[str, Any], position: Any, projected: Any, encoded_mask: Any
    ) -> tuple[Any, dict[str, Any], Any]:
        """Decode one position with cached keys and values; equals `call` at that position.

        Args:
            x: `(batch, 1, dim)`.
            cache: of the self-attention, from its `empty_cache`.
            position: index of this position, a scalar.
            projected: what `cross_attention.project(encoded)` gave.
            encoded_mask: `(batch, source)` booleans, True = may attend.

        Returns:
            `(batch, 1, dim)`, the new cache, and cross-attention weights
            `(batch, heads, 1, source)`.
        """
        attended, cache, _ = self.self_attention.step(self.self_attention_norm(x), cache, position)
        x = x + attended
        attended, weights = self.cross_attention.attend(
            self.cross_attention_norm(x), projected, encoded_mask
        )
        return self._feed_forward(x + attended, False), cache, weights

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this block again."""
        return {
            **super().get_config(),
            "cross_mechanism": keras.saving.serialize_keras_object(self.cross_mechanism),
        }
