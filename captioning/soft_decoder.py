"""A recurrent decoder that looks at all cells in every step."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.reporting import report
from attention_apps.attention.stepwise import StepwiseAttention


@keras.saving.register_keras_serializable("attention_apps.captioning")
class SoftDecoder(keras.layers.Layer):
    """An LSTM that looks at all cells in every step, each as much as its weight says.

        weights_t = attend(h_{t-1} + Q y_t),  c_t = sigmoid(G h_{t-1}) * (weights_t . regions)
        h_t = lstm([y_t; c_t], h_{t-1}),  o_t = tanh(W [h_t; c_t; y_t])

    The gate `G` has an entry for every feature; the paper's is one number per step. `y_t` is the
    word before the one that is predicted: without `Q`, as in the paper, where to look is decided
    without knowing which word was just said.

    Such an LSTM may look at an object early and name it from memory, and where it looks while it
    says a word is then another matter. Without input feeding the state remembers words alone,
    and what a word says of the picture can only come from where its own step looks:

        h_t = lstm(y_t, h_{t-1}),  weights_t = attend(h_t)
        c_t = sigmoid(G h_t) * (weights_t . regions)

    Args:
        dim: size of regions, states and outputs.
        cross_attention: attention to the regions, as a flag names it.
        word_asks: whether there is a `Q`; without input feeding the state has read the word anyway.
        input_feeding: whether what was attended to enters the state, which begins as the mean of
            the regions; if not, it begins empty.
        dropout_rate: share dropped of outputs in training.
        **kwargs: Keras's layer arguments.

    Reference: Xu et al. 2015, "Show, Attend and Tell"; without input feeding Lu et al. 2017,
    "Knowing When to Look", the spatial attention of section 2.2.
    """

    def __init__(
        self,
        *,
        dim: int,
        cross_attention: str = "additive",
        word_asks: bool = True,
        input_feeding: bool = True,
        dropout_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dim = dim
        self.word_asks = word_asks
        self.input_feeding = input_feeding
        mechanism: Mechanism = parse_mechanism(cross_attention)
        dtype = self.dtype_policy
        self.cross_attention = StepwiseAttention(
            mechanism=mechanism, dtype=dtype, name="cross_attention"
        )
        self.query = keras.layers.Dense(dim, use_bias=False, dtype=dtype, name="query")
        self.cell = keras.layers.LSTMCell(dim, dtype=dtype, name="cell")
        self.start = keras.layers.Dense(2 * dim, activation="tanh", dtype=dtype, name="start")
        self.gate = keras.layers.Dense(dim, activation="sigmoid", dtype=dtype, name="gate")
        self.combine = keras.layers.Dense(dim, activation="tanh", dtype=dtype, name="combine")
        self.drop = keras.layers.Dropout(dropout_rate, dtype=dtype)

    def build(self, embedded_shape: Any, regions_shape: Any) -> None:
        """Create the weights."""
        size, dim = embedded_shape[-1], self.dim
        self.cross_attention.build((None, None, dim), regions_shape)
        self.cell.build((None, size + (dim if self.input_feeding else 0)))
        if self.input_feeding:
            self.start.build((None, dim))
            if self.word_asks:
                self.query.build((None, size))
        self.gate.build((None, dim))
        self.combine.build((None, None, 2 * dim + size))
        self.built = True

    def begin(
        self, regions: Any, key_mask: Any, max_length: int = 0, num_captions: int = 1
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Prepare the first step: states from the mean of the regions, or empty ones.

        Args:
            regions: `(photos, cells, dim)`.
            key_mask: `(photos, cells)`.
            max_length: not used; the states do not grow.
            num_captions: of each photo.

        Returns:
            The state, as `advance` takes and gives it, with a row for every caption of every photo,
            and the projected regions.
        """
        shape = ops.shape(regions)
        projected = self.cross_attention.project(regions, key_mask)
        if self.input_feeding:
            hidden, cell = self._gist(projected, key_mask)
        else:
            hidden = cell = ops.zeros((shape[0], self.dim), dtype=self.compute_dtype)
        rows = [ops.repeat(x, num_captions, axis=0) for x in (hidden, cell)]
        state = {
            "hidden": rows[0],
            "cell": rows[1],
            "context": ops.zeros_like(rows[0]),
            "weights": ops.zeros((shape[0] * num_captions, shape[1]), dtype="float32"),
        }
        return state, projected

    def _gist(self, projected: dict[str, Any], key_mask: Any) -> tuple[Any, Any]:
        """The two states, each `(photos, dim)`, that the mean of the regions gives."""
        count = ops.maximum(ops.sum(ops.cast(key_mask, "float32"), axis=1, keepdims=True), 1.0)
        total = ops.sum(ops.cast(projected["value"], "float32"), axis=1)
        mean = ops.cast(total / count, self.compute_dtype)
        return tuple(ops.split(self.start(mean), 2, axis=-1))

    def advance(self, state: dict[str, Any], embedded: Any, projected: dict[str, Any]) -> Any:
        """One step.

        Args:
            state: `hidden`, `cell` and `context` `(rows, dim)`, `weights` `(rows, cells)`.
            embedded: `(rows, size)`, the word before the one that is predicted.
            projected: as `begin` gave it.

        Returns:
            The state after the step.
        """
        state, query = self._ask(state, embedded)
        return self._read(state, embedded, *self._attend(query, projected))

    def _ask(self, state: dict[str, Any], embedded: Any) -> tuple[dict[str, Any], Any]:
        """The state that looks, and its query `(rows, dim)`."""
        hidden = state["hidden"]
        if self.input_feeding:
            return state, hidden + self.query(embedded) if self.word_asks else hidden
        _, (hidden, cell) = self.cell(embedded, [hidden, state["cell"]])
        return {**state, "hidden": hidden, "cell": cell}, hidden

    def _attend(self, query: Any, projected: dict[str, Any]) -> tuple[Any, Any]:
        """Context `(rows, dim)` and weights `(rows, cells)`; rows of one photo share its keys."""
        photos = ops.shape(projected["value"])[0]
        queries = ops.reshape(query, (photos, -1, self.dim))
        context, weights = self.cross_attention.attend(queries, projected)
        cells = ops.shape(weights)[-1]
        return ops.reshape(context, (-1, self.dim)), ops.reshape(weights, (-1, cells))

    def _read(
        self, state: dict[str, Any], embedded: Any, attended: Any, weights: Any
    ) -> dict[str, Any]:
        context = self.gate(state["hidden"]) * attended
        hidden, cell = state["hidden"], state["cell"]
        if self.input_feeding:
            joined = ops.concatenate([embedded, context], axis=-1)
            _, (hidden, cell) = self.cell(joined, [hidden, cell])
        return {"hidden": hidden, "cell": cell, "context": context, "weights": weights}

    def _outputs(self, state: dict[str, Any], embedded: Any, training: bool | None) -> Any:
        parts = [state["hidden"], state["context"], embedded]
        return self.drop(self.combine(ops.concatenate(parts, axis=-1)), training=training)

    def step(self, state: Any, embedded: Any, projected: Any) -> tuple[Any, Any, Any]:
        """One word of every hypothesis; see `decoders.py`."""
        state = self.advance(state, embedded, projected)
        return self._outputs(state, embedded, False), state, state["weights"][:, None, None]

    def call(
        self, embedded: Any, regions: Any, key_mask: Any, training: bool | None = None
    ) -> dict[str, Any]:
        """All words; see `decoders.py`."""
        state, projected = self.begin(regions, key_mask, num_captions=ops.shape(embedded)[1])
        words = self._words_first(embedded)

        def step(state: Any, word: Any) -> tuple[Any, Any]:
            state = self.advance(state, word, projected)
            return state, state

        states = ops.scan(step, state, words)[1]
        return self._gathered(states, words, embedded, training)

    def _gathered(
        self, states: Any, words: Any, embedded: Any, training: bool | None
    ) -> dict[str, Any]:
        weights = ops.transpose(states["weights"], (1, 0, 2))
        report(self.cross_attention, weights[:, None])
        outputs = ops.transpose(self._outputs(states, words, training), (1, 0, 2))
        shape = ops.shape(embedded)
        return {
            "outputs": ops.reshape(outputs, (*shape[:3], self.dim)),
            "weights": ops.reshape(
                weights, (shape[0], shape[1], 1, 1, shape[2], weights.shape[-1])
            ),
        }

    @staticmethod
    def _words_first(embedded: Any) -> Any:
        """From `(photos, captions, words, size)` to `(words, rows, size)`."""
        photos, captions, words, size = ops.shape(embedded)
        return ops.transpose(ops.reshape(embedded, (photos * captions, words, size)), (1, 0, 2))
