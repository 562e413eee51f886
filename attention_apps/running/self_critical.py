"""Training a model on sequences that it draws itself, by what they are worth.

Cross-entropy teaches the next token behind people's tokens; a model that answers stands behind its
own, and is asked for whole sequences. Behind the usual epochs some more may therefore let it draw
sequences and make those likelier which are worth more than the others of the same input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops, tree

from attention_apps.attention.decoding import sample
from attention_apps.attention.hypotheses import Rules
from attention_apps.attention.search import Step
from attention_apps.running.cross_entropy import smoothed_cross_entropy, weighted_mean

SAMPLES = 5
"""Sequences drawn of an input: each is compared with the mean of the others."""


def draw(
    step: Step, state: Any, encoded: Any, rules: Rules, *, seed: Any, length_limit: Any = None
) -> Any:
    """Draw sequences from the model's own distribution; no gradient goes through them.

    Args:
        step, state, encoded, rules, length_limit: as in `decoding.greedy`.
        seed: as in `decoding.sample`.

    Returns:
        `(inputs, SAMPLES, max_length)` int32 ids, padded behind the end.
    """
    state, encoded, length_limit = tree.map_structure(
        for_each_sample, (state, encoded, length_limit)
    )

    def unobserved(state: Any, tokens: Any, encoded: Any) -> tuple[Any, Any, Any]:
        # Nobody reads where drawn sequences looked, and the search would keep it for every step.
        logits, state, _ = step(state, tokens, encoded)
        return logits, state, ops.zeros_like(logits[:, 0])

    decoded = sample(unobserved, state, encoded, rules, seed=seed, length_limit=length_limit)
    return ops.stop_gradient(ops.reshape(decoded.tokens, (-1, SAMPLES, rules.max_length)))


def for_each_sample(leaf: Any) -> Any:
    """Repeat rows, if there are any, for the sequences drawn of each: `(inputs * SAMPLES, ...)`."""
    return leaf if leaf is None or not len(leaf.shape) else ops.repeat(leaf, SAMPLES, axis=0)


def rewarded(reward: Callable[..., Any], references: Any, drawn: Any) -> Any:
    """What drawn sequences are worth, in graph code.

    Args:
        reward: a function of numpy arrays, from both to `(inputs, SAMPLES)` float32.
        references: `(inputs, ...)`, what people wrote.
        drawn: `(inputs, SAMPLES, ...)`.

    Returns:
        `(inputs, SAMPLES)` float32.
    """
    scores = tf.numpy_function(reward, [references, drawn], tf.float32)
    return tf.ensure_shape(scores, [None, SAMPLES])


def policy_gradient(logits: Any, drawn: Any, rewards: Any, weights: Any) -> Any:
    """A loss whose gradient is that of REINFORCE for drawn sequences.

        - sum_i (r_i - mean over j != i of r_j) log p(sequence i)

    averaged over tokens. Each sequence's baseline is what the others of its input got, which does
    not depend on it: the gradient stays that of the expected reward.

    Args:
        logits: `(inputs, SAMPLES, tokens, vocabulary)`.
        drawn: `(inputs, SAMPLES, tokens)` ids.
        rewards: `(inputs, SAMPLES)`.
        weights: `(inputs, SAMPLES, tokens)`, 1 for tokens and 0 for padding.

    Returns:
        A scalar.

    Reference: Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning", with the
    baseline of Luo 2020, "A Better Variant of Self-Critical Sequence Training".
    """
    others = (ops.sum(rewards, axis=1, keepdims=True) - rewards) / (SAMPLES - 1)
    surprise = smoothed_cross_entropy(logits, drawn)
    return weighted_mean(ops.stop_gradient(rewards - others)[..., None] * surprise, weights)


class SelfCritical(keras.callbacks.Callback):
    """Lets the model train on its own sequences from an epoch on: gives it its `reward`.

    Args:
        reward: what the model's loss asks what a sequence is worth.
        first_epoch: counted from 0.
    """

    def __init__(self, reward: Any, first_epoch: int) -> None:
        super().__init__()
        self._reward = reward
        self._first_epoch = first_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Trace the training step anew, once, with the reward in it."""
        if epoch >= self._first_epoch and self.model.reward is None:
            self.model.reward = self._reward
            self.model.make_train_function(force=True)
