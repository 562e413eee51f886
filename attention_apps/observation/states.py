"""What the blocks of a model hand on, read beside its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attention_apps.attention.reporting import hearing_states
from attention_apps.observation.observe import layer_paths


def observe_states(model: Any) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """Make a callable like `model` that returns what its blocks hand on beside its outputs.

    Seen are the blocks of `attention_apps.attention.blocks`, called eagerly.

    Args:
        model: a built Keras model or layer.

    Returns:
        A callable with the call signature of `model` which returns `(outputs, states)`; `states`
        goes from layer path to `(batch, length, dim)`, in the order of the calls, the last call
        of a layer counting.
    """

    def observed(*args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        paths = layer_paths(model)
        states: dict[str, Any] = {}

        def hear(layer: Any, output: Any) -> None:
            known = paths.get(id(layer))
            states[known[1] if known else layer.name] = output

        with hearing_states(hear):
            outputs = model(*args, **kwargs)
        return outputs, states

    return observed
