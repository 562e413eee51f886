"""From sentence pairs to batches of subwords, drawn anew in every epoch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from attention_apps.running.command import UserError
from translation.alignments import Link
from translation.config import Config
from translation.corpus import Corpus
from translation.subwords import column, with_end
from translation.vocabularies import SourceTokens, Vocabularies
from translation.words import END, PAD, START


class Batches:
    """Training batches of about as many tokens each, in buckets of similar length.

    An epoch is drawn from (seed, epoch) alone, so a run can continue at any epoch.

    Args:
        config: `batch_tokens`, `max_length`, `subword_dropout`, `r_drop_weight` and `seed` are
            used.
        vocabularies: of both languages.
        corpus: the training pairs.
        teacher: word links of every pair for guided attention; None guides nothing.

    Raises:
        UserError: when no pair is short enough.
    """

    def __init__(
        self,
        config: Config,
        vocabularies: Vocabularies,
        corpus: Corpus,
        teacher: Sequence[Sequence[Link]] | None = None,
    ) -> None:
        self._config = config
        self._vocabularies = vocabularies
        sources = vocabularies.source.finish(vocabularies.source.encode_all(corpus.sources))
        targets = vocabularies.target.encode_all(corpus.targets)
        lengths = _lengths(sources, targets).numpy()
        kept = np.flatnonzero(lengths <= config.max_length)
        self.notes: list[str] = []
        if len(kept) < len(lengths):
            longest = int(lengths.argmax())
            self.notes.append(
                f"left out {len(lengths) - len(kept)} of {len(lengths)} training pairs longer than "
                f"{config.max_length} subwords (--max-length); the longest, pair {longest + 1}, "
                f"has {lengths[longest]}"
            )
        if not len(kept):
            raise UserError(
                f"No training pair is as short as --max-length {config.max_length} subwords. "
                f"Received: pairs of {lengths.min()} to {lengths.max()} subwords"
            )
        self._sources = tf.gather(sources, kept)
        self._targets = tf.gather(targets, kept)
        self._texts = [
            [sentences[i] for i in kept] for sentences in (corpus.sources, corpus.targets)
        ]
        self._linked_words = None
        if teacher is not None:
            self._linked_words = _linked_words([teacher[int(i)] for i in kept], self._texts[1])
        # Steps of four tokens keep padding small and the number of shapes too.
        self._bounds = [b for b in (*range(8, 36, 4), 40, 48, 64, 96, 128) if b < config.max_length]
        self._bounds.append(config.max_length)
        # With R-Drop every pair stands in its batch twice.
        tokens = config.batch_tokens // (2 if config.r_drop_weight else 1)
        self._sizes = [max(1, tokens // bound) for bound in self._bounds]
        rows = (self._sources, self._targets)
        if config.subword_dropout:
            rows = tuple(_ragged(*part) for part in self._sample(0))
        buckets = np.searchsorted(self._bounds, _lengths(*rows).numpy())
        counts = np.bincount(buckets, minlength=len(self._bounds))
        self.steps_per_epoch = int(
            sum(-(-c // s) for c, s in zip(counts, self._sizes, strict=True))
        )

    def epochs_from(self, first_epoch: int) -> tf.data.Dataset:
        """Endless batches that begin with epoch `first_epoch`.

        Args:
            first_epoch: counted from 0.

        Returns:
            A dataset of `(inputs, target, token weights)`, each of shape `(batch, length)`: inputs
            are `source` and `previous`, weights are 1 for tokens and 0 for padding. With a teacher
            inputs have `source_words`, the number of each source subword's word, counted from 1,
            and `linked_words`, that of the word which the subword in `previous` comes from; 0 is
            none.
        """
        epochs = tf.data.Dataset.counter(start=first_epoch)
        if not self._config.subword_dropout:
            epochs = epochs.flat_map(lambda epoch: self._epoch(epoch, self._sources, self._targets))
            return epochs.prefetch(4)

        def sampled(epoch: tf.Tensor) -> Any:
            types = [tf.int32, tf.int64] * 2
            flat = tf.numpy_function(
                lambda epoch: [part for row in self._sample(int(epoch)) for part in row],
                [epoch],
                types,
            )
            return epoch, *(tf.ensure_shape(part, [None]) for part in flat)

        # The next epoch is drawn while this one is trained on.
        return (
            epochs.map(sampled)
            .prefetch(1)
            .flat_map(lambda epoch, *p: self._epoch(epoch, _ragged(*p[:2]), _ragged(*p[2:])))
            .prefetch(4)
        )

    def _sample(self, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Split all pairs anew; return the ids and row splits of both languages."""
        config = self._config
        seeds = np.random.SeedSequence([config.seed, epoch]).generate_state(2)
        parts = []
        wholes = self._sources, self._targets
        ends: tuple[list[int], ...] = ([END], [])
        for texts, whole, end, seed in zip(self._texts, wholes, ends, seeds, strict=True):
            drawn = self._vocabularies.target.sample_all(texts, config.subword_dropout, int(seed))
            rows = [
                [*row, *end] if len(row) < config.max_length else whole[index].numpy().tolist()
                for index, row in enumerate(drawn)
            ]
            splits = np.cumsum([0, *map(len, rows)], dtype=np.int64)
            parts.append((np.fromiter(itertools.chain(*rows), np.int32), splits))
        return parts

    def _epoch(
        self, epoch: tf.Tensor, sources: tf.RaggedTensor, targets: tf.RaggedTensor
    ) -> tf.data.Dataset:
        seed = tf.stack([tf.constant(self._config.seed, tf.int64), epoch])
        lengths = _lengths(sources, targets)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(tf.shape(lengths)[0], dtype=tf.int32), seed=seed
        )
        indexes = tf.data.Dataset.from_tensor_slices((order, tf.gather(lengths, order)))
        batches = indexes.bucket_by_sequence_length(
            element_length_func=lambda index, length: length,
            # The function puts a length equal to a boundary into the next bucket.
            bucket_boundaries=[bound + 1 for bound in self._bounds[:-1]],
            bucket_batch_sizes=self._sizes,
        )
        if self._config.subword_dropout:
            # Lengths differ by epoch, and with them the number of batches by a few.
            batches = batches.repeat().take(self.steps_per_epoch)
        return batches.map(
            lambda indexes, lengths: self._batch(sources, targets, indexes, lengths),
            num_parallel_calls=2,
            deterministic=True,
        )

    def _batch(
        self,
        sources: tf.RaggedTensor,
        targets: tf.RaggedTensor,
        indexes: tf.Tensor,
        lengths: tf.Tensor,
    ) -> tuple[Any, Any, Any]:
        if self._config.r_drop_weight:
            indexes = tf.concat([indexes, indexes], axis=0)
        bounds = tf.constant(self._bounds, tf.int32)
        length = bounds[tf.searchsorted(bounds, tf.reduce_max(lengths)[None])[0]]
        shape = tf.stack([-1, length])
        source = tf.gather(sources, indexes)
        target = tf.gather(targets, indexes)
        source = source.to_tensor(PAD, shape=shape)
        previous = tf.concat([column(target, START), target], axis=1)
        previous = previous.to_tensor(PAD, shape=shape)
        target = with_end(target).to_tensor(PAD, shape=shape)
        weights = tf.cast(tf.not_equal(target, PAD), tf.float32)
        inputs = {"source": source, "previous": previous}
        if self._linked_words is not None:
            inputs["source_words"] = self._vocabularies.source.word_numbers(source)
            inputs["linked_words"] = tf.gather(
                tf.gather(self._linked_words, indexes).to_tensor(),
                self._vocabularies.target.word_numbers(previous),
                batch_dims=1,
            )
        return inputs, target, weights


