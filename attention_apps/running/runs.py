"""The run folder: what a training leaves behind, and how it is read again.

    runs/<room>/<time>-<config hash>/
        config.json      what was asked: written once, before anything else
        metrics.json     what came out, by section
        checkpoints/     where an unfinished run continues from
        model.keras      the weights that validation chose
        train/ validation/ attention/    for TensorBoard
        saved_model/1/   what export made

Reading a run's config imports no tensorflow.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shlex
import types
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from attention_apps.running.atomic import write_json
from attention_apps.running.command import UserError
from attention_apps.running.provenance import PACKAGE, command_line, git_commit, versions

FORMAT = 1
CONFIG, METRICS, MODEL, CHECKPOINTS = "config.json", "metrics.json", "model.keras", "checkpoints"

ConfigT = TypeVar("ConfigT")


@dataclasses.dataclass(frozen=True)
class Run(Generic[ConfigT]):
    """A finished run, read back."""

    run_dir: Path
    config: ConfigT
    model: Any
    metrics: dict[str, dict[str, Any]]


def create_run(
    room: str,
    config: Any,
    *,
    runs_dir: str | os.PathLike[str] = "runs",
    now: datetime | None = None,
) -> Path:
    """Make the folder of a new run; an existing one is never touched.

    Args:
        room: the room's package, e.g. `translation`.
        config: the room's Config, a flat dataclass with a `seed`.
        runs_dir: the folder of all runs.
        now: the time in the folder's name; None takes the clock's.

    Returns:
        `runs_dir/room/<time>-<config hash>`, with `-2`, `-3`, ... behind it where that exists.
    """
    values = _to_json(config)
    canonical = json.dumps(values, sort_keys=True).encode()
    now = now or datetime.now()
    name = f"{now:%Y%m%d-%H%M%S}-{hashlib.sha256(canonical).hexdigest()[:8]}"
    record = {
        "format": FORMAT,
        "room": room,
        "created": now.isoformat(timespec="seconds"),
        "command": command_line(),
        "seed": values["seed"],
        "config": values,
        "versions": versions(),
        "git_commit": git_commit(),
    }
    room_dir = Path(runs_dir) / room
    room_dir.mkdir(parents=True, exist_ok=True)
    run_dir, number = room_dir / name, 1
    while True:
        try:
            run_dir.mkdir()
            break
        except FileExistsError:
            number += 1
            run_dir = room_dir / f"{name}-{number}"
    write_json(run_dir / CONFIG, record)
    return run_dir


def read_config(run_dir: str | os.PathLike[str], room: str, config_class: type[ConfigT]) -> ConfigT:
    """Read the config a run was started with.

    A run of an older version is read when every field it holds is still known. A field that was
    added since takes the value its `metadata["before"]` names (what the code did before there was
    such a field), else its default.

    Args:
        run_dir: the run folder.
        room: the room that asks; a run of another room is refused.
        config_class: that room's Config.

    Raises:
        UserError: saying in one sentence why the run cannot be read.
    """
    run_dir = Path(run_dir)
    record = _read_record(run_dir)
    if record["room"] != room:
        raise UserError(
            f"{run_dir} is a run of another room. Received: a run of {record['room']}. "
            f"Expected: a run of {room}."
        )
    stored = dict(record["config"])
    hints = get_type_hints(config_class)
    known = {field.name: field for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    unknown = [name for name in stored if name not in known]
    if unknown:
        raise UserError(
            f"{run_dir} was made by {PACKAGE} {record['versions'][PACKAGE]} with `{unknown[0]}`, "
            f"which this version ({versions()[PACKAGE]}) does not know. Read it with the version "
            "that made it."
        )
    values = {name: _from_json(hints[name], value) for name, value in stored.items()}
    for name, field in known.items():
        if name not in values and "before" in field.metadata:
            values[name] = field.metadata["before"]
    try:
        return config_class(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{run_dir}/{CONFIG} is refused by this version: {error}") from error


def read_metrics(run_dir: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Read all sections of a run's metrics; none are there before the run has finished."""
    path = Path(run_dir) / METRICS
    if not path.exists():
        return {}
    return _read_json(path)


def write_metrics(run_dir: str | os.PathLike[str], **sections: Mapping[str, Any]) -> None:
    """Replace the given sections of a run's metrics and keep the others.

    Args:
        run_dir: the run folder.
        sections: e.g. `train={"loss": 0.5}, test={"bleu": 38.2}`; a figure that is not finite is
            written as null.
    """
    metrics = read_metrics(run_dir)
    metrics.update({name: _finite(dict(section)) for name, section in sections.items()})
    write_json(Path(run_dir) / METRICS, metrics)


