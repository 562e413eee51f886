"""What a person in front of a training sees: how long, how much disk, how far."""

from __future__ import annotations

import math
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import keras

from attention_apps.running.checkpoints import KEPT, checkpoint_bytes, variable_bytes
from attention_apps.running.command import UserError
from attention_apps.running.interruption import stop_if_asked

_STEPS_MEASURED = 20
_SECONDS_BETWEEN_LINES = 0.5


class Progress(keras.callbacks.Callback):
    """Says what the training will take, and where it is.

    The expected time and disk are measured from the first steps, without the first, in which the
    graph is built. On a terminal one line is kept up to date; elsewhere there is one line per
    epoch. Stands last, so that an epoch it reports is saved. Behind every step it lets Ctrl-C stop
    the training.

    Args:
        run_dir: the run folder.
        stream: where to write; None takes standard output.
    """

    def __init__(self, run_dir: str | os.PathLike[str], *, stream: TextIO | None = None) -> None:
        super().__init__()
        self._run_dir = Path(run_dir)
        self._stream = stream or sys.stdout
        self._updating = self._stream.isatty()
        self._step_seconds: list[float] = []
        self._epoch_seconds: list[float] = []
        self._announced = False
        self._last_step = 0
        self._step_ended = self._epoch_began = self._line_written = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the epoch's clock."""
        self._epoch = epoch
        self._epoch_began = time.monotonic()
        self._last_step = -1

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure the step and, on a terminal, bring the line up to date."""
        now = time.monotonic()
        if self._last_step >= 0:  # the first of an epoch waits for the data, the very first traces
            self._step_seconds.append((now - self._step_ended) / (batch - self._last_step))
            del self._step_seconds[:-_STEPS_MEASURED]
        self._last_step, self._step_ended = batch, now
        if not self._announced and len(self._step_seconds) == _STEPS_MEASURED:
            self._announce()
        if self._updating and now - self._line_written >= _SECONDS_BETWEEN_LINES:
            self._line_written = now
            self._rewrite(self._line(logs or {}))
        stop_if_asked()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Let Ctrl-C stop a validation."""
        stop_if_asked()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the epoch's line, which stays."""
        self._epoch_seconds.append(time.monotonic() - self._epoch_began)
        if not self._announced:
            self._announce()
        left = self.params["epochs"] - epoch - 1
        parts = [
            f"epoch {epoch + 1}/{self.params['epochs']}",
            *_figures(logs or {}),
            duration(self._epoch_seconds[-1]),
        ]
        if self.model.stop_training:
            parts.append("stopped early")
        elif left:
            parts.append(f"{duration(left * self._typical_epoch())} left")
        self._rewrite("  ".join(parts))
        self._stream.write("\n")
        self._stream.flush()
        stop_if_asked()

    def _announce(self) -> None:
        """Say what the training will take; refuse it when the disk cannot hold it."""
        self._announced = True
        epochs = self.params["epochs"] - self._epoch
        seconds = self._typical_epoch() * epochs
        # While a checkpoint is written there is one more; the model beside them has no optimizer.
        needed = (KEPT + 1) * checkpoint_bytes(self.model) + 2 * variable_bytes(
            self.model.variables
        )
        there = sum(file.stat().st_size for file in self._run_dir.rglob("*") if file.is_file())
        free = shutil.disk_usage(self._run_dir).free
        if needed > free + there:
            raise UserError(
                f"{self._run_dir} needs {needed / 1e6:.0f} MB for checkpoints and model, and the "
                f"disk has {free / 1e6:.0f} MB left. Make room, or choose another --runs-dir."
            )
        steps = self.params.get("steps")
        what = f"{epochs} x {steps} steps" if steps else f"{epochs} x all of the data"
        self._rewrite("")
        self._stream.write(
            f"about {duration(seconds)} for {what}, and the time of validation; about "
            f"{max(needed / 1e6, 1):.0f} MB of disk in {self._run_dir}, and what TensorBoard is "
            "shown\n"
        )
        self._stream.flush()

    def _typical_epoch(self) -> float:
        """Return the seconds an epoch takes: measured where one has passed, else from its steps."""
        if self._epoch_seconds:
            # The first one traced the graph; it counts only as long as there is no other.
            return statistics.mean(self._epoch_seconds[1:] or self._epoch_seconds)
        steps = self.params.get("steps")
        if not steps or not self._step_seconds:
            return math.nan
        return statistics.median(self._step_seconds) * steps

    def _line(self, logs: dict[str, Any]) -> str:
        epochs, steps = self.params["epochs"], self.params.get("steps")
        parts = [f"epoch {self._epoch + 1}/{epochs}"]
        parts.append(f"step {self._last_step + 1}" + (f"/{steps}" if steps else ""))
        parts += _figures({name: logs[name] for name in ("loss",) if name in logs})
        if self._step_seconds:
            parts.append(f"{1 / statistics.median(self._step_seconds):.3g} steps/s")
        if steps:
            done = (self._last_step + 1) / steps
            left = (epochs - self._epoch - done) * self._typical_epoch()
            if math.isfinite(left):
                parts.append(f"{duration(left)} left")
        return "  ".join(parts)

    def _rewrite(self, line: str) -> None:
        """Write over the terminal's line; elsewhere just write."""
        if self._updating:
            line = "\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1]
        self._stream.write(line)
        self._stream.flush()


def duration(seconds: float) -> str:
    """Write a time as people say it: `2.5 s`, `45 s`, `12 min`, `1 h 05 min`."""
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _figures(logs: dict[str, Any]) -> list[str]:
    return [f"{name} {float(value):.4g}" for name, value in logs.items()]
