"""How good translations are: BLEU and chrF beside the floor, and what those two do not show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sacrebleu

from translation.baselines import copy_source
from translation.config import Config
from translation.corpus import Corpus

RESAMPLES = 1000
LENGTH_BOUNDS = (5, 10, 15, 20, 30, 50)
"""Most words of a source sentence in each bin of `bleu_by_length`; the last bin has no bound."""


def bleu_metric(config: Config) -> sacrebleu.BLEU:
    """BLEU as a run counts it.

    Args:
        config: names the tokenizer.

    Returns:
        sacreBLEU's metric.
    """
    # `force`: tokenised text is what we have; sacreBLEU's reminder at every call helps nobody.
    return sacrebleu.BLEU(tokenize=config.bleu_tokenizer, force=True)


def quality(hypotheses: Sequence[str], corpus: Corpus, config: Config) -> dict[str, Any]:
    """Score translations.

    Args:
        hypotheses: one for each sentence of the corpus.
        corpus: sources and references.
        config: names BLEU's tokenizer.

    Returns:
        BLEU with the half-width of its 95 % interval over sentences, and chrF, with signatures and
        the floor of the copied source; `bleu_by_length`; `length_ratio`, tokens of the hypotheses
        over those of the references; `distinct_outputs`, beside `distinct_references`;
        `copied_sentences` and `copied_words`, the shares of outputs that are their source and of
        source words that stand in the output, beside those of the references.
    """
    sources, references = corpus.sources, corpus.targets
    bleu, chrf = bleu_metric(config), sacrebleu.CHRF()
    score = bleu.corpus_score(hypotheses, [references], n_bootstrap=RESAMPLES)
    copied = copy_source(sources)
    return {
        "sentences": len(corpus),
        "bleu": score.score,
        "bleu_interval": score._ci,
        "bleu_signature": str(bleu.get_signature()),
        "chrf": chrf.corpus_score(hypotheses, [references]).score,
        "chrf_signature": str(chrf.get_signature()),
        "floor_copy_source_bleu": bleu.corpus_score(copied, [references]).score,
        "floor_copy_source_chrf": chrf.corpus_score(copied, [references]).score,
        "bleu_by_length": bleu_by_length(hypotheses, corpus, bleu),
        "length_ratio": score.sys_len / score.ref_len,
        "distinct_outputs": len(set(hypotheses)),
        "distinct_references": len(set(references)),
        "copied_sentences": copied_sentences(sources, hypotheses),
        "copied_sentences_of_references": copied_sentences(sources, references),
        "copied_words": copied_words(sources, hypotheses),
        "copied_words_of_references": copied_words(sources, references),
    }


def bleu_by_length(
    hypotheses: Sequence[str], corpus: Corpus, metric: sacrebleu.BLEU
) -> list[dict[str, Any]]:
    """BLEU of short sentences and of long ones.

    Args:
        hypotheses: one for each sentence of the corpus.
        corpus: sources and references.
        metric: how BLEU is counted.

    Returns:
        For every bin with sentences in it: the `words` of its sources, as `6-10` or `51-`, its
        number of `sentences` and their `bleu`.
    """
    bins: dict[int, list[int]] = {}
    for index, source in enumerate(corpus.sources):
        words = len(source.split())
        bins.setdefault(sum(words > bound for bound in LENGTH_BOUNDS), []).append(index)
    rows = []
    for place, indexes in sorted(bins.items()):
        first = LENGTH_BOUNDS[place - 1] + 1 if place else 1
        last = LENGTH_BOUNDS[place] if place < len(LENGTH_BOUNDS) else ""
        score = metric.corpus_score(
            [hypotheses[i] for i in indexes], [[corpus.targets[i] for i in indexes]]
        )
        rows.append({"words": f"{first}-{last}", "sentences": len(indexes), "bleu": score.score})
    return rows


def copied_sentences(sources: Sequence[str], outputs: Sequence[str]) -> float:
    """Share of outputs that are their source, spaces aside."""
    pairs = zip(sources, outputs, strict=True)
    return sum(source.split() == output.split() for source, output in pairs) / len(sources)


def copied_words(sources: Sequence[str], outputs: Sequence[str]) -> float:
    """Share of source words that stand in the output as they are; each is matched once.

    Names, numbers and punctuation are copied rightly: the figure says something only beside that
    of the references.
    """
    num_words = num_copied = 0
    for source, output in zip(sources, outputs, strict=True):
        words = Counter(source.split())
        num_words += words.total()
        num_copied += (words & Counter(output.split())).total()
    return num_copied / num_words
