"""Training batches: a stretch of every user's history, drawn anew in every epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from attention_apps.running.command import UserError
from recommendation.config import Config
from recommendation.losses import CHUNK, draw_probabilities, make_loss
from recommendation.model import PAD
from recommendation.splits import Splits

_BOUNDS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 200, 256, 384, 512)


class Batches:
    """Batches of histories of similar length, as many items in each.

    What an epoch holds is drawn from (seed, epoch) alone, so a run can continue at any epoch. Of a
    history longer than `max_length` a stretch is drawn, another one in every epoch; nothing but
    the batch is held in memory.

    Args:
        config: the room's configuration.
        splits: whose training part is read.

    Raises:
        UserError: when no history has two items.
    """

    def __init__(self, config: Config, splits: Splits) -> None:
        self._config = config
        self._item_ids = splits.interactions.item_ids
        self._times = splits.interactions.times if config.time_bias else None
        self._mask_id = len(splits.interactions.items) + 1
        begins = splits.interactions.offsets[:-1]
        lengths = splits.train_ends - begins
        users = np.flatnonzero(lengths >= 2)
        if not len(users):
            raise UserError(
                "Some user must have 2 items to train on: one, and the one it predicts. Received: "
                f"at most {lengths.max(initial=0)} for each of {len(lengths)} users"
            )
        self._begins, self._lengths = begins[users], lengths[users]
        counts = splits.training_counts()[1:]
        self._needs = make_loss(config, counts).needs
        self._draw = np.cumsum(draw_probabilities(config, counts))
        longest = config.max_length + (config.model == "bert4rec")
        # SASRec reads all but the last item of a stretch and predicts all but the first.
        self._stretch = longest + (config.model == "sasrec")
        shown = np.minimum(self._lengths, self._stretch) - (config.model == "sasrec")
        self._bounds = [bound for bound in _BOUNDS if bound < longest] + [longest]
        buckets = np.searchsorted(self._bounds, shown)
        self._buckets = [np.flatnonzero(buckets == b) for b in range(len(self._bounds))]
        self._sizes = [max(1, config.batch_tokens // bound) for bound in self._bounds]
        self.steps_per_epoch = sum(
            -(-len(rows) // size) for rows, size in zip(self._buckets, self._sizes, strict=True)
        )

    def epochs_from(self, first_epoch: int) -> tf.data.Dataset:
        """Endless batches that begin with epoch `first_epoch`.

        Args:
            first_epoch: counted from 0.

        Returns:
            A dataset of `({"history", "places"}, target, weights)`: `history` `(batch, length)`,
            the others `(targets,)`, a whole number of chunks; weights are 1, and 0 for padding.
            Where the loss needs them also `negatives`; where the model reads them `times`
            `(batch, length)`, seconds before the last item.
        """
        targets = tf.TensorSpec([None], tf.int32)
        inputs = {"history": tf.TensorSpec([None, None], tf.int32), "places": targets}
        if self._needs != "none":
            inputs["negatives"] = targets
        if self._times is not None:
            inputs["times"] = inputs["history"]
        signature = (inputs, targets, tf.TensorSpec([None], tf.float32))
        return tf.data.Dataset.from_generator(
            lambda: itertools.chain.from_iterable(map(self.epoch, itertools.count(first_epoch))),
            output_signature=signature,
        ).prefetch(4)

    def epoch(self, epoch: int) -> Iterator[tuple[dict[str, Any], Any, Any]]:
        """The batches of one epoch, as NumPy arrays.

        Args:
            epoch: counted from 0.
        """
        random = np.random.default_rng([self._config.seed, epoch])
        parts: list[tuple[int, NDArray[np.int64]]] = []
        for bound, rows, size in zip(self._bounds, self._buckets, self._sizes, strict=True):
            shuffled = random.permutation(rows)
            parts += [(bound, shuffled[s : s + size]) for s in range(0, len(shuffled), size)]
        for part in random.permutation(len(parts)):
            bound, rows = parts[part]
            room = np.maximum(self._lengths[rows] - self._stretch, 0)
            starts = self._begins[rows] + random.integers(0, room + 1)
            counts = np.minimum(self._lengths[rows], self._stretch)
            places = [slice(s, s + count) for s, count in zip(starts, counts, strict=True)]
            yield self._batch(bound, places, random)

    def _batch(
        self, bound: int, stretches: Sequence[slice], random: np.random.Generator
    ) -> tuple[dict[str, Any], Any, Any]:
        history = np.full((len(stretches), bound), PAD, np.int32)
        target = np.full((len(stretches), bound), PAD, np.int32)
        for row, places in enumerate(stretches):
            stretch = self._item_ids[places]
            if self._config.model == "sasrec":
                history[row, bound - len(stretch) + 1 :] = stretch[:-1]
                target[row, bound - len(stretch) + 1 :] = stretch[1:]
            else:
                hidden = hide(len(stretch), self._config.mask_rate, random)
                history[row, bound - len(stretch) :] = np.where(hidden, self._mask_id, stretch)
                target[row, bound - len(stretch) :] = np.where(hidden, stretch, PAD)
        predicting = np.flatnonzero(target).astype(np.int32)
        missing = -len(predicting) % CHUNK
        weights = np.pad(np.ones(len(predicting), np.float32), (0, missing))
        predicting = np.pad(predicting, (0, missing))
        # Padding predicts anything, with weight 0; it needs some item.
        chosen = np.maximum(target.ravel()[predicting], 1)
        inputs = {"history": history, "places": predicting}
        if self._times is not None:
            inputs["times"] = self._times_of(bound, stretches)
        if self._needs != "none":
            own = self._needs == "own"
            count = len(predicting) if own else self._config.num_negatives
            drawn = np.searchsorted(self._draw, random.random(count) * self._draw[-1]) + 1
            inputs["negatives"] = drawn.astype(np.int32)
        return inputs, chosen, weights

    def _times_of(self, bound: int, stretches: Sequence[slice]) -> NDArray[np.int32]:
        assert self._times is not None
        times = [self._times[places] for places in stretches]
        if self._config.model == "sasrec":
            times = [own[:-1] for own in times]
        else:  # nobody knows when the last item will be taken: it counts as the one before it
            times = [np.append(own[:-1], own[-2:-1]) for own in times]
        return padded([before_the_last(own) for own in times], bound)


def hide(length: int, rate: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """Which items of a stretch bert4rec must guess: each with probability `rate`, at least one.

    Every tenth time it is the last alone, which is what it is asked for later.
    """
    hidden = np.zeros(length, bool)
    if random.random() >= 0.1:
        hidden = random.random(length) < rate
    if not hidden.any():
        hidden[-1] = True
    return hidden


def before_the_last(times: NDArray[np.int64]) -> NDArray[np.int32]:
    """Seconds to the last of some times, none of them positive; centuries are cut short."""
    limit = np.iinfo(np.int32).max // 4
    return (times - times[-1:]).clip(-limit, limit).astype(np.int32)


def padded(histories: Sequence[NDArray[np.int32]], max_length: int) -> NDArray[np.int32]:
    """The latest entries of histories in one array, at the right, in one of few lengths.

    Args:
        histories: item numbers (or times), the latest last.
        max_length: most entries that are kept.

    Returns:
        `(histories, length)` int32, padded with 0 in front.
    """
    longest = min(max((len(history) for history in histories), default=0), max_length)
    bound = next((b for b in _BOUNDS if longest <= b < max_length), max_length)
    rows = np.full((len(histories), bound), PAD, np.int32)
    for row, history in enumerate(histories):
        kept = history[-bound:]
        rows[row, bound - len(kept) :] = kept
    return rows
