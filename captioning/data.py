"""From files, a set of tensorflow-datasets or the embedded scenes to photos and their captions."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attention_apps.running.command import UserError
from attention_apps.running.datasets import named_builder, prepare
from captioning.config import Config
from captioning.files import PhotoFiles, read_captions, read_split
from captioning.photos import Photos
from captioning.spool import Spool
from captioning.tokens import words_of
from captioning.words import Vocabulary


@dataclass(frozen=True)
class Splits:
    """What a run trains on, chooses by and is measured on."""

    train: Photos
    validation: Photos
    test: Photos
    vocabulary: Vocabulary
    notes: list[str] = field(default_factory=list)


def load(config: Config, vocabulary: Vocabulary | None = None) -> Splits:
    """Read photos and captions, and learn the vocabulary unless it is given.

    Args:
        config: the room's configuration.
        vocabulary: that of an earlier run; None learns it from the training captions.

    Returns:
        The splits.

    Raises:
        UserError: for data that cannot be read, with what was received and expected.
    """
    if config.dataset == "files":
        train, validation, test, notes = _read_files(config)
    elif config.dataset == "generated":
        train, validation, test, notes = _read_generated(config)
    else:
        train, validation, test, notes = _read_coco(config)
    if vocabulary is None:
        captions = (caption for of_photo in train.captions for caption in of_photo)
        vocabulary = Vocabulary.learn(captions, config.min_word_count)
    return Splits(train, validation, test, vocabulary, notes)


def set_aside(config: Config, photos: Photos) -> tuple[Photos, Photos]:
    """Take validation photos out of the training photos; which ones, no flag decides.

    Args:
        config: `validation_photos` is used.
        photos: all of the training photos.

    Returns:
        The others and those set aside.

    Raises:
        UserError: when none would be left to train on.
    """
    count = config.validation_photos
    if count >= len(photos):
        raise UserError(
            f"--validation-photos sets aside {count} of the training photos. "
            f"Received: {len(photos)} training photos"
        )
    order = np.random.default_rng(0).permutation(len(photos))
    return photos.take(np.sort(order[count:])), photos.take(np.sort(order[:count]), "validation")


def _read_files(config: Config) -> tuple[Photos, Photos, Photos, list[str]]:
    folder = Path(config.data_dir)
    if not folder.is_dir():
        raise UserError(f"--data-dir must be a folder. Received: {folder}")
    files, captions = PhotoFiles(folder), read_captions(folder)
    names = [name for name in (config.train_name, config.validation_name, config.test_name) if name]
    splits, notes = [], []
    for name in names:
        photos, left_out = read_split(folder, name, files, captions)
        splits.append(photos)
        notes += left_out + _converted(photos)
    if config.validation_name:
        train, validation, test = splits
    else:
        train, validation = set_aside(config, splits[0])
        test = splits[1]
    return train, validation, test, notes


def _converted(photos: Photos) -> list[str]:
    """Say which photos are not RGB and are made so."""
    from PIL import Image

    modes: dict[str, list[str]] = {}
    for index, name in enumerate(photos.names):
        try:
            with warnings.catch_warnings():
                # A picture of many pixels is no bomb here: only its head is read.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(io.BytesIO(photos.encoded(index))) as image:
                    mode = image.mode
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # corrupt or huge: what reads the pixels decides
        if mode != "RGB":
            modes.setdefault(mode, []).append(name)
    words = {"L": "grey", "CMYK": "CMYK"}
    return [
        f"{len(names)} of {len(photos)} photos of {photos.name!r} are {words.get(mode, mode)} and "
        f"were converted to RGB: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for mode, names in modes.items()
    ]


def drop_unreadable(photos: Photos, valid: np.ndarray) -> tuple[Photos, list[str]]:
    """Leave out photos that cannot be decoded, and name them.

    Args:
        photos: a split.
        valid: `(photos,)` booleans.

    Returns:
        The others, and a sentence when any was left out.
    """
    bad = [name for name, good in zip(photos.names, valid, strict=True) if not good]
    if not bad:
        return photos, []
    note = (
        f"left out {len(bad)} of {len(photos)} photos of {photos.name!r} that cannot be decoded: "
        f"{', '.join(bad[:3])}{', ...' if len(bad) > 3 else ''}"
    )
    return photos.take(np.flatnonzero(valid)), [note]


def _read_generated(config: Config) -> tuple[Photos, Photos, Photos, list[str]]:
    from captioning.synthetic import SPLITS, GeneratedCaptions

    builder = GeneratedCaptions(
        config=config.generated_size, **({"data_dir": config.data_dir} if config.data_dir else {})
    )
    prepare(builder, downloads=False)
    train, validation, test = (_generated_split(builder, name) for name in SPLITS)
    return train, validation, test, []


def _generated_split(builder: Any, name: str) -> Photos:
    import tensorflow_datasets as tfds

    decoders = {"image": tfds.decode.SkipDecoding()}
    encoded, captions, boxes = [], [], []
    for example in builder.as_dataset(split=name, decoders=decoders).as_numpy_iterator():
        encoded.append(example["image"])
        captions.append([caption.decode() for caption in example["captions"]])
        found: list[list[list[Any]]] = [[[] for _ in words_of(c)] for c in captions[-1]]
        for caption, word, *box in example["boxes"].tolist():
            found[int(caption)][int(word)].append(tuple(box))
        boxes.append([[tuple(of_word) for of_word in of_caption] for of_caption in found])
    names = [f"{name}-{index}" for index in range(len(encoded))]
    return Photos(name, names, captions, encoded.__getitem__, boxes)


def _read_coco(config: Config) -> tuple[Photos, Photos, Photos, list[str]]:
    """COCO's captions; its test split has none in public, so that `val` is what is tested on."""
    import tensorflow_datasets as tfds

    builder = named_builder(
        "coco_captions", config.data_dir, expected="generated, files or coco_captions"
    )
    prepare(builder)
    decoders = {"image": tfds.decode.SkipDecoding()}

    def photos(name: str) -> Photos:
        source = builder.as_dataset(split=name, decoders=decoders)
        encoded, names, captions = Spool(), [], []
        for example in source.as_numpy_iterator():
            encoded.add(example["image"])
            names.append(example["image/filename"].decode())
            captions.append([text.decode() for text in example["captions"]["text"]])
        return Photos(name, names, captions, encoded.read)

    train, validation = set_aside(config, photos("train"))
    return train, validation, photos("val"), []
