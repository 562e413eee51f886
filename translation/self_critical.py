"""Training on what translations are scored by: the model's own translations, by their BLEU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import exp, log
from typing import Any

import keras
import numpy as np
from keras import ops

from attention_apps.attention.hypotheses import Rules
from attention_apps.running.self_critical import (
    SAMPLES,
    draw,
    for_each_sample,
    policy_gradient,
    rewarded,
)
from attention_apps.running.side_by_side import side_by_side
from translation.words import END, PAD, START, UNKNOWN

ORDERS = 4
ROOM_TO_SPARE = 4
"""Tokens that a drawn translation may be longer than the longest pair of its batch."""
_SEEDS_OF_A_STEP = 65_537  # more than a batch has rows


def sentence_bleu(reference: Sequence[str], translation: Sequence[str]) -> float:
    """BLEU of one translation: one more match of every order from two on, or most would be 0.

    Args:
        reference: its words.
        translation: its words.

    Returns:
        From 0 to 1.

    Reference: Lin & Och 2004, "ORANGE: a Method for Evaluating Automatic Evaluation Metrics for
    Machine Translation" (BLEU+1).
    """
    if not translation or not reference:
        return 0.0
    total = 0.0
    for order in range(1, ORDERS + 1):
        wanted, given = _counts(reference, order), _counts(translation, order)
        matched = sum(min(count, wanted[gram]) for gram, count in given.items() if gram in wanted)
        more = order > 1
        if not matched + more:
            return 0.0
        total += log((matched + more) / (max(len(translation) - order + 1, 0) + more))
    return exp(total / ORDERS + min(0.0, 1.0 - len(reference) / len(translation)))


def _counts(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


class BleuReward:
    """BLEU of drawn translations, in graph code.

    Args:
        decode: from `(rows, subwords)` ids to `(rows,)` strings of words with spaces between.
    """

    def __init__(self, decode: Callable[[Any], Any]) -> None:
        self._decode = decode

    def __call__(self, target: Any, drawn: Any) -> Any:
        """Score translations.

        Args:
            target: `(pairs, tokens)` ids that were wanted.
            drawn: `(pairs, SAMPLES, tokens)` ids.

        Returns:
            `(pairs, SAMPLES)` float32.
        """
        texts = self._decode(ops.reshape(drawn, (-1, ops.shape(drawn)[-1])))
        return rewarded(_scores, self._decode(target), ops.reshape(texts, (-1, SAMPLES)))


def _scores(references: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    scores = np.zeros(drawn.shape, np.float32)
    for place, (reference, several) in enumerate(zip(references, drawn, strict=True)):
        words = reference.split()
        scores[place] = [sentence_bleu(words, one.split()) for one in several]
    return scores


class SelfCriticalTranslator(keras.Model):
    """A translator that can learn from what it translates itself.

    While `reward` is None it learns from the targets that it is given, by the compiled loss.
    """

    batch_parts: int = 1
    """Parts of a training batch that are computed side by side."""
    max_length: int = 80
    """Most tokens of a drawn translation."""
    reward: BleuReward | None = None
    """What drawn translations are worth."""

    def own_translations(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Draw translations without dropout, and predict their tokens with it.

        What is drawn depends on the optimizer's step alone, so that a resumed run draws the same.

        Args:
            inputs: as in a call; of `previous` only the length is read.

        Returns:
            `drawn` `(pairs, SAMPLES, tokens)` ids and their `logits`, `(pairs, SAMPLES, tokens,
            vocabulary)`.
        """
        rules = Rules(
            start_id=START,
            end_id=END,
            pad_id=PAD,
            max_length=self.max_length,
            forbidden=(PAD, START, UNKNOWN),
        )
        source = inputs["source"]
        length = ops.shape(inputs["previous"])[1] + ROOM_TO_SPARE
        step = ops.cast(self.optimizer.iterations, "int32") * _SEEDS_OF_A_STEP
        rows = ops.arange(ops.shape(source)[0], dtype="int32")

        def predict(part: dict[str, Any]) -> dict[str, Any]:
            # A batch of few rows leaves a part without any, and a search wants one: of padding.
            source = ops.pad(part["source"], ((0, 1), (0, 0)), constant_values=PAD)
            state, encoded = self.begin(source, self.max_length, growing=True)
            limits = ops.pad(ops.full_like(part["seed"], length), (0, 1), constant_values=1)
            seed = ops.sum(part["seed"][:1])
            drawn = draw(self.step, state, encoded, rules, seed=seed, length_limit=limits)
            drawn = drawn[:-1, :, :length]
            previous = ops.pad(drawn[..., :-1], ((0, 0), (0, 0), (1, 0)), constant_values=START)
            flat = ops.reshape(previous, (-1, ops.shape(previous)[-1]))
            memory = map(for_each_sample, self.encode(part["source"], True))
            logits = self.decode(flat, *memory, True)
            shape = (*ops.shape(drawn), logits.shape[-1])
            return {"drawn": drawn, "logits": ops.reshape(logits, shape)}

        return side_by_side(predict, {"source": source, "seed": step + rows}, self.batch_parts)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The compiled loss or, of translations that were drawn, the policy gradient.

        Args:
            x: the inputs.
            y: `(pairs, tokens)` ids that are wanted.
            y_pred: what the model gave.
            sample_weight: `(pairs, tokens)`, 1 for tokens and 0 for padding.
            training: whether this is a training step.

        Returns:
            A scalar.
        """
        if self.reward is None or not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        drawn = y_pred["drawn"]
        weights = ops.cast(ops.not_equal(drawn, PAD), "float32")
        return policy_gradient(y_pred["logits"], drawn, self.reward(y, drawn), weights)
