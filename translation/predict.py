"""Ask a run's exported model.

python -m translation.predict --run-dir RUN "A dog runs ."       translation and alignment
python -m translation.predict --run-dir RUN --file TEXT           one translation a line
... | python -m translation.predict --run-dir RUN                 the same from standard input
python -m translation.predict --run-dir RUN --n-best 3 "A dog runs ."
python -m translation.predict --run-dir RUN --prefix "Ein Mann" "A man runs ."
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from attention_apps.observation.record import AttentionRecord, Axis
from attention_apps.observation.terminal import draw_text
from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import parse
from attention_apps.running.lines import text_lines
from translation.asking import Asked, exported, of_run
from translation.ordering import batches_by_length
from translation.readout import ReadOut
from translation.words import END, PAD, UNKNOWN, words_of

ROOM = "translation"
WINDOW = 64
"""Batches that are sorted by length together."""
PAIRS_TOLD = 3
"""Training pairs told of those that a translation attended to most."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The run whose exported model is asked."""
    sentences: tyro.conf.Positional[tuple[str, ...]] = ()
    """Sentences to translate; without any, lines are read from --file or standard input."""
    file: Path | None = None
    """Text file with a sentence a line."""
    alignments: bool = False
    """Print each line's word alignment (source-target pairs) behind its translation."""
    n_best: int = 1
    """Translations of each sentence, with their scores; above 1 the run itself is asked, not its
    export. With --file or standard input, a line is: number of the input line, score,
    translation."""
    prefix: str = ""
    """What every translation has to begin with; its last word may go on. The run itself is asked,
    not its export."""
    batch_size: int = 32
    """Sentences translated at once; those of similar length are put together."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name, value in (("--n-best", self.n_best), ("--batch-size", self.batch_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1. Received: {value}")


def read_sentences(options: Options, stream: Any = None) -> list[str]:
    """Collect what is to be translated and refuse what cannot be.

    Args:
        options: the command's flags.
        stream: standard input, when neither sentences nor a file are given.

    Returns:
        The sentences.

    Raises:
        UserError: for no sentence at all, an empty one, or text that is not UTF-8.
    """
    if options.sentences and options.file is not None:
        raise UserError("give sentences or --file. Received: both")
    if options.sentences:
        sentences, where = list(options.sentences), "sentence"
    elif options.file is not None:
        sentences, where = text_lines(options.file.read_bytes(), str(options.file)), "line"
    else:
        raw = (stream or sys.stdin.buffer).read()
        sentences, where = text_lines(raw, "standard input"), "line"
    if not sentences:
        raise UserError("give sentences to translate. Received: none")
    for number, sentence in enumerate(sentences, start=1):
        if not sentence.strip():
            raise UserError(f"every {where} must hold text. Received: an empty {where} {number}")
    return sentences


def check_sentence(number: int, sentence: str, row: dict[str, Any]) -> str | None:
    """Refuse a sentence that the model could not read, and note one that it read in part.

    Args:
        number: of the sentence, from 1.
        sentence: what was asked.
        row: what the model answered, with attention.

    Returns:
        A note for the user, or None.

    Raises:
        UserError: for a sentence of which the model knows nothing.
    """
    ids = [int(i) for i in row["source_ids"] if int(i) not in (PAD, END)]
    known = [t for t, i in zip(row["source_tokens"], ids, strict=False) if i != UNKNOWN]
    if not any(token.decode().strip("▁") for token in known):
        raise UserError(
            f"sentence {number} has no character that the model learned. Received: {sentence!r}"
        )
    if UNKNOWN in ids:
        return f"note: sentence {number} has characters the model never saw: {sentence!r}"
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Translate and print."""
    options = parse(Options, argv, prog=f"python -m {ROOM}.predict", description=__doc__)
    sentences = read_sentences(options)
    quiet_start()
    if options.n_best > 1 or options.prefix.strip():
        asked = of_run(options.run_dir, num_hypotheses=options.n_best, prefix=options.prefix)
    else:
        asked = exported(options.run_dir)
    longest = asked.max_subwords
    for number, sentence in enumerate(sentences, start=1):
        if len(sentence.split()) >= longest:
            raise UserError(
                f"the model reads at most {longest} subwords. Received: sentence {number} of "
                f"{len(sentence.split())} words. Split it."
            )
    for number, answers in enumerate(_in_order(asked, sentences, options.batch_size), start=1):
        if options.sentences:
            _show(sentences[number - 1], answers, asked.way)
            continue
        for answer in answers:
            links = [answer["links"]] if options.alignments else []
            rank = [str(number), f"{answer['score']:.4f}"] if options.n_best > 1 else []
            print("\t".join([*rank, answer["translation"], *links]))
    return 0


