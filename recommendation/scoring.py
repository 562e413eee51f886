"""A model as a function from cases to scores, in float32 and in graph code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recommendation.batches import before_the_last, padded
from recommendation.config import Config
from recommendation.model import Recommender, build_model
from recommendation.splits import Cases


class ModelScorer:
    """Scores all items for cases, as the floors do.

    It computes in float32 whatever the training's precision was: an answer must not depend on
    which histories share its batch.

    Args:
        config: of the model.
        num_items: size of the catalogue.
    """

    def __init__(self, config: Config, num_items: int) -> None:
        self.model = build_model(replace(config, precision="float32"), num_items)
        rows = tf.TensorSpec([None, None], tf.int32)
        signature = [rows, rows] if config.time_bias else [rows]
        self._hidden = tf.function(
            self.model.next_hidden, input_signature=signature, autograph=False
        )
        self._scores = tf.function(
            lambda *read: self.model.scores(self.model.next_hidden(*read)),
            input_signature=signature,
            autograph=False,
        )

    def load(self, model: Recommender) -> ModelScorer:
        """Take over the weights of a model of the same configuration."""
        self.model.set_weights(model.get_weights())
        return self

    def __call__(self, cases: Cases, numbers: Sequence[int]) -> NDArray[np.floating]:
        """Score all items.

        Args:
            cases: of which some are scored.
            numbers: which.

        Returns:
            `(numbers, items + 1)`; column 0, which is no item, is the lowest.
        """
        scores: Any = self._scores(*self._read(cases, numbers)).numpy()
        return np.pad(scores, ((0, 0), (1, 0)), constant_values=-np.inf)

    def hidden(self, cases: Cases, numbers: Sequence[int]) -> NDArray[np.floating]:
        """What the vectors of items are compared with, `(numbers, dim)`."""
        return self._hidden(*self._read(cases, numbers)).numpy()

    def _read(self, cases: Cases, numbers: Sequence[int]) -> list[NDArray[np.int32]]:
        longest = self.model.max_length
        read = [padded([cases.history(number) for number in numbers], longest)]
        if self.model.time_bias:
            times = [cases.times(number) for number in numbers]
            read.append(padded([before_the_last(t) for t in times if t is not None], longest))
        return read
