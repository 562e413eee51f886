"""An evaluation with everything that can stand beside a run."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from attention_apps.running.command import UserError
from translation.alignments import Method, alignment_error_rate, symmetrise, turned_links
from translation.both_directions import BothDirections, errors_of_methods
from translation.config import TINY
from translation.corpus import Corpus
from translation.data import read_corpora
from translation.eflomal_aligner import eflomal_links
from translation.evaluate import Comparisons, evaluate
from translation.gold import GoldAlignments
from translation.readout import ReadOut
from translation.report import report
from translation.rivals import read_rivals
from translation.tuning import tune_length_penalty, with_chosen_decoding


@pytest.fixture(scope="module")
def run_dir(finished_run, tmp_path_factory):
    """A copy that a test may evaluate anew."""
    _, run_dir = finished_run("translation")
    return shutil.copytree(run_dir, tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture(scope="module")
def config(finished_run):
    return finished_run("translation")[0]


@pytest.fixture(scope="module")
def gold(tmp_path_factory, config):
    """The first ten pairs of the validation set and their links, German first."""
    folder = tmp_path_factory.mktemp("gold")
    corpus = read_corpora(config)[1]
    (folder / "ten.en").write_text("\n".join(corpus.sources[:10]), "utf-8")
    (folder / "ten.de").write_text("\n".join(corpus.targets[:10]), "utf-8")
    rows = [" ".join(f"{t}-{s}" for s, t in row) for row in corpus.alignments[:10]]
    (folder / "links").write_text("\n".join(rows), "utf-8")
    return folder / "links"


@pytest.fixture(scope="module")
def sections(run_dir, gold, tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    # A run in name only of the opposite direction: what it attends to is of no matter here.
    reverse = shutil.copytree(run_dir, folder / "reverse")
    record = json.loads((reverse / "config.json").read_text("utf-8"))
    record["config"] |= {"source_language": "de", "target_language": "en"}
    (reverse / "config.json").write_text(json.dumps(record), "utf-8")
    copied = folder / "copied.de"
    copied.write_bytes((run_dir / "evaluation" / "test.de").read_bytes())
    comparisons = Comparisons(
        length_penalties=(0.5,),
        against_run=shutil.copytree(run_dir, folder / "other"),
        against_file=copied,
        reverse_run=reverse,
        gold=gold,
        gold_name="ten",
        gold_first="de",
    )
    return evaluate(run_dir, comparisons)


def test_everything_that_was_asked_for_is_written(sections, run_dir):
    written = json.loads((run_dir / "metrics.json").read_text("utf-8"))
    for name, section in sections.items():
        assert set(written[name]) == set(section), name
    assert "train" in written
    assert sections["decoding"]["length_penalty"] == 0.5
    by_run, by_file = sections["comparison"]["test"]
    assert by_run["bleu_other"] == by_file["bleu_other"]
    assert len(sections["comparison"]["test_constructions"]) == 1
    for figures in (*sections["test"].values(), sections["gold"]["ten"]):
        errors = {k: v for k, v in figures.items() if "alignment_error" in k}
        assert len(errors) >= 11
        assert all(0 < error <= 1 for error in errors.values())
    chosen = sections["alignment"]["symmetrised"]["method"]
    figures = sections["test"]["test"]
    assert figures["alignment_error_symmetrised"] == figures[f"alignment_error_{chosen}"]
    errors = sections["alignment"]["symmetrised"]["validation_errors"]
    assert chosen == min(errors, key=errors.__getitem__)


def test_own_gold_is_measured_with_every_head(sections, config):
    figures = sections["gold"]["ten"]
    assert (figures["sentences"], figures["links_outside"]) == (10, 0)
    num_places = config.num_decoder_layers * (config.num_heads + 1)
    assert len(figures["every_head"]) == num_places
    way = ReadOut.of(sections["alignment"])
    (row,) = [r for r in figures["every_head"] if (r["layer"], r["head"]) == (way.layer, way.head)]
    kind = way.step if way.end == "no_word" else f"{way.step}_end_as_last_word"
    assert row[kind] == figures["alignment_error"]


def test_the_table_names_every_figure(sections):
    text = report(sections)
    figures = sections["test"]["test"]
    assert "length penalty 0.5, beam 2" in text
    for shown in (
        f"{figures['bleu']:.2f}  ± {figures['bleu_interval']:.2f}",
        f"{figures['alignment_error']:.3f}",
        "copied source",
        "IBM model 1",
        "grow_diag_final_and",
        "block 0, mean of heads",
        "by sacrebleu --paired-bs",
        "gold alignments of ten: 10 sentences",
    ):
        assert shown in text, shown
    assert all(len(line) < 120 for line in text.splitlines() if "more than" not in line)


def test_what_cannot_be_compared_is_refused_before_anything_is_computed(run_dir, tmp_path):
    (tmp_path / "short.de").write_text("ein Hund\n", "utf-8")
    with pytest.raises(UserError, match=r"100 sentences of test\. Received: 1 lines"):
        evaluate(run_dir, Comparisons(against_file=tmp_path / "short.de"))
    bare = shutil.copytree(run_dir, tmp_path / "bare")
    shutil.rmtree(bare / "evaluation")
    with pytest.raises(UserError, match=r"no translations of test\. Make them with"):
        evaluate(run_dir, Comparisons(against_run=bare))
    with pytest.raises(UserError, match=r"must translate from de to en.*from en to de"):
        evaluate(run_dir, Comparisons(reverse_run=bare))
    record = json.loads((bare / "config.json").read_text("utf-8"))
    record["config"] |= {"source_language": "de", "target_language": "en"}
    (bare / "config.json").write_text(json.dumps(record), "utf-8")
    with pytest.raises(UserError, match=r"must translate into de.*into en"):
        evaluate(run_dir, Comparisons(against_run=bare))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"length_penalties": (1.0, -0.5)}, "Received: 1.0 -0.5"),
        ({"length_penalties": ()}, "Received: none"),
        ({"gold_name": "val"}, "Received: only --gold-name"),
        ({"gold_first": "de"}, "Received: no --gold"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, message):
    with pytest.raises(ValueError, match=message):
        Comparisons(**flags)


def test_a_file_with_an_empty_translation_can_be_compared_with(config, tmp_path):
    (tmp_path / "out.de").write_text("eins\n\ndrei\n", "utf-8")
    tests = [Corpus("test", ["a", "b", "c"], ["A", "B", "C"])]
    (rival,) = read_rivals(config, tests, None, tmp_path / "out.de")
    assert rival.hypotheses == {"test": ["eins", "", "drei"]}


# The length penalty


class Wordy:
    """Says more, the higher the penalty."""

    def __init__(self, config):
        self.config = config
        self.asked = []

    def translate_with_penalty(self, sentences, penalty):
        import tensorflow as tf

        self.asked.append(float(penalty))
        spoken = [
            b" ".join([*s.split()][: round(2 * float(penalty)) + 3]) for s in sentences.numpy()
        ]
        return {"translations": tf.constant(spoken), "scores": tf.zeros(len(spoken))}


def corpus_of(length):
    lines = [" ".join(f"w{i + j}" for j in range(9)) for i in range(5)]
    return Corpus("val", lines, [" ".join(line.split()[:length]) for line in lines])


@pytest.mark.parametrize(("length", "best"), [(4, 0.5), (5, 1.0), (7, 2.0)])
def test_the_penalty_of_the_best_validation_bleu_is_kept(length, best):
    section = tune_length_penalty(Wordy(TINY), corpus_of(length))
    assert section["length_penalty"] == best
    assert section["validation_bleu"][f"{best:g}"] == pytest.approx(100)
    assert section["chosen_on"] == "BLEU of val"
    config = with_chosen_decoding(TINY, {"decoding": {**section, "beam_size": 9}})
    assert config == replace(TINY, length_penalty=best, beam_size=9)
    assert with_chosen_decoding(TINY, {}) == TINY


def test_equal_penalties_leave_the_one_asked_for_in_training():
    silent = Wordy(replace(TINY, length_penalty=1.5))
    section = tune_length_penalty(silent, Corpus("val", ["a b"] * 3, ["a b"] * 3))
    assert section["length_penalty"] == 1.5


def test_nothing_is_searched_where_there_is_nothing_to_choose():
    one = Wordy(TINY)
    assert tune_length_penalty(one, corpus_of(5), [2.0])["length_penalty"] == 2.0
    greedy = Wordy(replace(TINY, beam_size=1))
    assert tune_length_penalty(greedy, corpus_of(5))["length_penalty"] == TINY.length_penalty
    assert one.asked == greedy.asked == []


# Both directions


class Known:
    """A translator whose alignments are known."""

    def __init__(self, alignments):
        self._alignments = alignments

    def alignments(self, corpus, ways):
        return {way: self._alignments for way in ways}


def test_both_directions_are_put_together_pair_by_pair():
    generator = np.random.default_rng(0)
    corpus = Corpus("test", ["a b c d"] * 5, ["A B C D"] * 5)

    def some():
        return [[(int(generator.integers(4)), t) for t in range(4)] for _ in range(5)]

    forward, backward, gold = some(), some(), some()
    way = ReadOut(layer=0, head=0)
    arguments = (Known(forward), way, Known(backward), way)
    errors = errors_of_methods(*arguments, corpus, GoldAlignments(gold, gold))
    turned = turned_links(backward)
    for method, error in errors.items():
        links = [symmetrise(f, b, method=method) for f, b in zip(forward, turned, strict=True)]
        assert error == alignment_error_rate(links, gold).error_rate
    chosen: Method = "union"
    both = BothDirections(*arguments, chosen, errors)
    figures = both.figures(corpus, GoldAlignments(gold, gold))
    assert figures["alignment_error_symmetrised"] == errors["union"]
    # What both say of a perfect pair is perfect, whatever the method.
    perfect = errors_of_methods(
        Known(gold), way, Known(turned_links(gold)), way, corpus, GoldAlignments(gold, gold)
    )
    assert set(perfect.values()) == {0.0}


def test_the_embedded_set_can_be_turned_round(config):
    forth = read_corpora(config)
    back = read_corpora(replace(config, source_language="de", target_language="en"))
    for one, other in zip((*forth[:2], *forth[2]), (*back[:2], *back[2]), strict=True):
        assert (one.sources, one.targets) == (other.targets, other.sources)
        assert other == one.turned()
        assert [sorted(row) for row in one.alignments] == turned_links(other.alignments)


# eflomal


def test_eflomal_finds_what_is_plain():
    pytest.importorskip("eflomal", reason="an aligner that is not installed")
    words = [f"s{i}" for i in range(12)]
    generator = np.random.default_rng(0)
    pairs = []
    for _ in range(300):
        drawn = list(generator.choice(words, 5, replace=False))
        pairs.append((drawn, [word.replace("s", "t") for word in reversed(drawn)]))
    found = eflomal_links(pairs)
    gold = [[(4 - t, t) for t in range(5)]] * 300
    for links in found.values():
        assert alignment_error_rate(links, gold).error_rate < 0.05
    assert all(len({t for _, t in row}) == len(row) for row in found["forward"])
