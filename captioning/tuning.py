"""Beam size and length penalty, chosen on the validation photos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from captioning.metrics import score
from captioning.reading import Pictures, Reader


def choose_decoding(
    reader: Reader,
    pictures: Pictures,
    references: Sequence[Sequence[str]],
    beam_sizes: Sequence[int],
    length_penalties: Sequence[float],
) -> dict[str, Any]:
    """Caption the validation photos in every way, and take the one with the highest CIDEr.

    Args:
        reader: of the run.
        pictures: the validation photos.
        references: what people wrote of them.
        beam_sizes: tried.
        length_penalties: tried with each beam of more than one hypothesis; with one, none matters.

    Returns:
        `beam_size`, `length_penalty`, `chosen_on`, and `validation_cider` of every way.
    """
    ways = [
        (beam_size, penalty)
        for beam_size in beam_sizes
        for penalty in (length_penalties if beam_size > 1 else length_penalties[:1])
    ]
    if len(ways) == 1:
        ((beam_size, penalty),) = ways
        chosen_on = "nothing: only one way given"
        return {"beam_size": beam_size, "length_penalty": penalty, "chosen_on": chosen_on}
    found = {}
    for beam_size, penalty in ways:
        captions, _ = reader.caption(pictures, beam_size=beam_size, length_penalty=penalty)
        found[beam_size, penalty] = 100 * float(score(captions, references).cider.mean())
    beam_size, penalty = max(found, key=found.__getitem__)
    return {
        "beam_size": beam_size,
        "length_penalty": penalty,
        "chosen_on": f"CIDEr of {len(pictures)} validation photos",
        "validation_cider": {f"beam {b} penalty {p:g}": v for (b, p), v in found.items()},
    }
