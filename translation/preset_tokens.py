"""The tokenizer of a pretrained encoder, its tokens numbered so that they tell words apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from attention_apps.running.presets import from_preset
from translation.words import END, PAD, SPACE, SPECIAL, START

FLAG = "--encoder-preset"


class PresetTokens:
    """A tokenizer of keras-hub that splits word by word.

    Whether a token opens a word cannot be read off its text in every tokenizer (a comma may stand
    alone or end a word), so ids say it: with `size` tokens, token t is `1 + t` where it opens a
    word and `1 + size + t` where it goes on; 0 is padding. The encoder takes this back.

    Args:
        preset: the folder or name of the preset.
        kept: whether it is a folder that `write` wrote.
    """

    def __init__(self, preset: str, *, kept: bool = False) -> None:
        self._preset = preset
        self._kept = kept
        tokenizer = self._tokenizer()
        self.size = int(tokenizer.vocabulary_size())
        names = (("cls_token_id", "start_token_id"), ("sep_token_id", "end_token_id"))
        start, end = (
            next((i for i in (getattr(tokenizer, n, None) for n in either) if i is not None), None)
            for either in names
        )
        self._start = [] if start is None else [1 + start]
        self._end = [] if end is None else [1 + end]
        special = {SPECIAL[START]: self._start, SPECIAL[END]: self._end}
        texts = [_shown(str(tokenizer.id_to_token(token))) for token in range(self.size)]
        self._table = [SPECIAL[PAD], *(SPACE + text for text in texts), *texts]
        for text, ids in special.items():
            for index in ids:
                self._table[index] = text
        self._encode = tf.function(
            self._encode_in_graph, [tf.TensorSpec([None], tf.string)], autograph=False
        )

    @classmethod
    def read(cls, folder: Path) -> PresetTokens:
        """Read what `write` wrote."""
        return cls(str(folder), kept=True)

    def write(self, folder: Path) -> None:
        """Keep the tokenizer in a folder, so that the run needs its preset no more."""
        if folder.resolve() != Path(self._preset).resolve():
            self._tokenizer().save_to_preset(str(folder))

    # Made anew in every graph, for the reason that `Subwords` has.
    def _tokenizer(self) -> Any:
        if not self._kept:
            return from_preset(keras_hub.tokenizers.Tokenizer, self._preset, flag=FLAG)
        # `from_preset` wants a whole preset, the model's configuration included.
        text = (Path(self._preset) / "tokenizer.json").read_text("utf-8")
        tokenizer = keras.saving.deserialize_keras_object(json.loads(text))
        tokenizer.load_preset_assets(self._preset)
        return tokenizer

    def encode(self, sentences: Any) -> Any:
        """Split sentences, without what stands around them.

        Args:
            sentences: `(batch,)` strings.

        Returns:
            Ragged ids `(batch, tokens)`, int32.
        """
        return self._encode(sentences)

    def _encode_in_graph(self, sentences: Any) -> Any:
        words = tf.strings.split(sentences)
        first = tf.range(tf.size(words.flat_values, out_type=words.row_splits.dtype))
        first = tf.reduce_any(first[:, None] == words.row_splits[None, :-1], axis=1)
        # Byte-level tokenizers tell a word inside a sentence by the space before it.
        tokens = self._tokenizer()(tf.where(first, "", " ") + words.flat_values)
        opens = tf.cast(tf.ragged.range(tokens.row_lengths()) == 0, tf.int32)
        ids = 1 + tf.cast(tokens, tf.int32) + self.size * (1 - opens)
        return tf.RaggedTensor.from_row_splits(ids, words.row_splits).merge_dims(1, 2)

    def encode_all(self, sentences: Sequence[str]) -> tf.RaggedTensor:
        """Split many sentences and keep them in memory.

        Args:
            sentences: the texts.

        Returns:
            Ragged ids `(sentences, tokens)`, int32.
        """
        parts = [
            self.encode(tf.constant(list(sentences[start : start + 512])))
            for start in range(0, len(sentences), 512)
        ]
        return tf.concat(parts, axis=0)

    def finish(self, ids: Any) -> Any:
        """Put the preset's own marks before and behind every sentence.

        Args:
            ids: ragged `(batch, tokens)`.

        Returns:
            Ragged `(batch, tokens and marks)`.
        """
        rows = ids.nrows(out_type=tf.int32)
        marks = (tf.tile(tf.constant([m], tf.int32), [rows, 1]) for m in (self._start, self._end))
        before, behind = marks
        return tf.concat([before, ids, behind], axis=1)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Write ids as people read them: `▁` opens a word.

        Args:
            ids: of tokens.

        Returns:
            A text for every id.
        """
        return [self._table[int(index)] for index in ids]

    def texts(self, ids: Any) -> Any:
        """Write ids as people read them, inside TensorFlow: `▁` opens a word.

        Args:
            ids: `(batch, tokens)` int32.

        Returns:
            `(batch, tokens)` strings; padding gives empty ones.
        """
        return tf.gather(tf.constant(self._table), ids)

    def word_numbers(self, ids: Any) -> Any:
        """Number the word of every token.

        Args:
            ids: `(batch, tokens)` int32.

        Returns:
            `(batch, tokens)` int32, from 1; 0 for marks and padding.
        """
        special = np.array([text in SPECIAL for text in self._table])
        opens = np.array([text.startswith(SPACE) for text in self._table])
        words = tf.cumsum(tf.gather(tf.constant(opens, tf.int32), ids), axis=1)
        return tf.where(tf.gather(tf.constant(special), ids), 0, words)


def _shown(text: str) -> str:
    """A token as it is shown, without the mark by which its tokenizer opens or continues words."""
    for mark in ("##", "Ġ", SPACE):
        text = text.removeprefix(mark)
    return text
