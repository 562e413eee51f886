"""Flickr8k's layout, whole and damaged."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from attention_apps.running.command import UserError
from captioning.config import Config
from captioning.data import drop_unreadable, load


def jpeg(mode="RGB"):
    stream = io.BytesIO()
    Image.new(mode, (12, 12)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Twelve photos, half of them in a zip, and one in the test split."""
    names = [f"photo{index}.jpg" for index in range(12)]
    (tmp_path / "photos").mkdir()
    for name in names[:6]:
        (tmp_path / "photos" / name).write_bytes(jpeg())
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        for name in names[6:]:
            archive.writestr(f"Flicker8k_Dataset/{name}", jpeg())
    lines = [f"{name}#{n}\tA dog and dog number {n} .\n" for name in names for n in range(5)]
    (tmp_path / "Flickr8k.token.txt").write_text("".join(lines))
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("\n".join(names[:11]) + "\n")
    (tmp_path / "Flickr_8k.testImages.txt").write_text("photo11.jpg\n")
    return tmp_path


def config(folder, **changes):
    return Config(
        dataset="files", data_dir=str(folder), validation_photos=3, min_word_count=1, **changes
    )


def test_photos_of_folders_and_zips_are_split_by_the_lists(folder):
    splits = load(config(folder))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (8, 3, 1)
    assert not set(splits.train.names) & set(splits.validation.names)
    assert splits.test.names == ["photo11.jpg"]
    assert splits.test.captions[0][2] == "A dog and dog number 2 ."
    assert splits.test.pixels(0).shape == (12, 12, 3)
    assert splits.notes == []
    assert splits.vocabulary.words[4] == "dog"


def test_the_same_photos_are_set_aside_every_time(folder):
    first, second = (load(config(folder, seed=seed)).validation.names for seed in (1, 2))
    assert first == second


def test_what_lacks_a_photo_or_captions_is_named_and_left_out(folder):
    (folder / "photos" / "photo0.jpg").unlink()
    text = (folder / "Flickr8k.token.txt").read_text()
    kept = [line for line in text.splitlines() if not line.startswith("photo1.jpg")]
    (folder / "Flickr8k.token.txt").write_text("\n".join(kept))
    splits = load(config(folder))
    assert len(splits.train) == 6
    assert sorted(splits.notes) == [
        "left out 1 of 11 photos of 'train' with no caption: photo1.jpg",
        "left out 1 of 11 photos of 'train' with no photo file: photo0.jpg",
    ]


def test_grey_and_cmyk_photos_are_counted(folder):
    (folder / "photos" / "photo0.jpg").write_bytes(jpeg("L"))
    (folder / "photos" / "photo1.jpg").write_bytes(jpeg("CMYK"))
    notes = load(config(folder)).notes
    assert len(notes) == 2
    assert "1 of 11 photos of 'train' are grey and were converted to RGB: photo0.jpg" in notes
    assert "1 of 11 photos of 'train' are CMYK and were converted to RGB: photo1.jpg" in notes


def test_unreadable_photos_are_named_and_left_out(folder):
    test = load(config(folder)).train
    valid = np.ones(len(test), bool)
    valid[2] = False
    kept, (note,) = drop_unreadable(test, valid)
    assert test.names[2] not in kept.names
    assert len(kept) == len(test) - 1
    assert test.names[2] in note


def test_captions_of_lemmas_are_not_taken_for_captions(folder):
    lines = (folder / "Flickr8k.token.txt").read_text().replace("dog", "be")
    (folder / "Flickr8k.lemma.token.txt").write_text(lines)
    assert load(config(folder)).test.captions[0][2] == "A dog and dog number 2 ."


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            lambda f: (f / "results.token").write_text("a.jpg#0\tA dog .\n"),
            "one file of captions.* It holds: Flickr8k.token.txt, results.token",
        ),
        (lambda f: (f / "Flickr8k.token.txt").unlink(), "must hold the captions"),
        (lambda f: (f / "Flickr8k.token.txt").write_text("no tab\n"), "line 1"),
        (lambda f: (f / "Flickr8k.token.txt").write_bytes(b"a#0\t\xff\n"), "UTF-8"),
        (lambda f: (f / "Flickr_8k.testImages.txt").unlink(), "list of the split 'test'"),
        (lambda f: (f / "Flickr_8k.testImages.txt").write_text("\n"), "empty list"),
        (
            lambda f: (f / "Flickr_8k.testImages.txt").write_text("other.jpg\n"),
            "No photo of 'test'",
        ),
        (lambda f: (f / "more.zip").write_bytes(b"no zip"), "must be a zip"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(folder, damage, told):
    damage(folder)
    with pytest.raises(UserError, match=told):
        load(config(folder))


def test_no_training_photo_may_be_set_aside_last(folder):
    with pytest.raises(UserError, match="--validation-photos"):
        load(Config(dataset="files", data_dir=str(folder), validation_photos=11))
