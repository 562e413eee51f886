"""What every caption stands beside: captions of similar photos, of people, and the commonest one.

None of these is trained. On Flickr8k many published models are below the second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from captioning.metrics import ORDERS
from captioning.tokens import words_of

NEIGHBOURS = 30
LENGTH_DEVIATION = 6
"""Words by which captions may differ in length and still be alike, as in CIDEr-D."""
_AT_ONCE = 500  # photos compared with all others at once: bounds the memory, changes no result


def nearest(
    features: NDArray[np.floating], others: NDArray[np.floating], count: int
) -> NDArray[np.int64]:
    """The photos that look most alike, by the cosine of what a frozen encoder makes of them.

    Args:
        features: `(photos, channels)`, pooled over the picture.
        others: `(other photos, channels)`.
        count: how many are sought; all others if there are fewer.

    Returns:
        `(photos, count)` places among the others, the most similar first.
    """
    one, other = (_unit(np.asarray(values, np.float32)) for values in (features, others))
    count = min(count, len(other))
    found = [
        np.argsort(-(one[start : start + _AT_ONCE] @ other.T), axis=1, kind="stable")[:, :count]
        for start in range(0, len(one), _AT_ONCE)
    ]
    return np.concatenate(found)


def nearest_caption(
    neighbours: NDArray[np.integer], captions: Sequence[Sequence[str]]
) -> list[str]:
    """The first caption of the photo that looks most alike.

    Args:
        neighbours: `(photos, count)`, see `nearest`.
        captions: of every other photo.

    Returns:
        One caption for each photo.
    """
    return [captions[row[0]][0] for row in neighbours]


class Consensus:
    """Of all captions of similar photos, the one that is most like the others.

    Likeness is CIDEr's, without its clipping: the mean over the orders of the cosine of n-gram
    counts, each weighted by the logarithm of how few photos it occurs in, less for captions of
    other lengths.

    Args:
        captions: of every other photo.

    Reference: Devlin et al. 2015, "Exploring Nearest Neighbor Approaches for Image Captioning".
    """

    def __init__(self, captions: Sequence[Sequence[str]]) -> None:
        self._captions = [text for several in captions for text in several]
        ends = np.cumsum([len(several) for several in captions])
        self._places = [
            range(end - len(several), end) for several, end in zip(captions, ends, strict=True)
        ]
        photos = np.repeat(np.arange(len(captions)), [len(several) for several in captions])
        words = [words_of(text) for text in self._captions]
        self._vectors = sparse.hstack(
            [_weighted(words, order, photos) for order in range(1, ORDERS + 1)], format="csr"
        ) / np.sqrt(ORDERS)
        self._lengths = np.array([len(caption) for caption in words])

    def __call__(self, neighbours: NDArray[np.integer]) -> list[str]:
        """Choose a caption for every photo.

        Args:
            neighbours: `(photos, count)`, see `nearest`.

        Returns:
            One caption for each photo; of equally good ones that of the more similar photo.
        """
        chosen = []
        for row in neighbours:
            places = np.concatenate([self._places[other] for other in row])
            vectors, lengths = self._vectors[places], self._lengths[places]
            apart = np.square(lengths[:, None] - lengths[None])
            likeness = (vectors @ vectors.T).toarray() * np.exp(-apart / (2 * LENGTH_DEVIATION**2))
            chosen.append(self._captions[places[int(likeness.sum(axis=1).argmax())]])
        return chosen


def one_person(references: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The first person's caption as if it were a model's, against what the others wrote.

    Args:
        references: of every photo.

    Returns:
        Captions and references of the photos that have at least two. With one reference fewer than
        models are given, BLEU and CIDEr come out a little lower.
    """
    pairs = [(several[0], list(several[1:])) for several in references if len(several) > 1]
    return [first for first, _ in pairs], [rest for _, rest in pairs]


def commonest_caption(captions: Sequence[Sequence[str]], count: int) -> list[str]:
    """The caption that people wrote most often, for every photo.

    Args:
        captions: of every training photo.
        count: how many photos are to be captioned.

    Returns:
        The same caption `count` times; of equally frequent ones the first.
    """
    times = Counter(" ".join(words_of(text)) for several in captions for text in several)
    return [times.most_common(1)[0][0]] * count


def _weighted(words: list[list[str]], order: int, photos: NDArray[np.int64]) -> sparse.csr_array:
    """Unit vectors of n-grams of one order, `(captions, n-grams)`."""
    columns: dict[tuple[str, ...], int] = {}
    rows, places = [], []
    for row, caption in enumerate(words):
        for start in range(len(caption) - order + 1):
            gram = tuple(caption[start : start + order])
            rows.append(row)
            places.append(columns.setdefault(gram, len(columns)))
    shape = (len(words), max(len(columns), 1))
    counts = sparse.coo_array((np.ones(len(rows)), (rows, places)), shape).tocsr()
    occurs = sparse.coo_array(
        (np.ones(len(rows)), (photos[np.array(rows, np.int64)], places)),
        (int(photos.max()) + 1, shape[1]),
    ).tocsr()
    num_photos = np.bincount(occurs.indices, minlength=shape[1])
    weights = np.log(len(np.unique(photos)) / np.maximum(num_photos, 1))
    weighted = counts.multiply(weights).tocsr()
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    return sparse.diags_array(1 / np.where(lengths > 0, lengths, 1)) @ weighted


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
