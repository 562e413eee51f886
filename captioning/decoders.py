"""Decoders of captions: recurrent ones that attend in every step, and a Transformer.

All read the words of several captions of each photo at once, so that a photo's regions are prepared
once for all of them. A decoder is a layer with

    decoder(embedded, regions, key_mask) -> {"outputs", "weights", ...}  all words at once
    decoder.begin(regions, key_mask, max_length) -> state, projected     before the first step
    decoder.step(state, embedded, projected) -> outputs, state, weights  one word

`embedded` is `(photos, captions, words, size)`, in a step `(hypotheses, size)`; `regions`
`(photos, cells, dim)`, `key_mask` `(photos, cells)`, True = may attend; `outputs` `(..., dim)`;
`weights` `(photos, captions, layers, heads, words, cells)`, in a step
`(hypotheses, layers, heads, cells)`.
"""

from __future__ import annotations

from typing import Any

import keras

from captioning.hard_decoder import HardDecoder
from captioning.soft_decoder import SoftDecoder
from captioning.transformer_decoder import TransformerDecoder


def build_decoder(settings: dict[str, Any], dtype: Any) -> keras.layers.Layer:
    """The decoder that a model's settings ask for.

    Args:
        settings: of the model; `decoder` is `soft`, `hard` or `transformer`.
        dtype: of its computation.

    Returns:
        A layer, not built yet, that keeps to the head of this file.
    """
    shared: dict[str, Any] = {
        "dim": settings["dim"],
        "cross_attention": settings["cross_attention"],
        "dropout_rate": settings["dropout_rate"],
        "dtype": dtype,
        "name": "decoder",
    }
    if settings["decoder"] == "transformer":
        return TransformerDecoder(
            num_layers=settings["num_decoder_layers"],
            num_heads=settings["num_heads"],
            feedforward_dim=settings["feedforward_dim"],
            decoder_attention=settings["decoder_attention"],
            **shared,
        )
    # A model of a version that knew no such thing has none.
    shared["word_asks"] = settings.get("word_asks", False)
    shared["input_feeding"] = settings.get("input_feeding", True)
    if settings["decoder"] == "hard":
        return HardDecoder(
            estimator=settings["hard_estimator"],
            soft_share=settings["hard_soft_share"],
            # Before there was a temperature, cells were drawn by their weights.
            temperature=settings.get("hard_temperature", 1.0),
            glimpse=settings.get("hard_glimpse", 1),
            **shared,
        )
    return SoftDecoder(**shared)
