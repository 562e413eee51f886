"""Minutes behind a figure, over several processes."""

import pytest

from attention_apps.running import clock
from attention_apps.running.clock import Clock


@pytest.fixture
def hands(monkeypatch):
    """Both clocks of the process, in seconds, set by the test."""
    hands = {"wall": 100.0, "cpu": 7.0}
    monkeypatch.setattr(clock.time, "monotonic", lambda: hands["wall"])
    monkeypatch.setattr(clock.time, "process_time", lambda: hands["cpu"])
    return hands


def test_minutes_count_from_the_start_of_the_command(hands):
    watch = Clock("val_bleu", began=40.0)
    watch.on_epoch_end(0, {"loss": 3.0})
    hands.update(wall=160.0, cpu=97.0)
    watch.on_epoch_end(1, {"loss": 2.0, "val_bleu": 12.5})
    assert watch.curve == [{"epoch": 1, "minutes": 2.0, "cpu_minutes": 97 / 60, "val_bleu": 12.5}]
    assert watch.minutes == 2.0


def test_a_resumed_run_goes_on_counting_from_its_checkpoint(hands):
    first = Clock("val_bleu", began=40.0)
    first.on_epoch_end(0, {"val_bleu": 1.0})
    state = first.get_state()
    hands.update(wall=1000.0, cpu=3.0)  # another process, at another time
    second = Clock("val_bleu", began=970.0)
    second.set_state(state)
    second.on_epoch_end(1, {"val_bleu": 2.0})
    assert [point["minutes"] for point in second.curve] == [1.0, 1.5]
    assert [point["cpu_minutes"] for point in second.curve] == pytest.approx([7 / 60, 10 / 60])
