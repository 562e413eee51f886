"""How good a run is: BLEU and chrF beside the floor, alignments beside theirs.

python -m translation.evaluate --run-dir RUN
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from translation.config import Config

RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run to evaluate."""


def evaluate(run_dir: Path) -> dict[str, Any]:
    """Score a finished run on its test sets and write the figures into its metrics.

    How attention is read as an alignment is chosen on the validation set, see `choose_read_out`.

    Args:
        run_dir: the run folder.

    Returns:
        The sections `test`, `alignment` and `demo` of `metrics.json`. Translations and a picture of
        the attention that is read as an alignment are written to `evaluation/`.

    Raises:
        UserError: for a run that is missing or unfinished, or data that is gone.
    """
    from attention_apps.observation.heatmaps import draw_heatmaps
    from attention_apps.running.runs import load_run, write_metrics
    from translation.alignment_quality import alignment_figures, choose_read_out, word_pairs
    from translation.attention_maps import alignment_record
    from translation.baselines import IbmModel1
    from translation.data import read_corpora
    from translation.forced import ForcedAttention
    from translation.subwords import Subwords
    from translation.train import ROOM, SUBWORDS
    from translation.translate import Translate

    run = load_run(run_dir, ROOM, Config)
    subwords = Subwords.read(run.run_dir / SUBWORDS)
    training, validation, tests = read_corpora(run.config)
    translate = Translate(run.model, subwords, run.config)
    forced = ForcedAttention(translate.model, subwords)
    choice = choose_read_out(forced, validation, guided=run.config.alignment_weight > 0)
    figures: dict[str, Any] = {}
    for test in tests:
        figures[test.name] = _score_translations(translate, test, run.run_dir, run.config)
    if any(test.alignments is not None for test in tests):
        dictionary = IbmModel1(word_pairs(training))
        for test in tests:
            if test.alignments is not None:
                figures[test.name] |= alignment_figures(
                    forced, test, test.alignments, choice, dictionary
                )
    record = alignment_record(forced, subwords, tests[0], choice.best)
    draw_heatmaps(record).savefig(run.run_dir / "evaluation" / "attention.png")
    main = figures[tests[0].name]
    sections = {
        "test": figures,
        "alignment": choice.section(),
        "demo": {
            "figure": "BLEU",
            "value": main["bleu"],
            "floor": main["floor_copy_source_bleu"],
            "better": "higher",
        },
    }
    write_metrics(run.run_dir, **sections)
    return sections


def _score_translations(translate: Any, test: Any, run_dir: Path, config: Config) -> dict[str, Any]:
    import sacrebleu

    from translation.baselines import copy_source
    from translation.translate import translate_all

    hypotheses = [row["translations"].decode() for row in translate_all(translate, test.sources)]
    folder = run_dir / "evaluation"
    folder.mkdir(exist_ok=True)
    path = folder / f"{test.name}.{config.target_language}"
    path.write_text("".join(f"{line}\n" for line in hypotheses), encoding="utf-8")
    bleu, chrf = sacrebleu.BLEU(tokenize=config.bleu_tokenizer, force=True), sacrebleu.CHRF()
    score = bleu.corpus_score(hypotheses, [test.targets], n_bootstrap=RESAMPLES)
    floor = bleu.corpus_score(copy_source(test.sources), [test.targets])
    return {
        "sentences": len(test),
        "bleu": score.score,
        "bleu_interval": score._ci,
        "bleu_signature": str(bleu.get_signature()),
        "chrf": chrf.corpus_score(hypotheses, [test.targets]).score,
        "chrf_signature": str(chrf.get_signature()),
        "floor_copy_source_bleu": floor.score,
        "floor_copy_source_chrf": chrf.corpus_score(
            copy_source(test.sources), [test.targets]
        ).score,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and print the figures beside their floors."""
    options = parse(Options, argv, prog="python -m translation.evaluate", description=__doc__)
    quiet_start()
    sections = evaluate(options.run_dir)
    for name, figures in sections["test"].items():
        print(
            f"{name}: BLEU {figures['bleu']:.2f} ± {figures['bleu_interval']:.2f} "
            f"(copied source {figures['floor_copy_source_bleu']:.2f}), chrF {figures['chrf']:.2f} "
            f"({figures['floor_copy_source_chrf']:.2f}), {figures['sentences']} sentences, "
            f"{figures['bleu_signature']}"
        )
        if "alignment_error" in figures:
            print(
                f"{name}: alignment error {figures['alignment_error']:.3f} (raw "
                f"{figures['alignment_error_raw']:.3f}, shifted "
                f"{figures['alignment_error_shifted']:.3f}, diagonal "
                f"{figures['floor_alignment_error_diagonal']:.3f}, IBM model 1 "
                f"{figures['floor_alignment_error_ibm1']:.3f})"
            )
    print(f"figures: {options.run_dir / 'metrics.json'}")
    return 0


if __name__ == "__main__":
    run_command(main)
