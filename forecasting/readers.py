"""Three ways of reading the past with attention: over time, over variables, over both at once.

A reader turns what a window shows into free numbers for every forecast row and target. The last
layer of each starts at zero, so that an untrained reader says nothing.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attention_apps.attention.blocks import EncoderBlock
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.positions import LearnedPositions
from forecasting.horizon_attention import HorizonAttention


def _places() -> keras.initializers.Initializer:
    """Vectors of places, drawn anew for every table.

    Large enough for keys to be told apart by their places from the start: with vectors ten times
    smaller attention takes twice as long to leave the even start.
    """
    return keras.initializers.RandomNormal(stddev=0.2)


class _Reader(keras.layers.Layer):
    """What all readers hold: sizes, blocks and the head that starts at zero.

    Args:
        horizon: rows that are forecast.
        num_targets: variables that are forecast, the first ones.
        num_outputs: free numbers for every row and target.
        num_known: what is known of past and future rows; 0 for nothing.
        static: what tells variables apart, `(variables, static)`, as nested lists.
        patch_length: rows of a patch.
        dim: size of embeddings.
        num_heads: number of attention heads.
        feedforward_dim: size of the inner feed-forward layers.
        num_layers: number of self-attention blocks.
        dropout_rate: share dropped in training.
        self_attention: mechanism of the blocks, as a flag names it.
        horizon_attention: mechanism of the forecast rows, as a flag names it.
        **kwargs: Keras's layer arguments.

    Call arguments:
        past: `(batch, lookback, variables, features)`.
        known: `(batch, lookback + horizon, known)`, or None where `num_known` is 0.
        training: whether to drop.

    Returns:
        `(batch, horizon, targets, outputs)`, zeros before training.
    """

    def __init__(
        self,
        *,
        horizon: int,
        num_targets: int,
        num_outputs: int,
        num_known: int,
        static: list[list[float]],
        patch_length: int,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        num_layers: int,
        dropout_rate: float,
        self_attention: str,
        horizon_attention: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.horizon = horizon
        self.num_targets = num_targets
        self.num_outputs = num_outputs
        self.num_known = num_known
        self.static = static
        self.patch_length = patch_length
        self.dim = dim
        self.num_heads = num_heads
        self.feedforward_dim = feedforward_dim
        self.num_layers = num_layers
        self.dropout_rate = dropout_rate
        self.self_attention = self_attention
        self.horizon_attention = horizon_attention
        self.embedding = keras.layers.Dense(dim, name="embedding")
        self.blocks = [
            EncoderBlock(
                num_heads=num_heads,
                key_dim=dim // num_heads,
                feedforward_dim=feedforward_dim,
                dropout_rate=dropout_rate,
                mechanism=parse_mechanism(self_attention),
                name=f"block_{index}",
            )
            for index in range(num_layers)
        ]
        self.known_embedding: Any = (
            keras.layers.Dense(dim, use_bias=False, name="known_embedding") if num_known else None
        )

    def _ask_with(self, dim: int) -> HorizonAttention:
        return HorizonAttention(
            dim=dim,
            num_heads=self.num_heads,
            feedforward_dim=self.feedforward_dim,
            dropout_rate=self.dropout_rate,
            mechanism=parse_mechanism(self.horizon_attention),
            name="horizon_attention",
        )

    def _head(self, units: int) -> keras.layers.Dense:
        return keras.layers.Dense(units, kernel_initializer="zeros", name="head")

    def _add_variables(self, num_variables: int) -> None:
        """A vector for every variable, and one for what it shares with others."""
        self.variable_vectors = self.add_weight(
            name="variable_vectors", shape=(num_variables, self.dim), initializer=_places()
        )
        count = len(self.static[0]) if self.static else 0
        self.static_vectors = (
            self.add_weight(name="static_vectors", shape=(count, self.dim), initializer=_places())
            if count
            else None
        )

    def _variables(self) -> Any:
        if self.static_vectors is None:
            return self.variable_vectors
        static = ops.convert_to_tensor(self.static, dtype=self.compute_dtype)
        return self.variable_vectors + ops.matmul(static, self.static_vectors)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this reader again."""
        names = (
            "horizon",
            "num_targets",
            "num_outputs",
            "num_known",
            "static",
            "patch_length",
            "dim",
            "num_heads",
            "feedforward_dim",
            "num_layers",
            "dropout_rate",
            "self_attention",
            "horizon_attention",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class _PatchReader(_Reader):
    """What readers of patches share: tokens of patches and queries of forecast rows."""

    def build(self, past_shape: Any, known_shape: Any = None) -> None:
        """Create the weights."""
        _, lookback, num_variables, num_features = past_shape
        self.num_patches = lookback // self.patch_length
        tokens = (None, self.num_patches, self.dim)
        width = self.patch_length * (num_features + self.num_known)
        self.embedding.build((None, self.num_patches, width))
        self.positions = LearnedPositions(self.num_patches, initializer=_places(), name="positions")
        self.positions.build(tokens)
        for block in self.blocks:
            block.build(tokens)
        self.row_vectors = self.add_weight(
            name="row_vectors", shape=(self.horizon, self.dim), initializer=_places()
        )
        if self.known_embedding is not None:
            self.known_embedding.build((None, self.horizon, self.num_known))
        self._add_variables(num_variables)
        self.asking = self._ask_with(self.dim)
        self.asking.build((None, self.horizon, self.dim), tokens)
        self.head = self._head(self.num_outputs)
        self.head.build((None, self.horizon, self.dim))

    def _tokens(self, past: Any, known: Any, training: bool | None) -> Any:
        """Patches of every variable, each series by itself: `(batch * variables, patches, dim)`."""
        batch = ops.shape(past)[0]
        lookback, variables, features = past.shape[1:]
        if known is not None:
            shown = ops.broadcast_to(
                known[:, :lookback, None], (batch, lookback, variables, self.num_known)
            )
            past, features = ops.concatenate([past, shown], axis=-1), features + self.num_known
        patches = ops.reshape(
            ops.transpose(past, (0, 2, 1, 3)),
            (batch * variables, self.num_patches, self.patch_length * features),
        )
        x = self.positions(self.embedding(patches))
        for block in self.blocks:
            x = block(x, training=training)
        return x

    def _queries(self, batch: Any, known: Any) -> Any:
        """A vector for every forecast row: `(batch, horizon, dim)`."""
        rows = ops.broadcast_to(self.row_vectors[None], (batch, self.horizon, self.dim))
        if known is None:
            return rows
        return rows + self.known_embedding(known[:, -self.horizon :])


@keras.saving.register_keras_serializable("attention_apps.forecasting")
class TimeReader(_PatchReader):
    """Attention over the patches of each series, which knows nothing of the others.

    The forecast rows ask the patches; its attention is `(batch * targets, heads, horizon, patch)`.

    Reference: Nie et al. 2023, "A Time Series is Worth 64 Words" (PatchTST), whose flattened head
    is replaced by the forecast rows' own attention.
    """

    def call(self, past: Any, known: Any = None, training: bool | None = None) -> Any:
        """See `_Reader`."""
        batch, targets = ops.shape(past)[0], self.num_targets
        encoded = self._tokens(past[:, :, :targets], known, training)
        variables = ops.reshape(self._variables()[:targets], (1, targets, 1, self.dim))
        queries = self._queries(batch, known)[:, None] + variables
        queries = ops.reshape(queries, (batch * targets, self.horizon, self.dim))
        free = self.head(self.asking(queries, encoded, training=training))
        free = ops.reshape(free, (batch, targets, self.horizon, self.num_outputs))
        return ops.transpose(free, (0, 2, 1, 3))


@keras.saving.register_keras_serializable("attention_apps.forecasting")
class JointReader(_PatchReader):
    """Every forecast row of every target asks every patch of every variable.

    Its attention is `(batch, heads, targets * horizon, variables * patches)`; summed over patches
    it says which variable leads, summed over variables which rows.

    Reference: Liu et al. 2024, "UniTST: Effectively Modeling Inter-Series and Intra-Series
    Dependencies for Multivariate Time Series Forecasting" (one sequence of all patches).
    """

    def call(self, past: Any, known: Any = None, training: bool | None = None) -> Any:
        """See `_Reader`."""
        batch, variables, targets = ops.shape(past)[0], past.shape[2], self.num_targets
        vectors = self._variables()
        x = self._tokens(past, known, training)
        x = ops.reshape(x, (batch, variables, self.num_patches, self.dim)) + vectors[:, None]
        encoded = ops.reshape(x, (batch, variables * self.num_patches, self.dim))
        queries = self._queries(batch, known)[:, None] + vectors[:targets, None]
        queries = ops.reshape(queries, (batch, targets * self.horizon, self.dim))
        free = self.head(self.asking(queries, encoded, training=training))
        free = ops.reshape(free, (batch, targets, self.horizon, self.num_outputs))
        return ops.transpose(free, (0, 2, 1, 3))


@keras.saving.register_keras_serializable("attention_apps.forecasting")
class VariableReader(_Reader):
    """Attention over variables: a token is the whole lookback of one series.

    What is known of past and future are tokens, too. Its attention is
    `(batch, heads, variables + known, variables + known)`.

    Reference: Liu et al. 2024, "iTransformer: Inverted Transformers Are Effective for Time Series
    Forecasting".
    """

    def build(self, past_shape: Any, known_shape: Any = None) -> None:
        """Create the weights."""
        _, lookback, num_variables, num_features = past_shape
        tokens = (None, num_variables + self.num_known, self.dim)
        self.embedding.build((None, num_variables, lookback * num_features))
        if self.known_embedding is not None:
            self.known_embedding.build((None, self.num_known, lookback + self.horizon))
        self._add_variables(num_variables)
        for block in self.blocks:
            block.build(tokens)
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, name="norm")
        self.norm.build(tokens)
        self.head = self._head(self.horizon * self.num_outputs)
        self.head.build(tokens)

    def call(self, past: Any, known: Any = None, training: bool | None = None) -> Any:
        """See `_Reader`."""
        batch = ops.shape(past)[0]
        lookback, variables, features = past.shape[1:]
        whole = ops.transpose(past, (0, 2, 1, 3))
        x = self.embedding(ops.reshape(whole, (batch, variables, lookback * features)))
        x = x + self._variables()
        if known is not None:
            x = ops.concatenate([x, self.known_embedding(ops.transpose(known, (0, 2, 1)))], axis=1)
        for block in self.blocks:
            x = block(x, training=training)
        free = self.head(self.norm(x[:, : self.num_targets]))
        shape = (batch, self.num_targets, self.horizon, self.num_outputs)
        return ops.transpose(ops.reshape(free, shape), (0, 2, 1, 3))


READERS = {"time": TimeReader, "variables": VariableReader, "both": JointReader}
