"""Greedy search, sampling and beam search over one `step`; they always return the attention.

A model hands over one function and decodes by it in eager code, in graphs, under XLA and in an
exported signature alike:

    step(state, tokens, encoded) -> (logits, state, weights)

- `tokens`: `(batch,)` int32, the previous token of every hypothesis.
- `state`: a nest of tensors of constant shape and dtype (a cache is a buffer of full length; in
  TensorFlow's graphs an axis of unknown size may change its size, unless XLA compiles them).
  Leaves of rank 1 or more have the hypotheses first and follow them when the beam reorders;
  leaves of rank 0, such as the position, are shared.
- `encoded`: a nest of tensors, batch first, the same at every step. None is passed through.
- `logits`: `(batch, vocabulary_size)` of any float dtype.
- `weights`: `(batch, ...)`, such as `(batch, layers, heads, key)`: what the step attended to.

State and encoded are given with one row per example; the beam repeats them itself. To learn the
shape of the weights, `step` is called once more on the first row alone, outside the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import ops, tree

from attention_apps.attention.sampling import draw, uniforms_of
from attention_apps.attention.step_records import StepRecord

Tensor = Any
Step = Callable[[Any, Tensor, Any], tuple[Tensor, Any, Tensor]]
Choice = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]

_NEVER = float("-inf")


class Decoded(NamedTuple):
    """What a search found: the hypotheses of each row, best first, and what they attended to.

    A hypothesis that the length limit cut off has no end token and stands behind all that ended.
    Where fewer hypotheses exist than were asked for, length 0 and score -inf fill the places.
    """

    tokens: Tensor
    """`(batch, hypotheses, max_length)` int32; `pad_id` after the end token."""
    lengths: Tensor
    """`(batch, hypotheses)` int32, the end token counted."""
    scores: Tensor
    """`(batch, hypotheses)` float32, log-probability over length penalty."""
    weights: Tensor
    """`(batch, hypotheses, max_length, ...)` float32; `weights[:, :, i]` is what was attended to
    when token i was chosen, zero after the end token."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What every search of a model keeps to.

    Raises:
        ValueError: if a number is out of range.

    Reference:
        Wu et al. 2016, "Google's Neural Machine Translation System", section 7 (length penalty).
    """

    start_id: int
    """The token fed before the first step."""
    end_id: int
    """The token that ends a hypothesis."""
    max_length: int
    """How many tokens a hypothesis may have, the end token counted."""
    pad_id: int = 0
    """What stands after the end token, and in a prefix where nothing is forced."""
    forbidden: tuple[int, ...] = ()
    """Ids that are never chosen, such as padding, start and unknown; the probabilities of the
    others sum to one."""
    length_penalty: float | Tensor = 0.6
    """Alpha of `((5 + length) / 6) ** alpha`, by which log-probabilities are divided to become
    scores; 0 compares plain log-probabilities. A tensor of rank 0, such as an input of a graph that
    tries several, is taken unchecked."""

    def __post_init__(self) -> None:
        """Refuse lengths and penalties that make no sense."""
        if self.max_length < 1:
            raise ValueError(f"max_length must be at least 1. Received: {self.max_length}")
        if not ops.is_tensor(self.length_penalty) and self.length_penalty < 0:
            raise ValueError(f"length_penalty must not be below 0. Received: {self.length_penalty}")

    def score(self, log_probability: Tensor, length: Tensor) -> Tensor:
        """The score of a hypothesis of this log-probability and length."""
        return log_probability / ((5.0 + ops.cast(length, "float32")) / 6.0) ** self.length_penalty


def greedy(
    step: Step,
    state: Any,
    encoded: Any,
    rules: Rules,
    *,
    length_limit: Tensor | None = None,
    prefix: Tensor | None = None,
) -> Decoded:
    """Take the most probable token at every step, of equals the lower id: a beam of one.

    Args:
        step: the model, see the head of this file.
        state: what `step` starts from, one row per example.
        encoded: what `step` reads, one row per example.
        rules: start, end and length of the hypotheses.
        length_limit: `(batch,)` integers, the `max_length` of single rows; values outside 1 to
            `max_length` are moved to the nearest of these.
        prefix: `(batch, prefix_length)` integers, the tokens that the hypotheses of each row begin
            with, then `pad_id`. They may be forbidden ones, and count with the probability that
            the model gives them.

    Returns:
        One hypothesis per row.

    Raises:
        ValueError: if an argument is out of range or `step` breaks its contract.
    """
    return beam_search(
        step, state, encoded, rules, beam_size=1, length_limit=length_limit, prefix=prefix
    )


def sample(
    step: Step,
    state: Any,
    encoded: Any,
    rules: Rules,
    *,
    seed: int | Tensor | keras.random.SeedGenerator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    length_limit: Tensor | None = None,
    prefix: Tensor | None = None,
) -> Decoded:
    """Draw every token from the model's distribution, made sharper or cut as asked.

    Temperature, `top_k` and `top_p` change what is drawn, not its score, which is the model's own.
    `top_p` without `top_k` sorts the whole vocabulary at every step.

    Args:
        step, state, encoded, rules, length_limit, prefix: as in `greedy`.
        seed: an integer, an integer tensor of rank 0 (an input of a signature, say), or a
            `SeedGenerator` for other samples in every call. What is drawn depends on the seed, the
            row's place in the batch and the step alone, in every mode and on every backend.
        temperature: divides the logits; above 1 flattens, below 1 sharpens.
        top_k: draw from the `top_k` most probable tokens only.
        top_p: of these, draw from the fewest most probable that hold this share of probability.

    Returns:
        One hypothesis per row.

    Raises:
        ValueError: if an argument is out of range or `step` breaks its contract.

    Reference:
        Fan et al. 2018, "Hierarchical Neural Story Generation" (`top_k`);
        Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration" (`top_p`).
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature must be above 0; its limit is greedy. Received: {temperature}"
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, or None for all. Received: {top_k}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1. Received: {top_p}")
    uniforms = uniforms_of(seed, _batch_size(state, encoded), rules.max_length)

    def drawn(
        logits: Tensor, log_normalizer: Tensor, running: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        uniform = ops.take(uniforms, position, axis=1)[:, None]
        tokens = draw(logits / temperature, uniform, top_k, top_p)
        gained = ops.take_along_axis(logits, tokens, axis=1) - log_normalizer
        return running + gained, ops.zeros_like(tokens), tokens

    return _search(step, state, encoded, rules, drawn, 1, 1, length_limit, prefix)


def beam_search(
    step: Step,
    state: Any,
    encoded: Any,
    rules: Rules,
    *,
    beam_size: int,
    num_hypotheses: int = 1,
    length_limit: Tensor | None = None,
    prefix: Tensor | None = None,
) -> Decoded:
    """Follow the `beam_size` most probable beginnings and return the best ends.

    At every step the `beam_size` best continuations are kept. Those that end leave the beam and
    are frozen; the `num_hypotheses` best of them by score are remembered. A row is finished when
    no beginning left in its beam can beat the worst of these, whatever follows. Of equals, the one
    that ended first is taken, then the one of the earlier beam, then the lower token id.

    Args:
        step, state, encoded, rules, length_limit, prefix: as in `greedy`.
        beam_size: how many beginnings are followed.
        num_hypotheses: how many hypotheses are returned per row, at most `beam_size`.

    Returns:
        `num_hypotheses` hypotheses per row, best first.

    Raises:
        ValueError: if an argument is out of range or `step` breaks its contract.
    """
    if not 1 <= num_hypotheses <= beam_size:
        raise ValueError(
            "num_hypotheses must be at least 1 and at most beam_size. "
            f"Received: num_hypotheses={num_hypotheses}, beam_size={beam_size}"
        )
    return _search(
        step, state, encoded, rules, _best, beam_size, num_hypotheses, length_limit, prefix
    )


class _Hypotheses(NamedTuple):
    """Some hypotheses of each row, as a beam holds or remembers them."""

    scores: Tensor  # (batch, hypotheses); log-probabilities while they run, -inf for none
    lengths: Tensor  # (batch, hypotheses)
    trails: Tensor  # (batch, hypotheses, max_length, 2): token, and the beam it was added to


def _search(
    step: Step,
    state: Any,
    encoded: Any,
    rules: Rules,
    choose: Choice,
    beam_size: int,
    num_hypotheses: int,
    length_limit: Tensor | None,
    prefix: Tensor | None,
) -> Decoded:
    """The one loop of all searches; `choose` picks the continuations that each step keeps."""
    batch = _batch_size(state, encoded)
    state = tree.map_structure(ops.convert_to_tensor, state)
    vocabulary_size, weights_shape = _probed(step, state, encoded, rules)
    ban = [_NEVER if token in rules.forbidden else 0.0 for token in range(vocabulary_size)]
    ban = ops.convert_to_tensor(ban, "float32")
    limits = _limits(length_limit, batch, rules)
    forced = None if prefix is None else _forced(prefix, batch, beam_size, rules)
    encoded = tree.map_structure(lambda leaf: _repeated(leaf, beam_size), encoded)
    leaves = tuple(_repeated(leaf, beam_size) for leaf in tree.flatten(state))

    def unfinished(position: Tensor, tokens: Tensor, done: Tensor, *_: Any) -> Tensor:
        return ops.logical_and(position < rules.max_length, ops.logical_not(ops.all(done)))

    def advance(
        position: Tensor,
        tokens: Tensor,
        done: Tensor,
        running: _Hypotheses,
        ended: _Hypotheses,
        seen: Tensor,
        leaves: tuple[Tensor, ...],
    ) -> tuple[Any, ...]:
        logits, new_state, weights = step(tree.pack_sequence_as(state, leaves), tokens, encoded)
        logits = ops.cast(logits, "float32")
        if forced is None:
            logits = logits + ban
            log_normalizer = ops.logsumexp(logits, axis=-1, keepdims=True)
        else:
            token = ops.take(forced, position, axis=1)[:, None]
            logits = logits + ops.where(token == rules.pad_id, ban, 0.0)
            log_normalizer = ops.logsumexp(logits, axis=-1, keepdims=True)
            others = ops.arange(vocabulary_size, dtype="int32") != token
            logits = ops.where((token != rules.pad_id) & others, _NEVER, logits)
        scores, parents, chosen = choose(logits, log_normalizer, running.scores, position)

        length = position + 1
        trails = ops.where(
            ops.arange(rules.max_length, dtype="int32")[:, None] == position,
            ops.stack([chosen, parents], axis=-1)[:, :, None],
            _picked(running.trails, parents),
        )
        ends = chosen == rules.end_id
        frozen = ops.where(ends & ~done[:, None], rules.score(scores, length), _NEVER)
        lengths = ops.full_like(running.lengths, length)
        ended = _best_of(num_hypotheses, ended, _Hypotheses(frozen, lengths, trails))
        # A row that is done keeps what it ran with: the length limit may have cut it off.
        going_on = _Hypotheses(ops.where(ends, _NEVER, scores), lengths, trails)
        running = _Hypotheses(
            *(
                ops.where(_like(done, new), old, new)
                for old, new in zip(running, going_on, strict=True)
            )
        )
        hope = rules.score(ops.max(running.scores, axis=1), limits)
        done = done | (length >= limits) | (hope <= ended.scores[:, -1])

        seen = record.written(seen, position, ops.cast(weights, "float32"))
        rows = None if beam_size == 1 else ops.reshape(_flat(parents, beam_size), (-1,))
        leaves = tuple(
            _followed(new, old, rows)
            for new, old in zip(tree.flatten(new_state), leaves, strict=True)
        )
        return length, ops.reshape(chosen, (-1,)), done, running, ended, seen, leaves

    record = StepRecord(rules.max_length, (batch * beam_size, *weights_shape))
    first_alone = ops.where(ops.arange(beam_size) == 0, 0.0, _NEVER)
    nothing = _nothing(batch, beam_size, rules)
    _, _, _, running, ended, seen, _ = ops.while_loop(
        unfinished,
        advance,
        (
            ops.convert_to_tensor(0, "int32"),
            ops.full((batch * beam_size,), rules.start_id, dtype="int32"),
            ops.zeros((batch,), dtype="bool"),
            nothing._replace(scores=ops.maximum(nothing.scores, first_alone)),
            _nothing(batch, num_hypotheses, rules),
            record.empty(),
            leaves,
        ),
    )
    cut_off = running._replace(scores=rules.score(running.scores, running.lengths))
    found = _filled(ended, _best_of(num_hypotheses, cut_off))
    return _decoded(found, record.stacked(seen), beam_size, rules)


def _best(
    logits: Tensor, log_normalizer: Tensor, running: Tensor, position: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the best continuations of all beams: first the best of each, then the best of those.

    Args:
        logits: `(batch * beam, vocabulary)`.
        log_normalizer: `(batch * beam, 1)`, subtracted only where it matters.
        running: `(batch, beam)`, log-probabilities so far, -inf for places that nobody holds.
        position: the step; all are alike here.

    Returns:
        Log-probabilities, parents and tokens, each `(batch, beam)`, best first.
    """
    beam_size, width = running.shape[1], min(running.shape[1], logits.shape[1])
    best, tokens = ops.top_k(logits, width)
    sums = running[:, :, None] + ops.reshape(best - log_normalizer, (-1, beam_size, width))
    # NaN, from a place that nobody holds or a step that leaves nothing to say, is no candidate.
    sums = ops.where(sums > _NEVER, sums, _NEVER)
    sums, kept = ops.top_k(ops.reshape(sums, (-1, beam_size * width)), beam_size)
    tokens = ops.reshape(tokens, (-1, beam_size * width))
    return sums, kept // width, _picked(tokens, kept)


def _nothing(batch: Any, count: int, rules: Rules) -> _Hypotheses:
    """Places for `count` hypotheses that nobody holds yet."""
    return _Hypotheses(
        ops.full((batch, count), _NEVER, dtype="float32"),
        ops.zeros((batch, count), dtype="int32"),
        ops.zeros((batch, count, rules.max_length, 2), dtype="int32"),
    )


def _best_of(count: int, *groups: _Hypotheses) -> _Hypotheses:
    """The `count` best hypotheses of some groups; of equals the one of the earlier group."""
    joined = _Hypotheses(*(ops.concatenate(parts, axis=1) for parts in zip(*groups, strict=True)))
    _, kept = ops.top_k(joined.scores, count)
    return _Hypotheses(*(_picked(values, kept) for values in joined))


def _filled(ended: _Hypotheses, cut_off: _Hypotheses) -> _Hypotheses:
    """What ended, and in the places that are left what the length limit cut off."""
    count = ended.scores.shape[1]
    places = ops.arange(count, dtype="int32")
    num_ended = ops.sum(ops.cast(ended.scores > _NEVER, "int32"), axis=1, keepdims=True)
    order = ops.where(places < num_ended, places, count + places - num_ended)
    joined = (ops.concatenate(parts, axis=1) for parts in zip(ended, cut_off, strict=True))
    return _Hypotheses(*(_picked(values, order) for values in joined))


def _decoded(found: _Hypotheses, seen: Tensor, beam_size: int, rules: Rules) -> Decoded:
    """Read tokens off the trails, and the weights of just these hypotheses off what was seen.

    Args:
        found: the hypotheses to return.
        seen: `(step, batch * beam, ...)`, the weights of all beams in the order of their step.
        beam_size: how many beams a row had.
        rules: of the search.
    """
    lengths = ops.where(found.scores > _NEVER, found.lengths, 0)
    steps = ops.arange(rules.max_length, dtype="int32")
    inside = steps < lengths[:, :, None]
    tokens = ops.where(inside, found.trails[..., 0], rules.pad_id)
    size, *shape = ops.shape(seen)[1:]
    places = steps * size + _flat(found.trails[..., 1], beam_size)
    weights = ops.take(ops.reshape(seen, (rules.max_length * size, *shape)), places, axis=0)
    weights = ops.where(_like(inside, weights), weights, 0.0)
    return Decoded(tokens, lengths, found.scores, weights)


def _batch_size(state: Any, encoded: Any) -> Any:
    """How many examples there are: an integer, or a tensor where a graph cannot know."""
    for leaf in tree.flatten((encoded, state)):
        if leaf is not None and ops.ndim(leaf) > 0:
            return ops.shape(leaf)[0]
    raise ValueError(
        "encoded or state must have a tensor of rank 1 or more to tell the batch size. "
        f"Received: encoded={encoded}, state={state}"
    )


def _limits(length_limit: Tensor | None, batch: Any, rules: Rules) -> Tensor:
    """The most tokens that each row may have: `(batch,)` int32."""
    if length_limit is None:
        return ops.full((batch,), rules.max_length, dtype="int32")
    length_limit = ops.convert_to_tensor(length_limit, "int32")
    if len(length_limit.shape) != 1:
        raise ValueError(
            "length_limit must have one number per row, shape (batch,). "
            f"Received: shape {tuple(length_limit.shape)}"
        )
    return ops.clip(length_limit, 1, rules.max_length)


def _forced(prefix: Tensor, batch: Any, beam_size: int, rules: Rules) -> Tensor:
    """The token forced on each step, or `pad_id`: `(batch * beam, max_length)` int32."""
    prefix = ops.convert_to_tensor(prefix, "int32")
    width = prefix.shape[-1] if len(prefix.shape) == 2 else rules.max_length + 1
    if width is not None and width > rules.max_length:
        raise ValueError(
            "prefix must have shape (batch, prefix_length) with prefix_length at most "
            f"max_length={rules.max_length}. Received: shape {tuple(prefix.shape)}"
        )
    free = ops.full((batch, rules.max_length), rules.pad_id, dtype="int32")
    return _repeated(ops.concatenate([prefix, free], axis=1)[:, : rules.max_length], beam_size)


def _probed(step: Step, state: Any, encoded: Any, rules: Rules) -> tuple[int, tuple[Any, ...]]:
    """Ask `step` about the first row and hold it to its contract.

    Only shapes are read, so that compiled code drops the call where they are known beforehand.

    Returns:
        The size of the vocabulary, and the shape of the weights without the batch.
    """
    state, encoded = tree.map_structure(
        lambda leaf: leaf if leaf is None or ops.ndim(leaf) == 0 else leaf[:1], (state, encoded)
    )
    tokens = ops.full((1,), rules.start_id, dtype="int32")
    logits, new_state, weights = step(state, tokens, encoded)
    size = logits.shape[1] if len(logits.shape) == 2 else None
    if size is None or len(weights.shape) == 0:
        raise ValueError(
            "step must return logits of shape (batch, vocabulary_size), the size known, and "
            "weights of shape (batch, ...). "
            f"Received: shapes {tuple(logits.shape)} and {tuple(weights.shape)}"
        )
    ids = {rules.start_id, rules.end_id, *rules.forbidden}
    if min(ids) < 0 or max(ids) >= size or len(set(rules.forbidden)) == size:
        raise ValueError(
            f"start_id, end_id and forbidden must be ids of the model's {size} tokens, and one "
            f"token must stay allowed. Received: {rules}"
        )
    tree.assert_same_structure(state, new_state)
    for old, new in zip(tree.flatten(state), tree.flatten(new_state), strict=True):
        new = ops.convert_to_tensor(new)
        sizes = zip(old.shape[1:], new.shape[1:], strict=False)
        alike = all(before == after or None in (before, after) for before, after in sizes)
        if not alike or len(old.shape) != len(new.shape) or old.dtype != new.dtype:
            raise ValueError(
                "step must return the state in the shapes and dtypes it was given; write into "
                f"buffers of full length instead of growing them. Received: {new.dtype} of shape "
                f"{tuple(new.shape)} for {old.dtype} of shape {tuple(old.shape)}"
            )
    return size, tuple(ops.shape(weights)[1:])


def _repeated(leaf: Any, beam_size: int) -> Any:
    """Each row `beam_size` times in a row: `(batch, ...)` to `(batch * beam, ...)`."""
    if leaf is None or ops.ndim(leaf) == 0 or beam_size == 1:
        return leaf
    batch, *rest = ops.shape(leaf)
    leaf = ops.broadcast_to(leaf[:, None], (batch, beam_size, *rest))
    return ops.reshape(leaf, (batch * beam_size, *rest))


def _followed(new: Tensor, old: Tensor, rows: Tensor | None) -> Tensor:
    """A leaf of the state with its beams reordered, in the shape that the loop knows."""
    if len(old.shape) > 0 and rows is not None:
        new = ops.take(new, rows, axis=0)
    return new if tuple(new.shape) == tuple(old.shape) else ops.reshape(new, ops.shape(old))


def _flat(places: Tensor, count: int) -> Tensor:
    """Places among `count` in each row, `(batch, ...)`, as places in all rows laid end to end."""
    first = ops.arange(ops.shape(places)[0], dtype="int32") * count
    return places + _like(first, places)


def _picked(values: Tensor, places: Tensor) -> Tensor:
    """Of the values of each row, `(batch, count, ...)`, those at `places`, `(batch, chosen)`."""
    batch, count, *rest = ops.shape(values)
    return ops.take(ops.reshape(values, (batch * count, *rest)), _flat(places, count), axis=0)


def _like(leading: Tensor, other: Tensor) -> Tensor:
    """`leading` with axes of size 1 added at its end, to be combined with `other`."""
    return ops.reshape(
        leading, (*ops.shape(leading), *(1 for _ in other.shape[len(leading.shape) :]))
    )
