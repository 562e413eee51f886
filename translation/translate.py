"""Raw sentences in, translations and alignments out: one function for Python, export and tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf

from attention_apps.attention.decoding import Rules, beam_search
from translation.batches import pad_sources
from translation.config import Config
from translation.model import END, PAD, START, UNKNOWN, Translator, build_model
from translation.subwords import Subwords

SENTENCES = tf.TensorSpec([None], tf.string, name="sentences")


class Translate(tf.Module):
    """A translator of raw sentences, in graph code throughout.

    It computes in float32 whatever the training's precision was: an answer must not depend on
    which sentences share its batch, and bfloat16 rounds differently for different shapes.

    Args:
        model: the trained model.
        subwords: those the model was trained with.
        config: `beam_size`, `length_penalty` and `max_length` are used.
    """

    def __init__(self, model: Translator, subwords: Subwords, config: Config) -> None:
        super().__init__(name="translate")
        self.model = build_model(
            replace(config, precision="float32", vocabulary_size=subwords.size)
        )
        self.subwords = subwords
        self.config = config
        self.load(model)

    def load(self, model: Translator) -> None:
        """Take over the weights of a model of the same configuration."""
        self.model.set_weights(model.get_weights())

    @tf.function(input_signature=[SENTENCES], autograph=False)
    def translate(self, sentences: Any) -> dict[str, Any]:
        """Translate.

        Args:
            sentences: `(batch,)` strings.

        Returns:
            `translations` `(batch,)` strings and `scores` `(batch,)` float32: the log-probability
            over the length penalty. An empty sentence gives an empty translation.
        """
        decoded = self._decode(self._read(sentences))
        return self._answer(sentences, decoded)

    @tf.function(input_signature=[SENTENCES], autograph=False)
    def translate_with_attention(self, sentences: Any) -> dict[str, Any]:
        """Translate, and tell what was attended to.

        Args:
            sentences: `(batch,)` strings.

        Returns:
            As `translate`, and `source_ids` `(batch, source)`, `target_ids` `(batch, target)`,
            their texts `source_tokens` and `target_tokens`, and `attention`
            `(batch, layers, heads, target, source)` float32: row t is what was attended to when
            target token t was chosen.
        """
        source = self._read(sentences)
        decoded = self._decode(source)
        length = tf.reduce_max(decoded.lengths)
        target = decoded.tokens[:, 0, :length]
        return {
            **self._answer(sentences, decoded),
            "source_ids": source,
            "target_ids": target,
            "source_tokens": self.subwords.texts(source),
            "target_tokens": self.subwords.texts(target),
            "attention": tf.transpose(decoded.weights[:, 0, :length], (0, 2, 3, 1, 4)),
        }

    def _read(self, sentences: Any) -> Any:
        if self.config.dataset == "generated":
            sentences = separate_punctuation(sentences)
        return pad_sources(self.subwords, sentences)

    def _decode(self, source: Any) -> Any:
        rules = Rules(
            start_id=START,
            end_id=END,
            pad_id=PAD,
            max_length=self.config.max_length,
            forbidden=(PAD, START, UNKNOWN),
            length_penalty=self.config.length_penalty,
        )
        state, encoded = self.model.begin(source, self.config.max_length)
        # Twice the source and a few: no translation is longer, and a loop of repetitions ends.
        lengths = tf.reduce_sum(tf.cast(tf.not_equal(source, PAD), tf.int32), axis=1)
        return beam_search(
            self.model.step,
            state,
            encoded,
            rules,
            beam_size=self.config.beam_size,
            length_limit=tf.minimum(2 * lengths + 8, self.config.max_length),
        )

    def _answer(self, sentences: Any, decoded: Any) -> dict[str, Any]:
        empty = tf.equal(tf.strings.length(tf.strings.strip(sentences)), 0)
        texts = self.subwords.decode(decoded.tokens[:, 0])
        return {
            "translations": tf.where(empty, "", texts),
            "scores": decoded.scores[:, 0],
        }


def separate_punctuation(sentences: Any) -> Any:
    """Write sentences as the embedded set does: punctuation and `'s` are words of their own.

    Args:
        sentences: `(batch,)` strings; those written so already stay as they are.

    Returns:
        `(batch,)` strings.
    """
    return tf.strings.regex_replace(sentences, r"\s*([.,]|'s\b)", r" \1")


def translate_all(
    translate: Any,
    sentences: Sequence[str],
    *,
    batch_size: int = 64,
    attention: bool = False,
    sort: bool = True,
) -> list[dict[str, Any]]:
    """Translate many sentences.

    Args:
        translate: `Translate`, or a SavedModel made from one.
        sentences: in any order.
        batch_size: sentences decoded at once.
        attention: also return what was attended to.
        sort: decode sentences of similar length together, which is faster.

    Returns:
        For every sentence, in the order given, its row of every output.
    """
    function = _function(translate, attention)
    order = list(range(len(sentences)))
    if sort:
        order.sort(key=lambda index: len(sentences[index]))
    rows: list[dict[str, Any]] = [{} for _ in sentences]
    for start in range(0, len(order), batch_size):
        indexes = order[start : start + batch_size]
        outputs = function(tf.constant([sentences[index] for index in indexes]))
        arrays = {name: value.numpy() for name, value in outputs.items()}
        for place, index in enumerate(indexes):
            rows[index] = {name: value[place] for name, value in arrays.items()}
    return rows


def _function(translate: Any, attention: bool) -> Any:
    if isinstance(translate, Translate):
        return translate.translate_with_attention if attention else translate.translate
    return translate.signatures["with_attention" if attention else "serving_default"]
