"""How the learning rate rises and falls."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("attention_apps")
class WarmupCooldown(keras.optimizers.schedules.LearningRateSchedule):
    """Linear rise, then a fall with the inverse square root of the step, then linear to zero.

    The rise and fall are those of Vaswani et al. 2017; the linear end is the cooldown of Zhai et
    al. 2022, "Scaling Vision Transformers", which spends a fixed budget well.

    Args:
        highest: learning rate at the end of the rise.
        warmup_steps: steps of the rise.
        total_steps: steps of the whole training.
        cooldown_share: share of them in which the rate falls linearly to zero.
    """

    def __init__(
        self, highest: float, warmup_steps: int, total_steps: int, cooldown_share: float
    ) -> None:
        self.highest = highest
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.cooldown_share = cooldown_share

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step.

        Args:
            step: number of steps done, a scalar.

        Returns:
            A float32 scalar.
        """
        step = ops.cast(step, "float32") + 1.0
        warmup = float(max(self.warmup_steps, 1))
        rate = ops.minimum(step / warmup, ops.sqrt(warmup / ops.maximum(step, warmup)))
        cooldown_steps = max(self.cooldown_share * self.total_steps, 1.0)
        left = (self.total_steps - step + 1.0) / cooldown_steps
        return self.highest * rate * ops.clip(left, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this schedule again."""
        return {
            "highest": self.highest,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "cooldown_share": self.cooldown_share,
        }
