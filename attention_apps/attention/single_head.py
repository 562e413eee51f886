"""Attention without projections: drop-in replacements for Keras's single-head layers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attention_apps.attention.adaptive_span import AdaptiveSpan
from attention_apps.attention.hard import gumbel_noise
from attention_apps.attention.masking import attendable, merge_masks
from attention_apps.attention.masks import causal
from attention_apps.attention.mechanism import Mechanism
from attention_apps.attention.multi_scale import MultiScale
from attention_apps.attention.normalizers import Softmax
from attention_apps.attention.reporting import report
from attention_apps.attention.score_shaping import soft_cap
from attention_apps.attention.scoring import SCORINGS, add_declared


class _SingleHead(keras.layers.Layer):
    """What `Attention` and `AdditiveAttention` share: mechanism, masks, softmax and reporting."""

    mechanism: Mechanism | None

    def _choose(self, mechanism: Mechanism | None) -> None:
        if mechanism is not None and mechanism.position is not None:
            raise ValueError(
                "A layer without projections has no heads to turn and takes no rotary positions. "
                f"Received: mechanism={mechanism}. Use MultiHeadAttention."
            )
        if mechanism is not None and (
            mechanism.algorithm.name not in ("auto", "dense")
            or isinstance(mechanism.scope, AdaptiveSpan | MultiScale)
            or mechanism.qk_norm
            or mechanism.num_key_value_heads is not None
        ):
            raise ValueError(
                "A layer without projections attends densely with one head: it takes no spans, no "
                "scales, no QK-norm, no groups of heads and no other algorithm. "
                f"Received: mechanism={mechanism}. Use MultiHeadAttention."
            )
        if mechanism is not None and mechanism.predicts_scope:
            raise ValueError(
                "A layer without projections has no heads to predict a place and takes no local-p. "
                f"Received: mechanism={mechanism}. Use MultiHeadAttention or StepwiseAttention."
            )
        self.mechanism = mechanism
        draws = mechanism is not None and mechanism.normalizer.draws
        self._noise_seed = keras.random.SeedGenerator() if draws else None

    def build(self, input_shape: Any) -> None:
        """Create what the scoring learns."""
        super().build(input_shape)
        if self.mechanism is not None:
            scoring = SCORINGS[self.mechanism.scoring]
            self._score_weights = add_declared(self, scoring.weights(1, input_shape[0][-1]))

    def _calculate_scores(self, query: Any, key: Any) -> Any:
        """Scores `(batch, query, key)` by the mechanism, or as Keras does without one."""
        if self.mechanism is None:
            return super()._calculate_scores(query, key)
        score = SCORINGS[self.mechanism.scoring]
        scores = score(query[:, :, None], key[:, :, None], **self._score_weights)[:, 0]
        cap = self.mechanism.soft_cap
        return scores if cap is None else soft_cap(scores, cap)

    def _calculate_score_mask(self, scores: Any, v_mask: Any, use_causal_mask: bool) -> Any:
        """AND the key mask and the causal mask, which is aligned to the end of the keys."""
        scopes = [causal()] if use_causal_mask else []
        if self.mechanism is not None and self.mechanism.mask is not None:
            scopes.append(self.mechanism.mask)
        if not scopes:
            return v_mask
        lengths = ops.shape(scores)[-2], ops.shape(scores)[-1]
        return merge_masks(
            None if v_mask is None else ops.expand_dims(v_mask, axis=-2),
            *(scope.dense(*lengths)[None] for scope in scopes),
        )

    def _apply_scores(
        self, scores: Any, value: Any, scores_mask: Any = None, training: bool = False
    ) -> tuple[Any, Any]:
        """Normalise the scores, report the weights, and return context and weights."""
        if scores_mask is not None and len(scores_mask.shape) == 2:
            scores_mask = ops.expand_dims(scores_mask, axis=-2)
        normalizer = Softmax() if self.mechanism is None else self.mechanism.normalizer
        noise = None
        if training and self._noise_seed is not None:
            noise = gumbel_noise(ops.shape(scores), self._noise_seed)
        weights = normalizer(scores, scores_mask, noise)
        report(self, weights[..., None, :, :])
        applied = weights
        if training and self.dropout > 0:
            applied = keras.random.dropout(
                weights,
                self.dropout,
                seed=self.seed_generator,
            )
        return ops.matmul(ops.cast(applied, value.dtype), value), weights

    def call(
        self,
        inputs: list[Any],
        mask: list[Any] | None = None,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Attend; see the class."""
        self._validate_inputs(inputs=inputs, mask=mask)
        query, value = inputs[0], inputs[1]
        key = inputs[2] if len(inputs) > 2 else value
        masks = [*(mask or ()), None, None, None]
        query_mask, key_mask = masks[0], merge_masks(masks[1], masks[2])
        if key_mask is not None:
            value, key = attendable(value, key_mask), attendable(key, key_mask)
        scores = self._calculate_scores(query=query, key=key)
        scores_mask = self._calculate_score_mask(scores, key_mask, use_causal_mask)
        context, weights = self._apply_scores(
            scores=scores, value=value, scores_mask=scores_mask, training=training
        )
        if query_mask is not None:
            context = ops.where(ops.cast(query_mask, "bool")[..., None], context, 0)
        return (context, weights) if return_attention_scores else context

    def compute_output_spec(
        self,
        inputs: list[Any],
        mask: list[Any] | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        """Symbolic shapes: those of the output and, when asked for, of the float32 weights."""
        spec = super().compute_output_spec(
            inputs, mask, return_attention_scores, training, use_causal_mask
        )
        if not return_attention_scores:
            return spec
        return spec[0], keras.KerasTensor(spec[1].shape, "float32")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this layer again."""
        mechanism = keras.saving.serialize_keras_object(self.mechanism)
        return {**super().get_config(), "mechanism": mechanism}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Build the layer from what `get_config` returned."""
        mechanism = keras.saving.deserialize_keras_object(config.get("mechanism"))
        return cls(**{**config, "mechanism": mechanism})


@keras.saving.register_keras_serializable("attention_apps")
class Attention(_SingleHead, keras.layers.Attention):
    """Attention without projections: Keras's layer plus the choice of a mechanism.

    Args:
        use_scale: learn one factor of the scores.
        score_mode: `dot`, or `concat` for `w sum(tanh(q + k))`; used without a mechanism.
        dropout: share of weights dropped in training.
        seed: of the dropout.
        mechanism: the `Mechanism`; None scores as Keras does.
        **kwargs: Keras's layer arguments.

    Call arguments:
        inputs: `[query, value]` or `[query, value, key]`; query `(batch, query, dim)`, value and
            key `(batch, key, dim)`, key by default value.
        mask: `[query_mask, value_mask]` or `[query_mask, value_mask, key_mask]`, booleans of shape
            `(batch, query)` and `(batch, key)`, True = may attend.
        return_attention_scores: also return the weights.
        use_causal_mask: forbid keys after the query, the last query standing at the last key.

    Returns:
        Context `(batch, query, dim)`, and when asked for the weights `(batch, query, key)`,
        float32, before dropout.

    Raises:
        ValueError: for inputs that are no list, and for a mechanism with positions.

    Reference: Luong et al. 2015, "Effective Approaches to Attention-based NMT".
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        mechanism: Mechanism | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            use_scale=use_scale, score_mode=score_mode, dropout=dropout, seed=seed, **kwargs
        )
        self._choose(mechanism)


@keras.saving.register_keras_serializable("attention_apps")
class AdditiveAttention(_SingleHead, keras.layers.AdditiveAttention):
    """Additive attention without projections, `sum(s tanh(q + k))`: Keras's layer, observable.

    Args:
        use_scale: learn the factors `s`, one per dimension.
        dropout: share of weights dropped in training.
        mechanism: the `Mechanism`; its scope is used, its scoring must be additive or left out.
        **kwargs: Keras's layer arguments.

    Call arguments, returns: as `Attention`.

    Raises:
        ValueError: for inputs that are no list, and for a mechanism with positions.

    Reference: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and
    Translate".
    """

    def __init__(
        self,
        use_scale: bool = True,
        dropout: float = 0.0,
        mechanism: Mechanism | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)
        if mechanism is not None and mechanism.scoring != "additive":
            raise ValueError(
                "AdditiveAttention scores additively. "
                f"Received: mechanism with scoring={mechanism.scoring!r}. Use Attention."
            )
        self._choose(mechanism)
