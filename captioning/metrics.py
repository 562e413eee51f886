"""How good captions are: BLEU, ROUGE-L and CIDEr with intervals, and what those do not show."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from captioning.intervals import bootstrap_interval
from captioning.tokens import words_of

ORDERS = 4
"""Longest n-gram of BLEU and CIDEr."""
_TINY, _SMALL = 1e-15, 1e-9  # what pycocoevalcap adds to matches and to totals


@dataclass(frozen=True)
class Scores:
    """What every photo adds to the figures.

    Attributes:
        bleu: `(photos, 2 + 2 * ORDERS)`: words of the caption, words of the reference nearest in
            length, matched n-grams of each order, n-grams of each order.
        rouge_l: `(photos,)`.
        cider: `(photos,)`, up to 10; document frequencies are those of all photos given.
        captions: the captions in words, joined by spaces.
    """

    bleu: NDArray[np.float64]
    rouge_l: NDArray[np.float64]
    cider: NDArray[np.float64]
    captions: tuple[str, ...]

    def figures(self) -> dict[str, Any]:
        """The figures of all photos.

        Returns:
            `bleu_1` to `bleu_4`, `rouge_l` and `cider`, times 100 as papers print them, the last
            and `bleu_4` with their `_interval` of 95 % over photos; `captions`, their
            number; `distinct_captions`, the share of different ones; `vocabulary_used`, the
            number of different words; `words`, the mean length; `empty_captions`.
        """
        found: dict[str, Any] = {"captions": len(self.captions)}
        for order in range(1, ORDERS + 1):
            found[f"bleu_{order}"] = bleu(self.bleu.sum(0), order)
        found["bleu_4_interval"] = bootstrap_interval(self.bleu, partial(bleu, order=4))
        found["rouge_l"] = 100 * float(self.rouge_l.mean())
        found["cider"] = 100 * float(self.cider.mean())
        ones = np.ones_like(self.cider)
        found["cider_interval"] = bootstrap_interval(
            np.stack([self.cider, ones], axis=1), lambda total: 100 * total[0] / total[1]
        )
        words = [word for caption in self.captions for word in caption.split()]
        found["distinct_captions"] = len(set(self.captions)) / len(self.captions)
        found["vocabulary_used"] = len(set(words))
        found["words"] = len(words) / len(self.captions)
        found["empty_captions"] = sum(not caption for caption in self.captions)
        return found


def score(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """Compare captions with what people wrote, by `pycocoevalcap`.

    Args:
        captions: one for each photo.
        references: what people wrote of each photo, at least one each. CIDEr counts in how many
            of these photos an n-gram occurs: give the whole split, never a batch.

    Returns:
        The scores of every photo, from which `figures` makes figures.

    Raises:
        ValueError: for another number of captions than photos, no photo, or one without reference.

    Reference: Papineni et al. 2002, "BLEU"; Lin 2004, "ROUGE"; Vedantam et al. 2015, "CIDEr:
    Consensus-based Image Description Evaluation" (its variant D, which is what everybody prints).
    """
    if not captions or len(captions) != len(references) or not all(references):
        empty = sum(not several for several in references)
        raise ValueError(
            "Captions are scored one for each photo, with references each. Received: "
            f"{len(captions)} captions, {len(references)} photos, {empty} without reference"
        )
    given = [" ".join(words_of(caption)) for caption in captions]
    wanted = [[" ".join(words_of(text)) for text in several] for several in references]
    scorer = BleuScorer(n=ORDERS)
    for caption, several in zip(given, wanted, strict=True):
        scorer += (caption, several)
    counts = []
    for one in scorer.ctest:
        nearest = min((abs(length - one["testlen"]), length) for length in one["reflen"])[1]
        counts.append([one["testlen"], nearest, *one["correct"], *one["guess"]])
    by_photo = dict(enumerate(wanted)), {i: [caption] for i, caption in enumerate(given)}
    return Scores(
        bleu=np.array(counts, np.float64),
        rouge_l=np.asarray(Rouge().compute_score(*by_photo)[1]),
        cider=np.asarray(Cider(n=ORDERS).compute_score(*by_photo)[1]),
        captions=tuple(given),
    )


def bleu(total: NDArray[np.float64], order: int) -> float:
    """BLEU of n-grams up to an order, from counts summed over photos.

    `100 * min(1, exp(1 - reference / caption)) * (prod_n matched_n / total_n) ** (1 / order)`

    Args:
        total: `(2 + 2 * ORDERS,)`, see `Scores.bleu`.
        order: from 1 to `ORDERS`.

    Returns:
        From 0 to 100.
    """
    length, reference = total[:2]
    matched, possible = total[2 : 2 + order], total[2 + ORDERS : 2 + ORDERS + order]
    precision = float(np.prod((matched + _TINY) / (possible + _SMALL))) ** (1 / order)
    longer = (length + _TINY) / (reference + _SMALL)
    return 100 * precision * (math.exp(1 - 1 / longer) if longer < 1 else 1.0)


def meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float | None:
    """METEOR 1.5, which is a Java program.

    Args:
        captions: one for each photo.
        references: what people wrote of each.

    Returns:
        From 0 to 100, or None where no `java` is found.

    Reference: Denkowski and Lavie 2014, "Meteor Universal".
    """
    if shutil.which("java") is None:
        return None
    from pycocoevalcap.meteor.meteor import Meteor

    wanted = {i: [" ".join(words_of(t)) for t in r] for i, r in enumerate(references)}
    given = {i: [" ".join(words_of(caption))] for i, caption in enumerate(captions)}
    program = Meteor()
    try:
        return 100 * float(program.compute_score(wanted, given)[0])
    finally:
        process = program.meteor_p
        for stream in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                stream.close()
        process.kill()
        process.wait()
