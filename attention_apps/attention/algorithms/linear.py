"""Softmax attention by random features: linear in the length, approximate, causal too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from attention_apps.attention.scoring import SCORINGS, WeightSpec

if TYPE_CHECKING:
    from attention_apps.attention.mechanism import Mechanism

# Positions that the causal form takes at once.
_BLOCK = 64


class OrthogonalFeatures(keras.initializers.Initializer):
    """Gaussian directions, orthogonal within every `dim` of them, of Gaussian lengths.

    Args:
        seed: of the draw; None draws another with every layer, which the global seed decides.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._seed = keras.initializers.RandomNormal(seed=seed).seed

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> Any:
        """Draw features, `(features, dim)`."""
        features, dim = shape
        rng = np.random.default_rng(abs(int(self._seed)))
        blocks = [_rotation(rng, dim) for _ in range(-(-features // dim))]
        lengths = np.linalg.norm(rng.normal(size=(features, dim)), axis=1, keepdims=True)
        return ops.convert_to_tensor(np.concatenate(blocks)[:features] * lengths, dtype=dtype)


def _rotation(rng: np.random.Generator, dim: int) -> np.ndarray:
    """A random orthogonal matrix; without the signs of R its rows would prefer some directions."""
    orthogonal, triangular = np.linalg.qr(rng.normal(size=(dim, dim)))
    return (orthogonal * np.sign(np.diag(triangular))).T


def linear_weights(features: int, key_dim: int) -> Mapping[str, WeightSpec]:
    """The fixed random features: their name, shape and initialiser."""
    return {"random_features": ((features, key_dim), OrthogonalFeatures())}


def linear_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mechanism: Mechanism,
    random_features: Any,
    causal: bool = False,
    key_mask: Any = None,
    score_weights: dict[str, Any] | None = None,
) -> Any:
    """`f(q) (f(k)^T v)` over its sum, where `f(q).f(k)` is `exp(q.k)` in expectation (FAVOR+).

    `f(x)_i = exp(w_i.x - |x|^2 / 2)` with random directions w. Time grows with
    `length x features x dim`. The causal form walks over blocks of 64 positions in a loop of the
    graph and keeps one `features x dim` state a block. The error falls with the square root of
    the number of features, and grows with the exponential of the lengths of queries and keys.

    Args:
        query: `(batch, query, heads, dim)`.
        key: `(batch, key, heads, dim)`.
        value: `(batch, key, heads, value dim)`.
        mechanism: with softmax and a scoring that is a product.
        random_features: `(features, dim)`.
        causal: forbid keys after the query, the last query standing at the last key; then there
            are as many queries as keys.
        key_mask: `(batch, key)` booleans, True = may attend.
        score_weights: what the scoring learns.

    Returns:
        Context `(batch, query, heads, value dim)` in the type of `value`.

    Reference: Choromanski et al. 2021, "Rethinking Attention with Performers".
    """
    query_logs, key_logs = _exponents(query, key, mechanism, random_features, score_weights)
    if key_mask is not None:
        kept = ops.cast(key_mask, "bool")[:, :, None, None]
        key_logs = ops.where(kept, key_logs, -np.inf)
    wide = ops.cast(value, "float32")
    # The sum of the weights is the context of a value of ones.
    wide = ops.concatenate([wide, ops.ones_like(wide[..., :1])], axis=-1)
    sums = _causal_sums(query_logs, key_logs, wide) if causal else _sums(query_logs, key_logs, wide)
    total = sums[..., -1:]
    some = total > 0
    context = ops.where(some, sums[..., :-1] / ops.where(some, total, 1.0), 0.0)
    return ops.cast(context, value.dtype)


def implied_weights(
    query: Any,
    key: Any,
    *,
    mechanism: Mechanism,
    random_features: Any,
    mask: Any = None,
    score_weights: dict[str, Any] | None = None,
) -> Any:
    """The share of every value in the context: the naive form, with the matrix held whole.

    Args:
        query: `(batch, query, heads, dim)`.
        key: `(batch, key, heads, dim)`.
        mechanism: as in `linear_attention`.
        random_features: `(features, dim)`.
        mask: booleans broadcastable to `(batch, heads, query, key)`, True = may attend.
        score_weights: what the scoring learns.

    Returns:
        `(batch, heads, query, key)`, float32, rows sum to 1, or to 0 where nothing may be attended.
    """
    query_logs, key_logs = _exponents(query, key, mechanism, random_features, score_weights)
    top = ops.max(key_logs, axis=1, keepdims=True)
    query_features = _stable(query_logs + top)
    products = ops.einsum("bqhm,bkhm->bhqk", query_features, ops.exp(key_logs - top))
    if mask is not None:
        products = ops.where(ops.cast(mask, "bool"), products, 0.0)
    total = ops.sum(products, axis=-1, keepdims=True)
    return products / ops.where(total > 0, total, 1.0)


def _exponents(
    query: Any,
    key: Any,
    mechanism: Mechanism,
    random_features: Any,
    score_weights: dict[str, Any] | None,
) -> tuple[Any, Any]:
    """Logarithms of the features of queries and keys, `(batch, length, heads, features)`."""
    query, key = SCORINGS[mechanism.scoring].factors(query, key, **(score_weights or {}))
    directions = ops.cast(random_features, "float32")

    def exponent(vectors: Any) -> Any:
        vectors = ops.cast(vectors, "float32")
        square = ops.sum(ops.square(vectors), axis=-1, keepdims=True) / 2
        return ops.einsum("bthd,md->bthm", vectors, directions) - square

    return exponent(query), exponent(key)


def _stable(logs: Any) -> Any:
    """Features of queries up to a factor of the query, which the sum of the weights cancels."""
    return ops.exp(logs - ops.stop_gradient(ops.max(logs, axis=-1, keepdims=True)))


def _top(logs: Any, axis: int) -> Any:
    """Highest logarithm of every feature, 0 where no key may be attended; without gradients."""
    top = ops.stop_gradient(ops.max(logs, axis=axis, keepdims=True))
    return ops.where(ops.isfinite(top), top, 0.0)


def _sums(query_logs: Any, key_logs: Any, value: Any) -> Any:
    # Every feature has its own highest key: what is taken from the keys is given to the queries.
    top = _top(key_logs, axis=1)
    state = ops.einsum("bkhm,bkhd->bhmd", ops.exp(key_logs - top), value)
    return ops.einsum("bqhm,bhmd->bqhd", _stable(query_logs + top), state)


def _causal_sums(query_logs: Any, key_logs: Any, value: Any) -> Any:
    length = ops.shape(value)[1]
    num_blocks = (length + _BLOCK - 1) // _BLOCK
    excess = num_blocks * _BLOCK - length

    def blocks(tensor: Any, fill: float) -> Any:
        tensor = ops.pad(tensor, ((0, 0), (0, excess), (0, 0), (0, 0)), constant_values=fill)
        cut = ops.reshape(tensor, (ops.shape(value)[0], -1, _BLOCK, *tensor.shape[2:]))
        return ops.moveaxis(cut, 1, 0)

    query_blocks, key_blocks = blocks(query_logs, 0.0), blocks(key_logs, -np.inf)
    value_blocks = blocks(value, 0.0)
    tops = _top(key_blocks, axis=2)
    sums = ops.einsum("nbkhm,nbkhd->nbhmd", ops.exp(key_blocks - tops), value_blocks)
    tops = tops[:, :, 0]

    # The state before every block: sums of all blocks before it, relative to their highest key,
    # which stands behind them as one more column.
    def add(state: Any, block: Any) -> Any:
        new = ops.maximum(state[..., -1:], block[..., -1:])
        summed = state[..., :-1] * ops.exp(state[..., -1:] - new)
        summed = summed + block[..., :-1] * ops.exp(block[..., -1:] - new)
        return ops.concatenate([summed, new], axis=-1), state

    states = ops.concatenate([sums, tops[..., None]], axis=-1)
    start = ops.zeros_like(states[0])
    start = ops.concatenate([start[..., :-1], start[..., -1:] - 1e30], axis=-1)
    _, before = ops.scan(add, start, states)
    before, before_top = before[..., :-1], before[..., -1]

    # Within a block the products are few enough to be held whole.
    own_top = tops[:, :, None]
    new = ops.maximum(before_top[:, :, None], own_top)
    features = _stable(query_blocks + new)
    earlier = before * ops.exp(before_top - new[:, :, 0])[..., None]
    products = ops.einsum("nbqhm,nbkhm->nbhqk", features, ops.exp(key_blocks - new))
    places = ops.arange(_BLOCK)
    products = ops.where(places[None] <= places[:, None], products, 0.0)
    summed = ops.einsum("nbqhm,nbhmd->nbqhd", features, earlier) + ops.einsum(
        "nbhqk,nbkhd->nbqhd", products, value_blocks
    )
    summed = ops.moveaxis(summed, 0, 1)
    return ops.reshape(summed, (ops.shape(value)[0], -1, *value.shape[2:]))[:, :length]
