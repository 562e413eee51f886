"""The running average of the weights that an optimizer keeps with `use_ema=True`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Put the averaged weights into the model; afterwards the raw ones are back bit for bit.

    (`keras.callbacks.SwapEMAWeights` swaps by adding and subtracting, which changes the raw
    weights.) Before the first step there is no average yet and the raw weights stay.

    Args:
        model: a compiled model whose optimizer was made with `use_ema=True`.
    """
    # A loss-scaling optimizer hands everything on to the one inside it.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        raise ValueError(
            f"averaged_weights needs an optimizer made with use_ema=True. Received: {optimizer}"
        )
    if int(optimizer.iterations) == 0:
        yield
        return
    variables = model.trainable_variables
    raw = [variable.numpy() for variable in variables]
    try:
        optimizer.finalize_variable_values(variables)
        yield
    finally:
        for variable, value in zip(variables, raw, strict=True):
            variable.assign(value)
