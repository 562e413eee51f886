"""A finished run: its answers, alignments, evaluation, export and what it refuses."""

import json

import numpy as np
import pytest
import tensorflow as tf

from attention_apps.running.command import UserError
from attention_apps.running.runs import load_run
from translation import export, predict
from translation.attention_maps import alignment_record
from translation.config import EXAMPLE, Config
from translation.corpus import Corpus
from translation.data import read_corpora
from translation.forced import ForcedAttention
from translation.ordering import batches_by_length
from translation.predict import Options, read_sentences
from translation.readout import ReadOut
from translation.translate import Translate, separate_punctuation, translate_all
from translation.tuning import with_chosen_decoding
from translation.vocabularies import Vocabularies
from translation.words import END, PAD


@pytest.fixture(scope="module")
def run(finished_run):
    _, run_dir = finished_run("translation")
    return load_run(run_dir, "translation", Config)


@pytest.fixture(scope="module")
def vocabularies(run):
    return Vocabularies.read(run.run_dir)


@pytest.fixture(scope="module")
def subwords(vocabularies):
    return vocabularies.target


@pytest.fixture(scope="module")
def translate(run, vocabularies):
    return Translate(run.model, vocabularies, with_chosen_decoding(run.config, run.metrics))


@pytest.fixture(scope="module")
def sentences(run):
    return read_corpora(run.config)[1].sources[:40]


