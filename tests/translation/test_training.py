"""What a training can be asked for: a start from another run, averages, an early end."""

import json
from dataclasses import replace

import numpy as np
import pytest

from attention_apps.running.command import UserError
from attention_apps.running.flags import RunOptions
from attention_apps.running.runs import create_run, load_run, read_config
from translation.config import TINY, Config
from translation.corpus import Corpus
from translation.starting_point import starting_point
from translation.train import main, train
from translation.validation import ValidationBleu
from translation.vocabularies import SUBWORDS


@pytest.fixture(scope="module")
def first(finished_run):
    config, run_dir = finished_run("translation")
    return config, run_dir


@pytest.mark.verify
def test_a_run_goes_on_from_another_with_its_subwords(first, tmp_path):
    """With a learning rate of zero the new run's model is the old one's, subwords and all."""
    config, run_dir = first
    other = tmp_path / "data"
    other.mkdir()
    for name in ("train", "val", "test"):
        (other / f"{name}.en").write_text("the dog sleeps .\nthe child reads .\n" * 5, "utf-8")
        (other / f"{name}.de").write_text("der Hund schläft .\ndas Kind liest .\n" * 5, "utf-8")
    again = replace(
        config,
        init_from=str(run_dir),
        dataset="files",
        data_dir=str(other),
        learning_rate=0.0,
        average_momentum=0.0,
        epochs=1,
    )
    second = train(again, RunOptions(runs_dir=tmp_path / "runs"))["run_dir"]
    assert (second / SUBWORDS).read_bytes() == (run_dir / SUBWORDS).read_bytes()
    models = [load_run(folder, "translation", Config).model for folder in (run_dir, second)]
    for before, after in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dim": 64, "num_decoder_layers": 2},
            "pass --num-decoder-layers 1 --dim 32. Received: 2, 64",
        ),
        ({"init_from": "nowhere"}, "no run folder. Received: nowhere"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_in_one_line(first, changes, message):
    config, run_dir = first
    with pytest.raises(UserError) as refusal:
        starting_point(replace(config, **{"init_from": str(run_dir), **changes}))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_two_averages_at_once_are_refused():
    with pytest.raises(ValueError, match=r"Choose one average.*Received: --average-last 3"):
        replace(TINY, average_last=3)


@pytest.mark.verify
def test_last_epochs_are_averaged_and_training_stops_when_nothing_improves(first, tmp_path):
    config, _ = first
    changes = {"average_last": 2, "average_momentum": 0.0, "patience": 1, "learning_rate": 0.0}
    config = replace(config, **changes, epochs=6, warmup_steps=0)
    run_dir = train(config, RunOptions(runs_dir=tmp_path))["run_dir"]
    kept = sorted(path.name for path in (run_dir / "last_weights").iterdir())
    assert kept == ["epoch-0.npz", "epoch-1.npz"]
    # Nothing is learned: the average is what each epoch had.
    model = load_run(run_dir, "translation", Config).model
    with np.load(run_dir / "last_weights" / "epoch-1.npz") as arrays:
        for i, variable in enumerate(model.trainable_variables):
            np.testing.assert_allclose(variable.numpy(), arrays[str(i)], rtol=1e-6)


def test_a_run_of_before_guided_attention_goes_on_without_it(first, tmp_path):
    _, run_dir = first
    record = json.loads((run_dir / "config.json").read_text("utf-8"))
    for name in ("alignment_weight", "subword_dropout", "r_drop_weight", "average_last"):
        del record["config"][name]
    (tmp_path / "config.json").write_text(json.dumps(record), "utf-8")
    config = read_config(tmp_path, "translation", Config)
    assert (config.alignment_weight, config.subword_dropout, config.r_drop_weight) == (0, 0, 0)
    assert Config().alignment_weight > 0


def test_the_demonstration_cannot_be_asked_for_beside_resume(tmp_path):
    run_dir = create_run("translation", TINY, runs_dir=tmp_path)
    with pytest.raises(UserError, match=r"Received: --demo beside --resume\. Leave --demo out"):
        main(["--demo", "--resume", str(run_dir)])


def test_a_resumed_run_still_knows_the_last_translations():
    corpus = Corpus("val", ["the dog"], ["der Hund"])
    before, after = (ValidationBleu(TINY, None, corpus) for _ in range(2))
    before.set_state({"the dog": "der Hund ."})
    after.set_state(json.loads(json.dumps(before.get_state())))
    assert after.answer("the dog") == "the dog → der Hund ."
    assert after.answer("the cat") == "the cat → not translated yet"
