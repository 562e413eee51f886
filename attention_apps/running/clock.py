"""What a figure cost: the minutes of training behind it, also over a kill and a resumed run."""

from __future__ import annotations

import time
from typing import Any

import keras


class Clock(keras.callbacks.Callback):
    """Writes down after how many minutes every validated figure was reached.

    Counts from the start of the command, reading data and building the graph included, and goes on
    counting in a run that is resumed; what a kill undid is not counted. Stands behind what adds the
    figure to the logs and before `Checkpoint`.

    Args:
        monitor: the figure of the epoch's logs.
        began: `time.monotonic()` when the command started.

    Attributes:
        curve: `epoch`, `minutes`, `cpu_minutes` and the figure, for every epoch that had one.
    """

    def __init__(self, monitor: str, *, began: float) -> None:
        super().__init__()
        self.curve: list[dict[str, float]] = []
        self._monitor = monitor
        self._began = began
        self._before = {"minutes": 0.0, "cpu_minutes": 0.0}

    @property
    def minutes(self) -> float:
        """Minutes of training up to now, by the clock on the wall."""
        return self._spent()["minutes"]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write down the epoch's figure, if it has one."""
        if logs and self._monitor in logs:
            figure = float(logs[self._monitor])
            self.curve.append({"epoch": epoch, **self._spent(), self._monitor: figure})

    def get_state(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"spent": self._spent(), "curve": self.curve}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self._before, self.curve = state["spent"], state["curve"]

    def _spent(self) -> dict[str, float]:
        here = {"minutes": time.monotonic() - self._began, "cpu_minutes": time.process_time()}
        return {name: self._before[name] + seconds / 60 for name, seconds in here.items()}
