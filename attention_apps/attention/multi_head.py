"""Multi-head attention: a drop-in replacement for Keras's layer that takes a mechanism."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attention_apps.attention.adaptive_span import AdaptiveSpan
from attention_apps.attention.algorithms.choices import Algorithm, Dense, Linear, LowRank
from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.algorithms.linear import linear_weights
from attention_apps.attention.algorithms.low_rank import low_rank_weights
from attention_apps.attention.cached_steps import CachedSteps
from attention_apps.attention.choosing import Call, choose_algorithm, run_algorithm
from attention_apps.attention.folding import FoldedAxes
from attention_apps.attention.grouped_heads import projection, refuse_groups, shared_out
from attention_apps.attention.hard import gumbel_noise
from attention_apps.attention.masking import attendable, merge_masks, with_axes
from attention_apps.attention.masks import causal, end_aligned_positions, window
from attention_apps.attention.mechanism import Mechanism
from attention_apps.attention.multi_scale import MultiScale
from attention_apps.attention.predicted_window import PredictedWindow
from attention_apps.attention.projections import by_row
from attention_apps.attention.reporting import is_listened, report
from attention_apps.attention.score_shaping import qk_norm, qk_norm_weights
from attention_apps.attention.scoring import SCORINGS, add_declared


@keras.saving.register_keras_serializable("attention_apps")
class MultiHeadAttention(CachedSteps, keras.layers.MultiHeadAttention):
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
        refuse_groups(self.num_heads, self.mechanism.num_key_value_heads or self.num_heads)
        # Made here and not when the module is read, so that the global seed counts.
        self._noise_seed = (
            keras.random.SeedGenerator(self.seed) if self.mechanism.normalizer.draws else None
        )

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        """Create the projections and what the scoring learns."""
        if len(query_shape) != 3 and not self._is_plain():
            raise ValueError(
                "Attention over several axes takes scores and masks but no scope, no positions, "
                "no groups of heads and no algorithm but dense. "
                f"Received: query of rank {len(query_shape)}, mechanism={self.mechanism}"
            )
        if self.mechanism.num_key_value_heads is None:
            super().build(query_shape, value_shape, key_shape)
        else:
            self._build_groups(query_shape, value_shape, key_shape or value_shape)
        sizes = (self.num_heads, self.key_dim)
        mechanism = self.mechanism
        scope, position, algorithm = mechanism.scope, mechanism.position, mechanism.algorithm
        self._score_weights = add_declared(self, SCORINGS[mechanism.scoring].weights(*sizes))
        self._scope_weights = (
            add_declared(self, scope.weights(*sizes))
            if isinstance(scope, PredictedWindow | AdaptiveSpan)
            else {}
        )
        self._position_weights = add_declared(self, position.weights(*sizes)) if position else {}
        self._norm_weights = (
            add_declared(self, qk_norm_weights(self.key_dim)) if mechanism.qk_norm else {}
        )
        self._algorithm_weights: dict[str, Any] = {}
        if isinstance(algorithm, LowRank):
            declared = low_rank_weights(algorithm.rank, algorithm.length)
            self._algorithm_weights = add_declared(self, declared)
        elif isinstance(algorithm, Linear):
            declared = linear_weights(algorithm.features, self.key_dim)
            self._algorithm_weights = add_declared(self, declared, trainable=False)

    def _build_groups(self, query_shape: Any, value_shape: Any, key_shape: Any) -> None:
        """What Keras's `build` makes, in its order, with fewer heads of keys and values."""
        groups = self.mechanism.num_key_value_heads
        assert groups is not None

        def project(name: str, num_heads: int, dim: int, shape: Any, **activation: str) -> Any:
            # Asked for anew each time: an initializer may not be used twice.
            shared = self._get_common_kwargs_for_sublayer()
            layer = projection(
                num_heads, dim, use_bias=self._use_bias, name=name, **shared, **activation
            )
            layer.build(shape)
            return layer

        heads, dim = self.num_heads, self.value_dim
        self._query_dense = project("query", heads, self.key_dim, query_shape)
        self._key_dense = project("key", groups, self.key_dim, key_shape)
        if self._use_gate:
            self._gate_dense = project("gate", heads, dim, query_shape, activation="sigmoid")
        self._value_dense = project("value", groups, dim, value_shape)
        self._build_attention(4)
        shared = self._get_common_kwargs_for_sublayer()
        self._output_dense = self._make_output_dense(query_shape, shared, "attention_output")
        self._output_dense.build((*query_shape[:2], heads, dim))

    def _is_plain(self) -> bool:
        mechanism = self.mechanism
        return (
            mechanism.attends_everywhere
            and mechanism.position is None
            and mechanism.num_key_value_heads is None
            and mechanism.algorithm.name in ("auto", "dense")
        )

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
        call = Call(
            lengths=(query.shape[1], value.shape[1]),
            causal=use_causal_mask,
            scope=window(self._sliding_window) if self._sliding_window is not None else None,
            query_mask=query_mask,
            key_mask=merge_masks(value_mask, key_mask),
            has_dense_mask=attention_mask is not None,
            has_score_bias=score_bias is not None,
            drops=bool(training) and self.dropout > 0.0,
            is_overridden=self._is_overridden() or len(query.shape) != 3,
        )
        algorithm = choose_algorithm(self.mechanism, call)
        is_dense = isinstance(algorithm, Dense) and not isinstance(self.mechanism.scope, MultiScale)
        mask, attendable_keys = None, call.key_mask
        if is_dense:
            mask = self._compute_attention_mask(
                query,
                value,
                query_mask=query_mask,
                value_mask=value_mask,
                key_mask=key_mask,
                attention_mask=attention_mask,
                use_causal_mask=use_causal_mask,
            )
            if attention_mask is not None and len(query.shape) == 3:
                attendable_keys = ops.any(mask, axis=tuple(range(1, len(mask.shape) - 1)))
        if attendable_keys is not None:
            same = key is value
            value = attendable(value, attendable_keys)
            key = value if same else attendable(key, attendable_keys)
        if query_mask is not None:
            query = attendable(query, query_mask)
        projected = (
            by_row(self.query_dense, query),
            shared_out(by_row(self.key_dense, key), self.num_heads),
            shared_out(by_row(self.value_dense, value), self.num_heads),
        )
        if is_dense:
            # A subclass may override the method with Keras's own arguments alone.
            biased = {} if score_bias is None else {"score_bias": score_bias}
            context, weights = self._compute_attention(*projected, mask, training, **biased)
        else:
            wanted = return_attention_scores or is_listened()
            context, weights = self._attend_by(algorithm, call, *projected, training, wanted)
        self._penalize_scope(training)
        output = self._finish(query, context)
        return (output, weights) if return_attention_scores else output

    def _is_overridden(self) -> bool:
        ours = MultiHeadAttention._compute_attention
        return type(self)._compute_attention is not ours

    def _penalize_scope(self, training: bool | None) -> None:
        scope = self.mechanism.scope
        if training and isinstance(scope, AdaptiveSpan) and scope.penalty:
            self.add_loss(scope.loss(self._scope_weights["span"]))

    def _attend_by(
        self,
        algorithm: Algorithm,
        call: Call,
        query: Any,
        key: Any,
        value: Any,
        training: bool | None,
        wanted: bool,
    ) -> tuple[Any, Any]:
        """Attend by an algorithm that holds no matrix; its weights are computed when wanted."""
        query_positions, key_positions = end_aligned_positions(
            ops.shape(query)[1], ops.shape(key)[1]
        )
        query, key = (
            self._placed(query, "query", query_positions),
            self._placed(key, "key", key_positions),
        )
        context, weights = run_algorithm(
            self.mechanism,
            algorithm,
            call,
            query,
            key,
            value,
            weights=self._learned(),
            wanted=wanted,
            dropout=self._dropping(training),
            noise=self._drawing(training),
        )
        if weights is not None:
            report(self, weights)
        return context, weights

    def _learned(self) -> dict[str, dict[str, Any]]:
        return {
            "score_weights": self._score_weights,
            "scope_weights": self._scope_weights,
            "position_weights": self._position_weights,
            "algorithm_weights": self._algorithm_weights,
        }

    def _dropping(self, training: bool | None) -> Any:
        if self.dropout > 0.0:
            return lambda weights: self._dropout_layer(weights, training=training)
        return None

    def _drawing(self, training: bool | None) -> Any:
        if training and self._noise_seed is not None:
            return lambda shape: gumbel_noise(shape, self._noise_seed)
        return None

    def _placed(self, vectors: Any, role: str, positions: Any) -> Any:
        """Projected queries or keys, brought to one length and turned by their positions."""
        if self.mechanism.qk_norm:
            vectors = qk_norm(vectors, self._norm_weights[f"{role}_gain"])
        if self.mechanism.position is not None and positions is not None:
            vectors = self.mechanism.position.rotate(vectors, positions)
        return vectors

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
        if len(query.shape) == 4:
            query_positions, key_positions = end_aligned_positions(
                ops.shape(query)[1], ops.shape(key)[1]
            )
            return self._attend(
                self._placed(query, "query", query_positions),
                self._placed(key, "key", key_positions),
                value,
                self._with_heads_axis(attention_mask),
                training,
                score_bias,
                key_positions[None] - query_positions[:, None],
            )
        query, key = self._placed(query, "query", None), self._placed(key, "key", None)
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
        distances: Any = None,
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
            position_weights=self._position_weights,
            distances=distances,
            dropout=self._dropping(training),
            noise=self._drawing(training),
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

    def _refuse_prediction_in_one_sequence(self) -> None:
        if self.mechanism.predicts_scope:
            raise ValueError(
                "local-p predicts a place in another sequence; in its own a query knows its place. "
                f"Received: causal attention with {self.mechanism.scope}. Use window:SIZE."
            )

    def _finish(self, query: Any, context: Any) -> Any:
        if self._use_gate:
            context = context * by_row(self._gate_dense, query)
        return by_row(self.output_dense, context)

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
