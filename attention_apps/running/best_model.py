"""The weights that validation chose."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal

import keras

from attention_apps.running.atomic import whole_file
from attention_apps.running.runs import MODEL


class BestModel(keras.callbacks.Callback):
    """Keeps `model.keras` at the epoch with the best figure, and stops when none comes any more.

    Its state is part of the checkpoint, so a resumed run chooses and stops as an uninterrupted
    one. An epoch whose logs lack the figure does not count, and none whose loss is not finite is
    kept. `model.keras` holds no optimizer.

    Args:
        run_dir: the run folder.
        monitor: the figure of the epoch's logs to choose by.
        mode: `min` where less is better, `max` where more is.
        patience: stop after so many figures in a row of which none was better; None never stops.
        start_from_epoch: the first epoch, from 0, whose figure may stop the training; patience
            counts from there.
        weights: what to put into the model both while it is validated and while it is saved, e.g.
            `averaged_weights`; called with the model, gives a context manager. None takes the
            weights as they are.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        *,
        monitor: str = "val_loss",
        mode: Literal["min", "max"] = "min",
        patience: int | None = None,
        start_from_epoch: int = 0,
        weights: Callable[[keras.Model], AbstractContextManager[Any]] | None = None,
    ) -> None:
        super().__init__()
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be `min` or `max`. Received: mode={mode}")
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be at least 1 epoch. Received: patience={patience}")
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._path = Path(run_dir) / MODEL
        self._monitor = monitor
        self._mode = mode
        self._patience = patience
        self._start_from_epoch = start_from_epoch
        self._weights = weights or nullcontext
        self._waited = 0
        self._validating = ExitStack()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Validate the weights that would be saved."""
        self._validating.enter_context(self._weights(self.model))

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Go back to the weights that are trained."""
        self._validating.close()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save the model if it is the best so far, and count how long it was not.

        An epoch without the figure was not validated and is passed over.
        """
        if epoch == self._start_from_epoch:
            self._waited = 0
        if logs is None or self._monitor not in logs:
            return  # not every epoch is validated
        # Weights of a loss that is no number answer something too, and may score 0.
        lost = not math.isfinite(logs.get("loss", 0.0))
        if not lost and self._is_better(float(logs[self._monitor])):
            self.best, self.best_epoch, self._waited = float(logs[self._monitor]), epoch, 0
            with self._weights(self.model):
                _save_without_optimizer(self.model, self._path)
        else:
            self._waited += 1
        impatient = self._patience is not None and self._waited >= self._patience
        if impatient and epoch >= self._start_from_epoch:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Refuse a training in which the figure never came."""
        if self.best is None and not self._waited:
            raise ValueError(f"no epoch had a figure to choose by. Expected: {self._monitor}.")

    def get_state(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self._waited}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self._waited = state["waited"]

    def _is_better(self, figure: float) -> bool:
        if not math.isfinite(figure):
            return False
        if self.best is None:
            return True
        return figure < self.best if self._mode == "min" else figure > self.best


def _save_without_optimizer(model: keras.Model, path: Path) -> None:
    """Save the model alone: an optimizer would triple the file, and nobody reads it from there."""
    optimizer, model.optimizer = model.optimizer, None
    try:
        with whole_file(path) as partial:
            model.save(partial)
    finally:
        model.optimizer = optimizer
