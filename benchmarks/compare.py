"""Train a room with several values of one setting over seeds, and report what differs.

python -m benchmarks.compare --room recommendation --demo --field attention \
    --values full window:8 hard sparsemax --also epochs=8 --seeds 1 2 3 --into FOLDER

Every run is the room's own command in a process of its own and gets the same budget: as many
epochs, none of which is left out by early stopping. FOLDER/ROOM_FIELD.md, .csv and .png then tell
quality, gold attention, CPU-seconds, memory, parameters and entropy with intervals over seeds. Give
the same command again after a kill, or with more values or seeds: what is finished is kept. Runs of
the same settings serve every comparison in a folder. CPU-seconds compare on a machine that has
nothing else to do: with more work than cores, one run was seen to take twice as many.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import shlex
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from attention_apps.running.command import Interrupted, UserError, quiet_start, run_command
from attention_apps.running.flags import parse, parse_run
from attention_apps.running.holding import hold_run
from benchmarks.compared_figures import Figure, figures_of
from benchmarks.compared_report import Comparison, write_report
from benchmarks.compared_runs import WantedRun, complete, spent
from benchmarks.demo import ROOT, rooms


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    room: str
    """The room that is trained, such as recommendation."""
    field: str
    """Field of its Config that is compared, such as attention, num_heads, dim or loss."""
    values: tuple[str, ...]
    """Its values; the others are compared with the first. Several numbers of one value stand in
    quotes."""
    into: Path
    """Folder of runs and reports; what it holds already is used."""
    also: tuple[str, ...] = ()
    """Other fields, the same for all runs, such as epochs=8 dim=32."""
    demo: bool = False
    """Begin with the settings of the room's demonstration in place of its defaults."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds of the runs; an interval takes two or more."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name, expected in (("values", "two values"), ("seeds", "one seed")):
            given, fewest = getattr(self, name), 2 if name == "values" else 1
            if len(given) < fewest:
                raise ValueError(
                    f"--{name} takes {expected} or more. "
                    f"Received: {' '.join(map(str, given)) or 'none'}"
                )
            if len(set(given)) < len(given):
                raise ValueError(
                    f"--{name} must differ from each other. Received: {' '.join(map(str, given))}"
                )
        for pair in self.also:
            if "=" not in pair:
                raise ValueError(f"--also takes FIELD=VALUE, such as epochs=8. Received: {pair}")

    def command(self) -> str:
        """What makes the comparison again, the folder left open."""
        words = ["python", "-m", "benchmarks.compare", "--room", self.room]
        words += ["--demo"] * self.demo
        words += ["--field", self.field, "--values", *self.values]
        words += ["--also", *self.also] if self.also else []
        words += ["--seeds", *map(str, self.seeds), "--into", "FOLDER"]
        return shlex.join(words)


def wanted_runs(options: Options, root: Path = ROOT) -> list[WantedRun]:
    """All runs of a comparison, each checked as its room checks it.

    Args:
        options: what is compared.
        root: the folder of the rooms.

    Returns:
        By seed, then by value: what a room refuses only while it builds a model shows early.

    Raises:
        UserError: for a room, field or value that does not exist or is refused.
    """
    known = rooms(root)
    if options.room not in known:
        raise UserError(f"--room is one of {', '.join(known)}. Received: {options.room}")
    home: Any = importlib.import_module(f"{options.room}.config")
    settings = dict(pair.split("=", 1) for pair in options.also)
    settings = {_field(home.Config, name): value for name, value in settings.items()}
    field = _field(home.Config, options.field)
    for name in ("seed", field):
        if name in settings or field == "seed":
            raise UserError(
                f"{name} is given by --{'seeds' if name == 'seed' else 'values'} alone. "
                f"Received: --{'field' if field == 'seed' else 'also'} {name}"
            )
    runs = []
    for seed in options.seeds:
        for value in options.values:
            asked = {**settings, field: value, "seed": str(seed)}
            config, flags = _read(options, home, asked)
            if "patience" in vars(config) and "patience" not in asked:
                # Equal budgets: none stops early because it was lucky or unlucky early.
                config, flags = _read(options, home, {**asked, "patience": str(config.epochs)})
            runs.append(
                WantedRun(
                    room=options.room,
                    label=f"{field}={value}",
                    seed=seed,
                    flags=tuple(flags),
                    config=config,
                    into=options.into,
                )
            )
    return runs


