"""A recurrent decoder that looks at one cell in every step."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from captioning.soft_decoder import SoftDecoder


@keras.saving.register_keras_serializable("attention_apps.captioning")
class HardDecoder(SoftDecoder):
    """The same LSTM, looking at one cell in every step.

    In training the cell is drawn from the weights `w`, as the largest of `log w + T g` with noise
    `g` from a Gumbel distribution; asked for an answer, it is the one of the largest weight. In a
    share of the training batches attention is soft.

    A glimpse of more than one cell also takes in what lies around the cell: to the features of a
    cell learned mixtures of its own and its neighbours' are added. Where to look is decided
    without them, by the cells alone.

    Args:
        estimator: `reinforce`, whose gradient comes through the loss (`losses.hard_attention`), or
            `straight_through`, which differentiates as if attention were soft (Bengio et al. 2013,
            "Estimating or Propagating Gradients Through Stochastic Neurons").
        soft_share: share of training batches in which attention is soft.
        temperature: `T`: 1 draws by the weights, 0 takes the largest in training too.
        glimpse: cells a side that one look takes in, an odd number; the cells are a square grid.
        **kwargs: as of `SoftDecoder`.

    Reference: Xu et al. 2015, "Show, Attend and Tell", section 4.1; Mnih et al. 2014, "Recurrent
    Models of Visual Attention" (a glimpse sees its surroundings).
    """

    def __init__(
        self,
        *,
        estimator: str = "reinforce",
        soft_share: float = 0.5,
        temperature: float = 1.0,
        glimpse: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.estimator = estimator
        self.soft_share = soft_share
        self.temperature = temperature
        self.chance = keras.random.SeedGenerator()
        self.surroundings: keras.layers.Layer | None = None
        if glimpse > 1:
            self.surroundings = keras.layers.SeparableConv2D(
                self.dim,
                glimpse,
                padding="same",
                depth_multiplier=4,
                use_bias=False,
                dtype=self.dtype_policy,
                name="surroundings",
            )

    def build(self, embedded_shape: Any, regions_shape: Any) -> None:
        """Create the weights."""
        super().build(embedded_shape, regions_shape)
        self.side = math.isqrt(regions_shape[1])
        if self.surroundings is not None:
            self.surroundings.build((None, self.side, self.side, self.dim))

    def begin(
        self, regions: Any, key_mask: Any, max_length: int = 0, num_captions: int = 1
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As `SoftDecoder.begin`; the state also holds where was looked."""
        state, projected = super().begin(regions, key_mask, max_length, num_captions)
        if self.surroundings is not None:
            value = projected["value"]
            # In a collage the grids of two photos stand one behind the other.
            grids = ops.reshape(value, (-1, self.side, self.side, self.dim))
            around = ops.reshape(self.surroundings(grids), ops.shape(value))
            projected = {**projected, "value": value + around}
        return {**state, "looked": state["weights"]}, projected

    def advance(
        self, state: dict[str, Any], embedded: Any, projected: dict[str, Any], noise: Any = None
    ) -> Any:
        """One step; with noise the cell is drawn, else it is the one of the largest weight.

        Args:
            state: as `SoftDecoder.advance`, and `looked` `(rows, cells)`: 1 where was looked.
            embedded, projected: as `SoftDecoder.advance`.
            noise: `(rows, cells)`, what is added to the logarithms of the weights; +inf everywhere
                in a row means soft.
        """
        state, query = self._ask(state, embedded)
        _, weights = self._attend(query, projected)
        if noise is None:
            looked = _one_hot(weights)
        else:
            drawn = _one_hot(ops.log(weights + 1e-20) + ops.where(ops.isfinite(noise), noise, 0.0))
            looked = ops.where(ops.isfinite(noise), drawn, weights)
            if self.estimator == "straight_through":
                looked = weights + ops.stop_gradient(looked - weights)
        photos, cells, _ = ops.shape(projected["value"])
        at = ops.cast(ops.reshape(looked, (photos, -1, cells)), projected["value"].dtype)
        attended = ops.reshape(ops.matmul(at, projected["value"]), (-1, self.dim))
        return {**self._read(state, embedded, attended, weights), "looked": looked}

    def call(
        self, embedded: Any, regions: Any, key_mask: Any, training: bool | None = None
    ) -> dict[str, Any]:
        """All words; also `looked` `(photos, captions, words, cells)` and `is_soft`."""
        state, projected = self.begin(regions, key_mask, num_captions=ops.shape(embedded)[1])
        words = self._words_first(embedded)
        is_soft = ops.zeros(())
        if training:
            shape = (ops.shape(words)[0], *ops.shape(state["weights"]))
            uniform = keras.random.uniform(shape, 1e-7, 1.0, seed=self.chance)
            # A loop in a graph must know how many cells there are.
            uniform = ops.reshape(uniform, (shape[0], -1, regions.shape[1]))
            noise = -self.temperature * ops.log(-ops.log(uniform))
            is_soft = keras.random.uniform((), seed=self.chance) < self.soft_share
            is_soft = ops.cast(is_soft, "float32")
            noise = ops.where(is_soft > 0, ops.full_like(noise, math.inf), noise)

            size = embedded.shape[-1]

            def step(state: Any, inputs: Any) -> tuple[Any, Any]:
                word = ops.cast(inputs[:, :size], embedded.dtype)
                state = self.advance(state, word, projected, inputs[:, size:])
                return state, state

            # As one array: Keras's loop in a graph takes no several of which it knows no length.
            both = ops.concatenate([ops.cast(words, "float32"), noise], axis=-1)
            states = ops.scan(step, state, both)[1]
        else:

            def step(state: Any, inputs: Any) -> tuple[Any, Any]:
                state = self.advance(state, inputs, projected)
                return state, state

            states = ops.scan(step, state, words)[1]
        gathered = self._gathered(states, words, embedded, training)
        shape = ops.shape(gathered["weights"])
        looked = ops.reshape(
            ops.transpose(states["looked"], (1, 0, 2)), (shape[0], shape[1], shape[4], shape[5])
        )
        return {**gathered, "looked": looked, "is_soft": is_soft}


def _one_hot(scores: Any) -> Any:
    """1 at the largest of each row `(rows, cells)`, the first of equals; no gradient."""
    hot = ops.one_hot(ops.argmax(scores, axis=-1), scores.shape[-1], dtype="float32")
    return ops.stop_gradient(hot)
