"""Attention of a recurrent decoder: the keys are prepared once, a query comes with every step."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.mechanism import Mechanism, refuse_positions_across
from attention_apps.attention.multi_scale import MultiScale
from attention_apps.attention.predicted_window import PredictedWindow
from attention_apps.attention.reporting import report
from attention_apps.attention.scoring import SCORINGS, add_declared


@keras.saving.register_keras_serializable("attention_apps")
class StepwiseAttention(keras.layers.Layer):
    """Attention with one head from states of a decoder to what was encoded.

    Additive scoring projects queries and keys, the other scorings compare them as they are. The
    context is the encoded positions averaged by the weights.

    `call` attends with all queries at once and reports its weights. A loop over time calls
    `project` before, `attend` in every step, and reports the weights of all steps behind itself:
    out of a loop nothing can be reported.

    Args:
        mechanism: of the attention; over everything or a predicted window, without positions.
        **kwargs: Keras's layer arguments.

    Call arguments:
        query: `(batch, query, dim)`.
        encoded: `(batch, key, encoded dim)`, of the query's size unless scoring is additive.
        key_mask: `(batch, key)` booleans, True = may attend.

    Returns:
        Context `(batch, query, encoded dim)` and weights `(batch, heads=1, query, key)`.

    Raises:
        ValueError: for a window or rotary positions, and for sizes that cannot be compared.

    Reference: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and
    Translate" (additive); Luong et al. 2015, "Effective Approaches to Attention-based NMT" (dot,
    general, local-p).
    """

    def __init__(self, *, mechanism: Mechanism | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mechanism = mechanism or Mechanism()
        refuse_positions_across(self.mechanism)
        if (
            self.mechanism.algorithm.name not in ("auto", "dense")
            or isinstance(self.mechanism.scope, MultiScale)
            or self.mechanism.qk_norm
            or self.mechanism.num_key_value_heads is not None
            or self.mechanism.normalizer.draws
        ):
            raise ValueError(
                "Attention in a loop over time has one head and one query at a time: it takes no "
                "scales, no QK-norm, no groups of heads, no other algorithm and no noise. "
                f"Received: mechanism={self.mechanism}. Use hard for one key, or leave it out."
            )
        self.is_additive = self.mechanism.scoring == "additive"

    def build(self, query_shape: Any, encoded_shape: Any) -> None:
        """Create the projections and what scoring and scope learn."""
        dim = query_shape[-1]
        if self.is_additive:
            self.query_dense = keras.layers.Dense(
                dim, use_bias=False, dtype=self.dtype_policy, name="query"
            )
            self.key_dense = keras.layers.Dense(dim, dtype=self.dtype_policy, name="key")
            self.query_dense.build(query_shape)
            self.key_dense.build(encoded_shape)
        elif dim != encoded_shape[-1]:
            raise ValueError(
                f"{self.mechanism.scoring} scoring compares queries and keys of one size. "
                f"Received: {dim} and {encoded_shape[-1]}. Use additive scoring."
            )
        scoring, scope = SCORINGS[self.mechanism.scoring], self.mechanism.scope
        self._score_weights = add_declared(self, scoring.weights(1, dim))
        self._scope_weights = (
            add_declared(self, scope.weights(1, dim)) if isinstance(scope, PredictedWindow) else {}
        )

    def project(self, encoded: Any, key_mask: Any) -> dict[str, Any]:
        """Prepare what was encoded, once for all steps.

        Args:
            encoded: `(batch, key, encoded dim)`.
            key_mask: `(batch, key)` booleans, True = may attend.

        Returns:
            `key` and `value`, `(batch, key, dim)`, and `key_mask`.
        """
        # Not even a NaN may spread from where nobody may attend.
        encoded = ops.where(key_mask[..., None], encoded, ops.zeros_like(encoded))
        key = self.key_dense(encoded) if self.is_additive else encoded
        return {"key": key, "value": encoded, "key_mask": key_mask}

    def attend(self, query: Any, projected: dict[str, Any]) -> tuple[Any, Any]:
        """Attend without reporting, for the inside of a loop.

        Args:
            query: `(batch, query, dim)`.
            projected: as `project` gave it.

        Returns:
            Context `(batch, query, encoded dim)` and weights `(batch, heads=1, query, key)`.
        """
        if self.is_additive:
            query = self.query_dense(query)
        context, weights = dense_attention(
            query[:, :, None],
            projected["key"][:, :, None],
            projected["value"][:, :, None],
            mechanism=self.mechanism,
            mask=projected["key_mask"][:, None, None],
            score_weights=self._score_weights,
            scope_weights=self._scope_weights,
        )
        return context[:, :, 0], weights

    def call(self, query: Any, encoded: Any, key_mask: Any) -> tuple[Any, Any]:
        """Attend with all queries at once."""
        context, weights = self.attend(query, self.project(encoded, key_mask))
        report(self, weights)
        return context, weights

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this layer again."""
        return {
            **super().get_config(),
            "mechanism": keras.saving.serialize_keras_object(self.mechanism),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StepwiseAttention:
        """Build the layer from what `get_config` returned."""
        mechanism = keras.saving.deserialize_keras_object(config["mechanism"])
        return cls(**{**config, "mechanism": mechanism})
