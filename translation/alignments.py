"""From attention to word alignments, and how far those are from gold ones.

An alignment is a list of links `(source word, target word)`, 0-based, over whitespace-separated
words. Attention maps have the target first, `(target, source)`, as queries come before keys.
"""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Link = tuple[int, int]
Method = Literal["intersection", "union", "grow_diag", "grow_diag_final", "grow_diag_final_and"]

_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


class AlignmentError(NamedTuple):
    """Alignment error rate with the precision and recall behind it, each between 0 and 1."""

    error_rate: float
    precision: float
    recall: float


def shifted(weights: ArrayLike) -> NDArray[np.floating]:
    """Read a token's attention where it is the decoder's input, not where it is predicted.

    Row t of the given map is the attention used while predicting target token t. At that step the
    decoder's input is token t - 1: it does not know token t yet and has to guess what to look for.
    One step later it knows. So row t of the answer is row t + 1 of the given map, and the last row,
    that of the end of the sentence, is 0. Without the row that predicts the end of the sentence in
    the map, the last word is the one that gets the row of 0. The shape stays, so that the same
    `target_words` serve both read-outs.

    Args:
        weights: `(..., target, source)`.

    Returns:
        `(..., target, source)`.

    Reference:
        Chen et al. 2020, "Accurate Word Alignment Induction from Neural Machine Translation"
        (SHIFT-ATT).
    """
    weights = np.asarray(weights)
    if weights.ndim < 2:
        raise ValueError(
            f"Expected an attention map (..., target, source). Received: shape {weights.shape}"
        )
    return np.concatenate([weights[..., 1:, :], np.zeros_like(weights[..., :1, :])], axis=-2)


def word_weights(
    weights: ArrayLike, source_words: ArrayLike, target_words: ArrayLike
) -> NDArray[np.floating]:
    """Bring an attention map from subwords to words.

    A source word receives the sum of what its subwords receive; a target word attends by the mean
    of its subwords' rows. A row thus stays a distribution, less what goes to special tokens, which
    belong to no word. A word without subwords has a row or column of zeros.

    Args:
        weights: `(..., target subwords, source subwords)`.
        source_words: `(source subwords,)` the word of each subword, -1 for special tokens.
        target_words: `(target subwords,)` likewise.

    Returns:
        `(..., target words, source words)`; the last word is the highest index given.

    Raises:
        ValueError: if the indices do not match the map.
    """
    weights = np.asarray(weights)
    source_words, target_words = np.asarray(source_words), np.asarray(target_words)
    if weights.ndim < 2 or weights.shape[-2:] != target_words.shape + source_words.shape:
        raise ValueError(
            "Expected one word index per subword of the map's last two axes, target then source. "
            f"Received: weights {weights.shape}, target_words {target_words.shape}, "
            f"source_words {source_words.shape}"
        )
    to_source = _membership(source_words, weights.dtype)
    to_target = _membership(target_words, weights.dtype)
    to_target /= np.maximum(to_target.sum(axis=0), 1)
    return to_target.T @ weights @ to_source


def _membership(words: NDArray[np.integer], dtype: np.dtype) -> NDArray[np.floating]:
    """Return `(subwords, words)`: 1 where the subword is part of the word."""
    return (words[:, None] == np.arange(words.max(initial=-1) + 1)).astype(
        np.result_type(dtype, np.float32)
    )


def links(weights: ArrayLike, *, threshold: float | None = None) -> list[Link]:
    """Read links off a word-level attention map.

    Args:
        weights: `(target words, source words)`.
        threshold: None links every target word to the source word it attends to most (the first of
            equals; none where the whole row is 0). A number links every pair of at least that
            weight.

    Returns:
        Sorted links `(source word, target word)`.
    """
    weights = np.asarray(weights)
    if weights.ndim != 2:
        raise ValueError(
            f"Expected one map (target words, source words). Received: shape {weights.shape}"
        )
    if threshold is None:
        chosen = np.zeros(weights.shape, bool)
        rows = np.flatnonzero(weights.any(axis=1))
        if rows.size:
            chosen[rows, weights[rows].argmax(axis=1)] = True
    elif 0 < threshold <= 1:
        chosen = weights >= threshold
    else:
        raise ValueError(f"Expected a threshold above 0 and at most 1. Received: {threshold}")
    return [(source, target) for source, target in np.argwhere(chosen.T).tolist()]


