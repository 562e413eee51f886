"""What a model attends to while it is made to produce a given translation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from attention_apps.observation.observe import observe
from translation.alignments import Link
from translation.corpus import Corpus
from translation.model import Translator
from translation.readout import ReadOut
from translation.vocabularies import Vocabularies
from translation.words import END, PAD, START, words_of


class ForcedAttention:
    """Cross-attention on pairs of sentences, by forced decoding.

    Args:
        model: the translator.
        vocabularies: those it was trained with.
    """

    def __init__(self, model: Translator, vocabularies: Vocabularies) -> None:
        self._vocabularies = vocabularies
        self.alignment_step = model.alignment_step
        observed = observe(model)
        ids = tf.TensorSpec([None, None], tf.int32)

        @tf.function(input_signature=[ids, ids], autograph=False)
        def cross_attention(source: Any, previous: Any) -> Any:
            _, maps = observed({"source": source, "previous": previous}, training=False)
            return tf.stack([w for path, w in maps.items() if "cross_attention" in path], axis=1)

        self._cross_attention = cross_attention

    @property
    def num_layers_and_heads(self) -> tuple[int, int]:
        """Number of decoder blocks, and of heads of each, that attend to the source."""
        _, num_layers, num_heads, _, _ = self._cross_attention([[END]], [[START]]).shape
        return num_layers, num_heads

    def unmeasured(self, *, guided: bool) -> ReadOut:
        """The way to read alignments where no gold chose, see `ReadOut.unmeasured`.

        Args:
            guided: whether the run guided attention.
        """
        num_layers, _ = self.num_layers_and_heads
        return ReadOut.unmeasured(num_layers, guided=guided, step=self.alignment_step)

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
        sources, targets = (
            tokens.finish(tokens.encode_all(sentences)).to_list()
            for tokens, sentences in (
                (self._vocabularies.source, corpus.sources),
                (self._vocabularies.target, corpus.targets),
            )
        )
        for start in range(0, len(corpus), batch_size):
            rows = slice(start, start + batch_size)
            previous = [[START, *ids[:-1]] for ids in targets[rows]]
            weights = self._cross_attention(padded(sources[rows]), padded(previous)).numpy()
            for row, source, target in zip(weights, sources[rows], targets[rows], strict=True):
                yield (
                    row[:, :, : len(target), : len(source)],
                    words_of(self._vocabularies.source.pieces(source)),
                    words_of(self._vocabularies.target.pieces(target)),
                )

    def alignments(
        self, corpus: Corpus, ways: Sequence[ReadOut]
    ) -> dict[ReadOut, list[list[Link]]]:
        """Word alignments, read in one or many ways.

        Args:
            corpus: the pairs.
            ways: how to read them.

        Returns:
            For every way the links of every pair.
        """
        found: dict[ReadOut, list[list[Link]]] = {way: [] for way in ways}
        for weights, source_words, target_words in self.maps(corpus):
            for way, alignments in found.items():
                alignments.append(way.links(weights, source_words, target_words))
        return found


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
