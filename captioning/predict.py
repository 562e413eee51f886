"""Ask a run's exported model what it sees, and where it looked for every word.

python -m captioning.predict --run-dir RUN PHOTO [PHOTO ...]
python -m captioning.predict --run-dir RUN --quiet FOLDER/*.jpg      one line a photo, no pictures
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from attention_apps.observation.record import AttentionRecord, Axis
from attention_apps.observation.terminal import draw_text
from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import parse

ROOM = "captioning"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The run whose exported model is asked."""
    photos: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Files to caption: JPEG, PNG, BMP or GIF."""
    folder: Path | None = None
    """Where the strips of overlays are written; by default `predictions` in the run folder."""
    quiet: bool = False
    """Print photo, score and caption only, separated by tabs, and draw nothing."""
    batch_size: int = 32
    """Photos captioned at once."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.batch_size < 1:
            raise ValueError(f"--batch-size must be at least 1. Received: {self.batch_size}")


def answers(ask: Any, photos: Sequence[Path], batch_size: int) -> Iterator[dict[str, Any]]:
    """Caption photos.

    Args:
        ask: the signature `with_attention` of an exported model.
        photos: their files.
        batch_size: photos captioned at once.

    Returns:
        For each photo `caption`, `score` (-inf for one that cannot be decoded), `words` and
        `attention` `(words, rows, columns)`, both without the end.
    """
    import tensorflow as tf

    for start in range(0, len(photos), batch_size):
        images = [path.read_bytes() for path in photos[start : start + batch_size]]
        outputs = {name: value.numpy() for name, value in ask(tf.constant(images)).items()}
        for place in range(len(images)):
            caption = outputs["captions"][place].decode()
            words = caption.split()
            yield {
                "caption": caption,
                "score": float(outputs["scores"][place]),
                "words": words,
                "attention": outputs["attention"][place][: len(words)],
            }


def main(argv: Sequence[str] | None = None) -> int:
    """Caption, print and draw."""
    options = parse(Options, argv, prog=f"python -m {ROOM}.predict", description=__doc__)
    if not options.photos:
        raise UserError("give photos to caption. Received: none")
    for path in options.photos:
        if not path.is_file():
            raise UserError(f"a photo must be a file. Received: {path}")
    folder = options.folder or options.run_dir / "predictions"
    strips = strip_paths(options.photos, folder)
    quiet_start()
    import tensorflow as tf

    from attention_apps.running.export import exported_model

    loaded = tf.saved_model.load(str(exported_model(options.run_dir, ROOM)))
    ask = loaded.signatures["with_attention"]
    unreadable = []
    found = answers(ask, options.photos, options.batch_size)
    for path, strip, answer in zip(options.photos, strips, found, strict=True):
        if answer["score"] == float("-inf"):
            unreadable.append(str(path))
        elif options.quiet:
            print(f"{path}\t{answer['score']:.4f}\t{answer['caption']}")
        else:
            _show(path, answer, strip)
    if unreadable:
        raise UserError(
            f"{len(unreadable)} of {len(options.photos)} files are no pictures that can be decoded "
            f"(JPEG, PNG, BMP, GIF); the others were captioned. Received: {', '.join(unreadable)}"
        )
    return 0


def strip_paths(photos: Sequence[Path], folder: Path) -> list[Path]:
    """Where the strip of every photo is written; two photos of one name have strips of two.

    Args:
        photos: as they were given.
        folder: of the strips.

    Returns:
        A path for every photo.

    Raises:
        UserError: when a strip would take the place of a photo.
    """
    paths: list[Path] = []
    for photo in photos:
        path, number = folder / f"{photo.stem}-attention.png", 1
        while path in paths:
            number += 1
            path = folder / f"{photo.stem}-attention-{number}.png"
        paths.append(path)
    for photo in photos:
        if photo.resolve() in {path.resolve() for path in paths}:
            raise UserError(
                f"pictures of attention would overwrite a photo: choose another --folder. "
                f"Received: {folder} with {photo}"
            )
    return paths


def _show(path: Path, answer: dict[str, Any], strip: Path) -> None:
    """Print a caption and its attention, and write its strip of overlays."""
    print(f"{path}\n→ {answer['caption']}  ({answer['score']:.3f})\n")
    if not answer["words"]:
        return
    weights = answer["attention"]
    record = AttentionRecord(
        weights=weights.reshape(1, len(weights), -1),
        layer="cells of the picture, row by row",
        query=Axis(tuple(answer["words"])),
        key=Axis.cells(*weights.shape[1:]),
        heads=("where each word looked",),
    )
    print(draw_text(record))
    write_overlays(path, answer, strip)
    print(f"\noverlays: {strip}\n")


def write_overlays(path: Path, answer: dict[str, Any], strip: Path) -> None:
    """Draw where every word looked.

    Args:
        path: of the photo.
        answer: as `answers` gives it.
        strip: the PNG file to write.
    """
    from captioning.images import decode
    from captioning.overlays import draw_overlays

    strip.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(decode(path.read_bytes()))
    figure = draw_overlays(
        pixels, answer["words"], answer["attention"], title=f"{path.name}: {answer['caption']}"
    )
    figure.savefig(strip)


if __name__ == "__main__":
    run_command(main)