def finish_run(run_dir: str | os.PathLike[str], **sections: Mapping[str, Any]) -> None:
    """Write the training's metrics and mark the run as finished, both at once.

    Args:
        run_dir: the run folder.
        sections: as for `write_metrics`; the section `run` is written here.

    Raises:
        UserError: when no epoch gave a model worth keeping.
    """
    run_dir = Path(run_dir)
    if not (run_dir / MODEL).exists():
        raise UserError(
            f"{run_dir} has no model: no epoch gave a finite figure to choose it by. Lower the "
            "learning rate and start a new run."
        )
    finished = datetime.now().isoformat(timespec="seconds")
    run = {"finished": finished, "epochs": epochs_saved(run_dir)}
    write_metrics(run_dir, **sections, run=run)


def is_finished(run_dir: str | os.PathLike[str]) -> bool:
    """Whether a run's training came to its end."""
    return "finished" in read_metrics(run_dir).get("run", {})


def require_finished(run_dir: str | os.PathLike[str], room: str) -> None:
    """Refuse an unfinished run, saying how to finish it.

    Raises:
        UserError: when the run is not finished.
    """
    if not is_finished(run_dir):
        raise UserError(
            f"{run_dir} is not finished (epochs saved: {epochs_saved(run_dir)}). Finish it "
            f"with: {resume_command(run_dir, room)}"
        )


def load_run(
    run_dir: str | os.PathLike[str], room: str, config_class: type[ConfigT]
) -> Run[ConfigT]:
    """Load a finished run with the weights that validation chose.

    The room's layers must have been imported, for Keras finds them by their registered names.

    Args:
        run_dir: the run folder.
        room: the room that asks.
        config_class: that room's Config.

    Raises:
        UserError: for what `read_config` refuses, an unfinished run, or a model that this version
            cannot read.
    """
    run_dir = Path(run_dir)
    config = read_config(run_dir, room, config_class)
    require_finished(run_dir, room)
    import keras  # here, for it brings tensorflow

    try:
        model = keras.saving.load_model(run_dir / MODEL, compile=False)
    except Exception as error:  # what Keras raises for a model it cannot read is of any type
        made_by = _read_record(run_dir)["versions"]
        raise UserError(
            f"{run_dir}/{MODEL} cannot be read by {PACKAGE} {versions()[PACKAGE]} with keras "
            f"{versions()['keras']}; it was written by {made_by[PACKAGE]} with keras "
            f"{made_by['keras']}: {str(error).strip().splitlines()[0] if str(error) else error!r}"
        ) from error
    return Run(run_dir=run_dir, config=config, model=model, metrics=read_metrics(run_dir))


def epochs_saved(run_dir: str | os.PathLike[str]) -> int:
    """Count the epochs that a kill at this moment would not undo."""
    folders = (Path(run_dir) / CHECKPOINTS).glob("epoch-*")
    return max((int(folder.name.removeprefix("epoch-")) for folder in folders), default=0)


def resume_command(run_dir: str | os.PathLike[str], room: str) -> str:
    """Return the command line that continues a run."""
    return f"python -m {room}.train --resume {shlex.quote(str(run_dir))}"


def check_seed(seed: int) -> None:
    """Refuse a seed that NumPy, Keras or TensorFlow would refuse later.

    Raises:
        ValueError: for one below 0 or of more than 32 bits.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed must lie from 0 to {2**32 - 1}. Received: {seed}")


def set_seed(seed: int) -> None:
    """Make everything that follows repeatable: every generator's seed, and deterministic ops.

    Without deterministic ops two runs of one seed differ, even on CPU. With them Keras compiles
    no model with XLA.
    """
    import keras  # here, for it brings tensorflow
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _read_record(run_dir: Path) -> dict[str, Any]:
    """Read config.json and check what holds for the runs of every room."""
    path = run_dir / CONFIG
    if not run_dir.is_dir():
        raise UserError(
            f"no run folder. Received: {run_dir}. Expected: a folder that training made, such as "
            "runs/<room>/<time>-<hash>."
        )
    if not path.is_file():
        raise UserError(
            f"{run_dir} is not a run: it has no {CONFIG}. Expected: a folder that training made, "
            "such as runs/<room>/<time>-<hash>."
        )
    record = _read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise UserError(f"{path} is not a run's config: it names no format.")
    if record["format"] > FORMAT:
        raise UserError(
            f"{run_dir} was written by a newer version (run format {record['format']}; this "
            f"version reads up to {FORMAT}). Update {PACKAGE}."
        )
    return record


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bad JSON and bad UTF-8
        raise UserError(f"{path} is damaged: {error}") from error


def _to_json(config: Any) -> dict[str, Any]:
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return json.loads(json.dumps(values, default=os.fspath))


def _from_json(hint: Any, value: Any) -> Any:
    """Give back the tuples and paths that JSON knows only as lists and texts."""
    union = get_origin(hint) in (Union, types.UnionType)
    options = get_args(hint) if union else (hint,)
    for option in options:
        if isinstance(value, list) and get_origin(option) is tuple:
            items = get_args(option)
            each = [items[0]] * len(value) if items[-1] is Ellipsis else items
            return tuple(map(_from_json, each, value))
    if isinstance(value, str) and Path in options and str not in options:
        return Path(value)
    return value


def _finite(value: Any) -> Any:
    """Make figures plain numbers that every reader of JSON takes."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):  # a NumPy number
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