def _field(config_class: type, name: str) -> str:
    """The field of a room's Config that a name means, with dashes as in flags or without."""
    names = [field.name for field in dataclasses.fields(config_class)]
    found = name.removeprefix("--").replace("-", "_")
    if found not in names:
        similar = difflib.get_close_matches(found, names, n=1)
        hint = f" Did you mean {similar[0]}?" if similar else ""
        room = config_class.__module__.split(".")[0]
        raise UserError(f"{room} has no field of this name. Received: {name}.{hint}")
    return found


def _read(options: Options, home: Any, asked: Mapping[str, str]) -> tuple[Any, list[str]]:
    """The config that settings come to, and the flags that say so to the room."""
    hints = get_type_hints(home.Config)
    flags = ["--demo"] * options.demo
    for name, value in asked.items():
        flags += _flags(name, value, hints[name])
    config, _ = parse_run(
        home.Config,
        flags[options.demo :],
        room=options.room,
        description=None,
        default=home.DEMO if options.demo else None,
    )
    return config, flags


def _flags(name: str, value: str, hint: Any) -> list[str]:
    """A setting as a command takes it."""
    flag = name.replace("_", "-")
    if hint is bool:
        if value.lower() not in ("true", "false"):
            raise UserError(f"{name} is true or false. Received: {value}")
        return [f"--{flag}" if value.lower() == "true" else f"--no-{flag}"]
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if any(get_origin(option) is tuple for option in options):
        return [f"--{flag}", *value.split()]
    return [f"--{flag}={value}"]


def finish(runs: Sequence[WantedRun], root: Path = ROOT) -> None:
    """Do what is left of all runs, one after the other.

    Args:
        runs: of a comparison.
        root: the folder that the rooms' commands run in.

    Raises:
        UserError: when a room refuses a run, or one fails.
    """
    for place, wanted in enumerate(runs, 1):
        print(f"{place}/{len(runs)} {wanted.label}, seed {wanted.seed}: ", end="", flush=True)
        if wanted.is_done():
            print("kept")
            continue
        complete(wanted, root)
        run_dir = wanted.run_dir()
        assert run_dir is not None
        print(f"{sum(entry['cpu_seconds'] for entry in spent(run_dir)):.0f} CPU-seconds")


def collect(options: Options, runs: Sequence[WantedRun]) -> Comparison:
    """Gather the figures of finished runs.

    Args:
        options: what is compared.
        runs: all of its runs, finished, by seed and value.

    Raises:
        UserError: for values that change what the quality is measured by.
    """
    figures: dict[str, Figure] = {}
    qualities: set[str] = set()
    found: dict[str, list[dict[str, float | None]]] = {value: [] for value in options.values}
    for place, wanted in enumerate(runs):
        measured = figures_of(wanted)
        qualities.add(measured["quality"][0].title)
        if len(qualities) > 1:
            raise UserError(
                f"The values of {runs[0].label.split('=')[0]} are measured by different figures, "
                "which cannot stand side by side; the runs are kept. "
                f"Received: {' and '.join(sorted(qualities))}"
            )
        for name, (figure, _) in measured.items():
            known = figures.setdefault(name, figure)
            if name == "quality" and known.floor != figure.floor:  # as of horizons
                figures[name] = dataclasses.replace(known, floor=None)
        value = options.values[place % len(options.values)]
        found[value].append({name: single for name, (_, single) in measured.items()})
    return Comparison(
        room=options.room,
        field=runs[0].label.split("=")[0],
        command=options.command(),
        seeds=options.seeds,
        figures=list(figures.values()),
        measured={
            value: {name: [one.get(name) for one in each] for name in figures}
            for value, each in found.items()
        },
    )


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Read the flags, compare, and name the report."""
    options = parse(Options, argv, prog="python -m benchmarks.compare", description=__doc__)
    runs = wanted_runs(options, root)
    options.into.mkdir(parents=True, exist_ok=True)
    hold_run(options.into)
    try:
        finish(runs, root)
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; finished runs are kept. Go on with the same command."
        ) from None
    quiet_start()  # records of attention are read with tensorflow
    for path in write_report(collect(options, runs), options.into):
        print(f"report: {path}")
    return 0


if __name__ == "__main__":
    run_command(main)
