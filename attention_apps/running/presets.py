"""Presets of keras-hub: a folder is read as it is, a name is refused at once without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attention_apps.running.command import UserError
from attention_apps.running.network import online

_HANDLES = {"kaggle://": "www.kaggle.com", "hf://": "huggingface.co"}


def from_preset(kind: Any, preset: str, *, flag: str, **arguments: Any) -> Any:
    """Read a model or tokenizer of keras-hub.

    Args:
        kind: what to read, such as `keras_hub.models.Backbone`.
        preset: folder that `save_to_preset` wrote, or the name of a preset.
        flag: the flag that named it, for messages.
        **arguments: those of `from_preset`.

    Returns:
        What was read.

    Raises:
        UserError: when there is no such preset, it does not hold that kind, or it would have to be
            fetched and there is no network.
    """
    if not Path(preset).is_dir():
        handle = next((handle for handle in _HANDLES if preset.startswith(handle)), "kaggle://")
        if not online(_HANDLES[handle]):
            raise UserError(
                f"{flag} must be a folder that keras-hub's save_to_preset wrote, or the name of a "
                f"preset, for which this machine has no network. Received: {preset}"
            )
    try:
        return kind.from_preset(preset, **arguments)
    except (ValueError, FileNotFoundError, OSError) as error:
        raise UserError(
            f"{flag} must name a preset of keras-hub that holds a {kind.__name__}. "
            f"Received: {preset} ({str(error).splitlines()[0]})"
        ) from error
