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
    return [axes for axes in figure.axes if axes.get_images() and axes.get_title(loc="left")]


def texts(figure):
    """All texts that are drawn, with their boxes in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = list(figure.texts)
    for axes in figure.axes:
        found += [axes.title, axes._left_title, *axes.get_xticklabels(), *axes.get_yticklabels()]
    return [(text, text.get_window_extent(renderer)) for text in found if text.get_text()]


def test_every_head_has_its_map_on_one_scale_with_its_name():
    made = record(heads=3, step=7, title="example 2")
    drawn = maps(draw_heatmaps(made))
    assert [axes.get_title(loc="left") for axes in drawn] == ["head 0", "head 1", "head 2"]
    for axes, weights in zip(drawn, made.weights, strict=True):
        (image,) = axes.get_images()
        np.testing.assert_array_equal(image.get_array(), weights)
        np.testing.assert_allclose(image.get_clim(), (0, made.weights.max()))
    written = {text.get_text() for text, _ in texts(draw_heatmaps(made))}
    assert {"decoder/cross", "example 2  ·  step 7  ·  3 heads"} <= written


def test_queries_label_the_rows_from_above_and_keys_the_columns():
    (axes,) = maps(draw_heatmaps(record(queries=3, keys=4)))
    rows = {t.get_text(): box.y0 for t, box in texts(axes.figure) if t.get_text().startswith("q")}
    columns = {t.get_text(): box.x0 for t, box in texts(axes.figure) if t.get_text()[0] == "k"}
    del rows["query"], columns["key"]
    assert sorted(rows, key=rows.get, reverse=True) == ["q0", "q1", "q2"]
    assert sorted(columns, key=columns.get) == ["k0", "k1", "k2", "k3"]


def test_gold_cells_are_outlined():
    gold = np.zeros((3, 4))
    gold[0, 2] = gold[2, 1] = 1
    for axes in maps(draw_heatmaps(record(heads=2, gold=gold))):
        outlined = {(round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in axes.patches}
        assert outlined == {(0, 2), (2, 1)}


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
    figure = draw_heatmaps(record(heads, queries, keys, "{}-Donau", gold))
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
    (axes,) = maps(draw_heatmaps(record(queries=2, keys=2, label="${}_犬$")))
    assert to_pixels(axes.figure).ndim == 3  # the font has no such letter: no warning, no error
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels] == ["$q0_犬$", "$q1_犬$"]
    assert not any(label.get_parse_math() for label in labels)


def test_pictures_are_pixels_with_more_ink_where_there_is_more_attention():
    weights = np.zeros((1, 2, 2))
    weights[0, 0, 0], weights[0, 1, 1] = 1, 0.5
    axis = Axis(("a", "b"))
    figure = draw_heatmaps(AttentionRecord(weights, "layer", axis, axis))
    pixels = to_pixels(figure)
    assert pixels.dtype == np.uint8
    (axes,) = maps(figure)
    box = axes.get_window_extent()

    def brightness(query, key):
        x = box.x0 + (key + 0.5) / 2 * box.width
        y = pixels.shape[0] - box.y1 + (query + 0.5) / 2 * box.height
        return pixels[int(y), int(x)].mean()

    assert brightness(0, 0) < brightness(1, 1) < brightness(0, 1)
    assert brightness(0, 1) > 240


def test_attention_to_nothing_and_faults_can_be_drawn():
    axis = Axis(("a", "b"))
    for value in (0.0, np.nan):
        figure = draw_heatmaps(AttentionRecord(np.full((1, 2, 2), value), "layer", axis, axis))
        assert to_pixels(figure).shape[2] == 3
