"""An evaluation from the run folder to its tables and pictures."""

import json
import shutil

import numpy as np
import pytest

from captioning.attention_quality import kind_of, own_words
from captioning.evaluate import Choices, evaluate
from captioning.overlays import draw_overlays
from captioning.photos import Photos
from captioning.report import report
from captioning.tuning import choose_decoding


@pytest.fixture(scope="module")
def evaluated(finished_run, tmp_path_factory):
    """A copy of the run; its evaluation as it was, and anew in batches of another size."""
    _, run_dir = finished_run("captioning")
    copy = shutil.copytree(run_dir, tmp_path_factory.mktemp("evaluated") / "run")
    captions = copy / "evaluation" / "captions.tsv"
    written = json.loads((copy / "metrics.json").read_text("utf-8"))
    first = (
        {name: written[name] for name in ("decoding", "test", "attention", "demo")},
        captions.read_text("utf-8"),
    )
    again = evaluate(copy, Choices(batch_size=7))
    return copy, [first, (again, captions.read_text("utf-8"))]


def numbers(section, path=""):
    """Every number in a section, by where it stands."""
    if isinstance(section, dict):
        return {
            k: v for name, one in section.items() for k, v in numbers(one, f"{path}/{name}").items()
        }
    if isinstance(section, list | tuple):
        return {
            k: v for i, one in enumerate(section) for k, v in numbers(one, f"{path}/{i}").items()
        }
    return {path: section} if isinstance(section, int | float) else {}


def test_no_figure_depends_on_the_batch_size(evaluated):
    _, [(small, said), (large, said_too)] = evaluated
    assert said == said_too
    one, other = numbers(small), numbers(large)
    assert one.keys() == other.keys()
    assert len(one) > 100
    for name, value in one.items():
        assert value == pytest.approx(other[name], rel=1e-3, abs=1e-4), name


def test_what_is_returned_is_written_beside_captions_and_pictures(evaluated):
    run_dir, [_, (sections, _)] = evaluated
    written = json.loads((run_dir / "metrics.json").read_text("utf-8"))
    assert sections.keys() <= written.keys()
    assert "train" in written
    lines = (run_dir / "evaluation" / "captions.tsv").read_text("utf-8").splitlines()
    assert len(lines) == next(iter(sections["test"].values()))["photos"]
    assert (run_dir / "evaluation" / "caption_0.png").stat().st_size > 1000


def test_every_figure_of_captions_and_attention_has_its_floor(evaluated):
    _, [(sections, _), _] = evaluated
    (figures,) = sections["test"].values()
    for floor in ("nearest", "consensus", "commonest", "one_person"):
        assert 0 <= figures[f"floor_{floor}"]["cider"] <= 1000
    assert figures["floor_commonest"]["distinct_captions"] == pytest.approx(1 / figures["photos"])
    attention = sections["attention"]
    assert set(attention["pointing"]["by_kind"]) >= {"object", "colour"}
    for figure in ("floor_uniform_hit", "floor_centre_mass", "floor_shuffled_hit"):
        assert 0 < attention["pointing"][figure] < 1
    assert "floor_shuffled" in attention["variation"]
    assert sections["demo"]["floor"] == max(
        figures[f"floor_{name}"]["cider"] for name in ("nearest", "consensus", "commonest")
    )


def test_validation_chooses_and_the_captioner_listens(evaluated):
    from captioning.finished import load_captioner

    run_dir, [_, (sections, _)] = evaluated
    decoding = sections["decoding"]
    ways = decoding["validation_cider"]
    chosen = f"beam {decoding['beam_size']} penalty {decoding['length_penalty']:g}"
    assert ways[chosen] == max(ways.values())
    _, captioner = load_captioner(run_dir)
    assert captioner.config.length_penalty == decoding["length_penalty"]


