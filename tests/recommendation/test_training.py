"""Going on from a finished run, choosing by validation, and what the probe shows."""

from dataclasses import replace

import numpy as np
import pytest

from attention_apps.running.command import UserError
from attention_apps.running.flags import RunOptions
from attention_apps.running.runs import load_run, read_metrics
from recommendation.attention_maps import Probe, attention_maps
from recommendation.config import Config
from recommendation.data import load
from recommendation.model import build_model
from recommendation.starting_point import load_again, read_items, take_over
from recommendation.train import train
from recommendation.validation import ValidationRanking

RNG = np.random.default_rng(0)
CONFIG = Config(
    dataset="files",
    data_dir="unset",
    max_length=8,
    dim=8,
    num_heads=2,
    feedforward_dim=8,
    num_blocks=1,
    batch_tokens=64,
    epochs=1,
    validate_every=1,
)


def write(folder, items, users=30):
    folder.mkdir()
    lines = ["user,item"]
    for user in range(users):
        lines += [f"u{user},{items[(user + step) % len(items)]}" for step in range(6)]
    (folder / "interactions.csv").write_text("\n".join(lines))
    return str(folder)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    config = replace(CONFIG, data_dir=write(folder / "data", ["a", "b", "c", "d", "e", "f", "g"]))
    return train(config, RunOptions(runs_dir=folder / "runs"))["run_dir"]


def test_a_run_goes_on_with_new_items(first, tmp_path, capsys):
    data = write(tmp_path / "data", ["new", "b", "a", "d", "newer", "c", "g", "f"])
    config = replace(CONFIG, data_dir=data, init_from=str(first))
    metrics = train(config, RunOptions(runs_dir=tmp_path / "runs"))
    told = capsys.readouterr().out
    assert "7 items keep their vectors, 2 are new; before training: validation NDCG@10" in told
    assert read_items(metrics["run_dir"]).keys == [*"abcdefg", "new", "newer"]
    kept = read_metrics(metrics["run_dir"])["train"]
    assert 0 <= kept["val_ndcg_10_before"] <= 1
    assert kept["val_ndcg_10_before"] == metrics["val_ndcg_10_before"]
    assert load_run(metrics["run_dir"], "recommendation", Config).model.num_items == 9


def test_old_items_keep_their_vectors_and_new_ones_their_own(first):
    old = load_run(first, "recommendation", Config).model
    model = build_model(CONFIG, 9)
    own = model.embedding.embeddings.numpy()
    take_over(model, old)
    table, before = model.embedding.embeddings.numpy(), old.embedding.embeddings.numpy()
    np.testing.assert_array_equal(table[:8], before[:8])
    np.testing.assert_array_equal(table[8:10], own[8:10])
    np.testing.assert_array_equal(table[10], before[8])  # the hidden item
    history = np.array([[0, 3, 1, 7, 2]], "int32")
    for ours, theirs in zip(
        (model.next_hidden(history), model.scores(model.next_hidden(history))[:, :7]),
        (old.next_hidden(history), old.scores(old.next_hidden(history))),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_run_of_another_shape_is_refused(first):
    config = replace(CONFIG, dim=16, init_from=str(first))
    with pytest.raises(UserError, match=r"pass --dim 8\. Received: 16"):
        train(config)


def test_new_items_are_no_test_of_a_run_that_never_saw_them(first, tmp_path):
    config = load_run(first, "recommendation", Config).config
    assert len(load_again(first, config).interactions.items) == 7
    data = write(tmp_path / "data", ["new", "b", "a", "d", "newer", "c", "g", "f", "e"])
    with pytest.raises(UserError, match=r"2 items are new to .*the first 'new'"):
        load_again(first, replace(config, data_dir=data))


def test_an_unknown_attention_is_refused_in_one_line(first, tmp_path):
    config = replace(load_run(first, "recommendation", Config).config, attention="fast")
    with pytest.raises(UserError, match="Received: 'fast'"):
        train(config, RunOptions(runs_dir=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["sasrec", "bert4rec"])
def test_the_probe_shows_titles_and_causes(embedded_data, kind):
    config = replace(CONFIG, dataset="generated", generated_size="small", data_dir=embedded_data)
    config = replace(config, model=kind, max_length=16)
    splits = load(config)
    probe = Probe.of(splits.validation, config.max_length, 3)
    model = build_model(config, len(splits.interactions.items))
    records = attention_maps(model, probe)
    assert len(records) == 3
    causes = splits.validation.causes()
    for record, case, titles in zip(records, probe.cases, probe.titles, strict=True):
        history = splits.validation.history(case)[-16:]
        assert titles == [splits.interactions.items.title(int(item)) for item in history]
        assert record.key.labels[: len(titles)] == tuple(titles)
        shift = len(splits.validation.history(case)) - len(history)
        assert causes[case] >= 0
        expected = causes[case] - shift
        assert np.flatnonzero(record.gold[-1]).tolist() == ([expected] if expected >= 0 else [])
        rows = record.weights.sum(-1)
        np.testing.assert_allclose(rows, np.ones_like(rows), atol=1e-5)
        if kind == "sasrec":
            assert not np.triu(record.weights[0], 1).any()


def test_validation_ranks_the_weights_that_would_be_kept(first):
    from contextlib import contextmanager

    run = load_run(first, "recommendation", Config)
    splits = load(run.config)
    seen = []

    @contextmanager
    def kept(model):
        seen.append("in")
        yield
        seen.append("out")

    config = replace(run.config, validate_every=2, epochs=5)
    callback = ValidationRanking(config, splits.validation, kept)
    callback.set_model(run.model)
    validated = []
    for epoch in range(5):
        logs = {}
        callback.on_epoch_end(epoch, logs)
        validated.append("val_ndcg_10" in logs)
    assert validated == [False, True, False, True, True]
    assert seen == ["in", "out"] * 3
    answer = callback.answer(0)
    assert "←" in answer
    recommended = answer.split(" ← ")[1].split(", ")
    had = {splits.interactions.items.title(int(i)) for i in splits.validation.history(0)}
    assert not had & set(recommended)
