"""The contract that every room keeps: train, evaluate, export, ask, resume."""

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from attention_apps.observation.events import read_records
from benchmarks.demo import ROOT, rooms

ROOMS = rooms()


def part(room, name):
    return importlib.import_module(f"{room}.{name}")


@pytest.fixture(scope="module", params=ROOMS)
def finished(request, finished_run):
    """A room, its TINY configuration and its finished run."""
    return request.param, *finished_run(request.param)


def test_a_run_leaves_the_folder_that_every_room_leaves(finished):
    room, config, run_dir = finished
    assert run_dir.parent.name == room
    for name in ("config.json", "metrics.json", "model.keras", "checkpoints", "attention", "train"):
        assert (run_dir / name).exists(), name
    written = json.loads((run_dir / "config.json").read_text())
    assert written["config"] == json.loads(json.dumps(dataclasses.asdict(config)))


def test_attention_was_recorded_with_labels(finished):
    _, config, run_dir = finished
    records = read_records(run_dir / "attention")
    assert max(record.step for record in records) == config.epochs - 1
    for record in records:
        sums = record.weights.sum(axis=-1)
        assert np.all(np.isclose(sums, 1, atol=0.02) | np.isclose(sums, 0, atol=0.02))
        assert all(label.strip() for label in (*record.query.labels, *record.key.labels))


def test_figures_stand_beside_their_floors(finished):
    _, _, run_dir = finished
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["demo"].keys() == {"figure", "value", "floor", "better"}
    assert any("floor" in name for section in metrics["test"].values() for name in dict(section))


def test_the_export_has_a_card_and_both_signatures(finished):
    import tensorflow as tf

    room, _, run_dir = finished
    folder = run_dir / "saved_model" / "1"
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text())
    assert card["room"] == room
    assert card["floors"]
    assert {"serving_default", "with_attention"} <= set(tf.saved_model.load(str(folder)).signatures)


def test_a_process_that_knows_only_tensorflow_can_ask_every_export(finished_run, tmp_path):
    asked = []
    for room in ROOMS:
        config = part(room, "config")
        # A batch is a list of what the shell takes, where the room does not say otherwise.
        batch = getattr(config, "EXAMPLE_BATCH", [config.EXAMPLE])
        asked.append((str(finished_run(room)[1] / "saved_model" / "1"), batch))
    code = f"""
import sys, tensorflow as tf, tensorflow_text
for folder, batch in {asked!r}:
    model = tf.saved_model.load(folder)
    ask = model.signatures["with_attention"]
    (inputs,) = ask.structured_input_signature[1].values()
    print(sorted(ask(tf.constant(batch, inputs.dtype))))
assert "attention_apps" not in sys.modules and "keras_hub" not in sys.modules
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.count("'attention'") == len(ROOMS)


def test_predict_answers_and_draws_what_was_attended_to(finished, capsys):
    room, _, run_dir = finished
    example = part(room, "config").EXAMPLE
    assert part(room, "predict").main(["--run-dir", str(run_dir), example]) == 0
    answer = capsys.readouterr().out
    assert example in answer
    assert any(shade in answer for shade in "░▒▓█")


def test_what_is_not_finished_or_not_exported_is_refused(finished, tmp_path):
    from attention_apps.running.command import UserError
    from attention_apps.running.runs import create_run

    room, config, _ = finished
    unfinished = create_run(room, config, runs_dir=tmp_path)
    with pytest.raises(UserError, match="not finished"):
        part(room, "export").export(unfinished)
    with pytest.raises(UserError, match="not finished"):
        part(room, "evaluate").evaluate(unfinished)
    with pytest.raises(UserError, match="has not been exported"):
        part(room, "predict").main(["--run-dir", str(unfinished), part(room, "config").EXAMPLE])


@pytest.mark.verify
@pytest.mark.parametrize("room", ROOMS)
def test_a_killed_training_ends_where_the_uninterrupted_one_ends(room, tmp_path, embedded_data):
    """The whole command, killed by the kernel in its second epoch and continued."""
    config = dataclasses.replace(part(room, "config").TINY, data_dir=embedded_data, epochs=3)
    flags = [
        f"--{field.name.replace('_', '-')}={getattr(config, field.name)}"
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != field.default
    ]
    command = [sys.executable, "-m", f"{room}.train"]

    def run_dir(name):
        return next((tmp_path / name / room).iterdir())

    subprocess.run([*command, *flags, "--runs-dir", str(tmp_path / "whole")], cwd=ROOT, check=True)
    process = subprocess.Popen([*command, *flags, "--runs-dir", str(tmp_path / "cut")], cwd=ROOT)
    while not list((tmp_path / "cut").glob(f"{room}/*/checkpoints/epoch-0001")):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "--resume", str(run_dir("cut"))], cwd=ROOT, check=True)
    for name in ("whole", "cut"):
        assert (run_dir(name) / "checkpoints" / "epoch-0003").is_dir()
    ours, theirs = (
        np.load(run_dir(name) / "checkpoints" / "epoch-0003" / "variables.npz")
        for name in ("whole", "cut")
    )
    assert ours.files == theirs.files
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_no_import_draws_a_seed():
    """An initializer made while a module is imported has a seed that `set_seed` cannot decide."""
    code = f"""
import importlib, pkgutil, keras
from keras.src.initializers.random_initializers import random
def refuse():
    raise AssertionError("an import drew a seed")
random.make_default_seed = refuse
try:
    keras.initializers.RandomNormal()
except AssertionError:
    pass
else:
    raise SystemExit("Keras draws its seeds elsewhere now")
for room in {ROOMS}:
    for module in pkgutil.walk_packages(importlib.import_module(room).__path__, room + "."):
        importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
