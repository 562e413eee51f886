"""What training minimises."""

from __future__ import annotations

from typing import Any

from keras import ops

from attention_apps.attention.hard import reinforce
from attention_apps.running.cross_entropy import weighted_mean

FIRST_WORDS = 2
"""Words of a caption that need not tell which photo it is of."""


def doubly_stochastic(weights: Any, word_weights: Any) -> Any:
    """Mean over captions and cells of `(1 - sum over words of weights)^2`.

    It asks that every cell be looked at about equally over a caption. The mean over cells, not the
    sum (which is as many times larger as there are cells), so that one factor does for every grid.
    Words behind the end do not count.

    Args:
        weights: `(photos, captions, words, cells)`.
        word_weights: `(photos, captions, words)`, 1 for words and 0 for padding.

    Returns:
        A scalar.

    Reference: Xu et al. 2015, "Show, Attend and Tell", equation 14.
    """
    sums = ops.sum(weights * word_weights[..., None], axis=2)
    is_caption = ops.max(word_weights, axis=2)
    return weighted_mean(ops.mean(ops.square(1.0 - sums), axis=-1), is_caption)


def own_cells(weights: Any, word_weights: Any, has_others: Any) -> Any:
    """How little words look at their own photo's cells where another's stand beside them.

    `-log(mass on the own cells)`, averaged over the words behind the first `FIRST_WORDS`: before
    those it is open which of the two photos is told of. It needs no annotation.

    Args:
        weights: `(photos, captions, words, cells)`, the own cells first, then as many of another.
        word_weights: `(photos, captions, words)`, 1 for words and 0 for padding.
        has_others: `(photos,)`, 1 where the other's cells may be attended to.

    Returns:
        A scalar.
    """
    own = ops.sum(weights[..., : weights.shape[-1] // 2], axis=-1)
    counted = word_weights * ops.cast(has_others, "float32")[:, None, None]
    return weighted_mean(-ops.log(own + 1e-6)[:, :, FIRST_WORDS:], counted[:, :, FIRST_WORDS:])


def hard_attention(
    log_probabilities: Any,
    weights: Any,
    looked: Any,
    word_weights: Any,
    baseline: Any,
    entropy_weight: float,
) -> Any:
    """A loss whose gradient is that of REINFORCE for drawn locations, with an entropy term.

        - sum_t (R_t - b) log w_t(s_t) - e H(w_t),   R_t = mean over u >= t of log p(y_u)

    averaged over words. The reward of a location is how well its own word and those behind it were
    predicted, which is all that it can change; the mean keeps rewards of long captions in scale.

    Args:
        log_probabilities: `(photos, captions, words)` of the words to be said.
        weights: `(photos, captions, words, cells)` the locations were drawn from.
        looked: likewise, 1 at the location that was drawn.
        word_weights: `(photos, captions, words)`, 1 for words and 0 for padding.
        baseline: `b`, a scalar.
        entropy_weight: `e`.

    Returns:
        A scalar.

    Reference: Xu et al. 2015, "Show, Attend and Tell", equations 10 to 12; Williams 1992.
    """
    reward = rewards(log_probabilities, word_weights)
    logarithms = ops.log(weights + 1e-10)
    of_drawn = ops.sum(ops.stop_gradient(looked) * logarithms, axis=-1)
    entropy = -ops.sum(weights * logarithms, axis=-1)
    losses = reinforce(reward, of_drawn, entropy, baseline, entropy_weight)
    return weighted_mean(losses, word_weights)


def rewards(log_probabilities: Any, word_weights: Any) -> Any:
    """Mean log-probability of each word and those behind it, `(photos, captions, words)`."""
    told = ops.flip(ops.cumsum(ops.flip(log_probabilities * word_weights, 2), axis=2), 2)
    left = ops.flip(ops.cumsum(ops.flip(word_weights, 2), axis=2), 2)
    return told / ops.maximum(left, 1.0)
