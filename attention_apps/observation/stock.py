"""Make Keras's own attention layers tell what they attended to, for the length of one call.

A stock layer is called as its model calls it, and its own computation gives its output. Its weights
are what that computation returns, or, where it returns none (Keras's fused path), what the same
computation gives for the identity matrix as value: attention is linear in the value, so attending
to the identity spells out the weights themselves, faults included.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import keras
from keras import ops


class Watcher(Protocol):
    """Who wants to know the weights of stock layers."""

    def num_reports(self, layer: Any) -> int:
        """How often `layer` has reported of its own accord."""

    def hear_beside(self, layer: Any, weights: Any) -> None:
        """Take weights `(batch, heads, query, key)` computed beside a call of `layer`."""


# Interceptions sit on the layer, where all threads meet them; who listens is known per context.
_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("stock_attention_watchers", default=())
_lock = threading.Lock()

# What Keras's layers pass by position to the methods that turn scores into context.
_ARGUMENTS = {
    "_compute_attention": ("query", "key", "value", "attention_mask", "training"),
    "_apply_scores": ("scores", "value", "scores_mask", "training"),
}


def is_stock(layer: Any) -> bool:
    """Whether `layer` is, or derives from, an attention layer of Keras (so of keras-hub)."""
    return bool(_method_to_intercept(layer))


@contextmanager
def stock_layers_heard(layers: Iterable[Any], watcher: Watcher) -> Iterator[None]:
    """Let `watcher` hear the weights of every call of stock `layers` inside the `with` block.

    The layers are as before when the block ends, in whatever way it ends.

    Args:
        layers: layers for which `is_stock` holds.
        watcher: hears the weights of each call in which the layer does not report for itself.
    """
    intercepted = []
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        for layer in layers:
            _Interception.begin(layer)
            intercepted.append(layer)
        yield
    finally:
        _watchers.reset(token)
        for layer in intercepted:
            _Interception.end(layer)


def _method_to_intercept(layer: Any) -> str:
    if isinstance(layer, (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)):
        return "_compute_attention"
    if isinstance(layer, keras.layers.Attention):  # AdditiveAttention derives from it.
        return "_apply_scores"
    return ""


class _Interception:
    """Stands in for one method of one layer; counts its users, who may nest or be threads."""

    def __init__(self, layer: Any, method: str) -> None:
        self.layer = layer
        self.method = method
        self.original = getattr(layer, method)
        self.users = 0

    @classmethod
    def begin(cls, layer: Any) -> None:
        # `vars` because the layer's own __setattr__ would track the value or refuse it.
        method = _method_to_intercept(layer)
        with _lock:
            if not isinstance(vars(layer).get(method), cls):
                vars(layer)[method] = cls(layer, method)
            vars(layer)[method].users += 1

    @classmethod
    def end(cls, layer: Any) -> None:
        method = _method_to_intercept(layer)
        with _lock:
            interception = vars(layer)[method]
            interception.users -= 1
            if interception.users == 0:
                del vars(layer)[method]
                if getattr(layer, method) != interception.original:  # It was the instance's own.
                    vars(layer)[method] = interception.original

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        watchers = _watchers.get()
        before = [watcher.num_reports(self.layer) for watcher in watchers]
        result = self.original(*args, **kwargs)
        if before != [watcher.num_reports(self.layer) for watcher in watchers]:
            return result  # The layer speaks for itself.
        if watchers:
            named = {**dict(zip(_ARGUMENTS[self.method], args, strict=False)), **kwargs}
            weigh = self._heads if self.method == "_compute_attention" else self._single_head
            weights = ops.cast(weigh(result[1], named), "float32")
            for watcher in watchers:
                watcher.hear_beside(self.layer, weights)
        return result

    def _single_head(self, weights: Any, arguments: dict[str, Any]) -> Any:
        if arguments.get("training") and self.layer.dropout > 0:
            # Keras gives these layers' weights after dropout.
            _, weights = self.original(**{**arguments, "training": False})
        query_length, key_length = ops.shape(weights)[-2:]
        return ops.reshape(weights, (-1, 1, query_length, key_length))

    def _heads(self, weights: Any, arguments: dict[str, Any]) -> Any:
        if weights is None:
            value = arguments["value"]
            pieces = [
                self.original(**{**arguments, "value": piece})[0] for piece in _identity(value)
            ]
            weights = ops.transpose(ops.concatenate(pieces, axis=-1), (0, 2, 1, 3))
            return weights[..., : ops.shape(value)[1]]
        num_axes = len(getattr(self.layer, "attention_axes", None) or (1,))
        if len(weights.shape) == 4 and num_axes == 1:
            return weights
        shape = ops.shape(weights)
        query_length = math.prod(shape[-2 * num_axes : -num_axes])
        key_length = math.prod(shape[-num_axes:])
        return ops.reshape(weights, (-1, shape[-2 * num_axes - 1], query_length, key_length))


def _identity(value: Any) -> Iterator[Any]:
    """The identity over the keys, shaped like `value`, `(batch, key, heads, dim)`.

    In one piece, save on JAX, whose kernel takes no value wider or narrower than the keys: there in
    pieces as wide as the value, the last filled up with zeros.
    """
    batch_size, key_length, num_heads = ops.shape(value)[:3]
    on_jax = keras.backend.backend() == "jax"
    width = value.shape[-1] if on_jax else key_length
    for first in range(0, key_length, width) if on_jax else (0,):
        piece = ops.eye(key_length, width, k=-first, dtype=value.dtype)[None, :, None, :]
        yield ops.broadcast_to(piece, (batch_size, key_length, num_heads, width))
