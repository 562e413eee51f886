"""A recurrent decoder that attends to the source in every step, in Bahdanau's order or Luong's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from attention_apps.attention.mechanism import Mechanism
from attention_apps.attention.reporting import report
from attention_apps.attention.stepwise import StepwiseAttention

CELLS = {"gru": keras.layers.GRUCell, "lstm": keras.layers.LSTMCell}


@keras.saving.register_keras_serializable("attention_apps.translation")
class RecurrentDecoder(keras.layers.Layer):
    """Recurrent cells over target tokens with attention to the encoded source.

    With additive scoring in Bahdanau's order: the state before the step asks, what it attends to
    enters the step, and state, context and token together make the output,

        c_t = attend(s_{t-1}),  s_t = cell([y_t; c_t], s_{t-1}),  o_t = tanh(W [s_t; c_t; y_t])

    (the paper has a maxout in place of tanh). With every other scoring in Luong's order: the state
    after the step asks, and with input feeding the output enters the next step,

        s_t = cell([y_t; o_{t-1}], s_{t-1}),  c_t = attend(s_t),  o_t = tanh(W [c_t; s_t])

    Args:
        dim: size of tokens, states and outputs.
        num_layers: cells in a row; those behind the first add to what they read.
        cell: `gru` or `lstm`.
        mechanism: of the attention to the source.
        input_feeding: whether Luong's output enters the next step; without it the attention needs
            no loop.
        **kwargs: Keras's layer arguments.

    Call arguments:
        embedded: `y`, `(batch, target, dim)`, the tokens before those that are predicted.
        encoded: `(batch, source, dim)`.
        key_mask: `(batch, source)` booleans, True = may attend.

    Returns:
        Outputs `(batch, target, dim)` and weights `(batch, heads=1, target, source)`.

    Reference: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and
    Translate"; Luong et al. 2015, "Effective Approaches to Attention-based NMT".
    """

    def __init__(
        self,
        *,
        dim: int,
        num_layers: int,
        cell: str,
        mechanism: Mechanism,
        input_feeding: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dim = dim
        self.num_layers = num_layers
        self.cell = cell
        self.mechanism = mechanism
        self.input_feeding = input_feeding
        self.attends_before_reading = mechanism.scoring == "additive"
        if self.attends_before_reading and not input_feeding:
            raise ValueError(
                "Additive attention is in Bahdanau's order, in which every step reads its context. "
                "Received: --no-input-feeding. Leave it out or choose another --cross-attention."
            )
        self.cells = [
            CELLS[cell](dim, dtype=self.dtype_policy, name=f"cell_{index}")
            for index in range(num_layers)
        ]
        self.start = [
            keras.layers.Dense(dim, activation="tanh", dtype=self.dtype_policy, name=f"start_{i}")
            for i in range(num_layers)
        ]
        self.cross_attention = StepwiseAttention(
            mechanism=mechanism, dtype=self.dtype_policy, name="cross_attention"
        )
        self.combine = keras.layers.Dense(
            dim, activation="tanh", dtype=self.dtype_policy, name="combine"
        )

    def build(self, embedded_shape: Any, encoded_shape: Any) -> None:
        """Create the weights."""
        dim = self.dim
        for index, (cell, start) in enumerate(zip(self.cells, self.start, strict=True)):
            cell.build((None, 2 * dim if index == 0 and self.input_feeding else dim))
            start.build((None, encoded_shape[-1]))
        self.cross_attention.build((None, None, dim), encoded_shape)
        self.combine.build((None, None, (3 if self.attends_before_reading else 2) * dim))
        self.built = True

    def begin(self, encoded: Any, key_mask: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Prepare the first step: states from the mean of what was encoded.

        Args:
            encoded: `(batch, source, dim)`.
            key_mask: `(batch, source)` booleans.

        Returns:
            The state, as `advance` takes and gives it, and the projected source.
        """
        projected = self.cross_attention.project(encoded, key_mask)
        count = ops.maximum(ops.sum(ops.cast(key_mask, "float32"), axis=1, keepdims=True), 1.0)
        total = ops.sum(ops.cast(projected["value"], "float32"), axis=1)
        mean = ops.cast(total / count, self.compute_dtype)
        cells = []
        for start in self.start:
            state = start(mean)
            cells.append([state] if self.cell == "gru" else [state, ops.zeros_like(state)])
        weights = ops.cast(key_mask, "float32")[:, None, None]
        return (
            {"cells": cells, "attended": ops.zeros_like(mean), "weights": weights * 0.0},
            projected,
        )

    def advance(
        self, state: dict[str, Any], embedded: Any, projected: dict[str, Any]
    ) -> dict[str, Any]:
        """One step.

        Args:
            state: `cells` with the states of every cell, `attended` `(batch, dim)` (Bahdanau's
                context or Luong's output) and `weights` `(batch, heads=1, query=1, source)`.
            embedded: `(batch, dim)`, the token before the one that is predicted.
            projected: the source, as `begin` gave it.

        Returns:
            The state after the step.
        """
        if self.attends_before_reading:
            attended, weights = self._attend(state["cells"], projected)
            cells = self._run_cells(ops.concatenate([embedded, attended], axis=-1), state["cells"])
            return {"cells": cells, "attended": attended, "weights": weights}
        if self.input_feeding:
            embedded = ops.concatenate([embedded, state["attended"]], axis=-1)
        cells = self._run_cells(embedded, state["cells"])
        context, weights = self._attend(cells, projected)
        attended = self.combine(ops.concatenate([context, cells[-1][0]], axis=-1))
        return {"cells": cells, "attended": attended, "weights": weights}

    def _attend(self, cells: list[list[Any]], projected: dict[str, Any]) -> tuple[Any, Any]:
        context, weights = self.cross_attention.attend(cells[-1][0][:, None], projected)
        return context[:, 0], weights

    def _run_cells(self, x: Any, states: list[list[Any]]) -> list[list[Any]]:
        new_states = []
        for index, (cell, state) in enumerate(zip(self.cells, states, strict=True)):
            output, new_state = cell(x, state)
            x = output if index == 0 else x + output
            new_states.append(list(new_state))
        return new_states

    def outputs(self, state: dict[str, Any], embedded: Any) -> Any:
        """What predicts the next token, `(..., dim)`.

        Args:
            state: after a step, or of all steps.
            embedded: the tokens that were read, `(..., dim)`.
        """
        if not self.attends_before_reading:
            return state["attended"]
        parts = [state["cells"][-1][0], state["attended"], embedded]
        return self.combine(ops.concatenate(parts, axis=-1))

    def call(self, embedded: Any, encoded: Any, key_mask: Any) -> tuple[Any, Any]:
        """All steps in a loop, and behind it whatever needs none."""
        state, projected = self.begin(encoded, key_mask)
        tokens = ops.transpose(embedded, (1, 0, 2))
        if self.input_feeding:
            states = _every_state(lambda s, y: self.advance(s, y, projected), state, tokens)
            weights = ops.transpose(states["weights"][:, :, :, 0], (1, 2, 0, 3))
            outputs = ops.transpose(self.outputs(states, tokens), (1, 0, 2))
        else:
            cells = _every_state(lambda s, y: self._run_cells(y, s), state["cells"], tokens)
            queries = ops.transpose(cells[-1][0], (1, 0, 2))
            context, weights = self.cross_attention.attend(queries, projected)
            outputs = self.combine(ops.concatenate([context, queries], axis=-1))
        report(self.cross_attention, weights)
        return outputs, weights


def _every_state(advance: Callable[[Any, Any], Any], state: Any, tokens: Any) -> Any:
    """The states after each step, time first."""

    def step(state: Any, token: Any) -> tuple[Any, Any]:
        state = advance(state, token)
        return state, state

    return ops.scan(step, state, tokens)[1]
