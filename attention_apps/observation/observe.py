"""Read every attention map of any Keras model beside its answer, without changing a bit of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from attention_apps.attention.reporting import listening
from attention_apps.observation.stock import is_stock, stock_layers_heard


def observe(model: Any) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """Make a callable like `model` that returns its attention maps beside its outputs.

    Seen are this project's layers and every other that calls
    `attention_apps.attention.reporting.report`; Keras's `MultiHeadAttention`,
    `GroupQueryAttention`, `Attention` and `AdditiveAttention`; and what derives from those, such as
    keras-hub's `CachedMultiHeadAttention`. Of a layer that does not report, the map is what it
    really did, faults included. Attention of any other make stays unseen. Works in eager code,
    inside `tf.function` and as an endpoint of `keras.export.ExportArchive`.

    Args:
        model: a built Keras model or layer.

    Returns:
        A callable with the call signature of `model` which returns `(outputs, maps)`. `outputs`
        are the model's own. `maps` goes, in the order of the calls, from layer path to weights
        `(batch, heads, query, key)`, float32, before dropout; single-head layers have one head,
        several attention axes are laid end to end, and other leading axes are part of the batch.
        A path is the names of the layers that lead from the model to the layer, `/` between them;
        later calls of the same layer are `path#2`, `path#3`, ...

    Raises:
        ValueError: if the model is not built. When called: for symbolic inputs, and for a layer
            that attends inside a loop or a `tf.function` of its own, out of which TensorFlow lets
            no tensor pass. (Such a function traced before the first observed call goes unseen.)
    """
    if not model.built:
        raise ValueError(
            f"A model must be built to be observed. Received: {model.name!r}, not built. "
            "Call it once on a batch first."
        )

    @tf.autograph.experimental.do_not_convert
    def observed(*args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        if any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten((args, kwargs))):
            raise ValueError(
                "There is attention only where there are values. Received: symbolic inputs. "
                "Call the observed model on tensors."
            )
        paths = layer_paths(model)
        stock = [layer for layer, _ in paths.values() if is_stock(layer)]
        maps = _Maps({key: path for key, (_, path) in paths.items()})
        with listening(maps.hear), stock_layers_heard(stock, maps):
            outputs = model(*args, **kwargs)
        return outputs, maps.as_dict()

    return observed


def layer_paths(model: Any) -> dict[int, tuple[Any, str]]:
    """All layers of `model` with their paths, by identity, so that a shared layer has one path.

    Keras's own `layer.path` will not do: two sub-models built apart give their layers equal paths.
    """

    paths = {id(model): (model, model.name)}
    to_visit = [(model, "")]
    for parent, prefix in to_visit:  # It grows on the way: breadth first, so short paths win.
        names: dict[str, int] = {}
        for layer in parent._flatten_layers(include_self=False, recursive=False):
            names[layer.name] = names.get(layer.name, 0) + 1
            twin = f":{names[layer.name]}" if names[layer.name] > 1 else ""
            path = f"{prefix}{layer.name}{twin}"
            if id(layer) not in paths:
                paths[id(layer)] = (layer, path)
                to_visit.append((layer, f"{path}/"))
    return paths


class _Maps:
    """Collects what the layers of one observed call report."""

    def __init__(self, paths: dict[int, str]) -> None:
        self._paths = paths
        self._heard: list[tuple[Any, Any, bool]] = []
        self._graph = _current_graph()

    def hear(self, layer: Any, weights: Any) -> None:
        self._take(layer, weights, beside=False)

    def hear_beside(self, layer: Any, weights: Any) -> None:
        self._take(layer, weights, beside=True)

    def num_reports(self, layer: Any) -> int:
        return sum(other is layer and not beside for other, _, beside in self._heard)

    def _take(self, layer: Any, weights: Any, *, beside: bool) -> None:
        if getattr(weights, "graph", None) is not self._graph:
            raise ValueError(
                "Attention inside a loop or a nested tf.function cannot be brought out of it. "
                f"Received: layer {self._path(layer)!r}, called in one. Unroll the loop (or give "
                "the time axis a fixed size), or leave out the inner tf.function."
            )
        self._heard.append((layer, weights, beside))

    def _path(self, layer: Any) -> str:
        return self._paths.get(id(layer)) or layer.path or layer.name

    def as_dict(self) -> dict[str, Any]:
        maps: dict[str, Any] = {}
        calls: dict[str, int] = {}
        for layer, weights, beside in self._heard:
            if beside and self.num_reports(layer):
                continue  # What the layer says itself counts more.
            path = self._path(layer)
            calls[path] = calls.get(path, 0) + 1
            maps[path if calls[path] == 1 else f"{path}#{calls[path]}"] = weights
        return maps


def _current_graph() -> Any:
    if keras.backend.backend() != "tensorflow" or tf.executing_eagerly():
        return None
    return tf.compat.v1.get_default_graph()
