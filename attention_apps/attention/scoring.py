"""How alike a query and a key are: one score for every pair, before mask and normalisation.

Each scoring is a pure function of projected queries `(batch, query, heads, dim)` and keys
`(batch, key, heads, dim)` that returns scores `(batch, heads, query, key)`. What it learns, it
declares by name, shape and initialiser, and is handed when called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from keras import ops

WeightSpec = tuple[tuple[int, ...], Any]


def add_declared(
    layer: Any, declared: Mapping[str, WeightSpec], *, trainable: bool = True
) -> dict[str, Any]:
    """Give a layer the weights that a scoring or a scope declares.

    Args:
        layer: the Keras layer that will own them.
        declared: for every weight its name, shape and Keras initialiser.
        trainable: whether training changes them.

    Returns:
        The variables by name.
    """
    return {
        name: layer.add_weight(name=name, shape=shape, initializer=initializer, trainable=trainable)
        for name, (shape, initializer) in declared.items()
    }


def _inner_products(query: Any, key: Any) -> Any:
    # float16 ends at 65,504: a large product would become inf and the softmax NaN.
    if query.dtype == "float16":
        query, key = ops.cast(query, "float32"), ops.cast(key, "float32")
    # Heads first: Keras then multiplies by a transposed matrix in place of writing it transposed.
    query, key = ops.transpose(query, (0, 2, 1, 3)), ops.transpose(key, (0, 2, 1, 3))
    return ops.einsum("bhqd,bhkd->bhqk", query, key)


class Scoring:
    """A scoring function of queries and keys.

    Attributes:
        name: by which a flag chooses it.
        is_product: whether scores are products of what `factors` gives.
    """

    name: ClassVar[str]
    is_product: ClassVar[bool] = False

    def weights(self, num_heads: int, key_dim: int) -> Mapping[str, WeightSpec]:
        """What this scoring learns.

        Args:
            num_heads: number of heads.
            key_dim: size of a query or key of one head.

        Returns:
            For every weight its name, shape and Keras initialiser.
        """
        return {}

    def __call__(self, query: Any, key: Any, **weights: Any) -> Any:
        """Score every query against every key.

        Args:
            query: `(batch, query, heads, dim)`.
            key: `(batch, key, heads, dim)`.
            **weights: the learned weights, by the names that `weights` gave.

        Returns:
            Scores `(batch, heads, query, key)`, of any sign.
        """
        raise TypeError(f"{type(self).__name__} must define `__call__`.")

    def factors(self, query: Any, key: Any, **weights: Any) -> tuple[Any, Any]:
        """Vectors whose plain products are the scores, where `is_product`.

        Args:
            query: `(batch, query, heads, dim)`.
            key: `(batch, key, heads, dim)`.
            **weights: the learned weights, by the names that `weights` gave.

        Returns:
            Queries and keys of the same shapes.
        """
        raise TypeError(f"Scores of {self.name} are no products.")


class Dot(Scoring):
    """`q . k` (Luong et al. 2015, "Effective Approaches to Attention-based NMT", dot)."""

    name = "dot"
    is_product = True

    def __call__(self, query: Any, key: Any) -> Any:  # type: ignore[override]
        """See `Scoring.__call__`."""
        return _inner_products(query, key)

    def factors(self, query: Any, key: Any) -> tuple[Any, Any]:  # type: ignore[override]
        """See `Scoring.factors`."""
        return query, key


class ScaledDot(Scoring):
    """`q . k / sqrt(dim)` (Vaswani et al. 2017, "Attention Is All You Need")."""

    name = "scaled_dot"
    is_product = True

    def __call__(self, query: Any, key: Any) -> Any:  # type: ignore[override]
        """See `Scoring.__call__`."""
        # The query is scaled before the product, so that the product stays in range.
        # A plain number takes the type of the query; a tensor would have been rounded to float32.
        return _inner_products(query * (1.0 / math.sqrt(query.shape[-1])), key)

    def factors(self, query: Any, key: Any) -> tuple[Any, Any]:  # type: ignore[override]
        """See `Scoring.factors`."""
        # Half of the scale each: random features err the least where both are as long.
        scale = query.shape[-1] ** -0.25
        return query * scale, key * scale


class Cosine(Scoring):
    """`exp(t_h) cos(q, k)`, a temperature `t` learned per head, at most 100.

    Reference: Liu et al. 2022, "Swin Transformer V2: Scaling Up Capacity and Resolution".
    """

    name = "cosine"
    is_product = True

    def weights(self, num_heads: int, key_dim: int) -> Mapping[str, WeightSpec]:
        """See `Scoring.weights`."""
        return {"log_temperature": ((num_heads,), _constant(math.log(10.0)))}

    def __call__(self, query: Any, key: Any, *, log_temperature: Any) -> Any:  # type: ignore[override]
        """See `Scoring.__call__`."""
        query = _unit_length(query)
        cosines = _inner_products(query, _unit_length(key))
        temperature = ops.exp(ops.minimum(log_temperature, math.log(100.0)))
        return cosines * ops.cast(temperature, cosines.dtype)[:, None, None]

    def factors(self, query: Any, key: Any, *, log_temperature: Any) -> tuple[Any, Any]:  # type: ignore[override]
        """See `Scoring.factors`."""
        temperature = ops.exp(ops.minimum(log_temperature, math.log(100.0)))
        return _unit_length(query) * ops.cast(temperature, query.dtype)[:, None], _unit_length(key)


class General(Scoring):
    """`q W_h k`, one matrix per head (Luong et al. 2015, general)."""

    name = "general"
    is_product = True

    def weights(self, num_heads: int, key_dim: int) -> Mapping[str, WeightSpec]:
        """See `Scoring.weights`."""
        return {"score_kernel": ((num_heads, key_dim, key_dim), "glorot_uniform")}

    def __call__(self, query: Any, key: Any, *, score_kernel: Any) -> Any:  # type: ignore[override]
        """See `Scoring.__call__`."""
        kernel = ops.cast(score_kernel, query.dtype)
        return _inner_products(ops.einsum("bqhd,hde->bqhe", query, kernel), key)

    def factors(self, query: Any, key: Any, *, score_kernel: Any) -> tuple[Any, Any]:  # type: ignore[override]
        """See `Scoring.factors`."""
        return ops.einsum("bqhd,hde->bqhe", query, ops.cast(score_kernel, query.dtype)), key


class Additive(Scoring):
    """`v_h . tanh(q + k)` on projected queries and keys.

    Costs `(batch, heads, query, key, dim)` of memory. Luong's concat is the same function.

    Reference: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and
    Translate".
    """

    name = "additive"

    def weights(self, num_heads: int, key_dim: int) -> Mapping[str, WeightSpec]:
        """See `Scoring.weights`."""
        return {"score_vector": ((num_heads, key_dim), "glorot_uniform")}

    def __call__(self, query: Any, key: Any, *, score_vector: Any) -> Any:  # type: ignore[override]
        """See `Scoring.__call__`."""
        energy = ops.tanh(query[:, :, None] + key[:, None, :])
        return ops.einsum("bqkhd,hd->bhqk", energy, ops.cast(score_vector, query.dtype))


class Uniform(Scoring):
    """`0`: every key that may be attended counts alike.

    No mechanism to choose but the control beside one: what a model still does with it, it does
    without attention.
    """

    name = "uniform"

    def __call__(self, query: Any, key: Any) -> Any:  # type: ignore[override]
        """See `Scoring.__call__`."""
        return ops.zeros_like(_inner_products(query[..., :1], key[..., :1]))


def _constant(value: float) -> Any:
    # Imported here, because `initializers` is only needed when a layer is built.
    from keras import initializers

    return initializers.Constant(value)


def _unit_length(vectors: Any) -> Any:
    wide = ops.cast(vectors, "float32")
    squares = ops.sum(ops.square(wide), axis=-1, keepdims=True)
    return ops.cast(wide * ops.rsqrt(squares + 1e-12), vectors.dtype)


SCORINGS: Mapping[str, Scoring] = {
    scoring.name: scoring
    for scoring in (Dot(), ScaledDot(), Cosine(), General(), Additive(), Uniform())
}
