"""How right the alignments are that attention gives, beside aligners that know only the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from translation.alignments import alignment_error_rate
from translation.baselines import IbmModel1, diagonal_links
from translation.corpus import Corpus
from translation.eflomal_aligner import eflomal_links, is_installed
from translation.forced import ForcedAttention
from translation.gold import GoldAlignments
from translation.readout import ReadOut, best_read_outs


@dataclass(frozen=True)
class Choice:
    """The ways to read alignments that were chosen before any test set was looked at.

    Attributes:
        best: the way that is used wherever an alignment is shown.
        by_step: the best way at each step, `raw` and `shifted`.
        chosen_on: the gold alignments that chose, or that none did.
        validation_errors: what they said of the best head for each step and meaning of the end.
    """

    best: ReadOut
    by_step: dict[str, ReadOut]
    chosen_on: str
    validation_errors: dict[str, float]

    def section(self) -> dict[str, Any]:
        """The section `alignment` of a run's metrics; `ReadOut.of` reads the best way from it."""
        return {
            **asdict(self.best),
            "chosen_on": self.chosen_on,
            "validation_errors": self.validation_errors,
            **{step: asdict(way) for step, way in self.by_step.items()},
        }


def choose_read_out(forced: ForcedAttention, validation: Corpus, *, guided: bool) -> Choice:
    """Choose head, step and meaning of the end by the validation set's gold alignments.

    Args:
        forced: the translator's attention.
        validation: pairs, with or without gold.
        guided: whether the run guided attention.

    Returns:
        The choice; without gold, what `ReadOut.unmeasured` says, in either step, the model's usual
        one first.
    """
    if validation.alignments is None:
        best = forced.unmeasured(guided=guided)
        other = replace(best, step="raw" if best.step == "shifted" else "shifted")
        by_step: dict[str, ReadOut] = {way.step: way for way in (best, other)}
        return Choice(best, by_step, f"nothing: {validation.name} has no gold alignments", {})
    errors = errors_of_every_way(forced, validation, gold_of(validation))
    by_step = best_read_outs(errors)
    kinds: dict[str, float] = {}
    for way in sorted(errors, key=errors.__getitem__):
        kind = way.step if way.end == "no_word" else f"{way.step}_end_as_last_word"
        kinds.setdefault(kind, errors[way])
    best = next(iter(by_step.values()))
    return Choice(best, by_step, f"gold alignments of {validation.name}", kinds)


def errors_of_every_way(
    forced: ForcedAttention, corpus: Corpus, gold: GoldAlignments
) -> dict[ReadOut, float]:
    """Alignment error of every head and block in every step and meaning of the end.

    Args:
        forced: the translator's attention.
        corpus: the pairs.
        gold: their right links.

    Returns:
        The error of every way.
    """
    ways = ReadOut.every(*forced.num_layers_and_heads)
    return {
        way: alignment_error_rate(links, *gold).error_rate
        for way, links in forced.alignments(corpus, ways).items()
    }


def alignment_figures(
    forced: ForcedAttention, corpus: Corpus, gold: GoldAlignments, choice: Choice
) -> dict[str, float]:
    """Alignment error of the read-outs that were chosen.

    Args:
        forced: the translator's attention.
        corpus: the pairs.
        gold: their right links.
        choice: how attention is read.

    Returns:
        `alignment_error`, precision and recall of the best way, and the error of the best way at
        each step.
    """
    found = forced.alignments(corpus, list(choice.by_step.values()))
    best = alignment_error_rate(found[choice.best], *gold)
    return {
        "alignment_error": best.error_rate,
        "alignment_precision": best.precision,
        "alignment_recall": best.recall,
        **{
            f"alignment_error_{step}": alignment_error_rate(found[way], *gold).error_rate
            for step, way in sorted(choice.by_step.items())
        },
    }


def alignment_floors(
    training: Corpus, corpus: Corpus, gold: GoldAlignments, dictionary: IbmModel1
) -> dict[str, float]:
    """Alignment error of the diagonal, of IBM model 1 and, where it is installed, of eflomal.

    Args:
        training: the pairs that eflomal sees beside the corpus' own.
        corpus: the pairs.
        gold: their right links.
        dictionary: IBM model 1, trained.

    Returns:
        The floors by name.
    """
    pairs = word_pairs(corpus)
    found = {
        "diagonal": [diagonal_links(len(source), len(target)) for source, target in pairs],
        "ibm1": [dictionary.align(source, target) for source, target in pairs],
    }
    if is_installed():
        aligned = eflomal_links([*word_pairs(training), *pairs])
        found["eflomal"] = aligned["forward"][-len(pairs) :]
        found["eflomal_symmetrised"] = aligned["grow_diag"][-len(pairs) :]
    return {
        f"floor_alignment_error_{name}": alignment_error_rate(links, *gold).error_rate
        for name, links in found.items()
    }


def gold_of(corpus: Corpus) -> GoldAlignments:
    """The gold links that a corpus carries; all are sure.

    Raises:
        ValueError: when it carries none.
    """
    if corpus.alignments is None:
        raise ValueError(f"Expected a corpus with gold alignments. Received: {corpus.name}")
    return GoldAlignments(corpus.alignments, corpus.alignments)


def word_pairs(corpus: Corpus) -> list[tuple[Sequence[str], Sequence[str]]]:
    """The words of both sentences of every pair."""
    return [(s.split(), t.split()) for s, t in zip(corpus.sources, corpus.targets, strict=True)]
