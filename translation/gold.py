"""Gold word alignments that others have written: read from a file, checked against their text."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from translation.alignments import Link


class GoldAlignments(NamedTuple):
    """One list of links per sentence; `possible` includes `sure`."""

    sure: list[list[Link]]
    possible: list[list[Link]]


def read_alignments(path: str | Path) -> GoldAlignments:
    """Read gold alignments, UTF-8 with or without a byte order mark, in either of two layouts.

    - One sentence a line: `0-0 1-2 3p3`, source word first; `-` is sure, `p` is possible; an empty
      line is a sentence without links.
    - One link a line: `sentence source target [S|P]`, sentences counted from 1, in any order;
      without a letter, sure.

    Words are counted from 0 in both. The file alone cannot tell whether a link points beyond its
    sentence: `links_outside` can.

    Raises:
        ValueError: for anything else, with the line's number.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected alignments in UTF-8 in {path}. Received: {error}") from None
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise ValueError(f"Expected alignments in {path}. Received: an empty file")
    read = _read_link_a_line if first.split()[0].isdecimal() else _read_sentence_a_line
    return read(lines, path)


def _read_sentence_a_line(lines: list[str], path: str | Path) -> GoldAlignments:
    gold = GoldAlignments([], [])
    for number, line in enumerate(lines, start=1):
        found = [re.fullmatch(r"([0-9]+)([-p])([0-9]+)", entry) for entry in line.split()]
        if None in found:
            raise ValueError(
                f"Expected links such as 0-0 1-2 3p3 in line {number} of {path}. Received: {line!r}"
            )
        triples = [(int(match[1]), match[2], int(match[3])) for match in found if match]
        gold.sure.append([(source, target) for source, kind, target in triples if kind == "-"])
        gold.possible.append([(source, target) for source, _, target in triples])
    return gold


def _read_link_a_line(lines: list[str], path: str | Path) -> GoldAlignments:
    triples = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([1-9][0-9]*)\s+([0-9]+)\s+([0-9]+)(?:\s+([SP]))?", line.strip())
        if match is None:
            raise ValueError(
                f"Expected 'sentence source target [S|P]' in line {number} of {path}. "
                f"Received: {line!r}"
            )
        triples.append((int(match[1]) - 1, (int(match[2]), int(match[3])), match[4] != "P"))
    num_sentences = max(sentence for sentence, _, _ in triples) + 1
    gold = GoldAlignments([[] for _ in range(num_sentences)], [[] for _ in range(num_sentences)])
    for sentence, link, is_sure in triples:
        gold.possible[sentence].append(link)
        if is_sure:
            gold.sure[sentence].append(link)
    return gold


def links_outside(
    alignments: Sequence[Collection[Link]], sources: Sequence[str], targets: Sequence[str]
) -> list[tuple[int, Link]]:
    """Find links that point beyond their sentences.

    Gold alignments have a few such slips, which no system can hit. Many of them mean that words are
    counted from 1 or that the file belongs to another text.

    Args:
        alignments: Links per sentence.
        sources: Sentences of whitespace-separated words.
        targets: Sentences likewise.

    Returns:
        `(sentence, link)` for each such link, sentences counted from 0.
    """
    if not len(alignments) == len(sources) == len(targets):
        raise ValueError(
            "Expected the same number of sentences everywhere. Received: "
            f"alignments {len(alignments)}, sources {len(sources)}, targets {len(targets)}"
        )
    outside = []
    for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
        lengths = len(source.split()), len(target.split())
        outside += [(i, link) for link in alignments[i] if any(np.greater_equal(link, lengths))]
    return outside
