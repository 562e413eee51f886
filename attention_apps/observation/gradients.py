"""Measure the gradients of a training inside its own step, without changing a bit of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attention_apps.observation.observe import layer_paths


class GradientNorm:
    """The norm of all gradients together, before clipping, averaged over steps.

    While attached it stands in for the `apply` of the model's optimizer (of the innermost one, so
    that loss scaling is undone), adds up the norms there and passes the gradients on untouched.
    """

    def __init__(self) -> None:
        self._total = keras.Variable(0.0, trainable=False, name="gradient_norm_total")
        self._steps = keras.Variable(0.0, trainable=False, name="gradient_norm_steps")
        self._optimizer: Any = None
        self._heads: dict[str, tuple[Any, Any]] = {}

    @staticmethod
    def is_measurable(model: Any) -> bool:
        """Whether gradients can be seen: on TensorFlow, by one replica, which has all of them."""
        return (
            keras.backend.backend() == "tensorflow"
            and model.optimizer is not None
            and model.distribute_strategy.num_replicas_in_sync == 1
        )

    def attach(self, model: Any) -> None:
        """Measure from now on. A training step that was traced before is traced again."""
        self._heads = {
            path: (kernel, _sums(kernel)) for path, kernel in _query_kernels(model).items()
        }
        optimizer = model.optimizer
        while hasattr(optimizer, "inner_optimizer"):
            optimizer = optimizer.inner_optimizer
        self._optimizer = optimizer
        # A fit that was broken off left its own measurement behind: this one takes its place.
        vars(optimizer).pop("apply", None)
        apply = optimizer.apply

        def measure_and_apply(grads: Sequence[Any], trainable_variables: Any = None) -> Any:
            self._measure(grads)
            self._measure_heads(grads, trainable_variables or optimizer._trainable_variables)
            return apply(grads, trainable_variables)

        vars(optimizer)["apply"] = measure_and_apply
        model.make_train_function(force=True)

    def detach(self, model: Any) -> None:
        """Leave the optimizer as it was; the next `fit` traces a training step without this."""
        if self._optimizer is not None:
            vars(self._optimizer).pop("apply", None)
            self._optimizer = None
            model.train_function = None

    def take(self) -> float | None:
        """The mean norm of the steps since the last call; None if there were none."""
        steps = float(self._steps.numpy())
        total = float(self._total.numpy())
        self._steps.assign(0.0)
        self._total.assign(0.0)
        return total / steps if steps else None

    def take_heads(self) -> dict[str, np.ndarray]:
        """Norms by head since the last call, of the gradients of queries' projections.

        Returns:
            For every layer with several heads its path and `(heads,)`, the root of the sum of
            squares over the steps.
        """
        norms = {}
        for path, (_, sums) in self._heads.items():
            norms[path] = np.sqrt(sums.numpy())
            sums.assign(np.zeros(sums.shape))
        return norms

    def _measure_heads(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        by_variable = {
            id(variable): gradient for variable, gradient in zip(variables, gradients, strict=False)
        }
        scale = self._optimizer.loss_scale_factor or 1.0
        for kernel, sums in self._heads.values():
            gradient = by_variable.get(id(kernel))
            if gradient is not None:
                squares = tf.square(tf.cast(gradient, "float32") / scale)
                sums.assign_add(tf.reduce_sum(squares, axis=(0, 2)))

    def _measure(self, gradients: Sequence[Any]) -> None:
        dense = [_dense(gradient) for gradient in gradients if gradient is not None]
        norm = tf.linalg.global_norm([tf.cast(gradient, "float32") for gradient in dense])
        scale = self._optimizer.loss_scale_factor
        self._total.assign_add(norm / scale if scale else norm)
        self._steps.assign_add(1.0)


def _query_kernels(model: Any) -> dict[str, Any]:
    """Kernels `(dim, heads, key dim)` of the queries of all layers with several heads, by path."""
    found = {}
    for layer, path in layer_paths(model).values():
        kernel = getattr(getattr(layer, "_query_dense", None), "kernel", None)
        if kernel is not None and len(kernel.shape) == 3 and kernel.shape[1] > 1:
            found[path] = kernel
    return found


def _sums(kernel: Any) -> Any:
    return keras.Variable(np.zeros(kernel.shape[1]), trainable=False, dtype="float32")


def _dense(gradient: Any) -> Any:
    """Sum what an embedding's gradient holds several times for one row."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(
            gradient.values, gradient.indices, gradient.dense_shape[0]
        )
    return gradient
