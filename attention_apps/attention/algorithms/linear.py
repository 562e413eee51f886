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

# Positions that the causal form takes at once, a power of two.
_BLOCK = 64
# Stands for the logarithm of nothing, where differences of it have to be numbers.
_LOWEST = -1e30


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
    graph, keeps one `features x dim` state a block, and halves the blocks until nothing is
    measured by a later key. The error falls with the square root of the number of features, and
    grows with the exponential of the lengths of queries and keys.

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
        key_logs = _hidden(key_logs, key_mask)
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
    causal: bool = False,
    key_mask: Any = None,
    score_weights: dict[str, Any] | None = None,
) -> Any:
    """The share of every value in the context: the naive form, with the matrix held whole.

    Args:
        query: `(batch, query, heads, dim)`.
        key: `(batch, key, heads, dim)`.
        mechanism: as in `linear_attention`.
        random_features: `(features, dim)`.
        causal: as in `linear_attention`.
        key_mask: `(batch, key)` booleans, True = may attend.
        score_weights: what the scoring learns.

    Returns:
        `(batch, heads, query, key)`, float32, rows sum to 1, or to 0 where nothing may be attended.
    """
    query_logs, key_logs = _exponents(query, key, mechanism, random_features, score_weights)
    if key_mask is not None:
        key_logs = _hidden(key_logs, key_mask)
    if causal:
        products = _causal_products(query_logs, key_logs)
    else:
        top = _top(key_logs, axis=1)
        features, _ = _relative(query_logs + top)
        products = ops.einsum("bqhm,bkhm->bhqk", features, ops.exp(key_logs - top))
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


def _hidden(key_logs: Any, key_mask: Any) -> Any:
    return ops.where(ops.cast(key_mask, "bool")[:, :, None, None], key_logs, -np.inf)


def _top(logs: Any, axis: int) -> Any:
    """Highest logarithm of every feature, `_LOWEST` where no key may be attended; no gradients."""
    top = ops.stop_gradient(ops.max(logs, axis=axis, keepdims=True))
    return ops.maximum(top, _LOWEST)


def _sums(query_logs: Any, key_logs: Any, value: Any) -> Any:
    # Every feature has its own highest key: what is taken from the keys is given to the queries.
    top = _top(key_logs, axis=1)
    state = ops.einsum("bkhm,bkhd->bhmd", ops.exp(key_logs - top), value)
    return ops.einsum("bqhm,bhmd->bqhd", _relative(query_logs + top)[0], state)


def _blocks(tensor: Any) -> Any:
    """From `(batch, length, heads, ...)` to `(blocks, batch, heads, positions, ...)`.

    What fills the last block lies behind all queries, which do not see it, whatever it is. With
    heads before positions products need no copies.
    """
    batch, length = ops.shape(tensor)[:2]
    tensor = ops.pad(tensor, ((0, 0), (0, -length % _BLOCK), (0, 0), (0, 0)))
    cut = ops.reshape(tensor, (batch, -1, _BLOCK, *tensor.shape[2:]))
    return ops.transpose(cut, (1, 0, 3, 2, 4))


def _causal_sums(query_logs: Any, key_logs: Any, value: Any) -> Any:
    query_blocks, key_blocks, value_blocks = map(_blocks, (query_logs, key_logs, value))
    tops = _top(key_blocks, axis=3)
    sums = ops.einsum("nbhkm,nbhkd->nbhmd", ops.exp(key_blocks - tops), value_blocks)

    # The state before every block: sums of all blocks before it, relative to their highest key,
    # which stands behind them as one more column.
    def add(state: Any, block: Any) -> Any:
        new = ops.maximum(state[..., -1:], block[..., -1:])
        summed = state[..., :-1] * ops.exp(state[..., -1:] - new)
        summed = summed + block[..., :-1] * ops.exp(block[..., -1:] - new)
        return ops.concatenate([summed, new], axis=-1), state

    states = ops.concatenate([sums, ops.swapaxes(tops, -1, -2)], axis=-1)
    start = ops.zeros_like(states[0])
    start = ops.concatenate([start[..., :-1], start[..., -1:] + _LOWEST], axis=-1)
    _, before = ops.scan(add, start, states)
    features, reference = _relative(query_blocks + before[:, :, :, None, :, -1])
    earlier = ops.matmul(features, before[..., :-1])

    weights, own = _products_of_blocks(query_blocks, key_blocks)
    new = ops.maximum(reference, own)
    summed = earlier * ops.exp(reference - new)
    summed = summed + ops.matmul(weights * ops.exp(own - new), value_blocks)
    summed = ops.transpose(summed, (1, 0, 3, 2, 4))
    batch, length = ops.shape(value)[:2]
    return ops.reshape(summed, (batch, -1, *value.shape[2:]))[:, :length]


