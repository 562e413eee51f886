"""How good a captioner is while it trains: CIDEr of the validation photos, by greedy search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from captioning.caption import Captioner
from captioning.config import Config
from captioning.images import prepare
from captioning.metrics import bleu, score
from captioning.photos import Photos
from captioning.words import Vocabulary

_BATCH = 64


class ValidationCider(keras.callbacks.Callback):
    """Adds `val_cider`, `val_bleu_4`, `val_distinct` to the logs of epochs that are validated.

    These are every `validate_every`-th and the last.

    Stands before the callbacks that read the logs.

    Args:
        config: `validate_every` and the number of epochs are used.
        vocabulary: of the captions.
        photos: the validation photos.
        grids: from indexes of photos to their features; None reads their pixels.
        weights: the weights that would be kept, as for `BestModel`.
    """

    def __init__(
        self,
        config: Config,
        vocabulary: Vocabulary,
        photos: Photos,
        grids: Callable[[np.ndarray], list[np.ndarray]] | None = None,
        weights: Callable[[keras.Model], AbstractContextManager[Any]] | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        self._vocabulary = vocabulary
        self._photos = photos
        self._grids = grids
        self._weights = weights or nullcontext
        self._captioner: Captioner | None = None
        self._said: dict[str, str] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Caption the validation photos with the weights that would be kept."""
        config = self._config
        if logs is None or ((epoch + 1) % config.validate_every and epoch + 1 < config.all_epochs):
            return
        if self._captioner is None:
            self._captioner = Captioner(self.model, self._vocabulary, config)
        with self._weights(self.model):
            self._captioner.load(self.model)
        captions = self._captions(self._captioner)
        self._said = dict(zip(self._photos.names, captions, strict=True))
        figures = score(captions, self._photos.captions)
        logs["val_cider"] = 100 * float(figures.cider.mean())
        logs["val_bleu_4"] = bleu(figures.bleu.sum(0), 4)
        logs["val_distinct"] = len(set(captions)) / len(captions)

    def _captions(self, captioner: Captioner) -> list[str]:
        captions: list[str] = []
        for start in range(0, len(self._photos), _BATCH):
            indexes = np.arange(start, min(start + _BATCH, len(self._photos)))
            captions += captioner.caption_grids(self._read(captioner, indexes))
        return captions

    def _read(self, captioner: Captioner, indexes: np.ndarray) -> Sequence[Any]:
        if self._grids is not None:
            return self._grids(indexes)
        encoded = tf.constant([self._photos.encoded(index) for index in indexes])
        return captioner.grids(prepare(encoded, self._config.image_size)[0])

    def answer(self, name: str) -> str:
        """The last caption of a validation photo, as text for a person."""
        return f"{name} → {self._said.get(name, 'not captioned yet')}"

    def get_state(self) -> dict[str, str]:
        """Return what a resumed run must know: the last captions."""
        return self._said

    def set_state(self, state: dict[str, str]) -> None:
        """Take over what `get_state` returned."""
        self._said = state
