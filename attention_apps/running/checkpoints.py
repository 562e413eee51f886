"""Checkpoints: a run that is killed at any moment ends where the uninterrupted run ends.

Everything an epoch decides is written at its end, in one folder that is there whole or not at
all. What resumes is bit for bit what was: the model's variables (seed generators too, so dropout
goes on where it was), the optimizer's, the history of logs, and the state of callbacks. Two
things stay with the room: the order of the data depends on (seed, epoch) alone, and every random
layer draws from a seed generator of its own, as Keras's do.

    callbacks = [best_model, scalars, Checkpoint(run_dir), progress]
    initial_epoch = resume(run_dir, model, callbacks)
    model.fit(..., initial_epoch=initial_epoch, callbacks=callbacks)
"""

from __future__ import annotations

import json
import math
import os
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from attention_apps.running.atomic import discard, sweep, whole_folder, write_json
from attention_apps.running.command import UserError
from attention_apps.running.event_files import event_file_sizes, trim_event_files
from attention_apps.running.holding import hold_run
from attention_apps.running.runs import CHECKPOINTS

KEPT = 2  # the newest, and one to fall back on should the disk damage that
_STATE, _VARIABLES = "state.json", "variables.npz"


class Checkpoint(keras.callbacks.Callback):
    """Saves everything a run needs to go on, at the end of every epoch.

    It stands behind every callback that has state or writes event files, so that what they did in
    an epoch is part of that epoch's checkpoint; event files must have been flushed by then. A
    callback has state when it offers `get_state() -> JSON value` and `set_state(value)`.

    Args:
        run_dir: the run folder.

    Attributes:
        history: the logs of every epoch so far, also of those before the run was resumed.
    """

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self.history: list[dict[str, float]] = []
        self._folder = Path(run_dir) / CHECKPOINTS
        self._stateful: dict[str, Any] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuse to start when `resume` has not been asked first."""
        if self._stateful is None:
            raise RuntimeError("call resume(run_dir, model, callbacks) before model.fit")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the checkpoint of this epoch and delete all but the last two."""
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        variables = _variables(self.model)
        state = {
            "epochs_done": epoch + 1,
            "epochs": self.params["epochs"],
            "stopped": bool(self.model.stop_training),
            "history": self.history,
            "callbacks": {
                name: callback.get_state() for name, callback in (self._stateful or {}).items()
            },
            "variables": [_describe(variable) for variable in variables],
            "event_files": event_file_sizes(self._folder.parent),
        }
        arrays = {str(i): v.numpy() for i, v in enumerate(variables)}
        with whole_folder(self._folder / f"epoch-{epoch + 1:04d}") as partial:
            np.savez(partial / _VARIABLES, **arrays)
            write_json(partial / _STATE, state)
        _discard_old(self._folder)


def resume(
    run_dir: str | os.PathLike[str],
    model: keras.Model,
    callbacks: Sequence[keras.callbacks.Callback],
) -> int:
    """Bring a new or interrupted run to where its last checkpoint left it.

    Every training asks this before `fit`, a new one too. It keeps other processes off the run,
    clears away what a killed write left, restores model, optimizer and callbacks, and cuts the
    event files back to the checkpoint, so that no step is drawn twice.

    Args:
        run_dir: the run folder.
        model: the built and compiled model, made from the run's config and seed.
        callbacks: the list that `fit` will get, with exactly one `Checkpoint`.

    Returns:
        The `initial_epoch` for `fit`: 0 for a new run, the number of all epochs (so that `fit`
        trains no more) for a run that a callback had stopped early.

    Raises:
        UserError: when another process trains the run, or its checkpoints cannot be used.
    """
    if not model.built or model.optimizer is None:
        raise ValueError("resume needs a model that is built and compiled")
    checkpoint, stateful = _sort_out(callbacks)
    run_dir = Path(run_dir)
    hold_run(run_dir)
    folder = run_dir / CHECKPOINTS
    folder.mkdir(exist_ok=True)
    sweep(folder)
    sweep(run_dir)
    _discard_old(folder)
    checkpoint._stateful = stateful
    saved = _read_newest(folder)
    if saved is None:
        trim_event_files(run_dir, {})
        return 0
    state, arrays = saved
    missing = [name for name in stateful if name not in state["callbacks"]]
    if missing:
        raise UserError(
            f"the checkpoint of {run_dir} has no state of {missing[0]}. The code has changed "
            "since; continue with the version that started the run."
        )
    _restore(run_dir, model, state["variables"], arrays)
    for name, callback in stateful.items():
        callback.set_state(state["callbacks"][name])
    checkpoint.history = state["history"]
    trim_event_files(run_dir, state["event_files"])
    return state["epochs"] if state["stopped"] else state["epochs_done"]


