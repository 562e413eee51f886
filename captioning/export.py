"""Make a run's SavedModel: bytes of pictures in, captions and attention out.

python -m captioning.export --run-dir RUN
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse

SCORE_TOLERANCE = 1e-4
# Two hypotheses this close in score are a tie: another batch size may round them the other way.
NEAR_TIE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run to export."""
    parity_photos: int = 500
    """Most test photos on which the export must answer as Python does."""


def export(run_dir: Path, *, parity_photos: int = 500) -> Path:
    """Export a finished run, checked picture by picture against Python.

    `serving_default` gives `captions` and `scores`; `with_attention` also the `words` and
    `attention` `(batch, words, rows, columns)`. A corrupt picture gets an empty caption and score
    -inf, and the others of its batch their own answers.

    Args:
        run_dir: the run folder.
        parity_photos: most test photos to compare.

    Returns:
        The folder of the SavedModel.

    Raises:
        UserError: for a run that is missing or unfinished.
        ParityError: when the export answers otherwise than Python; nothing is left behind then.
    """
    from attention_apps.running.export import export_model
    from captioning.caption import IMAGES
    from captioning.data import load
    from captioning.finished import load_captioner
    from captioning.train import ROOM

    run, captioner = load_captioner(run_dir)
    photos = load(run.config, captioner.vocabulary).test
    images = [photos.encoded(index) for index in range(min(parity_photos, len(photos)))]
    # What the export must answer to a picture that is none: nothing, and the others all the same.
    images.insert(len(images) // 2, b"no picture")
    near_ties: list[str] = []

    def parity(loaded: Any) -> list[str]:
        problems, ties = compare(captioner, loaded, images, run.config.seed)
        near_ties.extend(ties)
        return problems

    figures = run.metrics.get("test", {})
    folder = export_model(
        run.run_dir,
        endpoints={
            "serving_default": (captioner.serve, [IMAGES]),
            "with_attention": (captioner.serve_with_attention, [IMAGES]),
        },
        tracked=[captioner.model],
        parity=parity,
        model_card={
            "room": ROOM,
            "data": {"dataset": run.config.dataset, "photos": run.config.train_name},
            "figures": _sections(figures, floors=False),
            "floors": _sections(figures, floors=True),
            "limits": {
                "max_words": run.config.max_length,
                "pictures": "JPEG, PNG, BMP or the first frame of a GIF, squeezed to "
                f"{run.config.image_size} x {run.config.image_size}",
                "not_for": "pictures unlike the training photos; nothing was checked beyond "
                "`figures`",
            },
            "decoding": {
                "beam_size": captioner.config.beam_size,
                "length_penalty": captioner.config.length_penalty,
            },
            "labels": {
                "attention": "words, rows, columns",
                "grid": list(captioner.grid_shape),
            },
        },
    )
    for tie in near_ties:
        print(f"near-tie: {tie}")
    print(f"{len(images)} pictures: the export answers as Python does")
    return folder


def _sections(figures: dict[str, Any], *, floors: bool) -> dict[str, Any]:
    return {
        name: {key: value for key, value in section.items() if key.startswith("floor") == floors}
        for name, section in figures.items()
        if isinstance(section, dict)
    }


def compare(
    captioner: Any, loaded: Any, images: Sequence[bytes], seed: int
) -> tuple[list[str], list[str]]:
    """Ask Python and the export the same pictures, in another order and other batches.

    Args:
        captioner: the captioner in Python.
        loaded: the reloaded SavedModel.
        images: what to ask.
        seed: of the other order.

    Returns:
        Sentences about differences, and about near-ties that came out the other way.
    """
    import tensorflow as tf

    captions, scores, _ = captioner.caption(images)
    order = list(range(len(images)))
    random.Random(seed).shuffle(order)
    serving = loaded.signatures["serving_default"]
    problems, ties = [], []
    for start in range(0, len(order), 24):
        indexes = order[start : start + 24]
        outputs = serving(tf.constant([images[index] for index in indexes]))
        for place, index in enumerate(indexes):
            answer = outputs["captions"][place].numpy().decode()
            score = float(outputs["scores"][place])
            difference = 0.0 if score == scores[index] else abs(score - float(scores[index]))
            told = (
                f"picture {index}: {captions[index]!r} ({scores[index]:.6f}), "
                f"{answer!r} ({score:.6f})"
            )
            if answer == captions[index]:
                if difference > SCORE_TOLERANCE:
                    problems.append(f"scores differ for {told}")
            elif difference <= NEAR_TIE:
                ties.append(told)
            else:
                problems.append(f"captions differ for {told}")
    return problems, ties


def main(argv: Sequence[str] | None = None) -> int:
    """Export and print where the SavedModel lies."""
    options = parse(Options, argv, prog="python -m captioning.export", description=__doc__)
    quiet_start()
    print(f"exported: {export(options.run_dir, parity_photos=options.parity_photos)}")
    return 0


if __name__ == "__main__":
    run_command(main)
