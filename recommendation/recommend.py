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
TIMES = tf.TensorSpec([None, None], tf.int64, name="times")
_FLAT_ITEMS = tf.TensorSpec([None], tf.string, name="items")
_ROW_LENGTHS = tf.TensorSpec([None], tf.int64, name="row_lengths")
_FLAT_TIMES = tf.TensorSpec([None], tf.int64, name="times")


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

    Attributes:
        signatures: by name, each answer as a graph function and what it takes: `serving_default`,
            `with_attention`, `ragged`, `hidden_state` and, where all ids are whole numbers,
            `numbers`. A model with `time_bias` takes `times` beside every history.
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
        beside = [TIMES] if config.time_bias else []
        flat_beside = [_FLAT_TIMES] if config.time_bias else []
        kinds: dict[str, tuple[Any, list[Any]]] = {
            "serving_default": (self.recommend, [HISTORY, *beside]),
            "with_attention": (self.recommend_with_attention, [HISTORY, *beside]),
            "ragged": (self.recommend_ragged, [_FLAT_ITEMS, _ROW_LENGTHS, *flat_beside]),
            "hidden_state": (self.hidden, [HISTORY, *beside]),
        }
        if all(key.isdecimal() and str(int(key)) == key for key in items.keys):
            kinds["numbers"] = (self.recommend_numbers, [NUMBERS, *beside])
        self.signatures = {
            name: tf.function(function, input_signature=taken, autograph=False)
            for name, (function, taken) in kinds.items()
        }

    def recommend(self, history: Any, times: Any = None) -> dict[str, Any]:
        """Recommend.

        Args:
            history: `(batch, length)` item ids as strings, the latest last; `""` anywhere is
                padding.
            times: `(batch, length)` int64, when they were taken, in seconds; with `time_bias`.

        Returns:
            `items` and `titles` `(batch, k)` strings, best first, `""` where the catalogue is
            exhausted; `scores` `(batch, k)` float32, the higher the better; `num_unknown`
            `(batch,)` int32, items of the history that the model does not know; `popular`
            `(batch,)` booleans, whether the answer is what is most popular because no item is
            known (scores are then logarithms of shares).
        """
        read = self._read(history, times)
        return self._answer(read, self.model(read["question"], training=False))

    def recommend_with_attention(self, history: Any, times: Any = None) -> dict[str, Any]:
        """Recommend, and tell which past items were attended to.

        Args:
            history: as for `recommend`.
            times: likewise.

        Returns:
            As `recommend`, and `history_titles` `(batch, length)`, `""` for what is unknown, and
            `attention` `(batch, layers, heads, length)` float32: how much each item of the history
            was attended to when the next one was predicted; 0 for padding, for what is unknown and
            for what is too long ago.
        """
        read = self._read(history, times)
        hidden, maps = self._observed(read["question"], training=False)
        weights = tf.stack([each[:, :, -1] for each in maps.values()], axis=1)
        weights = weights[..., : read["num_read"]]  # less the hidden item of bert4rec
        earlier = tf.shape(read["order"])[1] - read["num_read"]
        weights = tf.pad(weights, ((0, 0), (0, 0), (0, 0), (earlier, 0)))
        back = tf.argsort(read["order"], axis=1)
        back = tf.broadcast_to(back[:, None, None], tf.shape(weights))
        # The first column is the one that `_read` put in front.
        return {
            **self._answer(read, hidden),
            "history_titles": tf.gather(self._titles, read["numbers"])[:, 1:],
            "attention": tf.gather(weights, back, batch_dims=3)[..., 1:],
        }

    def recommend_numbers(self, history: Any, times: Any = None) -> dict[str, Any]:
        """Recommend where ids are whole numbers.

        Args:
            history: `(batch, length)` int64, the latest last; negative numbers are padding.
            times: as for `recommend`.

        Returns:
            As `recommend`, with `items` as int64, -1 for none.
        """
        texts = tf.where(history < 0, "", tf.strings.as_string(history))
        answer = self.recommend(texts, times)
        items = tf.where(tf.equal(answer["items"], ""), "-1", answer["items"])
        return {**answer, "items": tf.strings.to_number(items, tf.int64)}

    def recommend_ragged(self, items: Any, row_lengths: Any, times: Any = None) -> dict[str, Any]:
        """Recommend for histories laid end to end.

        Args:
            items: `(all items,)` ids of all histories.
            row_lengths: `(batch,)` int64, how many of them belong to each.
            times: `(all items,)`, as for `recommend`.

        Returns:
            As `recommend`.
        """

        def dense(flat: Any, padding: Any) -> Any:
            return tf.RaggedTensor.from_row_lengths(flat, row_lengths).to_tensor(padding)

        return self.recommend(dense(items, ""), None if times is None else dense(times, 0))

    def hidden(self, history: Any, times: Any = None) -> dict[str, Any]:
        """What an index of item vectors is asked with.

        Args:
            history: as for `recommend`.
            times: likewise.

        Returns:
            `hidden` `(batch, dim)` float32.
        """
        return {"hidden": self.model(self._read(history, times)["question"], training=False)}

    def _read(self, history: Any, times: Any) -> dict[str, Any]:
        """Bring known items to the right, in their order."""
        # At least one column, so that nothing below meets an empty tensor.
        history = tf.pad(history, ((0, 0), (1, 0)), constant_values="")
        numbers = self.numbers.lookup(history)
        order = tf.argsort(tf.cast(numbers > 0, tf.int32), axis=1, stable=True)
        latest = tf.gather(numbers, order, batch_dims=1)[:, -self.model.max_length :]
        if times is not None:
            times = tf.gather(tf.pad(times, ((0, 0), (1, 0))), order, batch_dims=1)
            times = times[:, -self.model.max_length :]
            limit = np.iinfo(np.int32).max // 4
            times = tf.cast(tf.clip_by_value(times - times[:, -1:], -limit, limit), tf.int32)
        return {
            "numbers": numbers,
            "order": order,
            "num_read": tf.shape(latest)[1],
            "question": self.model.question(latest, times),
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
    times: Sequence[Sequence[int] | NDArray[np.integer]] | None = None,
    *,
    batch_size: int = 64,
    attention: bool = False,
) -> list[dict[str, Any]]:
    """Recommend to many.

    Args:
        recommend: `Recommend`, or a SavedModel made from one.
        histories: item ids, the latest last.
        times: when they were taken, in seconds; a model that reads times takes None as all at once.
        batch_size: histories answered at once.
        attention: also return what was attended to.

    Returns:
        For every history, in the order given, its row of every output; attention is cut to the
        history's length.
    """
    function = recommend.signatures["with_attention" if attention else "serving_default"]
    reads_times = _reads_times(function)
    rows = []
    for start in range(0, len(histories), batch_size):
        batch = histories[start : start + batch_size]
        read = {"history": _filled(batch, "", tf.string)}
        if reads_times:
            given = [[0] * len(history) for history in batch]
            if times is not None:
                given = [list(row) for row in times[start : start + batch_size]]
            read["times"] = _filled(given, 0, tf.int64)
        arrays = {name: value.numpy() for name, value in function(**read).items()}
        for place, history in enumerate(batch):
            row = {name: value[place] for name, value in arrays.items()}
            if attention:
                row["attention"] = row["attention"][..., : len(history)]
                row["history_titles"] = row["history_titles"][: len(history)]
            rows.append(row)
    return rows


def _reads_times(function: Any) -> bool:
    taken = getattr(function, "input_signature", None)
    if taken is None:  # of a SavedModel
        taken = function.structured_input_signature[1].values()
    return any(spec.name == "times" for spec in taken)


def _filled(rows: Sequence[Sequence[Any]], filler: Any, dtype: Any) -> Any:
    """Rows of different length as a tensor `(rows, length)`."""
    longest = max(map(len, rows))
    filled = [[*row, *[filler] * (longest - len(row))] for row in rows]
    return tf.reshape(tf.constant(filled, dtype), (len(rows), longest))
