"""A pretrained text model of keras-hub as the encoder of a translator."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attention_apps.running.command import UserError
from attention_apps.running.presets import from_preset
from translation.config import Config
from translation.preset_tokens import FLAG, PresetTokens
from translation.words import PAD


@keras.saving.register_keras_serializable("attention_apps.translation")
class PretrainedEncoder(keras.layers.Layer):
    """A text backbone whose answers are projected to the size of the decoder.

    Args:
        backbone: of keras-hub, from `token_ids` and `padding_mask` to a vector for every token; or
            the serialised form of one.
        num_tokens: number of the tokenizer's tokens, see `PresetTokens`.
        dim: size of the decoder's blocks.
        trained: whether training changes the backbone.
        **kwargs: Keras's layer arguments.

    Call arguments:
        source: `(batch, source)` ids as `PresetTokens` gives them, padded with 0.
        training: whether to drop.

    Returns:
        `(batch, source, dim)`.
    """

    def __init__(
        self, backbone: Any, num_tokens: int, dim: int, *, trained: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(backbone, dict):
            backbone = keras.saving.deserialize_keras_object(backbone)
        self.backbone = backbone
        # What serves only a vector of the whole text would get no gradient.
        asked = keras.Model(backbone.input, _encoded(backbone.output)).layers
        for layer in backbone.layers:
            layer.trainable = trained and any(layer is one for one in asked)
        self.num_tokens = num_tokens
        self.dim = dim
        self.trained = trained
        self.projection = keras.layers.Dense(dim, dtype=self.dtype_policy, name="projection")

    def build(self, source_shape: Any = None) -> None:
        """Create the weights of the projection; the backbone has its own."""
        self.projection.build((None, None, _encoded(self.backbone.output).shape[-1]))
        self.built = True

    def call(self, source: Any, training: bool | None = None) -> Any:
        """Read the source."""
        known = ops.not_equal(source, PAD)
        inputs = {
            "token_ids": ops.where(known, (source - 1) % self.num_tokens, 0),
            "padding_mask": ops.cast(known, "int32"),
            "segment_ids": ops.zeros_like(source),
        }
        wanted = {name: inputs[name] for name in self.backbone.input}
        return self.projection(_encoded(self.backbone(wanted, training=training)))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this layer again."""
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_tokens": self.num_tokens,
            "dim": self.dim,
            "trained": self.trained,
        }


def _encoded(output: Any) -> Any:
    """What a backbone says of every token; some also give one vector of the whole."""
    return output["sequence_output"] if isinstance(output, dict) else output


def read_encoder(config: Config) -> PretrainedEncoder:
    """Read the encoder that a configuration names.

    Args:
        config: `encoder_preset`, `train_encoder`, `dim`, `max_length` and `precision` are used.

    Returns:
        The encoder.

    Raises:
        UserError: when it cannot be read, does not encode text or reads too short texts.
    """
    import keras_hub

    backbone = from_preset(
        keras_hub.models.Backbone, config.encoder_preset, flag=FLAG, dtype=config.precision
    )
    names = set(backbone.input) if isinstance(backbone.input, dict) else set()
    if not {"token_ids", "padding_mask"} <= names or not names <= {
        "token_ids",
        "padding_mask",
        "segment_ids",
    }:
        raise UserError(
            f"{FLAG} must name an encoder of text. Received: {config.encoder_preset}, a "
            f"{type(backbone).__name__} that reads {', '.join(sorted(names)) or 'something else'}"
        )
    longest = getattr(backbone, "max_sequence_length", None)
    if longest is not None and longest < config.max_length:
        raise UserError(
            f"--max-length must be at most the {longest} tokens that {config.encoder_preset} "
            f"reads. Received: {config.max_length}"
        )
    return PretrainedEncoder(
        backbone,
        PresetTokens(config.encoder_preset).size,
        config.dim,
        trained=config.train_encoder,
        dtype=config.precision,
        name="pretrained_encoder",
    )
