"""What every figure of translation stands beside: copying, the diagonal, and IBM model 1."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from translation.alignments import Link

_Ids = NDArray[np.int64]

_NULL = 0  # The source word of target words that come from nowhere.
_UNKNOWN = -1
_BATCH_SIZE = 1000  # Sentence pairs counted at once: bounds the memory, changes no result.


def copy_source(sources: Sequence[str]) -> list[str]:
    """Answer every sentence with itself: the floor of BLEU and chrF.

    Names, numbers and punctuation keep it above 0.
    """
    return list(sources)


def diagonal_links(source_length: int, target_length: int) -> list[Link]:
    """Link each target word to the source word nearest the diagonal: the floor of alignments.

    Word j of n has its middle at (j + 0.5) / n of the sentence. Of two source words equally near,
    the later one is taken.

    Args:
        source_length: In words.
        target_length: In words.

    Returns:
        Sorted links `(source word, target word)`, one for each target word; none if the source is
        empty.
    """
    if not source_length:
        return []
    # In integers, so that no rounding decides: floor((j + 0.5) * source_length / target_length).
    return [((2 * j + 1) * source_length // (2 * target_length), j) for j in range(target_length)]


class IbmModel1:
    """Word alignment from nothing but which words occur together, learned by EM.

    Each target word was translated from one source word, or from none (NULL), whatever its place:
    P(target | source) = product over target words f of sum over e in source and NULL of
    t(f | e) / (source length + 1). The log-likelihood is concave, so an even start is as good as
    any; nothing is random.

    Training keeps about 4 bytes for each word of a source times each word of its target.

    Args:
        pairs: `(source words, target words)` of each sentence pair.
        iterations: Rounds of expectation maximisation.

    Attributes:
        log_likelihoods: Natural log-likelihood of the corpus before each round and after the last.

    Raises:
        ValueError: if there is no target word to learn from, a sentence is one string, or there is
            no round.

    Reference:
        Brown et al. 1993, "The Mathematics of Statistical Machine Translation: Parameter
        Estimation".

    Example:
        >>> german, english = ["das haus", "das buch"], ["the house", "the book"]
        >>> model = IbmModel1([(d.split(), e.split()) for d, e in zip(german, english)])
        >>> model.align(["das", "buch"], ["the", "book"])
        [(0, 0), (1, 1)]
    """

    def __init__(
        self, pairs: Iterable[tuple[Sequence[str], Sequence[str]]], *, iterations: int = 5
    ) -> None:
        if iterations < 1:
            raise ValueError(f"Expected at least one iteration. Received: {iterations}")
        self._source_ids: dict[str, int] = {}
        self._target_ids: dict[str, int] = {}
        numbered = [self._number(source, target) for source, target in pairs]
        if not self._target_ids:
            raise ValueError(
                "Expected words to learn from. "
                f"Received: {len(numbered)} sentence pairs without a target word"
            )
        batches = [
            numbered[start : start + _BATCH_SIZE] for start in range(0, len(numbered), _BATCH_SIZE)
        ]
        # The table has one entry for each pair of words that ever meet, sorted by source word.
        self._known_keys = np.unique(
            np.concatenate([np.unique(self._cells(batch)[0]) for batch in batches])
        )
        self._table = np.full(len(self._known_keys), 1 / len(self._target_ids))
        cells = [
            (np.searchsorted(self._known_keys, keys).astype(np.int32), num_candidates)
            for keys, num_candidates in map(self._cells, batches)
        ]
        entry_source = self._known_keys // len(self._target_ids)
        log_likelihoods = []
        for _ in range(iterations):
            counts, log_likelihood = self._expect(cells)
            log_likelihoods.append(log_likelihood)
            self._table = counts / np.bincount(entry_source, weights=counts)[entry_source]
        self.log_likelihoods = (*log_likelihoods, self._expect(cells)[1])

    def _number(self, source: Sequence[str], target: Sequence[str]) -> tuple[_Ids, _Ids]:
        """Give new words their numbers; return those of the pair, NULL in front of the source."""
        for words in (source, target):
            if isinstance(words, str):
                raise ValueError(
                    f"Expected a sequence of words: split the sentence first. Received: {words!r}"
                )
        source_ids = [
            self._source_ids.setdefault(word, len(self._source_ids) + 1) for word in source
        ]
        target_ids = [self._target_ids.setdefault(word, len(self._target_ids)) for word in target]
        return np.array([_NULL, *source_ids], np.int64), np.array(target_ids, np.int64)

    def _keys(self, source: _Ids, target: _Ids) -> _Ids:
        """Return `(target, source)`: one number per pair of words."""
        return source[None, :] * len(self._target_ids) + target[:, None]

    def _cells(self, sentences: Sequence[tuple[_Ids, _Ids]]) -> tuple[_Ids, _Ids]:
        """Return the keys of each target word's candidates, and how many, word after word."""
        keys = [self._keys(source, target).ravel() for source, target in sentences]
        num_candidates = [np.full(len(target), len(source)) for source, target in sentences]
        return np.concatenate(keys), np.concatenate(num_candidates)

    def _expect(
        self, cells: Iterable[tuple[NDArray[np.int32], _Ids]]
    ) -> tuple[NDArray[np.float64], float]:
        """Return how often each entry is expected to be used, and the log-likelihood."""
        counts = np.zeros_like(self._table)
        log_likelihood = 0.0
        for entries, num_candidates in cells:
            likely = self._table[entries]
            totals = np.add.reduceat(likely, np.cumsum(num_candidates) - num_candidates)
            np.add.at(counts, entries, likely / np.repeat(totals, num_candidates))
            log_likelihood += float(np.log(totals / num_candidates).sum())
        return counts, log_likelihood

    def _probabilities(
        self, source_words: Sequence[str], target_words: Sequence[str]
    ) -> NDArray[np.float64]:
        """Return t(target | source) as `(target, 1 + source)`, NULL first; 0 if they never met."""
        source = np.array([_NULL, *(self._source_ids.get(word, _UNKNOWN) for word in source_words)])
        target = np.array([self._target_ids.get(word, _UNKNOWN) for word in target_words])
        keys = self._keys(source, target)
        entries = np.searchsorted(self._known_keys, keys).clip(max=len(self._known_keys) - 1)
        known = (source != _UNKNOWN)[None, :] & (target != _UNKNOWN)[:, None]
        return np.where(known & (self._known_keys[entries] == keys), self._table[entries], 0.0)

    def probability(self, target_word: str, source_word: str | None) -> float:
        """Return t(target word | source word), 0 if they never met; None is NULL."""
        if source_word is None:
            return float(self._probabilities([], [target_word])[0, 0])
        return float(self._probabilities([source_word], [target_word])[0, 1])

    def align(self, source_words: Sequence[str], target_words: Sequence[str]) -> list[Link]:
        """Link each target word to the source word it most probably comes from.

        A target word that more probably comes from NULL, or never met any of these source words,
        has no link. Of equally probable source words, as when one is repeated, the nearest to the
        diagonal is taken.

        Args:
            source_words: The words of one sentence.
            target_words: The words of its translation.

        Returns:
            Sorted links `(source word, target word)`.
        """
        if not len(source_words) or not len(target_words):
            return []
        probabilities = self._probabilities(source_words, target_words)
        null, words = probabilities[:, 0], probabilities[:, 1:]
        best = words.max(axis=1)
        found = []
        for near, target in diagonal_links(len(source_words), len(target_words)):
            if best[target] > 0 and best[target] >= null[target]:
                equals = np.flatnonzero(words[target] == best[target])
                found.append((int(equals[np.abs(equals - near).argmin()]), target))
        return sorted(found)
