"""What every step of a loop hands out, kept until the loop has ended."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class StepRecord:
    """A place for one tensor a step, all of one shape.

    TensorFlow copies a buffer whole for every step that is written into it, so there it is a list
    of tensors; other backends, which compile a loop, write in place.

    Args:
        num_steps: how many steps there are at most.
        shape: of what a step hands out: integers, or scalar tensors where a graph cannot know.
        dtype: of it.
    """

    def __init__(self, num_steps: int, shape: tuple[Any, ...], dtype: str = "float32") -> None:
        self._num_steps = num_steps
        self._shape = shape
        self._dtype = dtype
        self._is_list = keras.backend.backend() == "tensorflow"

    def empty(self) -> Any:
        """The state of a loop that has recorded nothing: one tensor."""
        if not self._is_list:
            return ops.zeros((self._num_steps, *self._shape), dtype=self._dtype)
        from attention_apps.attention.tensorflow_graphs import empty_list

        return empty_list(self._num_steps, self._element_shape(), self._dtype)

    def written(self, state: Any, step: Any, tensor: Any) -> Any:
        """The state with what a step handed out.

        Args:
            state: as `empty` or the last call gave it.
            step: index of the step, an int32 scalar.
            tensor: of the shape and dtype that were declared.
        """
        if not self._is_list:
            return ops.slice_update(state, (step,) + (0,) * len(self._shape), tensor[None])
        from attention_apps.attention.tensorflow_graphs import with_element

        return with_element(state, step, tensor)

    def stacked(self, state: Any) -> Any:
        """All steps, `(num_steps, ...)`; zeros where none was recorded."""
        if not self._is_list:
            return state
        from attention_apps.attention.tensorflow_graphs import stacked

        return stacked(state, self._num_steps, self._element_shape(), self._dtype)

    def _element_shape(self) -> Any:
        return ops.stack([ops.cast(size, "int32") for size in self._shape])
