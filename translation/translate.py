"""Raw sentences in, translations and alignments out: one function for Python, export and tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf

from attention_apps.attention.decoding import beam_search
from attention_apps.attention.hypotheses import Rules
from translation.batches import pad_sources
from translation.config import Config
from translation.memory_attention import MemoryAttention
from translation.model import Translator, in_float32
from translation.ordering import batches_by_length
from translation.vocabularies import Vocabularies
from translation.words import END, PAD, START, UNKNOWN

SENTENCES = tf.TensorSpec([None], tf.string, name="sentences")
LENGTH_PENALTY = tf.TensorSpec([], tf.float32, name="length_penalty")


class Translate(tf.Module):
    """A translator of raw sentences, in graph code throughout.

    It computes in float32 whatever the training's precision was: an answer must not depend on
    which sentences share its batch, and bfloat16 rounds differently for different shapes.

    Args:
        model: the trained model.
        vocabularies: those the model was trained with.
        config: `beam_size`, `length_penalty` and `max_length` are used.
        memory: training pairs that are attended to beside the source; None has none.
    """

    def __init__(
        self,
        model: Translator,
        vocabularies: Vocabularies,
        config: Config,
        memory: MemoryAttention | None = None,
    ) -> None:
        super().__init__(name="translate")
        self.model = in_float32(model)
        self.vocabularies = vocabularies
        self.config = config
        self.memory = memory

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
        return self._best(self.hypotheses(sentences), ("translations", "scores"))

    @tf.function(input_signature=[SENTENCES, LENGTH_PENALTY], autograph=False)
    def translate_with_penalty(self, sentences: Any, length_penalty: Any) -> dict[str, Any]:
        """Translate with another length penalty than the configuration's.

        Args:
            sentences: `(batch,)` strings.
            length_penalty: alpha, float32.

        Returns:
            As `translate`.
        """
        found = self.hypotheses(sentences, length_penalty=length_penalty)
        return self._best(found, ("translations", "scores"))

    @tf.function(input_signature=[SENTENCES], autograph=False)
    def translate_with_attention(self, sentences: Any) -> dict[str, Any]:
        """Translate, and tell what was attended to.

        Args:
            sentences: `(batch,)` strings.

        Returns:
            As `translate`, and `source_ids` `(batch, source)`, `target_ids` `(batch, target)`,
            their texts `source_tokens` and `target_tokens`, and `attention`
            `(batch, layers, heads, target, source)` float32: row t is what was attended to when
            target token t was chosen. With a memory also what `MemoryAttention.shown` gives.
        """
        found = self.hypotheses(sentences)
        source = {name: found[name] for name in ("source_ids", "source_tokens")}
        return {**source, **self._best(found, [name for name in found if name not in source])}

    def hypotheses(
        self,
        sentences: Any,
        *,
        num_hypotheses: int = 1,
        prefixes: Any = None,
        length_penalty: Any = None,
    ) -> dict[str, Any]:
        """Find the best translations of each sentence.

        Args:
            sentences: `(batch,)` strings.
            num_hypotheses: how many of each, at most `beam_size`.
            prefixes: `(batch,)` strings that the translations begin with; None forces nothing.
                A last word may go on: what is forced are its subwords.
            length_penalty: a number or float32 of rank 0; None takes the configuration's.

        Returns:
            As `translate_with_attention`, but what belongs to a translation has the hypotheses,
            best first, behind the batch: `translations` `(batch, hypotheses)`, `attention`
            `(batch, hypotheses, layers, heads, target, source)`. Where fewer were found the score
            is -inf.
        """
        source = pad_sources(self.vocabularies.source, self._written(sentences))
        forced = None
        if prefixes is not None:
            ids = self.vocabularies.target.encode(self._written(prefixes))
            forced = ids.to_tensor(PAD)[:, : self.config.max_length]
        penalty = self.config.length_penalty if length_penalty is None else length_penalty
        decoded = self._decode(source, num_hypotheses, forced, penalty)
        length = tf.reduce_max(decoded.lengths)
        target = decoded.tokens[:, :, :length]
        texts = self.vocabularies.target.decode(
            tf.reshape(decoded.tokens, (-1, self.config.max_length))
        )
        empty = tf.equal(tf.strings.length(tf.strings.strip(sentences)), 0)
        memory = self.memory
        remembered = {} if memory is None else self._remembered(memory, source, target)
        return {
            "translations": tf.where(empty[:, None], "", tf.reshape(texts, (-1, num_hypotheses))),
            "scores": decoded.scores,
            "source_ids": source,
            "target_ids": target,
            "source_tokens": self.vocabularies.source.texts(source),
            "target_tokens": self.vocabularies.target.texts(target),
            "attention": tf.transpose(decoded.weights[:, :, :length], (0, 1, 3, 4, 2, 5)),
            **remembered,
        }

    def _remembered(self, memory: MemoryAttention, source: Any, target: Any) -> dict[str, Any]:
        """What every hypothesis attended to in the memory, see `MemoryAttention.shown`."""
        batch, num_hypotheses, length = tf.unstack(tf.shape(target))
        flat = tf.reshape(target, (-1, length))
        source = tf.repeat(source, num_hypotheses, axis=0)
        previous = tf.concat([tf.fill((batch * num_hypotheses, 1), START), flat[:, :-1]], axis=1)
        states = self.model.decoder_states(previous, *self.model.encode(source, False), False)
        shown = memory.shown(states, source, flat != PAD)
        return {
            name: tf.reshape(value, tf.concat([[batch, num_hypotheses], tf.shape(value)[1:]], 0))
            for name, value in shown.items()
        }

    @staticmethod
    def _best(found: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        return {name: found[name][:, 0] for name in names}

    def _written(self, sentences: Any) -> Any:
        return separate_punctuation(sentences) if self.config.dataset == "generated" else sentences

    def _decode(self, source: Any, num_hypotheses: int, prefix: Any, length_penalty: Any) -> Any:
        rules = Rules(
            start_id=START,
            end_id=END,
            pad_id=PAD,
            max_length=self.config.max_length,
            forbidden=(PAD, START, UNKNOWN),
            length_penalty=length_penalty,
        )
        state, encoded = self.model.begin(source, self.config.max_length, growing=True)
        # Twice the source and a few: no translation is longer, and a loop of repetitions ends.
        limits = 2 * _lengths(source) + 8 + (0 if prefix is None else _lengths(prefix))
        step = self.model.step if self.memory is None else self.memory.step(self.model, source)
        return beam_search(
            step,
            state,
            encoded,
            rules,
            beam_size=self.config.beam_size,
            num_hypotheses=num_hypotheses,
            length_limit=tf.minimum(limits, self.config.max_length),
            prefix=prefix,
        )


def _lengths(ids: Any) -> Any:
    return tf.reduce_sum(tf.cast(tf.not_equal(ids, PAD), tf.int32), axis=1)


def separate_punctuation(sentences: Any) -> Any:
    """Write sentences as the embedded set does: punctuation and `'s` are words of their own.

    Args:
        sentences: `(batch,)` strings; those written so already stay as they are.

    Returns:
        `(batch,)` strings.
    """
    return tf.strings.regex_replace(sentences, r"\s*([.,]|'s\b)", r" \1")


def translate_all(
    function: Callable[[Any], dict[str, Any]],
    sentences: Sequence[str],
    *,
    batch_size: int = 64,
    sort: bool = True,
) -> list[dict[str, Any]]:
    """Translate many sentences.

    Args:
        function: from `(batch,)` strings to outputs by name, such as `Translate.translate` or a
            signature of a SavedModel.
        sentences: in any order.
        batch_size: sentences decoded at once.
        sort: decode sentences of similar length together, which is faster.

    Returns:
        For every sentence, in the order given, its row of every output.
    """
    rows: list[dict[str, Any]] = [{} for _ in sentences]
    for indexes in batches_by_length(sentences, batch_size, sort=sort):
        outputs = function(tf.constant([sentences[index] for index in indexes]))
        arrays = {name: value.numpy() for name, value in outputs.items()}
        for place, index in enumerate(indexes):
            rows[index] = {name: value[place] for name, value in arrays.items()}
    return rows
