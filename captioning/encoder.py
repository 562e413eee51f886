"""Encoders of pictures: a small CNN, pretrained ones of keras.applications and of keras-hub."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
from keras import ops

from attention_apps.running.presets import from_preset
from captioning.config import Config

# Name -> the model of keras.applications, and how it wants pixels of 0 to 255: scale and offset.
APPLICATIONS: dict[str, tuple[str, float, float]] = {
    "mobilenet_v2": ("MobileNetV2", 1 / 127.5, -1.0),
    "resnet50_v2": ("ResNet50V2", 1 / 127.5, -1.0),
    "efficientnet_v2_b0": ("EfficientNetV2B0", 1.0, 0.0),
}
FINE, COARSE = 16, 32
"""Pixels of a cell's side in a pretrained encoder."""


def build_encoder(config: Config, *, pretrained: bool = True) -> keras.Model:
    """Build the encoder that a configuration names.

    Args:
        config: the room's configuration.
        pretrained: whether to read the pretrained weights.

    Returns:
        A model from pixels `(batch, size, size, 3)` of 0 to 255 to a list of grids
        `(batch, rows, columns, channels)`, fine before coarse.

    Raises:
        ValueError: for weights that are missing or of another architecture, in one sentence.
    """
    if config.encoder == "cnn":
        return _small_cnn(config)
    size = config.image_size
    pixels = keras.Input((size, size, 3), name="pixels", dtype="float32")
    if config.encoder.startswith("hub:"):
        preset = config.encoder.removeprefix("hub:")
        backbone, scale, offset = _hub_backbone(preset, size, pretrained)
    else:
        name, scale, offset = APPLICATIONS[config.encoder]
        backbone = _application(config, name, pretrained)
    strides = {"fine": (FINE,), "coarse": (COARSE,), "both": (FINE, COARSE)}[config.grid]
    grids = [_last_layer_with(backbone, stride, size) for stride in strides]
    features = keras.Model(backbone.inputs, grids, name="backbone")
    scaled = keras.layers.Rescaling(scale, offset, dtype="float32", name="scaling")(pixels)
    outputs = features(scaled)
    return keras.Model(pixels, outputs if len(grids) > 1 else [outputs], name="encoder")


def read_grids(encoder: keras.Model, pixels: Any) -> tuple[Any, ...]:
    """Read pictures; statistics of the pretrained normalisation stay, also in training.

    Args:
        encoder: as `build_encoder` made it.
        pixels: `(batch, size, size, 3)` of 0 to 255.

    Returns:
        Its grids, of which Keras hands out one alone as it is.
    """
    grids = encoder(ops.cast(pixels, "float32"), training=False)
    return tuple(grids) if isinstance(grids, list | tuple) else (grids,)


def _small_cnn(config: Config) -> keras.Model:
    """Four convolutions that leave cells of 8 pixels, trained from scratch.

    A cell sees itself and three pixels around it, and is normalised by itself: one that sees more
    can tell of an object that lies beside it, and attention then settles beside the object. It is
    the mean of four finer cells, so that none of its corners counts more than the others.
    """
    pixels = keras.Input((config.image_size, config.image_size, 3), name="pixels", dtype="float32")
    options: dict[str, Any] = {"padding": "same", "dtype": config.precision}
    x = keras.layers.Rescaling(1 / 127.5, -1.0, dtype="float32", name="scaling")(pixels)
    for index, (filters, kernel, stride) in enumerate(
        ((32, 4, 2), (96, 4, 2), (128, 1, 1), (128, 1, 1))
    ):
        x = keras.layers.Conv2D(
            filters, kernel, strides=stride, use_bias=False, name=f"convolution_{index}", **options
        )(x)
        x = keras.layers.LayerNormalization(dtype=config.precision, name=f"norm_{index}")(x)
        x = keras.layers.Activation("relu", dtype=config.precision)(x)
    x = keras.layers.AveragePooling2D(2, dtype=config.precision, name="cells")(x)
    return keras.Model(pixels, [x], name="encoder")


def _application(config: Config, name: str, pretrained: bool) -> keras.Model:
    build = getattr(keras.applications, name)
    shape = (config.image_size, config.image_size, 3)
    options = {"include_preprocessing": True} if name.startswith("EfficientNet") else {}
    if not pretrained:
        return build(include_top=False, weights=None, input_shape=shape, **options)
    weights = config.encoder_weights or "imagenet"
    if config.encoder_weights and not Path(weights).is_file():
        raise ValueError(f"--encoder-weights must be a weights file. Received: {weights}")
    if weights == "imagenet":
        try:
            return build(include_top=False, weights="imagenet", input_shape=shape, **options)
        except Exception as error:
            raise ValueError(
                f"The ImageNet weights of {name} could not be fetched "
                f"({str(error).splitlines()[0]}). Pass a file of them as --encoder-weights"
            ) from error
    backbone = build(include_top=False, weights=None, input_shape=shape, **options)
    try:
        with warnings.catch_warnings():
            # Keras warns of every layer that the file lacks, and raises all the same.
            warnings.simplefilter("ignore")
            backbone.load_weights(weights)
    except Exception as error:  # Keras raises what the file's reader happens to raise
        reason = " ".join(str(error).split())[:160]
        raise ValueError(
            f"--encoder-weights must fit {name} without its top. Received: {weights} ({reason})"
        ) from error
    return backbone


def _hub_backbone(preset: str, size: int, pretrained: bool) -> tuple[keras.Model, Any, Any]:
    import keras_hub

    backbone = from_preset(
        keras_hub.models.Backbone, preset, flag="--encoder hub:PRESET", load_weights=pretrained
    )
    configuration = backbone.get_config()
    if backbone.inputs[0].shape[1] is None and "image_shape" in configuration:
        # Which layer has which cells is known once the size of pictures is.
        fixed = type(backbone).from_config({**configuration, "image_shape": (size, size, 3)})
        fixed.set_weights(backbone.get_weights())
        backbone = fixed
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
        scale = 1.0 if converter.scale is None else converter.scale
        offset = 0.0 if converter.offset is None else converter.offset
    except (ValueError, FileNotFoundError):  # a preset without one: a backbone saved alone
        scale, offset = 1 / 255.0, 0.0
    return backbone, scale, offset


def _last_layer_with(backbone: keras.Model, stride: int, size: int) -> Any:
    """The output of the last layer whose cells have this many pixels a side."""
    side = size // stride
    found = None
    probe = backbone.inputs[0].shape[1]
    for layer in backbone.layers:
        shape = getattr(getattr(layer, "output", None), "shape", ())
        if len(shape) == 4 and shape[1:3] == (side, side):
            found = layer.output
    if found is None:
        raise ValueError(
            f"The encoder has no layer of {side} x {side} cells for --image-size {size} (it reads "
            f"{probe or 'any'} pixels). Choose another --grid or --image-size."
        )
    return found
