"""Make a run's SavedModel: raw sentences in, translations and attention out.

python -m translation.export --run-dir RUN
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from translation.config import Config

SCORE_TOLERANCE = 1e-5
# Two hypotheses this close in score are a tie: another batch size may round them the other way.
NEAR_TIE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run to export."""
    parity_sentences: int = 1000
    """Most test sentences on which the export must answer as Python does."""


def export(run_dir: Path, *, parity_sentences: int = 1000) -> Path:
    """Export a finished run, checked sentence by sentence against Python.

    `serving_default` gives `translations` and `scores`; `with_attention` also the subwords and
    `attention` `(batch, layers, heads, target, source)`, and what was attended to in the
    translation memory where an evaluation chose one.

    Args:
        run_dir: the run folder.
        parity_sentences: most test sentences to compare.

    Returns:
        The folder of the SavedModel.

    Raises:
        UserError: for a run that is missing or unfinished.
        ParityError: when the export answers otherwise than Python; nothing is left behind then.
    """
    from attention_apps.running.export import export_model
    from attention_apps.running.runs import load_run
    from translation.data import read_corpora
    from translation.forced import ForcedAttention
    from translation.memory_tuning import chosen_memory
    from translation.train import ROOM
    from translation.translate import SENTENCES, Translate
    from translation.tuning import with_chosen_decoding
    from translation.vocabularies import Vocabularies

    run = load_run(run_dir, ROOM, Config)
    vocabularies = Vocabularies.read(run.run_dir)
    config = with_chosen_decoding(run.config, run.metrics)
    memory = chosen_memory(run.run_dir, run.metrics)
    translate = Translate(run.model, vocabularies, config, memory)
    _, _, tests = read_corpora(run.config)
    sentences = [s for test in tests for s in test.sources][:parity_sentences]
    near_ties: list[str] = []

    def parity(loaded: Any) -> list[str]:
        problems, ties = compare(translate, loaded, sentences, run.config.seed)
        near_ties.extend(ties)
        return problems

    figures = run.metrics.get("test", {})
    alignment = run.metrics.get("alignment")
    if alignment is None:
        forced = ForcedAttention(translate.model, vocabularies)
        alignment = asdict(forced.unmeasured(guided=config.alignment_weight > 0))
    folder = export_model(
        run.run_dir,
        endpoints={
            "serving_default": (translate.translate, [SENTENCES]),
            "with_attention": (translate.translate_with_attention, [SENTENCES]),
        },
        tracked=[translate.model, *([] if memory is None else [memory])],
        parity=parity,
        model_card={
            "room": ROOM,
            "data": {
                "dataset": run.config.dataset,
                "source_language": run.config.source_language,
                "target_language": run.config.target_language,
            },
            "figures": {
                name: {k: v for k, v in section.items() if not k.startswith("floor")}
                for name, section in figures.items()
            },
            "floors": {
                name: {k: v for k, v in section.items() if k.startswith("floor")}
                for name, section in figures.items()
            },
            "limits": {
                "max_subwords": run.config.max_length,
                "needs": "import tensorflow_text before loading",
                "not_for": "text unlike the training text; nothing was checked beyond `figures`",
            },
            "decoding": {
                "beam_size": config.beam_size,
                "length_penalty": config.length_penalty,
                **({} if memory is None else {"memory": asdict(memory.recall)}),
            },
            "labels": {
                "attention": "layers, heads, target, source",
                "alignment": alignment,
            },
        },
    )
    for tie in near_ties:
        print(f"near-tie: {tie}")
    print(f"{len(sentences)} sentences: the export answers as Python does")
    return folder


def compare(
    translate: Any, loaded: Any, sentences: Sequence[str], seed: int
) -> tuple[list[str], list[str]]:
    """Ask Python and the export the same sentences, in another order and other batches.

    Args:
        translate: the translator in Python.
        loaded: the reloaded SavedModel.
        sentences: what to ask.
        seed: of the other order.

    Returns:
        Sentences about differences, and about near-ties that came out the other way.
    """
    from translation.translate import translate_all

    shuffled = list(range(len(sentences)))
    random.Random(seed).shuffle(shuffled)
    serving = loaded.signatures["serving_default"]
    expected = translate_all(translate.translate, sentences, batch_size=64)
    answers = translate_all(serving, [sentences[i] for i in shuffled], batch_size=48, sort=False)
    problems, ties = [], []
    for index, answer in zip(shuffled, answers, strict=True):
        texts = [row["translations"].decode() for row in (expected[index], answer)]
        scores = [float(row["scores"]) for row in (expected[index], answer)]
        difference = abs(scores[0] - scores[1])
        told = (
            f"{sentences[index]!r}: {texts[0]!r} ({scores[0]:.6f}), {texts[1]!r} ({scores[1]:.6f})"
        )
        if texts[0] == texts[1]:
            if difference > SCORE_TOLERANCE:
                problems.append(f"scores differ for {told}")
        elif difference <= NEAR_TIE:
            ties.append(told)
        else:
            problems.append(f"texts differ for {told}")
    return problems, ties


def main(argv: Sequence[str] | None = None) -> int:
    """Export and print where the SavedModel lies."""
    options = parse(Options, argv, prog="python -m translation.export", description=__doc__)
    quiet_start()
    print(f"exported: {export(options.run_dir, parity_sentences=options.parity_sentences)}")
    return 0


if __name__ == "__main__":
    run_command(main)
