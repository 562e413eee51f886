"""A finished run to go on from with other data."""

from __future__ import annotations

from attention_apps.running.runs import Run, load_run
from attention_apps.running.starting_point import refuse_other_shapes
from translation.config import Config

_SAME = (
    "model",
    "vocabulary_size",
    "num_encoder_layers",
    "num_decoder_layers",
    "dim",
    "encoder_preset",
    "num_heads",
    "feedforward_dim",
    "encoder_attention",
    "decoder_attention",
    "cross_attention",
    "rnn_cell",
    "input_feeding",
)


def starting_point(config: Config) -> Run[Config]:
    """Load the run that `init_from` names.

    Args:
        config: of the new run.

    Returns:
        The finished run, whose model has the weights of the new one's shapes.

    Raises:
        UserError: when there is no such finished run, or its model is built otherwise.
    """
    first = load_run(config.init_from, "translation", Config)
    refuse_other_shapes(config, first.config, _SAME)
    return first
