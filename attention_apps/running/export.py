"""The SavedModel contract: what is exported answers as the run's model does, or is not there.

    <run>/saved_model/1/                                  TensorFlow Serving's layout
    <run>/saved_model/1/assets.extra/model_card.json      what it is, how good, for what not

Loading it needs tensorflow (and the tokeniser's op package), neither keras nor this project.
Exporting again replaces version 1: a run's weights never change, so a second version would be
the same model twice. The old export is moved aside whole before the new one takes its name.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from attention_apps.running.atomic import whole_folder, write_json
from attention_apps.running.command import UserError
from attention_apps.running.provenance import versions
from attention_apps.running.runs import require_finished

SAVED_MODEL, VERSION = "saved_model", "1"
SERVING_DEFAULT = "serving_default"
CARD = Path("assets.extra") / "model_card.json"
_CARD_ENTRIES = ("room", "data", "figures", "floors", "limits", "labels")
_PROBLEMS_TOLD = 3


class ParityError(RuntimeError):
    """The exported model does not answer as the model it was made from."""


def export_model(
    run_dir: str | os.PathLike[str],
    *,
    endpoints: Mapping[str, tuple[Callable[..., Any], Sequence[tf.TensorSpec]]],
    tracked: Sequence[Any],
    parity: Callable[[Any], Sequence[str]],
    model_card: Mapping[str, Any],
) -> Path:
    """Write a finished run's model as a SavedModel that has been loaded again and checked.

    Args:
        run_dir: the run folder.
        endpoints: by signature name, the function and its input signature; `serving_default` must
            be among them.
        tracked: the models, layers and tables the functions use.
        parity: called with the reloaded SavedModel; returns a sentence for everything it answers
            wrongly.
        model_card: room, data, figures, floors, limits and labels; the versions are added here.

    Returns:
        The folder of the export, `run_dir/saved_model/1`.

    Raises:
        UserError: when the run is not finished.
        ParityError: when parity finds a problem; no new model is left behind then.
    """
    missing = [entry for entry in _CARD_ENTRIES if entry not in model_card]
    if missing:
        raise ValueError(f"the model card lacks {', '.join(missing)}. Received: {[*model_card]}")
    if SERVING_DEFAULT not in endpoints:
        raise ValueError(f"no endpoint {SERVING_DEFAULT}. Received: {[*endpoints]}")
    run_dir = Path(run_dir)
    require_finished(run_dir, model_card["room"])
    target = run_dir / SAVED_MODEL / VERSION
    try:
        with whole_folder(target) as partial:
            archive = keras.export.ExportArchive()
            for resource in tracked:
                archive.track(resource)
            for name, (function, input_signature) in endpoints.items():
                archive.add_endpoint(name, function, input_signature=list(input_signature))
            archive.write_out(partial, verbose=False)
            (partial / CARD).parent.mkdir()
            write_json(partial / CARD, {**model_card, "versions": versions()})
            _refuse(parity(tf.saved_model.load(str(partial))), run_dir)
    finally:
        with contextlib.suppress(OSError):  # it is removed only when nothing is in it
            target.parent.rmdir()
    return target


def _refuse(problems: Sequence[str], run_dir: Path) -> None:
    if problems:
        more = len(problems) - _PROBLEMS_TOLD
        raise ParityError(
            f"the exported model does not answer as the model of {run_dir}, and was not kept: "
            + "; ".join(problems[:_PROBLEMS_TOLD])
            + (f"; and {more} more" if more > 0 else "")
        )


def exported_model(run_dir: str | os.PathLike[str], room: str) -> Path:
    """Return the folder of a run's export.

    Raises:
        UserError: when the run has not been exported.
    """
    folder = Path(run_dir) / SAVED_MODEL / VERSION
    if not (folder / "saved_model.pb").is_file():
        raise UserError(
            f"{run_dir} has not been exported. Export it with: python -m {room}.export --run-dir "
            f"{shlex.quote(str(run_dir))}"
        )
    return folder
