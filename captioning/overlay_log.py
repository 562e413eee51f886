"""Where every word of the probe's captions looks, drawn on the pictures in TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attention_apps.observation.heatmaps import to_pixels
from captioning.attention_maps import Probe, attention_maps
from captioning.overlays import draw_overlays


class OverlayLog(keras.callbacks.Callback):
    """Draws a strip of pictures for each photo of the probe, one for each word of its caption.

    The words are a person's, the same in every epoch, so that the maps can be compared. Of several
    blocks and heads the mean is drawn. Stands before `Checkpoint`.

    Args:
        log_dir: folder of the event files.
        probe: the fixed batch.
        every: epochs from one strip to the next; the last epoch is drawn in any case.
    """

    def __init__(self, log_dir: Path, probe: Probe, every: int) -> None:
        super().__init__()
        self._log_dir = log_dir
        self._probe = probe
        self._every = every
        self._writer: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draw, when it is time."""
        if (epoch + 1) % self._every and epoch + 1 < self.params["epochs"]:
            return
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._log_dir))
        strips = overlay_strips(self.model, self._probe)
        with self._writer.as_default(step=epoch):
            for title, strip in strips.items():
                tf.summary.image(f"overlays/{title}", strip[None])
        self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def overlay_strips(model: Any, probe: Probe) -> dict[str, np.ndarray]:
    """Draw the probe.

    Args:
        model: the captioner.
        probe: the fixed batch.

    Returns:
        By title a picture `(height, width, 3)` uint8.
    """
    maps: dict[str, list[np.ndarray]] = {}
    for record in attention_maps(model, probe):
        if "cross_attention" in record.layer:
            maps.setdefault(record.title, []).append(record.weights.mean(axis=0))
    strips = {}
    for index, (title, of_photo) in enumerate(maps.items()):
        words = probe.said[index]
        figure = draw_overlays(
            probe.pixels[index],
            words,
            np.mean(of_photo, axis=0).reshape(len(words), *model.grid_shape),
            boxes=None if probe.boxes is None else probe.boxes[index][: len(words)],
            title=title,
        )
        strips[title] = to_pixels(figure)
    return strips
