"""The captioner: an encoder of pictures, regions, and a decoder that attends to them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from attention_apps.attention.blocks import EncoderBlock
from attention_apps.attention.hard import moved_baseline
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.running.cross_entropy import smoothed_cross_entropy, weighted_mean
from attention_apps.running.self_critical import policy_gradient, rewarded
from captioning.config import Config
from captioning.decoders import build_decoder
from captioning.encoder import build_encoder, read_grids
from captioning.losses import (
    doubly_stochastic,
    hard_attention,
    own_cells,
    rewards,
)
from captioning.self_critical import CiderReward, draw_captions
from captioning.words import PAD, START

_FIELDS = (
    "decoder",
    "dim",
    "embedding_dim",
    "num_encoder_layers",
    "num_decoder_layers",
    "num_heads",
    "feedforward_dim",
    "encoder_attention",
    "decoder_attention",
    "cross_attention",
    "word_asks",
    "input_feeding",
    "dropout_rate",
    "word_dropout",
    "max_length",
    "self_critical_epochs",
    "doubly_stochastic_weight",
    "collage_share",
    "collage_weight",
    "hard_estimator",
    "hard_soft_share",
    "hard_temperature",
    "hard_glimpse",
    "hard_reward_weight",
    "hard_entropy_weight",
    "label_smoothing",
    "fine_tune",
)


@keras.saving.register_keras_serializable("attention_apps.captioning")
class CaptionModel(keras.Model):
    """Predicts every word of a caption from the picture and the words before it.

    The cells of the encoder's grids are projected to one size; a coarse grid is laid over a fine
    one. A learned vector of its place is added to every cell.

    Args:
        encoder: a model from pixels of 0 to 255 to a list of grids.
        vocabulary_size: number of words.
        settings: the fields of `Config` that the model reads, by name.
        **kwargs: Keras's model arguments.

    Call arguments:
        inputs: `pixels` `(photos, size, size, 3)` of 0 to 255, or `grids`, a tuple of what the
            encoder gives for them; and `previous` `(photos, captions, words)` ids: each caption
            shifted right, beginning with the start word. Cells that nobody may attend to are False
            in `key_mask` `(photos, cells)`; without it all may be.
        training: whether to drop.

    Returns:
        `logits` `(photos, captions, words, vocabulary)`, and of LSTMs `weights` `(photos, captions,
        layers=1, heads=1, words, cells)`; of hard attention also where was looked. In training with
        a `reward` the captions are those the model draws, `drawn` `(photos, captions, words)`, and
        not the ones that are given.

    Reference: Xu et al. 2015, "Show, Attend and Tell".
    """

    def __init__(
        self,
        *,
        encoder: keras.Model,
        vocabulary_size: int,
        settings: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.settings = dict(settings)
        self.encoder = encoder
        dtype, dim = self.dtype_policy, settings["dim"]
        self.grid_shape: tuple[int, int] = tuple(encoder.outputs[0].shape[1:3])
        self.projections = [
            keras.layers.Dense(dim, dtype=dtype, name=f"projection_{index}")
            for index in range(len(encoder.outputs))
        ]
        self.regions_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=dtype, name="regions_norm"
        )
        self.drop = keras.layers.Dropout(settings["dropout_rate"], dtype=dtype)
        self.blocks = [
            EncoderBlock(
                num_heads=settings["num_heads"],
                key_dim=dim // settings["num_heads"],
                feedforward_dim=settings["feedforward_dim"],
                dropout_rate=settings["dropout_rate"],
                mechanism=parse_mechanism(settings["encoder_attention"]),
                dtype=dtype,
                name=f"encoder_{index}",
            )
            for index in range(settings["num_encoder_layers"])
        ]
        transformer = settings["decoder"] == "transformer"
        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            dim if transformer else settings["embedding_dim"],
            embeddings_initializer=keras.initializers.RandomNormal(
                stddev=1.0 if transformer else 0.1
            ),
            dtype=dtype,
            name="embedding",
        )
        self.word_drop = keras.layers.Dropout(
            settings.get("word_dropout", 0.0), noise_shape=(None, None, None, 1), dtype=dtype
        )
        if settings.get("collage_share"):
            self.chance = keras.random.SeedGenerator()
        self.reward: CiderReward | None = None
        if settings.get("self_critical_epochs"):
            self.draws = keras.random.SeedGenerator()
        self.decoder = build_decoder(settings, dtype)
        self.output_layer = keras.layers.Dense(vocabulary_size, dtype=dtype, name="output")

    def build(self, input_shape: Any = None) -> None:
        """Create all weights, whatever the lengths."""
        dim = self.settings["dim"]
        regions = (None, self.grid_shape[0] * self.grid_shape[1], dim)
        for projection, output in zip(self.projections, self.encoder.outputs, strict=True):
            projection.build(output.shape)
        self.regions_norm.build(regions)
        self.places = self.add_weight(
            name="places",
            shape=regions[1:],
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )
        for block in self.blocks:
            block.build(regions)
        self.embedding.build((None, None))
        self.decoder.build((None, None, None, self.embedding.output_dim), regions)
        self.output_layer.build((None, None, None, dim))
        self.baseline = self.add_weight(
            name="baseline", shape=(), initializer="zeros", trainable=False, dtype="float32"
        )
        self.encoder.trainable = self.settings["fine_tune"]
        self.built = True

    def regions(self, inputs: dict[str, Any], training: bool | None = None) -> tuple[Any, Any]:
        """Read pictures.

        Args:
            inputs: with `pixels` or `grids`, as in a call.
            training: whether to drop.

        Returns:
            Regions `(photos, cells, dim)` and their key mask `(photos, cells)`.
        """
        grids = inputs.get("grids")
        if grids is None:
            grids = read_grids(self.encoder, inputs["pixels"])
        x = None
        for projection, grid in zip(self.projections, grids, strict=True):
            projected = projection(self.drop(ops.cast(grid, self.compute_dtype), training=training))
            x = projected if x is None else x + self._laid_over(projected)
        x = ops.reshape(x, (-1, self.grid_shape[0] * self.grid_shape[1], self.settings["dim"]))
        x = self.regions_norm(x) + ops.cast(self.places, self.compute_dtype)
        key_mask = inputs.get("key_mask")
        if key_mask is None:
            key_mask = ops.ones(ops.shape(x)[:2], dtype="bool")
        for block in self.blocks:
            x = block(x, key_mask=key_mask, training=training)
        return x, key_mask

    def _laid_over(self, coarse: Any) -> Any:
        """Repeat coarse cells so that they lie over the fine ones."""
        times = self.grid_shape[0] // coarse.shape[1]
        return ops.repeat(ops.repeat(coarse, times, axis=1), times, axis=2)

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Predict every word; see the class."""
        regions, key_mask = self.regions(inputs, training)
        has_others = None
        if training and self.settings.get("collage_share"):
            regions, key_mask, has_others = self._beside_others(regions, key_mask)
        drawn, previous = None, inputs["previous"]
        if training and self.reward is not None:
            drawn = draw_captions(self, inputs, self.settings["max_length"], self.draws)
            previous = ops.pad(drawn[..., :-1], ((0, 0), (0, 0), (1, 0)), constant_values=START)
        embedded = self.word_drop(self.embedding(previous), training=training)
        embedded = self.drop(embedded, training=training)
        told = dict(self.decoder(embedded, regions, key_mask, training=training))
        if has_others is not None:
            told["has_others"] = has_others
        if drawn is not None:
            told["drawn"] = drawn
        return {"logits": self.output_layer(told.pop("outputs")), **told}

    def _beside_others(self, regions: Any, key_mask: Any) -> tuple[Any, Any, Any]:
        """Put the cells of the next photo of the batch beside a photo's own.

        Args:
            regions: `(photos, cells, dim)`.
            key_mask: `(photos, cells)`.

        Returns:
            Twice as many regions, their key mask, and `(photos,)` booleans: whether the other's may
            be attended to.
        """
        share = self.settings["collage_share"]
        has_others = keras.random.uniform((ops.shape(regions)[0],), seed=self.chance) < share
        others = ops.roll(key_mask, 1, axis=0) & has_others[:, None]
        regions = ops.concatenate([regions, ops.roll(regions, 1, axis=0)], axis=1)
        return regions, ops.concatenate([key_mask, others], axis=1), has_others

    def begin(self, inputs: dict[str, Any], max_length: int) -> tuple[Any, Any]:
        """Prepare decoding: read the pictures and project them for the decoder.

        Args:
            inputs: with `pixels` or `grids`, as in a call.
            max_length: most words that will be decoded.

        Returns:
            The state before the first step and what `step` attends to.
        """
        return self.decoder.begin(*self.regions(inputs, False), max_length)

    def step(self, state: Any, tokens: Any, encoded: Any) -> tuple[Any, Any, Any]:
        """Predict the next word of every hypothesis; equals `call` at that position.

        Args:
            state: as `begin` or the last step gave it.
            tokens: `(batch,)` ids of the words chosen last.
            encoded: as `begin` gave it.

        Returns:
            Logits `(batch, vocabulary)`, the next state, and weights
            `(batch, layers, heads, cells)`.
        """
        outputs, state, weights = self.decoder.step(state, self.embedding(tokens), encoded)
        return self.output_layer(outputs), state, weights

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Cross-entropy or, with a `reward`, the policy gradient, and what attention adds to it.

        Args:
            x: the inputs.
            y: `(photos, captions, words)` ids to be said.
            y_pred: what the model gave.
            sample_weight: `(photos, captions, words)`, 1 for words and 0 for padding.
            training: whether this is a training step.

        Returns:
            A scalar.
        """
        settings = self.settings
        logits = y_pred["logits"]
        if self.reward is not None and "drawn" in y_pred:
            reward = rewarded(self.reward, y, y_pred["drawn"])
            y, readable = y_pred["drawn"], ops.max(sample_weight, axis=(1, 2), keepdims=True)
            sample_weight = ops.cast(ops.not_equal(y, PAD), "float32") * readable
            loss = policy_gradient(logits, y, reward, sample_weight)
        else:
            losses = smoothed_cross_entropy(logits, y, settings["label_smoothing"])
            loss = weighted_mean(losses, sample_weight)
        if not training:
            return loss
        if "weights" in y_pred and settings["doubly_stochastic_weight"]:
            weights = y_pred["weights"][:, :, 0, 0]
            penalty = doubly_stochastic(weights, sample_weight)
            loss = loss + settings["doubly_stochastic_weight"] * penalty
        if "has_others" in y_pred:
            weights = y_pred["weights"][:, :, 0, 0]
            elsewhere = own_cells(weights, sample_weight, y_pred["has_others"])
            loss = loss + settings["collage_weight"] * elsewhere
        if "looked" in y_pred and settings["hard_estimator"] == "reinforce":
            told = -smoothed_cross_entropy(logits, y)
            drawn = hard_attention(
                told,
                y_pred["weights"][:, :, 0, 0],
                y_pred["looked"],
                sample_weight,
                self.baseline,
                settings["hard_entropy_weight"],
            )
            mean = weighted_mean(rewards(told, sample_weight), sample_weight)
            self.baseline.assign(moved_baseline(self.baseline, mean))
            loss = loss + settings["hard_reward_weight"] * (1.0 - y_pred["is_soft"]) * drawn
        return loss

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this model again."""
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "vocabulary_size": self.vocabulary_size,
            "settings": self.settings,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> CaptionModel:
        """Build the model from what `get_config` returned."""
        encoder = keras.saving.deserialize_keras_object(config["encoder"])
        return cls(**{**config, "encoder": encoder})


def build_model(
    config: Config,
    vocabulary_size: int,
    log_frequencies: np.ndarray | None = None,
    encoder: keras.Model | None = None,
) -> CaptionModel:
    """Build the room's model with weights drawn from Keras's global seed.

    Args:
        config: the room's configuration.
        vocabulary_size: number of words.
        log_frequencies: `(vocabulary,)`, where the output's bias starts; None leaves it at 0.
        encoder: built already; None builds the configuration's with its pretrained weights.

    Returns:
        The built model; its compute precision is the configuration's.

    Raises:
        ValueError: for an attention or an encoder that is unknown or does not fit.
    """
    model = CaptionModel(
        encoder=encoder or build_encoder(config),
        vocabulary_size=vocabulary_size,
        settings={
            **{name: getattr(config, name) for name in _FIELDS},
            "fine_tune": config.fine_tune or not config.uses_pretrained,
        },
        dtype=config.precision,
        name="captioner",
    )
    model.build()
    if log_frequencies is not None:
        model.output_layer.bias.assign(log_frequencies)
    return model
