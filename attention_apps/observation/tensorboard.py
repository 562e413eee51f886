"""Show the attention of a model in TensorBoard while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attention_apps.observation.alarms import alarms
from attention_apps.observation.events import mark_restart, write_records
from attention_apps.observation.gradients import GradientNorm
from attention_apps.observation.head_health import head_health
from attention_apps.observation.health import health
from attention_apps.observation.heatmaps import draw_heatmaps, to_pixels
from attention_apps.observation.record import AttentionRecord
from attention_apps.observation.smoothing import token_similarity


class AttentionLog(keras.callbacks.Callback):
    """Looks at one fixed probe every few epochs and logs how it is attended to and answered.

    Written to `log_dir`, at the epoch numbers that Keras gives:

    - the records themselves (see `events`);
    - `attention_map/<layer>/<title>`: a picture of the mean of the heads, and
      `heads/<layer>/<title>`: a picture of every head, both of the first examples only;
    - `answers`: what the model answers to the probe, as text;
    - `<figure>/<layer>`: the figures of `health`, the mean over the probe: `relative_entropy`,
      `largest_weight`, `attention_distance`, `head_similarity` and, where there is gold,
      `gold_error` and `gold_argmax_error`; those of `head_health`: `query_independence`,
      `nearest_head_similarity`, `sink_mass` and `logit_range`; with `states` also
      `token_similarity`;
    - `alarms`: which of them lie beyond the bounds of `alarms`, and what that means, as text;
    - each epoch `training/learning_rate` and `training/gradient_norm` (the mean over the steps of
      the norm of all gradients, before clipping; not with several replicas) and
      `head_gradient_ratio/<layer>`, how many times faster the fastest head learns than the slowest;
    - `attention_log/seconds`: what this callback took of the epoch.

    The training is not disturbed: its weights are the same bit for bit with and without this
    callback. A run that is resumed in the same folder replaces the epochs that it does again.

    Args:
        log_dir: folder of the event files.
        attention_maps: looks at the probe; called with the model, gives one record per layer and
            example, the examples of a layer told apart by their titles.
        every: epochs from one look to the next; the last epoch is looked at in any case.
        answers: called with the model, gives what it answers to the probe, in Markdown.
        num_pictured: of how many examples pictures are drawn.
        states: called with the model, gives what its layers hand on for the probe, by layer,
            `(batch, length, dim)`, as `observe_states` does.

    Raises:
        ValueError: if `every` is below 1 or `num_pictured` below 0.
    """

    def __init__(
        self,
        log_dir: str | Path,
        attention_maps: Callable[[Any], Iterable[AttentionRecord]],
        *,
        every: int = 1,
        answers: Callable[[Any], Iterable[str]] | None = None,
        num_pictured: int = 2,
        states: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"Epochs between two looks are at least 1. Received: every={every}")
        if num_pictured < 0:
            raise ValueError(f"Examples are at least 0. Received: num_pictured={num_pictured}")
        self.log_dir = Path(log_dir)
        self.attention_maps = attention_maps
        self.every = every
        self.answers = answers
        self.num_pictured = num_pictured
        self.states = states
        self._writer: Any = None
        self._gradient_norm: GradientNorm | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin to measure gradients, before the training step is traced."""
        self.on_train_end()  # Of a fit that was broken off and could not say so.
        if GradientNorm.is_measurable(self.model):
            self._gradient_norm = GradientNorm()
            self._gradient_norm.attach(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Open the event file when the first epoch of this run is known."""
        if self._writer is None:
            mark_restart(self.log_dir, epoch)
            self._writer = tf.summary.create_file_writer(str(self.log_dir))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the epoch, with a look at the probe when it is time for one."""
        start = time.perf_counter()
        scalars = self._of_training()
        if (epoch + 1) % self.every == 0 or epoch + 1 == self.params.get("epochs"):
            scalars.update(self._look(epoch))
            lines = [f"- {line}" for line in alarms(scalars)] or ["none"]
            with self._writer.as_default(step=epoch):
                tf.summary.text("alarms", "\n".join(lines))
        with self._writer.as_default(step=epoch):
            for tag, value in scalars.items():
                tf.summary.scalar(tag, value)
            self._writer.flush()
            tf.summary.scalar("attention_log/seconds", time.perf_counter() - start)
        self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the event file and leave the optimizer as it was."""
        if self._gradient_norm is not None:
            self._gradient_norm.detach(self.model)
            self._gradient_norm = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _of_training(self) -> dict[str, float]:
        rate = keras.ops.convert_to_tensor(self.model.optimizer.learning_rate)
        scalars = {"training/learning_rate": float(rate)}
        if self._gradient_norm is None:
            return scalars
        norm = self._gradient_norm.take()
        if norm is not None:
            scalars["training/gradient_norm"] = norm
        for layer, norms in self._gradient_norm.take_heads().items():
            if norms.min() > 0:
                scalars[f"head_gradient_ratio/{layer}"] = float(norms.max() / norms.min())
        return scalars

    def _look(self, epoch: int) -> dict[str, float]:
        """Write what is seen at the probe; returns the figures by tag."""
        records = [record.at(epoch) for record in self.attention_maps(self.model)]
        write_records(self._writer, records, epoch)
        with self._writer.as_default(step=epoch):
            for record in self._pictured(records):
                several = len(record.heads) > 1
                self._draw("attention_map", record.mean() if several else record)
                if several:
                    self._draw("heads", record)
            if self.answers is not None:
                lines = [f"- {answer}" for answer in self.answers(self.model)]
                tf.summary.text("answers", "\n".join(lines))
        figures: dict[str, list[float]] = {}
        for record in records:
            for name, value in {**health(record), **head_health(record)}.items():
                figures.setdefault(f"{name}/{record.layer}", []).append(value)
        if self.states is not None:
            for layer, states in self.states(self.model).items():
                similarity = token_similarity(keras.ops.convert_to_numpy(states))
                figures[f"token_similarity/{layer}"] = [similarity]
        return {tag: float(np.mean(values)) for tag, values in figures.items()}

    @staticmethod
    def _draw(group: str, record: AttentionRecord) -> None:
        tag = "/".join(part for part in (group, record.layer, record.title) if part)
        tf.summary.image(tag, to_pixels(draw_heatmaps(record))[None])

    def _pictured(self, records: list[AttentionRecord]) -> list[AttentionRecord]:
        titles = list(dict.fromkeys(record.title for record in records))[: self.num_pictured]
        return [record for record in records if record.title in titles]
