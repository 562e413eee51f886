"""An evaluation as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from captioning.tokens import DESCRIPTION

_ROWS = {
    "floor_nearest": "caption of the nearest photo",
    "floor_consensus": "consensus of 30 near photos",
    "floor_commonest": "commonest caption",
    "floor_one_person": "one person, against the others",
}
_COLUMNS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")


def report(sections: Mapping[str, Any]) -> str:
    """Write the sections of an evaluation as tables.

    Args:
        sections: what `evaluate` returns.

    Returns:
        Lines of text.
    """
    decoding, attention = sections["decoding"], sections["attention"]
    lines = [
        f"beam {decoding['beam_size']}, length penalty {decoding['length_penalty']:g} "
        f"(chosen on {decoding['chosen_on']})"
    ]
    for name, figures in sections["test"].items():
        lines += ["", *figures["notes"], *_captions(name, figures)]
    lines += [
        line for part in (_pointing, _collages, _variation, _deletion) for line in part(attention)
    ]
    return "\n".join(lines)


def _captions(name: str, figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"{name}: {figures['photos']} photos; {DESCRIPTION}"
    width = max(map(len, _ROWS.values()))
    heads = ("B1", "B2", "B3", "B4", "ROUGE-L", "CIDEr", "distinct", "vocabulary", "words")
    yield f"  {'':{width}}" + "".join(f"{head:>11}" for head in heads)
    for label, one in (
        ("this run", figures),
        *((label, figures[key]) for key, label in _ROWS.items() if key in figures),
    ):
        values = "".join(f"{one[column]:11.1f}" for column in _COLUMNS)
        rest = f"{one['distinct_captions']:11.1%}{one['vocabulary_used']:11d}{one['words']:11.1f}"
        yield f"  {label:{width}}{values}{rest}"
    yield (
        f"  95 % intervals over photos: BLEU-4 {_range(figures['bleu_4_interval'], 1)}, "
        f"CIDEr {_range(figures['cider_interval'], 1)}"
    )
    if "meteor" in figures:
        yield f"  METEOR {figures['meteor']:.1f}"


def _pointing(attention: Mapping[str, Any]) -> Iterator[str]:
    found = attention["pointing"]
    if not found:
        return
    yield ""
    yield "words that look where they are (uniform, centre, maps of other words)"
    rows = [("all words", found), *found["by_kind"].items()]
    if found["own_captions"]:
        rows.append(("of its own captions", found["own_captions"]))
    for label, one in rows:
        for figure in ("hit", "mass"):
            floors = ", ".join(
                f"{one[f'floor_{floor}_{figure}']:.3f}"
                for floor in ("uniform", "centre", "shuffled")
            )
            yield (
                f"  {label if figure == 'hit' else '':20}{figure:5}{one[figure]:.3f}  "
                f"{_range(one[f'{figure}_interval'])}  ({floors})  "
                + (f"{one['words']} words" if figure == "hit" else "")
            ).rstrip()


def _collages(attention: Mapping[str, Any]) -> Iterator[str]:
    for parts in (2, 4):
        found = attention[f"collage_of_{parts}"]
        if not found:
            continue
        yield ""
        yield f"attention in the right one of {parts} photos: {found['collages']} collages"
        for prefix, label in (("", "all words"), ("content_", "content words")):
            yield (
                f"  {label:20}{found[f'{prefix}mass']:.3f}  "
                f"{_range(found[f'{prefix}mass_interval'])}  (chance {found['chance']:g}, shuffled "
                f"{_range(found[f'{prefix}floor_shuffled_interval'])}); "
                f"hit {found[f'{prefix}hit']:.3f}"
            )


def _variation(attention: Mapping[str, Any]) -> Iterator[str]:
    found = attention["variation"]
    if "between_words" not in found:
        return
    yield ""
    yield "divergence of maps, in bits"
    yield (
        f"  between words of a caption  {found['between_words']:.3f}  "
        f"{_range(found['between_words_interval'])}"
    )
    if "words_matter" in found:
        yield (
            f"  same word in two captions   {found['same_word']:.3f}, any two words "
            f"{found['floor_shuffled']:.3f}; difference {found['words_matter']:.3f}  "
            f"{_range(found['words_matter_interval'])}"
        )
    if found["all_alike"]:
        yield "  ALARM: the maps of all words are alike; attention tells nothing"


def _deletion(attention: Mapping[str, Any]) -> Iterator[str]:
    found = attention["deletion"]
    if not found:
        return
    yield ""
    yield (
        f"without the {found['cells']} cells attended to most a content word loses "
        f"{found['fall']:.3f} nats, without as many random ones {found['floor_random_fall']:.3f}; "
        f"difference {found['difference']:.3f}  {_range(found['difference_interval'])}"
    )


def _range(interval: Sequence[float], digits: int = 3) -> str:
    low, high = interval
    return f"[{low:.{digits}f}, {high:.{digits}f}]"
