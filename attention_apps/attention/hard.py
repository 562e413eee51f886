"""Hard attention: all weight on one key, and the ways to learn which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from attention_apps.attention.normalizers import (
    Normalizer,
    emptied,
    lowered,
    masked_softmax,
    widened,
)


def highest_place(scores: Any, mask: Any = None) -> Any:
    """1 at the highest score of each row that may be attended, the first of equal ones; else 0.

    Args:
        scores: `(batch, heads, query, key)`.
        mask: booleans broadcastable to `scores`, True = may attend; None allows everything.

    Returns:
        `(batch, heads, query, key)`, float32, without gradients; a row in which nothing may be
        attended holds zeros.
    """
    scores = ops.stop_gradient(lowered(widened(scores), mask))
    scores = ops.where(scores == 0, 0.0, scores)  # Keras takes -0 for less than 0.
    places = ops.arange(ops.shape(scores)[-1], dtype="int32")
    highest = ops.cast(ops.argmax(scores, axis=-1), "int32")[..., None]
    return emptied(ops.cast(ops.equal(places, highest), scores.dtype), mask)


def gumbel_noise(shape: Any, seed: keras.random.SeedGenerator) -> Any:
    """Noise `-log(-log(u))`: the highest of scores and noise is a draw from their softmax.

    Args:
        shape: of the scores.
        seed: where the draw comes from.

    Returns:
        Float32 of that shape.

    Reference: Gumbel 1954; Maddison et al. 2014, "A* Sampling".
    """
    uniform = keras.random.uniform(shape, minval=1e-7, maxval=1.0 - 1e-7, seed=seed)
    return -ops.log(-ops.log(uniform))


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Hard(Normalizer):
    """1 for the highest score, 0 for the others; gradients are those of the softmax.

    The straight-through estimator: forward `argmax(s)`, backward `softmax(s)`. Every row is still
    scored whole: it is sharper than the softmax, not cheaper.

    Reference: Bengio et al. 2013, "Estimating or Propagating Gradients Through Stochastic Neurons".
    """

    name = "hard"

    def __call__(self, scores: Any, mask: Any = None, noise: Any = None) -> Any:
        """See `Normalizer.__call__`."""
        soft = masked_softmax(scores, mask)
        # In this order the forward value is exactly 0 or 1.
        return highest_place(scores, mask) + (soft - ops.stop_gradient(soft))

    def __str__(self) -> str:
        """Write the word of a flag that chooses this normalizer."""
        return self.name


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class Gumbel(Normalizer):
    """Training: `softmax((s + g) / temperature)` with Gumbel noise g; otherwise `argmax(s)`.

    A draw from `softmax(s)` that has gradients; the lower the temperature, the nearer to a single
    key and the noisier the gradients.

    Args:
        temperature: above 0.

    Reference: Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax"; Maddison et
    al. 2017, "The Concrete Distribution".
    """

    temperature: float = 1.0

    name = "gumbel"
    draws = True

    def __post_init__(self) -> None:
        """Refuse a temperature that divides by nothing."""
        if not self.temperature > 0:
            raise ValueError(f"A temperature is above 0. Received: {self.temperature!r}")

    def __call__(self, scores: Any, mask: Any = None, noise: Any = None) -> Any:
        """See `Normalizer.__call__`."""
        if noise is None:
            return highest_place(scores, mask)
        scores = widened(scores)
        drawn = (scores + ops.cast(noise, scores.dtype)) / self.temperature
        return masked_softmax(drawn, mask)

    def __str__(self) -> str:
        """Write the word of a flag that chooses this normalizer."""
        return f"{self.name}:{self.temperature:g}"


def sample_place(scores: Any, mask: Any = None, noise: Any = None) -> tuple[Any, Any, Any]:
    """Draw one key from the softmax, with what REINFORCE needs to learn from the draw.

    The draw itself has no gradient; a loss with `reinforce` has that of the expected reward.

    Args:
        scores: `(batch, heads, query, key)`.
        mask: booleans broadcastable to `scores`, True = may attend; None allows everything.
        noise: from `gumbel_noise`, of the shape of `scores`; None takes the likeliest key.

    Returns:
        Weights `(batch, heads, query, key)`, 1 for the drawn key and 0 for the others; the
        logarithm of its probability and the entropy of the softmax, both
        `(batch, heads, query)`, 0 for rows in which nothing may be attended.

    Reference: Xu et al. 2015, "Show, Attend and Tell"; Williams 1992 (REINFORCE).
    """
    scores = lowered(widened(scores), mask)
    shares = masked_softmax(scores, mask)
    logarithms = emptied(scores - ops.logsumexp(scores, axis=-1, keepdims=True), mask)
    drawn = scores if noise is None else scores + ops.cast(noise, scores.dtype)
    weights = highest_place(drawn, mask)
    log_probability = ops.sum(weights * logarithms, axis=-1)
    return weights, log_probability, -ops.sum(shares * logarithms, axis=-1)


def reinforce(
    reward: Any, log_probability: Any, entropy: Any, baseline: Any, entropy_weight: float
) -> Any:
    """`-(R - b) log p(s) - e H(p)`: in expectation its gradient is that of `-R - e H`.

    Reward and baseline are held fixed: the draw is what learns. The baseline moves no gradient in
    expectation, only how far single draws stray from it.

    Args:
        reward: R, how well what was drawn did; of any shape.
        log_probability: of what was drawn, as `sample_place` gives it, of that shape.
        entropy: of what it was drawn from, of that shape.
        baseline: b, a scalar, as `moved_baseline` keeps it.
        entropy_weight: e; the higher, the longer the draws stay varied.

    Returns:
        The losses, of that shape.

    Reference: Xu et al. 2015, "Show, Attend and Tell", equation 12; Williams 1992 (REINFORCE).
    """
    return -ops.stop_gradient(reward - baseline) * log_probability - entropy_weight * entropy


def moved_baseline(baseline: Any, mean_reward: Any, momentum: float = 0.9) -> Any:
    """`m b + (1 - m) R`: the exponential average of the rewards of all batches so far.

    Args:
        baseline: b, before this batch; a weight that is not trained and is saved with the model.
        mean_reward: R, the mean reward of this batch.
        momentum: m, how much of the past is kept.

    Returns:
        b behind this batch, without gradients.

    Reference: Xu et al. 2015, "Show, Attend and Tell", section 4.1 (there with m = 0.9).
    """
    return ops.stop_gradient(momentum * baseline + (1.0 - momentum) * mean_reward)
