"""A translation memory: the training pairs as the decoder reads them, kept beside the run.

For every token of every target it holds the decoder's state from which that token is to be
predicted, and the token. `memory_attention.py` attends to it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attention_apps.running.atomic import whole_file
from translation.corpus import Corpus
from translation.forced import padded
from translation.vocabularies import Vocabularies
from translation.words import END, START

MEMORY = "translation_memory.npz"
_BATCH = 128


@dataclass(frozen=True)
class TranslationMemory:
    """Sentence pairs in the order given, those too long for the model left out.

    Attributes:
        states: `(target tokens, dim)` float16, what each token is predicted from.
        next_tokens: `(target tokens,)` int32, the tokens; each target ends with the end token.
        target_splits: `(pairs + 1,)` int64, where the tokens of each target begin.
        source_ids: `(source tokens,)` int32.
        source_splits: `(pairs + 1,)` int64.
        texts: sources and targets by turns, a line each, UTF-8 as bytes.
    """

    states: np.ndarray
    next_tokens: np.ndarray
    target_splits: np.ndarray
    source_ids: np.ndarray
    source_splits: np.ndarray
    texts: np.ndarray

    @classmethod
    def of(
        cls, model: Any, vocabularies: Vocabularies, corpus: Corpus, max_length: int
    ) -> TranslationMemory:
        """Read pairs with a model, each target token by teacher forcing.

        Args:
            model: a `Translator` or `RecurrentTranslator` that computes in float32.
            vocabularies: those it was trained with.
            corpus: the pairs.
            max_length: longest sentence in subwords, as in training.

        Returns:
            The memory.
        """
        sources = vocabularies.source.finish(vocabularies.source.encode_all(corpus.sources))
        sources = sources.to_list()
        targets = [[*row, END] for row in vocabularies.target.encode_all(corpus.targets).to_list()]
        kept = [
            index
            for index, (source, target) in enumerate(zip(sources, targets, strict=True))
            if max(len(source), len(target)) <= max_length
        ]
        sources, targets = ([rows[index] for index in kept] for rows in (sources, targets))
        splits = _splits(targets)
        states = np.empty((splits[-1], model.dim), np.float16)
        order = sorted(range(len(kept)), key=lambda index: len(targets[index]))
        batches = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
        read = reader_of(model)
        bar = keras.utils.Progbar(
            len(batches), verbose=1 if sys.stdout.isatty() else 2, unit_name="batch"
        )
        for batch in batches:
            previous = [[START, *targets[index][:-1]] for index in batch]
            found, _ = read(padded([sources[index] for index in batch]), padded(previous))
            for index, row in zip(batch, found.numpy(), strict=True):
                states[splits[index] : splits[index + 1]] = row[: len(targets[index])]
            bar.add(1)
        lines = [line for index in kept for line in (corpus.sources[index], corpus.targets[index])]
        return cls(
            states=states,
            next_tokens=np.concatenate(targets).astype(np.int32),
            target_splits=splits,
            source_ids=np.concatenate(sources).astype(np.int32),
            source_splits=_splits(sources),
            texts=np.frombuffer("\n".join(lines).encode(), np.uint8),
        )

    @classmethod
    def read(cls, path: Path) -> TranslationMemory:
        """Read what `write` wrote."""
        with np.load(path) as stored:
            return cls(**{field.name: stored[field.name] for field in fields(cls)})

    def write(self, path: Path) -> None:
        """Write everything into one file, whole or not at all."""
        with whole_file(path) as partial, partial.open("wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.target_splits) - 1

    @property
    def pairs(self) -> tuple[list[str], list[str]]:
        """The sources and the targets as text."""
        lines = self.texts.tobytes().decode().split("\n")
        return lines[::2], lines[1::2]


def reader_of(model: Any) -> Any:
    """What a translator's decoder knows before every target token of given pairs.

    Args:
        model: a `Translator` or `RecurrentTranslator`.

    Returns:
        A function of `source` `(batch, source)` and `previous` `(batch, target)` ids that gives the
        decoder's states `(batch, target, dim)` and the logits read off them.
    """
    ids = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[ids, ids], autograph=False)
    def read(source: Any, previous: Any) -> tuple[Any, Any]:
        states = model.decoder_states(previous, *model.encode(source, False), False)
        return states, model.logits(states)

    return read


def _splits(rows: Sequence[Sequence[int]]) -> np.ndarray:
    return np.cumsum([0, *map(len, rows)], dtype=np.int64)
