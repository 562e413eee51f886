"""Two models that can be asked: a run's export, and the run itself where more is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attention_apps.running.command import UserError
from translation.config import Config
from translation.readout import ReadOut
from translation.train import ROOM
from translation.words import UNKNOWN

Hypotheses = list[dict[str, Any]]


@dataclass(frozen=True)
class Asked:
    """A model that translates.

    Attributes:
        ask: from sentences to the hypotheses of each, best first: for each of these the outputs of
            `with_attention`.
        way: how an alignment is read.
        max_subwords: longest sentence.
    """

    ask: Callable[[Sequence[str]], list[Hypotheses]]
    way: ReadOut
    max_subwords: int


def exported(run_dir: Path) -> Asked:
    """Load the model that a run has exported.

    Args:
        run_dir: the run folder.

    Returns:
        The model; it gives one hypothesis.

    Raises:
        UserError: when the run has not been exported.
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  (registers the ops of the exported tokenizer)

    from attention_apps.running.export import exported_model

    folder = exported_model(run_dir, ROOM)
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text("utf-8"))
    function = tf.saved_model.load(str(folder)).signatures["with_attention"]

    def ask(sentences: Sequence[str]) -> list[Hypotheses]:
        outputs = {name: value.numpy() for name, value in function(tf.constant(sentences)).items()}
        return [
            [{name: values[row] for name, values in outputs.items()}]
            for row in range(len(sentences))
        ]

    way = ReadOut.of(card["labels"]["alignment"])
    return Asked(ask, way, card["limits"]["max_subwords"])


def of_run(run_dir: Path, *, num_hypotheses: int, prefix: str) -> Asked:
    """Take a run's own model, for what its export does not answer.

    Args:
        run_dir: the run folder.
        num_hypotheses: how many translations of each sentence; the beam holds at least as many.
        prefix: what every translation begins with; empty forces nothing.

    Returns:
        The model.

    Raises:
        UserError: for a run that is unfinished, or a prefix that no translation can begin with.
    """
    import tensorflow as tf

    from attention_apps.running.runs import load_run
    from translation.forced import ForcedAttention
    from translation.memory_tuning import chosen_memory
    from translation.translate import SENTENCES, Translate
    from translation.tuning import with_chosen_decoding
    from translation.vocabularies import Vocabularies

    run = load_run(run_dir, ROOM, Config)
    vocabularies = Vocabularies.read(run.run_dir)
    config = with_chosen_decoding(run.config, run.metrics)
    config = replace(config, beam_size=max(config.beam_size, num_hypotheses))
    ids = vocabularies.target.encode_all([prefix]).to_list()[0]
    if UNKNOWN in ids:
        raise UserError(f"--prefix has characters the model never saw. Received: {prefix!r}")
    if len(ids) >= config.max_length:
        raise UserError(
            f"--prefix must be shorter than the {config.max_length} subwords of the longest "
            f"translation. Received: {len(ids)} subwords"
        )
    memory = chosen_memory(run.run_dir, run.metrics)
    translate = Translate(run.model, vocabularies, config, memory)

    @tf.function(input_signature=[SENTENCES], autograph=False)
    def search(sentences: Any) -> dict[str, Any]:
        prefixes = tf.fill(tf.shape(sentences), prefix) if ids else None
        return translate.hypotheses(sentences, num_hypotheses=num_hypotheses, prefixes=prefixes)

    def ask(sentences: Sequence[str]) -> list[Hypotheses]:
        outputs = {name: value.numpy() for name, value in search(tf.constant(sentences)).items()}
        shared = ("source_ids", "source_tokens")
        return [
            [
                {name: v[row] if name in shared else v[row, place] for name, v in outputs.items()}
                for place in range(num_hypotheses)
                if outputs["scores"][row, place] > float("-inf")
            ]
            for row in range(len(sentences))
        ]

    if "alignment" in run.metrics:
        way = ReadOut.of(run.metrics["alignment"])
    else:
        forced = ForcedAttention(translate.model, vocabularies)
        way = forced.unmeasured(guided=config.alignment_weight > 0)
    return Asked(ask, way, config.max_length)
