"""What may be known when: the parts of the data and the windows cut from them.

A forecast is made at an *origin*, the last row it may read. It reads `lookback` rows up to and
with the origin and forecasts the `horizon` rows behind it. Every forecast row of a part lies in
that part, so between the last origin of a part and the first of the next there are `horizon` rows:
the purge, without which the later part would be measured on rows the earlier one has learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from attention_apps.running.command import UserError
from forecasting.config import Config

PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class Parts:
    """Where the training, validation and test part end.

    Attributes:
        ends: row behind the last of each part.
        lookback: rows that a forecast reads.
        horizon: rows that are forecast.
    """

    ends: tuple[int, int, int]
    lookback: int
    horizon: int

    @classmethod
    def of(cls, config: Config, num_rows: int) -> Parts:
        """Divide rows by the configuration's shares or numbers of rows.

        Args:
            config: the room's configuration.
            num_rows: how many there are.

        Raises:
            UserError: when a part is too short for a single forecast.
        """
        if config.split_rows:
            first, second, third = (int(end) for end in np.cumsum(config.split_rows))
        else:
            # As the standard benchmarks divide: whole rows of training and test, the rest between.
            first = int(num_rows * (1 - config.validation_share - config.test_share) + 1e-9)
            second, third = num_rows - int(num_rows * config.test_share + 1e-9), num_rows
        if third > num_rows:
            raise UserError(
                f"--split-rows asks for {third} rows. Received: data of {num_rows} rows"
            )
        parts = cls((first, second, third), config.lookback, config.horizon)
        for name in PARTS:
            if not len(parts.origins(name)):
                raise UserError(
                    f"The data is too short: its {name} part holds no window of --lookback "
                    f"{config.lookback} and --horizon {config.horizon} rows. "
                    f"Received: {num_rows} rows"
                )
        return parts

    @property
    def cutoff(self) -> int:
        """The first row that training may not see."""
        return self.ends[0]

    def origins(self, name: str) -> np.ndarray:
        """Rows at which the forecasts of a part are made, `(origins,)`.

        Args:
            name: `training`, `validation` or `test`.
        """
        index = PARTS.index(name)
        first = self.lookback - 1 if index == 0 else max(self.ends[index - 1], self.lookback) - 1
        return np.arange(first, self.ends[index] - self.horizon)


@dataclass(frozen=True)
class Windows:
    """Scaled rows, and the windows cut from them.

    Attributes:
        series: what is forecast, `(time, targets)` float64.
        features: what is read of it and of past covariates, `(time, variables, features)` float32.
        known: what is known of past and future alike, `(time, known)` float32.
        lookback: rows that a forecast reads.
        horizon: rows that are forecast.
    """

    series: np.ndarray
    features: np.ndarray
    known: np.ndarray
    lookback: int
    horizon: int

    def inputs(self, origins: np.ndarray) -> dict[str, np.ndarray]:
        """What the model reads at some origins.

        Args:
            origins: rows, `(batch,)`.

        Returns:
            `past` `(batch, lookback, variables, features)` and, where anything is known, `known`
            `(batch, lookback + horizon, known)`.
        """
        back = np.arange(1 - self.lookback, 1)
        inputs = {"past": self.features[origins[:, None] + back]}
        if self.known.shape[1]:
            ahead = np.arange(1 - self.lookback, self.horizon + 1)
            inputs["known"] = self.known[origins[:, None] + ahead]
        return inputs

    def changes(self, origins: np.ndarray) -> np.ndarray:
        """What is to be forecast: how far the series moves from its value at the origin.

        Args:
            origins: rows, `(batch,)`.

        Returns:
            `(batch, horizon, targets)` float64.
        """
        ahead = self.series[origins[:, None] + np.arange(1, self.horizon + 1)]
        return ahead - self.series[origins][:, None]

    def training_batches(self, config: Config, origins: np.ndarray, first_epoch: int) -> Any:
        """Endless training batches; the order and noise of an epoch depend on (seed, epoch) alone.

        Args:
            config: batch size, seed and augmentation are used.
            origins: of the training part.
            first_epoch: the epoch that comes first, counted from 0.

        Returns:
            A dataset of `(inputs, changes (batch, horizon, targets, 1) float32)`.
        """
        epochs = tf.data.Dataset.counter(start=first_epoch)
        return epochs.flat_map(lambda epoch: self._epoch(config, origins, epoch)).prefetch(2)

    def _epoch(self, config: Config, origins: np.ndarray, epoch: Any) -> Any:
        seed = tf.stack([tf.constant(config.seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.constant(origins), seed=seed)
        batches = tf.data.Dataset.from_tensor_slices(order).batch(config.batch_size)

        def augmented(step: Any, rows: Any) -> tuple[dict[str, Any], Any]:
            inputs, changes = self._gather(rows)
            return augment(config, inputs, changes, tf.stack([seed[0], seed[1] * 1_000_003 + step]))

        return batches.enumerate().map(augmented, num_parallel_calls=1, deterministic=True)

    def validation_batches(self, origins: np.ndarray, batch_size: int) -> Any:
        """All windows of a part once, in order.

        Args:
            origins: rows.
            batch_size: windows of a batch; the last may hold fewer.
        """
        return tf.data.Dataset.from_tensor_slices(origins).batch(batch_size).map(self._gather)

    def _gather(self, rows: Any) -> tuple[dict[str, Any], Any]:
        back = rows[:, None] + tf.range(1 - self.lookback, 1, dtype=rows.dtype)
        ahead = rows[:, None] + tf.range(1, self.horizon + 1, dtype=rows.dtype)
        inputs = {"past": tf.gather(tf.constant(self.features), back)}
        if self.known.shape[1]:
            both = tf.concat([back, ahead], axis=1)
            inputs["known"] = tf.gather(tf.constant(self.known), both)
        series = tf.constant(self.series)
        changes = tf.gather(series, ahead) - tf.gather(series, rows)[:, None]
        return inputs, tf.cast(changes, tf.float32)[..., None]


def augment(
    config: Config, inputs: dict[str, Any], changes: Any, seed: Any
) -> tuple[dict[str, Any], Any]:
    """Vary training windows: noise, another size, a later beginning.

    Args:
        config: `jitter`, `scaling` and `cropping` are used; 0 leaves that out.
        inputs: `past` `(batch, lookback, variables, features)` and maybe `known`.
        changes: `(batch, horizon, targets, 1)`.
        seed: two integers that decide the chance.

    Returns:
        Inputs and changes, varied.

    Reference: Um et al. 2017, "Data Augmentation of Wearable Sensor Data for Parkinson's Disease
    Monitoring" (jittering, scaling, cropping).
    """
    past = inputs["past"]
    batch, length = tf.shape(past)[0], past.shape[1]
    seeds = tf.random.experimental.stateless_split(seed, 3)
    if config.scaling:
        factor = tf.exp(config.scaling * tf.random.stateless_normal([batch, 1, 1, 1], seeds[0]))
        past, changes = past * factor, changes * factor
    if config.jitter:
        past = past + config.jitter * tf.random.stateless_normal(tf.shape(past), seeds[1])
    if config.cropping:
        longest = config.cropping * length
        hidden = tf.random.stateless_uniform([batch, 1], seeds[2], maxval=longest)
        # A hidden row shows what the first row that is not hidden shows.
        rows = tf.maximum(tf.range(length)[None], tf.cast(hidden, tf.int32))
        past = tf.gather(past, rows, batch_dims=1)
    return {**inputs, "past": past}, changes
