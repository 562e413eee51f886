"""From text to batches: what is read, what is refused, and the order of an epoch."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from attention_apps.running import datasets
from attention_apps.running.command import UserError
from translation import data
from translation.config import Config
from translation.corpus import Corpus
from translation.data import load, read_corpora, read_files
from translation.subwords import Subwords
from translation.words import END, PAD, words_of

WORDS = "der die ein eine Hund Katze Haus Baum läuft sieht kennt schön alt groß . ,".split()  # noqa: SIM905
RNG = np.random.default_rng(0)


def sentences(count, longest=12):
    return [" ".join(RNG.choice(WORDS, RNG.integers(2, longest))) for _ in range(count)]


SOURCES, TARGETS = sentences(150), sentences(150)
CORPUS = Corpus("train", SOURCES, TARGETS)
CONFIG = Config(vocabulary_size=60, batch_tokens=200, max_length=40, seed=3)


@pytest.fixture(scope="module")
def subwords():
    return Subwords.learn([*SOURCES, *TARGETS], 60)


@pytest.fixture
def folder(tmp_path):
    for name, count in (("train", 60), ("val", 5), ("test", 5)):
        (tmp_path / f"{name}.en").write_text("\n".join(SOURCES[:count]), "utf-8")
        (tmp_path / f"{name}.de").write_text("\n".join(TARGETS[:count]), "utf-8")
    return tmp_path


def files(folder, **changes):
    return replace(CONFIG, dataset="files", data_dir=str(folder), **changes)


def test_files_are_read_as_they_are(folder):
    (folder / "val.en").write_bytes("\ufeffein Hund\r\n  eine Katze  \r\n".encode())
    (folder / "val.de").write_text("a dog\na cat\n", "utf-8")
    corpus = read_files(files(folder), "val")
    assert corpus.sources == ["ein Hund", "eine Katze"]
    assert corpus.targets == ["a dog", "a cat"]


def test_blanks_of_unicode_part_words_and_end_no_lines(folder):
    (folder / "val.en").write_text("ein\u2028Hund\u0085 da\u00a0!\n", "utf-8")
    (folder / "val.de").write_text("a dog\n", "utf-8")
    assert read_files(files(folder), "val").sources == ["ein Hund da !"]


def break_missing_folder(folder):
    return files(folder / "nowhere"), "--data-dir must be a folder"


def break_missing_file(folder):
    (folder / "val.de").unlink()
    return files(folder), "There is no file"


def break_uneven(folder):
    (folder / "train.de").write_text("ein Hund\n", "utf-8")
    return files(folder), "with 60 and"


def break_utf8(folder):
    (folder / "test.en").write_bytes(b"ein Hund\nein B\xe4r\n")
    return files(folder), "byte 0xe4 in line 2"


def break_empty_line(folder):
    (folder / "val.en").write_text("ein Hund\n\nein Haus", "utf-8")
    return files(folder), "an empty line 2"


def break_empty_file(folder):
    (folder / "val.en").write_text("", "utf-8")
    return files(folder), "the empty file"


def break_all_long(folder):
    return files(folder, max_length=2), "No training pair is as short"


def break_vocabulary(folder):
    return files(folder, vocabulary_size=9000), "--vocabulary-size"


def break_set(folder):
    return replace(CONFIG, dataset="no_such_set"), "Received: no_such_set"


@pytest.mark.parametrize(
    "break_it",
    [
        break_missing_folder,
        break_missing_file,
        break_uneven,
        break_utf8,
        break_empty_line,
        break_empty_file,
        break_all_long,
        break_vocabulary,
        break_set,
    ],
)
def test_bad_data_gets_one_line_that_says_what_was_received(folder, break_it):
    config, message = break_it(folder)
    with pytest.raises(UserError) as refusal:
        load(config)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_subwords_are_learned_alike_and_read_back(subwords, tmp_path):
    again = Subwords.learn([*SOURCES, *TARGETS], 60)
    assert again.proto == subwords.proto
    subwords.write(tmp_path / "subwords.model")
    assert Subwords.read(tmp_path / "subwords.model").size == 60


def test_subwords_give_the_sentence_back(subwords):
    ids = subwords.encode_all(SOURCES)
    padded = tf.concat([ids, tf.fill([len(SOURCES), 1], END)], axis=1).to_tensor(PAD)
    assert [text.decode() for text in subwords.decode(padded).numpy()] == SOURCES
    texts = subwords.texts(padded).numpy()
    for sentence, row in zip(SOURCES, texts, strict=True):
        tokens = [token.decode() for token in row]
        words = words_of(tokens)
        assert words.max() + 1 == len(sentence.split())
        for index, word in enumerate(sentence.split()):
            pieces = [t for t, w in zip(tokens, words, strict=True) if w == index]
            assert "".join(pieces).replace("▁", "") == word
        assert words[tokens.index("</s>")] == -1


def test_a_translation_set_of_tensorflow_datasets_is_read_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "online", lambda host: True)
    config = Config(
        dataset="ted_hrlr_translate/pt_to_en",
        data_dir=str(tmp_path),
        source_language="pt",
        target_language="en",
    )
    with tfds.testing.mock_data(num_examples=12):
        training, validation, (test,) = read_corpora(config)
    assert len(training) == len(training.targets) == 12
    assert all(isinstance(text, str) and text for text in training.sources)
    assert (validation.name, test.name) == ("validation", "test")


def test_a_set_without_a_split_is_refused(monkeypatch):
    info = SimpleNamespace(features={"en": None, "de": None}, splits={"train": None})
    monkeypatch.setattr(data, "named_builder", lambda *_, **__: SimpleNamespace(info=info))
    monkeypatch.setattr(data, "prepare", lambda builder: None)
    with pytest.raises(UserError, match=r"opus .* it has no validation. .* Received: train"):
        read_corpora(Config(dataset="opus"))


def test_a_set_without_the_language_or_the_network_is_refused_at_once(monkeypatch, tmp_path):
    config = Config(
        dataset="ted_hrlr_translate/pt_to_en", data_dir=str(tmp_path), target_language="pt"
    )
    with pytest.raises(UserError, match="Received: --source-language xx --target-language pt"):
        read_corpora(replace(config, source_language="xx"))
    monkeypatch.setattr(datasets, "online", lambda host: False)
    with pytest.raises(UserError, match="has no network"):
        read_corpora(config)
