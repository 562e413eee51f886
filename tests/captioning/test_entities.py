"""Boxes of words from Flickr30k Entities."""

import pytest

from attention_apps.running.command import UserError
from captioning.entities import has_entities, read_boxes

SENTENCES = """[/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] look at the garden .
[/EN#3/people/other A man 's dog] near [/EN#9/scene grass]
"""
ANNOTATIONS = """<annotation><size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>1</name><name>2</name>
<bndbox><xmin>1</xmin><ymin>51</ymin><xmax>100</xmax><ymax>100</ymax></bndbox></object>
<object><name>1</name>
<bndbox><xmin>101</xmin><ymin>1</ymin><xmax>200</xmax><ymax>50</ymax></bndbox></object>
<object><name>9</name><scene>1</scene><nobndbox>0</nobndbox></object></annotation>
"""
LOWER_LEFT, UPPER_RIGHT = (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0)


@pytest.fixture
def folder(tmp_path):
    for name, text in (("Sentences/7.txt", SENTENCES), ("Annotations/7.xml", ANNOTATIONS)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def test_the_words_of_a_phrase_have_its_boxes(folder):
    assert has_entities(folder)
    captions = ["Two young guys with shaggy hair look at the garden.", "a man's dog near grass"]
    ((first, second),) = read_boxes(folder, ["7.jpg"], [captions])
    both = (LOWER_LEFT, UPPER_RIGHT)
    # `two` and `with` are function words; the garden was not annotated.
    expected = [(), both, both, (), (LOWER_LEFT,), (LOWER_LEFT,), (), (), (), ()]
    assert first == expected
    # Number 3 has no box, and a scene is everywhere.
    assert second == [()] * 6


def test_unknown_captions_and_photos_have_no_boxes_but_a_row_for_every_word(folder):
    found = read_boxes(folder, ["7.jpg", "8.jpg"], [["Something else"], ["A dog runs", "no"]])
    assert found == [[[(), ()]], [[(), (), ()], [()]]]


def test_a_folder_without_both_halves_has_none(tmp_path):
    assert not has_entities(tmp_path)


@pytest.mark.parametrize("text", ["no xml", "<annotation/>", "<annotation><size>"])
def test_annotations_that_cannot_be_read_are_named(folder, text):
    (folder / "Annotations" / "7.xml").write_text(text, "utf-8")
    with pytest.raises(UserError, match=r"7\.xml must be XML"):
        read_boxes(folder, ["7.jpg"], [["a dog"]])


def test_files_bring_their_boxes(folder):
    from captioning.files import PhotoFiles, read_captions, read_split

    (folder / "7.jpg").write_bytes(b"is not read here")
    (folder / "x.token.txt").write_text("7.jpg#0\ta man 's dog near grass", "utf-8")
    (folder / "testImages.txt").write_text("7.jpg", "utf-8")
    photos, notes = read_split(folder, "test", PhotoFiles(folder), read_captions(folder))
    assert photos.boxes == [[[()] * 6]]
    assert any("boxes of Flickr30k Entities for 0 of 1 photos" in note for note in notes)
