"""A finished run to go on from with other data."""

from __future__ import annotations

from attention_apps.running.command import UserError
from attention_apps.running.runs import Run, load_run
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
    differing = [name for name in _SAME if getattr(config, name) != getattr(first.config, name)]
    if differing:
        flags = " ".join(
            f"--{name.replace('_', '-')} {getattr(first.config, name)}" for name in differing
        )
        received = ", ".join(str(getattr(config, name)) for name in differing)
        raise UserError(
            f"A run starts from the weights of another only with a model of the same shape: pass "
            f"{flags}. Received: {received}"
        )
    return first
