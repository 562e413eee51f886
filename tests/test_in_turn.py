"""Measuring several ways in turn."""

import sys

import pytest

from attention_apps.running.command import UserError
from benchmarks.in_turn import measure_in_turn


def prints(code):
    return [sys.executable, "-c", code]


def test_rates_are_counts_over_cpu_seconds_and_ratios_are_of_pairs(capsys, tmp_path):
    """The second way slows down with the first: their ratio stays what it is."""
    slow = tmp_path / "slow"
    ours = f"""
from pathlib import Path
runs = Path({str(slow)!r}).read_text().count("x") if Path({str(slow)!r}).exists() else 0
Path({str(slow)!r}).open("a").write("x")
print("whatever else a process says")
print('{{"count": 60, "cpu_seconds": %d, "weights": 1234}}' % (2 + 2 * runs // 2))
"""
    commands = {"ours": prints(ours), "theirs": prints(ours.replace("60", "30"))}
    rates = measure_in_turn(commands, rounds=2, unit="words")
    assert rates == {"ours": [30.0, 15.0], "theirs": [10.0, 6.0]}
    said = capsys.readouterr().out
    assert "weights 1,234" in said
    assert "over theirs: median 2.75 (2.50 to 3.00)" in said


def test_a_measurement_that_fails_says_so_in_one_line():
    with pytest.raises(UserError, match="ours ended with status 3 and said: no such file"):
        measure_in_turn(
            {"ours": prints("import sys; print('no such file', file=sys.stderr); sys.exit(3)")},
            rounds=1,
            unit="words",
        )
