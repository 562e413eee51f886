"""Which finished runs a new one may start from: those whose model has the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attention_apps.running.command import UserError


def refuse_other_shapes(config: Any, first: Any, names: Sequence[str]) -> None:
    """Refuse to start from a run whose model is built otherwise.

    Args:
        config: of the new run.
        first: of the finished run.
        names: the fields that decide which weights there are and what they mean.

    Raises:
        UserError: naming the flags that make the models alike.
    """
    differing = [name for name in names if getattr(config, name) != getattr(first, name)]
    if differing:
        flags = " ".join(f"--{name.replace('_', '-')} {getattr(first, name)}" for name in differing)
        received = ", ".join(str(getattr(config, name)) for name in differing)
        raise UserError(
            f"A run starts from the weights of another only with a model of the same shape: pass "
            f"{flags}. Received: {received}"
        )
