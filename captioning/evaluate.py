"""How good a run is: its captions beside captions that nobody trained, and where its words look.

python -m captioning.evaluate --run-dir RUN
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from captioning.config import Config

DRAWN = 4
"""Test photos whose captions are drawn."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What validation tries, and how; checked when it is made."""

    beam_sizes: tuple[int, ...] = ()
    """Beam sizes tried on validation; none takes the run's own."""
    length_penalties: tuple[float, ...] = (0.0, 0.7, 1.4)
    """Length penalties tried on validation with every beam of more than one hypothesis; the best
    is used on the test photos and by export."""
    batch_size: int = 32
    """Photos computed at once; decides no figure."""
    meteor: bool = False
    """Also score METEOR, a Java program that takes a minute to start."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if min(self.beam_sizes, default=1) < 1:
            raise ValueError(
                "--beam-sizes takes numbers of at least 1. "
                f"Received: {' '.join(map(str, self.beam_sizes))}"
            )
        if not self.length_penalties or min(self.length_penalties) < 0:
            raise ValueError(
                "--length-penalties takes numbers of at least 0. Received: "
                f"{' '.join(map(str, self.length_penalties)) or 'none'}"
            )
        if self.batch_size < 1:
            raise ValueError(f"--batch-size must be at least 1. Received: {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class Options(Choices):
    """What the command takes."""

    run_dir: Path
    """The finished run to evaluate."""


def evaluate(run_dir: Path, choices: Choices | None = None) -> dict[str, Any]:
    """Score a finished run on its test photos and write the figures into its metrics.

    Beam size and length penalty are chosen on the validation photos before.

    Args:
        run_dir: the run folder.
        choices: what validation tries; None tries what the command does.

    Returns:
        The sections of `metrics.json` that were written: `decoding`, `test`, `attention` and
        `demo`. Captions and pictures of what was attended to lie in `evaluation/`.

    Raises:
        UserError: for a run that is missing or unfinished, or data that is gone.
    """
    from attention_apps.running.command import UserError
    from attention_apps.running.runs import write_metrics
    from captioning import attention_quality as quality
    from captioning.data import load
    from captioning.finished import load_captioner
    from captioning.metrics import meteor, score
    from captioning.readable import readable
    from captioning.reading import Reader
    from captioning.tuning import choose_decoding

    asked = choices or Choices()
    run, captioner = load_captioner(run_dir)
    config = run.config
    splits = load(config, captioner.vocabulary)
    validation, test = readable(config, splits.validation, splits.test)
    reader = Reader(captioner, batch_size=asked.batch_size)
    decoding = choose_decoding(
        reader,
        reader.split(validation),
        validation.photos.captions,
        asked.beam_sizes or (config.beam_size,),
        asked.length_penalties,
    )

    photos, pictures = test.photos, reader.split(test)
    captions, maps = reader.caption(
        pictures,
        beam_size=decoding["beam_size"],
        length_penalty=decoding["length_penalty"],
    )
    figures: dict[str, Any] = {"photos": len(photos), "notes": test.notes}
    figures |= score(captions, photos.captions).figures()
    if asked.meteor:
        value = meteor(captions, photos.captions)
        if value is None:
            raise UserError("--meteor needs a Java program. Received: no `java` on the path")
        figures["meteor"] = value
    said = _floors(config, splits.train, photos)
    for name, (texts, references) in said.items():
        figures[f"floor_{name}"] = score(texts, references).figures()

    forced = quality.forced_references(reader, pictures, photos)
    own = quality.own_words(captions, maps, photos)
    put_together = {
        parts: quality.collages(reader, photos, parts, config.image_size)
        for parts in quality.COLLAGES
    }
    attention = {
        "pointing": quality.pointing_figures(forced, own),
        **{f"collage_of_{parts}": found for parts, (found, _) in put_together.items()},
        "variation": quality.variation_figures(forced, own),
        "deletion": quality.deletion_of_own(reader, pictures, captions, maps),
    }
    trained_by_nobody = [name for name in said if name != "one_person"]
    sections: dict[str, Any] = {
        "decoding": decoding,
        "test": {photos.name: figures},
        "attention": attention,
        "demo": {
            "figure": "CIDEr",
            "value": figures["cider"],
            "floor": max(figures[f"floor_{name}"]["cider"] for name in trained_by_nobody),
            "better": "higher",
        },
    }
    folder = run.run_dir / "evaluation"
    folder.mkdir(exist_ok=True)
    rows = zip(photos.names, captions, strict=True)
    lines = "".join(f"{name}\t{caption}\n" for name, caption in rows)
    (folder / "captions.tsv").write_text(lines, encoding="utf-8")
    _draw(folder, photos, own, put_together)
    write_metrics(run.run_dir, **sections)
    return sections


def _floors(config: Config, train: Any, photos: Any) -> dict[str, tuple[list[str], Any]]:
    """Captions that nobody trained, each with the references they are scored against."""
    from captioning.appearance import appearances
    from captioning.baselines import (
        NEIGHBOURS,
        Consensus,
        commonest_caption,
        nearest,
        nearest_caption,
        one_person,
    )
    from captioning.readable import readable

    (of_train,) = (one.photos for one in readable(config, train))
    known, asked = appearances(config, of_train, photos)
    neighbours = nearest(asked, known, NEIGHBOURS)
    found: dict[str, tuple[list[str], Any]] = {
        "nearest": (nearest_caption(neighbours, of_train.captions), photos.captions),
        "consensus": (Consensus(of_train.captions)(neighbours), photos.captions),
        "commonest": (commonest_caption(of_train.captions, len(photos)), photos.captions),
    }
    person = one_person(photos.captions)
    if person[0]:
        found["one_person"] = person
    return found


def _draw(folder: Path, photos: Any, own: Any, put_together: Any) -> None:
    from captioning.overlays import draw_overlays

    def draw(pixels: Any, maps: Any, name: str) -> None:
        words, weights = [one.word for one in maps], [one.weights for one in maps]
        figure = draw_overlays(
            pixels, words, weights, boxes=[one.boxes for one in maps], title=" ".join(words)
        )
        figure.savefig(folder / f"{name}.png")

    for row in range(min(DRAWN, len(photos))):
        draw(photos.pixels(row), [one for one in own if one.photo == row], f"caption_{row}")
    for parts, (_, shown) in put_together.items():
        for pixels, forced in shown[:1]:
            for part, maps in enumerate(forced):
                draw(pixels, maps, f"collage_of_{parts}_{part}")


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and print the figures beside their floors."""
    from captioning.report import report

    options = parse(Options, argv, prog="python -m captioning.evaluate", description=__doc__)
    quiet_start()
    print(report(evaluate(options.run_dir, options)))
    print(f"figures: {options.run_dir / 'metrics.json'}")
    return 0


if __name__ == "__main__":
    run_command(main)
