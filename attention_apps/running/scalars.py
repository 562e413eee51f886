"""Learning curves for TensorBoard: one figure per epoch and name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

_VALIDATION = "val_"


class EpochScalars(keras.callbacks.Callback):
    """Writes the logs of every epoch to `train/` and `validation/`, under the same names.

    The step is the epoch's number as Keras counts, from 0. Stands before `Checkpoint`, which takes
    the event files back to where they were when a run is resumed;
    `keras.callbacks.TensorBoard` flushes too late for that.

    Args:
        run_dir: the run folder.
    """

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self._run_dir = Path(run_dir)
        self._writers: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write this epoch's figures to the disk."""
        for name, value in (logs or {}).items():
            split = "validation" if name.startswith(_VALIDATION) else "train"
            if split not in self._writers:
                self._writers[split] = tf.summary.create_file_writer(str(self._run_dir / split))
            with self._writers[split].as_default():
                tf.summary.scalar(name.removeprefix(_VALIDATION), value, step=epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
