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

from typing import Any

import keras
from keras import ops

from attention_apps.attention.hypotheses import NEVER, Decoded, Rules, Tensor, picked
from attention_apps.attention.sampling import draw, uniforms_of
from attention_apps.attention.search import Step, batch_size, search


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
    uniforms = uniforms_of(seed, batch_size(state, encoded), rules.max_length)

    def drawn(
        logits: Tensor, log_normalizer: Tensor, running: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        uniform = ops.take(uniforms, position, axis=1)[:, None]
        tokens = draw(logits / temperature, uniform, top_k, top_p)
        gained = ops.take_along_axis(logits, tokens, axis=1) - log_normalizer
        return running + gained, ops.zeros_like(tokens), tokens

    return search(step, state, encoded, rules, drawn, 1, 1, length_limit, prefix)


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
    return search(
        step, state, encoded, rules, _best, beam_size, num_hypotheses, length_limit, prefix
    )


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
    sums = ops.where(sums > NEVER, sums, NEVER)
    sums, kept = ops.top_k(ops.reshape(sums, (-1, beam_size * width)), beam_size)
    tokens = ops.reshape(tokens, (-1, beam_size * width))
    return sums, kept // width, picked(tokens, kept)
