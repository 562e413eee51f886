"""The one loop of all searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops, tree

from attention_apps.attention.hypotheses import (
    NEVER,
    Decoded,
    Hypotheses,
    Rules,
    Tensor,
    best_of,
    filled_up,
    flat_places,
    no_hypotheses,
    picked,
    read_off,
    widened,
)
from attention_apps.attention.step_records import StepRecord

Step = Callable[[Any, Tensor, Any], tuple[Tensor, Any, Tensor]]
Choice = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def search(
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
    """Step until every row is finished, and return the best of what ended.

    Args:
        step, state, encoded, rules, length_limit, prefix: as in `decoding.greedy`.
        choose: picks the continuations that each step keeps, from logits
            `(batch * beam, vocabulary)`, what normalises them `(batch * beam, 1)`,
            log-probabilities so far `(batch, beam)` and the number of the step: their
            log-probabilities, parents and tokens, each `(batch, beam)`.
        beam_size: how many beginnings are followed.
        num_hypotheses: how many hypotheses are returned per row.

    Returns:
        `num_hypotheses` hypotheses per row, best first.

    Raises:
        ValueError: if an argument is out of range or `step` breaks its contract.
    """
    batch = batch_size(state, encoded)
    state = tree.map_structure(ops.convert_to_tensor, state)
    vocabulary_size, weights_shape = _probed(step, state, encoded, rules)
    ban = [NEVER if token in rules.forbidden else 0.0 for token in range(vocabulary_size)]
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
        running: Hypotheses,
        ended: Hypotheses,
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
            logits = ops.where((token != rules.pad_id) & others, NEVER, logits)
        scores, parents, chosen = choose(logits, log_normalizer, running.scores, position)

        length = position + 1
        trails = ops.where(
            ops.arange(rules.max_length, dtype="int32")[:, None] == position,
            ops.stack([chosen, parents], axis=-1)[:, :, None],
            picked(running.trails, parents),
        )
        ends = chosen == rules.end_id
        frozen = ops.where(ends & ~done[:, None], rules.score(scores, length), NEVER)
        lengths = ops.full_like(running.lengths, length)
        ended = best_of(num_hypotheses, ended, Hypotheses(frozen, lengths, trails))
        # A row that is done keeps what it ran with: the length limit may have cut it off.
        going_on = Hypotheses(ops.where(ends, NEVER, scores), lengths, trails)
        running = Hypotheses(
            *(
                ops.where(widened(done, new), old, new)
                for old, new in zip(running, going_on, strict=True)
            )
        )
        hope = rules.score(ops.max(running.scores, axis=1), limits)
        done = done | (length >= limits) | (hope <= ended.scores[:, -1])

        seen = record.written(seen, position, ops.cast(weights, "float32"))
        rows = None if beam_size == 1 else ops.reshape(flat_places(parents, beam_size), (-1,))
        leaves = tuple(
            _followed(new, old, rows)
            for new, old in zip(tree.flatten(new_state), leaves, strict=True)
        )
        return length, ops.reshape(chosen, (-1,)), done, running, ended, seen, leaves

    record = StepRecord(rules.max_length, (batch * beam_size, *weights_shape))
    first_alone = ops.where(ops.arange(beam_size) == 0, 0.0, NEVER)
    nothing = no_hypotheses(batch, beam_size, rules)
    _, _, _, running, ended, seen, _ = ops.while_loop(
        unfinished,
        advance,
        (
            ops.convert_to_tensor(0, "int32"),
            ops.full((batch * beam_size,), rules.start_id, dtype="int32"),
            ops.zeros((batch,), dtype="bool"),
            nothing._replace(scores=ops.maximum(nothing.scores, first_alone)),
            no_hypotheses(batch, num_hypotheses, rules),
            record.empty(),
            leaves,
        ),
    )
    cut_off = running._replace(scores=rules.score(running.scores, running.lengths))
    found = filled_up(ended, best_of(num_hypotheses, cut_off))
    return read_off(found, record.stacked(seen), beam_size, rules)


def batch_size(state: Any, encoded: Any) -> Any:
    """How many examples there are.

    Args:
        state: what a step starts from.
        encoded: what it reads.

    Returns:
        An integer, or a tensor of rank 0 where a graph cannot know.

    Raises:
        ValueError: if neither has a tensor with rows.
    """
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
