"""A finished run to go on from: hard attention from soft attention, another loss, other photos."""

from __future__ import annotations

from typing import Any

from keras import ops

from attention_apps.running.runs import Run, load_run
from attention_apps.running.starting_point import refuse_other_shapes
from captioning.config import Config

_SAME = (
    "encoder",
    "image_size",
    "grid",
    "dim",
    "embedding_dim",
    "num_encoder_layers",
    "num_heads",
    "feedforward_dim",
    "encoder_attention",
    "cross_attention",
    "word_asks",
    "input_feeding",
)
_SAME_TRANSFORMER = ("decoder", "num_decoder_layers", "decoder_attention")


def starting_point(config: Config) -> Run[Config]:
    """Load the run that `init_from` names.

    Args:
        config: of the new run.

    Returns:
        The finished run, whose model has the weights of the new one's shapes. Soft and hard
        attention have the same weights, save that a glimpse of several cells has some of its own.

    Raises:
        UserError: when there is no such finished run, or its model is built otherwise.
    """
    first = load_run(config.init_from, "captioning", Config)
    transformers = "transformer" in (config.decoder, first.config.decoder)
    names = (*_SAME, *_SAME_TRANSFORMER) if transformers else _SAME
    if first.config.hard_glimpse > 1:
        names = (*names, "decoder", "hard_glimpse")
    refuse_other_shapes(config, first.config, names)
    return first


def take_over(model: Any, first: Any) -> None:
    """Give a model the weights of the one it starts from, so that it begins as that one ended.

    Args:
        model: the new one, built. Looks that take in surroundings, where the other's do not, begin
            with taking in nothing of them.
        first: the finished run's.
    """
    new = getattr(model.decoder, "surroundings", None)
    if getattr(first.decoder, "surroundings", None) is not None:
        new = None
    others_lack = set() if new is None else {id(weight) for weight in new.weights}
    shared = [weight for weight in model.weights if id(weight) not in others_lack]
    for weight, value in zip(shared, first.get_weights(), strict=True):
        weight.assign(value)
    if new is not None:
        new.pointwise_kernel.assign(ops.zeros_like(new.pointwise_kernel))
