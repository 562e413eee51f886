"""Attention to a translation memory: what similar sentences were translated with, here.

While a token is chosen, the decoder's state asks the states of the most similar training pairs, and
each of these answers with the token that followed it:

    score_j     = -sharpness |query - state_j|^2 / spread + similarity cos(source, source_j)
    p(token)    = (1 - share) p_model(token) + share sum_{j: token_j = token} softmax(score)_j

`spread` is the mean squared distance of the memory's states from their mean, so that a sharpness
means the same for every model. The cosine is that of TF-IDF vectors of source subwords. Nothing is
learned: the memory has no weights.

References:
    Khandelwal et al. 2021, "Nearest Neighbor Machine Translation" (the mixture);
    Zhang et al. 2018, "Guiding Neural Machine Translation with Retrieved Translation Pieces", and
    Dai et al. 2023, "Simple and Scalable Nearest Neighbor Machine Translation" (pairs retrieved for
    each sentence, by its words);
    Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval" (TF-IDF).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from translation.translation_memory import TranslationMemory
from translation.words import PAD

PAIRS_SHOWN = 8


@dataclass(frozen=True)
class Recall:
    """How a memory is attended to.

    Attributes:
        num_pairs: training pairs that a sentence attends to; of a smaller memory all.
        share: of the memory in every prediction, from 0 to 1.
        sharpness: of the softmax over distances of states.
        similarity: how much the likeness of the sources counts.
    """

    num_pairs: int
    share: float
    sharpness: float
    similarity: float


class Nearest(NamedTuple):
    """The part of a memory that the sentences of a batch attend to; padded.

    Attributes:
        keys: `(batch, key, dim)` float32.
        squares: `(batch, key)` float32, the keys' squared lengths.
        next_tokens: `(batch, key)` int32.
        cosine: `(batch, key)` float32, the likeness of the source each key belongs to.
        key_mask: `(batch, key)` booleans, True = may attend.
        places: `(batch, key)` int32, which of the `pairs` each key belongs to.
        pairs: `(batch, num_pairs)` int32, the number of each pair in the memory, nearest first.
    """

    keys: Any
    squares: Any
    next_tokens: Any
    cosine: Any
    key_mask: Any
    places: Any
    pairs: Any


class MemoryAttention(tf.Module):
    """A memory and how it is attended to, in graph code throughout.

    Args:
        memory: what is attended to.
        recall: how.
    """

    def __init__(self, memory: TranslationMemory, recall: Recall) -> None:
        super().__init__(name="memory_attention")
        self.recall = recall
        self.num_pairs = min(recall.num_pairs, len(memory))
        states = memory.states.astype(np.float32)
        self.spread = float(np.var(states, axis=0, dtype=np.float64).sum()) or 1.0
        self._states = _constant(memory.states)
        self._next_tokens = _constant(memory.next_tokens)
        self._splits = _constant(memory.target_splits)
        self._texts = tuple(_constant(np.array(texts, object)) for texts in memory.pairs)
        terms = _Terms(memory.source_ids, memory.source_splits)
        self._inverse_frequency = _constant(terms.inverse_frequency)
        self._term_places, self._term_weights = map(_constant, (terms.places, terms.weights))
        self._size = len(memory), len(terms.inverse_frequency)

    def cosines(self, source: Any) -> Any:
        """How alike sources are to every pair's.

        Args:
            source: `(batch, source)` ids padded with 0.

        Returns:
            `(batch, pairs of the memory)` float32, cosines of TF-IDF vectors.
        """
        num_pairs, num_ids = self._size
        known = (source != PAD) & (source < num_ids)
        counts = tf.math.bincount(
            tf.where(known, source, 0),
            tf.cast(known, tf.float32),
            minlength=num_ids,
            maxlength=num_ids,
            axis=-1,
        )
        query = _damped(counts) * self._inverse_frequency
        query = tf.math.l2_normalize(tf.ensure_shape(query, (None, num_ids)), axis=-1)
        terms = tf.SparseTensor(self._term_places, self._term_weights, (num_pairs, num_ids))
        return tf.transpose(tf.sparse.sparse_dense_matmul(terms, query, adjoint_b=True))

    def nearest(self, source: Any) -> Nearest:
        """Fetch the pairs whose sources are most alike.

        Args:
            source: `(batch, source)` ids padded with 0.

        Returns:
            Their keys and what stands beside them.
        """
        cosine, pairs = tf.math.top_k(self.cosines(source), self.num_pairs)
        starts = tf.gather(self._splits, pairs)
        lengths = tf.gather(self._splits, pairs + 1) - starts
        flat = tf.reshape(lengths, (-1,))
        rows = tf.reduce_sum(lengths, axis=1)
        positions = tf.ragged.range(tf.reshape(starts, (-1,)), tf.reshape(starts + lengths, (-1,)))
        positions = positions.flat_values

        def padded(values: Any) -> Any:
            return tf.RaggedTensor.from_row_lengths(values, rows, validate=False).to_tensor()

        places = tf.broadcast_to(tf.range(self.num_pairs)[None], tf.shape(pairs))
        keys = padded(tf.cast(tf.gather(self._states, positions), tf.float32))
        return Nearest(
            keys=keys,
            squares=tf.reduce_sum(tf.square(keys), axis=-1),
            next_tokens=padded(tf.gather(self._next_tokens, positions)),
            cosine=padded(tf.repeat(tf.reshape(cosine, (-1,)), flat)),
            key_mask=padded(tf.ones_like(positions, tf.bool)),
            places=padded(tf.repeat(tf.reshape(places, (-1,)), flat)),
            pairs=pairs,
        )

    def weights(self, query: Any, nearest: Nearest, recall: Recall | None = None) -> Any:
        """How much each query attends to every key.

        Args:
            query: `(batch, query, dim)` states of the decoder.
            nearest: what `nearest` gave for the same batch.
            recall: other than the memory's own.

        Returns:
            `(batch, query, key)` float32; a row sums to 1.
        """
        recall = recall or self.recall
        # The query's own square is the same for all keys, and softmax does not see it.
        sharpness = recall.sharpness / self.spread
        of_key = recall.similarity * nearest.cosine - sharpness * nearest.squares
        of_key = tf.where(nearest.key_mask, of_key, of_key.dtype.min)[:, None]
        near = tf.matmul(2.0 * sharpness * query, nearest.keys, transpose_b=True)
        return tf.nn.softmax(near + of_key, axis=-1)

    def predictions(
        self, query: Any, nearest: Nearest, vocabulary_size: int, recall: Recall | None = None
    ) -> Any:
        """What the memory alone predicts.

        Args:
            query, nearest, recall: as in `weights`.
            vocabulary_size: number of tokens.

        Returns:
            Probabilities `(batch, query, vocabulary)`.
        """
        weights = self.weights(query, nearest, recall)
        batch, length, _ = tf.unstack(tf.shape(weights))
        row = tf.reshape(tf.range(batch * length), (batch, length, 1))
        places = row * vocabulary_size + nearest.next_tokens[:, None]
        summed = tf.math.unsorted_segment_sum(weights, places, batch * length * vocabulary_size)
        return tf.reshape(summed, (batch, length, vocabulary_size))

    def mixed(self, logits: Any, states: Any, nearest: Nearest) -> Any:
        """Let the memory have its share of a prediction.

        Args:
            logits: `(batch * beam, vocabulary)`, the model's.
            states: `(batch * beam, dim)`, the states they are read off.
            nearest: what `nearest` gave for the batch. Of fewer rows than it has examples, as a
                search asks about once, the first are meant.

        Returns:
            Log-probabilities `(batch * beam, vocabulary)`.
        """
        rows = tf.shape(states)[0]
        examples = tf.minimum(rows, tf.shape(nearest.keys)[0])
        nearest = Nearest(*(part[:examples] for part in nearest))
        query = tf.reshape(states, (examples, rows // examples, states.shape[-1]))
        remembered = self.predictions(query, nearest, logits.shape[-1])
        remembered = tf.reshape(remembered, tf.shape(logits))
        share = self.recall.share
        return tf.math.log(share * remembered + (1.0 - share) * tf.nn.softmax(logits))

    def step(self, model: Any, source: Any) -> Any:
        """The `step` of a model that attends to the memory as well.

        Args:
            model: a `Translator` or `RecurrentTranslator`.
            source: `(batch, source)` ids padded with 0, what is decoded from.

        Returns:
            A function as the model's own `step`.
        """
        nearest = self.nearest(source)

        def step(state: Any, tokens: Any, encoded: Any) -> tuple[Any, Any, Any]:
            states, state, weights = model.step_states(state, tokens, encoded)
            return self.mixed(model.logits(states), states, nearest), state, weights

        return step

    def shown(self, query: Any, source: Any, target_mask: Any) -> dict[str, Any]:
        """Which pairs the tokens of translations attended to most.

        Args:
            query: `(batch, target, dim)`, the decoder's states.
            source: `(batch, source)` ids padded with 0.
            target_mask: `(batch, target)` booleans, True for tokens.

        Returns:
            `memory_weights` `(batch, target, shown)`: of what each token attends to in the memory
            the part that is in each of the pairs, and these, `memory_sources` and `memory_targets`
            `(batch, shown)` strings, those first that all tokens together attend to most.
        """
        nearest = self.nearest(source)
        weights = self.weights(query, nearest) * tf.cast(target_mask, tf.float32)[..., None]
        batch = tf.shape(weights)[0]
        places = tf.range(batch)[:, None] * self.num_pairs + nearest.places
        by_pair = tf.math.unsorted_segment_sum(
            tf.transpose(weights, (0, 2, 1)), places, batch * self.num_pairs
        )
        by_pair = tf.reshape(by_pair, (batch, self.num_pairs, -1))
        shown = min(PAIRS_SHOWN, self.num_pairs)
        _, best = tf.math.top_k(tf.reduce_sum(by_pair, axis=-1), shown)
        pairs = tf.gather(nearest.pairs, best, batch_dims=1)
        sources, targets = (tf.gather(texts, pairs) for texts in self._texts)
        return {
            "memory_weights": tf.transpose(tf.gather(by_pair, best, batch_dims=1), (0, 2, 1)),
            "memory_sources": sources,
            "memory_targets": targets,
        }


class _Terms:
    """TF-IDF vectors of length 1, sparse: a row for every pair."""

    def __init__(self, ids: np.ndarray, splits: np.ndarray) -> None:
        num_pairs, num_ids = len(splits) - 1, int(ids.max(initial=0)) + 1
        rows = np.repeat(np.arange(num_pairs, dtype=np.int64), np.diff(splits))
        flat, counts = np.unique(rows * num_ids + ids, return_counts=True)
        rows, columns = flat // num_ids, flat % num_ids
        found_in = np.bincount(columns, minlength=num_ids)
        self.inverse_frequency = np.log(num_pairs / np.maximum(found_in, 1)).astype(np.float32)
        values = (1.0 + np.log(counts)) * self.inverse_frequency[columns]
        lengths = np.sqrt(np.bincount(rows, values**2, minlength=num_pairs))
        self.places = np.stack([rows, columns], axis=1)
        self.weights = (values / np.maximum(lengths, 1e-12)[rows]).astype(np.float32)


def _damped(counts: Any) -> Any:
    return tf.where(counts > 0, 1.0 + tf.math.log(tf.maximum(counts, 1.0)), 0.0)


def _constant(array: np.ndarray) -> tf.Variable:
    """Kept as a variable: a constant would be written into the graph of every signature."""
    return tf.Variable(array, trainable=False)
