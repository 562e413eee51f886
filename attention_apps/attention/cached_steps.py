"""Attention step by step: keys and values projected once, or gathered in a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras import ops

from attention_apps.attention.algorithms.choices import Linear
from attention_apps.attention.algorithms.linear import implied_weights, linear_attention
from attention_apps.attention.algorithms.pooled import pooled_attention
from attention_apps.attention.choosing import Call, run_algorithm
from attention_apps.attention.grouped_heads import shared_out
from attention_apps.attention.masking import attendable
from attention_apps.attention.masks import causal
from attention_apps.attention.multi_scale import MultiScale
from attention_apps.attention.reporting import report

if TYPE_CHECKING:
    from attention_apps.attention.mechanism import Mechanism


class CachedSteps:
    """What `MultiHeadAttention` does when a decoder asks for one position at a time."""

    mechanism: Mechanism
    num_heads: int
    key_dim: int
    value_dim: int
    compute_dtype: Any
    query_dense: Any
    key_dense: Any
    value_dense: Any
    _attend: Any
    _finish: Any
    _learned: Any
    _placed: Any
    _refuse_prediction_in_one_sequence: Any

    def project(self, value: Any, key: Any = None, key_mask: Any = None) -> dict[str, Any]:
        """Project keys and values once, for decoding that attends to them at every step.

        Args:
            value: `(batch, key, dim)`.
            key: `(batch, key, dim)`, by default `value`.
            key_mask: `(batch, key)` booleans, True = may attend.

        Returns:
            `key` `(batch, key, key-value heads, dim)` and `value` `(batch, key, key-value heads,
            value dim)`.
        """
        key = value if key is None else key
        if key_mask is not None:
            key, value = attendable(key, key_mask), attendable(value, key_mask)
        key = self._placed(self.key_dense(key), "key", None)
        return {"key": key, "value": self.value_dense(value)}

    def empty_cache(
        self, batch_size: Any, max_length: int, *, rolling: bool = False
    ) -> dict[str, Any]:
        """A cache of keys and values for `max_length` positions.

        Args:
            batch_size: number of rows, an int or a scalar tensor.
            max_length: number of positions.
            rolling: keep no more positions than a window can see; the oldest makes room for the
                newest, and `max_length` bounds nothing any more.

        Returns:
            `key` and `value` of shape `(batch, slots, key-value heads, dim)`, zeros; there are
            `max_length` slots, or with `rolling` as many as the window sees.

        Raises:
            ValueError: for a rolling cache without a window.
        """
        if rolling:
            behind = None if self.mechanism.mask is None else self.mechanism.mask.reach()[0]
            if behind is None:
                raise ValueError(
                    "Only what no later query can see may make room in a cache. "
                    f"Received: rolling=True with scope={self.mechanism.scope}. Use window:SIZE."
                )
            max_length = min(max_length, behind + 1)
        shape = (batch_size, max_length, self.mechanism.num_key_value_heads or self.num_heads)
        return {
            "key": ops.zeros((*shape, self.key_dim), dtype=self.compute_dtype),
            "value": ops.zeros((*shape, self.value_dim), dtype=self.compute_dtype),
        }

    def step(self, query: Any, cache: dict[str, Any], position: Any) -> tuple[Any, Any, Any]:
        """Causal self-attention of one new position over a cache.

        Args:
            query: `(batch, 1, dim)`, the new position.
            cache: as `empty_cache` gives it, filled up to `position`.
            position: index of the new position, a scalar.

        Returns:
            Output `(batch, 1, dim)`, the cache with the new position, and the weights
            `(batch, heads, 1, max_length)`.
        """
        self._refuse_prediction_in_one_sequence()
        slots = cache["key"].shape[1]
        position = ops.cast(position, "int32")
        start = (0, position % slots, 0, 0)
        query_positions = ops.reshape(position, (1,))
        # Slots are written in turn: this is the newest position that can stand in each.
        key_positions = position - (position - ops.arange(slots, dtype="int32")) % slots
        projected = self._placed(self.query_dense(query), "query", query_positions)
        new_key = self._placed(self.key_dense(query), "key", query_positions)
        cache = {
            "key": ops.slice_update(cache["key"], start, new_key),
            "value": ops.slice_update(cache["value"], start, self.value_dense(query)),
        }
        key, value = (shared_out(cache[name], self.num_heads) for name in ("key", "value"))
        is_filled = key_positions >= 0
        if self._holds_no_matrix():
            context, weights = self._attend_step(projected, key, value, query_positions, is_filled)
        else:
            scope = causal() if self.mechanism.mask is None else self.mechanism.mask & causal()
            mask = scope.allowed(query_positions[:, None], key_positions[None, :])
            mask = ops.logical_and(mask, is_filled)
            context, weights = self._attend(
                projected,
                key,
                value,
                mask[None, None],
                False,
                distances=key_positions[None] - query_positions[:, None],
            )
        return self._finish(query, context), cache, weights

    def _holds_no_matrix(self) -> bool:
        """Whether a single query is not simply attended densely too."""
        mechanism = self.mechanism
        return not mechanism.algorithm.is_exact or isinstance(mechanism.scope, MultiScale)

    def _attend_step(
        self, query: Any, key: Any, value: Any, query_positions: Any, is_filled: Any
    ) -> tuple[Any, Any]:
        """One position of an algorithm that is not the dense one's twin."""
        scope, learned = self.mechanism.scope, self._learned()
        shared: dict[str, Any] = {
            "mechanism": self.mechanism,
            "score_weights": learned["score_weights"],
        }
        if isinstance(scope, MultiScale):
            context, weights = pooled_attention(
                query,
                key,
                value,
                factors=scope.factors,
                query_positions=query_positions,
                **shared,
            )
        elif isinstance(self.mechanism.algorithm, Linear):
            shared.update(learned["algorithm_weights"])
            context = linear_attention(query, key, value, key_mask=is_filled[None], **shared)
            mask = is_filled[None, None, None]
            weights = implied_weights(query, key, mask=mask, **shared)
        else:
            raise ValueError(
                "Low-rank attention mixes keys of all positions and cannot leave out the future: "
                f"it has no cache. Received: {self.mechanism.algorithm}. Choose linear."
            )
        report(self, weights)
        return context, weights

    def attend(
        self, query: Any, projected: dict[str, Any], key_mask: Any = None
    ) -> tuple[Any, Any]:
        """Cross-attention to keys and values that `project` gave.

        Args:
            query: `(batch, query, dim)`.
            projected: `key` and `value`, `(batch, key, key-value heads, dim)`.
            key_mask: `(batch, key)` booleans, True = may attend.

        Returns:
            Output `(batch, query, dim)` and the weights `(batch, heads, query, key)`.
        """
        projected_query = self._placed(self.query_dense(query), "query", None)
        key, value = (shared_out(projected[name], self.num_heads) for name in ("key", "value"))
        if self._holds_no_matrix():
            context, weights = run_algorithm(
                self.mechanism,
                self.mechanism.algorithm,
                Call(lengths=(query.shape[1], key.shape[1]), key_mask=key_mask),
                projected_query,
                key,
                value,
                weights=self._learned(),
                wanted=True,
            )
            report(self, weights)
        else:
            mask = None if key_mask is None else key_mask[:, None, None, :]
            context, weights = self._attend(projected_query, key, value, mask, False)
        return self._finish(query, context), weights
