"""Where the words of Flickr30k's captions are, from a folder of Flickr30k Entities.

    Sentences/PHOTO.txt      a caption a line: [/EN#283585/people Two young guys] look at ...
    Annotations/PHOTO.xml    the photo's size, and the boxes of every number

All photos of Flickr8k are in it too.

Reference: Plummer et al. 2015, "Flickr30k Entities: Collecting Region-to-Phrase Correspondences for
Richer Image-to-Sentence Models".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from attention_apps.running.command import UserError
from attention_apps.running.lines import text_lines
from captioning.photos import Box
from captioning.tokens import words_of
from captioning.word_maps import FUNCTION_WORDS

SENTENCES, ANNOTATIONS = "Sentences", "Annotations"
_PHRASE = re.compile(r"\[/EN#(?P<number>\d+)/\S+ (?P<text>[^\]]*)\]")


def has_entities(folder: Path) -> bool:
    """Whether a folder holds both halves of Flickr30k Entities."""
    return (folder / SENTENCES).is_dir() and (folder / ANNOTATIONS).is_dir()


def read_boxes(
    folder: Path, names: Sequence[str], captions: Sequence[Sequence[str]]
) -> list[list[list[tuple[Box, ...]]]]:
    """Find the boxes of every word of captions.

    A phrase's boxes belong to all of its words but function words. A caption is found among the
    sentences of its photo by its words; one that is not there has no boxes, nor has a photo that
    the folder does not know.

    Args:
        folder: with `Sentences` and `Annotations`.
        names: of the photos, with their ending.
        captions: of every photo.

    Returns:
        `boxes[photo][caption][word]`, as `Photos.boxes`.

    Raises:
        UserError: for a file of annotations that cannot be read.
    """
    found = []
    for name, several in zip(names, captions, strict=True):
        sentences = folder / SENTENCES / f"{Path(name).stem}.txt"
        annotations = folder / ANNOTATIONS / f"{Path(name).stem}.xml"
        known: dict[tuple[str, ...], list[tuple[Box, ...]]] = {}
        if sentences.is_file() and annotations.is_file():
            boxes = _boxes_by_number(annotations)
            for line in text_lines(sentences.read_bytes(), str(sentences)):
                words, numbers = _words_and_numbers(line)
                known[tuple(words)] = [boxes.get(number, ()) for number in numbers]
        rows = [words_of(caption) for caption in several]
        found.append([known.get(tuple(words), [()] * len(words)) for words in rows])
    return found


def _words_and_numbers(line: str) -> tuple[list[str], list[str]]:
    """The words of a sentence, and for each the number of its phrase or nothing."""
    words: list[str] = []
    numbers: list[str] = []

    def add(text: str, number: str) -> None:
        for word in words_of(text):
            words.append(word)
            numbers.append("" if word in FUNCTION_WORDS else number)

    end = 0
    for phrase in _PHRASE.finditer(line):
        add(line[end : phrase.start()], "")
        add(phrase["text"], phrase["number"])
        end = phrase.end()
    add(line[end:], "")
    return words, numbers


def _boxes_by_number(path: Path) -> dict[str, tuple[Box, ...]]:
    try:
        root = ElementTree.parse(path).getroot()
        width, height = (float(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        found: dict[str, tuple[Box, ...]] = {}
        for one in root.findall("object"):
            box = one.find("bndbox")
            if box is None:
                continue  # not to be seen, or the whole scene
            left, top, right, bottom = (
                float(box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax")
            )
            # Pixels are counted from 1, and the last is part of the box.
            shares = (
                (top - 1) / height,
                (left - 1) / width,
                bottom / height,
                right / width,
            )
            for name in one.findall("name"):
                number = name.text or ""
                found[number] = (*found.get(number, ()), shares)
        return found
    except (ElementTree.ParseError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"{path} must be XML of Flickr30k Entities with the photo's size and boxes. "
            f"Received: {error}"
        ) from error
