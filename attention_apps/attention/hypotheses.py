"""What a search holds: hypotheses, the rules they keep to, and how the best are picked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from keras import ops

Tensor = Any

NEVER = float("-inf")
"""Score of a hypothesis that does not exist."""


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


class Hypotheses(NamedTuple):
    """Some hypotheses of each row, as a beam holds or remembers them."""

    scores: Tensor
    """`(batch, hypotheses)` float32; log-probabilities while they run, -inf for none."""
    lengths: Tensor
    """`(batch, hypotheses)` int32."""
    trails: Tensor
    """`(batch, hypotheses, max_length, 2)` int32: token, and the beam it was added to."""


def no_hypotheses(batch: Any, count: int, rules: Rules) -> Hypotheses:
    """Places for hypotheses that nobody holds yet.

    Args:
        batch: number of rows.
        count: places of each.
        rules: of the search.

    Returns:
        `count` hypotheses a row, all of score -inf.
    """
    return Hypotheses(
        ops.full((batch, count), NEVER, dtype="float32"),
        ops.zeros((batch, count), dtype="int32"),
        ops.zeros((batch, count, rules.max_length, 2), dtype="int32"),
    )


def best_of(count: int, *groups: Hypotheses) -> Hypotheses:
    """The best hypotheses of some groups, best first; of equals the one of the earlier group.

    Args:
        count: how many are kept of each row.
        groups: of the same rows.

    Returns:
        `count` hypotheses a row.
    """
    joined = Hypotheses(*(ops.concatenate(parts, axis=1) for parts in zip(*groups, strict=True)))
    _, kept = ops.top_k(joined.scores, count)
    return Hypotheses(*(picked(values, kept) for values in joined))


def filled_up(ended: Hypotheses, cut_off: Hypotheses) -> Hypotheses:
    """What ended, and in the places that are left what the length limit cut off.

    Args:
        ended: hypotheses that ended, best first, then places that nobody holds.
        cut_off: as many that did not end, best first.

    Returns:
        As many hypotheses a row as `ended` has places.
    """
    count = ended.scores.shape[1]
    places = ops.arange(count, dtype="int32")
    num_ended = ops.sum(ops.cast(ended.scores > NEVER, "int32"), axis=1, keepdims=True)
    order = ops.where(places < num_ended, places, count + places - num_ended)
    joined = (ops.concatenate(parts, axis=1) for parts in zip(ended, cut_off, strict=True))
    return Hypotheses(*(picked(values, order) for values in joined))


def read_off(found: Hypotheses, seen: Tensor, beam_size: int, rules: Rules) -> Decoded:
    """Read tokens off the trails, and the weights of just these hypotheses off what was seen.

    Args:
        found: the hypotheses to return.
        seen: `(step, batch * beam, ...)`, the weights of all beams in the order of their step.
        beam_size: how many beams a row had.
        rules: of the search.

    Returns:
        What the search answers.
    """
    lengths = ops.where(found.scores > NEVER, found.lengths, 0)
    steps = ops.arange(rules.max_length, dtype="int32")
    inside = steps < lengths[:, :, None]
    tokens = ops.where(inside, found.trails[..., 0], rules.pad_id)
    size, *shape = ops.shape(seen)[1:]
    places = steps * size + flat_places(found.trails[..., 1], beam_size)
    weights = ops.take(ops.reshape(seen, (rules.max_length * size, *shape)), places, axis=0)
    weights = ops.where(widened(inside, weights), weights, 0.0)
    return Decoded(tokens, lengths, found.scores, weights)


def picked(values: Tensor, places: Tensor) -> Tensor:
    """Of the values of each row those at some places.

    Args:
        values: `(batch, count, ...)`.
        places: `(batch, chosen)` integers below `count`.

    Returns:
        `(batch, chosen, ...)`.
    """
    batch, count, *rest = ops.shape(values)
    flat = ops.reshape(values, (batch * count, *rest))
    return ops.take(flat, flat_places(places, count), axis=0)


def flat_places(places: Tensor, count: int) -> Tensor:
    """Places among `count` in each row as places in all rows laid end to end.

    Args:
        places: `(batch, ...)` integers below `count`.
        count: places of a row.

    Returns:
        `(batch, ...)` integers below `batch * count`.
    """
    first = ops.arange(ops.shape(places)[0], dtype="int32") * count
    return places + widened(first, places)


def widened(leading: Tensor, other: Tensor) -> Tensor:
    """`leading` with axes of size 1 added at its end, to be combined with `other`.

    Args:
        leading: of the first axes of `other`.
        other: of as many axes or more.

    Returns:
        `leading`, of the rank of `other`.
    """
    return ops.reshape(
        leading, (*ops.shape(leading), *(1 for _ in other.shape[len(leading.shape) :]))
    )
