"""Alignments of two translators, one for each direction, put together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from attention_apps.running.command import UserError
from attention_apps.running.runs import load_run
from translation.alignment_quality import Choice, choose_read_out, gold_of
from translation.alignments import Method, alignment_error_rate, symmetrise, turned_links
from translation.config import Config
from translation.corpus import Corpus
from translation.forced import ForcedAttention
from translation.gold import GoldAlignments
from translation.readout import ReadOut
from translation.train import ROOM
from translation.translate import Translate
from translation.vocabularies import Vocabularies

METHODS: tuple[Method, ...] = get_args(Method)
UNMEASURED: Method = "grow_diag"


@dataclass(frozen=True)
class BothDirections:
    """Two translators and how their alignments are combined.

    Attributes:
        forced: attention of the translator that is evaluated.
        way: how it is read.
        reverse: attention of the translator of the opposite direction.
        reverse_way: how that is read.
        method: the one that validation chose; without gold, `grow_diag`.
        validation_errors: of every method; empty without gold.
    """

    forced: ForcedAttention
    way: ReadOut
    reverse: ForcedAttention
    reverse_way: ReadOut
    method: Method
    validation_errors: dict[Method, float]

    def section(self) -> dict[str, Any]:
        """What a run's metrics say of it."""
        return {
            "method": self.method,
            "reverse": asdict(self.reverse_way),
            "validation_errors": self.validation_errors,
        }

    def figures(self, corpus: Corpus, gold: GoldAlignments) -> dict[str, float]:
        """Alignment error of the method that was chosen, and of every method.

        Args:
            corpus: the pairs, in the direction that is evaluated.
            gold: their right links.

        Returns:
            `alignment_error_symmetrised`, and the error of every method by its name.
        """
        errors = errors_of_methods(
            self.forced, self.way, self.reverse, self.reverse_way, corpus, gold
        )
        return {
            "alignment_error_symmetrised": errors[self.method],
            **{f"alignment_error_{method}": error for method, error in errors.items()},
        }


def read_both(
    forced: ForcedAttention, choice: Choice, config: Config, validation: Corpus, reverse_run: Path
) -> BothDirections:
    """Load the run of the opposite direction and choose, on validation, how to combine the two.

    Args:
        forced: attention of the translator that is evaluated.
        choice: how it is read.
        config: of its run.
        validation: the pairs that choose, in the direction that is evaluated.
        reverse_run: the run of the opposite direction.

    Returns:
        Both.

    Raises:
        UserError: for a run that is unfinished or of another pair of languages.
    """
    run = load_run(reverse_run, ROOM, Config)
    languages = run.config.source_language, run.config.target_language
    if languages != (config.target_language, config.source_language):
        raise UserError(
            f"--reverse-run must translate from {config.target_language} to "
            f"{config.source_language}. Received: {reverse_run}, from {languages[0]} to "
            f"{languages[1]}"
        )
    vocabularies = Vocabularies.read(run.run_dir)
    reverse = ForcedAttention(Translate(run.model, vocabularies, run.config).model, vocabularies)
    guided = run.config.alignment_weight > 0
    reverse_way = choose_read_out(reverse, validation.turned(), guided=guided).best
    method, errors = UNMEASURED, dict[Method, float]()
    if validation.alignments is not None:
        errors = errors_of_methods(
            forced, choice.best, reverse, reverse_way, validation, gold_of(validation)
        )
        method = min(errors, key=errors.__getitem__)
    return BothDirections(forced, choice.best, reverse, reverse_way, method, errors)


def errors_of_methods(
    forced: ForcedAttention,
    way: ReadOut,
    reverse: ForcedAttention,
    reverse_way: ReadOut,
    corpus: Corpus,
    gold: GoldAlignments,
) -> dict[Method, float]:
    """Alignment error of every method.

    Args:
        forced: attention of the direction of the corpus.
        way: how it is read.
        reverse: attention of the opposite direction.
        reverse_way: how that is read.
        corpus: the pairs.
        gold: their right links.

    Returns:
        The error by method.
    """
    forward = forced.alignments(corpus, [way])[way]
    backward = turned_links(reverse.alignments(corpus.turned(), [reverse_way])[reverse_way])
    pairs = list(zip(forward, backward, strict=True))
    return {
        method: alignment_error_rate([symmetrise(f, b, method=method) for f, b in pairs], *gold)[0]
        for method in METHODS
    }