def _causal_products(query_logs: Any, key_logs: Any) -> Any:
    """Products of all pairs, 0 for later keys, up to a factor of each row."""
    query_blocks, key_blocks = _blocks(query_logs), _blocks(key_logs)
    num_blocks, batch, heads = ops.shape(query_blocks)[:3]
    length = ops.shape(key_logs)[1]
    places = ops.arange(num_blocks)
    # All keys once for every block of queries, the keys of earlier blocks alone.
    is_earlier = ops.repeat(places[None] < places[:, None], _BLOCK, axis=1)[:, None, None]
    keys = ops.reshape(
        ops.transpose(key_blocks, (1, 2, 0, 3, 4)), (batch, heads, -1, key_logs.shape[-1])
    )
    keys = ops.where(is_earlier[..., None], keys[None], -np.inf)
    top = _top(keys, axis=3)
    features, reference = _relative(query_blocks + top)
    earlier = ops.matmul(features, ops.swapaxes(ops.exp(keys - top), -1, -2))
    weights, own = _products_of_blocks(query_blocks, key_blocks)
    new = ops.maximum(reference, own)
    weights = weights * ops.exp(own - new)
    is_own = ops.cast(ops.equal(places[None], places[:, None]), weights.dtype)
    own_columns = weights[:, :, :, :, None] * is_own[:, None, None, None, :, None]
    products = earlier * ops.exp(reference - new) + ops.reshape(own_columns, ops.shape(earlier))
    products = ops.transpose(products, (1, 2, 0, 3, 4))
    products = ops.reshape(products, (batch, heads, -1, ops.shape(products)[-1]))
    return products[:, :, :length, :length]


def _products_of_blocks(query_blocks: Any, key_blocks: Any) -> tuple[Any, Any]:
    """`_weights_within` for blocks of a batch, whose axes come first."""
    flat = (ops.reshape(one, (-1, *one.shape[2:])) for one in (query_blocks, key_blocks))
    leading = ops.shape(query_blocks)[:2]
    return tuple(ops.reshape(one, (*leading, *one.shape[1:])) for one in _weights_within(*flat))


def _weights_within(query_logs: Any, key_logs: Any) -> tuple[Any, Any]:
    """Products of features within blocks, 0 for later keys, and what each row is relative to.

    A block's later half asks its earlier half, and each half itself, so that nothing is measured
    by a key that comes later: beside a key whose features are e^100 of those before it, these
    would vanish, and queries that see them alone would be left with nothing.

    Args:
        query_logs: `(blocks, heads, length, features)`, the length a power of two.
        key_logs: as many.

    Returns:
        `(blocks, heads, length, length)`, and logarithms `(blocks, heads, length, 1)`.
    """
    heads, length, features = query_logs.shape[1:]
    if length == 1:
        own, reference = _relative(query_logs + key_logs)
        return ops.sum(own, axis=-1, keepdims=True), reference
    half = length // 2
    # Both halves at once, as if they were heads of their own.
    halves = [ops.reshape(one, (-1, 2 * heads, half, features)) for one in (query_logs, key_logs)]
    (first, later), (first_reference, later_reference) = (
        ops.unstack(ops.reshape(one, (-1, heads, 2, half, one.shape[-1])), axis=2)
        for one in _weights_within(*halves)
    )
    asking, keys = query_logs[:, :, half:], key_logs[:, :, :half]
    top = _top(keys, axis=2)
    asking, reference = _relative(asking + top)
    products = ops.matmul(asking, ops.swapaxes(ops.exp(keys - top), -1, -2))
    new = ops.maximum(reference, later_reference)
    products = products * ops.exp(reference - new)
    later = later * ops.exp(later_reference - new)
    rows = [
        ops.concatenate([first, ops.zeros_like(first)], axis=-1),
        ops.concatenate([products, later], axis=-1),
    ]
    return ops.concatenate(rows, axis=2), ops.concatenate([first_reference, new], axis=2)


def _relative(logs: Any) -> tuple[Any, Any]:
    """Features of queries relative to their highest, and its logarithm, without gradients."""
    highest = ops.stop_gradient(ops.max(logs, axis=-1, keepdims=True))
    highest = ops.maximum(highest, _LOWEST)
    return ops.exp(logs - highest), highest
