"""What training minimises: how well the next item is told from all others, or from some.

A loss is an object called with hidden states, item vectors, targets and weights. Each says how
many negatives it wants the batches to bring.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from keras import ops

from recommendation.config import Config

CHUNK = 512
"""Targets whose scores of all items are in memory at once; a batch holds whole chunks."""

_SMALLEST = 1e-37  # of float32, nearly: losses above 85 nats are told as 85


class Loss:
    """What training minimises."""

    needs: ClassVar[Literal["none", "shared", "own"]] = "none"
    """Which negatives: none, some for the whole batch, or one for every target."""

    def __call__(
        self, hidden: Any, table: Any, target: Any, weights: Any, negatives: Any = None
    ) -> Any:
        """Average the loss over the weighted targets.

        Args:
            hidden: `(targets, dim)` what the model made of each history.
            table: `(items, dim)` the vectors of all items.
            target: `(targets,)` rows of `table`, int32.
            weights: `(targets,)` float32; 0 is padding.
            negatives: rows of `table`, `(negatives,)` where shared, `(targets,)` where own.

        Returns:
            A float32 scalar, in nats.
        """
        raise TypeError(f"{type(self).__name__} must define `__call__`.")


def make_loss(config: Config, popularity: Any) -> Loss:
    """The loss that a configuration names.

    Args:
        config: `loss` and what belongs to it are used.
        popularity: `(items,)` NumPy counts, by which negatives may be drawn.

    Returns:
        The loss.
    """
    if config.loss == "softmax":
        return FullSoftmax()
    if config.loss == "bce":
        return BinaryCrossEntropy()
    if config.loss == "gbce":
        return GeneralisedBinaryCrossEntropy(
            num_items=len(popularity),
            num_negatives=config.num_negatives,
            calibration=config.calibration,
        )
    return SampledSoftmax(draw_probabilities(config, popularity), config.num_negatives)


def draw_probabilities(config: Config, popularity: Any) -> Any:
    """With what probability each item is drawn as a negative, `(items,)`, NumPy float64.

    An item without a count is drawn as if it had half of one.
    """
    if config.negatives == "uniform":
        return popularity * 0.0 + 1.0 / len(popularity)
    smoothed = popularity.clip(min=0.5)
    return smoothed / smoothed.sum()


@ops.custom_gradient
def softmax_cross_entropy(hidden: Any, table: Any, target: Any, weights: Any) -> Any:
    """Sum of `w (lse(h E) - h e_y)` over targets, a chunk of targets at a time.

    Both gradients, `w (softmax(h E) E - e_y)` and `softmax(h E)^T w h - [y] w h`, are computed on
    the way, while the chunk's scores are at hand: nothing of the size targets x items is kept, and
    three matrix products are all that is paid.

    Args:
        hidden: `h`, `(targets, dim)`, a whole number of chunks.
        table: `E`, `(items, dim)`.
        target: `y`, `(targets,)` int32 rows of the table.
        weights: `w`, `(targets,)` float32.

    Returns:
        A float32 scalar, in nats.
    """
    num_items, dim = table.shape
    dtype = hidden.dtype
    count = ops.shape(hidden)[0]
    weighted = ops.cast(hidden, "float32") * weights[:, None]
    weighted = ops.cast(weighted, dtype)
    by_item = ops.transpose(table)

    def more(start: Any, *_: Any) -> Any:
        return start < count

    def chunk(start: Any, loss: Any, of_hidden: Any, of_table: Any) -> Any:
        part = ops.slice(hidden, (start, 0), (CHUNK, dim))
        chosen = ops.slice(target, (start,), (CHUNK,))
        share = ops.slice(weights, (start,), (CHUNK,))
        wide = ops.softmax(ops.cast(ops.matmul(part, by_item), "float32"))
        likely = ops.take_along_axis(wide, chosen[:, None], axis=-1)[:, 0]
        loss = loss - ops.sum(share * ops.log(ops.maximum(likely, _SMALLEST)))
        narrow = ops.cast(wide, dtype)
        expected = ops.cast(ops.matmul(narrow, table), "float32")
        of_hidden = ops.slice_update(of_hidden, (start, 0), expected)
        part = ops.slice(weighted, (start, 0), (CHUNK, dim))
        product = ops.matmul(ops.transpose(narrow), part)
        return start + CHUNK, loss, of_hidden, of_table + ops.cast(product, "float32")

    _, loss, expected, of_table = ops.while_loop(
        more,
        chunk,
        (
            ops.zeros((), "int32"),
            ops.zeros((), "float32"),
            ops.zeros((count, dim), "float32"),
            ops.zeros((num_items, dim), "float32"),
        ),
    )
    of_target = ops.cast(ops.take(table, target, axis=0), "float32")
    of_hidden = (expected - of_target) * weights[:, None]
    of_table = of_table - ops.segment_sum(
        ops.cast(weighted, "float32"), target, num_segments=num_items
    )

    def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any, None, None]:
        # Backends hand the upstream gradient over by position or by name.
        upstream = args[0] if upstream is None else upstream
        return (
            ops.cast(of_hidden * upstream, dtype),
            ops.cast(of_table * upstream, table.dtype),
            None,
            None,
        )

    return loss, gradient


class FullSoftmax(Loss):
    """Cross-entropy over the whole catalogue; see `softmax_cross_entropy`.

    Reference: Klenitskiy and Vasilev 2023, "Turning Dross Into Gold Loss: is BERT4Rec really
    better than SASRec?".
    """

    def __call__(
        self, hidden: Any, table: Any, target: Any, weights: Any, negatives: Any = None
    ) -> Any:
        """See `Loss.__call__`."""
        loss = softmax_cross_entropy(hidden, table, target, weights)
        return loss / ops.maximum(ops.sum(weights), 1.0)


class SampledSoftmax(Loss):
    """Cross-entropy among the target and `k` drawn items, whose scores are `s - log(k q)`.

    The correction makes it approach the full softmax as the number of drawn items grows, however
    they are drawn. The target, which is always there, needs none; drawn again it does not count.

    Args:
        probabilities: `q`, `(items,)` with what probability an item is drawn.
        num_negatives: items drawn for a batch.

    Reference: Bengio and Senecal 2008, "Adaptive Importance Sampling to Accelerate Training of a
    Neural Probabilistic Language Model"; the uncorrected target is that of Khrylchenko et al.
    2025, "Correcting the LogQ Correction: Revisiting Sampled Softmax for Large-Scale Retrieval".
    """

    needs = "shared"

    def __init__(self, probabilities: Any, num_negatives: int) -> None:
        self._log_expected = ops.log(
            ops.convert_to_tensor(probabilities * num_negatives, "float32")
        )

    def __call__(
        self, hidden: Any, table: Any, target: Any, weights: Any, negatives: Any = None
    ) -> Any:
        """See `Loss.__call__`."""
        positive = _of_target(hidden, table, target)
        drawn = ops.matmul(hidden, ops.transpose(ops.take(table, negatives, axis=0)))
        drawn = ops.cast(drawn, "float32") - ops.take(self._log_expected, negatives)
        drawn = ops.where(negatives[None] == target[:, None], -1e30, drawn)
        everything = ops.concatenate([positive[:, None], drawn], axis=-1)
        return _mean(ops.logsumexp(everything, axis=-1) - positive, weights)


class GeneralisedBinaryCrossEntropy(Loss):
    """`-(b log sigmoid(s_y) + sum_n log(1 - sigmoid(s_n))) / (n + 1)`, drawn items shared.

    `b = a (t (1 - 1 / a) + 1 / a)` with `a` the share of the other items that is drawn undoes the
    overconfidence of training with few negatives: fully for `t` = 1, not at all for `t` = 0.

    Args:
        num_items: size of the catalogue.
        num_negatives: `n`, items drawn for a batch.
        calibration: `t`.

    Reference: Petrov and Macdonald 2023, "gSASRec: Reducing Overconfidence in Sequential
    Recommendation Trained with Negative Sampling".
    """

    needs = "shared"

    def __init__(self, *, num_items: int, num_negatives: int, calibration: float) -> None:
        share = min(1.0, num_negatives / max(num_items - 1, 1))
        self.power = share * (calibration * (1 - 1 / share) + 1 / share)
        self._count = num_negatives

    def __call__(
        self, hidden: Any, table: Any, target: Any, weights: Any, negatives: Any = None
    ) -> Any:
        """See `Loss.__call__`."""
        positive = self.power * _softplus(-_of_target(hidden, table, target))
        drawn = ops.matmul(hidden, ops.transpose(ops.take(table, negatives, axis=0)))
        drawn = _softplus(ops.cast(drawn, "float32"))
        drawn = ops.where(negatives[None] == target[:, None], 0.0, drawn)
        return _mean((positive + ops.sum(drawn, axis=-1)) / (self._count + 1), weights)


class BinaryCrossEntropy(Loss):
    """`-log sigmoid(s_y) - log(1 - sigmoid(s_n))` with one drawn item for each target.

    The loss of the first SASRec, kept for comparison: it learns much less from the same data.

    Reference: Kang and McAuley 2018, "Self-Attentive Sequential Recommendation".
    """

    needs = "own"

    def __call__(
        self, hidden: Any, table: Any, target: Any, weights: Any, negatives: Any = None
    ) -> Any:
        """See `Loss.__call__`."""
        positive = _softplus(-_of_target(hidden, table, target))
        drawn = _softplus(_of_target(hidden, table, negatives))
        return _mean(positive + ops.where(negatives == target, 0.0, drawn), weights)


def _of_target(hidden: Any, table: Any, target: Any) -> Any:
    """Scores `(targets,)` of one item for each hidden state, float32."""
    return ops.sum(ops.cast(hidden * ops.take(table, target, axis=0), "float32"), axis=-1)


def _mean(losses: Any, weights: Any) -> Any:
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)


def _softplus(scores: Any) -> Any:
    """`log(1 + exp(s))`, finite for every score."""
    return ops.maximum(scores, 0.0) + ops.log1p(ops.exp(-ops.abs(scores)))
