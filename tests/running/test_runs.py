import dataclasses
import json
from datetime import datetime
from pathlib import Path

import pytest

from attention_apps.running import atomic, runs
from attention_apps.running.command import UserError
from attention_apps.running.runs import (
    create_run,
    epochs_saved,
    finish_run,
    is_finished,
    load_run,
    read_config,
    read_metrics,
    require_finished,
    resume_command,
    write_metrics,
)

NOON = datetime(2026, 1, 2, 12, 0, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    seed: int = 1
    epochs: int = 3
    data_dir: Path | None = None
    sizes: tuple[int, ...] = (8, 16)
    pair: tuple[str, Path] = ("a", Path("b"))
    name: str | None = None

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1. Received: epochs={self.epochs}")


def edit(run_dir, change):
    path = run_dir / "config.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_config_survives_the_folder(tmp_path):
    config = Config(seed=7, data_dir=Path("x/y"), sizes=(1,), pair=("p", Path("q")), name="n")
    run_dir = create_run("room", config, runs_dir=tmp_path)
    assert read_config(run_dir, "room", Config) == config
    assert [run_dir] == list((tmp_path / "room").iterdir())


def test_config_json_says_where_the_run_comes_from(tmp_path):
    record = json.loads((create_run("room", Config(seed=7), runs_dir=tmp_path) / "config.json")
                        .read_text())  # fmt: skip
    assert record["format"] == 1
    assert (record["room"], record["seed"], record["config"]["epochs"]) == ("room", 7, 3)
    assert record["versions"]["tensorflow"].startswith("2.")
    assert record["versions"]["keras"].startswith("3.")
    assert {"attention-apps", "python"} < set(record["versions"])
    assert record["command"]
    assert {"git_commit", "created"} < set(record)


def test_name_is_time_and_config_hash(tmp_path):
    one, other = (
        create_run("room", Config(epochs=epochs), runs_dir=tmp_path, now=NOON).name
        for epochs in (1, 2)
    )
    assert one.startswith("20260102-120000-")
    assert one != other
    again = create_run("room", Config(epochs=1), runs_dir=tmp_path / "else", now=NOON).name
    assert again == one


def test_an_existing_run_is_never_touched(tmp_path):
    folders = []
    for _ in range(3):
        folders.append(create_run("room", Config(), runs_dir=tmp_path, now=NOON))
        (folders[-1] / "metrics.json").write_text("{}")
    name = folders[0].name
    assert [folder.name for folder in folders] == [name, f"{name}-2", f"{name}-3"]
    assert all((folder / "metrics.json").exists() for folder in folders)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(format=2), "newer version"),
        (lambda record: record.pop("format"), "names no format"),
        (lambda record: record.update(room="captioning"), "Expected: a run of room"),
        (lambda record: record["config"].update(magic=1), "`magic`"),
        (lambda record: record["config"].update(epochs=0), "Received: epochs=0"),
    ],
)
def test_runs_that_cannot_be_read_say_why_in_one_line(change, said, tmp_path):
    run_dir = create_run("room", Config(), runs_dir=tmp_path)
    edit(run_dir, change)
    with pytest.raises(UserError) as refused:
        read_config(run_dir, "room", Config)
    assert said in str(refused.value)
    assert str(run_dir) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match="no run folder"):
        read_config(tmp_path / "absent", "room", Config)
    with pytest.raises(UserError, match="is not a run"):
        read_config(tmp_path, "room", Config)
    (tmp_path / "config.json").write_text('{"format": 1, "ro')
    with pytest.raises(UserError, match="is damaged"):
        read_config(tmp_path, "room", Config)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="names no format"):
        read_config(tmp_path, "room", Config)


def test_fields_added_later(tmp_path):
    """An old run takes what the code did before a field existed, else the field's default."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Later(Config):
        smoothing: float = dataclasses.field(default=0.1, metadata={"before": 0.0})
        colour: str = "red"

    run_dir = create_run("room", Config(epochs=5), runs_dir=tmp_path)
    assert read_config(run_dir, "room", Later) == Later(epochs=5, smoothing=0.0, colour="red")

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Demanding(Config):
        needed: int

    with pytest.raises(UserError, match="needed"):
        read_config(run_dir, "room", Demanding)


def test_sections_of_metrics_are_kept(tmp_path):
    assert read_metrics(tmp_path) == {}
    write_metrics(tmp_path, train={"loss": 1.0}, test={"bleu": 1.0})
    write_metrics(tmp_path, test={"chrf": 2.0})
    assert read_metrics(tmp_path) == {"train": {"loss": 1.0}, "test": {"chrf": 2.0}}


def test_metrics_are_plain_json(tmp_path):
    import numpy as np

    write_metrics(
        tmp_path,
        test={"nan": float("nan"), "inf": np.float32("inf"), "n": np.int64(3), "list": (0.5, None)},
    )
    read = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert read == {"test": {"nan": None, "inf": None, "n": 3, "list": [0.5, None]}}


def test_a_write_that_dies_leaves_the_old_file(tmp_path, monkeypatch):
    write_metrics(tmp_path, test={"bleu": 1.0})

    def die(*_):
        raise OSError("disk")

    monkeypatch.setattr(atomic.os, "replace", die)
    with pytest.raises(OSError, match="disk"):
        write_metrics(tmp_path, test={"bleu": 2.0})
    assert read_metrics(tmp_path) == {"test": {"bleu": 1.0}}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_unfinished_run_says_how_to_resume(tmp_path):
    run_dir = create_run("room", Config(), runs_dir=tmp_path / "with space")
    (run_dir / "checkpoints" / "epoch-0002").mkdir(parents=True)
    (run_dir / "checkpoints" / ".partial-epoch-0003").mkdir()
    assert epochs_saved(run_dir) == 2
    assert resume_command(run_dir, "room") == f"python -m room.train --resume '{run_dir}'"
    with pytest.raises(UserError) as refused:
        load_run(run_dir, "room", Config)
    assert "epochs saved: 2" in str(refused.value)
    assert resume_command(run_dir, "room") in str(refused.value)


def test_finishing(tmp_path):
    run_dir = create_run("room", Config(), runs_dir=tmp_path)
    with pytest.raises(UserError, match="Lower the learning rate"):
        finish_run(run_dir, train={"loss": float("nan")})
    assert not is_finished(run_dir)
    (run_dir / "model.keras").touch()
    finish_run(run_dir, train={"loss": 0.5})
    assert is_finished(run_dir)
    assert read_metrics(run_dir)["train"] == {"loss": 0.5}
    require_finished(run_dir, "room")


def test_model_that_cannot_be_read_is_one_line(tmp_path):
    run_dir = create_run("room", Config(), runs_dir=tmp_path)
    (run_dir / "model.keras").write_bytes(b"not a model")
    finish_run(run_dir, train={})
    with pytest.raises(UserError, match=r"model\.keras cannot be read by attention-apps") as told:
        load_run(run_dir, "room", Config)
    assert "\n" not in str(told.value)


def test_set_seed_repeats_everything():
    import random

    import keras
    import numpy as np
    import tensorflow as tf

    def draw():
        runs.set_seed(3)
        keras_draw = keras.ops.convert_to_numpy(keras.random.normal((2,)))
        return random.random(), np.random.rand(), float(tf.random.normal(())), *keras_draw  # noqa: NPY002

    assert draw() == draw()
    # One of the ops that refuse to go on when they cannot be repeated.
    with pytest.raises(ValueError, match="determinism is enabled"):
        tf.image.sample_distorted_bounding_box([4, 4, 3], tf.zeros((1, 1, 4)), seed=0)
