"""Training on what captions are scored by: the model's own captions, rewarded by their CIDEr."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from attention_apps.running.self_critical import draw
from captioning.metrics import ORDERS
from captioning.words import PAD, caption_rules

_SIGMA, _SCALE = 6.0, 10.0  # CIDEr-D's width of the penalty for another length, and its highest


class _Weighed(NamedTuple):
    """The n-grams of one caption, by order, as rare ones weigh more."""

    vectors: list[dict[tuple[int, ...], float]]
    norms: list[float]
    words: int


class CiderReward:
    """CIDEr-D of captions in ids, with the document frequencies of the training photos.

    The end counts as a word: without it, captions that stop in mid-sentence would be the best.

    Args:
        references: `(photos, captions, words)` ids of the training captions, padded with 0.

    Reference: Vedantam et al. 2015, "CIDEr: Consensus-based Image Description Evaluation".
    """

    def __init__(self, references: np.ndarray) -> None:
        frequencies: Counter[tuple[int, ...]] = Counter()
        for captions in references:
            frequencies.update({gram for row in captions for gram in _counts(row)})
        self._log_photos = math.log(len(references))
        self._logarithms = {gram: math.log(count) for gram, count in frequencies.items()}

    def __call__(self, references: np.ndarray, captions: np.ndarray) -> np.ndarray:
        """Score captions.

        Args:
            references: `(photos, references, words)` ids, padded with 0; a row of padding alone is
                none.
            captions: `(photos, captions, words)` ids, padded with 0.

        Returns:
            `(photos, captions)` float32, from 0 to 10; 0 for a photo without references.
        """
        scores = np.zeros(captions.shape[:2], np.float32)
        for photo, several in enumerate(captions):
            wanted = [self._weighed(row) for row in references[photo] if row[0] != PAD]
            for place, row in enumerate(several if wanted else ()):
                given = self._weighed(row)
                scores[photo, place] = np.mean([_similarity(given, one) for one in wanted])
        return scores

    def _weighed(self, row: np.ndarray) -> _Weighed:
        vectors: list[dict[tuple[int, ...], float]] = [{} for _ in range(ORDERS)]
        for gram, count in _counts(row).items():
            rarity = self._log_photos - self._logarithms.get(gram, 0.0)
            vectors[len(gram) - 1][gram] = count * rarity
        norms = [math.sqrt(sum(w * w for w in vector.values())) for vector in vectors]
        return _Weighed(vectors, norms, int(np.count_nonzero(row)))


def _counts(row: np.ndarray) -> Counter[tuple[int, ...]]:
    ids = [int(word) for word in row if word != PAD]
    orders = range(1, ORDERS + 1)
    return Counter(tuple(ids[i : i + n]) for n in orders for i in range(len(ids) - n + 1))


def _similarity(given: _Weighed, wanted: _Weighed) -> float:
    total = 0.0
    for order in range(ORDERS):
        theirs, norms = wanted.vectors[order], given.norms[order] * wanted.norms[order]
        ours = given.vectors[order].items()
        matched = sum(min(w, theirs[gram]) * theirs[gram] for gram, w in ours if gram in theirs)
        total += matched / norms if norms else 0.0
    penalty = math.exp(-((given.words - wanted.words) ** 2) / (2 * _SIGMA**2))
    return _SCALE * penalty * total / ORDERS


def draw_captions(model: Any, inputs: dict[str, Any], max_length: int, seed: Any) -> Any:
    """Draw captions from the model's own distribution, without dropout.

    Args:
        model: a `CaptionModel`.
        inputs: with `pixels` or `grids`, as in its call.
        max_length: most ids of a caption, the end included.
        seed: a `keras.random.SeedGenerator`.

    Returns:
        `(photos, samples, max_length)` int32 ids, padded with 0 behind the end.
    """
    state, encoded = model.begin(inputs, max_length)
    return draw(model.step, state, encoded, caption_rules(max_length, 0.0), seed=seed)
