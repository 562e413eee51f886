"""Exact attention with memory that does not grow with query x key: a few scores at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from attention_apps.attention.masks import Mask, end_aligned_positions
from attention_apps.attention.normalizers import LOWEST, emptied, lowered
from attention_apps.attention.score_shaping import soft_cap
from attention_apps.attention.scoring import SCORINGS

if TYPE_CHECKING:
    from attention_apps.attention.mechanism import Mechanism

# Scores that all heads of a panel have at once, in numbers: 2 MB, what a core's own cache holds.
# With AVX-512 panels of eight heads and 16 MB take 1.1 times the time.
_PANEL = 2**19
# Queries of a panel: fewer make narrow products, which cost more than what leaves the cache does;
# but one head's scores may not take more than 16 MB.
_FEWEST_ROWS, _MOST_ROWS = 32, 256
_ONE_HEAD = 2**22
# Rows of a multiple of so many numbers lie on the same lines of a processor's first cache, and on
# some products that read down a panel then take twice the time; with some keys more they do not.
_CLASH = 1024
_SPARE_KEYS = 16


def chunked_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mechanism: Mechanism,
    scope: Mask | None = None,
    key_mask: Any = None,
    score_weights: dict[str, Any] | None = None,
    position_weights: dict[str, Any] | None = None,
    rows: int | None = None,
) -> Any:
    """`softmax(q.k) v` for `rows` queries and some heads of one example at a time.

    Nothing of the forward pass is kept but its inputs and the context: the backward pass computes
    the weights of every chunk again. Time grows with query x key, memory with `rows x key`; the
    numbers are those of the dense algorithm.

    Args:
        query: `(batch, query, heads, dim)`.
        key: `(batch, key, heads, dim)`.
        value: `(batch, key, heads, value dim)`.
        mechanism: with softmax, a scoring that is a product, and no bias that asks the query.
        scope: who may attend to whom; None allows everything.
        key_mask: `(batch, key)` booleans, True = may attend.
        score_weights: what the scoring learns.
        position_weights: what the positions learn.
        rows: queries of a chunk; None for what a core's caches hold.

    Returns:
        Context `(batch, query, heads, value dim)` in the type of `value`.

    Reference: Rabe and Staats 2021, "Self-attention Does Not Need O(n^2) Memory"; the gradient as
    in Dao et al. 2022, "FlashAttention".
    """
    query, key = SCORINGS[mechanism.scoring].factors(query, key, **(score_weights or {}))
    num_queries, num_keys = ops.shape(query)[1], ops.shape(key)[1]
    if rows is None:
        rows = _fitting_rows(num_keys)
    if isinstance(num_queries, int):
        rows = min(rows, num_queries)
    heads = _fitting_heads(query.shape[2], rows, num_keys)
    position, bias = mechanism.position, None
    if position is not None and position.adds_bias:
        # By distance, from the last query and the first key to the first query and the last key.
        distances = ops.arange(num_queries + num_keys - 1) - (num_keys - 1)
        bias = position.bias(query, distances[None], query.shape[2], **(position_weights or {}))
        bias = ops.reshape(bias, (-1, heads, num_queries + num_keys - 1))
    panels = _Panels(rows, heads, scope, key_mask, mechanism.soft_cap, (num_queries, num_keys))
    return panels.attend(query, key, value, *([] if bias is None else [bias]))


def _fitting_rows(num_keys: Any) -> int:
    if not isinstance(num_keys, int):
        return 128
    rows = 2 ** (_ONE_HEAD // num_keys).bit_length() // 2
    return min(max(_FEWEST_ROWS, rows), _MOST_ROWS)


def _fitting_heads(num_heads: int, rows: int, num_keys: Any) -> int:
    """Heads of a panel: so many that groups of them are all alike."""
    if not isinstance(num_keys, int):
        return num_heads
    heads = num_heads
    while heads > 1 and (num_heads % heads or heads * rows * num_keys > _PANEL):
        heads -= 1
    return heads


class _Panels:
    """The scores of some queries and heads of one example with all keys, panel after panel."""

    def __init__(
        self,
        rows: int,
        heads: int,
        scope: Mask | None,
        key_mask: Any,
        cap: float | None,
        lengths: Any,
    ) -> None:
        self.rows = rows
        self.heads = heads
        self.scope = scope
        self.key_mask = None if key_mask is None else ops.cast(key_mask, "bool")
        self.cap = cap
        self.num_queries, self.num_keys = lengths
        self.num_chunks = (self.num_queries + rows - 1) // rows
        self.key_positions = end_aligned_positions(*lengths)[1]
        # Chunks are all of one size: behind the last query stand some that nobody asks for.
        self.excess = self.num_chunks * rows - self.num_queries

    def attend(self, query: Any, key: Any, value: Any, *bias: Any) -> Any:
        """Context of all queries, with a gradient that computes every panel again."""

        @ops.custom_gradient
        def attend(query: Any, key: Any, value: Any, *bias: Any) -> Any:
            context = self._forward(query, key, value, bias)

            def gradient(upstream: Any) -> Any:
                return self._backward(query, key, value, bias, context, upstream)

            return context, gradient

        return attend(query, key, value, *bias)

    def _forward(self, query: Any, key: Any, value: Any, bias: Any) -> Any:
        def of_example(_: Any, example: Any) -> tuple[Any, Any]:
            queries = self._chunks(query[example])
            keys, values = self._groups(key[example]), self._groups(value[example])

            def of_group(_: Any, group: Any) -> tuple[Any, Any]:
                q, k, v = queries[group], keys[group], values[group]
                bias_of_group = [part[group] for part in bias]

                def of_chunk(_: Any, chunk: Any) -> tuple[Any, Any]:
                    weights, _unused = self._weights(
                        q[chunk], k, bias_of_group, example, chunk, spare=0
                    )
                    context = ops.matmul(ops.cast(weights, v.dtype), v)
                    return context, context

                like = ops.zeros((self.heads, self.rows, v.shape[-1]), dtype=v.dtype)
                chunks = ops.scan(of_chunk, like, ops.arange(self.num_chunks))[1]
                return chunks, chunks

            like = ops.zeros((self.num_chunks, self.heads, self.rows, value.shape[-1]), value.dtype)
            context = self._joined(ops.scan(of_group, like, ops.arange(queries.shape[0]))[1])
            return context, context

        like = ops.zeros((self.num_queries, query.shape[2], value.shape[-1]), dtype=value.dtype)
        return ops.scan(of_example, like, ops.arange(ops.shape(query)[0]))[1]

    def _backward(
        self, query: Any, key: Any, value: Any, bias: Any, context: Any, upstream: Any
    ) -> Any:
        # What is summed over chunks is summed in float32, or in what is wider already.
        wide = keras.backend.result_type(query.dtype, "float32")
        clashing = isinstance(self.num_keys, int) and self.num_keys % _CLASH == 0
        spare = _SPARE_KEYS if clashing and self.cap is None else 0

        def of_example(_: Any, example: Any) -> tuple[Any, Any]:
            queries = self._chunks(query[example])
            upstreams = self._chunks(ops.cast(upstream[example], value.dtype))
            keys, values = (
                ops.pad(self._groups(tensor[example]), ((0, 0), (0, 0), (0, spare), (0, 0)))
                for tensor in (key, value)
            )
            scored = self._with_lowest(queries, keys) if spare else (queries, keys)
            # The mean of a query's gradients by weight is that of its context. It is taken from
            # them inside their product, which saves a pass over the panel.
            means = ops.cast(upstream[example], wide) * ops.cast(context[example], wide)
            means = _parts(self._chunks(ops.sum(means, axis=-1, keepdims=True)), value.dtype)
            centred = ops.concatenate([upstreams, -means], axis=-1)
            centring = ops.pad(values, ((0, 0), (0, 0), (0, 0), (0, 2)), constant_values=1)

            def of_group(_: Any, group: Any) -> tuple[Any, Any]:
                q, g, g_centred = queries[group], upstreams[group], centred[group]
                k, v_centring = keys[group], centring[group]
                q_scored, k_scored = (part[group] for part in scored)
                bias_of_group = [part[group] for part in bias]

                def of_chunk(
                    chunk: Any, q_grad: Any, k_grad: Any, v_grad: Any, *b_grad: Any
                ) -> Any:
                    weights, slope = self._weights(
                        q_scored[chunk], k_scored, bias_of_group, example, chunk, spare
                    )
                    v_grad = v_grad + ops.cast(
                        ops.matmul(_turned(g[chunk]), ops.cast(weights, g.dtype)), wide
                    )
                    by_weight = ops.matmul(g_centred[chunk], _turned(v_centring))
                    by_score = weights * ops.cast(by_weight, weights.dtype)
                    if bias:
                        b_grad = (b_grad[0] + self._by_distance(by_score, chunk, spare),)
                    if slope is not None:
                        by_score = by_score * slope
                    by_score = ops.cast(by_score, k.dtype)
                    k_grad = k_grad + ops.cast(ops.matmul(_turned(q[chunk]), by_score), wide)
                    found = ops.matmul(by_score, k)
                    # Not slice_update, which copies all that it does not change.
                    q_grad = ops.scatter_update(q_grad, [[chunk]], found[None])
                    return (_after(chunk + 1, found), q_grad, k_grad, v_grad, *b_grad)

                start = (
                    ops.zeros_like(q),
                    ops.zeros_like(_turned(k), dtype=wide),
                    ops.zeros_like(_turned(values[group]), dtype=wide),
                    *(ops.zeros_like(part) for part in bias_of_group),
                )
                _, *gradients = ops.while_loop(
                    lambda chunk, *_: chunk < self.num_chunks,
                    of_chunk,
                    (ops.convert_to_tensor(0), *start),
                )
                return tuple(gradients), tuple(gradients)

            like = (
                ops.zeros_like(queries[0]),
                *(ops.zeros_like(_turned(tensor[0]), dtype=wide) for tensor in (keys, values)),
                *(ops.zeros_like(part[0]) for part in bias),
            )
            _, (q_grad, k_grad, v_grad, *b_grad) = ops.scan(
                of_group, like, ops.arange(queries.shape[0])
            )
            gradients = (
                ops.cast(self._joined(q_grad), query.dtype),
                ops.cast(_by_key(k_grad)[: self.num_keys], key.dtype),
                ops.cast(_by_key(v_grad)[: self.num_keys], value.dtype),
                *b_grad,
            )
            return gradients, gradients

        like = tuple(ops.zeros_like(tensor[0]) for tensor in (query, key, value))
        like = (*like, *(ops.zeros_like(part) for part in bias))
        _, gradients = ops.scan(of_example, like, ops.arange(ops.shape(query)[0]))
        return (*gradients[:3], *(ops.sum(part, axis=0) for part in gradients[3:]))

    def _weights(
        self, q: Any, k: Any, bias: Any, example: Any, chunk: Any, spare: int
    ) -> tuple[Any, Any]:
        """Weights of a panel, `(heads, rows, key)` float32, and the slope of the soft cap.

        The last `spare` keys are none: with the lowest score, their weights are 0.
        """
        if q.dtype == "float16":
            q, k = ops.cast(q, "float32"), ops.cast(k, "float32")
        scores = ops.matmul(q, _turned(k))
        if scores.dtype != "float64":
            scores = ops.cast(scores, "float32")
        slope = None
        if self.cap is not None:
            scores = soft_cap(scores, self.cap)
            slope = 1.0 - ops.square(scores / self.cap)
        rows = chunk * self.rows + ops.arange(self.rows)
        if bias:
            places = self._places(rows, spare)
            scores = scores + ops.take(ops.cast(bias[0], scores.dtype), places, axis=1)
        mask = None
        if self.scope is not None:
            positions = rows + (self.num_keys - self.num_queries)
            mask = self.scope.allowed(positions[:, None], self._keys(spare)[None])[None]
        if self.key_mask is not None:
            kept = ops.pad(self.key_mask[example], ((0, spare),))[None, None]
            mask = kept if mask is None else ops.logical_and(mask, kept)
        return emptied(ops.softmax(lowered(scores, mask)), mask), slope

    def _with_lowest(self, queries: Any, keys: Any) -> tuple[Any, Any]:
        """Give each vector one number more, so that spare keys get the lowest score.

        It comes out of the product, which saves a pass over the panel.
        """
        spare = ops.arange(keys.shape[2]) >= self.num_keys
        lowest = ops.cast(ops.cast(spare, "float32") * LOWEST, keys.dtype)[:, None]
        queries = ops.concatenate([queries, ops.ones_like(queries[..., :1])], axis=-1)
        keys = ops.concatenate([keys, ops.zeros_like(keys[..., :1]) + lowest], axis=-1)
        return queries, keys

    def _keys(self, spare: int) -> Any:
        """Positions of the keys; those of the spare ones, which have no weight, are 0."""
        return ops.pad(self.key_positions, ((0, spare),))

    def _places(self, rows: Any, spare: int) -> Any:
        """Where the bias of a row and a key stands in the bias by distance, `(rows, key)`."""
        places = self._keys(spare) - rows[:, None] + (self.num_queries - 1)
        return ops.maximum(places, 0)  # Of rows behind the last query, which have no gradient.

    def _by_distance(self, by_score: Any, chunk: Any, spare: int) -> Any:
        """Sum gradients `(heads, rows, key)` of scores to those of the bias `(heads, distance)`."""
        rows = chunk * self.rows + ops.arange(self.rows)
        flat = ops.reshape(ops.transpose(by_score, (1, 2, 0)), (-1, by_score.shape[0]))
        places = ops.reshape(self._places(rows, spare), (-1,))
        sums = ops.segment_sum(flat, places, num_segments=self.num_queries + self.num_keys - 1)
        return ops.transpose(sums)

    def _groups(self, tensor: Any) -> Any:
        """From `(key, all heads, dim)` to `(groups, heads, key, dim)`."""
        _, num_heads, dim = tensor.shape
        shape = (num_heads // self.heads, self.heads, -1, dim)
        return ops.reshape(ops.transpose(tensor, (1, 0, 2)), shape)

    def _chunks(self, tensor: Any) -> Any:
        """From `(query, all heads, dim)` to `(groups, chunks, heads, rows, dim)`."""
        if not isinstance(self.excess, int) or self.excess:
            tensor = ops.pad(tensor, ((0, self.excess), (0, 0), (0, 0)))
        _, num_heads, dim = tensor.shape
        groups = num_heads // self.heads
        tensor = ops.reshape(tensor, (-1, self.rows, groups, self.heads, dim))
        return ops.transpose(tensor, (2, 0, 3, 1, 4))

    def _joined(self, chunks: Any) -> Any:
        """From `(groups, chunks, heads, rows, dim)` to `(query, all heads, dim)`."""
        groups, _, heads, _, dim = chunks.shape
        chunks = ops.transpose(chunks, (1, 3, 0, 2, 4))
        return ops.reshape(chunks, (-1, groups * heads, dim))[: self.num_queries]


def _by_key(tensor: Any) -> Any:
    """From `(groups, heads, dim, key)` to `(key, all heads, dim)`."""
    groups, heads, dim, _ = tensor.shape
    return ops.reshape(ops.transpose(tensor, (3, 0, 1, 2)), (-1, groups * heads, dim))


def _turned(tensor: Any) -> Any:
    return ops.transpose(tensor, (0, 2, 1))


def _parts(tensor: Any, dtype: str) -> Any:
    """Numbers as two of the type `dtype` that add up to them: one may be too short for them."""
    high = ops.cast(tensor, dtype)
    low = ops.cast(tensor - ops.cast(high, tensor.dtype), dtype)
    return ops.concatenate([high, low], axis=-1)


def _after(number: Any, tensor: Any) -> Any:
    """`number`, but not before `tensor` is there: TensorFlow would begin many chunks at once."""
    sample = ops.reshape(tensor, (-1,))[:1]
    never = ops.logical_and(ops.isnan(sample), ops.isinf(sample))
    return number + ops.sum(ops.cast(never, "int32"))
