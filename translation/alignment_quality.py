"""How right the alignments are that attention gives, beside the diagonal and IBM model 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from translation.alignments import Link, alignment_error_rate
from translation.baselines import IbmModel1, diagonal_links
from translation.corpus import Corpus
from translation.forced import ForcedAttention
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
    num_layers, num_heads = forced.num_layers_and_heads
    if validation.alignments is None:
        best = ReadOut.unmeasured(num_layers, guided=guided, step=forced.alignment_step)
        other = replace(best, step="raw" if best.step == "shifted" else "shifted")
        both: dict[str, ReadOut] = {way.step: way for way in (best, other)}
        return Choice(best, both, "nothing: no gold alignments of the validation set", {})
    found = forced.alignments(validation, ReadOut.every(num_layers, num_heads))
    errors = {
        way: alignment_error_rate(links, validation.alignments).error_rate
        for way, links in found.items()
    }
    by_step = best_read_outs(errors)
    kinds: dict[str, float] = {}
    for way in sorted(errors, key=errors.__getitem__):
        kind = way.step if way.end == "no_word" else f"{way.step}_end_as_last_word"
        kinds.setdefault(kind, errors[way])
    best = next(iter(by_step.values()))
    return Choice(best, by_step, f"gold alignments of {validation.name}", kinds)


def alignment_figures(
    forced: ForcedAttention,
    corpus: Corpus,
    gold: Sequence[Sequence[Link]],
    choice: Choice,
    dictionary: IbmModel1,
) -> dict[str, float]:
    """Alignment error of the chosen read-outs and of the floors.

    Args:
        forced: the translator's attention.
        corpus: the pairs.
        gold: their right links.
        choice: how attention is read.
        dictionary: trained on text in which the corpus' pairs may, their links must not, occur.

    Returns:
        `alignment_error` and its precision and recall for the best way, the error of the best way
        at each step, and those of the floors.
    """
    pairs = word_pairs(corpus)
    found = forced.alignments(corpus, list(choice.by_step.values()))
    best = alignment_error_rate(found[choice.best], gold)
    predictions = {
        **{f"alignment_error_{step}": found[way] for step, way in sorted(choice.by_step.items())},
        "floor_alignment_error_diagonal": [diagonal_links(len(s), len(t)) for s, t in pairs],
        "floor_alignment_error_ibm1": [dictionary.align(s, t) for s, t in pairs],
    }
    return {
        "alignment_error": best.error_rate,
        "alignment_precision": best.precision,
        "alignment_recall": best.recall,
        **{
            name: alignment_error_rate(links, gold).error_rate
            for name, links in predictions.items()
        },
    }


def word_pairs(corpus: Corpus) -> list[tuple[list[str], list[str]]]:
    """The words of both sentences of every pair."""
    return [(s.split(), t.split()) for s, t in zip(corpus.sources, corpus.targets, strict=True)]
