"""An evaluation as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from translation.alignments import Method
from translation.readout import ReadOut

Row = tuple[str, str, str]

_FLOORS = {
    "diagonal": "diagonal",
    "ibm1": "IBM model 1",
    "eflomal": "eflomal",
    "eflomal_symmetrised": "eflomal, both directions",
}


def report(sections: Mapping[str, Any]) -> str:
    """Write the sections of an evaluation as tables: figure, value, and what stands beside it.

    Args:
        sections: what `evaluate` returns.

    Returns:
        Lines of text.
    """
    decoding = sections["decoding"]
    blocks = [
        f"length penalty {decoding['length_penalty']:g}, beam {decoding['beam_size']} "
        f"(chosen on {decoding['chosen_on']})",
        *_memory(decoding),
    ]
    for name, figures in sections["test"].items():
        rows = [*_quality(figures), *_alignment(figures, sections["alignment"])]
        rows += [row for one in sections["comparison"].get(name, []) for row in _comparison(one)]
        title = f"{name}: {figures['sentences']} sentences, {figures['bleu_signature']}"
        blocks.append(_table(title, rows))
    for name, figures in sections["gold"].items():
        title = f"gold alignments of {name}: {figures['sentences']} sentences"
        rows = [*_alignment(figures, sections["alignment"]), *_heads(figures["every_head"])]
        if figures["links_outside"]:
            rows.append(("links beyond their sentence", str(figures["links_outside"]), ""))
        blocks.append(_table(title, rows))
    return "\n\n".join(blocks)


def _memory(decoding: Mapping[str, Any]) -> Iterator[str]:
    if "memory" not in decoding:
        return
    bleu = decoding["best_validation_bleu"], decoding["other"]["best_validation_bleu"]
    if not decoding["memory"]:
        yield "no translation memory: validation BLEU {:.2f}, with it {:.2f}".format(*bleu)
        return
    yield (
        "translation memory of {num_pairs} pairs a sentence: share {share:g}, sharpness "
        "{sharpness:g}, similarity {similarity:g} (chosen on {chosen_on})\n"
        "  first guesses right {validation_accuracy:.1%}, without "
        "{validation_accuracy_without:.1%}".format(**decoding["memory"])
        + "; validation BLEU {:.2f}, without {:.2f}".format(*bleu)
    )


def _quality(figures: Mapping[str, Any]) -> Iterator[Row]:
    floor = "copied source {:.2f}".format
    interval = f"± {figures['bleu_interval']:.2f}"
    bleu = f"{interval}, {floor(figures['floor_copy_source_bleu'])}"
    yield "BLEU", f"{figures['bleu']:.2f}", bleu
    yield "chrF", f"{figures['chrf']:.2f}", floor(figures["floor_copy_source_chrf"])
    for row in figures["bleu_by_length"]:
        words = f"BLEU of {row['words']} source words"
        yield words, f"{row['bleu']:.2f}", f"{row['sentences']} sentences"
    yield "length ratio", f"{figures['length_ratio']:.3f}", ""
    distinct = f"references {figures['distinct_references']}"
    yield "distinct outputs", str(figures["distinct_outputs"]), distinct
    for name, words in (
        ("copied_sentences", "outputs equal to the source"),
        ("copied_words", "source words in the output"),
    ):
        beside = f"references {figures[f'{name}_of_references']:.1%}"
        yield words, f"{figures[name]:.1%}", beside


def _alignment(figures: Mapping[str, Any], alignment: Mapping[str, Any]) -> Iterator[Row]:
    if "alignment_error" not in figures:
        return
    yield "alignment error", f"{figures['alignment_error']:.3f}", ReadOut.of(alignment).name
    for name in ("precision", "recall"):
        yield f"  {name}", f"{figures[f'alignment_{name}']:.3f}", ""
    for step in ("raw", "shifted"):
        yield f"  best way, {step}", f"{figures[f'alignment_error_{step}']:.3f}", ""
    if "alignment_error_symmetrised" in figures:
        chosen = alignment["symmetrised"]["method"]
        for method in get_args(Method):
            note = "chosen on validation" if alignment["symmetrised"]["validation_errors"] else ""
            value = figures[f"alignment_error_{method}"]
            yield f"  both directions, {method}", f"{value:.3f}", note if method == chosen else ""
    for name, words in _FLOORS.items():
        if f"floor_alignment_error_{name}" in figures:
            yield f"  {words}", f"{figures[f'floor_alignment_error_{name}']:.3f}", ""


def _comparison(one: Mapping[str, Any]) -> Iterator[Row]:
    low, high = one["difference_interval"]
    yield (
        "BLEU more than the other's",
        f"{one['difference']:+.2f}",
        f"{low:+.2f} to {high:+.2f}, other {one['bleu_other']:.2f}: {one['against']}",
    )
    yield "  resamples in which it is better", f"{one['better_in']:.1%}", f"of {one['resamples']}"
    sacrebleu = f"by sacrebleu --paired-bs {one['p_value_sacrebleu']:.3f}"
    yield "  p-value, two-sided", f"{one['p_value']:.3f}", sacrebleu


def _heads(rows: list[dict[str, Any]]) -> Iterator[Row]:
    for row in rows:
        head = "mean of heads" if row["head"] is None else f"head {row['head']}"
        raw, shifted = (
            min(v for k, v in row.items() if k.startswith(s)) for s in ("raw", "shifted")
        )
        yield f"  block {row['layer']}, {head}, raw", f"{raw:.3f}", f"{shifted:.3f} shifted"


def _table(title: str, rows: list[Row]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {a.ljust(widths[0])}  {b.rjust(widths[1])}  {c}".rstrip() for a, b, c in rows]
    return "\n".join([title, *lines])
