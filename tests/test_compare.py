"""Comparing values of one setting: what is run, what a kill leaves, and what is told of it."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from attention_apps.running.command import UserError
from benchmarks import compared_figures, compared_report, compared_runs
from benchmarks.compare import main
from benchmarks.compared_figures import Figure
from benchmarks.compared_report import Comparison
from benchmarks.demo import ROOT, rooms

CONFIG = '''
from dataclasses import dataclass

@dataclass(frozen=True, kw_only=True)
class Config:
    """Numbers of a room that trains in no time."""

    width: int = 2
    """Decides how good it is."""
    attention: str = "full"
    """Read when the model is built."""
    shares: tuple[float, ...] = (0.5,)
    """Several numbers."""
    gated: bool = False
    """Yes or no."""
    epochs: int = 4
    """Passes."""
    patience: int = 1
    """Stops early by default."""
    seed: int = 1
    """Seed."""

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"--width must be at least 1. Received: {self.width}")

DEMO = Config(epochs=3)
'''
TRAIN = """
import io, json, os, sys, time, zipfile
from pathlib import Path
import h5py
from attention_apps.running.command import UserError, run_command
from attention_apps.running.flags import parse_run
from attention_apps.running.runs import create_run, finish_run
from toyroom.config import DEMO, Config

HERE = Path(__file__).parent

def main():
    argv = sys.argv[1:]
    demo = "--demo" in argv
    argv = [word for word in argv if word != "--demo"]
    config, options = parse_run(
        Config, argv, room="toyroom", description="Toy.", default=DEMO if demo else None
    )
    if config.attention == "nonsense":
        raise UserError("no such attention. Received: nonsense")
    if config.attention == "broken":
        raise RuntimeError("it broke")
    run_dir = options.resume or create_run("toyroom", config, runs_dir=options.runs_dir)
    done = len(list(run_dir.glob("checkpoints/epoch-*")))
    for epoch in range(done, config.epochs):
        while epoch == 2 and (HERE / "stop").exists() and config.width == 7:
            time.sleep(0.02)
        with open(HERE / "trace", "a") as trace:
            print(config.width, config.seed, epoch, os.getpid(), file=trace)
        (run_dir / "checkpoints" / f"epoch-{epoch + 1:04d}").mkdir(parents=True)
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = [[0.0] * config.width] * 3
        file["layers/dropout/seed_generator/vars/0"] = [1, 2]
    with zipfile.ZipFile(run_dir / "model.keras", "w") as archive:
        archive.writestr("model.weights.h5", weights.getvalue())
    curve = [{"epoch": e, "cpu_minutes": (e + 1) * config.width / 60} for e in range(config.epochs)]
    finish_run(run_dir, train={"curve": curve})

run_command(main)
"""
EVALUATE = """
import sys
from pathlib import Path
from attention_apps.running.runs import read_config, write_metrics
from toyroom.config import Config

run_dir = Path(sys.argv[sys.argv.index("--run-dir") + 1])
config = read_config(run_dir, "toyroom", Config)
value = 10 * config.width + config.seed
demo = {"figure": "score", "value": value, "floor": 5, "better": "higher"}
write_metrics(run_dir, demo=demo, test={"all": {"floor": 5}})
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A folder with one room whose commands take no time."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.hatch.build.targets.wheel]\npackages = ['attention_apps', 'toyroom']\n"
    )
    (tmp_path / "toyroom").mkdir()
    for name, text in {
        "__init__": "",
        "config": CONFIG,
        "train": TRAIN,
        "evaluate": EVALUATE,
    }.items():
        (tmp_path / "toyroom" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "toyroom"]:
        del sys.modules[name]


def flags(house, *others, field="width", values=("2", "7"), seeds=("1", "2")):
    return [
        *("--room", "toyroom", "--field", field, "--values", *values, "--seeds", *seeds),
        *("--into", str(house / "into"), *others),
    ]


def trace(house):
    """Epochs that were trained: width, seed, epoch and process."""
    path = house / "toyroom" / "trace"
    return [tuple(map(int, line.split())) for line in path.read_text().splitlines()]


def cells(house, name="toyroom_width"):
    """The table by value and figure."""
    with open(house / "into" / f"{name}.csv", newline="") as file:
        return {(row["value"], row["figure"]): row for row in csv.DictReader(file)}


