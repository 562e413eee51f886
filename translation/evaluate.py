"""How good a run is: BLEU and chrF beside the floor, alignments beside theirs.

python -m translation.evaluate --run-dir RUN
python -m translation.evaluate --run-dir RUN --memory                attend to training pairs too
python -m translation.evaluate --run-dir RUN --against-run OTHER     is the difference chance?
python -m translation.evaluate --run-dir RUN --reverse-run OPPOSITE  alignments of both directions
python -m translation.evaluate --run-dir RUN --gold FILE --gold-name NAME   your gold alignments
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from translation.config import Config


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """What a run is compared with, and what validation tries; checked when it is made."""

    length_penalties: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    """Length penalties tried on validation; the best is used on the test set and by export. One
    alone is used as it is."""
    beam_size: int | None = None
    """Hypotheses kept by beam search, here and by export; without it as the run was trained."""
    memory: bool = False
    """Attend to the most similar training pairs as well, where that translates validation better.
    The memory (about 0.3 kB a target subword) is kept in the run folder for export and predict."""
    memory_pairs: int = 512
    """Training pairs that each sentence attends to."""
    against_run: Path | None = None
    """Run that was evaluated on the same test set: paired bootstrap against its translations."""
    against_file: Path | None = None
    """Translations of the main test set, one a line: paired bootstrap against them."""
    reverse_run: Path | None = None
    """Finished run of the opposite direction: alignments of both, symmetrised."""
    gold: Path | None = None
    """Gold alignments of your own, such as `0-0 1-2 3p3` for each sentence or `1 0 0 S` for each
    link, words counted from 0."""
    gold_name: str = ""
    """Their text: NAME.LANGUAGE beside the file of --gold, in the languages of the run."""
    gold_first: str = ""
    """Language whose word stands first in their links; without it the run's source language."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.length_penalties or min(self.length_penalties) < 0:
            raise ValueError(
                "--length-penalties takes numbers of at least 0. Received: "
                f"{' '.join(map(str, self.length_penalties)) or 'none'}"
            )
        if self.beam_size is not None and self.beam_size < 1:
            raise ValueError(f"--beam-size must be at least 1. Received: {self.beam_size}")
        if self.memory_pairs < 1:
            raise ValueError(f"--memory-pairs must be at least 1. Received: {self.memory_pairs}")
        if (self.gold is None) != (not self.gold_name):
            raise ValueError(
                "--gold FILE and --gold-name NAME belong together. Received: only "
                f"{'--gold-name' if self.gold is None else '--gold'}"
            )
        if self.gold_first and self.gold is None:
            raise ValueError("--gold-first says how to read --gold. Received: no --gold")


@dataclass(frozen=True, kw_only=True)
class Options(Comparisons):
    """What the command takes."""

    run_dir: Path
    """The finished run to evaluate."""


def evaluate(run_dir: Path, comparisons: Comparisons | None = None) -> dict[str, Any]:
    """Score a finished run on its test sets and write the figures into its metrics.

    The length penalty, the memory and the way to read alignments are chosen on the validation set
    before.

    Args:
        run_dir: the run folder.
        comparisons: what to compare it with; None compares with the floors alone.

    Returns:
        The sections of `metrics.json` that were written: `decoding`, `alignment`, `test`,
        `comparison`, `gold` and `demo`. Translations, a picture of the attention that is read as
        an alignment and, with a memory, one of the pairs attended to lie in `evaluation/`.

    Raises:
        UserError: for a run that is missing or unfinished, data that is gone, or something to
            compare with that does not fit.
    """
    from attention_apps.observation.heatmaps import draw_heatmaps
    from attention_apps.running.runs import load_run, write_metrics
    from translation.alignment_quality import (
        alignment_figures,
        alignment_floors,
        choose_read_out,
        gold_of,
        word_pairs,
    )
    from translation.attention_maps import alignment_record, memory_record
    from translation.baselines import IbmModel1
    from translation.both_directions import read_both
    from translation.data import read_corpora
    from translation.forced import ForcedAttention
    from translation.memory_tuning import memory_of, tune_with_memory
    from translation.own_gold import own_gold_figures, read_own_gold
    from translation.quality import quality
    from translation.rivals import compare, read_rivals
    from translation.train import ROOM
    from translation.translate import Translate
    from translation.tuning import translate_corpus, tune_length_penalty
    from translation.vocabularies import Vocabularies

    asked = comparisons or Comparisons()
    run = load_run(run_dir, ROOM, Config)
    config = replace(run.config, beam_size=asked.beam_size or run.config.beam_size)
    vocabularies = Vocabularies.read(run.run_dir)
    training, validation, tests = read_corpora(config)
    # Before anything that takes long: what the user named is read and refused.
    rivals = read_rivals(config, tests, asked.against_run, asked.against_file)
    own = None
    if asked.gold is not None:
        own = read_own_gold(config, asked.gold, asked.gold_name, asked.gold_first)
    translate = Translate(run.model, vocabularies, config)
    forced = ForcedAttention(translate.model, vocabularies)
    choice = choose_read_out(forced, validation, guided=config.alignment_weight > 0)
    alignment = choice.section()
    both = None
    if asked.reverse_run is not None:
        both = read_both(forced, choice, config, validation, asked.reverse_run)
        alignment["symmetrised"] = both.section()
    if asked.memory:
        memory = memory_of(run.run_dir, translate, training)
        translate, decoding = tune_with_memory(
            translate, memory, validation, asked.memory_pairs, asked.length_penalties
        )
    else:
        decoding = tune_length_penalty(translate, validation, asked.length_penalties)

    folder = run.run_dir / "evaluation"
    folder.mkdir(exist_ok=True)
    hypotheses, figures = {}, {}
    for test in tests:
        lines = translate_corpus(translate, test, decoding["length_penalty"])
        path = folder / f"{test.name}.{config.target_language}"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        hypotheses[test.name], figures[test.name] = lines, quality(lines, test, config)
    if with_gold := [test for test in tests if test.alignments is not None]:
        dictionary = IbmModel1(word_pairs(training))
        for test in with_gold:
            gold = gold_of(test)
            figures[test.name] |= {
                **alignment_figures(forced, test, gold, choice),
                **(both.figures(test, gold) if both else {}),
                **alignment_floors(training, test, gold, dictionary),
            }
    draw_heatmaps(alignment_record(forced, vocabularies, tests[0], choice.best)).savefig(
        folder / "attention.png"
    )
    (folder / "memory.png").unlink(missing_ok=True)
    if decoding.get("memory"):
        draw_heatmaps(memory_record(translate, tests[0])).savefig(folder / "memory.png")
    main = figures[tests[0].name]
    sections = {
        "decoding": decoding,
        "alignment": alignment,
        "test": figures,
        "comparison": compare(rivals, hypotheses, tests, config),
        "gold": {}
        if own is None
        else {own.corpus.name: own_gold_figures(own, forced, choice, both, training)},
        "demo": {
            "figure": "BLEU",
            "value": main["bleu"],
            "floor": main["floor_copy_source_bleu"],
            "better": "higher",
        },
    }
    write_metrics(run.run_dir, **sections)
    return sections


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and print the figures beside their floors."""
    from translation.report import report

    options = parse(Options, argv, prog="python -m translation.evaluate", description=__doc__)
    quiet_start()
    print(report(evaluate(options.run_dir, options)))
    print(f"figures: {options.run_dir / 'metrics.json'}")
    return 0


if __name__ == "__main__":
    run_command(main)
