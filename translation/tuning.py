"""The length penalty of beam search that is best on the validation set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf

from translation.config import Config
from translation.corpus import Corpus
from translation.quality import bleu_metric
from translation.translate import Translate, translate_all

LENGTH_PENALTIES = (0.0, 0.5, 1.0, 1.5, 2.0)


def tune_length_penalty(
    translate: Translate, validation: Corpus, penalties: Sequence[float] = LENGTH_PENALTIES
) -> dict[str, Any]:
    """Translate the validation set with every length penalty and keep the best.

    One graph serves them all. Of penalties with equal BLEU the one nearest to the configuration's
    is taken. Greedy search knows no penalty, and of one there is nothing to choose.

    Args:
        translate: the translator.
        validation: the pairs.
        penalties: what to try.

    Returns:
        The section `decoding` of a run's metrics: `beam_size`, `length_penalty`, `chosen_on`, and
        `validation_bleu` of every penalty tried.
    """
    config = translate.config
    section: dict[str, Any] = {"beam_size": config.beam_size}
    if config.beam_size == 1:
        return {**section, "length_penalty": config.length_penalty, "chosen_on": "nothing: greedy"}
    if len(penalties) == 1:
        return {**section, "length_penalty": penalties[0], "chosen_on": "nothing: only one given"}
    metric, scores = bleu_metric(config), {}
    for penalty in penalties:
        hypotheses = translate_corpus(translate, validation, penalty)
        scores[penalty] = metric.corpus_score(hypotheses, [validation.targets]).score
    best = max(scores, key=lambda penalty: (scores[penalty], -abs(penalty - config.length_penalty)))
    return {
        **section,
        "length_penalty": best,
        "chosen_on": f"BLEU of {validation.name}",
        "validation_bleu": {f"{penalty:g}": score for penalty, score in scores.items()},
    }


def with_chosen_decoding(config: Config, metrics: Mapping[str, Any]) -> Config:
    """The configuration with the beam size and length penalty that an evaluation settled on.

    Args:
        config: of the run.
        metrics: of the run.

    Returns:
        The configuration; as it was where there was no evaluation yet.
    """
    names = ("beam_size", "length_penalty")
    settled = metrics.get("decoding", {})
    return replace(config, **{name: settled[name] for name in names if name in settled})


def translate_corpus(translate: Translate, corpus: Corpus, length_penalty: float) -> list[str]:
    """Translate a corpus with a length penalty.

    Args:
        translate: the translator.
        corpus: its sources are translated.
        length_penalty: alpha.

    Returns:
        The translations, in order.
    """
    penalty = tf.constant(length_penalty, tf.float32)
    rows = translate_all(
        lambda sentences: translate.translate_with_penalty(sentences, penalty), corpus.sources
    )
    return [row["translations"].decode() for row in rows]
