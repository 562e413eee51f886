"""What is exported answers as the run's model does, or is not there."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

CARD = {
    "room": "tiny",
    "data": "random numbers",
    "figures": {"loss": 0.5},
    "floors": {"loss": 3.0},
    "limits": "none known",
    "labels": [],
}
X = np.random.default_rng(0).normal(size=(5, 8)).astype("float32")


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    run_dir, _, _ = tiny.train(tiny.Config(epochs=1), runs_dir=tmp_path_factory.mktemp("export"))
    return run_dir


@pytest.fixture
def run_dir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def export(tiny, run_dir, *, parity=None, card=CARD, drop=()):
    import tensorflow as tf

    from attention_apps.running.export import export_model
    from attention_apps.running.runs import load_run

    model = load_run(run_dir, "tiny", tiny.Config).model
    signature = [tf.TensorSpec([None, 8], tf.float32, name="x")]
    endpoints = {
        "serving_default": (lambda x: {"sum": model(x, training=False)}, signature),
        "with_attention": (
            lambda x: {"sum": model(x, training=False), "weights": tf.nn.softmax(x)},
            signature,
        ),
    }

    def agrees(loaded):
        answer = loaded.signatures["serving_default"](x=tf.constant(X))["sum"]
        expected = model(X, training=False)
        return [] if np.array_equal(answer, expected) else ["sum differs"]

    return export_model(
        run_dir,
        endpoints={name: value for name, value in endpoints.items() if name not in drop},
        tracked=[model],
        parity=parity or agrees,
        model_card=card,
    )


def test_the_export_answers_in_a_process_that_knows_only_tensorflow(tiny, run_dir):
    from attention_apps.running.export import exported_model
    from attention_apps.running.runs import load_run

    folder = export(tiny, run_dir)
    assert folder == run_dir / "saved_model" / "1" == exported_model(run_dir, "tiny")
    code = f"""
import json, sys
import tensorflow as tf
loaded = tf.saved_model.load({str(folder)!r})
x = tf.constant({X.tolist()!r}, tf.float32)
answers = [loaded.signatures[name](x=x) for name in ("serving_default", "with_attention")]
print(json.dumps([
    sorted(answers[0]), sorted(answers[1]),
    answers[0]["sum"].numpy().tolist(), answers[1]["sum"].numpy().tolist(),
    [name for name in sys.modules if name.startswith("attention_apps")],
]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=run_dir,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    plain, attended, answer, again, ours = json.loads(ended.stdout)
    assert (plain, attended, ours) == (["sum"], ["sum", "weights"], [])
    expected = load_run(run_dir, "tiny", tiny.Config).model(X, training=False)
    assert answer == again == np.asarray(expected).tolist()

    card = json.loads((folder / "assets.extra" / "model_card.json").read_text())
    assert {name: card[name] for name in CARD} == CARD
    assert card["versions"]["keras"].startswith("3.")


def test_a_model_that_answers_differently_is_not_left_behind(tiny, run_dir):
    from attention_apps.running.command import UserError
    from attention_apps.running.export import ParityError, exported_model

    before = sorted(run_dir.rglob("*"))
    problems = [f"sentence {number} differs" for number in range(5)]
    with pytest.raises(ParityError) as refused:
        export(tiny, run_dir, parity=lambda loaded: problems)
    assert "sentence 0 differs; sentence 1 differs; sentence 2 differs; and 2 more" in str(
        refused.value
    )
    assert sorted(run_dir.rglob("*")) == before
    with pytest.raises(UserError, match=r"Export it with: python -m tiny\.export --run-dir"):
        exported_model(run_dir, "tiny")


def test_a_parity_check_that_breaks_leaves_nothing_either(tiny, run_dir):
    before = sorted(run_dir.rglob("*"))

    def breaks(loaded):
        raise KeyError("weights")

    with pytest.raises(KeyError):
        export(tiny, run_dir, parity=breaks)
    assert sorted(run_dir.rglob("*")) == before


def test_exporting_again_replaces_only_by_what_is_right(tiny, run_dir):
    import tensorflow as tf

    from attention_apps.running.export import ParityError

    card = export(tiny, run_dir) / "assets.extra" / "model_card.json"
    with pytest.raises(ParityError):
        export(tiny, run_dir, parity=lambda loaded: ["wrong"], card={**CARD, "data": "wrong"})
    assert json.loads(card.read_text())["data"] == "random numbers"
    tf.saved_model.load(str(run_dir / "saved_model" / "1"))
    export(tiny, run_dir, card={**CARD, "data": "new"})
    assert json.loads(card.read_text())["data"] == "new"
    assert [path.name for path in (run_dir / "saved_model").iterdir()] == ["1"]


def test_death_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    from attention_apps.running.atomic import whole_folder

    class Killed(BaseException):
        pass

    def write(text):
        with whole_folder(tmp_path / "1") as partial:
            (partial / "model").write_text(text)

    write("old")
    rename, renamed = os.rename, []

    def dying(source, target):
        if len(renamed) == 1:
            raise Killed
        renamed.append(target)
        rename(source, target)

    def dead(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as killing:
        killing.setattr(os, "rename", dying)
        killing.setattr(shutil, "rmtree", lambda *args, **kwargs: renamed and dead())
        with pytest.raises(Killed):
            write("new")
    assert not (tmp_path / "1").exists()

    def fails():
        with whole_folder(tmp_path / "1"):
            assert (tmp_path / "1" / "model").read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert (tmp_path / "1" / "model").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_an_unfinished_run_is_not_exported(tiny, run_dir):
    from attention_apps.running.command import UserError
    from attention_apps.running.export import export_model

    (run_dir / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"epochs saved: 1.*--resume"):
        export_model(
            run_dir,
            endpoints={"serving_default": (None, [])},
            tracked=[],
            parity=lambda loaded: [],
            model_card=CARD,
        )
    assert not (run_dir / "saved_model").exists()


def test_what_the_contract_asks_for(tiny, run_dir):
    with pytest.raises(ValueError, match="the model card lacks floors, limits"):
        export(tiny, run_dir, card={k: CARD[k] for k in CARD if k not in ("floors", "limits")})
    with pytest.raises(ValueError, match=r"no endpoint serving_default\. Received.*with_attention"):
        export(tiny, run_dir, drop=("serving_default",))
