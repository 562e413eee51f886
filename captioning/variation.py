"""Whether attention moves from word to word, and because of the word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioning.intervals import bootstrap_interval, ratio
from captioning.word_maps import WordMap

ALIKE = 0.01
"""Bits of divergence below which maps are called the same: no eye tells them apart."""


def divergences(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Jensen-Shannon divergence of each map from each other, in bits.

    `H((p + q) / 2) - (H(p) + H(q)) / 2`, 0 for equal maps and 1 for maps without a cell in common.

    Args:
        maps: `(maps, ...)`, each of which is brought to the sum 1.

    Returns:
        `(maps, maps)`.

    Reference: Lin 1991, "Divergence Measures Based on the Shannon Entropy".
    """
    flat = np.asarray(maps, np.float64).reshape(len(maps), -1)
    flat = flat / flat.sum(axis=1, keepdims=True)
    own = _entropy(flat)
    middle = _entropy((flat[:, None] + flat[None]) / 2)
    return np.clip(middle - (own[:, None] + own[None]) / 2, 0, 1)


def variation(maps: Sequence[WordMap]) -> dict[str, Any]:
    """How much the maps of words differ, and whether it is the word that makes the difference.

    Maps that differ are not yet maps that follow the word: a sampled place differs every time. So
    different captions of one picture are compared: what the same word attends to in two of them
    should differ less than what any two words attend to. Only words that may be somewhere in the
    picture are compared.

    Args:
        maps: of the words of one or several captions of each picture.

    Returns:
        `between_words`: divergence of different words of one caption, in bits, the mean over
        pairs; `all_alike`: whether that is below `ALIKE`, the alarm. `between_photos`: that of the
        mean maps of different pictures. Where pictures have several captions, for pairs of words
        from two captions: `same_word`, `different_words`, `floor_shuffled` (what both would be if
        words were dealt out anew among the maps of the picture: the mean over all pairs), and
        `words_matter`, the floor less `same_word`. All with `_interval` of 95 % over photos, but
        the second and third.
    """
    of_photo: dict[int, list[WordMap]] = {}
    for one in maps:
        if one.is_content:
            of_photo.setdefault(one.photo, []).append(one)
    # Sums and numbers of pairs: within captions; same word; different words; all across captions.
    sums = np.array([_sums(of_one) for of_one in of_photo.values()]).reshape(-1, 8)
    total = sums.sum(axis=0)
    found: dict[str, Any] = {"photos": len(of_photo), "words": sum(map(len, of_photo.values()))}
    if not total[1]:
        return found
    found["between_words"] = ratio(total[:2])
    found["between_words_interval"] = bootstrap_interval(sums[:, :2], ratio)
    found["all_alike"] = found["between_words"] < ALIKE
    if len(of_photo) > 1:
        means = [np.mean([one.weights for one in of_one], axis=0) for of_one in of_photo.values()]
        apart = divergences(np.stack(means[:200]))
        found["between_photos"] = float(apart[np.triu_indices(len(apart), 1)].mean())
    if total[3] and total[5]:
        for place, name in ((2, "same_word"), (4, "different_words"), (6, "floor_shuffled")):
            terms = sums[:, place : place + 2]
            found[name] = ratio(terms.sum(axis=0))
            found[f"{name}_interval"] = bootstrap_interval(terms, ratio)
        found["words_matter"] = found["floor_shuffled"] - found["same_word"]
        found["words_matter_interval"] = bootstrap_interval(
            sums, lambda t: ratio(t[6:]) - ratio(t[2:4])
        )
    return found


def _sums(maps: Sequence[WordMap]) -> list[float]:
    apart = divergences(np.stack([one.weights for one in maps]))
    first, second = np.triu_indices(len(maps), 1)
    apart = apart[first, second]
    words, captions = np.array([m.word for m in maps]), np.array([m.caption for m in maps])
    same, together = words[first] == words[second], captions[first] == captions[second]
    pairs = (together & ~same, ~together & same, ~together & ~same, ~together)
    return [value for chosen in pairs for value in (apart[chosen].sum(), chosen.sum())]


def _entropy(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.sum(rows * np.log2(np.where(rows > 0, rows, 1)), axis=-1)
