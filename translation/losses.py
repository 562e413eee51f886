"""What training minimises."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attention_apps.running.cross_entropy import smoothed_cross_entropy


@ops.custom_gradient
def symmetric_divergence(first: Any, second: Any) -> Any:
    """How far two predictions of the same tokens lie apart: `KL(p || q) + KL(q || p)`, in float32.

    The gradient by `first` is `p (d - E_p d) + p - q` with `d = log p - log q`, written by hand for
    the same reason as that of the cross-entropy.

    Args:
        first: logits of `p`, `(tokens, vocabulary)`.
        second: logits of `q`, likewise.

    Returns:
        `(tokens,)` in nats.
    """
    first_log = ops.log_softmax(ops.cast(first, "float32"))
    second_log = ops.log_softmax(ops.cast(second, "float32"))
    difference = first_log - second_log
    p, q = ops.exp(first_log), ops.exp(second_log)
    mean_p = ops.sum(p * difference, axis=-1, keepdims=True)
    mean_q = ops.sum(q * difference, axis=-1, keepdims=True)

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
        share = (args[0] if upstream is None else upstream)[:, None]
        apart = p - q
        by_first = share * (p * (difference - mean_p) + apart)
        by_second = share * (q * (mean_q - difference) - apart)
        return ops.cast(by_first, first.dtype), ops.cast(by_second, second.dtype)

    return (mean_p - mean_q)[:, 0], gradient


def guided_attention(weights: Any, source_words: Any, linked_words: Any) -> Any:
    """Cross-entropy between where a head looks and where a teacher says a word comes from.

    Args:
        weights: `(batch, query, key)` of one head.
        source_words: `(batch, key)` number of each source subword's word; 0 is none.
        linked_words: `(batch, query)` number of the source word each row should look at; rows
            with 0 are left alone.

    Returns:
        Mean over the guided rows of minus the logarithm of the weight on the linked word, a scalar.

    Reference: Garg et al. 2019, "Jointly Learning to Align and Translate with Transformer Models".
    """
    wanted = ops.equal(linked_words[:, :, None], source_words[:, None, :])
    mass = ops.sum(ops.where(wanted, weights, 0.0), axis=-1)
    guided = ops.cast(linked_words > 0, "float32")
    # A head that looks elsewhere altogether still gets a finite push.
    losses = -ops.log(mass + 1e-6) * guided
    return ops.sum(losses) / ops.maximum(ops.sum(guided), 1.0)


@keras.saving.register_keras_serializable("attention_apps.translation")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits with label smoothing, averaged over the weighted tokens.

    With R-Drop the second half of the batch repeats the first, other units are dropped, and the
    two predictions of a token are drawn together: `CE + weight / 4 (KL(p || q) + KL(q || p))` for
    every token of both halves, half of the paper's sum.

    Args:
        label_smoothing: share of probability spread over the vocabulary.
        r_drop_weight: the paper's alpha; 0 is no R-Drop.
        **kwargs: Keras's loss arguments.

    Reference: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision";
    Wu et al. 2021, "R-Drop: Regularized Dropout for Neural Networks".
    """

    def __init__(
        self, label_smoothing: float = 0.0, r_drop_weight: float = 0.0, **kwargs: Any
    ) -> None:
        kwargs.setdefault("reduction", "mean_with_sample_weight")
        super().__init__(**kwargs)
        self.label_smoothing = label_smoothing
        self.r_drop_weight = r_drop_weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of every token.

        Args:
            y_true: `(batch, target)` ids.
            y_pred: `(batch, target, vocabulary)` logits.

        Returns:
            `(batch, target)` in nats.
        """
        losses = smoothed_cross_entropy(y_pred, y_true, self.label_smoothing)
        if self.r_drop_weight:
            logits = ops.reshape(y_pred, (-1, y_pred.shape[-1]))
            middle = ops.shape(logits)[0] // 2
            apart = symmetric_divergence(logits[:middle], logits[middle:])
            apart = ops.reshape(ops.concatenate([apart, apart]), ops.shape(y_true))
            losses = losses + self.r_drop_weight / 4 * apart
        return losses

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "r_drop_weight": self.r_drop_weight,
        }
