"""A span that every head learns: how far it looks, and no further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import keras
from keras import ops

from attention_apps.attention.scoring import WeightSpec


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class AdaptiveSpan:
    """Weights `m(|q - k|) exp(s)` over their sum, `m(x) = min(max((ramp + z - x) / ramp, 0), 1)`.

    Every head learns its span z, from 0 to `size`; on the `ramp` behind it weights fall to 0. A
    penalty on the spans' mean keeps them as short as the task allows. Keys that no head can see
    are not computed by the local algorithm, in steps of 64 positions, where the backend has
    shapes that follow values (TensorFlow); on JAX the window is `size + ramp` always.

    Args:
        size: the longest span.
        ramp: positions over which weights fall to 0.
        penalty: what a span of full size adds to the loss.

    Reference: Sukhbaatar et al. 2019, "Adaptive Attention Span in Transformers".
    """

    size: int
    ramp: int = 32
    penalty: float = 0.0

    def __post_init__(self) -> None:
        """Refuse spans of nothing."""
        for name in ("size", "ramp"):
            number = getattr(self, name)
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise ValueError(
                    f"`{name}` of an adaptive span is a whole number of at least 1. "
                    f"Received: {number!r}"
                )
        if self.penalty < 0:
            raise ValueError(f"A penalty is at least 0. Received: penalty={self.penalty}")

    def weights(self, num_heads: int, key_dim: int) -> Mapping[str, WeightSpec]:
        """What this learns: spans as shares of `size`, all in the middle at first."""
        return {"span": ((num_heads,), keras.initializers.Constant(0.5))}

    def spans(self, span: Any) -> Any:
        """Spans in positions, `(heads,)` float32."""
        return ops.clip(ops.cast(span, "float32"), 0.0, 1.0) * self.size

    def loss(self, span: Any) -> Any:
        """What the spans add to the loss, a scalar."""
        return self.penalty * ops.mean(self.spans(span)) / self.size

    def reach(self, span: Any) -> Any:
        """How far the farthest head sees, in whole steps of 64; a scalar integer."""
        farthest = ops.max(self.spans(span)) + self.ramp
        steps = ops.cast(ops.ceil(ops.stop_gradient(farthest) / 64.0), "int32")
        return ops.minimum(steps * 64, self.size + self.ramp)

    def narrow(self, scores: Any, distances: Any, mask: Any, *, span: Any) -> tuple[Any, Any]:
        """Lower the scores on the ramp and forbid what lies behind it.

        Args:
            scores: `(batch, heads, query, key)`.
            distances: position of the key less that of the query, `(query, key)` integers.
            mask: booleans broadcastable to `scores`, True = may attend; None allows everything.
            span: `(heads,)`, learned.

        Returns:
            Scores, float32, and the mask, both broadcastable to `(batch, heads, query, key)`.
        """
        behind = ops.cast(ops.abs(distances), "float32") - self.spans(span)[:, None, None]
        share = ops.clip(1.0 - behind / self.ramp, 0.0, 1.0)
        seen = share > 0
        scores = ops.cast(scores, "float32") + ops.log(ops.where(seen, share, 1.0))
        if mask is not None:
            seen = ops.logical_and(seen, ops.cast(mask, "bool"))
        return scores, seen

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this scope again."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AdaptiveSpan:
        """Build the scope from what `get_config` returned."""
        return cls(**config)

    def __str__(self) -> str:
        """Write the word of a flag that chooses this scope."""
        return f"span:{self.size}"
