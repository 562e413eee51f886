"""Ask a run's exported model.

python -m translation.predict --run-dir RUN "A dog runs ."       translation and alignment
python -m translation.predict --run-dir RUN --file TEXT           one translation a line
... | python -m translation.predict --run-dir RUN                 the same from standard input
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import parse
from translation.readout import ReadOut
from translation.words import words_of

ROOM = "translation"


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
    batch_size: int = 32
    """Sentences translated at once."""


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
    try:
        if options.sentences:
            sentences, where = list(options.sentences), "sentence"
        elif options.file is not None:
            sentences, where = options.file.read_text("utf-8").splitlines(), "line"
        else:
            raw = (stream or sys.stdin.buffer).read()
            sentences, where = raw.decode("utf-8").splitlines(), "line"
    except UnicodeDecodeError as error:
        raise UserError(
            f"text must be UTF-8. Received: byte 0x{error.object[error.start]:02x} at offset "
            f"{error.start}"
        ) from error
    if not sentences:
        raise UserError("give sentences to translate. Received: none")
    for number, sentence in enumerate(sentences, start=1):
        if not sentence.strip():
            raise UserError(f"every {where} must hold text. Received: an empty {where} {number}")
    return sentences


def check_answers(sentences: Sequence[str], rows: Sequence[dict[str, Any]], card: Any) -> list[str]:
    """Refuse what the model could not read, and note what it read in part.

    Args:
        sentences: what was asked.
        rows: what the model answered, with attention.
        card: the model card.

    Returns:
        Notes for the user.

    Raises:
        UserError: for a sentence that is too long or of which the model knows nothing.
    """
    unknown_id, end_id, pad_id = 3, 2, 0
    notes = []
    for number, (sentence, row) in enumerate(zip(sentences, rows, strict=True), start=1):
        ids = [int(i) for i in row["source_ids"] if int(i) not in (pad_id, end_id)]
        known = [t for t, i in zip(row["source_tokens"], ids, strict=False) if i != unknown_id]
        if not any(token.decode().strip("▁") for token in known):
            raise UserError(
                f"sentence {number} has no character that the model learned. Received: {sentence!r}"
            )
        if unknown_id in ids:
            notes.append(
                f"note: sentence {number} has characters the model never saw: {sentence!r}"
            )
    return notes


def main(argv: Sequence[str] | None = None) -> int:
    """Translate and print."""
    options = parse(Options, argv, prog=f"python -m {ROOM}.predict", description=__doc__)
    sentences = read_sentences(options)
    quiet_start()
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the ops of the exported tokenizer)

    from attention_apps.observation.record import AttentionRecord, Axis
    from attention_apps.observation.terminal import draw_text
    from attention_apps.running.export import exported_model

    folder = exported_model(options.run_dir, ROOM)
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text("utf-8"))
    longest = card["limits"]["max_subwords"]
    for number, sentence in enumerate(sentences, start=1):
        if len(sentence.split()) >= longest:
            raise UserError(
                f"the model reads at most {longest} subwords. Received: sentence {number} of "
                f"{len(sentence.split())} words. Split it."
            )
    loaded = tf.saved_model.load(str(folder))
    function = loaded.signatures["with_attention"]
    way = ReadOut.of(card["labels"]["alignment"])
    for start in range(0, len(sentences), options.batch_size):
        batch = sentences[start : start + options.batch_size]
        outputs = {k: v.numpy() for k, v in function(tf.constant(batch)).items()}
        rows = [{k: v[place] for k, v in outputs.items()} for place in range(len(batch))]
        for note in check_answers(batch, rows, card):
            print(note, file=sys.stderr)
        for sentence, row in zip(batch, rows, strict=True):
            answer = read_answer(row, way)
            if options.sentences:
                print(f"{sentence}\n→ {answer['translation']}\n")
                record = AttentionRecord(
                    weights=answer["attention"][None],
                    layer=way.block,
                    query=Axis(tuple(answer["target_tokens"])),
                    key=Axis(tuple(answer["source_tokens"])),
                    heads=(way.manner,),
                )
                print(draw_text(record))
                print(f"alignment: {answer['links']}\n")
            elif options.alignments:
                print(f"{answer['translation']}\t{answer['links']}")
            else:
                print(answer["translation"])
    return 0


def read_answer(row: dict[str, Any], way: ReadOut) -> dict[str, Any]:
    """From one row of the exported model's outputs to what a person reads.

    Args:
        row: outputs of `with_attention` for one sentence.
        way: how an alignment is read.

    Returns:
        `translation`, `source_tokens`, `target_tokens` (without the end), `attention`
        `(target, source)` as it is read and `links` as `source-target` pairs of words.
    """
    num_source = int((row["source_ids"] != 0).sum())
    num_target = int((row["target_ids"] != 0).sum())
    source_tokens = [token.decode() for token in row["source_tokens"][:num_source]]
    target_tokens = [token.decode() for token in row["target_tokens"][:num_target]]
    attention = row["attention"][:, :, :num_target, :num_source]
    links = way.links(attention, words_of(source_tokens), words_of(target_tokens))
    ended = target_tokens[-1:] == ["</s>"]
    kept = num_target - 1 if ended else num_target
    return {
        "translation": row["translations"].decode(),
        "source_tokens": source_tokens,
        "target_tokens": target_tokens[:kept],
        "attention": way.rows(attention)[:kept],
        "links": " ".join(f"{s}-{t}" for s, t in links),
    }


if __name__ == "__main__":
    run_command(main)