def checkpoint_bytes(model: keras.Model) -> int:
    """Return the size of one checkpoint of a model whose optimizer is built, in bytes."""
    return variable_bytes(_variables(model))


def variable_bytes(variables: Sequence[Any]) -> int:
    """Return what variables take on disk, in bytes."""
    return sum(
        math.prod(variable.shape)
        * np.dtype(keras.backend.standardize_dtype(variable.dtype)).itemsize
        for variable in variables
    )


def _sort_out(
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[Checkpoint, dict[str, Any]]:
    """Find the checkpoint and, by class name, the callbacks whose state it saves."""
    places = [i for i, callback in enumerate(callbacks) if isinstance(callback, Checkpoint)]
    if len(places) != 1:
        raise ValueError(f"expected exactly one Checkpoint. Received: {len(places)}")
    stateful = {}
    for place, callback in enumerate(callbacks):
        if not hasattr(callback, "get_state"):
            continue
        name = type(callback).__name__
        if name in stateful:
            raise ValueError(f"expected one callback of a class with state. Received: two {name}")
        if place > places[0]:
            raise ValueError(f"{name} must stand before Checkpoint, which saves its state")
        stateful[name] = callback
    checkpoint = callbacks[places[0]]
    assert isinstance(checkpoint, Checkpoint)
    return checkpoint, stateful


def _variables(model: keras.Model) -> list[Any]:
    """List all state of a model (seed generators too) and its optimizer, always in one order."""
    return [*model.variables, *model.optimizer.variables]


def _describe(variable: Any) -> dict[str, Any]:
    return {
        "path": variable.path,
        "shape": list(variable.shape),
        "dtype": keras.backend.standardize_dtype(variable.dtype),
    }


def _saved(folder: Path) -> list[Path]:
    """List the checkpoints, oldest first."""
    return sorted(folder.glob("epoch-*"), key=lambda path: int(path.name.removeprefix("epoch-")))


def _discard_old(folder: Path) -> None:
    for older in _saved(folder)[:-KEPT]:
        discard(older)


def _read_newest(folder: Path) -> tuple[dict[str, Any], list[np.ndarray]] | None:
    """Read the newest checkpoint that can be read, discarding damaged ones; None without any."""
    damage = None
    for path in reversed(_saved(folder)):
        try:
            state = json.loads((path / _STATE).read_text(encoding="utf-8"))
            with (path / _VARIABLES).open("rb") as file, np.load(file) as archive:
                arrays = [archive[str(i)] for i in range(len(state["variables"]))]
            return state, arrays
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            damage = f"{path} is damaged ({error})"
            print(f"{damage}; trying the one before it", file=sys.stderr)
            discard(path)
    if damage is not None:
        raise UserError(f"{damage}, and there is no other. Start a new run without --resume.")
    return None


def _restore(
    run_dir: Path, model: keras.Model, descriptions: list[dict[str, Any]], arrays: list[np.ndarray]
) -> None:
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = _variables(model)
    difference = None
    if len(variables) != len(descriptions):
        difference = f"it holds {len(descriptions)} variables, expected {len(variables)}"
    for here, there in zip(map(_describe, variables), descriptions, strict=False):
        if (here["shape"], here["dtype"]) != (there["shape"], there["dtype"]) and not difference:
            difference = (
                f"{there['path']} is {there['dtype']} {there['shape']}, "
                f"expected {here['dtype']} {here['shape']} for {here['path']}"
            )
    if difference:
        raise UserError(
            f"the checkpoint of {run_dir} does not fit the model built now: {difference}. The code "
            "has changed since; continue with the version that started the run."
        )
    for variable, description, array in zip(variables, descriptions, arrays, strict=True):
        # NumPy's files know no bfloat16 and give back its bytes.
        variable.assign(array.view(description["dtype"]) if array.dtype.kind == "V" else array)
