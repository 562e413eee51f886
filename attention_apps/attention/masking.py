"""How masks of several sources become one, and how what they forbid is kept from spreading."""

from __future__ import annotations

from typing import Any

from keras import ops


def merge_masks(*masks: Any) -> Any:
    """AND all masks that are given; None when none is."""
    merged = None
    for mask in masks:
        if mask is not None:
            mask = ops.cast(mask, "bool")
            merged = mask if merged is None else ops.logical_and(merged, mask)
    return merged


def with_axes(mask: Any, rank: int) -> Any:
    """Put axes of size 1 in front until the mask has `rank` axes."""
    for _ in range(rank - len(mask.shape)):
        mask = mask[None]
    return mask


def attendable(tensor: Any, key_mask: Any) -> Any:
    """Put zeros where `key_mask` forbids, so that not even a NaN there can spread."""
    return ops.where(key_mask[..., None], tensor, ops.zeros_like(tensor))