def test_all_columns_are_reported_with_their_intervals(house, capsys):
    assert main(flags(house, "--demo"), root=house) == 0
    found = cells(house)
    assert {value for value, _ in found} == {"2", "7"}
    quality = found["7", "quality"]
    assert (quality["title"], quality["floor"], quality["each"]) == ("score", "5", "71;72")
    assert float(quality["mean"]) == 71.5
    # Of two values the half width is t(0.975, 1) = 12.706 times half their distance.
    assert float(quality["low"]) == pytest.approx(71.5 - 12.706 * 0.5, abs=1e-3)
    assert float(quality["high"]) == pytest.approx(71.5 + 12.706 * 0.5, abs=1e-3)
    # Seed by seed the difference is always 50, whatever the seeds do.
    assert [float(quality[f"difference{end}"]) for end in ("", "_low", "_high")] == [50, 50, 50]
    assert found["2", "quality"]["difference"] == ""
    assert float(found["7", "parameters"]["mean"]) == 21
    assert float(found["7", "epoch_cpu_seconds"]["mean"]) == pytest.approx(7)
    assert float(found["7", "cpu_seconds"]["mean"]) == pytest.approx(21)
    # No less than a Python; the memory of what started it counts until it becomes one.
    assert 5 < float(found["7", "peak_megabytes"]["mean"]) < 50_000
    assert found["7", "entropy"]["mean"] == ""
    page = (house / "into" / "toyroom_width.md").read_text()
    assert "| `7` | 71.5 (65.15 to 77.85) |" in page
    assert "score: 5 (the room's floor)" in page
    assert "--room toyroom --demo --field width --values 2 7 --seeds 1 2 --into FOLDER" in page
    assert str(house) not in page
    picture = (house / "into" / "toyroom_width.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5000
    assert "4/4 width=7, seed 2" in capsys.readouterr().out


def test_every_run_gets_the_same_budget(house):
    """Early stopping would give some fewer epochs; the demonstration's number of them is kept."""
    main(flags(house, "--demo", values=("2", "3")), root=house)
    configs = [json.loads(p.read_text())["config"] for p in house.rglob("runs/*/*/*/*/config.json")]
    assert {(config["epochs"], config["patience"]) for config in configs} == {(3, 3)}
    assert sorted((config["width"], config["seed"]) for config in configs) == [
        *((2, 1), (2, 2), (3, 1), (3, 2))
    ]


def test_a_killed_comparison_goes_on_where_it_was(house):
    """Killed within a run: what is finished is kept, that run continues from its second epoch."""
    (house / "toyroom" / "stop").touch()
    code = f"from pathlib import Path; from benchmarks.compare import main; main({flags(house)!r}, "
    code += f"root=Path({str(house)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
    while not list(house.glob("into/runs/width=7/seed-1/toyroom/*/checkpoints/epoch-0002")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = trace(house)
    child = first[-1][-1]
    assert [entry[:3] for entry in first] == [
        *((2, 1, 0), (2, 1, 1), (2, 1, 2), (2, 1, 3), (7, 1, 0), (7, 1, 1))
    ]
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{child}") and "Z" not in _state(child):
        assert time.monotonic() < deadline, "the training outlived the comparison"
        time.sleep(0.02)

    (house / "toyroom" / "stop").unlink()
    assert main(flags(house), root=house) == 0
    second = trace(house)[len(first) :]
    assert [entry[:3] for entry in second[:2]] == [(7, 1, 2), (7, 1, 3)]
    trained = [entry[:3] for entry in first + second]
    assert len(trained) == len(set(trained)) == 4 * 4
    assert len(list(house.glob("into/runs/*/*/toyroom/*"))) == 4
    assert cells(house)["7", "quality"]["each"] == "71;72"


def _state(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_runs_serve_further_values_seeds_and_comparisons(house):
    main(flags(house, values=("2", "3"), seeds=("1",)), root=house)
    main(flags(house, values=("2", "3", "4"), seeds=("1", "2")), root=house)
    main(flags(house, field="gated", values=("false", "true"), seeds=("1",)), root=house)
    trained = [entry[:3] for entry in trace(house)]
    assert trained.count((2, 1, 0)) == 2  # the plain run and the gated one
    assert sum(epoch == 0 for _, _, epoch in trained) == 6 + 1
    assert cells(house)["4", "quality"]["each"] == "41;42"
    assert cells(house, "toyroom_gated")["true", "quality"]["each"] == "21"
    # Other settings are other runs: nothing of the old is reported for them.
    main(flags(house, "--also", "epochs=2", values=("2", "3"), seeds=("1",)), root=house)
    assert float(cells(house)["2", "epochs"]["mean"]) == 2


def test_values_of_several_numbers_and_yes_or_no(house):
    main(flags(house, field="shares", values=("0.1 0.2", "0.3"), seeds=("1",)), root=house)
    configs = [json.loads(p.read_text())["config"] for p in house.rglob("runs/*/*/*/*/config.json")]
    assert sorted(config["shares"] for config in configs) == [[0.1, 0.2], [0.3]]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"--room": ["nowhere"]}, "--room is one of toyroom. Received: nowhere"),
        ({"--field": ["witdh"]}, "no field of this name. Received: witdh. Did you mean width?"),
        ({"--field": ["seed"]}, "seed is given by --seeds alone"),
        ({"--values": ["2", "none"]}, "--width takes a whole number. Received: none"),
        ({"--values": ["2", "0"]}, "--width must be at least 1. Received: 0"),
        ({"--values": ["2"]}, "--values takes two values or more. Received: 2"),
        ({"--values": ["2", "2"]}, "--values must differ from each other"),
        ({"--values": []}, "--values"),
        ({"--seeds": []}, "--seeds"),
        ({"--seeds": ["1", "1"]}, "--seeds must differ from each other"),
        ({"--seeds": ["one"]}, "--seeds takes a whole number"),
        ({"--also": ["depth=2"]}, "no field of this name. Received: depth"),
        ({"--also": ["epochs"]}, "--also takes FIELD=VALUE, such as epochs=8. Received: epochs"),
        ({"--also": ["width=3"]}, "width is given by --values alone"),
        ({"--also": ["seed=3"]}, "seed is given by --seeds alone"),
        ({"--also": ["epochs=many"]}, "--epochs takes a whole number. Received: many"),
        ({"--field": ["gated"], "--values": ["true", "maybe"]}, "gated is true or false"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(house, changed, complaint):
    given = {
        **{"--room": ["toyroom"], "--field": ["width"], "--values": ["2", "7"], "--seeds": ["1"]},
        **{"--into": [str(house / "into")], **changed},
    }
    with pytest.raises(UserError) as refused:
        main([word for flag, values in given.items() for word in (flag, *values)], root=house)
    assert complaint in str(refused.value)
    assert not (house / "into").exists()


def test_bad_input_is_one_line_and_status_2(tmp_path):
    command = [sys.executable, "-m", "benchmarks.compare", "--room", "nowhere", "--field", "dim"]
    command += ["--values", "1", "2", "--into", str(tmp_path / "into")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: --room is one of translation, captioning")


def test_what_a_room_refuses_while_it_builds_or_breaks_at_is_told_in_one_line(house):
    named = {"field": "attention", "seeds": ("1",)}
    with pytest.raises(UserError) as refused:
        main(flags(house, values=("full", "nonsense"), **named), root=house)
    assert str(refused.value) == (
        "toyroom refuses attention=nonsense: no such attention. Received: nonsense"
    )
    with pytest.raises(UserError, match=r"toyroom.train with attention=broken ended with status 1"):
        main(flags(house, values=("full", "broken"), **named), root=house)
    # What was trained before is kept for the next attempt.
    assert main(flags(house, values=("full", "window:2"), **named), root=house) == 0
    assert sum(epoch == 0 for _, _, epoch, _ in trace(house)) == 2


@pytest.mark.parametrize(
    ("values", "printed"),
    [((1.0, 4.0), 12.706), ((1.0, 2.0, 3.0), 4.303), ((1.0, 2.0, 4.0, 9.0, 4.0), 2.776)],
)
def test_intervals_are_those_of_printed_tables(values, printed):
    """Student's t at 0.975 for 1, 2 and 4 degrees of freedom, and the sample's own deviation."""
    half = printed * np.std(values, ddof=1) / math.sqrt(len(values))
    found = compared_report.estimate(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.high - found.mean == pytest.approx(half, rel=5e-4)
    assert found.mean - found.low == pytest.approx(half, rel=5e-4)
    same = compared_report.estimate((4.0, 4.0))
    assert (same.low, same.mean, same.high, str(same)) == (4.0, 4.0, 4.0, "4")


def test_intervals_hold_the_truth_as_often_as_they_say():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (1500, 3))
    found = [compared_report.estimate(list(row)) for row in draws]
    held = np.mean([one.low <= 3.0 <= one.high for one in found])
    assert 0.93 < held < 0.97


def test_one_seed_has_no_interval_and_none_no_mean():
    assert str(compared_report.estimate([1234.5])) == "1,234"
    assert compared_report.estimate([]) is None


def test_what_a_seed_does_not_say_is_left_out_and_not_counted_as_zero():
    quality = Figure("quality", "score | all", "higher")
    comparison = Comparison(
        room="toyroom",
        field="width",
        command="compare",
        seeds=(1, 2, 3),
        figures=[quality],
        measured={"a|b": {"quality": [1.0, None, 2.0]}, "c": {"quality": [None, None, 5.0]}},
    )
    assert comparison.of("a|b", quality).mean == 1.5
    assert comparison.difference("c", quality).each == (3.0,)
    page = compared_report.markdown(comparison, "p.png")
    assert "| `a&#124;b` | 1.5 (" in page
    # Every row has as many cells as the head.
    assert {line.count("|") for line in page.splitlines() if line.startswith("|")} == {3}


def test_an_epoch_costs_the_median_of_those_that_were_measured():
    curve = [{"epoch": e, "cpu_minutes": m} for e, m in ((1, 1.0), (3, 1.2), (5, 3.0), (7, 3.3))]
    # 6, 54 (the process started anew in between) and 9 seconds an epoch.
    assert compared_figures.epoch_seconds(curve) == pytest.approx(9)
    assert compared_figures.epoch_seconds(curve[:1]) is None


def test_entropy_is_that_of_shares_in_nats():
    even = np.zeros((2, 2, 8))
    even[:, 0, :4] = 0.25  # the second row may attend to nothing
    assert compared_figures.mean_entropy(even) == pytest.approx(math.log(4))
    assert compared_figures.mean_entropy(np.eye(5)[None]) == pytest.approx(0)
    assert compared_figures.mean_entropy(np.array([[[1.5, -0.5]]])) is None


@pytest.mark.verify
@pytest.mark.parametrize("room", rooms())
def test_the_run_of_every_room_says_all_of_it(room, finished_run, tmp_path):
    """On a real run folder, beside what Keras and scipy make of the same model and records."""
    import keras
    import scipy.stats

    from attention_apps.observation.events import read_records

    config, run_dir = finished_run(room)
    (tmp_path / "runs" / "any" / "seed-1").mkdir(parents=True)
    (tmp_path / "runs" / "any" / "seed-1" / room).symlink_to(run_dir.parent)
    wanted = compared_runs.WantedRun(
        room=room, label="any", seed=1, flags=(), config=config, into=tmp_path
    )
    assert wanted.is_done()
    found = compared_figures.figures_of(wanted)
    gold, value = found["gold"]
    assert gold.better in ("higher", "lower")
    assert 0 <= value <= 1
    assert 0 <= gold.floor <= 1
    model = keras.saving.load_model(run_dir / "model.keras", compile=False)
    assert found["parameters"][1] == model.count_params()
    assert (
        found["quality"][1] == json.loads((run_dir / "metrics.json").read_text())["demo"]["value"]
    )
    assert found["epochs"][1] == config.epochs
    assert 0 < found["epoch_cpu_seconds"][1] < found["cpu_seconds"][1]
    assert found["peak_megabytes"][1] is None  # nobody watched it
    records = read_records(run_dir / "attention")
    entropies = []
    for record in records:
        if record.step == config.epochs - 1:
            rows = np.asarray(record.weights, np.float64).reshape(-1, len(record.key))
            entropies.append(np.mean(scipy.stats.entropy(rows[rows.sum(-1) > 0], axis=-1)))
    assert found["entropy"][1] == pytest.approx(np.mean(entropies), abs=1e-6)
