"""One run of a comparison: the room's own commands, each in a process of its own, until it is done.

A run is wanted by a value and a seed. Whatever an earlier, perhaps killed, comparison left of it is
used: a finished run is kept, an unfinished one continued by the room's `--resume`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attention_apps.running.atomic import write_json
from attention_apps.running.command import USER_ERROR, UserError
from attention_apps.running.runs import CONFIG, is_finished, read_config, read_metrics

LEDGER, LOG = "spent.json", "log.txt"
EVALUATION_FLAGS = {
    # The floors that take longest are the same for every run; ridge is the strongest that is quick.
    "forecasting": ("--floors", "ridge"),
    "translation": ("--length-penalties", "1"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WantedRun:
    """What is to be trained.

    Attributes:
        room: the room's package.
        label: the value that is compared, as `field=value`.
        seed: of the training.
        flags: of the room's training command, the seed among them.
        config: what these flags come to.
        into: folder of all comparisons that share their runs.
    """

    room: str
    label: str
    seed: int
    flags: tuple[str, ...]
    config: Any
    into: Path

    @property
    def folder(self) -> Path:
        """Where a new run is put, and what its commands say and take."""
        return self.into / "runs" / quote(self.label, safe="=+:.,") / f"seed-{self.seed}"

    def run_dir(self) -> Path | None:
        """The folder of the run with these very settings, whatever comparison it was made for.

        A folder that a kill left without its settings is none.
        """
        for path in sorted(self.into.glob(f"runs/*/*/{self.room}/*/{CONFIG}")):
            if read_config(path.parent, self.room, type(self.config)) == self.config:
                return path.parent
        return None

    def is_done(self) -> bool:
        """Whether it is trained and evaluated."""
        run_dir = self.run_dir()
        return run_dir is not None and is_finished(run_dir) and "demo" in read_metrics(run_dir)


def complete(wanted: WantedRun, root: Path) -> None:
    """Train and evaluate whatever of a run is not done yet.

    Args:
        wanted: the run.
        root: the folder that the commands run in.

    Raises:
        UserError: when the room refuses it, or a command fails.
    """
    run_dir = wanted.run_dir()
    if run_dir is None:
        wanted.folder.mkdir(parents=True, exist_ok=True)
        _run(wanted, "train", [*wanted.flags, "--runs-dir", str(wanted.folder)], root)
        run_dir = wanted.run_dir()
    elif not is_finished(run_dir):
        _run(wanted, "train", ["--resume", str(run_dir)], root)
    if run_dir is None or not is_finished(run_dir):
        raise UserError(f"{wanted.room}.train left no finished run in {wanted.folder}.")
    if "demo" not in read_metrics(run_dir):
        flags = EVALUATION_FLAGS.get(wanted.room, ())
        _run(wanted, "evaluate", ["--run-dir", str(run_dir), *flags], root)


def spent(run_dir: Path) -> list[dict[str, Any]]:
    """What commands took for a run: `step`, `cpu_seconds`, `peak_megabytes` of each that ended.

    Of a command that was killed together with the comparison nothing is known.
    """
    return [entry for entry in _ledger(run_dir.parent.parent) if entry["run"] == run_dir.name]


def _ledger(folder: Path) -> list[dict[str, Any]]:
    path = folder / LEDGER
    return json.loads(path.read_text()) if path.exists() else []


def _run(wanted: WantedRun, step: str, flags: Sequence[str], root: Path) -> None:
    """Run `python -m room.step`, with its output in the log, and write down what it took."""
    command = [*_ending_with_us(), sys.executable, "-u", "-m", f"{wanted.room}.{step}", *flags]
    # One thread does the same work in the fewest CPU-seconds, which are then comparable.
    one_thread = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    environment = {**dict.fromkeys(one_thread, "1"), **os.environ}
    before = wanted.run_dir()
    folder = wanted.folder if before is None else before.parent.parent
    log = folder / LOG
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            # Not `process.wait`: what a child took is told only to who reaps it.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.wait()  # Ctrl-C reached it too: let it save and say so
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    run_dir = wanted.run_dir()
    entry = {
        "run": None if run_dir is None else run_dir.name,
        "step": step,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_megabytes": usage.ru_maxrss / 1024,
    }
    write_json(folder / LEDGER, [*_ledger(folder), entry])
    if process.returncode:
        said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
        reason = said[-1].removeprefix("error: ")
        if process.returncode == USER_ERROR:
            raise UserError(f"{wanted.room} refuses {wanted.label}: {reason}")
        raise UserError(
            f"{wanted.room}.{step} with {wanted.label} ended with status {process.returncode} and "
            f"said: {reason}. All it said is in {log}"
        )


def _ending_with_us() -> list[str]:
    """What a command begins with so that the kernel ends it when the comparison is killed.

    It would otherwise train on unseen, and the next comparison be told that the run is held. Linux
    has this; elsewhere that is what happens.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv and sys.platform == "linux" else []
