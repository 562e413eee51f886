"""What a run may start from: refusals name every flag that makes the models alike."""

from types import SimpleNamespace

import pytest

from attention_apps.running.command import UserError
from attention_apps.running.starting_point import refuse_other_shapes


def test_other_shapes_are_refused_in_one_line_and_others_pass():
    first = SimpleNamespace(dim=32, num_heads=4, decoder="soft", epochs=2)
    config = SimpleNamespace(dim=64, num_heads=2, decoder="soft", epochs=9)
    with pytest.raises(UserError) as refusal:
        refuse_other_shapes(config, first, ["dim", "num_heads", "decoder"])
    assert str(refusal.value).endswith("pass --dim 32 --num-heads 4. Received: 64, 2")
    assert "\n" not in str(refusal.value)
    refuse_other_shapes(config, first, ["decoder"])
