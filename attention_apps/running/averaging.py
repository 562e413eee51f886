"""Averages of weights: the running one of the optimizer, and that of the last epochs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from attention_apps.running.atomic import whole_file


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the averaged weights into the model; afterwards the raw ones are back bit for bit.

    (`keras.callbacks.SwapEMAWeights` swaps by adding and subtracting, which changes the raw
    weights.) Before the first step there is no average yet and the raw weights stay.

    Args:
        model: a compiled model whose optimizer was made with `use_ema=True`.
    """
    # A loss-scaling optimizer hands everything on to the one inside it.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        raise ValueError(
            f"averaged_weights needs an optimizer made with use_ema=True. Received: {optimizer}"
        )
    if int(optimizer.iterations) == 0:
        yield
        return
    with _raw_weights_back(model):
        optimizer.finalize_variable_values(model.trainable_variables)
        yield


class LastWeights(keras.callbacks.Callback):
    """Keeps the weights of the last epochs on disk, and puts their average into the model.

    Stands before whatever validates or saves with `averaged`. A resumed run finds what it needs:
    each epoch has a file of its own, and an epoch that is repeated writes the same again.

    Args:
        run_dir: the run folder; the files lie in its `last_weights`.
        num_epochs: how many epochs are averaged, the present one included.

    Reference: Vaswani et al. 2017, "Attention Is All You Need", section 6.1.
    """

    def __init__(self, run_dir: str | os.PathLike[str], num_epochs: int) -> None:
        super().__init__()
        if num_epochs < 1:
            raise ValueError(f"num_epochs must be at least 1. Received: num_epochs={num_epochs}")
        self._folder = Path(run_dir) / "last_weights"
        self._num_epochs = num_epochs
        self._epoch = -1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write this epoch's weights and delete those that are not averaged any more."""
        self._epoch = epoch
        self._folder.mkdir(exist_ok=True)
        arrays = {str(i): v.numpy() for i, v in enumerate(self.model.trainable_variables)}
        with whole_file(self._file(epoch)) as partial, open(partial, "wb") as file:
            np.savez(file, **arrays)
        for path in self._folder.glob("epoch-*.npz"):
            if int(path.stem.removeprefix("epoch-")) <= epoch - self._num_epochs:
                path.unlink()

    @contextmanager
    def averaged(self, model: keras.Model) -> Iterator[None]:
        """Put the average into the model; afterwards its own weights are back bit for bit.

        Args:
            model: the model in training. Before the end of its first epoch its weights stay.
        """
        epochs = range(max(0, self._epoch - self._num_epochs + 1), self._epoch + 1)
        with _raw_weights_back(model):
            variables = model.trainable_variables
            sums = [np.zeros(variable.shape, np.float64) for variable in variables]
            for epoch in epochs:
                with np.load(self._file(epoch)) as arrays:
                    for i, total in enumerate(sums):
                        total += arrays[str(i)]
            for variable, total in zip(variables, sums, strict=True):
                if epochs:
                    variable.assign((total / len(epochs)).astype("float32"))
            yield

    def _file(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch}.npz"


@contextmanager
def _raw_weights_back(model: keras.Model) -> Iterator[None]:
    variables = model.trainable_variables
    raw = [variable.numpy() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, raw, strict=True):
            variable.assign(value)
