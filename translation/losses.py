"""What training minimises."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@ops.custom_gradient
def smoothed_cross_entropy(logits: Any, target: Any, label_smoothing: Any) -> Any:
    """Cross-entropy with label smoothing: `lse(z) - (1 - e) z_y - e mean(z)`, in float32.

    The gradient `softmax(z) - e / n - (1 - e) [y]` is written in one pass with a sparse update;
    automatic differentiation would fill several more tensors as large as the logits, which is a
    third of a training step.

    Args:
        logits: `z`, `(tokens, vocabulary)`.
        target: `y`, `(tokens,)` int32 ids.
        label_smoothing: `e`, the share of probability spread over the vocabulary.

    Returns:
        `(tokens,)` losses in nats.

    Reference: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision".
    """
    wide = ops.cast(logits, "float32")
    highest = ops.max(wide, axis=-1, keepdims=True)
    exponentials = ops.exp(wide - highest)
    sums = ops.sum(exponentials, axis=-1, keepdims=True)
    of_target = ops.take_along_axis(wide, target[:, None], axis=-1)[:, 0]
    loss = (
        (ops.log(sums) + highest)[:, 0]
        - (1.0 - label_smoothing) * of_target
        - label_smoothing * ops.mean(wide, axis=-1)
    )

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, None, None]:
        # Backends hand the upstream gradient over by position or by name.
        upstream = args[0] if upstream is None else upstream
        share = upstream[:, None]
        slope = exponentials * (share / sums) - share * (label_smoothing / logits.shape[-1])
        at_target = ops.take_along_axis(slope, target[:, None], axis=-1)[:, 0]
        rows = ops.arange(ops.shape(target)[0], dtype="int32")
        slope = ops.scatter_update(
            slope,
            ops.stack([rows, target], axis=-1),
            at_target - (1.0 - label_smoothing) * upstream,
        )
        return ops.cast(slope, logits.dtype), None, None

    return loss, gradient


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
        shape = ops.shape(y_true)
        logits = ops.reshape(y_pred, (-1, y_pred.shape[-1]))
        losses = smoothed_cross_entropy(
            logits, ops.reshape(ops.cast(y_true, "int32"), (-1,)), self.label_smoothing
        )
        if self.r_drop_weight:
            middle = ops.shape(logits)[0] // 2
            apart = symmetric_divergence(logits[:middle], logits[middle:])
            losses = losses + self.r_drop_weight / 4 * ops.concatenate([apart, apart])
        return ops.reshape(losses, shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "r_drop_weight": self.r_drop_weight,
        }
