"""Which algorithm computes a call, and the call of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from attention_apps.attention.adaptive_span import AdaptiveSpan
from attention_apps.attention.algorithms.block_sparse import (
    block_sparse_attention,
    touched_blocks,
)
from attention_apps.attention.algorithms.choices import (
    Algorithm,
    Auto,
    BlockSparse,
    Chunked,
    Dense,
    Linear,
    Local,
    LowRank,
)
from attention_apps.attention.algorithms.chunked import chunked_attention
from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.algorithms.linear import implied_weights, linear_attention
from attention_apps.attention.algorithms.local import local_attention
from attention_apps.attention.algorithms.low_rank import low_rank_attention
from attention_apps.attention.algorithms.pooled import pooled_attention
from attention_apps.attention.masking import merge_masks
from attention_apps.attention.masks import Everything, Mask, causal, end_aligned_positions
from attention_apps.attention.multi_scale import MultiScale
from attention_apps.attention.normalizers import Softmax
from attention_apps.attention.scoring import SCORINGS

if TYPE_CHECKING:
    from attention_apps.attention.mechanism import Mechanism

# From so many pairs on, `auto` leaves the matrix: below, its calls cost more than its memory.
_MANY_PAIRS = 1024 * 1024
_BLOCK = 64


@dataclass(frozen=True)
class Call:
    """What a layer is called with, as far as it decides how to attend.

    Attributes:
        lengths: number of queries and of keys, None where unknown.
        causal: whether keys after the query are forbidden.
        scope: a mask of the layer beside the mechanism's.
        query_mask: `(batch, query)` booleans or None.
        key_mask: `(batch, key)` booleans or None.
        has_dense_mask: whether there is a mask of pairs of queries and keys.
        has_score_bias: whether there is a bias of such pairs.
        drops: whether weights are dropped in this call.
        is_overridden: whether the layer must go through the matrix, as when it attends over
            several axes or a subclass computes it.
    """

    lengths: tuple[int | None, int | None]
    causal: bool = False
    scope: Mask | None = None
    query_mask: Any = None
    key_mask: Any = None
    has_dense_mask: bool = False
    has_score_bias: bool = False
    drops: bool = False
    is_overridden: bool = False

    def masks(self, mechanism: Mechanism) -> Mask | None:
        """The scope of the mechanism and of the layer with causality; None allows everything."""
        masks = [mask for mask in (mechanism.mask, self.scope) if mask is not None]
        masks += [causal()] if self.causal else []
        merged = None
        for mask in masks:
            merged = mask if merged is None else merged & mask
        return merged


def choose_algorithm(mechanism: Mechanism, call: Call) -> Algorithm:
    """The mechanism's algorithm, or for `auto` the cheapest exact one for this call.

    Args:
        mechanism: the layer's.
        call: what it is called with.

    Raises:
        ValueError: when the mechanism's algorithm cannot do what the call asks for.
    """
    chosen = mechanism.algorithm
    if isinstance(mechanism.scope, MultiScale):
        _refuse_pairs(mechanism, call)
        return Dense()
    if isinstance(chosen, Auto):
        return _cheapest(mechanism, call)
    if not isinstance(chosen, Dense):
        _refuse_pairs(mechanism, call)
        _refuse_lengths(mechanism, call)
    return chosen


def _refuse_pairs(mechanism: Mechanism, call: Call) -> None:
    """Refuse what is given for every pair: it is as large as the matrix that is avoided."""
    for given, name in (
        (call.has_dense_mask, "attention_mask"),
        (call.has_score_bias, "score_bias"),
    ):
        if given:
            raise ValueError(
                f"`{name}` holds a number for every pair of query and key, which this attention "
                "never looks at. Give padding as `key_mask`, order as `use_causal_mask`. "
                f"Received: {name} with {mechanism}"
            )
    if call.is_overridden:
        raise ValueError(
            "Only the dense algorithm attends over several axes or through an overridden "
            f"`_compute_attention`. Received: {mechanism}"
        )


def _refuse_lengths(mechanism: Mechanism, call: Call) -> None:
    num_queries, num_keys = call.lengths
    algorithm = mechanism.algorithm
    one_sequence = num_queries == num_keys
    if isinstance(algorithm, LowRank) and call.causal:
        raise ValueError(
            "Low-rank attention mixes keys of all positions and cannot leave out the future. "
            f"Received: causal attention with {algorithm}. Choose linear."
        )
    if isinstance(algorithm, Chunked) and call.drops:
        raise ValueError(
            "Chunked attention computes its weights twice and cannot drop the same ones twice. "
            f"Received: attention dropout with {algorithm}. Choose dense or local."
        )
    if isinstance(algorithm, Linear) and call.drops:
        raise ValueError(
            "Linear attention forms no weights that could be dropped. "
            f"Received: attention dropout with {algorithm}. Leave it out."
        )
    needs_one = isinstance(algorithm, Local | BlockSparse) or (
        isinstance(algorithm, Linear) and call.causal
    )
    if needs_one and not one_sequence:
        raise ValueError(
            "A window over one sequence has as many queries as keys. "
            f"Received: {num_queries} queries and {num_keys} keys with {algorithm}"
        )
    if isinstance(algorithm, BlockSparse) and num_keys is None:
        raise ValueError(
            "Block-sparse attention lays out its blocks beforehand and needs to know the length. "
            "Received: inputs of unknown length. Give the length, or choose local."
        )
    if isinstance(algorithm, Local) and _reach(mechanism, call) is None:
        raise ValueError(
            "Local attention needs a window that ends on both sides. "
            f"Received: {mechanism.scope} without causality"
        )


def _cheapest(mechanism: Mechanism, call: Call) -> Algorithm:
    num_queries, num_keys = call.lengths
    if (
        call.has_dense_mask
        or call.has_score_bias
        or call.is_overridden
        or num_queries is None
        or num_keys is None
        or num_queries * num_keys < _MANY_PAIRS
    ):
        return Dense()
    reach = _reach(mechanism, call)
    if num_queries == num_keys and reach is not None and 4 * max(reach) <= num_keys:
        return Local()
    asks_query = mechanism.position is not None and mechanism.position.asks_query
    if isinstance(mechanism.scope, Mask) and num_queries == num_keys and not asks_query:
        scope = mechanism.mask
        if scope is not None and touched_blocks(scope, num_keys, _BLOCK).mean() < 0.25:
            return BlockSparse(_BLOCK)
    can_chunk = (
        isinstance(mechanism.scope, Mask)
        and isinstance(mechanism.normalizer, Softmax)
        and SCORINGS[mechanism.scoring].is_product
        and not asks_query
        and not call.drops
    )
    return Chunked() if can_chunk else Dense()


def _reach(mechanism: Mechanism, call: Call) -> tuple[int, int] | None:
    """How far a query of this call may look at most, behind and ahead; None for any distance."""
    masks = call.masks(mechanism)
    behind, ahead = (None, None) if masks is None else masks.reach()
    if isinstance(mechanism.scope, AdaptiveSpan):
        farthest = mechanism.scope.size + mechanism.scope.ramp
        behind = farthest if behind is None else min(behind, farthest)
        ahead = farthest if ahead is None else min(ahead, farthest)
    return None if behind is None or ahead is None else (behind, ahead)


def run_algorithm(
    mechanism: Mechanism,
    algorithm: Algorithm,
    call: Call,
    query: Any,
    key: Any,
    value: Any,
    *,
    weights: dict[str, dict[str, Any]],
    wanted: bool,
    dropout: Callable[[Any], Any] | None = None,
    noise: Callable[[Any], Any] | None = None,
) -> tuple[Any, Any]:
    """Attend by an algorithm that holds no matrix.

    Args:
        mechanism: the layer's.
        algorithm: as `choose_algorithm` gave it.
        call: what the layer is called with.
        query: `(batch, query, heads, dim)`, in its place.
        key: `(batch, key, heads, dim)`, in its place.
        value: `(batch, key, heads, value dim)`.
        weights: what scoring, scope, positions and algorithm learned.
        wanted: whether the weights are asked for; they are computed beside the context, which they
            do not change.
        dropout: applied to the weights before they meet the values.
        noise: draws what the normalizer adds to scores of a shape.

    Returns:
        Context `(batch, query, heads, value dim)`, and the weights `(batch, heads, query, key)` or
        None.
    """
    masks = call.masks(mechanism)
    scored: dict[str, Any] = {"mechanism": mechanism, "score_weights": weights["score_weights"]}
    placed: dict[str, Any] = {**scored, "position_weights": weights["position_weights"]}
    drawn: dict[str, Any] = {"dropout": dropout, "noise": noise}
    found = None
    if isinstance(mechanism.scope, MultiScale):
        positions, _ = end_aligned_positions(ops.shape(query)[1], ops.shape(key)[1])
        context, found = pooled_attention(
            query,
            key,
            value,
            factors=mechanism.scope.factors,
            key_mask=call.key_mask,
            query_positions=positions if call.causal else None,
            **scored,
            **drawn,
        )
    elif isinstance(algorithm, LowRank):
        context, found = low_rank_attention(
            query,
            key,
            value,
            key_mask=call.key_mask,
            wanted=wanted,
            **scored,
            **weights["algorithm_weights"],
            **drawn,
        )
    elif isinstance(algorithm, Linear):
        features = {**scored, **weights["algorithm_weights"]}
        features |= {"causal": call.causal, "key_mask": call.key_mask}
        context = linear_attention(query, key, value, **features)
        if wanted:
            found = implied_weights(query, key, **features)
    elif isinstance(algorithm, Chunked):
        context = chunked_attention(
            query, key, value, scope=masks, key_mask=call.key_mask, rows=algorithm.rows, **placed
        )
    elif isinstance(algorithm, Local):
        context = local_attention(
            query,
            key,
            value,
            reach=_trimmed_reach(mechanism, call, weights["scope_weights"]),
            scope=masks,
            key_mask=call.key_mask,
            scope_weights=weights["scope_weights"],
            **placed,
            **drawn,
        )
    else:
        assert isinstance(algorithm, BlockSparse)
        context = block_sparse_attention(
            query,
            key,
            value,
            scope=masks or Everything(),
            size=algorithm.size,
            key_mask=call.key_mask,
            **placed,
            **drawn,
        )
    if wanted and found is None:
        query_positions, key_positions = end_aligned_positions(
            ops.shape(query)[1], ops.shape(key)[1]
        )
        _, found = dense_attention(
            query,
            key,
            value,
            mask=_matrix(call, masks, query, key),
            distances=key_positions[None] - query_positions[:, None],
            scope_weights=weights["scope_weights"],
            **placed,
        )
    if call.query_mask is not None:
        asked = ops.cast(call.query_mask, "bool")
        context = ops.where(asked[:, :, None, None], context, ops.zeros_like(context))
        if found is not None:
            found = ops.where(asked[:, None, :, None], found, ops.zeros_like(found))
    return context, found


def _trimmed_reach(mechanism: Mechanism, call: Call, scope_weights: dict[str, Any]) -> Any:
    """As `_reach`, cut down to what the learned spans let any head see."""
    reach = _reach(mechanism, call)
    if reach is None or not isinstance(mechanism.scope, AdaptiveSpan):
        return reach
    if keras.backend.backend() == "jax":
        return reach  # Shapes cannot follow values there.
    trimmed = mechanism.scope.reach(scope_weights["span"])
    return trimmed, 0 if reach[1] == 0 else trimmed


def _matrix(call: Call, masks: Mask | None, query: Any, key: Any) -> Any:
    """All masks but that of the queries as one, `(batch, 1, query, key)` or None."""
    lengths = ops.shape(query)[1], ops.shape(key)[1]
    return merge_masks(
        None if masks is None else masks.dense(*lengths)[None, None],
        None if call.key_mask is None else call.key_mask[:, None, None, :],
    )
