"""The recurrent translator: a bidirectional encoder, and a decoder that attends in every step."""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
from keras import ops

from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.running.side_by_side import side_by_side
from translation.losses import guided_attention
from translation.recurrent_decoder import RecurrentDecoder
from translation.self_critical import SelfCriticalTranslator
from translation.words import PAD

LAYERS = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}


@keras.saving.register_keras_serializable("attention_apps.translation")
class RecurrentTranslator(SelfCriticalTranslator):
    """Recurrent encoder and decoder over one table of subword embeddings, also the output layer.

    Every encoder layer reads in both directions, each of size `dim`, and joins them to `dim`; those
    behind the first add to what they read.

    Args:
        vocabulary_size: number of subwords.
        dim: size of embeddings and of every state.
        num_encoder_layers: number of bidirectional layers.
        num_decoder_layers: number of cells in a row.
        cell: `gru` or `lstm`.
        cross_attention: attention of the decoder to source tokens, as a flag names it: `additive`
            in Bahdanau's order, any other scoring in Luong's; see `RecurrentDecoder`.
        input_feeding: whether Luong's attentional vector enters the next step.
        dropout_rate: share dropped in training of embeddings, of what is encoded and of what
            predicts the next token.
        alignment_weight: weight of the loss that guides the attention to look, in the step that
            predicts a word, at the word which it comes from (Chen et al. 2016, "Guided Alignment
            Training for Topic-Aware Neural Machine Translation"). With only one head, looking
            where the decoder's input came from would be looking where nothing is left to do.
        **kwargs: Keras's model arguments.

    Call arguments, returns: as `Translator`.

    Reference: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and
    Translate"; Luong et al. 2015, "Effective Approaches to Attention-based NMT".
    """

    alignment_step: Literal["raw", "shifted"] = "raw"
    """The one head looks where a word comes from in the step in which that word is predicted."""

    def __init__(
        self,
        *,
        vocabulary_size: int,
        dim: int,
        num_encoder_layers: int,
        num_decoder_layers: int,
        cell: str = "gru",
        cross_attention: str = "full",
        input_feeding: bool = True,
        dropout_rate: float = 0.0,
        alignment_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.dim = dim
        self.num_encoder_layers = num_encoder_layers
        self.num_decoder_layers = num_decoder_layers
        self.cell = cell
        self.cross_attention = cross_attention
        self.input_feeding = input_feeding
        self.dropout_rate = dropout_rate
        self.alignment_weight = alignment_weight
        self.embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size,
            dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=dim**-0.5),
            dtype=self.dtype_policy,
            name="embedding",
        )
        self.drop = keras.layers.Dropout(dropout_rate, dtype=self.dtype_policy)
        self.encoder = [
            # cuDNN takes no sentence that is all padding, and no mask but padding at the end.
            keras.layers.Bidirectional(
                LAYERS[cell](
                    dim, return_sequences=True, use_cudnn=False, dtype=self.dtype_policy, name=cell
                ),
                dtype=self.dtype_policy,
                name=f"encoder_{index}",
            )
            for index in range(num_encoder_layers)
        ]
        self.join = [
            keras.layers.Dense(dim, dtype=self.dtype_policy, name=f"join_{index}")
            for index in range(num_encoder_layers)
        ]
        # Named as the Transformer's blocks are: those who read the attention look for this name.
        self.decoder = RecurrentDecoder(
            dim=dim,
            num_layers=num_decoder_layers,
            cell=cell,
            mechanism=parse_mechanism(cross_attention),
            input_feeding=input_feeding,
            dtype=self.dtype_policy,
            name="decoder_0",
        )

    def build(self, input_shape: Any = None) -> None:
        """Create all weights, whatever the lengths."""
        shape = (None, None, self.dim)
        self.embedding.build((None, None))
        for layer, join in zip(self.encoder, self.join, strict=True):
            layer.build(shape)
            join.build((None, None, 2 * self.dim))
        self.decoder.build(shape, shape)
        self.built = True

    def _embed(self, ids: Any, training: bool | None) -> Any:
        embeddings = self.embedding(ids) * ops.cast(math.sqrt(self.dim), self.compute_dtype)
        return self.drop(embeddings, training=training)

    def logits(self, states: Any, training: bool | None = None) -> Any:
        """Predict tokens from the decoder's states: `(..., dim)` to `(..., vocabulary)`."""
        return self.embedding(self.drop(states, training=training), reverse=True)

    def encode(self, source: Any, training: bool | None = None) -> tuple[Any, Any]:
        """Read the source.

        Args:
            source: `(batch, source)` ids padded with 0.
            training: whether to drop.

        Returns:
            Encoded `(batch, source, dim)` and its key mask `(batch, source)`.
        """
        key_mask = ops.not_equal(source, PAD)
        x = self._embed(source, training)
        for index, (layer, join) in enumerate(zip(self.encoder, self.join, strict=True)):
            joined = join(layer(x, mask=key_mask))
            x = joined if index == 0 else x + joined
        return self.drop(x, training=training), key_mask

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """Predict every target token from the source and the tokens before it.

        In training with a `reward` these are tokens that the model draws itself, see
        `own_translations`.
        """
        if training and self.reward is not None:
            return self.own_translations(inputs)

        def predict(part: dict[str, Any]) -> tuple[Any, Any]:
            encoded, key_mask = self.encode(part["source"], training)
            return self._decode(part["previous"], encoded, key_mask, training)

        logits, weights = side_by_side(predict, inputs, self.batch_parts if training else 1)
        if "linked_words" in inputs:
            # Row t reads the word that row t - 1 predicted.
            loss = guided_attention(
                weights[:, 0, :-1], inputs["source_words"], inputs["linked_words"][:, 1:]
            )
            self.add_loss(self.alignment_weight * loss)
        return logits

    def _decode(
        self, previous: Any, encoded: Any, key_mask: Any, training: bool | None
    ) -> tuple[Any, Any]:
        embedded = self._embed(previous, training)
        states, weights = self.decoder(embedded, encoded, key_mask)
        return self.logits(states, training), weights

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
        return self._decode(previous, encoded, key_mask, training)[0]

    def decoder_states(
        self, previous: Any, encoded: Any, key_mask: Any, training: bool | None = None
    ) -> Any:
        """What the logits of every target token are read off, `(batch, target, dim)`.

        Args:
            previous, encoded, key_mask, training: as in `decode`.
        """
        return self.decoder(self._embed(previous, training), encoded, key_mask)[0]

    def begin(
        self, source: Any, max_length: int, *, growing: bool = False
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Prepare decoding: read the source and project it for the decoder's attention.

        Args:
            source: `(batch, source)` ids padded with 0.
            max_length: most tokens that will be decoded; the states do not grow with it.
            growing: not used; there are no caches.

        Returns:
            The state before the first step and the encoded source, as `step` takes them.
        """
        return self.decoder.begin(*self.encode(source, False))

    def step(self, state: Any, tokens: Any, encoded: Any) -> tuple[Any, Any, Any]:
        """Predict the next token of every hypothesis; equals `call` at that position.

        Args:
            state: as `begin` or the last step gave it.
            tokens: `(batch,)` ids of the tokens chosen last.
            encoded: as `begin` gave it.

        Returns:
            Logits `(batch, vocabulary)`, the next state, and the weights
            `(batch, layers=1, heads=1, source)`.
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
        embedded = self._embed(tokens, False)
        state = self.decoder.advance(state, embedded, encoded)
        return self.decoder.outputs(state, embedded), state, state["weights"]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this model again."""
        names = (
            "vocabulary_size",
            "dim",
            "num_encoder_layers",
            "num_decoder_layers",
            "cell",
            "cross_attention",
            "input_feeding",
            "dropout_rate",
            "alignment_weight",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
