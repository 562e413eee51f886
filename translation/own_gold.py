"""Gold alignments of a user's own, and how a run's attention does on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attention_apps.running.command import UserError
from translation.alignment_quality import (
    Choice,
    alignment_figures,
    alignment_floors,
    errors_of_every_way,
    word_pairs,
)
from translation.alignments import Link, turned_links
from translation.baselines import IbmModel1
from translation.both_directions import BothDirections
from translation.config import Config
from translation.corpus import Corpus
from translation.data import read_files
from translation.forced import ForcedAttention
from translation.gold import GoldAlignments, links_outside, read_alignments

MOST_OUTSIDE = 0.02
"""Share of links beyond their sentence above which a file is taken to be about another text."""


@dataclass(frozen=True)
class OwnGold:
    """Sentence pairs and their right links, in the direction of the run.

    Attributes:
        corpus: the pairs.
        gold: their links.
        outside: slips: links that point beyond their sentence, with its number from 0.
    """

    corpus: Corpus
    gold: GoldAlignments
    outside: list[tuple[int, Link]]


def read_own_gold(config: Config, path: Path, name: str, first: str = "") -> OwnGold:
    """Read gold alignments and, beside them, their text.

    Args:
        config: of the run; names the languages.
        path: the links, see `read_alignments`.
        name: the text lies beside it as `NAME.LANGUAGE`.
        first: the language whose word stands first in a link; empty means the source language.

    Returns:
        The pairs and links.

    Raises:
        UserError: for files that cannot be read or do not belong together.
    """
    languages = config.source_language, config.target_language
    if first and first not in languages:
        raise UserError(
            f"--gold-first must be {languages[0]} or {languages[1]}, the run's languages. "
            f"Received: {first}"
        )
    corpus = read_files(replace(config, dataset="files", data_dir=str(path.parent)), name)
    try:
        gold = read_alignments(path)
    except ValueError as error:
        raise UserError(str(error)) from error
    if first == config.target_language:
        gold = GoldAlignments(turned_links(gold.sure), turned_links(gold.possible))
    if len(gold.sure) != len(corpus):
        raise UserError(
            f"--gold must have links for each of the {len(corpus)} sentences of {name}. "
            f"Received: {path}, for {len(gold.sure)}"
        )
    if not any(gold.sure):
        raise UserError(
            f"--gold must hold sure links, such as 0-0: alignment error is measured against them. "
            f"Received: {path} with possible links alone"
        )
    outside = links_outside(gold.possible, corpus.sources, corpus.targets)
    num_links = sum(map(len, gold.possible))
    if len(outside) > MOST_OUTSIDE * num_links:
        other = languages[1] if first in ("", languages[0]) else languages[0]
        raise UserError(
            f"{len(outside)} of the {num_links} links in {path} point beyond their sentence, the "
            f"first in sentence {outside[0][0] + 1}. Words are counted from 0; is {other} the "
            f"language that stands first (--gold-first {other})?"
        )
    return OwnGold(corpus, gold, outside)


def own_gold_figures(
    own: OwnGold,
    forced: ForcedAttention,
    choice: Choice,
    both: BothDirections | None,
    training: Corpus,
) -> dict[str, Any]:
    """Alignment error on a user's own gold.

    Args:
        own: the pairs and their links.
        forced: the translator's attention.
        choice: how it is read.
        both: the opposite direction beside it, or None.
        training: the run's training text; IBM model 1 and eflomal learn from it and these pairs.

    Returns:
        The figures and floors of a test set with gold, and `every_head`, which is for looking:
        the best of so many on the gold itself says too much of it.
    """
    corpus, gold = own.corpus, own.gold
    dictionary = IbmModel1([*word_pairs(training), *word_pairs(corpus)])
    heads: dict[tuple[int, int | None], dict[str, Any]] = {}
    for way, error in errors_of_every_way(forced, corpus, gold).items():
        row = heads.setdefault((way.layer, way.head), {"layer": way.layer, "head": way.head})
        row[way.step if way.end == "no_word" else f"{way.step}_end_as_last_word"] = error
    return {
        "sentences": len(corpus),
        "sure_links": sum(map(len, gold.sure)),
        "possible_links": sum(map(len, gold.possible)),
        "links_outside": len(own.outside),
        **alignment_figures(forced, corpus, gold, choice),
        **(both.figures(corpus, gold) if both else {}),
        **alignment_floors(training, corpus, gold, dictionary),
        "every_head": list(heads.values()),
    }
