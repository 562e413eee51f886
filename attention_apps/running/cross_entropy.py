"""The loss of models that say one of many words."""

from __future__ import annotations

from typing import Any

from keras import ops


def weighted_mean(values: Any, weights: Any) -> Any:
    """Mean of `values` by `weights` of the same shape; 0 where all weights are 0."""
    return ops.sum(values * weights) / ops.maximum(ops.sum(weights), 1.0)


def smoothed_cross_entropy(logits: Any, target: Any, label_smoothing: float = 0.0) -> Any:
    """Cross-entropy with label smoothing: `lse(z) - (1 - e) z_y - e mean(z)`, in float32.

    The gradient `softmax(z) - e / n - (1 - e) [y]` is written in one pass with a sparse update;
    automatic differentiation would fill several more tensors as large as the logits, which is a
    third of a training step.

    Args:
        logits: `z`, `(..., vocabulary)`.
        target: `y`, `(...)` ids.
        label_smoothing: `e`, the share of probability spread over the vocabulary.

    Returns:
        `(...)` losses in nats.

    Reference: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision".
    """
    flat = ops.reshape(logits, (-1, logits.shape[-1]))
    ids = ops.reshape(ops.cast(target, "int32"), (-1,))
    return ops.reshape(_of_rows(flat, ids, label_smoothing), ops.shape(target))


@ops.custom_gradient
def _of_rows(logits: Any, target: Any, label_smoothing: Any) -> Any:
    """The loss of `(tokens, vocabulary)` and `(tokens,)`."""
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
