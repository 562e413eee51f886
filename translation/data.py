"""From files, a set of tensorflow-datasets or the embedded grammar to batches of subwords."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attention_apps.running.command import UserError
from translation.alignments import Link
from translation.config import Config
from translation.model import END, PAD, START
from translation.subwords import Subwords


@dataclass(frozen=True)
class Corpus:
    """Sentence pairs, with gold word alignments where there are any."""

    name: str
    sources: list[str]
    targets: list[str]
    alignments: list[list[Link]] | None = None

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.sources)


@dataclass(frozen=True)
class Splits:
    """What a run trains on and is measured on."""

    subwords: Subwords
    training: Corpus
    validation: Corpus
    tests: list[Corpus]
    batches: Batches
    notes: list[str] = field(default_factory=list)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches of one epoch."""
        return self.batches.steps_per_epoch

    def train(self, first_epoch: int = 0) -> tf.data.Dataset:
        """Endless training batches; see `Batches.epochs_from`."""
        return self.batches.epochs_from(first_epoch)


def load(config: Config, subwords: Subwords | None = None) -> Splits:
    """Read the corpora, learn subwords unless they are given, and prepare the batches.

    Args:
        config: the room's configuration.
        subwords: those of an earlier run; None learns them from the training text.

    Returns:
        The splits.

    Raises:
        UserError: for data that cannot be read, with what was received and expected.
    """
    training, validation, tests = read_corpora(config)
    if subwords is None:
        sentences = [*training.sources, *training.targets]
        try:
            subwords = Subwords.learn(sentences, config.vocabulary_size)
        except ValueError as error:
            raise UserError(str(error)) from error
    batches = Batches(config, subwords, training)
    return Splits(subwords, training, validation, tests, batches, batches.notes)


def read_corpora(config: Config) -> tuple[Corpus, Corpus, list[Corpus]]:
    """Read training, validation and test pairs from where the configuration says.

    Args:
        config: the room's configuration.

    Returns:
        Training corpus, validation corpus and test corpora, the main one first.

    Raises:
        UserError: for data that cannot be read.
    """
    if config.dataset == "files":
        names = (config.train_name, config.validation_name, config.test_name)
        training, validation, test = (read_files(config, name) for name in names)
        return training, validation, [test]
    if config.dataset == "generated":
        return _read_generated(config)
    return _read_tensorflow_datasets(config)


def read_files(config: Config, name: str) -> Corpus:
    """Read `NAME.LANGUAGE` of both languages, one sentence a line.

    Args:
        config: names the folder and the languages.
        name: of the split.

    Returns:
        The pairs.

    Raises:
        UserError: for a missing folder or file, text that is not UTF-8, files of different
            length, an empty file or an empty line.
    """
    folder = Path(config.data_dir)
    if not folder.is_dir():
        raise UserError(f"--data-dir must be a folder. Received: {folder}")
    paths = [folder / f"{name}.{lang}" for lang in (config.source_language, config.target_language)]
    sources, targets = (_read_lines(path) for path in paths)
    if len(sources) != len(targets):
        raise UserError(
            "Both files of a split must have a sentence a line and as many lines. "
            f"Received: {paths[0]} with {len(sources)} and {paths[1]} with {len(targets)} lines"
        )
    return Corpus(name, sources, targets)


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        present = ", ".join(sorted(p.name for p in path.parent.iterdir() if p.is_file())[:8])
        raise UserError(f"There is no file {path}. The folder holds: {present or 'nothing'}")
    lines = []
    for number, raw in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            line = raw.decode("utf-8").lstrip("\ufeff").strip()
        except UnicodeDecodeError as error:
            raise UserError(
                f"Text files must be UTF-8. Received: byte 0x{raw[error.start]:02x} in line "
                f"{number} of {path}"
            ) from error
        if not line:
            raise UserError(
                f"Every line must hold a sentence. Received: an empty line {number} in {path}"
            )
        lines.append(line)
    if not lines:
        raise UserError(f"A text file must hold sentences. Received: the empty file {path}")
    return lines


def _read_generated(config: Config) -> tuple[Corpus, Corpus, list[Corpus]]:
    from translation.synthetic import GeneratedTranslation

    builder = GeneratedTranslation(
        config=config.generated_size, **({"data_dir": config.data_dir} if config.data_dir else {})
    )
    _prepare(builder)
    names = ("train", "validation", "test", "test_constructions")
    training, validation, *tests = (_generated_split(builder, name) for name in names)
    return training, validation, tests


def _prepare(builder: Any) -> None:
    import tensorflow_datasets as tfds

    if not builder.is_prepared():
        print(f"preparing {builder.info.full_name} in {builder.data_path}, once")
        tfds.disable_progress_bar()
    builder.download_and_prepare()


def _generated_split(builder: Any, name: str) -> Corpus:
    sources, targets, alignments = [], [], []
    for batch in builder.as_dataset(split=name).ragged_batch(4096):
        sources += [text.decode() for text in batch["source"].numpy()]
        targets += [text.decode() for text in batch["target"].numpy()]
        rows = batch["alignment"].to_list()
        alignments += [[(source, target) for source, target in row] for row in rows]
    return Corpus(name, sources, targets, alignments)


