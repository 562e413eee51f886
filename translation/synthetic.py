"""The embedded translation data: English and German sentences with gold word alignments.

Run `python -m translation.synthetic --show 10` to look at it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NoReturn

import numpy as np
import tensorflow_datasets as tfds

from attention_apps.running.command import UserError, run_command
from translation.grammar.composition import compose, draw_constructions
from translation.grammar.derivation import derive
from translation.grammar.splits import (
    SHARES,
    is_held_out,
    split_of_source,
    split_of_structure,
    split_of_target,
)

SPLITS: Final = tuple(SHARES)
"""train, validation, test, and test_constructions: constructions that never meet in training."""

_LONGEST: Final = 24
"""Words of the longest sentence."""


@dataclass(frozen=True)
class Example:
    """A sentence pair."""

    source: str
    """English, words and punctuation separated by spaces."""
    target: str
    """German, likewise."""
    alignment: tuple[tuple[int, int], ...]
    """Links (source word, target word), 0-based."""
    construction: str
    """The constructions of the sentence, e.g. `relative+perfect`, or `plain`."""


def generate(split: str, *, size: int | None, seed: int) -> Iterator[Example]:
    """Make up sentence pairs, all different in both languages.

    No sentence of a split, English or German, is in another one, whatever the sizes and seeds.

    Args:
        split: one of SPLITS.
        size: number of pairs; None for no end.
        seed: the same seed gives the same pairs; a smaller size gives the first of them.

    Raises:
        ValueError: for a split or a size that there is not.
    """
    if split not in SPLITS:
        raise ValueError(f"Expected one of the splits {', '.join(SPLITS)}. Received: {split!r}")
    if size is not None and size < 0:
        raise ValueError(f"Expected a number of pairs or None. Received: {size}")
    return _generate(split, size, Random(f"{split} {seed}"))


def _generate(split: str, size: int | None, random: Random) -> Iterator[Example]:
    held_out = split == "test_constructions"
    sources: set[str] = set()
    targets: set[str] = set()
    while size is None or len(sources) < size:
        wanted = draw_constructions(random)
        if is_held_out(wanted) != held_out:
            continue
        sentence = compose(random, wanted)
        if sentence is None or split_of_structure(sentence) != split:
            continue
        source, target, alignment = derive(sentence)
        if split_of_source(source) != split or split_of_target(target) != split:
            continue
        lengths = source.count(" "), target.count(" ")
        if max(lengths) >= _LONGEST or source in sources or target in targets:
            continue
        sources.add(source)
        targets.add(target)
        yield Example(source, target, alignment, "+".join(sorted(wanted)) or "plain")


class GeneratedTranslation(tfds.core.GeneratorBasedBuilder):
    """The embedded pairs as a set of tensorflow-datasets.

    Prepared data is kept by version: a grammar that makes other sentences needs another version.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: Final = [
        tfds.core.BuilderConfig(name="full", description="100,000 pairs to train on"),
        tfds.core.BuilderConfig(name="small", description="20,000 pairs to train on"),
        tfds.core.BuilderConfig(name="tiny", description="2,000 pairs to train on"),
    ]
    SIZES: Final = {"full": (100_000, 1_000), "small": (20_000, 500), "tiny": (2_000, 100)}
    """Config -> number of pairs to train on and of each other split."""

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description="English and German from a grammar, with the alignment of their words.",
            features=tfds.features.FeaturesDict(
                {
                    "source": tfds.features.Text(),
                    "target": tfds.features.Text(),
                    "alignment": tfds.features.Tensor(shape=(None, 2), dtype=np.int32),
                    "construction": tfds.features.Text(),
                }
            ),
            supervised_keys=("source", "target"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        training, other = self.SIZES[self.builder_config.name]
        return {
            split: self._generate_examples(split, training if split == "train" else other)
            for split in SPLITS
        }

    def _generate_examples(self, split: str, size: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, example in enumerate(generate(split, size=size, seed=0)):
            yield (
                index,
                {
                    "source": example.source,
                    "target": example.target,
                    "alignment": example.alignment,
                    "construction": example.construction,
                },
            )


def _shown(example: Example) -> str:
    """An example as lines of text; every German word with the English words it is linked to."""
    source = example.source.split()
    linked: dict[int, list[str]] = {}
    for one, other in example.alignment:
        linked.setdefault(other, []).append(source[one])
    words = [
        f"{word}[{' '.join(linked.get(index, ['-']))}]"
        for index, word in enumerate(example.target.split())
    ]
    return "\n".join((example.construction, example.source, example.target, " ".join(words), ""))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print examples with their alignment."""
    parser = _Parser(prog="python -m translation.synthetic", description=main.__doc__)
    parser.add_argument("--show", type=int, default=10, help="number of examples (10)")
    parser.add_argument("--split", default="train", choices=SPLITS, help="of which split (train)")
    parser.add_argument("--seed", type=int, default=0, help="0 gives those of the prepared set")
    options = parser.parse_args(arguments)
    if options.show < 1:
        raise UserError(f"--show must be at least 1. Received: {options.show}")
    for example in generate(options.split, size=options.show, seed=options.seed):
        print(_shown(example))


if __name__ == "__main__":
    run_command(main)
