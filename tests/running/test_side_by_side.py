"""Parts of a batch, computed by themselves, are the batch."""

import numpy as np
import pytest
from keras import ops

from attention_apps.running.side_by_side import side_by_side

BATCH = {"a": np.arange(10.0).reshape(5, 2), "b": np.arange(5, dtype="int32")}


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 7])
def test_parts_laid_end_to_end_are_the_whole(parts):
    seen = []

    def call(part):
        seen.append(len(part["b"]))
        assert len(part["a"]) == len(part["b"])
        return [part["a"] * 2, {"sum": ops.sum(part["a"], axis=1) + part["b"]}]

    doubled, summed = side_by_side(call, BATCH, parts)
    np.testing.assert_array_equal(doubled, BATCH["a"] * 2)
    np.testing.assert_array_equal(summed["sum"], BATCH["a"].sum(1) + BATCH["b"])
    assert len(seen) == parts
    assert max(seen) - min(seen) <= 1
