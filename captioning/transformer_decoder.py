"""A Transformer over the words, with cross-attention to the cells."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attention_apps.attention.blocks import DecoderBlock
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.positions import SinusoidalPositions


@keras.saving.register_keras_serializable("attention_apps.captioning")
class TransformerDecoder(keras.layers.Layer):
    """Transformer blocks over the words, with cross-attention to the regions.

    Args:
        dim: size of regions, words and outputs.
        num_layers: number of blocks.
        num_heads: number of heads of each.
        feedforward_dim: size of the inner feed-forward layers.
        decoder_attention: attention among words, as a flag names it.
        cross_attention: attention of words to regions.
        dropout_rate: share dropped of what each half of a block adds, in training.
        **kwargs: Keras's layer arguments.

    Reference: Vaswani et al. 2017, "Attention Is All You Need".
    """

    def __init__(
        self,
        *,
        dim: int,
        num_layers: int,
        num_heads: int,
        feedforward_dim: int,
        decoder_attention: str = "full",
        cross_attention: str = "full",
        dropout_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dim = dim
        mechanism = parse_mechanism(decoder_attention)
        # Rotary positions act inside attention; adding sinusoids as well would say it twice.
        self.positions = (
            SinusoidalPositions(dtype=self.dtype_policy, name="positions")
            if mechanism.position is None
            else None
        )
        self.blocks = [
            DecoderBlock(
                num_heads=num_heads,
                key_dim=dim // num_heads,
                feedforward_dim=feedforward_dim,
                dropout_rate=dropout_rate,
                mechanism=mechanism,
                cross_mechanism=parse_mechanism(cross_attention),
                dtype=self.dtype_policy,
                name=f"block_{index}",
            )
            for index in range(num_layers)
        ]
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=self.dtype_policy, name="norm"
        )
        self.drop = keras.layers.Dropout(dropout_rate, dtype=self.dtype_policy)

    def build(self, embedded_shape: Any, regions_shape: Any) -> None:
        """Create the weights."""
        shape = (None, None, self.dim)
        for block in self.blocks:
            block.build(shape, shape)
        self.norm.build(shape)
        self.built = True

    def _placed(self, embedded: Any, start: Any) -> Any:
        # Embeddings have entries of about 1, as sinusoids have.
        return embedded if self.positions is None else self.positions(embedded, start=start)

    def begin(self, regions: Any, key_mask: Any, max_length: int) -> tuple[dict[str, Any], Any]:
        """Prepare empty caches, and the regions for every block."""
        photos = ops.shape(regions)[0]
        caches = [block.self_attention.empty_cache(photos, max_length) for block in self.blocks]
        keys = [block.cross_attention.project(regions, key_mask=key_mask) for block in self.blocks]
        projected = {"keys": keys, "key_mask": key_mask}
        return {"position": ops.zeros((), dtype="int32"), "caches": caches}, projected

    def step(self, state: Any, embedded: Any, projected: Any) -> tuple[Any, Any, Any]:
        """One word of every hypothesis; see `decoders.py`."""
        position = state["position"]
        x = self._placed(embedded[:, None], position)
        caches, maps = [], []
        for block, cache, keys in zip(self.blocks, state["caches"], projected["keys"], strict=True):
            x, cache, weights = block.step(x, cache, position, keys, projected["key_mask"])
            caches.append(cache)
            maps.append(weights[:, :, 0])
        state = {"position": position + 1, "caches": caches}
        return self.norm(x)[:, 0], state, ops.stack(maps, axis=1)

    def call(
        self, embedded: Any, regions: Any, key_mask: Any, training: bool | None = None
    ) -> dict[str, Any]:
        """All words; see `decoders.py`. Weights are only reported."""
        photos, captions, words, _ = ops.shape(embedded)
        x = self._placed(ops.reshape(embedded, (-1, words, self.dim)), 0)
        regions = ops.repeat(regions, captions, axis=0)
        key_mask = ops.repeat(key_mask, captions, axis=0)
        for block in self.blocks:
            x = block(x, regions, encoded_mask=key_mask, training=training)
        outputs = self.drop(self.norm(x), training=training)
        return {"outputs": ops.reshape(outputs, (photos, captions, words, self.dim))}
