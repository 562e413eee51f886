"""The units of a model's inputs and answers, kept in the model, so that they travel with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from attention_apps.running.command import UserError

if TYPE_CHECKING:
    from forecasting.scaling import Scaling

_NAMES = ("center", "scale", "feature_center", "feature_scale", "known_center", "known_scale")


@keras.saving.register_keras_serializable("attention_apps.forecasting")
class Units(keras.layers.Layer):
    """Holds what `Scaling` measured, in float64; nothing of it is learned.

    Args:
        num_variables: variables that are read.
        num_targets: variables that are forecast.
        num_features: what is read of each row and variable.
        num_columns: declared columns whose future is known.
        **kwargs: Keras's layer arguments.
    """

    def __init__(
        self,
        *,
        num_variables: int,
        num_targets: int,
        num_features: int,
        num_columns: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sizes = {
            "num_variables": num_variables,
            "num_targets": num_targets,
            "num_features": num_features,
            "num_columns": num_columns,
        }

    def build(self, input_shape: Any = None) -> None:
        """Create the values: centre 0 and unit 1."""
        features = (self.sizes["num_variables"], self.sizes["num_features"])
        targets, columns = (self.sizes["num_targets"],), (self.sizes["num_columns"],)
        shapes = (targets, targets, features, features, columns, columns)
        for name, shape in zip(_NAMES, shapes, strict=True):
            start = "ones" if name.endswith("scale") else "zeros"
            kept = self.add_weight(
                name=name, shape=shape, initializer=start, trainable=False, dtype="float64"
            )
            setattr(self, name, kept)

    def take(self, scaling: Scaling) -> None:
        """Set the values to what was measured on the training part."""
        for name in _NAMES:
            getattr(self, name).assign(getattr(scaling, name))

    def refuse_others(self, scaling: Scaling) -> None:
        """Refuse data whose training part is not the one that this model learned from.

        Args:
            scaling: measured on the data as it is now.

        Raises:
            UserError: when a value differs by more than rounding.
        """
        for name in _NAMES:
            kept, found = getattr(self, name).numpy(), getattr(scaling, name)
            if kept.shape != found.shape or not np.allclose(kept, found, rtol=1e-9, atol=1e-12):
                raise UserError(
                    "The data has changed since training: its training part has another "
                    f"{name.replace('_', ' ')}, and figures of it would say nothing of this model. "
                    "Evaluate on the files that it was trained on (predict --data-dir takes new "
                    "ones), or train anew. "
                    f"Received: {_told(found)}, expected: {_told(kept)}"
                )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this layer again."""
        return {**super().get_config(), **self.sizes}


def _told(values: np.ndarray) -> str:
    first = ", ".join(f"{value:.6g}" for value in values.ravel()[:3])
    return f"[{first}{', ...' if values.size > 3 else ''}]"
