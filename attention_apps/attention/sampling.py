"""Drawing tokens from probabilities by numbers that are the same however a sample is run."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


def draw(logits: Tensor, uniform: Tensor, top_k: int | None, top_p: float) -> Tensor:
    """Draw a token per row: where a uniform number falls in the sum of the probabilities.

    Args:
        logits: `(batch, vocabulary)`.
        uniform: `(batch, 1)`, in [0, 1).
        top_k: draw from the `top_k` most probable tokens only.
        top_p: of these, draw from the fewest most probable that hold this share of probability.

    Returns:
        `(batch, 1)` int32.
    """
    ids = None
    if top_k is not None or top_p < 1:
        logits, ids = ops.top_k(logits, min(top_k or logits.shape[1], logits.shape[1]))
    probabilities = ops.exp(logits - ops.logsumexp(logits, axis=1, keepdims=True))
    if top_p < 1:
        above = ops.cumsum(probabilities, axis=1) - probabilities
        probabilities = ops.where(above < top_p, probabilities, 0.0)
    mass = ops.cumsum(probabilities, axis=1)
    # Rounding can move a sum where nothing was added, or put the draw past its end: neither may
    # choose what has no probability.
    reached = (mass > uniform * mass[:, -1:]) & (probabilities > 0)
    place = ops.where(
        ops.any(reached, axis=1),
        ops.argmax(ops.cast(reached, "int32"), axis=1),
        ops.argmax(probabilities, axis=1),
    )
    place = ops.cast(place, "int32")[:, None]
    return place if ids is None else ops.take_along_axis(ids, place, axis=1)


def uniforms_of(seed: Any, batch: Any, length: int) -> Tensor:
    """Numbers in [0, 1) that depend on seed, row and step alone.

    The generators behind `keras.random` give other numbers in XLA than in a graph, and a sample
    would change with the way it is run: hence counters through the finaliser of MurmurHash3.

    Args:
        seed: an integer, an integer tensor of rank 0, or a `SeedGenerator`.
        batch: number of rows.
        length: number of steps.

    Returns:
        `(batch, length)` float32.

    Raises:
        ValueError: if the seed is of another shape.
    """

    def word(number: int) -> Tensor:
        return ops.convert_to_tensor(number, "uint32")

    def mixed(value: Tensor) -> Tensor:
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            value = ops.bitwise_xor(value, ops.right_shift(value, word(shift))) * word(factor)
        return ops.bitwise_xor(value, ops.right_shift(value, word(16)))

    def counters(size: Any) -> Tensor:
        return ops.cast(ops.arange(size, dtype="int32"), "uint32")

    if isinstance(seed, keras.random.SeedGenerator):
        state = ops.cast(seed.next(), "uint32")
        key = mixed(mixed(state[0]) + state[1])
    else:
        seed = word(seed % 2**32) if isinstance(seed, int) else ops.convert_to_tensor(seed)
        if len(seed.shape) > 0:
            raise ValueError(f"seed must be one integer or a SeedGenerator. Received: {seed}")
        key = mixed(ops.cast(seed, "uint32"))
    bits = mixed(mixed(mixed(key) + counters(batch))[:, None] + counters(length))
    return ops.cast(ops.right_shift(bits, word(8)), "float32") * 2.0**-24