def _in_order(
    asked: Asked, sentences: Sequence[str], batch_size: int
) -> Iterator[list[dict[str, Any]]]:
    """Translate in batches of similar length; answers come in the order of the sentences.

    A long text is taken window by window, so that its first lines come before its last are read.
    """
    size = WINDOW * batch_size
    for start in range(0, len(sentences), size):
        window = sentences[start : start + size]
        answers: list[list[dict[str, Any]]] = [[] for _ in window]
        notes: list[str | None] = [None for _ in window]
        for indexes in batches_by_length(window, batch_size):
            for index, rows in zip(indexes, asked.ask([window[i] for i in indexes]), strict=True):
                notes[index] = check_sentence(start + index + 1, window[index], rows[0])
                answers[index] = [read_answer(row, asked.way) for row in rows]
        for note in filter(None, notes):
            print(note, file=sys.stderr)
        yield from answers


def _show(sentence: str, answers: Sequence[dict[str, Any]], way: ReadOut) -> None:
    """Print one sentence's translations, and what the best attended to."""
    print(sentence)
    for answer in answers:
        score = f"  {answer['score']:.4f}" if len(answers) > 1 else ""
        print(f"→ {answer['translation']}{score}")
    best = answers[0]
    record = AttentionRecord(
        weights=best["attention"][None],
        layer=way.block,
        query=Axis(tuple(best["target_tokens"])),
        key=Axis(tuple(best["source_tokens"])),
        heads=(way.manner,),
    )
    print(f"\n{draw_text(record)}\nalignment: {best['links']}\n")
    for weight, source, target in best["memory"]:
        print(f"memory {weight:4.0%}  {source}  →  {target}")


def read_answer(row: dict[str, Any], way: ReadOut) -> dict[str, Any]:
    """From one row of the exported model's outputs to what a person reads.

    Args:
        row: outputs of `with_attention` for one sentence.
        way: how an alignment is read.

    Returns:
        `translation`, `score`, `source_tokens`, `target_tokens` (without the end), `attention`
        `(target, source)` as it is read, `links` as `source-target` pairs of words, and `memory`:
        the training pairs that were attended to most, as their part of all attention to the memory,
        source and target; none where the model has no memory.
    """
    num_source = int((row["source_ids"] != PAD).sum())
    num_target = int((row["target_ids"] != PAD).sum())
    source_tokens = [token.decode() for token in row["source_tokens"][:num_source]]
    target_tokens = [token.decode() for token in row["target_tokens"][:num_target]]
    attention = row["attention"][:, :, :num_target, :num_source]
    links = way.links(attention, words_of(source_tokens), words_of(target_tokens))
    ended = target_tokens[-1:] == ["</s>"]
    kept = num_target - 1 if ended else num_target
    return {
        "translation": row["translations"].decode(),
        "score": float(row["scores"]),
        "source_tokens": source_tokens,
        "target_tokens": target_tokens[:kept],
        "attention": way.rows(attention)[:kept],
        "links": " ".join(f"{s}-{t}" for s, t in links),
        "memory": _memory(row, num_target),
    }


def _memory(row: dict[str, Any], num_target: int) -> list[tuple[float, str, str]]:
    if "memory_weights" not in row:
        return []
    parts = row["memory_weights"][:num_target].mean(axis=0)[:PAIRS_TOLD]
    texts = zip(row["memory_sources"], row["memory_targets"], strict=True)
    return [
        (float(part), source.decode(), target.decode())
        for part, (source, target) in zip(parts, texts, strict=False)
    ]


if __name__ == "__main__":
    run_command(main)
