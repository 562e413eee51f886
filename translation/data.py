"""From files, a set of tensorflow-datasets or the embedded grammar to what a run trains on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from attention_apps.running.command import UserError
from attention_apps.running.datasets import named_builder, prepare
from attention_apps.running.lines import text_lines
from translation.alignments import Link
from translation.baselines import IbmModel1
from translation.batches import Batches
from translation.config import Config
from translation.corpus import Corpus
from translation.preset_tokens import PresetTokens
from translation.subwords import Subwords
from translation.vocabularies import Vocabularies


@dataclass(frozen=True)
class Splits:
    """What a run trains on and is measured on."""

    vocabularies: Vocabularies
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


def load(config: Config, vocabularies: Vocabularies | None = None) -> Splits:
    """Read the corpora, learn subwords unless they are given, and prepare the batches.

    Args:
        config: the room's configuration.
        vocabularies: those of an earlier run; None learns subwords from the training text and reads
            the tokenizer of a pretrained encoder.

    Returns:
        The splits.

    Raises:
        UserError: for data that cannot be read, with what was received and expected.
    """
    training, validation, tests = read_corpora(config)
    if vocabularies is None:
        vocabularies = _vocabularies(config, training)
    teacher = align(training) if config.alignment_weight else None
    batches = Batches(config, vocabularies, training, teacher)
    return Splits(vocabularies, training, validation, tests, batches, batches.notes)


def _vocabularies(config: Config, training: Corpus) -> Vocabularies:
    preset = PresetTokens(config.encoder_preset) if config.encoder_preset else None
    sentences = training.targets if preset else [*training.sources, *training.targets]
    try:
        subwords = Subwords.learn(sentences, config.vocabulary_size)
    except ValueError as error:
        raise UserError(str(error)) from error
    return Vocabularies(preset, subwords) if preset else Vocabularies.shared(subwords)


def align(corpus: Corpus) -> list[list[Link]]:
    """Align a corpus with nothing but itself, by IBM model 1.

    Args:
        corpus: the pairs.

    Returns:
        Word links of every pair, at most one for each target word.
    """
    pairs = [
        (source.split(), target.split())
        for source, target in zip(corpus.sources, corpus.targets, strict=True)
    ]
    model = IbmModel1(pairs)
    return [model.align(source, target) for source, target in pairs]


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
    for number, raw in enumerate(text_lines(path.read_bytes(), str(path)), start=1):
        # Blanks of every kind become one: subwords and words must count the same words.
        line = " ".join(raw.split())
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
    prepare(builder, downloads=False)
    names = ("train", "validation", "test", "test_constructions")
    corpora = [_generated_split(builder, name) for name in names]
    if config.source_language == "de":
        corpora = [corpus.turned() for corpus in corpora]
    training, validation, *tests = corpora
    return training, validation, tests


def _generated_split(builder: Any, name: str) -> Corpus:
    sources, targets, alignments = [], [], []
    for batch in builder.as_dataset(split=name).ragged_batch(4096):
        sources += [text.decode() for text in batch["source"].numpy()]
        targets += [text.decode() for text in batch["target"].numpy()]
        rows = batch["alignment"].to_list()
        alignments += [[(source, target) for source, target in row] for row in rows]
    return Corpus(name, sources, targets, alignments)


def _read_tensorflow_datasets(config: Config) -> tuple[Corpus, Corpus, list[Corpus]]:
    builder = named_builder(
        config.dataset,
        config.data_dir,
        expected="generated, files or a translation set of tensorflow-datasets such as "
        "ted_hrlr_translate/pt_to_en",
    )
    languages = (config.source_language, config.target_language)
    known = tuple(builder.info.features) if builder.info.features else ()
    if not set(languages) <= set(known):
        raise UserError(
            f"{config.dataset} holds {', '.join(known)}. Received: --source-language "
            f"{languages[0]} --target-language {languages[1]}"
        )
    prepare(builder)
    splits = ("train", "validation", "test")
    held = builder.info.splits  # of a mocked set none
    if held and (lacking := [split for split in splits if split not in held]):
        raise UserError(
            f"{config.dataset} must have the splits {', '.join(splits)}: it has no {lacking[0]}. "
            "Write its sentences to files and take --dataset files. "
            f"Received: {', '.join(held)}"
        )

    def corpus(split: str) -> Corpus:
        examples = list(builder.as_dataset(split=split).as_numpy_iterator())
        sources, targets = (
            [" ".join(example[language].decode().split()) for example in examples]
            for language in languages
        )
        kept = [i for i in range(len(examples)) if sources[i] and targets[i]]
        return Corpus(split, [sources[i] for i in kept], [targets[i] for i in kept])

    training, validation, test = map(corpus, splits)
    return training, validation, [test]
