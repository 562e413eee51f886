"""Transformers over histories: SASRec looks back from every item, BERT4Rec from both sides."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from attention_apps.attention.blocks import CausalBlock, EncoderBlock
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.positions import LearnedPositions
from recommendation.config import Config
from recommendation.losses import Loss
from recommendation.relative_time import RelativeTime

PAD = 0


@keras.saving.register_keras_serializable("attention_apps.recommendation")
class Recommender(keras.Model):
    """From histories to a vector each, which is compared with the vectors of all items.

    Items are numbered from 1; one table holds their vectors at both ends. Histories stand at the
    right, so that positions are counted from the latest item whatever the padding before it.

    Args:
        num_items: size of the catalogue.
        kind: `sasrec` (causal, every item predicts the next) or `bert4rec` (both sides, an item
            that is hidden is predicted).
        max_length: most items of a history.
        dim: size of embeddings and blocks.
        num_heads: number of attention heads.
        feedforward_dim: size of the inner feed-forward layers.
        num_blocks: number of blocks.
        attention: attention among items, as a flag names it.
        time_bias: whether attention knows how long ago an item was taken.
        dropout_rate: share dropped in training.
        attention_dropout_rate: share of attention weights dropped in training.
        cosine: compare directions alone.
        temperature: what scores are divided by.
        **kwargs: Keras's model arguments.

    Call arguments:
        inputs: `history` `(batch, length)` item numbers, padded with 0 in front, and `places`
            `(targets,)` int32: where in the flattened histories something is to be predicted. With
            `time_bias` also `times` `(batch, length)` int32, seconds from any one moment.
        training: whether to drop.

    Returns:
        `(targets, dim)` hidden states, one for each place.

    Reference: Kang and McAuley 2018, "Self-Attentive Sequential Recommendation"; Sun et al. 2019,
    "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
    Transformer"; with pre-norm blocks.
    """

    def __init__(
        self,
        *,
        num_items: int,
        kind: str,
        max_length: int,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        num_blocks: int,
        attention: str = "full",
        time_bias: bool = False,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        cosine: bool = False,
        temperature: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_items = num_items
        self.kind = kind
        self.max_length = max_length
        self.dim = dim
        self.num_heads = num_heads
        self.feedforward_dim = feedforward_dim
        self.num_blocks = num_blocks
        self.attention = attention
        self.time_bias = time_bias
        self.dropout_rate = dropout_rate
        self.attention_dropout_rate = attention_dropout_rate
        self.cosine = cosine
        self.temperature = temperature
        self.objective: Loss | None = None
        mechanism = parse_mechanism(attention)
        # Row 0 is padding, the last one stands for an item that is hidden.
        self.embedding = keras.layers.Embedding(
            num_items + 2,
            dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=dim**-0.5),
            dtype=self.dtype_policy,
            name="embedding",
        )
        # Rotary positions act inside attention; adding learned ones as well would say it twice.
        self.positions = (
            LearnedPositions(
                self.longest,
                initializer=keras.initializers.RandomNormal(stddev=0.02),
                dtype=self.dtype_policy,
                name="positions",
            )
            if mechanism.position is None
            else None
        )
        self.embedding_dropout = keras.layers.Dropout(dropout_rate, dtype=self.dtype_policy)
        block = CausalBlock if kind == "sasrec" else EncoderBlock
        self.blocks = [
            block(
                num_heads=num_heads,
                key_dim=dim // num_heads,
                feedforward_dim=feedforward_dim,
                dropout_rate=dropout_rate,
                attention_dropout_rate=attention_dropout_rate,
                mechanism=mechanism,
                dtype=self.dtype_policy,
                name=f"block_{index}",
            )
            for index in range(num_blocks)
        ]
        self.time_biases = [
            RelativeTime(num_heads, dtype=self.dtype_policy, name=f"time_{index}")
            for index in range(num_blocks if time_bias else 0)
        ]
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=self.dtype_policy, name="norm"
        )

    @property
    def mask_id(self) -> int:
        """The number that stands for a hidden item."""
        return self.num_items + 1

    @property
    def longest(self) -> int:
        """Most positions: those of a history and, for bert4rec, of the item to be guessed."""
        return self.max_length + (self.kind == "bert4rec")

    def build(self, input_shape: Any = None) -> None:
        """Create all weights, whatever the lengths."""
        shape = (None, None, self.dim)
        self.embedding.build((None, None))
        if self.positions is not None:
            self.positions.build(shape)
        for block in self.blocks:
            block.build(shape)
        for bias in self.time_biases:
            bias.build((None, None))
        self.norm.build(shape)
        self.built = True

    def encode(self, history: Any, times: Any = None, training: bool | None = None) -> Any:
        """Read histories.

        Args:
            history: `(batch, length)` item numbers, padded with 0 in front.
            times: `(batch, length)` int32 seconds, with `time_bias`.
            training: whether to drop.

        Returns:
            `(batch, length, dim)`.
        """
        key_mask = ops.not_equal(history, PAD)
        x = self.embedding(history) * ops.cast(math.sqrt(self.dim), self.compute_dtype)
        if self.positions is not None:
            # The latest item stands at the last learned position.
            length = history.shape[1] or ops.shape(history)[1]
            x = self.positions(x, start=self.longest - length)
        x = self.embedding_dropout(x, training=training)
        for index, block in enumerate(self.blocks):
            bias = self.time_biases[index](times) if self.time_bias else None
            x = block(x, key_mask=key_mask, score_bias=bias, training=training)
        return self._direction(self.norm(x))

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """Read histories and give the hidden states of the places that predict."""
        encoded = self.encode(inputs["history"], inputs.get("times"), training)
        return ops.take(ops.reshape(encoded, (-1, self.dim)), inputs["places"], axis=0)

    def question(self, history: Any, times: Any = None) -> dict[str, Any]:
        """What to ask the model to hear of the next item.

        Args:
            history: `(batch, length)` item numbers, padded with 0 in front, at most `max_length`.
            times: `(batch, length)` int32 seconds, with `time_bias`.

        Returns:
            The inputs of `call`, one place for each history: its last item, or the hidden item
            that bert4rec is to guess behind it.
        """
        if self.kind == "bert4rec":
            hidden_item = ops.full_like(history[:, :1], self.mask_id)
            history = ops.concatenate([history, hidden_item], axis=1)
            if times is not None:  # when it will be taken is not known: the last time stands for it
                times = ops.concatenate([times, times[:, -1:]], axis=1)
        rows, length = ops.shape(history)[0], ops.shape(history)[1]
        places = ops.arange(1, rows + 1, dtype="int32") * length - 1
        inputs = {"history": history, "places": places}
        return inputs if times is None else {**inputs, "times": times}

    def next_hidden(self, history: Any, times: Any = None) -> Any:
        """What the vectors of items are compared with to tell the next one.

        Args:
            history: `(batch, length)` item numbers, padded with 0 in front, at most `max_length`.
            times: `(batch, length)` int32 seconds, with `time_bias`.

        Returns:
            `(batch, dim)`.
        """
        return self(self.question(history, times), training=False)

    def begin_with(self, vectors: Any) -> None:
        """Set the vectors of all items, `(items, dim)`, item 1 first."""
        table = ops.convert_to_tensor(self.embedding.embeddings)
        parts = [table[:1], ops.cast(vectors, table.dtype), table[self.mask_id :]]
        self.embedding.embeddings.assign(ops.concatenate(parts))

    def item_vectors(self) -> Any:
        """The vectors that hidden states are compared with, `(items, dim)`, item 1 first."""
        table = ops.convert_to_tensor(self.embedding.embeddings)[1 : self.num_items + 1]
        return self._direction(ops.cast(table, self.compute_dtype), tempered=False)

    def scores(self, hidden: Any) -> Any:
        """How well every item fits.

        Args:
            hidden: `(batch, dim)`.

        Returns:
            `(batch, items)` float32, item 1 first.
        """
        return ops.cast(ops.matmul(hidden, ops.transpose(self.item_vectors())), "float32")

    def _direction(self, vectors: Any, *, tempered: bool = True) -> Any:
        if self.cosine:
            wide = ops.cast(vectors, "float32")
            squares = ops.sum(ops.square(wide), axis=-1, keepdims=True)
            vectors = ops.cast(wide * ops.rsqrt(squares + 1e-12), vectors.dtype)
        if tempered and self.temperature != 1.0:
            vectors = vectors * ops.cast(1.0 / self.temperature, vectors.dtype)
        return vectors

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The objective: hidden states against the vectors of items, which no output holds."""
        if self.objective is None:
            raise ValueError("Set `objective`, a loss of losses.py, before the model is trained.")
        return self.objective(
            y_pred,
            self.item_vectors(),
            ops.cast(y, "int32") - 1,
            ops.cast(sample_weight, "float32"),
            x["negatives"] - 1 if "negatives" in x else None,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this model again."""
        names = (
            "num_items",
            "kind",
            "max_length",
            "dim",
            "num_heads",
            "feedforward_dim",
            "num_blocks",
            "attention",
            "time_bias",
            "dropout_rate",
            "attention_dropout_rate",
            "cosine",
            "temperature",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def build_model(config: Config, num_items: int) -> Recommender:
    """Build the room's model with weights drawn from Keras's global seed.

    Args:
        config: the room's configuration.
        num_items: size of the catalogue.

    Returns:
        The built model.

    Raises:
        ValueError: for an attention that is unknown or makes no sense.
    """
    model = Recommender(
        num_items=num_items,
        kind=config.model,
        max_length=config.max_length,
        dim=config.dim,
        num_heads=config.num_heads,
        feedforward_dim=config.feedforward_dim,
        num_blocks=config.num_blocks,
        attention=config.attention,
        time_bias=config.time_bias,
        dropout_rate=config.dropout_rate,
        attention_dropout_rate=config.attention_dropout_rate,
        cosine=config.cosine,
        temperature=config.temperature,
        dtype=config.precision,
        name="recommender",
    )
    model.build()
    return model
