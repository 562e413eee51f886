"""Bytes of pictures in, captions and where they looked out: one function for Python and export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from attention_apps.attention.decoding import beam_search
from attention_apps.observation.observe import observe
from captioning.batches import previous_of
from captioning.config import Config
from captioning.encoder import build_encoder, read_grids
from captioning.images import prepare
from captioning.model import CaptionModel, build_model
from captioning.tokens import words_of
from captioning.words import END, PAD, Vocabulary, caption_rules

IMAGES = tf.TensorSpec([None], tf.string, name="images")
LENGTH_PENALTY = tf.TensorSpec([], tf.float32, name="length_penalty")


class Captioner(tf.Module):
    """Captions encoded pictures, in graph code throughout.

    It computes in float32 whatever the training's precision was: an answer must not depend on
    which pictures share its batch. A pretrained encoder's features are rounded to float16, as those
    of the training were.

    Args:
        model: the trained model.
        vocabulary: the one the model was trained with.
        config: `beam_size`, `length_penalty`, `max_length` and `image_size` are used.
    """

    def __init__(self, model: CaptionModel, vocabulary: Vocabulary, config: Config) -> None:
        super().__init__(name="captioner")
        self.config = replace(config, precision="float32")
        self.vocabulary = vocabulary
        self.model = build_model(
            self.config,
            vocabulary.size,
            encoder=_in_float32(model, self.config),
        )
        self.load(model)

    def load(self, model: CaptionModel) -> None:
        """Take over the weights of a model of the same configuration."""
        self.model.set_weights(model.get_weights())

    @property
    def grid_shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return self.model.grid_shape

    @tf.function(input_signature=[IMAGES], autograph=False)
    def serve(self, images: Any) -> dict[str, Any]:
        """Caption encoded pictures.

        Args:
            images: `(batch,)` strings, the bytes of JPEG, PNG, BMP or GIF files.

        Returns:
            `captions` `(batch,)` strings and `scores` `(batch,)` float32: the log-probability over
            the length penalty. A picture that cannot be read has an empty caption and score -inf.
        """
        found = self._of_images(images, self.config.length_penalty)
        return {name: found[name] for name in ("captions", "scores")}

    @tf.function(input_signature=[IMAGES], autograph=False)
    def serve_with_attention(self, images: Any) -> dict[str, Any]:
        """Caption encoded pictures, and tell where every word looked.

        Args:
            images: as in `serve`.

        Returns:
            As `serve`, and `words` `(batch, words)` strings, the end included, and `attention`
            `(batch, words, rows, columns)` float32, for a Transformer the mean of all blocks and
            heads.
        """
        found = self._of_images(images, self.config.length_penalty)
        return {name: found[name] for name in ("captions", "scores", "words", "attention")}

    @tf.function(input_signature=[IMAGES, LENGTH_PENALTY], autograph=False)
    def serve_with_penalty(self, images: Any, length_penalty: Any) -> dict[str, Any]:
        """As `serve_with_attention`, with another length penalty than the configuration's."""
        return self._of_images(images, length_penalty)

    def caption(
        self, images: Sequence[Any], *, batch_size: int = 32, length_penalty: float | None = None
    ) -> tuple[list[str], np.ndarray, list[np.ndarray]]:
        """Caption pictures by beam search.

        Args:
            images: bytes of files, or `(height, width, 3)` uint8 pixels.
            batch_size: pictures captioned at once.
            length_penalty: None takes the configuration's.

        Returns:
            Captions, scores `(pictures,)`, and for every picture weights
            `(words, rows, columns)` of its caption's words, without the end.
        """
        penalty = self.config.length_penalty if length_penalty is None else length_penalty
        penalty = tf.constant(penalty, tf.float32)
        return _collected(
            lambda batch: self.serve_with_penalty(tf.constant(batch), penalty), images, batch_size
        )

    def caption_grids(self, grids: Sequence[Any]) -> list[str]:
        """Caption one batch of pictures greedily, from their features.

        Args:
            grids: `(pictures, rows, columns, channels)`, as `grids` gives them.

        Returns:
            Captions.
        """
        parts = tuple(map(tf.convert_to_tensor, grids))
        return [text.decode() for text in self._greedy(parts).numpy()]

    def force(
        self, images: Sequence[Any], captions: Sequence[str], *, batch_size: int = 32
    ) -> list[np.ndarray]:
        """Where the model looks while it says given captions.

        Args:
            images: as in `caption`.
            captions: one of each picture.
            batch_size: pictures read at once.

        Returns:
            For every picture weights `(words, rows, columns)`, a row for each of the caption's
            words (as `tokens.words_of` splits it), up to the longest caption the model says.
        """
        return [weights for weights, _ in self.forced(images, captions, batch_size=batch_size)]

    def forced(
        self,
        images: Sequence[Any],
        captions: Sequence[str],
        *,
        removed: np.ndarray | None = None,
        batch_size: int = 32,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `force`, with the log-probability `(words,)` of each word beside its weights.

        Args:
            images, captions, batch_size: as in `force`.
            removed: `(pictures, cells)` booleans, the cells that may not be attended to.

        Returns:
            Weights `(words, rows, columns)` and log-probabilities `(words,)` of every picture.
        """
        encoded = [_bytes(image) for image in images]
        found = []
        for start in range(0, len(encoded), batch_size):
            pixels, _ = prepare(
                tf.constant(encoded[start : start + batch_size]), self.config.image_size
            )
            inputs: dict[str, Any] = {"grids": self.grids(pixels)}
            if removed is not None:
                inputs["key_mask"] = ~removed[start : start + batch_size]
            found += self.forced_on(inputs, captions[start : start + batch_size])
        return found

    def forced_on(
        self, inputs: dict[str, Any], captions: Sequence[str]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `forced`, for one batch of what the model reads.

        Args:
            inputs: with `grids` or `pixels`, as the model takes them; grids may be changed ones.
            captions: one of each picture.

        Returns:
            Weights `(words, rows, columns)` and log-probabilities `(words,)` of every picture.
        """
        length = self.config.max_length
        target = np.full((len(captions), 1, length), PAD, np.int32)
        counts = []
        for index, caption in enumerate(captions):
            ids = self.vocabulary.encode(caption, length)
            target[index, 0, : len(ids)] = ids
            counts.append(min(len(words_of(caption)), length))
        weights, told = self._forced({**inputs, "previous": previous_of(target)}, target)
        rows, columns = self.grid_shape
        maps = weights.numpy().reshape(len(captions), length, rows, columns)
        logs = told.numpy()[:, 0]
        return [(maps[i, :n], logs[i, :n]) for i, n in enumerate(counts)]

    @tf.function(autograph=False, reduce_retracing=True)
    def _forced(self, inputs: dict[str, Any], target: Any) -> tuple[Any, Any]:
        told, maps = observe(self.model)(inputs, training=False)
        crossing = [weights for path, weights in maps.items() if "cross_attention" in path]
        mean = tf.add_n([tf.reduce_mean(weights, axis=1) for weights in crossing]) / len(crossing)
        logs = tf.nn.log_softmax(tf.cast(told["logits"], tf.float32))
        return mean, tf.gather(logs, target, batch_dims=3)

    @tf.function(autograph=False, reduce_retracing=True)
    def _greedy(self, grids: Any) -> Any:
        return self.search({"grids": grids}, 1, 0.0)["captions"]

    @tf.function(autograph=False, reduce_retracing=True)
    def grids(self, pixels: Any) -> tuple[Any, ...]:
        """What the decoder reads of pictures, rounded where the training's was.

        Args:
            pixels: `(pictures, size, size, 3)` of 0 to 255.

        Returns:
            The encoder's grids.
        """
        grids = read_grids(self.model.encoder, pixels)
        if self.config.uses_cache:
            grids = tuple(tf.cast(grid, tf.float16) for grid in grids)
        return grids

    def _of_images(self, images: Any, length_penalty: Any) -> dict[str, Any]:
        pixels, valid = prepare(images, self.config.image_size)
        found = self.search({"grids": self.grids(pixels)}, self.config.beam_size, length_penalty)
        never = tf.constant(float("-inf"), tf.float32)
        return {
            "captions": tf.where(valid, found["captions"], ""),
            "scores": tf.where(valid, found["scores"], never),
            "words": tf.where(valid[:, None], found["words"], ""),
            "attention": tf.where(valid[:, None, None, None], found["attention"], 0.0),
        }

    def search(self, inputs: dict[str, Any], beam_size: int, penalty: Any) -> dict[str, Any]:
        """Caption what was read of pictures; for use within a graph.

        Args:
            inputs: as the model takes them, without `previous`.
            beam_size: hypotheses kept.
            penalty: alpha of the length penalty.

        Returns:
            `captions`, `scores`, `words` and `attention`, as `serve_with_attention` gives them.
        """
        rules = caption_rules(self.config.max_length, penalty)
        state, encoded = self.model.begin(inputs, self.config.max_length)
        decoded = beam_search(self.model.step, state, encoded, rules, beam_size=beam_size)
        tokens, weights = decoded.tokens[:, 0], decoded.weights[:, 0]
        length = tf.reduce_max(decoded.lengths)
        words = tf.gather(tf.constant(self.vocabulary.words), tokens)
        is_word = (tokens != PAD) & (tokens != END)
        texts = tf.strings.reduce_join(tf.where(is_word, words, ""), axis=1, separator=" ")
        rows, columns = self.grid_shape
        maps = tf.reduce_mean(weights, axis=(2, 3))[:, :length]
        return {
            "captions": tf.strings.strip(texts),
            "scores": decoded.scores[:, 0],
            "words": words[:, :length],
            "attention": tf.reshape(maps, (-1, length, rows, columns)),
        }


def _collected(
    ask: Callable[[Sequence[bytes]], dict[str, Any]], images: Sequence[Any], batch_size: int
) -> tuple[list[str], np.ndarray, list[np.ndarray]]:
    captions: list[str] = []
    scores: list[float] = []
    weights: list[np.ndarray] = []
    for start in range(0, len(images), batch_size):
        outputs = ask([_bytes(image) for image in images[start : start + batch_size]])
        told = [text.decode() for text in outputs["captions"].numpy()]
        maps = outputs["attention"].numpy()
        captions += told
        scores += outputs["scores"].numpy().tolist()
        weights += [maps[i, : len(text.split())] for i, text in enumerate(told)]
    return captions, np.array(scores, np.float32), weights


def _bytes(image: Any) -> bytes:
    """The bytes of a picture; pixels are encoded without loss."""
    return image if isinstance(image, bytes) else tf.io.encode_png(image).numpy()


def _in_float32(model: CaptionModel, config: Config) -> Any:
    """An encoder like the model's that computes in float32."""
    if config.uses_pretrained:
        import keras

        return keras.models.clone_model(model.encoder)
    return build_encoder(config)
