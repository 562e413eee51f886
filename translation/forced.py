"""What a model attends to while it is made to produce a given translation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from attention_apps.observation.observe import observe
from translation.alignments import Link, links, shifted, word_weights
from translation.corpus import Corpus
from translation.model import END, PAD, START, Translator
from translation.subwords import Subwords
from translation.words import words_of

Place = tuple[int, int | None]
"""Where an alignment is read: a decoder block and one of its heads, None for their mean."""


class ForcedAttention:
    """Cross-attention on pairs of sentences, by forced decoding.

    Args:
        model: the translator.
        subwords: those it was trained with.
    """

    def __init__(self, model: Translator, subwords: Subwords) -> None:
        self._subwords = subwords
        observed = observe(model)
        ids = tf.TensorSpec([None, None], tf.int32)

        @tf.function(input_signature=[ids, ids], autograph=False)
        def cross_attention(source: Any, previous: Any) -> Any:
            _, maps = observed({"source": source, "previous": previous}, training=False)
            return tf.stack([w for path, w in maps.items() if "cross_attention" in path], axis=1)

        self._cross_attention = cross_attention

    def maps(self, corpus: Corpus, batch_size: int = 64) -> Iterator[tuple[Any, Any, Any]]:
        """Attention of every pair, in the corpus' order.

        Args:
            corpus: the pairs.
            batch_size: pairs computed at once.

        Yields:
            Weights `(layers, heads, target, source)`, whose row t was attended to while target
            token t was predicted (the end token last), and the word of each source and of each
            target subword, -1 for special ones.
        """
        sources = [[*ids, END] for ids in self._subwords.encode_all(corpus.sources).to_list()]
        targets = [[*ids, END] for ids in self._subwords.encode_all(corpus.targets).to_list()]
        for start in range(0, len(corpus), batch_size):
            rows = slice(start, start + batch_size)
            previous = [[START, *ids[:-1]] for ids in targets[rows]]
            weights = self._cross_attention(padded(sources[rows]), padded(previous)).numpy()
            for row, source, target in zip(weights, sources[rows], targets[rows], strict=True):
                yield (
                    row[:, :, : len(target), : len(source)],
                    words_of(self._subwords.pieces(source)),
                    words_of(self._subwords.pieces(target)),
                )

    def alignments(self, corpus: Corpus, *, shift: bool) -> dict[Place, list[list[Link]]]:
        """Word alignments read from every layer and head.

        Args:
            corpus: the pairs.
            shift: read the step in which a word is the decoder's input (Chen et al. 2020), not
                the one in which it is predicted.

        Returns:
            For every place the links of every pair.
        """
        by_place: dict[Place, list[list[Link]]] = {}
        for weights, source_words, target_words in self.maps(corpus):
            for layer, heads in enumerate(weights):
                for head in (None, *range(len(heads))):
                    links_there = by_place.setdefault((layer, head), [])
                    links_there.append(
                        read_alignment(
                            at_place(weights, (layer, head)),
                            source_words,
                            target_words,
                            shift=shift,
                        )
                    )
        return by_place


def at_place(weights: np.ndarray, place: Place) -> np.ndarray:
    """Take one head's map, or the mean of a layer's heads.

    Args:
        weights: `(layers, heads, target, source)`.
        place: layer and head.

    Returns:
        `(target, source)`.
    """
    layer, head = place
    return weights[layer].mean(axis=0) if head is None else weights[layer, head]


def read_alignment(
    attention: np.ndarray, source_words: np.ndarray, target_words: np.ndarray, *, shift: bool
) -> list[Link]:
    """Word alignment from a subword map: each target word links to the word it attended to most.

    Args:
        attention: `(target, source)`, row t while target token t was predicted.
        source_words: `(source,)` the word of each subword, -1 for special ones.
        target_words: `(target,)` likewise.
        shift: read the row of the step in which the word is the decoder's input.

    Returns:
        `(source word, target word)` links.
    """
    rows = shifted(attention) if shift else attention
    return links(word_weights(rows, source_words, target_words))


def padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of ids as one matrix.

    Args:
        rows: ids, of any lengths.

    Returns:
        `(rows, longest)` int32, padded with 0.
    """
    matrix = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int32)
    for place, row in enumerate(rows):
        matrix[place, : len(row)] = row
    return matrix