def _read_tensorflow_datasets(config: Config) -> tuple[Corpus, Corpus, list[Corpus]]:
    import tensorflow_datasets as tfds

    options = {"data_dir": config.data_dir} if config.data_dir else {}
    try:
        builder = tfds.builder(config.dataset, **options)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise UserError(
            "--dataset must be generated, files or a translation set of tensorflow-datasets such "
            f"as ted_hrlr_translate/pt_to_en. Received: {config.dataset}"
        ) from error
    languages = (config.source_language, config.target_language)
    known = tuple(builder.info.features) if builder.info.features else ()
    if not set(languages) <= set(known):
        raise UserError(
            f"{config.dataset} holds {', '.join(known)}. Received: --source-language "
            f"{languages[0]} --target-language {languages[1]}"
        )
    if not builder.is_prepared() and not _online():
        raise UserError(
            f"{config.dataset} is not prepared in {builder.data_path} and this machine has no "
            "network. Prepare it where there is one and pass its folder as --data-dir"
        )
    _prepare(builder)

    def corpus(split: str) -> Corpus:
        examples = list(builder.as_dataset(split=split).as_numpy_iterator())
        sources, targets = (
            [" ".join(example[language].decode().split()) for example in examples]
            for language in languages
        )
        kept = [i for i in range(len(examples)) if sources[i] and targets[i]]
        return Corpus(split, [sources[i] for i in kept], [targets[i] for i in kept])

    return corpus("train"), corpus("validation"), [corpus("test")]


def _online(host: str = "storage.googleapis.com", seconds: float = 3.0) -> bool:
    """Whether the store of tensorflow-datasets answers; its own client waits for minutes."""
    try:
        with socket.create_connection((host, 443), timeout=seconds):
            return True
    except OSError:
        return False


class Batches:
    """Training batches of about as many tokens each, in buckets of similar length.

    The order of an epoch is drawn from (seed, epoch) alone, so a run can continue at any epoch.

    Args:
        config: `batch_tokens`, `max_length` and `seed` are used.
        subwords: of both languages.
        corpus: the training pairs.

    Raises:
        UserError: when no pair is short enough.
    """

    def __init__(self, config: Config, subwords: Subwords, corpus: Corpus) -> None:
        self._seed = config.seed
        sources = subwords.encode_all(corpus.sources)
        targets = subwords.encode_all(corpus.targets)
        # One place more: the source ends with the end token, the target is shifted by one.
        lengths = 1 + np.maximum(sources.row_lengths().numpy(), targets.row_lengths().numpy())
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
        self._lengths = lengths[kept].astype(np.int32)
        # Steps of four tokens keep padding small and the number of shapes too.
        self._bounds = [b for b in (*range(8, 36, 4), 40, 48, 64, 96, 128) if b < config.max_length]
        self._bounds.append(config.max_length)
        self._sizes = [max(1, config.batch_tokens // bound) for bound in self._bounds]
        buckets = np.searchsorted(self._bounds, self._lengths)
        counts = np.bincount(buckets, minlength=len(self._bounds))
        self.steps_per_epoch = int(
            sum(-(-c // s) for c, s in zip(counts, self._sizes, strict=True))
        )

    def epochs_from(self, first_epoch: int) -> tf.data.Dataset:
        """Endless batches that begin with epoch `first_epoch`.

        Args:
            first_epoch: counted from 0.

        Returns:
            A dataset of `({"source", "previous"}, target, token weights)`, each of shape
            `(batch, length)`; weights are 1 for tokens and 0 for padding.
        """
        epochs = tf.data.Dataset.counter(start=first_epoch)
        return epochs.flat_map(self._epoch).prefetch(4)

    def _epoch(self, epoch: tf.Tensor) -> tf.data.Dataset:
        seed = tf.stack([tf.constant(self._seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(self._lengths), dtype=tf.int32), seed=seed
        )
        lengths = tf.constant(self._lengths)
        indexes = tf.data.Dataset.from_tensor_slices((order, tf.gather(lengths, order)))
        return indexes.bucket_by_sequence_length(
            element_length_func=lambda index, length: length,
            # The function puts a length equal to a boundary into the next bucket.
            bucket_boundaries=[bound + 1 for bound in self._bounds[:-1]],
            bucket_batch_sizes=self._sizes,
        ).map(self._batch, num_parallel_calls=2, deterministic=True)

    def _batch(self, indexes: tf.Tensor, lengths: tf.Tensor) -> tuple[Any, Any, Any]:
        bounds = tf.constant(self._bounds, tf.int32)
        length = bounds[tf.searchsorted(bounds, tf.reduce_max(lengths)[None])[0]]
        shape = tf.stack([-1, length])
        source = tf.gather(self._sources, indexes)
        target = tf.gather(self._targets, indexes)
        source = with_end(source).to_tensor(PAD, shape=shape)
        previous = tf.concat([_column(target, START), target], axis=1)
        previous = previous.to_tensor(PAD, shape=shape)
        target = with_end(target).to_tensor(PAD, shape=shape)
        weights = tf.cast(tf.not_equal(target, PAD), tf.float32)
        return {"source": source, "previous": previous}, target, weights


def _column(ids: tf.RaggedTensor, token: int) -> tf.Tensor:
    return tf.fill(tf.stack([ids.nrows(out_type=tf.int32), 1]), tf.cast(token, ids.dtype))


def with_end(ids: tf.RaggedTensor) -> tf.RaggedTensor:
    """Put the end token behind every row.

    Args:
        ids: ragged `(batch, subwords)`.

    Returns:
        Ragged `(batch, subwords + 1)`.
    """
    return tf.concat([ids, _column(ids, END)], axis=1)


def pad_sources(subwords: Subwords, sentences: Sequence[str] | tf.Tensor) -> tf.Tensor:
    """Split sentences as the model reads them: subwords, the end token, padding.

    Args:
        subwords: of both languages.
        sentences: `(batch,)` strings.

    Returns:
        `(batch, source)` int32 ids padded with 0.
    """
    return with_end(subwords.encode(sentences)).to_tensor(PAD)
