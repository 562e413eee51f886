"""Multi-head attention: a drop-in replacement for Keras's layer that takes a mechanism."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.folding import FoldedAxes
from attention_apps.attention.masking import attendable, merge_masks, with_axes
from attention_apps.attention.masks import causal, end_aligned_positions, window
from attention_apps.attention.mechanism import Mechanism
from attention_apps.attention.predicted_window import PredictedWindow
from attention_apps.attention.reporting import report
from attention_apps.attention.scoring import SCORINGS, add_declared


@keras.saving.register_keras_serializable("attention_apps")
class MultiHeadAttention(keras.layers.MultiHeadAttention):
    """Multi-head attention: Keras's layer plus the choice of a mechanism.

    Args:
        num_heads: number of heads.
        key_dim: size of a query or key of one head.
        mechanism: the `Mechanism`; by default scaled dot products over everything.
        **kwargs: Keras's arguments (`value_dim`, `dropout`, `use_bias`, `output_shape`,
            `attention_axes`, `sliding_window`, `use_gate`, initialisers, ...) with their meaning.

    Call arguments:
        query: `(batch, query, dim)`.
        value: `(batch, key, dim)`.
        key: `(batch, key, dim)`, by default `value`.
        query_mask: `(batch, query)` booleans; a masked query attends to nothing.
        value_mask, key_mask: `(batch, key)` booleans, True = may attend.
        attention_mask: `(batch, query, key)` booleans or broadcastable, True = may attend.
        return_attention_scores: also return the weights.
        use_causal_mask: forbid keys after the query, the last query standing at the last key.
        score_bias: added to the scores, broadcastable to `(batch, heads, query, key)`; for queries
            and keys of one sequence axis.

    Returns:
        `(batch, query, dim)`, and when asked for the weights `(batch, heads, query, key)`, float32,
        before dropout; each row sums to 1, or to 0 where nothing may be attended.

    Raises:
        ValueError: for a mechanism that does not fit the layer.

    Reference: Vaswani et al. 2017, "Attention Is All You Need".
    """

    def __init__(
        self, num_heads: int, key_dim: int, mechanism: Mechanism | None = None, **kwargs: Any
    ) -> None:
        super().__init__(num_heads, key_dim, **kwargs)
        self.mechanism = mechanism or Mechanism()

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        """Create the projections and what the scoring learns."""
        super().build(query_shape, value_shape, key_shape)
        if len(query_shape) != 3 and not self._is_plain():
            raise ValueError(
                "Attention over several axes takes scores and masks but no scope or positions. "
                f"Received: query of rank {len(query_shape)}, mechanism={self.mechanism}"
            )
        scoring, scope = SCORINGS[self.mechanism.scoring], self.mechanism.scope
        self._score_weights = add_declared(self, scoring.weights(self.num_heads, self.key_dim))
        self._scope_weights = (
            add_declared(self, scope.weights(self.num_heads, self.key_dim))
            if isinstance(scope, PredictedWindow)
            else {}
        )

    def _is_plain(self) -> bool:
        return self.mechanism.attends_everywhere and self.mechanism.position is None

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
        score_bias: Any = None,
    ) -> Any:
        """Attend; see the class."""
        if key is None:
            key = value
        mask = self._compute_attention_mask(
            query,
            value,
            query_mask=query_mask,
            value_mask=value_mask,
            key_mask=key_mask,
            attention_mask=attention_mask,
            use_causal_mask=use_causal_mask,
        )
        attendable_keys = merge_masks(value_mask, key_mask)
        if attention_mask is not None and len(query.shape) == 3:
            attendable_keys = ops.any(mask, axis=tuple(range(1, len(mask.shape) - 1)))
        if attendable_keys is not None:
            same = key is value
            value = attendable(value, attendable_keys)
            key = value if same else attendable(key, attendable_keys)
        if query_mask is not None:
            query = attendable(query, query_mask)
        # A subclass may override the method with Keras's own arguments alone.
        biased = {} if score_bias is None else {"score_bias": score_bias}
        context, weights = self._compute_attention(
            self.query_dense(query),
            self.key_dense(key),
            self.value_dense(value),
            mask,
            training,
            **biased,
        )
        output = self._finish(query, context)
        return (output, weights) if return_attention_scores else output

    def _compute_attention_mask(
        self,
        query: Any,
        value: Any,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        use_causal_mask: bool = False,
    ) -> Any:
        """AND all masks; `(batch, query, key)`-like booleans, or None when all is allowed."""
        scopes = []
        if use_causal_mask:
            self._refuse_prediction_in_one_sequence()
            scopes.append(causal())
        if self._sliding_window is not None:
            scopes.append(window(self._sliding_window))
        if self.mechanism.mask is not None:
            scopes.append(self.mechanism.mask)
        lengths = ops.shape(query)[1], ops.shape(value)[1]
        mask = merge_masks(
            None if query_mask is None else query_mask[..., :, None],
            None if value_mask is None else value_mask[..., None, :],
            None if key_mask is None else key_mask[..., None, :],
            *(scope.dense(*lengths)[None] for scope in scopes),
        )
        if attention_mask is not None and len(query.shape) == 3:
            attention_mask = ops.convert_to_tensor(attention_mask)
            attention_mask = with_axes(attention_mask, 3)
            if mask is not None and len(attention_mask.shape) == 4:
                mask = mask[:, None]
        return merge_masks(mask, attention_mask)

    def _compute_attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        score_bias: Any = None,
    ) -> tuple[Any, Any]:
        """Keras's documented override point: projected tensors in, context and weights out."""
        if use_causal_mask:
            attention_mask = merge_masks(
                attention_mask, causal().dense(query.shape[1], key.shape[1])
            )
        if self.mechanism.position is not None:
            query_positions, key_positions = end_aligned_positions(
                ops.shape(query)[1], ops.shape(key)[1]
            )
            query = self.mechanism.position.rotate(query, query_positions)
            key = self.mechanism.position.rotate(key, key_positions)
        if len(query.shape) == 4:
            mask = self._with_heads_axis(attention_mask)
            return self._attend(query, key, value, mask, training, score_bias)
        if score_bias is not None:
            raise ValueError(
                "A bias of scores needs queries and keys of one axis. "
                f"Received: score_bias with projected queries of rank {len(query.shape)}"
            )
        return self._attend_over_axes(query, key, value, attention_mask, training)

    def _attend(
        self,
        query: Any,
        key: Any,
        value: Any,
        mask: Any,
        training: bool | None,
        score_bias: Any = None,
    ) -> tuple[Any, Any]:
        context, weights = dense_attention(
            query,
            key,
            value,
            mechanism=self.mechanism,
            mask=mask,
            score_bias=score_bias,
            score_weights=self._score_weights,
            scope_weights=self._scope_weights,
            dropout=(lambda weights: self._dropout_layer(weights, training=training))
            if self.dropout > 0.0
            else None,
        )
        report(self, weights)
        return context, weights

    @staticmethod
    def _with_heads_axis(mask: Any) -> Any:
        """From `(batch, query, key)` or fewer axes to `(batch, heads, query, key)`."""
        if mask is None or len(mask.shape) == 4:
            return mask
        return with_axes(ops.convert_to_tensor(mask), 3)[:, None]

    def _attend_over_axes(
        self, query: Any, key: Any, value: Any, mask: Any, training: bool | None
    ) -> tuple[Any, Any]:
        """Attention over several or inner axes: fold them into one, attend, unfold."""
        axes = FoldedAxes(len(query.shape), self._attention_axes)
        (query, outer, query_axes), (key, _, key_axes) = axes.fold(query), axes.fold(key)
        value, _, _ = axes.fold(value)
        mask = axes.fold_mask(mask, outer, query_axes, key_axes)
        context, weights = self._attend(query, key, value, mask, training)
        return (
            axes.unfold(context, outer, query_axes),
            axes.unfold_weights(weights, outer, query_axes, key_axes),
        )

    def project(self, value: Any, key: Any = None, key_mask: Any = None) -> dict[str, Any]:
        """Project keys and values once, for decoding that attends to them at every step.

        Args:
            value: `(batch, key, dim)`.
            key: `(batch, key, dim)`, by default `value`.
            key_mask: `(batch, key)` booleans, True = may attend.

        Returns:
            `key` `(batch, key, heads, dim)` and `value` `(batch, key, heads, value dim)`.
        """
        key = value if key is None else key
        if key_mask is not None:
            key, value = attendable(key, key_mask), attendable(value, key_mask)
        return {"key": self.key_dense(key), "value": self.value_dense(value)}

    def empty_cache(self, batch_size: Any, max_length: int) -> dict[str, Any]:
        """A cache of keys and values for `max_length` positions.

        Args:
            batch_size: number of rows, an int or a scalar tensor.
            max_length: number of positions.

        Returns:
            `key` and `value` of shape `(batch, max_length, heads, dim)`, zeros.
        """
        shape = (batch_size, max_length, self.num_heads)
        return {
            "key": ops.zeros((*shape, self.key_dim), dtype=self.compute_dtype),
            "value": ops.zeros((*shape, self.value_dim), dtype=self.compute_dtype),
        }

    def step(self, query: Any, cache: dict[str, Any], position: Any) -> tuple[Any, Any, Any]:
        """Causal self-attention of one new position over a cache.

        Args:
            query: `(batch, 1, dim)`, the new position.
            cache: as `empty_cache` gives it, filled up to `position`.
            position: index of the new position, a scalar.

        Returns:
            Output `(batch, 1, dim)`, the cache with the new position, and the weights
            `(batch, heads, 1, max_length)`.
        """
        self._refuse_prediction_in_one_sequence()
        start = (0, position, 0, 0)
        query_positions = ops.reshape(ops.cast(position, "int32"), (1,))
        key_positions = ops.arange(cache["key"].shape[1], dtype="int32")
        projected_query, new_key = self.query_dense(query), self.key_dense(query)
        if self.mechanism.position is not None:
            projected_query = self.mechanism.position.rotate(projected_query, query_positions)
            new_key = self.mechanism.position.rotate(new_key, query_positions)
        cache = {
            "key": ops.slice_update(cache["key"], start, new_key),
            "value": ops.slice_update(cache["value"], start, self.value_dense(query)),
        }
        scope = causal() if self.mechanism.mask is None else self.mechanism.mask & causal()
        mask = scope.allowed(query_positions[:, None], key_positions[None, :])
        context, weights = self._attend(
            projected_query, cache["key"], cache["value"], mask[None, None], False
        )
        return self._finish(query, context), cache, weights

    def _refuse_prediction_in_one_sequence(self) -> None:
        if self.mechanism.predicts_scope:
            raise ValueError(
                "local-p predicts a place in another sequence; in its own a query knows its place. "
                f"Received: causal attention with {self.mechanism.scope}. Use window:SIZE."
            )

    def attend(
        self, query: Any, projected: dict[str, Any], key_mask: Any = None
    ) -> tuple[Any, Any]:
        """Cross-attention to keys and values that `project` gave.

        Args:
            query: `(batch, query, dim)`.
            projected: `key` and `value`, `(batch, key, heads, dim)`.
            key_mask: `(batch, key)` booleans, True = may attend.

        Returns:
            Output `(batch, query, dim)` and the weights `(batch, heads, query, key)`.
        """
        mask = None if key_mask is None else key_mask[:, None, None, :]
        context, weights = self._attend(
            self.query_dense(query), projected["key"], projected["value"], mask, False
        )
        return self._finish(query, context), weights

    def _finish(self, query: Any, context: Any) -> Any:
        return self.output_dense(context * self._gate_dense(query) if self._use_gate else context)

    def compute_output_spec(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
        score_bias: Any = None,
    ) -> Any:
        """Symbolic shapes: those of the output and, when asked for, of the weights."""
        key = value if key is None else key
        output = keras.KerasTensor(
            self.compute_output_shape(query.shape, value.shape, key.shape), self.compute_dtype
        )
        if not return_attention_scores:
            return output
        axes = self._attention_axes or tuple(range(1, len(query.shape) - 1))
        kept = tuple(query.shape[axis] for axis in range(len(query.shape) - 1) if axis not in axes)
        weights_shape = (
            *kept,
            self.num_heads,
            *(query.shape[axis] for axis in axes),
            *(key.shape[axis] for axis in axes),
        )
        return output, keras.KerasTensor(weights_shape, "float32")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this layer again."""
        return {
            **super().get_config(),
            "flash_attention": self._flash_attention or None,
            "mechanism": keras.saving.serialize_keras_object(self.mechanism),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MultiHeadAttention:
        """Build the layer from what `get_config` returned."""
        mechanism = config.get("mechanism")
        return cls(**{**config, "mechanism": keras.saving.deserialize_keras_object(mechanism)})
