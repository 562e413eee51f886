"""Raw histories in, recommendations out: one function for Python, the export and the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from attention_apps.observation.observe import observe
from recommendation.config import Config
from recommendation.interactions import Items
from recommendation.model import Recommender, build_model

HISTORY = tf.TensorSpec([None, None], tf.string, name="history")
NUMBERS = tf.TensorSpec([None, None], tf.int64, name="history")
FLAT = [
    tf.TensorSpec([None], tf.string, name="items"),
    tf.TensorSpec([None], tf.int64, name="row_lengths"),
]


class Recommend(tf.Module):
    """A recommender of raw histories, in graph code throughout.

    It computes in float32, so that an answer does not depend on what shares its batch. Items that
    it does not know are passed over and counted; a history without any known item is answered with
    what is most popular. What a history holds is never recommended.

    Args:
        model: the trained model.
        items: its catalogue.
        counts: `(items + 1,)` how often each item was taken in training.
        config: what the model is built from.
        top_k: number of recommendations.
    """

    def __init__(
        self,
        model: Recommender,
        items: Items,
        counts: NDArray[np.int64],
        config: Config,
        *,
        top_k: int = 20,
    ) -> None:
        super().__init__(name="recommend")
        self.model = build_model(replace(config, precision="float32"), len(items))
        self.model.set_weights(model.get_weights())
        self.top_k = min(top_k, len(items))
        self.num_items = len(items)
        self._observed = observe(self.model)
        numbers = tf.range(1, len(items) + 1, dtype=tf.int32)
        self.numbers = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(items.keys), numbers), 0
        )
        # Row 0 stands for no item.
        self._keys = tf.constant(["", *items.keys])
        self._titles = tf.constant(["", *items.titles])
        shares = np.maximum(counts[1:], 0.5) / max(counts.sum(), 1)
        self._popularity = tf.constant(np.log(shares), tf.float32)

    @tf.function(input_signature=[HISTORY], autograph=False)
    def recommend(self, history: Any) -> dict[str, Any]:
        """Recommend.

        Args:
            history: `(batch, length)` item ids as strings, the latest last; `""` anywhere is
                padding.

        Returns:
            `items` and `titles` `(batch, k)` strings, best first, `""` where the catalogue is
            exhausted; `scores` `(batch, k)` float32, the higher the better; `num_unknown`
            `(batch,)` int32, items of the history that the model does not know; `popular`
            `(batch,)` booleans, whether the answer is what is most popular because no item is
            known (scores are then logarithms of shares).
        """
        read = self._read(history)
        hidden = self.model(self.model.question(read["latest"]), training=False)
        return self._answer(read, hidden)

    @tf.function(input_signature=[HISTORY], autograph=False)
    def recommend_with_attention(self, history: Any) -> dict[str, Any]:
        """Recommend, and tell which past items were attended to.

        Args:
            history: as for `recommend`.

        Returns:
            As `recommend`, and `history_titles` `(batch, length)`, `""` for what is unknown, and
            `attention` `(batch, layers, heads, length)` float32: how much each item of the history
            was attended to when the next one was predicted; 0 for padding, for what is unknown and
            for what is too long ago.
        """
        read = self._read(history)
        question = self.model.question(read["latest"])
        hidden, maps = self._observed(question, training=False)
        weights = tf.stack([each[:, :, -1] for each in maps.values()], axis=1)
        num_read = tf.shape(read["latest"])[1]
        weights = weights[..., :num_read]  # less the hidden item of bert4rec
        earlier = tf.shape(read["order"])[1] - num_read
        weights = tf.pad(weights, ((0, 0), (0, 0), (0, 0), (earlier, 0)))
        back = tf.argsort(read["order"], axis=1)
        back = tf.broadcast_to(back[:, None, None], tf.shape(weights))
        # The first column is the one that `_read` put in front.
        return {
            **self._answer(read, hidden),
            "history_titles": tf.gather(self._titles, read["numbers"])[:, 1:],
            "attention": tf.gather(weights, back, batch_dims=3)[..., 1:],
        }

    @tf.function(input_signature=[NUMBERS], autograph=False)
    def recommend_numbers(self, history: Any) -> dict[str, Any]:
        """Recommend where ids are whole numbers.

        Args:
            history: `(batch, length)` int64, the latest last; negative numbers are padding.

        Returns:
            As `recommend`, with `items` as int64, -1 for none.
        """
        texts = tf.where(history < 0, "", tf.strings.as_string(history))
        answer = dict(self.recommend(texts))
        items = tf.where(tf.equal(answer["items"], ""), "-1", answer["items"])
        return {**answer, "items": tf.strings.to_number(items, tf.int64)}

    @tf.function(input_signature=FLAT, autograph=False)
    def recommend_ragged(self, items: Any, row_lengths: Any) -> dict[str, Any]:
        """Recommend for histories laid end to end.

        Args:
            items: `(all items,)` ids of all histories.
            row_lengths: `(batch,)` int64, how many of them belong to each.

        Returns:
            As `recommend`.
        """
        return self.recommend(tf.RaggedTensor.from_row_lengths(items, row_lengths).to_tensor(""))

    @tf.function(input_signature=[HISTORY], autograph=False)
    def hidden(self, history: Any) -> dict[str, Any]:
        """What an index of item vectors is asked with.

        Args:
            history: as for `recommend`.

        Returns:
            `hidden` `(batch, dim)` float32.
        """
        question = self.model.question(self._read(history)["latest"])
        return {"hidden": self.model(question, training=False)}

    def _read(self, history: Any) -> dict[str, Any]:
        """Bring known items to the right, in their order."""
        # At least one column, so that nothing below meets an empty tensor.
        history = tf.pad(history, ((0, 0), (1, 0)), constant_values="")
        numbers = self.numbers.lookup(history)
        order = tf.argsort(tf.cast(numbers > 0, tf.int32), axis=1, stable=True)
        compact = tf.gather(numbers, order, batch_dims=1)
        return {
            "numbers": numbers,
            "order": order,
            "latest": compact[:, -self.model.max_length :],
            "unknown": tf.reduce_sum(
                tf.cast(tf.not_equal(history, "") & tf.equal(numbers, 0), tf.int32), axis=1
            ),
        }

    def _answer(self, read: dict[str, Any], hidden: Any) -> dict[str, Any]:
        popular = tf.reduce_all(tf.equal(read["numbers"], 0), axis=1)
        scores = tf.where(popular[:, None], self._popularity, self.model.scores(hidden))
        seen = read["numbers"]
        scores = tf.pad(scores, ((0, 0), (1, 0)))
        rows = tf.broadcast_to(tf.range(tf.shape(seen)[0])[:, None], tf.shape(seen))
        scores = tf.tensor_scatter_nd_update(
            scores,
            tf.stack([rows, seen], axis=-1),
            tf.fill(tf.shape(seen), tf.constant(-np.inf, tf.float32)),
        )[:, 1:]
        best, places = tf.math.top_k(scores, self.top_k)
        chosen = tf.where(tf.math.is_finite(best), places + 1, 0)
        return {
            "items": tf.gather(self._keys, chosen),
            "titles": tf.gather(self._titles, chosen),
            "scores": best,
            "num_unknown": read["unknown"],
            "popular": popular,
        }


def recommend_all(
    recommend: Any,
    histories: Sequence[Sequence[str]],
    *,
    batch_size: int = 64,
    attention: bool = False,
) -> list[dict[str, Any]]:
    """Recommend to many.

    Args:
        recommend: `Recommend`, or a SavedModel made from one.
        histories: item ids, the latest last.
        batch_size: histories answered at once.
        attention: also return what was attended to.

    Returns:
        For every history, in the order given, its row of every output; attention is cut to the
        history's length.
    """
    function = _function(recommend, attention)
    rows = []
    for start in range(0, len(histories), batch_size):
        batch = histories[start : start + batch_size]
        longest = max(map(len, batch))
        filled = [[*history, *[""] * (longest - len(history))] for history in batch]
        texts = tf.reshape(tf.constant(filled, tf.string), (len(batch), longest))
        arrays = {name: value.numpy() for name, value in function(texts).items()}
        for place, history in enumerate(batch):
            row = {name: value[place] for name, value in arrays.items()}
            if attention:
                row["attention"] = row["attention"][..., : len(history)]
                row["history_titles"] = row["history_titles"][: len(history)]
            rows.append(row)
    return rows


def _function(recommend: Any, attention: bool) -> Any:
    if isinstance(recommend, Recommend):
        return recommend.recommend_with_attention if attention else recommend.recommend
    return recommend.signatures["with_attention" if attention else "serving_default"]
