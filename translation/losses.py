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


@keras.saving.register_keras_serializable("attention_apps.translation")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits with label smoothing, averaged over the weighted tokens.

    See `smoothed_cross_entropy`.

    Args:
        label_smoothing: `e`, the share of probability spread over the vocabulary.
        **kwargs: Keras's loss arguments.

    Reference: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision".
    """

    def __init__(self, label_smoothing: float = 0.0, **kwargs: Any) -> None:
        kwargs.setdefault("reduction", "mean_with_sample_weight")
        super().__init__(**kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of every token.

        Args:
            y_true: `(batch, target)` ids.
            y_pred: `(batch, target, vocabulary)` logits.

        Returns:
            `(batch, target)` in nats.
        """
        shape = ops.shape(y_true)
        losses = smoothed_cross_entropy(
            ops.reshape(y_pred, (-1, y_pred.shape[-1])),
            ops.reshape(ops.cast(y_true, "int32"), (-1,)),
            self.label_smoothing,
        )
        return ops.reshape(losses, shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this loss again."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