def turned_links(alignments: Sequence[Collection[Link]]) -> list[list[Link]]:
    """Turn links around, for the opposite direction of translation.

    Args:
        alignments: Links per sentence.

    Returns:
        Sorted links per sentence, target word first where the source word was.
    """
    return [sorted((target, source) for source, target in found) for found in alignments]


def symmetrise(
    forward: Collection[Link],
    backward: Collection[Link],
    *,
    method: Method = "grow_diag",
) -> list[Link]:
    """Combine the links of two models, one per direction of translation, for one sentence pair.

    `grow_diag` starts from what both say and adds links that one says, next to or diagonal to a
    link already in, while one of their words is without a link. `grow_diag_final` then adds links,
    first of `forward` and then of `backward`, while one of their words is without a link;
    `grow_diag_final_and` while both are.

    Args:
        forward: Links `(source word, target word)`.
        backward: Links of the other direction, turned around: also `(source word, target word)`.
        method: How to combine them.

    Returns:
        Sorted links.

    Reference:
        Koehn et al. 2005, "Edinburgh System Description for the 2005 IWSLT Speech Translation
        Evaluation".
    """
    both, either = set(forward) & set(backward), set(forward) | set(backward)
    if method == "intersection":
        return sorted(both)
    if method == "union":
        return sorted(either)
    if method not in get_args(Method):
        raise ValueError(f"Expected one of {', '.join(get_args(Method))}. Received: {method!r}")
    grown = _grow_diag(both, either)
    if method != "grow_diag":
        lacking = all if method == "grow_diag_final_and" else any
        for source, target in (*_by_target(forward), *_by_target(backward)):
            sources, targets = {s for s, _ in grown}, {t for _, t in grown}
            if lacking((source not in sources, target not in targets)):
                grown.add((source, target))
    return sorted(grown)


def _by_target(found: Collection[Link]) -> list[Link]:
    return sorted(found, key=lambda link: link[::-1])


def _grow_diag(start: set[Link], allowed: set[Link]) -> set[Link]:
    grown = set(start)
    sources, targets = {source for source, _ in grown}, {target for _, target in grown}
    size_before = -1
    while size_before != len(grown):
        size_before = len(grown)
        # Target by target, as published: what an early link adds can grow within the same pass.
        for source, target in _by_target(allowed):
            if (source, target) not in grown:
                continue
            for target_step, source_step in _NEIGHBOURS:
                new = (source + source_step, target + target_step)
                if new in allowed and (new[0] not in sources or new[1] not in targets):
                    grown.add(new)
                    sources.add(new[0])
                    targets.add(new[1])
    return grown


def alignment_error_rate(
    predicted: Sequence[Collection[Link]],
    sure: Sequence[Collection[Link]],
    possible: Sequence[Collection[Link]] | None = None,
) -> AlignmentError:
    """Compare predicted links A with sure gold links S and possible ones P.

    AER = 1 - (|A and S| + |A and P|) / (|A| + |S|), precision = |A and P| / |A| and
    recall = |A and S| / |S|. Links are counted over the whole corpus, so long sentences weigh more.
    Without any predicted link, precision is 1.

    Args:
        predicted: Links per sentence.
        sure: Gold links per sentence.
        possible: Gold links that are right but need not be found; sure links always count as
            possible. None: only sure ones.

    Raises:
        ValueError: if the numbers of sentences differ or no gold link is sure.

    Reference:
        Och and Ney 2003, "A Systematic Comparison of Various Statistical Alignment Models".
    """
    possible = sure if possible is None else possible
    if not len(predicted) == len(sure) == len(possible):
        raise ValueError(
            "Expected the same number of sentences everywhere. "
            f"Received: predicted {len(predicted)}, sure {len(sure)}, possible {len(possible)}"
        )
    num_predicted = num_sure = num_hits = num_right = 0
    for a, s, p in zip(map(set, predicted), map(set, sure), map(set, possible), strict=True):
        num_predicted += len(a)
        num_sure += len(s)
        num_hits += len(a & s)
        num_right += len(a & (s | p))
    if not num_sure:
        raise ValueError(
            "Expected gold alignments with at least one sure link. "
            f"Received: none in {len(sure)} sentences"
        )
    return AlignmentError(
        error_rate=1 - (num_hits + num_right) / (num_predicted + num_sure),
        precision=num_right / num_predicted if num_predicted else 1.0,
        recall=num_hits / num_sure,
    )
