"""Every room in short: train on its embedded data, score, export, ask, and show what came of it.

`make demo` runs this. A room answers to these commands, each of which ends with status 0:

    python -m ROOM.train --demo --runs-dir runs     last line printed: `run: FOLDER`
    python -m ROOM.evaluate --run-dir FOLDER        adds the section "demo" to FOLDER/metrics.json:
                                                    figure (its name), value, floor,
                                                    better ("higher" or "lower")
    python -m ROOM.export --run-dir FOLDER
    python -m ROOM.predict --run-dir FOLDER EXAMPLE prints the answer and what was attended to

EXAMPLE is a constant of ROOM/config.py.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS_ALLOWED = 90


class StepError(Exception):
    """A command of a room failed or broke its contract."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one room's demonstration came to."""

    room: str
    run_dir: Path
    figure: str
    value: float
    floor: float
    better: str
    seconds: float
    answer: str

    @property
    def beats_floor(self) -> bool:
        """Whether the figure is strictly on the right side of its floor."""
        return self.value > self.floor if self.better == "higher" else self.value < self.floor


def rooms(root: Path = ROOT) -> list[str]:
    """Names of the rooms that exist: the packages of pyproject.toml less the shared one."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return [package for package in packages if package != "attention_apps"]


def demonstrate(room: str, example: str, root: Path = ROOT) -> Outcome:
    """Run one room from training to an answer of its exported model.

    Args:
        room: name of the room's package.
        example: the input that the exported model is asked.
        root: the folder that the commands run in.

    Raises:
        StepError: when a command fails or does not keep the contract above.
    """
    began = time.monotonic()
    last_line = _run(room, "train", "--demo", "--runs-dir", "runs", root=root).splitlines()[-1:]
    if not last_line or not last_line[0].startswith("run: "):
        raise StepError(f"{room}.train must end with the line 'run: FOLDER'. Received: {last_line}")
    run_dir = Path(last_line[0].removeprefix("run: "))
    _run(room, "evaluate", "--run-dir", str(run_dir), root=root)
    metrics = root / run_dir / "metrics.json"
    demo = json.loads(metrics.read_text()).get("demo", {}) if metrics.is_file() else {}
    if demo.keys() != {"figure", "value", "floor", "better"}:
        raise StepError(
            f"{room}.evaluate must write figure, value, floor and better into the section 'demo' "
            f"of metrics.json. Received: {demo}"
        )
    if demo["better"] not in ("higher", "lower"):
        raise StepError(f"{room}: better is 'higher' or 'lower'. Received: {demo['better']!r}")
    _run(room, "export", "--run-dir", str(run_dir), root=root)
    answer = _run(room, "predict", "--run-dir", str(run_dir), example, root=root, echo=False)
    seconds = time.monotonic() - began
    return Outcome(room=room, run_dir=run_dir, seconds=seconds, answer=answer, **demo)


def _run(room: str, step: str, *arguments: str, root: Path, echo: bool = True) -> str:
    """Run `python -m room.step`, show its output as it comes when `echo`, and return it."""
    print(f"\n{room}: {step}", flush=True)
    command = [sys.executable, "-u", "-m", f"{room}.{step}", *arguments]
    output = []
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            if echo:
                print("  " + line, end="", flush=True)
    if process.returncode != 0:
        raise StepError(f"{room}.{step} ended with status {process.returncode}.")
    return "".join(output).rstrip()


def table(outcomes: list[Outcome]) -> str:
    """Rooms, figures, floors, seconds and folders in aligned columns."""
    rows = [("room", "figure", "value", "floor", "seconds", "folder")]
    for outcome in outcomes:
        sign = ">" if outcome.better == "higher" else "<"
        rows.append(
            (
                outcome.room,
                outcome.figure,
                f"{outcome.value:.4g}",
                f"{sign} {outcome.floor:.4g}",
                f"{outcome.seconds:.0f}",
                str(outcome.run_dir),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def main(root: Path = ROOT) -> int:
    """Demonstrate all rooms of a folder; the number returned is the exit status."""
    outcomes, complaints = [], []
    for room in rooms(root):
        example = importlib.import_module(f"{room}.config").EXAMPLE
        try:
            outcome = demonstrate(room, str(example), root)
        except StepError as error:
            complaints.append(f"error: {error}")
            continue
        outcomes.append(outcome)
        if not outcome.beats_floor:
            complaints.append(
                f"error: {room} does not beat its floor: {outcome.figure} {outcome.value:.4g}, "
                f"expected {outcome.better} than {outcome.floor:.4g}."
            )
        if outcome.seconds > SECONDS_ALLOWED:
            print(f"{room} took {outcome.seconds:.0f} s, more than the {SECONDS_ALLOWED} allowed.")
    if outcomes:
        print(f"\n{table(outcomes)}")
    for outcome in outcomes:
        print(f"\n{outcome.room}: {outcome.answer}")
    print("\nWatch the runs in TensorBoard: make board", flush=True)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nInterrupted; run the demonstration again with: make demo", file=sys.stderr)
        sys.exit(130)
