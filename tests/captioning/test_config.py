"""Flags that cannot work are refused in one sentence."""

import pytest

from captioning.config import Config


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"epochs": 0}, "--epochs must be at least 1, or 0 where --self-critical-epochs go on"),
        ({"seed": -1}, "--seed must lie from 0 to 4294967295. Received: -1"),
        ({"clip_norm": -1.0}, "--clip-norm cannot be negative"),
        ({"label_smoothing": 1.0}, "--label-smoothing must lie from 0"),
        ({"hard_temperature": 0.5}, "REINFORCE needs cells that are drawn by their weights"),
        ({"decoder": "hard", "hard_glimpse": 2}, "is an odd number of cells"),
        ({"hard_glimpse": 3}, "nothing but to --decoder hard"),
        ({"dataset": "flickr"}, "--dataset must be generated or files or coco_captions"),
        ({"dataset": "files"}, "no --data-dir"),
        ({"dataset": "files", "data_dir": "a", "test_name": ""}, "Received: 'train' and ''"),
        ({"encoder": "vgg"}, "--encoder must be cnn, mobilenet_v2"),
        ({"encoder": "mobilenet_v2", "image_size": 80}, "multiple of 32"),
        ({"decoder": "transformer", "dim": 30, "num_heads": 4}, "multiple of --num-heads"),
        ({"encoder": "mobilenet_v2", "flips": True}, "Add --fine-tune"),
        ({"input_feeding": False, "decoder": "transformer"}, "is of LSTMs.*transformer"),
        ({"input_feeding": False, "word_asks": False}, "soft --no-word-asks. Leave one out"),
    ],
)
def test_refused(flags, told):
    with pytest.raises(ValueError, match=told):
        Config(**flags)


def test_pictures_may_change_where_they_are_read():
    assert Config(flips=True).flips
    assert Config(encoder="mobilenet_v2", fine_tune=True, crops=0.2).crops == 0.2
