"""A finished run: its answers, attention, evaluation, export and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from attention_apps.running.command import UserError
from attention_apps.running.runs import load_run
from recommendation import evaluate, export, predict
from recommendation.causes import (
    caused,
    entropy_by_head,
    floors_of_causes,
    hit_rate_by_lag,
    hit_rates,
)
from recommendation.config import EXAMPLE, TINY, Config
from recommendation.data import load
from recommendation.interactions import Items
from recommendation.metrics import rank
from recommendation.model import build_model
from recommendation.predict import Names, Options, read_histories
from recommendation.recommend import Recommend, recommend_all
from recommendation.scoring import ModelScorer


@pytest.fixture(scope="module")
def run(finished_run):
    _, run_dir = finished_run("recommendation")
    return load_run(run_dir, "recommendation", Config)


@pytest.fixture(scope="module")
def splits(run):
    return load(run.config)


@pytest.fixture(scope="module")
def recommend(run, splits):
    return Recommend(
        run.model, splits.interactions.items, splits.training_counts(), run.config, top_k=10
    )


@pytest.fixture(scope="module")
def histories(splits):
    keys = splits.interactions.items.keys
    return [[keys[item - 1] for item in splits.test.history(case)] for case in range(60)]


def test_what_shares_its_batch_does_not_change_an_answer(recommend, histories):
    together = recommend_all(recommend, histories, batch_size=60)
    apart = recommend_all(recommend, histories[::-1], batch_size=7)[::-1]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-5)
        assert list(one["items"]) == list(other["items"])


def test_python_ranks_as_the_recommender_answers(run, recommend, splits, histories):
    scorer = ModelScorer(run.config, len(splits.interactions.items)).load(run.model)
    ranking = rank(scorer, splits.test)
    keys = ["", *splits.interactions.items.keys]
    for case, row in enumerate(recommend_all(recommend, histories)):
        assert [keys[item] for item in ranking.top[case, :10]] == [
            item.decode() for item in row["items"]
        ]


def test_what_was_seen_is_never_recommended(recommend, histories):
    for history, row in zip(histories, recommend_all(recommend, histories), strict=True):
        recommended = [item.decode() for item in row["items"]]
        assert len(set(recommended)) == 10
        assert not set(recommended) & set(history)
        assert (np.diff(row["scores"]) <= 0).all()


def test_an_exhausted_catalogue_leaves_places_empty(recommend, splits):
    keys = splits.interactions.items.keys
    (row,) = recommend_all(recommend, [keys[:-3]])
    assert {item.decode() for item in row["items"][:3]} == set(keys[-3:])
    assert set(row["items"][3:]) == {b""}
    assert np.isinf(row["scores"][3:]).all()


def test_unknown_items_and_padding_are_passed_over_and_unknown_ones_counted(recommend, histories):
    plain = histories[0]
    disturbed = ["never seen", *plain[:2], "", "nor this", *plain[2:], ""]
    known, unknown = recommend_all(recommend, [plain, disturbed], attention=True)
    assert (known["num_unknown"], unknown["num_unknown"]) == (0, 2)
    assert list(known["items"]) == list(unknown["items"])
    np.testing.assert_allclose(known["scores"], unknown["scores"], atol=1e-5)
    kept = [place for place, key in enumerate(disturbed) if key in plain]
    np.testing.assert_allclose(unknown["attention"][..., kept], known["attention"], atol=1e-5)
    others = [place for place in range(len(disturbed)) if place not in kept]
    assert not unknown["attention"][..., others].any()
    assert not any(unknown["history_titles"][others])


@pytest.mark.parametrize("empty", [[], [""], ["never seen"], ["no", "", "nor"]])
def test_a_history_of_nothing_known_gets_what_is_popular(recommend, splits, empty):
    (row,) = recommend_all(recommend, [empty])
    counts = splits.training_counts()[1:]
    best = np.argsort(-counts, kind="stable")[:10]
    keys = splits.interactions.items.keys
    assert row["popular"]
    assert [item.decode() for item in row["items"]] == [keys[item] for item in best]
    assert np.exp(row["scores"][0]) == pytest.approx(counts.max() / counts.sum(), rel=1e-4)
    assert row["num_unknown"] == sum(bool(key) for key in empty)


def test_a_history_of_ten_thousand_items_counts_by_its_latest(recommend, run, histories):
    latest = max(histories, key=len)[-run.config.max_length :]
    assert len(latest) == run.config.max_length
    long = [*(["f1", "f2"] * 5000), *latest]
    (row,) = recommend_all(recommend, [long], attention=True)
    (expected,) = recommend_all(recommend, [["f1", "f2", *latest]], attention=True)
    assert list(row["items"]) == list(expected["items"])
    assert row["attention"].shape[-1] == len(long)
    assert not row["attention"][..., : -len(latest)].any()
    np.testing.assert_allclose(
        row["attention"][..., -len(latest) :].sum(-1), np.ones((2, 2)), atol=1e-5
    )


def test_attention_is_that_of_the_model(recommend, run, splits, histories):
    from attention_apps.observation.observe import observe

    history = splits.test.history(0)[-run.config.max_length :]
    _, maps = observe(recommend.model)(recommend.model.question(history[None]), training=False)
    (row,) = recommend_all(recommend, histories[:1], attention=True)
    for layer, weights in enumerate(maps.values()):
        np.testing.assert_allclose(
            row["attention"][layer][:, -len(history) :], np.array(weights)[0, :, -1], atol=1e-5
        )


def test_ragged_histories_get_the_same_answers(recommend, histories):
    few = histories[:5]
    flat = [key for history in few for key in history]
    lengths = [len(history) for history in few]
    ragged = recommend.signatures["ragged"]
    answer = ragged(items=tf.constant(flat), row_lengths=tf.constant(lengths, tf.int64))
    for row, expected in enumerate(recommend_all(recommend, few)):
        assert list(answer["items"][row].numpy()) == list(expected["items"])


def test_whole_numbers_are_taken_and_given_back():
    config = replace(TINY, max_length=8)
    items = Items(["11", "12", "13", "14"], ["a", "b", "c", "d"])
    recommend = Recommend(build_model(config, 4), items, np.array([0, 1, 2, 3, 4]), config, top_k=3)
    numbers = recommend.signatures["numbers"](
        history=tf.constant([[-1, 11, 12, 99], [-1] * 4], tf.int64)
    )
    texts = recommend.signatures["serving_default"](
        history=tf.constant([["", "11", "12", "99"], [""] * 4])
    )
    assert numbers["items"].dtype == tf.int64
    assert set(numbers["items"][0].numpy().tolist()) == {13, 14, -1}
    np.testing.assert_array_equal(numbers["scores"], texts["scores"])
    assert numbers["num_unknown"].numpy().tolist() == [1, 0]
    assert numbers["items"][1].numpy().tolist() == [14, 13, 12]


@pytest.mark.parametrize("kind", ["sasrec", "bert4rec"])
def test_both_models_are_served_with_attention(kind, histories, splits):
    config = replace(TINY, model=kind, time_bias=True)
    items = splits.interactions.items
    model = build_model(config, len(items))
    for bias in model.time_biases:  # those of a new model are zero
        bias.biases.assign(np.linspace(-3, 3, bias.biases.shape[0] * 2).reshape(-1, 2))
    recommend = Recommend(model, items, splits.training_counts(), config)
    times = [splits.test.times(case) for case in range(4)]
    rows = recommend_all(recommend, histories[:4], times, attention=True)
    scorer = ModelScorer(config, len(items)).load(model)
    top = rank(scorer, splits.test).top
    for case, row in enumerate(rows):
        assert [items.keys[item - 1] for item in top[case, :10]] == [
            key.decode() for key in row["items"][:10]
        ]
    at_once = recommend_all(recommend, histories[:4])
    assert any(list(a["items"]) != list(b["items"]) for a, b in zip(rows, at_once, strict=True))
    disturbed = [["?", *h[:2], "", *h[2:]] for h in histories[:4]]
    later = [[0, *(t[:2] + 99), 0, *(t[2:] + 99)] for t in times]  # another clock, and padding
    for one, other in zip(rows, recommend_all(recommend, disturbed, later), strict=True):
        np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-4)
    for history, row in zip(histories, rows, strict=False):
        sums = row["attention"].sum(-1)
        assert row["attention"].shape == (2, 2, len(history))
        if kind == "sasrec":
            np.testing.assert_allclose(sums, np.ones((2, 2)), atol=1e-5)
        else:  # the rest lies on the hidden item itself
            assert (sums < 1).all()
            assert (sums > 0.3).all()


def test_evaluation_writes_figures_floors_groups_and_causes(run, splits):
    found = run.metrics["test"]["leave_one_out"]
    assert found["cases"] == 1500
    assert found["items"] == 300
    for name in ("model", "floor_popularity", "floor_markov", "floor_transitions"):
        section = found[name]
        assert 0 <= section["hr_1"] <= section["hr_5"] <= section["hr_10"] <= section["hr_20"] <= 1
        low, high = section["ndcg_10_interval"]
        assert low <= section["ndcg_10"] <= high
        assert set(section["groups"]) == {"activity", "age"}
    assert found["floor_markov"]["ndcg_10"] > found["floor_popularity"]["ndcg_10"]
    causes = found["causes"]
    assert causes["floor_uniform"] < causes["floor_most_recent"] < causes["best_possible"]
    assert causes["cases"] == (splits.test.causes() >= 0).sum()
    assert list(causes["by_lag"]) == ["1 back", "2 to 10", "more"]
    low, high = causes["top_attended_is_cause_interval"]
    assert low <= causes["top_attended_is_cause"] <= high
    ranks = np.load(run.run_dir / "evaluation" / "ranks.npz")["ranks"]
    assert (ranks <= 10).mean() == pytest.approx(found["model"]["hr_10"])
    assert (run.run_dir / "evaluation" / "attention.png").stat().st_size > 5000


def test_sampled_metrics_come_only_when_asked_for_and_are_labelled(run, capsys):
    assert "sampled_100_inconsistent" not in run.metrics["test"]["leave_one_out"]
    before = (run.run_dir / "metrics.json").read_text()
    try:
        evaluate.main(["--run-dir", str(run.run_dir), "--legacy-sampled-metrics"])
        metrics = json.loads((run.run_dir / "metrics.json").read_text())
    finally:
        (run.run_dir / "metrics.json").write_text(before)
    found = metrics["test"]["leave_one_out"]
    sampled = found["sampled_100_inconsistent"]
    assert sampled["markov"]["hr_10"] > found["floor_markov"]["hr_10"]
    assert "inconsistent, among 100 sampled items" in capsys.readouterr().out


def test_hits_are_counted_where_they_are_read(splits):
    cases = caused(splits.test, most=3)
    causes = cases.causes()
    maps = []
    for case, cause in enumerate(causes):
        weights = np.full((1, 2, len(cases.history(case))), 0.1)
        weights[0, 0, cause] = 1.0  # head 0 finds it, head 1 looks elsewhere, more strongly
        weights[0, 1, cause - 1] = 3.0
        maps.append(weights)
    assert hit_rates(maps, cases) == {(0, None): 0, (0, 0): 1, (0, 1): 0}


def test_hits_are_told_by_how_far_back_the_cause_lies(splits):
    cases = caused(splits.test, most=200)
    causes = cases.causes()
    lengths = np.array([len(cases.history(case)) for case in range(len(cases))])
    maps = []
    for cause, length in zip(causes, lengths, strict=True):
        weights = np.zeros((1, 1, length))
        weights[0, 0, cause if length - cause > 10 else 0] = 1.0  # finds old causes alone
        maps.append(weights)
    near = (lengths - causes > 1) & (lengths - causes <= 10)
    assert hit_rate_by_lag(maps, cases, (0, 0)) == {
        "1 back": 0,
        "2 to 10": pytest.approx((causes == 0)[near].mean()),
        "more": 1,
    }


def test_entropy_tells_heads_apart():
    sharp, even = np.array([0.0, 1.0, 0.0, 0.0]), np.full(4, 0.25)
    half = np.array([0.5, 0.5, 0.0, 0.0])
    maps = [np.stack([[sharp, even]]), np.stack([[half, even]])]
    found = entropy_by_head(maps)
    assert found["block 0 head 1"] == pytest.approx(1)
    # None, and log 2 of log 4.
    assert found["block 0 head 0"] == pytest.approx(0.25)


def test_the_floors_of_causes_are_those_of_the_data(splits):
    from recommendation.catalogue import catalogue

    cases = caused(splits.test)
    floors = floors_of_causes(cases, catalogue("small"))
    lengths = np.array([len(cases.history(case)) for case in range(len(cases))])
    assert floors["floor_uniform"] == pytest.approx((1 / lengths).mean())
    assert floors["floor_most_recent"] == pytest.approx((cases.causes() == lengths - 1).mean())
    assert floors["best_possible"] > 0.95


class _Altered:
    """An export that answers otherwise."""

    def __init__(self, recommend, *, swap=False, shift=0.0):
        def answer(history):
            answers = dict(recommend.recommend(history))
            answers["scores"] = answers["scores"] + shift
            if swap:
                answers["items"] = tf.reverse(answers["items"], axis=[1])
            return answers

        answer.input_signature = recommend.signatures["serving_default"].input_signature
        self.signatures = {"serving_default": answer}


def test_an_export_that_answers_otherwise_is_found(recommend, histories):
    few = histories[:5]
    assert export.compare(recommend, _Altered(recommend), few, None, 0) == ([], [])
    problems, _ = export.compare(recommend, _Altered(recommend, shift=0.01), few, None, 0)
    assert len(problems) == 5
    assert "scores of user" in problems[0]
    problems, _ = export.compare(recommend, _Altered(recommend, swap=True), few, None, 0)
    assert "items differ for user" in problems[0]


def test_the_card_says_what_the_model_is(run):
    folder = run.run_dir / "saved_model" / "1"
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text("utf-8"))
    figures = run.metrics["test"]["leave_one_out"]
    assert card["figures"]["leave_one_out"]["model"] == figures["model"]
    assert card["floors"]["leave_one_out"]["floor_markov"] == figures["floor_markov"]
    assert card["labels"]["explanation"] == run.metrics["explanation"]
    loaded = tf.saved_model.load(str(folder))
    assert set(loaded.signatures) == {
        "serving_default",
        "with_attention",
        "ragged",
        "hidden_state",
    }


def test_predict_takes_titles_and_ids_and_says_what_it_looked_at(run, capsys):
    flags = ["--run-dir", str(run.run_dir), "--count", "3"]
    assert predict.main([*flags, EXAMPLE]) == 0
    shown = capsys.readouterr().out
    assert shown.count("→") == 3
    assert "because of (attention of block" in shown
    assert "The Silent Voyage" in shown.split("because of")[1]
    ids = [str(Names(*_catalogue(run)).read(name)[0][0]) for name in EXAMPLE.split("; ")]
    assert predict.main([*flags, *ids]) == 0
    again = capsys.readouterr().out
    assert again.split("→", 1)[1] == shown.split("→", 1)[1]


def _catalogue(run):
    record = json.loads((run.run_dir / "items.json").read_text())
    return record["keys"], record["titles"]


def test_predict_notes_what_it_does_not_know(run, capsys):
    flags = ["--run-dir", str(run.run_dir)]
    assert predict.main([*flags, "The Silent Voyag", "the silent voyage"]) == 0
    captured = capsys.readouterr()
    assert "no item is called 'The Silent Voyag'" in captured.err
    assert "Did you mean 'The Silent Voyage'?" in captured.err
    assert predict.main([*flags, "xyzzy"]) == 0
    assert "this is what is most popular" in capsys.readouterr().out


def test_predict_reads_a_history_a_line(run, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("f1; f2\n\nThe Silent Voyage\n", "utf-8")
    flags = ["--run-dir", str(run.run_dir), "--count", "2"]
    assert predict.main([*flags, "--file", str(tmp_path / "in.txt")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(len(line.split("; ")) == 2 for line in lines)


def test_a_title_may_hold_the_separator():
    names = Names(["1", "2", "3"], ["Me; You", "Me", "You"])
    assert names.read("Me; You") == (["1"], [])
    assert names.read("you; me") == (["3", "2"], [])
    assert names.read("  ;; ") == ([], [])


def test_predict_refuses_in_one_line(tmp_path):
    class Stream:
        def __init__(self, raw):
            self.raw = raw

        def read(self):
            return self.raw

    options = Options(run_dir=tmp_path)
    assert read_histories(options, Stream(b"a; b\n\nc\n")) == ["a; b", "", "c"]
    for raw, message in ((b"", "Received: none"), (b"\xff", "byte 0xff")):
        with pytest.raises(UserError, match=message):
            read_histories(options, Stream(raw))
    with pytest.raises(UserError, match="Received: both"):
        read_histories(Options(run_dir=tmp_path, items=("a",), file=tmp_path / "b"))
    with pytest.raises(UserError, match=r"--count must be at least 1\. Received: 0"):
        predict.main(["--run-dir", str(tmp_path), "--count", "0", "a"])
