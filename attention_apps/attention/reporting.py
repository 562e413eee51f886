"""How attention layers let others look at their weights without knowing who looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Listener = Callable[[Any, Any], None]

_state_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("state_listeners", default=())
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("attention_listeners", default=())


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let `listener` hear of every attention map computed inside the `with` block.

    Args:
        listener: called as `listener(layer, weights)`, once per layer call, with weights of shape
            `(batch, heads, query, key)` in float32, before dropout. Inside a traced function the
            weights are symbolic tensors of that trace.
    """
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def is_listened() -> bool:
    """Whether anybody listens, so that weights must be computed that are not needed otherwise."""
    return bool(_listeners.get())


def report(layer: Any, weights: Any) -> None:
    """Tell whoever listens that `layer` attended with `weights`; costs nothing when nobody does.

    Args:
        layer: the attention layer.
        weights: `(batch, heads, query, key)` float32, before dropout.
    """
    for listener in _listeners.get():
        listener(layer, weights)


@contextmanager
def hearing_states(listener: Listener) -> Iterator[None]:
    """Let `listener` hear what every block gives inside the `with` block.

    Args:
        listener: called as `listener(block, states)` with states `(batch, length, dim)`.
    """
    token = _state_listeners.set((*_state_listeners.get(), listener))
    try:
        yield
    finally:
        _state_listeners.reset(token)


def report_states(block: Any, states: Any) -> Any:
    """Tell whoever listens what `block` gives, and give it on.

    Args:
        block: the layer.
        states: `(batch, length, dim)`.

    Returns:
        The states, untouched.
    """
    for listener in _state_listeners.get():
        listener(block, states)
    return states
