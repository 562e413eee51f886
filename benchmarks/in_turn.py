"""Several ways to do one thing, measured in turn: ratios hold while the machine drifts."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from attention_apps.running.command import UserError

ROOT = Path(__file__).resolve().parent.parent


def rate(way: str, command: Sequence[str], unit: str) -> float:
    """Run one measurement in a process of its own and print it.

    Args:
        way: its name.
        command: prints as its last line JSON with the `count` of things done and the `cpu_seconds`
            they took; whatever else it holds is printed.
        unit: what is counted.

    Returns:
        Things per second of CPU time.

    Raises:
        UserError: when the process fails.
    """
    # PyTorch's threads spin while they wait for each other, at great cost on a busy machine: one
    # thread does the same work in the fewest CPU-seconds.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["nothing"])[-1]
        raise UserError(f"{way} ended with status {ended.returncode} and said: {reason}")
    found = json.loads(ended.stdout.strip().splitlines()[-1])
    per_second = found.pop("count") / found.pop("cpu_seconds")
    about = "".join(f", {name} {value:,.7g}" for name, value in found.items())
    print(f"{way:16}{per_second:10.4g} {unit} per CPU-second{about}", flush=True)
    return per_second


def measure_in_turn(
    commands: Mapping[str, Sequence[str]], *, rounds: int, unit: str
) -> dict[str, list[float]]:
    """Measure all ways round by round; print every rate, then medians and ratios pair by pair.

    Args:
        commands: of every way, see `rate`; the last one is what the others are compared with.
        rounds: how often each is measured.
        unit: what is counted.

    Returns:
        The rates of every way, in things per second of CPU time.
    """
    rates: dict[str, list[float]] = {way: [] for way in commands}
    for number in range(rounds):
        for way, command in commands.items():
            print(f"round {number + 1}/{rounds}  ", end="", flush=True)
            rates[way].append(rate(way, command, unit))
    last = list(commands)[-1]
    for way in commands:
        ratios = [one / other for one, other in zip(rates[way], rates[last], strict=True)]
        print(
            f"{way:16} median {statistics.median(rates[way]):8.4g}   over {last}: median "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return rates
