"""The embedded captioning data: rendered scenes, five captions each, boxes for every word.

Run `python -m captioning.synthetic --show 5` to read it, with `--folder FOLDER` to see it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import tensorflow_datasets as tfds

from attention_apps.running.command import run_command
from attention_apps.running.flags import parse
from captioning.phrases import Word, captions_of
from captioning.scenes import SIZE, Scene, draw_scene, render

SPLITS: Final = ("train", "validation", "test")
"""The pairs of nouns of `scenes.HELD_OUT` are in all pictures of test and in none of the others."""


@dataclass(frozen=True)
class Example:
    """A picture with its captions."""

    scene: Scene
    pixels: np.ndarray
    captions: list[list[Word]]


def generate(split: str, *, size: int, seed: int) -> Iterator[Example]:
    """Make up pictures.

    Args:
        split: one of SPLITS.
        size: number of pictures.
        seed: the same seed gives the same pictures; a smaller size gives the first of them.

    Raises:
        ValueError: for a split that there is not.
    """
    if split not in SPLITS:
        raise ValueError(f"Expected one of the splits {', '.join(SPLITS)}. Received: {split!r}")
    random = Random(f"{split} {seed}")
    for _ in range(size):
        scene = draw_scene(random, held_out=split == "test")
        yield Example(scene, render(scene, random.getrandbits(32)), captions_of(scene, random))


class GeneratedCaptions(tfds.core.GeneratorBasedBuilder):
    """The embedded pictures as a set of tensorflow-datasets.

    Prepared data is kept by version: other pictures or captions need another version.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: Final = [
        tfds.core.BuilderConfig(name="full", description="12,000 pictures to train on"),
        tfds.core.BuilderConfig(name="small", description="2,500 pictures to train on"),
        tfds.core.BuilderConfig(name="tiny", description="600 pictures to train on, for tests"),
    ]
    SIZES: Final = {"full": (12_000, 1_000), "small": (2_500, 300), "tiny": (600, 80)}
    """Config -> number of pictures to train on and of each other split."""

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Textured objects on backgrounds, with captions and the boxes of words.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIZE, SIZE, 3), encoding_format="png"),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    # caption, word, top, left, bottom, right
                    "boxes": tfds.features.Tensor(shape=(None, 6), dtype=np.float32),
                }
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        training, other = self.SIZES[self.builder_config.name]
        return {
            split: self._generate_examples(split, training if split == "train" else other)
            for split in SPLITS
        }

    def _generate_examples(self, split: str, size: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, example in enumerate(generate(split, size=size, seed=0)):
            boxes = [
                (number, place, *box)
                for number, caption in enumerate(example.captions)
                for place, (_, of_word) in enumerate(caption)
                for box in of_word
            ]
            yield (
                index,
                {
                    "image": example.pixels,
                    "captions": [" ".join(word for word, _ in c) for c in example.captions],
                    "boxes": np.array(boxes, np.float32).reshape(-1, 6),
                },
            )


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    show: int = 5
    """Number of pictures."""
    split: str = "train"
    """`train`, `validation` or `test`."""
    seed: int = 0
    """0 gives those of the prepared set."""
    folder: Path | None = None
    """Where to write the pictures as PNG files."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.show < 1:
            raise ValueError(f"--show must be at least 1. Received: {self.show}")
        if self.split not in SPLITS:
            raise ValueError(f"--split must be {' or '.join(SPLITS)}. Received: {self.split}")


def main(argv: Sequence[str] | None = None) -> int:
    """Print captions, and write pictures."""
    options = parse(Options, argv, prog="python -m captioning.synthetic", description=__doc__)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    examples = generate(options.split, size=options.show, seed=options.seed)
    for index, example in enumerate(examples):
        if options.folder is not None:
            from PIL import Image

            Image.fromarray(example.pixels).save(options.folder / f"{options.split}-{index}.png")
        for caption in example.captions:
            print(f"{index}  {' '.join(word for word, _ in caption)}")
    return 0


if __name__ == "__main__":
    run_command(main)
