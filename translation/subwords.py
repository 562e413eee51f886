"""Subwords shared by both languages: learned from the training text, applied inside TensorFlow."""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import sentencepiece
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2

from translation.words import END, PAD, SPACE, START, UNKNOWN

_drawing = threading.Lock()


class Subwords:
    """A SentencePiece model: sentences to ids and back.

    Args:
        proto: the serialised SentencePiece model, as `learn` made it.
    """

    def __init__(self, proto: bytes) -> None:
        self.proto = proto
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
        strings, ids = tf.TensorSpec([None], tf.string), tf.TensorSpec([None, None], tf.int32)
        self._encode = tf.function(self._encode_in_graph, [strings], autograph=False)
        self._decode = tf.function(self._decode_in_graph, [ids], autograph=False)

    @classmethod
    def learn(cls, sentences: Iterable[str], vocabulary_size: int) -> Subwords:
        """Learn byte-pair subwords (Sennrich et al. 2016) from sentences of both languages.

        Args:
            sentences: the training text.
            vocabulary_size: number of subwords, the four special ones included.

        Returns:
            The subwords.

        Raises:
            ValueError: when the text has too few distinct subwords for the size.
        """
        model = io.BytesIO()
        with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
            # Text is left as it is, but for stray byte order marks, which become spaces. (Without
            # any rule TensorFlow Text prints a line about it whenever a model is loaded.)
            rules.write("FEFF\t20\n")
            rules.flush()
            _train(sentences, vocabulary_size, model, rules.name)
        # The same text gives the same bytes: the name of the file of rules is not kept.
        messages: Any = sentencepiece_model_pb2
        proto = messages.ModelProto.FromString(model.getvalue())
        proto.normalizer_spec.normalization_rule_tsv = ""
        return cls(proto.SerializeToString(deterministic=True))

    @classmethod
    def read(cls, path: Path) -> Subwords:
        """Read what `write` wrote."""
        return cls(path.read_bytes())

    def write(self, path: Path) -> None:
        """Write the SentencePiece model to a file that any SentencePiece reads."""
        path.write_bytes(self.proto)

    @property
    def size(self) -> int:
        """Number of subwords."""
        return int(self._processor.vocab_size())

    def encode(self, sentences: Any) -> Any:
        """Split sentences, without start and end.

        Args:
            sentences: `(batch,)` strings.

        Returns:
            Ragged ids `(batch, subwords)`, int32.
        """
        return self._encode(sentences)

    def decode(self, ids: Any) -> Any:
        """Join ids to sentences; padding, start and end are left out.

        Args:
            ids: `(batch, subwords)` int32.

        Returns:
            `(batch,)` strings.
        """
        return self._decode(ids)

    # The tokenizer is made anew in every graph: its model belongs to the kernel that made it, and
    # TensorFlow drops eager kernels whenever a seed is set.
    def _tokenizer(self) -> Any:
        return keras_hub.tokenizers.SentencePieceTokenizer(proto=self.proto)

    def _encode_in_graph(self, sentences: Any) -> Any:
        return self._tokenizer()(sentences)

    def _decode_in_graph(self, ids: Any) -> Any:
        keep = tf.not_equal(ids, PAD) & tf.not_equal(ids, START) & tf.not_equal(ids, END)
        return self._tokenizer().detokenize(tf.ragged.boolean_mask(ids, keep))

    def finish(self, ids: Any) -> Any:
        """Put the end token behind every sentence, as an encoder reads it.

        Args:
            ids: ragged `(batch, subwords)`.

        Returns:
            Ragged `(batch, subwords + 1)`.
        """
        return with_end(ids)

    def word_numbers(self, ids: Any) -> Any:
        """Number the word of every subword.

        Args:
            ids: `(batch, subwords)` int32.

        Returns:
            `(batch, subwords)` int32, from 1; 0 for special ones.
        """
        words = tf.cumsum(tf.gather(tf.constant(self.opens_word, tf.int32), ids), axis=1)
        return tf.where(ids > END, words, 0)

    def encode_all(self, sentences: Sequence[str]) -> tf.RaggedTensor:
        """Split many sentences, in a tf.data pipeline, and keep them in memory.

        Args:
            sentences: the texts.

        Returns:
            Ragged ids `(sentences, subwords)`, int32.
        """
        parts = list(
            tf.data.Dataset.from_tensor_slices(list(sentences))
            .batch(4096)
            .map(self.encode, num_parallel_calls=tf.data.AUTOTUNE)
        )
        return tf.concat(parts, axis=0)

    def sample_all(
        self, sentences: Sequence[str], dropout_rate: float, seed: int
    ) -> list[list[int]]:
        """Split sentences with merges left out at random, so that words look different each time.

        Args:
            sentences: the texts.
            dropout_rate: share of merges left out.
            seed: decides all of them.

        Returns:
            Ids of every sentence.

        Reference: Provilkov et al. 2020, "BPE-Dropout: Simple and Effective Subword
        Regularization".
        """
        # SentencePiece has one seed for the process, read by the thread that draws.
        with _drawing:
            sentencepiece.set_random_generator_seed(seed)
            rows: list[list[int]] = self._processor.encode(
                list(sentences),
                enable_sampling=True,
                alpha=dropout_rate,
                nbest_size=-1,
                num_threads=1,
            )
        return rows

    @property
    def opens_word(self) -> np.ndarray:
        """Which subwords open a word: `(vocabulary,)` booleans."""
        return np.array([piece.startswith(SPACE) for piece in self.pieces(range(self.size))])

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Write ids as people read them: `▁` opens a word.

        Args:
            ids: subword ids.

        Returns:
            A text for every id.
        """
        return [self._processor.id_to_piece(int(index)) for index in ids]

    def texts(self, ids: Any) -> Any:
        """Write ids as people read them, inside TensorFlow: `▁` opens a word.

        Args:
            ids: `(batch, subwords)` int32.

        Returns:
            `(batch, subwords)` strings; padding gives empty ones.
        """
        table = ["", *self.pieces(range(1, self.size))]
        return tf.gather(tf.constant(table), ids)


def column(ids: tf.RaggedTensor, token: int) -> tf.Tensor:
    """A column of one token, as long as the rows are many.

    Args:
        ids: ragged `(batch, subwords)`.
        token: its id.

    Returns:
        `(batch, 1)` in the type of `ids`.
    """
    return tf.fill(tf.stack([ids.nrows(out_type=tf.int32), 1]), tf.cast(token, ids.dtype))


def with_end(ids: tf.RaggedTensor) -> tf.RaggedTensor:
    """Put the end token behind every row.

    Args:
        ids: ragged `(batch, subwords)`.

    Returns:
        Ragged `(batch, subwords + 1)`.
    """
    return tf.concat([ids, column(ids, END)], axis=1)


def _train(sentences: Iterable[str], vocabulary_size: int, model: io.BytesIO, rules: str) -> None:
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary_size,
            character_coverage=1.0,
            normalization_rule_tsv=rules,
            pad_id=PAD,
            bos_id=START,
            eos_id=END,
            unk_id=UNKNOWN,
            unk_surface="⁇",
            # One thread, so that a text always gives one model.
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(
            f"The training text does not give {vocabulary_size} subwords "
            f"({str(error).rsplit('] ', 1)[-1].strip()}). Choose another --vocabulary-size."
        ) from error
