"""A window around a position that the query predicts: the one scope that needs the query itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import keras
from keras import ops

from attention_apps.attention.scoring import WeightSpec


@keras.saving.register_keras_serializable("attention_apps")
@dataclass(frozen=True)
class PredictedWindow:
    """Attend within `size` positions of a predicted one, the nearer the more: local-p.

    Every head predicts the centre `p = S sigmoid(v . tanh(W q))` from its query, where S is the
    number of keys that may be attended, and adds `-(s - p)^2 / (2 (size/2)^2)` to the score of the
    key at position s; keys further than `size` from the centre may not be attended. Positions
    count the keys that may be attended, so that padding moves nothing, wherever it stands.

    The paper multiplies the softmax by that Gaussian, after which a row sums to less than 1. Here
    it comes before the softmax: the same weights, made to sum to 1.

    Args:
        size: `D`, positions to each side of the centre.

    Reference: Luong et al. 2015, "Effective Approaches to Attention-based NMT", local-p.
    """

    size: int

    def __post_init__(self) -> None:
        """Refuse an empty window."""
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise ValueError(
                "A predicted window needs a whole number of positions of at least 1. "
                f"Received: {self.size!r}"
            )

    def weights(self, num_heads: int, key_dim: int) -> Mapping[str, WeightSpec]:
        """What the prediction learns: for every weight its name, shape and Keras initialiser."""
        return {
            "center_kernel": ((num_heads, key_dim, key_dim), "glorot_uniform"),
            "center_vector": ((num_heads, key_dim), "glorot_uniform"),
        }

    def narrow(
        self, scores: Any, query: Any, mask: Any, *, center_kernel: Any, center_vector: Any
    ) -> tuple[Any, Any]:
        """Lower the scores away from the centre and forbid what is outside the window.

        Args:
            scores: `(batch, heads, query, key)`.
            query: `(batch, query, heads, dim)`, from which the centre is predicted.
            mask: booleans broadcastable to `scores`, True = may attend; None allows everything.
            center_kernel: `W`, `(heads, dim, dim)`.
            center_vector: `v`, `(heads, dim)`.

        Returns:
            Scores `(batch, heads, query, key)`, float32, and the mask `(batch, heads, query, key)`.
        """
        scores = ops.cast(scores, "float32")
        allowed = ops.ones_like(scores, dtype="bool") if mask is None else ops.cast(mask, "bool")
        counted = ops.cumsum(ops.cast(allowed, "int32"), axis=-1)
        positions, lengths = counted - 1, counted[..., -1:]
        kernel, vector = (ops.cast(w, query.dtype) for w in (center_kernel, center_vector))
        hidden = ops.tanh(ops.einsum("bqhd,hde->bqhe", query, kernel))
        share = ops.sigmoid(ops.cast(ops.einsum("bqhe,he->bhq", hidden, vector), "float32"))
        center = ops.cast(lengths, "float32") * share[..., None]
        distance = ops.cast(positions, "float32") - center
        near = ops.logical_and(allowed, ops.less_equal(ops.abs(distance), float(self.size)))
        return scores - ops.square(distance) * (2.0 / self.size**2), near

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this scope again."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PredictedWindow:
        """Build the scope from what `get_config` returned."""
        return cls(**config)

    def __str__(self) -> str:
        """Write the name by which a flag chooses this scope."""
        return f"local-p:{self.size}"
