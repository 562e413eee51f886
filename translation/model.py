"""The Transformer that translates: pre-norm blocks, shared embeddings, one mechanism per site."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from typing import Any, Literal

import keras
from keras import ops

from attention_apps.attention.blocks import DecoderBlock, EncoderBlock
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.positions import SinusoidalPositions
from attention_apps.attention.reporting import listening
from attention_apps.running.side_by_side import side_by_side
from translation.config import Config
from translation.losses import guided_attention
from translation.pretrained import PretrainedEncoder, read_encoder
from translation.recurrent import RecurrentTranslator
from translation.self_critical import SelfCriticalTranslator
from translation.words import PAD


@keras.saving.register_keras_serializable("attention_apps.translation")
class Translator(SelfCriticalTranslator):
    """Encoder and decoder over one table of subword embeddings, which is also the output layer.

    Args:
        vocabulary_size: number of subwords.
        dim: size of embeddings and blocks.
        num_heads: number of attention heads.
        feedforward_dim: size of the inner feed-forward layers.
        num_encoder_layers: number of encoder blocks.
        num_decoder_layers: number of decoder blocks.
        encoder_attention: attention among source tokens, as a flag names it.
        decoder_attention: attention among target tokens.
        cross_attention: attention of target tokens to source tokens.
        pretrained: reads the source in place of encoder blocks of the model's own; None has those.
        dropout_rate: share dropped in training.
        alignment_weight: weight of the loss that guides one head, the first of the middle decoder
            block, to look at the word which its input comes from.
        **kwargs: Keras's model arguments.

    Call arguments:
        inputs: `source` `(batch, source)` and `previous` `(batch, target)`, ids padded with 0;
            `previous` is the target shifted right, beginning with the start token. To guide
            attention also `source_words` and `linked_words`, see `losses.guided_attention`.
        training: whether to drop.

    Returns:
        Logits `(batch, target, vocabulary)`.

    Reference: Vaswani et al. 2017, "Attention Is All You Need".
    """

    alignment_step: Literal["raw", "shifted"] = "shifted"
    """A block looks where a word comes from in the step in which that word is its input."""

    def __init__(
        self,
        *,
        vocabulary_size: int,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        num_encoder_layers: int,
        num_decoder_layers: int,
        encoder_attention: str = "full",
        decoder_attention: str = "full",
        cross_attention: str = "full",
        pretrained: PretrainedEncoder | None = None,
        dropout_rate: float = 0.0,
        alignment_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pretrained = pretrained
        self.vocabulary_size = vocabulary_size
        self.dim = dim
        self.num_heads = num_heads
        self.feedforward_dim = feedforward_dim
        self.num_encoder_layers = num_encoder_layers
        self.num_decoder_layers = num_decoder_layers
        self.encoder_attention = encoder_attention
        self.decoder_attention = decoder_attention
        self.cross_attention = cross_attention
        self.dropout_rate = dropout_rate
        self.alignment_weight = alignment_weight
        sizes = {
            "num_heads": num_heads,
            "key_dim": dim // num_heads,
            "feedforward_dim": feedforward_dim,
            "dropout_rate": dropout_rate,
            "dtype": self.dtype_policy,
        }
        encoder_mechanism = parse_mechanism(encoder_attention)
        decoder_mechanism = parse_mechanism(decoder_attention)
        self.embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=dim**-0.5),
            dtype=self.dtype_policy,
            name="embedding",
        )
        # Rotary positions act inside attention; adding sinusoids as well would say it twice.
        self.source_positions = _positions(encoder_mechanism, "source_positions", self.dtype_policy)
        self.target_positions = _positions(decoder_mechanism, "target_positions", self.dtype_policy)
        self.embedding_dropout = keras.layers.Dropout(dropout_rate, dtype=self.dtype_policy)
        self.encoder = [
            EncoderBlock(mechanism=encoder_mechanism, name=f"encoder_{index}", **sizes)
            for index in range(num_encoder_layers if pretrained is None else 0)
        ]
        self.decoder = [
            DecoderBlock(
                mechanism=decoder_mechanism,
                cross_mechanism=parse_mechanism(cross_attention),
                name=f"decoder_{index}",
                **sizes,
            )
            for index in range(num_decoder_layers)
        ]
        self.encoder_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=self.dtype_policy, name="encoder_norm"
        )
        self.decoder_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=self.dtype_policy, name="decoder_norm"
        )

    def build(self, input_shape: Any = None) -> None:
        """Create all weights, whatever the lengths."""
        shape = (None, None, self.dim)
        self.embedding.build((None, None))
        if self.pretrained is not None and not self.pretrained.built:
            self.pretrained.build((None, None))
        for block in self.encoder:
            block.build(shape)
        for block in self.decoder:
            block.build(shape, shape)
        self.encoder_norm.build(shape)
        self.decoder_norm.build(shape)
        self.built = True

    def _embed(self, ids: Any, positions: Any, start: Any, training: bool | None) -> Any:
        embeddings = self.embedding(ids) * ops.cast(math.sqrt(self.dim), self.compute_dtype)
        if positions is not None:
            embeddings = positions(embeddings, start=start)
        return self.embedding_dropout(embeddings, training=training)

    def encode(self, source: Any, training: bool | None = None) -> tuple[Any, Any]:
        """Read the source.

        Args:
            source: `(batch, source)` ids padded with 0.
            training: whether to drop.

        Returns:
            Encoded `(batch, source, dim)` and its key mask `(batch, source)`.
        """
        key_mask = ops.not_equal(source, PAD)
        if self.pretrained is not None:
            return self.encoder_norm(self.pretrained(source, training=training)), key_mask
        x = self._embed(source, self.source_positions, 0, training)
        for block in self.encoder:
            x = block(x, key_mask=key_mask, training=training)
        return self.encoder_norm(x), key_mask

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """Predict every target token from the source and the tokens before it.

        In training with a `reward` these are tokens that the model draws itself, see
        `own_translations`.
        """
        if training and self.reward is not None:
            return self.own_translations(inputs)
        guided = self.decoder[len(self.decoder) // 2].cross_attention
        guides = "linked_words" in inputs

        def predict(part: dict[str, Any]) -> list[Any]:
            encoded, key_mask = self.encode(part["source"], training)
            found: list[Any] = []

            def guide(layer: Any, weights: Any) -> None:
                if layer is guided:
                    found.append(weights[:, 0])

            with listening(guide) if guides else nullcontext():
                return [self.decode(part["previous"], encoded, key_mask, training), *found]

        logits, *found = side_by_side(predict, inputs, self.batch_parts if training else 1)
        if guides:
            weights = found[0]
            loss = guided_attention(weights, inputs["source_words"], inputs["linked_words"])
            self.add_loss(self.alignment_weight * loss)
        return logits

    def decode(
        self, previous: Any, encoded: Any, key_mask: Any, training: bool | None = None
    ) -> Any:
        """Predict every target token from what was encoded and the tokens before it.

        Args:
            previous: `(batch, target)` ids, the target shifted right.
            encoded: `(batch, source, dim)`, as `encode` gave it.
            key_mask: `(batch, source)`, as `encode` gave it.
            training: whether to drop.

        Returns:
            Logits `(batch, target, vocabulary)`.
        """
        return self.logits(self.decoder_states(previous, encoded, key_mask, training))

    def decoder_states(
        self, previous: Any, encoded: Any, key_mask: Any, training: bool | None = None
    ) -> Any:
        """What the logits of every target token are read off, `(batch, target, dim)`.

        Args:
            previous, encoded, key_mask, training: as in `decode`.
        """
        x = self._embed(previous, self.target_positions, 0, training)
        for block in self.decoder:
            x = block(x, encoded, encoded_mask=key_mask, training=training)
        return self.decoder_norm(x)

    def logits(self, states: Any) -> Any:
        """Predict tokens from the decoder's states: `(..., dim)` to `(..., vocabulary)`."""
        return self.embedding(states, reverse=True)

    def begin(
        self, source: Any, max_length: int, *, growing: bool = False
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Prepare decoding: read the source and project it for every decoder block.

        Args:
            source: `(batch, source)` ids padded with 0.
            max_length: most tokens that will be decoded.
            growing: whether caches may grow, see `MultiHeadAttention.empty_cache`.

        Returns:
            The state before the first step and the encoded source, as `step` takes them.
        """
        encoded, key_mask = self.encode(source, False)
        batch_size = ops.shape(source)[0]
        state = {
            "position": ops.zeros((), dtype="int32"),
            "caches": [
                block.self_attention.empty_cache(batch_size, max_length, growing=growing)
                for block in self.decoder
            ],
        }
        projected = [
            block.cross_attention.project(encoded, key_mask=key_mask) for block in self.decoder
        ]
        return state, {"projected": projected, "key_mask": key_mask}

    def step(self, state: Any, tokens: Any, encoded: Any) -> tuple[Any, Any, Any]:
        """Predict the next token of every hypothesis; equals `call` at that position.

        Args:
            state: as `begin` or the last step gave it.
            tokens: `(batch,)` ids of the tokens chosen last.
            encoded: as `begin` gave it.

        Returns:
            Logits `(batch, vocabulary)`, the next state, and the weights of every cross-attention
            `(batch, layers, heads, source)`.
        """
        states, state, weights = self.step_states(state, tokens, encoded)
        return self.logits(states), state, weights

    def step_states(self, state: Any, tokens: Any, encoded: Any) -> tuple[Any, Any, Any]:
        """Read the tokens chosen last; equals `decoder_states` at that position.

        Args:
            state, tokens, encoded: as in `step`.

        Returns:
            The decoder's states `(batch, dim)`, and the next state and the weights as in `step`.
        """
        position = state["position"]
        x = self._embed(tokens[:, None], self.target_positions, position, False)
        caches, maps = [], []
        for block, cache, projected in zip(
            self.decoder, state["caches"], encoded["projected"], strict=True
        ):
            x, cache, weights = block.step(x, cache, position, projected, encoded["key_mask"])
            caches.append(cache)
            maps.append(weights[:, :, 0])
        states = self.decoder_norm(x)[:, 0]
        return states, {"position": position + 1, "caches": caches}, ops.stack(maps, axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this model again."""
        names = (
            "vocabulary_size",
            "dim",
            "num_heads",
            "feedforward_dim",
            "num_encoder_layers",
            "num_decoder_layers",
            "encoder_attention",
            "decoder_attention",
            "cross_attention",
            "dropout_rate",
            "alignment_weight",
        )
        pretrained = self.pretrained
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            "pretrained": pretrained and keras.saving.serialize_keras_object(pretrained),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Translator:
        """Build the model from what `get_config` returned."""
        pretrained = config.get("pretrained")
        if isinstance(pretrained, dict):
            pretrained = keras.saving.deserialize_keras_object(pretrained)
        return cls(**{**config, "pretrained": pretrained})


def _positions(mechanism: Any, name: str, dtype: Any) -> SinusoidalPositions | None:
    return SinusoidalPositions(dtype=dtype, name=name) if mechanism.position is None else None


def build_model(config: Config) -> keras.Model:
    """Build the room's model with weights drawn from Keras's global seed.

    Args:
        config: the room's configuration.

    Returns:
        The built `Translator` or `RecurrentTranslator`; its compute precision is the
        configuration's.

    Raises:
        ValueError: for an attention that is unknown or does not fit its site.
    """
    sizes: dict[str, Any] = {
        "vocabulary_size": config.vocabulary_size,
        "dim": config.dim,
        "num_encoder_layers": config.num_encoder_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "cross_attention": config.cross_attention,
        "dropout_rate": config.dropout_rate,
        "alignment_weight": config.alignment_weight,
        "dtype": config.precision,
        "name": "translator",
    }
    model: keras.Model
    if config.model == "rnn":
        model = RecurrentTranslator(
            cell=config.rnn_cell, input_feeding=config.input_feeding, **sizes
        )
    else:
        model = Translator(
            num_heads=config.num_heads,
            feedforward_dim=config.feedforward_dim,
            encoder_attention=config.encoder_attention,
            decoder_attention=config.decoder_attention,
            pretrained=read_encoder(config) if config.encoder_preset else None,
            **sizes,
        )
    model.build()
    model.batch_parts = config.batch_parts
    model.max_length = config.max_length
    return model


def in_float32(model: keras.Model) -> Any:
    """Build a model again that computes in float32, with weights of its own.

    Args:
        model: a `Translator` or `RecurrentTranslator`.

    Returns:
        The same with the same weights.
    """
    config = {**model.get_config(), "dtype": "float32"}
    if config.get("pretrained") is not None:
        layer = copy.deepcopy(config["pretrained"])
        layer["config"]["dtype"] = layer["config"]["backbone"]["config"]["dtype"] = "float32"
        config["pretrained"] = layer
    again = type(model).from_config(config)
    again.build()
    again.set_weights(model.get_weights())
    return again
