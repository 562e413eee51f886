"""A model as a function from histories to scores, in float32 and in graph code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recommendation.batches import padded
from recommendation.config import Config
from recommendation.model import Recommender, build_model


class ModelScorer:
    """Scores all items for histories, as the floors do.

    It computes in float32 whatever the training's precision was: an answer must not depend on
    which histories share its batch.

    Args:
        config: of the model.
        num_items: size of the catalogue.
    """

    def __init__(self, config: Config, num_items: int) -> None:
        self.model = build_model(replace(config, precision="float32"), num_items)
        signature = [tf.TensorSpec([None, None], tf.int32)]
        self._hidden = tf.function(
            self.model.next_hidden, input_signature=signature, autograph=False
        )
        self._scores = tf.function(
            lambda history: self.model.scores(self.model.next_hidden(history)),
            input_signature=signature,
            autograph=False,
        )

    def load(self, model: Recommender) -> ModelScorer:
        """Take over the weights of a model of the same configuration."""
        self.model.set_weights(model.get_weights())
        return self

    def __call__(self, histories: Sequence[NDArray[np.int32]]) -> NDArray[np.floating]:
        """Score histories.

        Args:
            histories: item numbers, the latest last.

        Returns:
            `(histories, items + 1)`; column 0, which is no item, is the lowest.
        """
        scores: Any = self._scores(padded(histories, self.model.max_length)).numpy()
        return np.pad(scores, ((0, 0), (1, 0)), constant_values=-np.inf)

    def hidden(self, histories: Sequence[NDArray[np.int32]]) -> NDArray[np.floating]:
        """What the vectors of items are compared with, `(histories, dim)`."""
        return self._hidden(padded(histories, self.model.max_length)).numpy()
