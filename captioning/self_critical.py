"""Training on what captions are scored by: the model's own captions, rewarded by their CIDEr.

Cross-entropy teaches the next word behind people's words; a model that captions stands behind its
own, and is asked for whole captions. Behind `--epochs` some more may therefore draw captions and
make those likelier which score better than the others of the same photo.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from attention_apps.attention.decoding import sample
from attention_apps.running.cross_entropy import smoothed_cross_entropy
from captioning.losses import weighted_mean
from captioning.metrics import ORDERS
from captioning.words import PAD, caption_rules

SAMPLES = 5
"""Captions drawn of a photo: each is compared with the mean of the others."""
_SIGMA, _SCALE = 6.0, 10.0  # CIDEr-D's width of the penalty for another length, and its highest


class _Weighed(NamedTuple):
    """The n-grams of one caption, by order, as rare ones weigh more."""

    vectors: list[dict[tuple[int, ...], float]]
    norms: list[float]
    words: int


class CiderReward:
    """CIDEr-D of captions in ids, with the document frequencies of the training photos.

    The end counts as a word: without it, captions that stop in mid-sentence would be the best.

    Args:
        references: `(photos, captions, words)` ids of the training captions, padded with 0.

    Reference: Vedantam et al. 2015, "CIDEr: Consensus-based Image Description Evaluation".
    """

    def __init__(self, references: np.ndarray) -> None:
        frequencies: Counter[tuple[int, ...]] = Counter()
        for captions in references:
            frequencies.update({gram for row in captions for gram in _counts(row)})
        self._log_photos = math.log(len(references))
        self._logarithms = {gram: math.log(count) for gram, count in frequencies.items()}

    def __call__(self, references: np.ndarray, captions: np.ndarray) -> np.ndarray:
        """Score captions.

        Args:
            references: `(photos, references, words)` ids, padded with 0; a row of padding alone is
                none.
            captions: `(photos, captions, words)` ids, padded with 0.

        Returns:
            `(photos, captions)` float32, from 0 to 10; 0 for a photo without references.
        """
        scores = np.zeros(captions.shape[:2], np.float32)
        for photo, several in enumerate(captions):
            wanted = [self._weighed(row) for row in references[photo] if row[0] != PAD]
            for place, row in enumerate(several if wanted else ()):
                given = self._weighed(row)
                scores[photo, place] = np.mean([_similarity(given, one) for one in wanted])
        return scores

    def _weighed(self, row: np.ndarray) -> _Weighed:
        vectors: list[dict[tuple[int, ...], float]] = [{} for _ in range(ORDERS)]
        for gram, count in _counts(row).items():
            rarity = self._log_photos - self._logarithms.get(gram, 0.0)
            vectors[len(gram) - 1][gram] = count * rarity
        norms = [math.sqrt(sum(w * w for w in vector.values())) for vector in vectors]
        return _Weighed(vectors, norms, int(np.count_nonzero(row)))


def _counts(row: np.ndarray) -> Counter[tuple[int, ...]]:
    ids = [int(word) for word in row if word != PAD]
    orders = range(1, ORDERS + 1)
    return Counter(tuple(ids[i : i + n]) for n in orders for i in range(len(ids) - n + 1))


def _similarity(given: _Weighed, wanted: _Weighed) -> float:
    total = 0.0
    for order in range(ORDERS):
        theirs, norms = wanted.vectors[order], given.norms[order] * wanted.norms[order]
        ours = given.vectors[order].items()
        matched = sum(min(w, theirs[gram]) * theirs[gram] for gram, w in ours if gram in theirs)
        total += matched / norms if norms else 0.0
    penalty = math.exp(-((given.words - wanted.words) ** 2) / (2 * _SIGMA**2))
    return _SCALE * penalty * total / ORDERS


def draw_captions(model: Any, inputs: dict[str, Any], max_length: int, seed: Any) -> Any:
    """Draw captions from the model's own distribution, without dropout.

    Args:
        model: a `CaptionModel`.
        inputs: with `pixels` or `grids`, as in its call.
        max_length: most ids of a caption, the end included.
        seed: a `keras.random.SeedGenerator`.

    Returns:
        `(photos, SAMPLES, max_length)` int32 ids, padded with 0 behind the end.
    """
    state, encoded = model.begin(inputs, max_length)
    state, encoded = tree.map_structure(_repeated, (state, encoded))
    rules = caption_rules(max_length, 0.0)
    drawn = sample(model.step, state, encoded, rules, seed=seed).tokens
    return ops.stop_gradient(ops.reshape(drawn, (-1, SAMPLES, max_length)))


def _repeated(leaf: Any) -> Any:
    return ops.repeat(leaf, SAMPLES, axis=0) if len(leaf.shape) else leaf


def rewarded(reward: CiderReward, references: Any, drawn: Any) -> Any:
    """CIDEr of drawn captions, in graph code.

    Args:
        reward: of the training photos.
        references: `(photos, references, words)` ids.
        drawn: `(photos, SAMPLES, words)` ids.

    Returns:
        `(photos, SAMPLES)` float32.
    """
    scores = tf.numpy_function(reward, [references, drawn], tf.float32)
    return tf.ensure_shape(scores, [None, SAMPLES])


def policy_gradient(logits: Any, drawn: Any, rewards: Any, word_weights: Any) -> Any:
    """A loss whose gradient is that of REINFORCE for drawn captions.

        - sum_i (r_i - mean over j != i of r_j) log p(caption i)

    averaged over words. Each caption's baseline is what the others of its photo got, which does not
    depend on it: the gradient stays that of the expected reward.

    Args:
        logits: `(photos, SAMPLES, words, vocabulary)`.
        drawn: `(photos, SAMPLES, words)` ids.
        rewards: `(photos, SAMPLES)`.
        word_weights: `(photos, SAMPLES, words)`, 1 for words and 0 for padding.

    Returns:
        A scalar.

    Reference: Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning", with the
    baseline of Luo 2020, "A Better Variant of Self-Critical Sequence Training".
    """
    others = (ops.sum(rewards, axis=1, keepdims=True) - rewards) / (SAMPLES - 1)
    surprise = smoothed_cross_entropy(logits, drawn)
    return weighted_mean(ops.stop_gradient(rewards - others)[..., None] * surprise, word_weights)


class SelfCritical(keras.callbacks.Callback):
    """Lets the model train on its own captions from an epoch on.

    Args:
        reward: of the training photos.
        first_epoch: counted from 0.
    """

    def __init__(self, reward: CiderReward, first_epoch: int) -> None:
        super().__init__()
        self._reward = reward
        self._first_epoch = first_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Trace the training step anew, once, with the reward in it."""
        if epoch >= self._first_epoch and self.model.reward is None:
            self.model.reward = self._reward
            self.model.make_train_function(force=True)


@keras.saving.register_keras_serializable("attention_apps.captioning")
class ThenSlower(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule, and behind it another rate that falls linearly to zero.

    Args:
        first: the schedule of the first steps.
        first_steps: how many they are.
        rate: with which the steps behind them begin.
        later_steps: how many those are.
    """

    def __init__(self, first: Any, first_steps: int, rate: float, later_steps: int) -> None:
        self.first = first
        self.first_steps = first_steps
        self.rate = rate
        self.later_steps = later_steps

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step, a float32 scalar."""
        behind = ops.cast(step, "float32") - self.first_steps
        later = self.rate * ops.maximum(1.0 - behind / self.later_steps, 0.0)
        return ops.where(behind < 0, self.first(step), later)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this schedule again."""
        return {
            "first": keras.saving.serialize_keras_object(self.first),
            "first_steps": self.first_steps,
            "rate": self.rate,
            "later_steps": self.later_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ThenSlower:
        """Build the schedule from what `get_config` returned."""
        first = keras.saving.deserialize_keras_object(config["first"])
        return cls(**{**config, "first": first})
