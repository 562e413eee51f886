"""COCO's captions by name, as tensorflow-datasets would give them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from attention_apps.running import datasets
from attention_apps.running.command import UserError
from captioning.config import Config
from captioning.data import load
from captioning.spool import Spool


def _config(tmp_path):
    return Config(
        dataset="coco_captions", data_dir=str(tmp_path), validation_photos=3, min_word_count=1
    )


def _examples(self, split, decoders, **_):
    """What the set holds; the library cannot make up lists of objects, which it has too."""
    assert isinstance(decoders["image"], type(tfds.decode.SkipDecoding()))
    assert set(self.info.features) >= {"image", "image/filename", "captions"}
    count = {"train": 9, "val": 7}[split]
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 10, 3), np.uint8)
    captions = [[f"{split} {index} {place}" for place in range(5)] for index in range(count)]
    return tf.data.Dataset.from_tensor_slices(
        {
            "image": [tf.io.encode_jpeg(picture) for picture in pixels],
            "image/filename": [f"{split}{index}.jpg" for index in range(count)],
            "captions": {"id": np.zeros((count, 5), np.int64), "text": captions},
        }
    )


def test_coco_is_read_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "online", lambda host: True)
    with tfds.testing.mock_data(as_dataset_fn=_examples):
        splits = load(_config(tmp_path))
    assert set(splits.train.names) | set(splits.validation.names) == {
        f"train{index}.jpg" for index in range(9)
    }
    assert splits.test.captions[6] == [f"val 6 {place}" for place in range(5)]
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (6, 3, 7)
    pixels = [splits.test.pixels(index) for index in range(7)]
    assert all(picture.shape == (8, 10, 3) for picture in pixels)
    assert len({picture.tobytes() for picture in pixels}) == 7


def test_without_a_network_coco_is_refused_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "online", lambda host: False)
    with pytest.raises(UserError, match="has no network"):
        load(_config(tmp_path))


def test_a_spool_gives_back_what_was_added_in_any_order_and_from_any_thread():
    spool, parts = Spool(), [bytes([n]) * (n * 1000) for n in range(40)]
    for part in parts[:20]:
        spool.add(part)
    assert spool.read(7) == parts[7]
    for part in parts[20:]:
        spool.add(part)
    order = list(range(39, -1, -1)) * 5
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(spool.read, order)) == [parts[index] for index in order]
    assert len(spool) == 40