def test_the_batch_a_sentence_is_in_does_not_change_its_answer(translate, sentences):
    together = translate_all(translate.translate, sentences, batch_size=40)
    apart = translate_all(translate.translate, sentences[::-1], batch_size=7, sort=False)[::-1]
    for one, other in zip(together, apart, strict=True):
        assert one["translations"] == other["translations"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


def test_sentences_may_be_written_as_people_write_them(translate):
    written, split = ["Anna's dog, who runs, sleeps."], ["Anna 's dog , who runs , sleeps ."]
    for sentences in (written, split):
        assert separate_punctuation(tf.constant(sentences)).numpy()[0].decode() == split[0]
    one, other = (translate.translate(tf.constant(s)) for s in (written, split))
    assert one["translations"][0] == other["translations"][0]
    assert float(one["scores"][0]) == pytest.approx(float(other["scores"][0]), abs=1e-6)


def test_an_empty_sentence_gives_an_empty_answer(translate):
    answers = translate.translate(tf.constant(["", "   ", EXAMPLE]))
    assert [text.numpy() == b"" for text in answers["translations"]] == [True, True, False]


def test_attention_belongs_to_the_answer(translate, vocabularies, subwords, run, sentences):
    rows = translate_all(translate.translate_with_attention, sentences[:6])
    answers = [row["translations"].decode() for row in rows]
    forced = ForcedAttention(translate.model, vocabularies)
    pairs = forced.maps(Corpus("own", sentences[:6], answers))
    for row, answer, (weights, _, target_words) in zip(rows, answers, pairs, strict=True):
        ids = row["target_ids"][row["target_ids"] != PAD]
        tokens = [t.decode() for t in row["target_tokens"][: len(ids)]]
        assert "".join(t for t in tokens if t != "</s>").replace("▁", " ").strip() == answer
        shape = (run.config.num_decoder_layers, run.config.num_heads)
        assert row["attention"].shape[:2] == shape
        # The answer split again may be split otherwise; where it is not, the maps are equal.
        again = subwords.encode_all([answer]).to_list()[0]
        if [*again, END] == list(ids):
            np.testing.assert_allclose(
                row["attention"][:, :, : len(ids), : weights.shape[-1]], weights, atol=1e-4
            )
        assert target_words.max() + 1 == len(answer.split())


def test_the_alignment_shown_is_the_one_that_was_evaluated(
    run, translate, vocabularies, subwords, sentences
):
    card = json.loads(
        (run.run_dir / "saved_model" / "1" / "assets.extra" / "model_card.json").read_text("utf-8")
    )
    way = ReadOut.of(card["labels"]["alignment"])
    forced = ForcedAttention(translate.model, vocabularies)
    rows = translate_all(translate.translate_with_attention, sentences[:12])
    compared = 0
    for row, sentence in zip(rows, sentences, strict=False):
        answer = predict.read_answer(row, way)
        again = subwords.encode_all([answer["translation"]]).to_list()[0]
        if [*again, END] != list(row["target_ids"][row["target_ids"] != PAD]):
            continue
        pair = Corpus("own", [sentence], [answer["translation"]])
        links = forced.alignments(pair, [way])[way][0]
        assert answer["links"] == " ".join(f"{s}-{t}" for s, t in links)
        record = alignment_record(forced, vocabularies, pair, way)
        assert record.query.labels == tuple(answer["target_tokens"])
        np.testing.assert_allclose(record.weights[0], answer["attention"], atol=1e-4)
        compared += 1
    assert compared > 3


def test_evaluation_writes_figures_floors_and_translations(run):
    metrics = run.metrics["test"]
    assert set(metrics) == {"test", "test_constructions"}
    figures = metrics["test"]
    assert figures["sentences"] == 100
    assert 0 <= figures["floor_copy_source_bleu"] <= 100
    assert "tok:none" in figures["bleu_signature"]
    rates = [v for k, v in figures.items() if "alignment_error" in k]
    assert len(rates) == 5
    assert all(0 < rate < 1 for rate in rates)
    best, steps = figures["alignment_error"], ("raw", "shifted")
    assert best in [figures[f"alignment_error_{step}"] for step in steps]
    assert best == figures[f"alignment_error_{run.metrics['alignment']['step']}"]
    # IBM model 1 learns the words; the diagonal knows nothing of them.
    assert figures["floor_alignment_error_ibm1"] < figures["floor_alignment_error_diagonal"]
    lines = (run.run_dir / "evaluation" / "test.de").read_text("utf-8").splitlines()
    assert len(lines) == 100


class _Altered:
    """An export that answers one sentence otherwise."""

    def __init__(self, translate, *, text=None, shift=0.0):
        def answer(sentences):
            answers = dict(translate.translate(sentences))
            answers["scores"] = answers["scores"] + shift
            if text is not None:
                answers["translations"] = tf.fill(tf.shape(answers["translations"]), text)
            return answers

        self.signatures = {"serving_default": answer}


def test_an_export_that_answers_otherwise_is_found(translate, sentences):
    few = sentences[:5]
    assert export.compare(translate, _Altered(translate), few, seed=0) == ([], [])
    problems, _ = export.compare(translate, _Altered(translate, shift=0.01), few, seed=0)
    assert len(problems) == 5
    assert "scores differ" in problems[0]
    problems, _ = export.compare(translate, _Altered(translate, text="x", shift=0.01), few, seed=0)
    assert "texts differ" in problems[0]
    _, ties = export.compare(translate, _Altered(translate, text="x"), few, seed=0)
    assert len(ties) == 5


CASES = [
    ([""], "an empty sentence 1"),
    (["A dog .", "  "], "an empty sentence 2"),
    (["word " * 500], "Received: sentence 1 of 500 words"),
    (["🙂"], "no character that the model learned. Received: '🙂'"),
]


@pytest.mark.parametrize(("received", "message"), CASES)
def test_predict_refuses_in_one_line(run, received, message):
    with pytest.raises(UserError) as refusal:
        predict.main(["--run-dir", str(run.run_dir), *received])
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_predict_reads_files_and_notes_unknown_characters(run, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("The dog runs .\nThe 🙂 dog runs .\n", "utf-8")
    flags = ["--run-dir", str(run.run_dir), "--file", str(tmp_path / "in.txt"), "--alignments"]
    assert predict.main(flags) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert len(lines) == 2
    assert all(len(line.split("\t")) == 2 for line in lines)
    assert "sentence 2" in captured.err


def test_several_translations_come_best_first_and_the_best_is_the_one_of_before(
    translate, sentences
):
    few = tf.constant(sentences[:8])
    best = translate.translate_with_attention(few)
    several = translate.hypotheses(few, num_hypotheses=2)
    assert several["translations"].shape == (8, 2)
    np.testing.assert_array_equal(several["translations"][:, 0], best["translations"])
    length = best["attention"].shape[3]
    np.testing.assert_allclose(
        several["attention"][:, 0, :, :, :length], best["attention"], atol=1e-5
    )
    scores = several["scores"].numpy()
    assert (scores[:, 0] >= scores[:, 1]).all()
    for one, other in several["translations"].numpy():
        assert one != other


def test_another_length_penalty_divides_by_another_length(translate, sentences):
    few = tf.constant(sentences[:8])
    plain = translate.translate_with_penalty(few, tf.constant(0.0))
    own = translate.config.length_penalty
    for name, values in translate.translate_with_penalty(few, tf.constant(own)).items():
        expected = translate.translate(few)[name].numpy()
        if name == "scores":
            np.testing.assert_allclose(values, expected, atol=1e-5)
        else:
            np.testing.assert_array_equal(values, expected)
    assert (plain["scores"].numpy() < translate.translate(few)["scores"].numpy()).all()


def test_translations_begin_with_what_is_forced(translate, subwords, sentences):
    few = tf.constant(sentences[:5])
    prefixes = ["Die alte Frau", "", "Der", "", "Das Kind liest das"]
    forced = translate.hypotheses(few, num_hypotheses=2, prefixes=tf.constant(prefixes))
    free = translate.hypotheses(few, num_hypotheses=2)
    for row, prefix in enumerate(prefixes):
        if prefix:
            ids = subwords.encode_all([prefix]).to_list()[0]
            assert forced["target_ids"].numpy()[row, :, : len(ids)].tolist() == [ids, ids]
            for text in forced["translations"].numpy()[row]:
                assert text.decode().startswith(prefix)
        else:
            np.testing.assert_array_equal(forced["translations"][row], free["translations"][row])


def test_a_forced_beginning_may_be_longer_than_the_translation_would_be(translate, subwords):
    prefix = "der Hund sieht die Katze und " * 3
    num_ids = len(subwords.encode_all([prefix]).to_list()[0])
    found = translate.hypotheses(tf.constant(["Run ."]), prefixes=tf.constant([prefix]))
    assert found["translations"].numpy()[0, 0].decode().startswith(prefix.strip())
    assert int(tf.reduce_sum(tf.cast(found["target_ids"] != PAD, tf.int32))) > num_ids


def test_predict_gives_several_lines_for_a_sentence(run, tmp_path, capsys):
    texts = ["The old man reads the book .", "The dog runs .", "The child sleeps ."]
    (tmp_path / "in.txt").write_text("\n".join(texts), "utf-8")
    flags = ["--run-dir", str(run.run_dir), "--file", str(tmp_path / "in.txt"), "--n-best", "2"]
    assert predict.main([*flags, "--prefix", "Der"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["1", "1", "2", "2", "3", "3"]
    assert all(line[2].startswith("Der") for line in lines)
    assert all(float(a[1]) >= float(b[1]) for a, b in zip(lines[::2], lines[1::2], strict=True))
    assert predict.main(["--run-dir", str(run.run_dir), texts[1], "--n-best", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("→ ") == 2
    assert any(shade in shown for shade in "░▒▓█")


def test_predict_answers_in_the_order_of_the_lines(run, tmp_path, capsys, monkeypatch):
    """Sorted by length inside windows, by two sentences at once, and given back in order."""
    monkeypatch.setattr(predict, "WINDOW", 2)
    texts = read_corpora(run.config)[1].sources[:11]
    (tmp_path / "in.txt").write_text("\n".join(texts), "utf-8")
    flags = ["--run-dir", str(run.run_dir), "--file", str(tmp_path / "in.txt")]
    assert predict.main([*flags, "--batch-size", "2"]) == 0
    sorted_lines = capsys.readouterr().out.splitlines()
    assert predict.main([*flags, "--batch-size", "11"]) == 0
    assert capsys.readouterr().out.splitlines() == sorted_lines
    assert len(set(sorted_lines)) > 3


def test_sentences_of_similar_length_share_a_batch():
    texts = ["a" * n for n in (5, 1, 9, 2, 8)]
    assert batches_by_length(texts, 2) == [[1, 3], [0, 4], [2]]
    assert batches_by_length(texts, 2, sort=False) == [[0, 1], [2, 3], [4]]
    assert batches_by_length([], 2) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prefix", "🙂"], "--prefix has characters the model never saw. Received: '🙂'"),
        (["--prefix", "der Hund " * 60], "subwords of the longest translation. Received:"),
        (["--n-best", "0"], "--n-best must be at least 1. Received: 0"),
        (["--batch-size", "0"], "--batch-size must be at least 1. Received: 0"),
    ],
)
def test_predict_refuses_flags_in_one_line(run, flags, message):
    with pytest.raises(UserError) as refusal:
        predict.main(["--run-dir", str(run.run_dir), "The dog runs .", *flags])
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_predict_reads_standard_input(tmp_path):
    class Stream:
        def __init__(self, raw):
            self.raw = raw

        def read(self):
            return self.raw

    options = Options(run_dir=tmp_path)
    assert read_sentences(options, Stream(b"ein Hund\nzwei\n")) == ["ein Hund", "zwei"]
    told = read_sentences(options, Stream("ein\u2028Hund\u0085\r\nzwei".encode()))
    assert told == ["ein\u2028Hund\u0085", "zwei"]
    for raw, message in ((b"", "Received: none"), (b"\xff", "byte 0xff"), (b"a\n\nb", "line 2")):
        with pytest.raises(UserError, match=message):
            read_sentences(options, Stream(raw))
    with pytest.raises(UserError, match="Received: both"):
        read_sentences(Options(run_dir=tmp_path, sentences=("a",), file=tmp_path / "b"))


def test_the_card_says_what_the_model_is(run):
    folder = run.run_dir / "saved_model" / "1"
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text("utf-8"))
    assert card["figures"]["test"]["bleu"] == run.metrics["test"]["test"]["bleu"]
    assert "floor_copy_source_bleu" in card["floors"]["test"]
    assert card["labels"]["alignment"] == run.metrics["alignment"]
    chosen = run.metrics["decoding"]["length_penalty"]
    assert card["decoding"] == {"beam_size": run.config.beam_size, "length_penalty": chosen}
