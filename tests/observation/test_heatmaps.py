import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from attention_apps.observation.heatmaps import draw_heatmaps, to_pixels
from attention_apps.observation.record import AttentionRecord, Axis


def record(heads=1, queries=3, keys=4, label="{}", gold=None, **more):
    weights = np.random.default_rng(0).dirichlet(np.ones(keys), (heads, queries))
    query = Axis(tuple(label.format(f"q{index}") for index in range(queries)))
    key = Axis(tuple(label.format(f"k{index}") for index in range(keys)))
    return AttentionRecord(weights, "decoder/cross", query, key, gold=gold, **more)


def maps(figure):
    """The drawn maps, without the scale."""
    return figure.axes[0].images[:-1]


def texts(figure):
    """All texts that are drawn, with their boxes in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    return [(text.get_text(), text.get_window_extent(renderer)) for text in figure.axes[0].texts]


def test_every_head_has_its_map_on_one_scale_with_its_name():
    made = record(heads=3, step=7, title="example 2")
    figure = draw_heatmaps(made)
    for drawn, weights in zip(maps(figure), made.weights, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), weights)
        np.testing.assert_allclose(drawn.get_clim(), (0, 1))
    names = {text: box for text, box in texts(figure) if text.startswith("head ")}
    assert list(names) == ["head 0", "head 1", "head 2"]
    for box, drawn in zip(names.values(), maps(figure), strict=True):
        assert abs(box.x0 - drawn.get_window_extent().x0) < 2  # over its map
        assert 0 < box.y0 - drawn.get_window_extent().y1 < 10
    written = {text for text, _ in texts(figure)}
    assert {"decoder/cross", "example 2  ·  step 7  ·  3 heads"} <= written


def test_the_scale_ends_at_the_largest_weight_but_leaves_even_attention_pale():
    axis = Axis(tuple("abcdefghij"))
    for largest, end in ((0.1, 0.4), (0.41, 0.41), (0.9, 0.9)):
        weights = np.full((1, 10, 10), 0.1)
        weights[0, 3, 3] = largest
        figure = draw_heatmaps(AttentionRecord(weights, "layer", axis, axis))
        np.testing.assert_allclose(maps(figure)[0].get_clim(), (0, end))
        assert f"{end:.2f}" in {text for text, _ in texts(figure)}


def test_labels_stand_beside_their_rows_and_under_their_columns():
    figure = draw_heatmaps(record(heads=5, queries=3, keys=4))
    rows, columns = {}, {}
    for text, box in texts(figure):
        if text in {"q0", "q1", "q2"}:
            rows.setdefault(text, []).append((box.y0 + box.y1) / 2)
        if text in {"k0", "k1", "k2", "k3"}:
            columns.setdefault(text, []).append((box.x0 + box.x1) / 2)
    boxes = [drawn.get_window_extent() for drawn in maps(figure)]
    assert len(rows) == 3
    for index, name in enumerate(("q0", "q1", "q2")):  # beside the first map of each row
        expected = [boxes[first].y1 - (index + 0.5) / 3 * boxes[first].height for first in (0, 4)]
        np.testing.assert_allclose(rows[name], expected, atol=4)
    assert len(columns) == 4
    for index, name in enumerate(("k0", "k1", "k2", "k3")):  # under the lowest of each column
        expected = [boxes[last].x0 + (index + 0.5) / 4 * boxes[last].width for last in range(1, 5)]
        np.testing.assert_allclose(columns[name], expected, atol=4)


def test_gold_cells_are_outlined_in_every_head():
    gold = np.zeros((3, 4))
    gold[0, 2] = gold[2, 1] = 1
    figure = draw_heatmaps(record(heads=2, gold=gold))
    for drawn, outlines in zip(maps(figure), figure.axes[0].collections, strict=True):
        left, right, bottom, top = drawn.get_extent()
        boxes = [path.get_extents() for path in outlines.get_paths()]
        cells = {
            (
                round((box.y0 - top) / (bottom - top) * 3, 6),
                round((box.x0 - left) / (right - left) * 4, 6),
            )
            for box in boxes
        }
        assert cells == {(0, 2), (2, 1)}


@pytest.mark.parametrize(
    ("heads", "queries", "keys"),
    [
        (1, 1, 1),
        (1, 2, 3),
        (8, 11, 12),
        (3, 40, 9),
        (4, 6, 49),
        (2, 60, 60),
        (2, 3, 200),
        (16, 5, 5),
    ],
)
def test_no_text_overlaps_another_or_leaves_the_picture(heads, queries, keys):
    gold = np.eye(queries, keys)
    figure = draw_heatmaps(record(heads, queries, keys, "{}-Donau", gold, title="example 0"))
    height, width = to_pixels(figure).shape[:2]
    boxes = texts(figure)
    for index, (text, box) in enumerate(boxes):
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
        for other, other_box in boxes[:index]:
            assert not box.shrunk(0.98, 0.8).overlaps(other_box), (text, other)


def test_labels_are_written_as_they_are_whatever_the_script():
    figure = draw_heatmaps(record(queries=2, keys=2, label="${}_犬$"))
    assert to_pixels(figure).ndim == 3  # the font has no such letter: no warning, no error
    labels = [text for text in figure.axes[0].texts if "q" in text.get_text()[:3]]
    assert [label.get_text() for label in labels] == ["$q0_犬$", "$q1_犬$", "query"]
    assert not any(label.get_parse_math() for label in labels)


def test_pictures_are_pixels_with_more_ink_where_there_is_more_attention():
    weights = np.zeros((1, 2, 2))
    weights[0, 0, 0], weights[0, 1, 1] = 1, 0.5
    figure = draw_heatmaps(AttentionRecord(weights, "l", Axis(("q0", "q1")), Axis(("k0", "k1"))))
    pixels = to_pixels(figure)
    assert pixels.dtype == np.uint8
    boxes = dict(texts(figure))

    def brightness(query, key):
        """Of the picture beside the label of the query and over that of the key."""
        x = (boxes[key].x0 + boxes[key].x1) / 2
        y = pixels.shape[0] - (boxes[query].y0 + boxes[query].y1) / 2
        return pixels[int(y), int(x)].mean()

    assert brightness("q0", "k0") < brightness("q1", "k1") < brightness("q0", "k1")
    assert brightness("q0", "k1") > 240
    assert brightness("q1", "k0") > 240


def test_attention_to_nothing_and_faults_can_be_drawn():
    axis = Axis(("a", "b"))
    for value in (0.0, np.nan):
        figure = draw_heatmaps(AttentionRecord(np.full((1, 2, 2), value), "layer", axis, axis))
        assert to_pixels(figure).shape[2] == 3
