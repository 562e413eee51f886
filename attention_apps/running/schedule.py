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


@keras.saving.register_keras_serializable("attention_apps")
class ThenSlower(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule, and behind it another rate that falls linearly to zero.

    Args:
        first: the schedule of the first steps.
        first_steps: how many they are.
        rate: with which the steps behind them begin.
        later_steps: how many those are.
    """

    def __init__(self, first: Any, first_steps: int, rate: float, later_steps: int) -> None:
        self.first = first
        self.first_steps = first_steps
        self.rate = rate
        self.later_steps = later_steps

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step, a float32 scalar."""
        behind = ops.cast(step, "float32") - self.first_steps
        later = self.rate * ops.maximum(1.0 - behind / self.later_steps, 0.0)
        return ops.where(behind < 0, self.first(step), later)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this schedule again."""
        return {
            "first": keras.saving.serialize_keras_object(self.first),
            "first_steps": self.first_steps,
            "rate": self.rate,
            "later_steps": self.later_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ThenSlower:
        """Build the schedule from what `get_config` returned."""
        first = keras.saving.deserialize_keras_object(config["first"])
        return cls(**{**config, "first": first})