def _lengths(sources: tf.RaggedTensor, targets: tf.RaggedTensor) -> tf.Tensor:
    """Places each pair needs: the source is finished, the target moves by one."""
    return tf.cast(tf.maximum(sources.row_lengths(), 1 + targets.row_lengths()), tf.int32)


def _ragged(values: Any, row_splits: Any) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_row_splits(values, row_splits, validate=False)


def _linked_words(teacher: Sequence[Sequence[Link]], targets: Sequence[str]) -> tf.RaggedTensor:
    """For every target word, counted from 1, the source word it comes from; 0 is none."""
    rows = []
    for links, target in zip(teacher, targets, strict=True):
        row = [0] * (1 + len(target.split()))
        for source_word, target_word in links:
            row[target_word + 1] = source_word + 1
        rows.append(row)
    return tf.ragged.constant(rows, dtype=tf.int32)


def pad_sources(tokens: SourceTokens, sentences: Sequence[str] | tf.Tensor) -> tf.Tensor:
    """Split sentences as the model reads them: tokens, what stands around them, padding.

    Args:
        tokens: of the source.
        sentences: `(batch,)` strings.

    Returns:
        `(batch, source)` int32 ids padded with 0.
    """
    return tokens.finish(tokens.encode(sentences)).to_tensor(PAD)