def test_deletion_asks_the_model_about_content_words_alone(evaluated):
    from captioning.attention_quality import deletion_of_own
    from captioning.data import load
    from captioning.finished import load_captioner
    from captioning.reading import Reader

    run, captioner = load_captioner(evaluated[0])
    test = load(run.config, captioner.vocabulary).test
    reader = Reader(captioner, batch_size=3)
    pictures = reader.encoded([test.encoded(index) for index in range(4)])
    captions = ["a red ball", "", "there are two large kites", "the of"]
    forced = reader.force(pictures, range(4), captions)
    maps = [np.array([one.weights for one in of_one]) for of_one in forced]
    found = deletion_of_own(reader, pictures, captions, maps)
    assert found["words"] == 4
    assert found["cells"] == 6
    assert np.isfinite([found["fall"], found["floor_random_fall"]]).all()
    assert deletion_of_own(reader, pictures, [""] * 4, maps) == {}


def test_the_report_tells_figures_and_floors(evaluated):
    _, [(sections, _), _] = evaluated
    text = report(sections)
    for words in ("consensus", "one person", "centre"):
        assert words in text
    alarm = json.loads(json.dumps(sections))
    assert ("ALARM" in text) == sections["attention"]["variation"]["all_alike"]
    alarm["attention"]["variation"]["all_alike"] = True
    assert "ALARM" in report(alarm)


class Says:
    """A reader whose captions are right only with a beam of 3 and a penalty of 1."""

    def __init__(self):
        self.asked = []

    def caption(self, pictures, *, beam_size, length_penalty):
        self.asked.append((beam_size, length_penalty))
        right = (beam_size, length_penalty) == (3, 1.0)
        return [text if right else "nothing" for text in ("a red ball", "two kites")], []


def test_the_way_with_the_best_captions_is_taken_and_a_single_one_needs_no_captions():
    references = [["a red ball"], ["two kites"]]
    reader = Says()
    found = choose_decoding(reader, [0, 0], references, (1, 3), (0.0, 1.0))
    assert (found["beam_size"], found["length_penalty"]) == (3, 1.0)
    assert reader.asked == [(1, 0.0), (3, 0.0), (3, 1.0)]
    reader = Says()
    assert choose_decoding(reader, [0], references, (2,), (0.5,))["length_penalty"] == 0.5
    assert reader.asked == []


def test_a_word_has_the_boxes_that_a_reference_gives_it():
    one, other = (0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)
    boxes = [[[(), (one,)], [(one,), (), (other,)]]]
    photos = Photos("test", ["0"], [["a ball", "Ball and kite ."]], lambda _: b"", boxes)
    maps = np.full((3, 2, 2), 0.25, np.float32)
    found = own_words(["kite and ball"], [maps], photos)
    assert [m.boxes for m in found] == [(other,), (), (one,)]
    assert [m.kind for m in found] == ["object", "other", "object"]
    assert kind_of("boxes") == "object"
    assert kind_of("red") == "colour"


def test_a_panel_is_light_where_its_word_looks():
    from attention_apps.observation.heatmaps import to_pixels

    pixels = np.full((32, 32, 3), 200, np.uint8)
    weights = np.zeros((1, 4, 4))
    weights[0, 0, 0] = 1
    drawn = to_pixels(draw_overlays(pixels, ["corner"], weights))
    left = drawn.shape[1] // 2
    panel = drawn[40:-5, left + 5 : -5].mean(-1)
    assert np.median(panel[:20, :20]) > 140
    assert panel[60:, 60:].max() < 60
    # Only the cell that is attended to most is outlined, in white; of equal cells none is.
    white = np.argwhere(panel > 240)
    assert len(white)
    assert (white < panel.shape[0] / 4 + 4).all()
    even = to_pixels(draw_overlays(pixels, ["all"], np.full((1, 4, 4), 1 / 16)))
    assert not (even[40:-5, left + 5 : -5].mean(-1) > 240).any()


def test_choices_that_cannot_work_are_refused():
    for wrong, words in (
        ({"beam_sizes": (0,)}, "--beam-sizes"),
        ({"length_penalties": ()}, "--length-penalties"),
        ({"length_penalties": (-1.0,)}, "--length-penalties"),
        ({"batch_size": 0}, "--batch-size"),
    ):
        with pytest.raises(ValueError, match=words):
            Choices(**wrong)
