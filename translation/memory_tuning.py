"""How a run's translation memory is attended to, and whether it is: both chosen on validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from attention_apps.running.command import UserError
from translation.corpus import Corpus
from translation.forced import padded
from translation.memory_attention import MemoryAttention, Recall
from translation.ordering import batches_by_length
from translation.quality import bleu_metric
from translation.translate import Translate
from translation.translation_memory import MEMORY, TranslationMemory, reader_of
from translation.tuning import translate_corpus, tune_length_penalty
from translation.words import END, PAD, START

SHARES = (0.3, 0.4, 0.5)
SHARPNESSES = (5.0, 10.0, 20.0)
SIMILARITIES = (0.0, 4.0, 8.0)


def memory_of(run_dir: Path, translate: Translate, training: Corpus) -> TranslationMemory:
    """Read a run's memory, or make it from the training pairs and keep it in the run's folder.

    Args:
        run_dir: the run folder.
        translate: the run's translator.
        training: the pairs it was trained on.

    Returns:
        The memory. A run's weights never change, nor does what they read.
    """
    path = run_dir / MEMORY
    if not path.exists():
        model, vocabularies = translate.model, translate.vocabularies
        max_length = translate.config.max_length
        TranslationMemory.of(model, vocabularies, training, max_length).write(path)
    return TranslationMemory.read(path)


def tune_recall(
    translate: Translate, memory: TranslationMemory, validation: Corpus, num_pairs: int
) -> tuple[MemoryAttention, dict[str, Any]]:
    """Choose how much the memory says, and how sharply it is attended to.

    Everything tried predicts every next token of the references; the most first guesses that are
    right win. Of equals the one tried first is taken: the smaller share, then sharpness.

    Args:
        translate: the run's translator.
        memory: what is attended to.
        validation: pairs that the memory does not hold.
        num_pairs: pairs that each sentence attends to.

    Returns:
        The memory with what was chosen, and what to write of it: the values of `Recall`,
        `validation_accuracy`, and `validation_accuracy_without`, that of the model alone.
    """
    values = [*product(SHARPNESSES, SIMILARITIES)]
    tried = [Recall(num_pairs, share, *others) for share in SHARES for others in values]
    attention = MemoryAttention(memory, tried[0])
    read = reader_of(translate.model)
    ids = tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[ids, ids, ids], autograph=False)
    def right(source: Any, previous: Any, target: Any) -> Any:
        states, logits = read(source, previous)
        nearest, predicted = attention.nearest(source), tf.nn.softmax(logits)

        def hits(guess: Any) -> Any:
            found = tf.argmax(guess, axis=-1, output_type=tf.int32) == target
            return tf.math.count_nonzero(found & (target != PAD), dtype=tf.int32)

        def hits_of_shares(values: Any) -> Any:
            recall = Recall(num_pairs, 0.0, values[0], values[1])
            said = attention.predictions(states, nearest, logits.shape[-1], recall)
            return tf.stack([hits(share * said + (1.0 - share) * predicted) for share in SHARES])

        # A loop in the graph: unrolled it takes longer to trace than to run.
        by_values = tf.map_fn(
            hits_of_shares,
            tf.constant(values),
            fn_output_signature=tf.TensorSpec(len(SHARES), tf.int32),
        )
        return tf.concat([hits(predicted)[None], tf.reshape(tf.transpose(by_values), (-1,))], 0)

    vocabularies = translate.vocabularies
    sources = vocabularies.source.finish(vocabularies.source.encode_all(validation.sources))
    sources = sources.to_list()
    targets = vocabularies.target.encode_all(validation.targets).to_list()
    counts = np.zeros(1 + len(tried), np.int64)
    for batch in batches_by_length(validation.sources, 32):
        rows = [targets[index] for index in batch]
        counts += right(
            padded([sources[index] for index in batch]),
            padded([[START, *row] for row in rows]),
            padded([[*row, END] for row in rows]),
        ).numpy()
    accuracies = counts / sum(len(row) + 1 for row in targets)
    best = int(np.argmax(accuracies[1:]))
    attention.recall = tried[best]
    return attention, {
        **asdict(tried[best]),
        "chosen_on": f"next tokens of {validation.name}",
        "validation_accuracy": float(accuracies[1 + best]),
        "validation_accuracy_without": float(accuracies[0]),
    }


def tune_with_memory(
    translate: Translate,
    memory: TranslationMemory,
    validation: Corpus,
    num_pairs: int,
    penalties: Sequence[float],
) -> tuple[Translate, dict[str, Any]]:
    """Choose all of decoding: the memory or none, how it is attended to, and the length penalty.

    Args:
        translate: the run's translator, without a memory.
        memory: what may be attended to.
        validation: pairs that the memory does not hold.
        num_pairs: pairs that each sentence attends to.
        penalties: length penalties to try.

    Returns:
        The translator of the higher BLEU, and the section `decoding` as `tune_length_penalty` gives
        it for that one; `memory` in it says how it is attended to and is empty where the
        translator does better without. `other` is the section of the one that was not chosen.
    """
    attention, chosen = tune_recall(translate, memory, validation, num_pairs)
    remembering = Translate(
        translate.model, translate.vocabularies, translate.config, memory=attention
    )
    ways: list[tuple[float, Translate, dict[str, Any]]] = []
    for way, found in ((translate, {}), (remembering, chosen)):
        section = {**tune_length_penalty(way, validation, penalties), "memory": found}
        bleu = max(section.get("validation_bleu", {}).values(), default=None)
        if bleu is None:
            hypotheses = translate_corpus(way, validation, section["length_penalty"])
            metric = bleu_metric(translate.config)
            bleu = metric.corpus_score(hypotheses, [validation.targets]).score
        ways.append((bleu, way, section | {"best_validation_bleu": bleu}))
    other, best = sorted(ways, key=lambda way: way[0])
    return best[1], {**best[2], "other": other[2]}


def chosen_memory(run_dir: Path, metrics: Mapping[str, Any]) -> MemoryAttention | None:
    """The memory that an evaluation chose, as it chose to attend to it.

    Args:
        run_dir: the run folder.
        metrics: of the run.

    Returns:
        The memory; None where no evaluation chose one.

    Raises:
        UserError: when its file is gone.
    """
    chosen = metrics.get("decoding", {}).get("memory")
    if not chosen:
        return None
    path = run_dir / MEMORY
    if not path.exists():
        raise UserError(
            f"the run was evaluated with a translation memory. Received: no {path}. Expected: what "
            "`python -m translation.evaluate --memory` wrote; evaluate again, with or without it"
        )
    recall = Recall(**{name: chosen[name] for name in Recall.__dataclass_fields__})
    return MemoryAttention(TranslationMemory.read(path), recall)
