"""The approximate index beside the exact answer."""

import numpy as np
import pytest

from attention_apps.running.command import UserError
from recommendation.index import ItemIndex, build_index, exact, main, measure, recall

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(30, 16))
VECTORS = (CENTRES[RNG.integers(30, size=4000)] + 0.4 * RNG.normal(size=(4000, 16))).astype("f4")
HIDDEN = (CENTRES[RNG.integers(30, size=50)] + 0.4 * RNG.normal(size=(50, 16))).astype("f4")
SEEN = [RNG.integers(1, 4001, RNG.integers(0, 30)) for _ in HIDDEN]


def slow(hidden, seen, count):
    scores = [(float(hidden @ vector), -item) for item, vector in enumerate(VECTORS, start=1)]
    ranked = sorted(scores, reverse=True)
    return [-item for _, item in ranked if -item not in seen][:count]


def test_the_exact_answer_is_that_of_sorting_everything():
    best = exact(VECTORS, HIDDEN, SEEN, 10)
    for row in range(5):
        assert best[row].tolist() == slow(HIDDEN[row], SEEN[row], 10)


def test_an_index_that_probes_all_cells_is_exact():
    index = ItemIndex.build(VECTORS, cells=20, probes=20)
    found, scores = index.search(HIDDEN, SEEN, 10)
    assert recall(found, exact(VECTORS, HIDDEN, SEEN, 10)) == 1
    of_found = np.einsum("bd,bkd->bk", HIDDEN, VECTORS[found - 1])
    np.testing.assert_allclose(scores, of_found, atol=1e-3)
    assert (np.diff(scores) <= 0).all()


def test_fewer_probes_find_less_and_never_what_was_seen():
    recalls = []
    for probes in (1, 4, 20):
        index = ItemIndex.build(VECTORS, cells=20, probes=probes)
        seen = [exact(VECTORS, HIDDEN, SEEN, 3)[row] for row in range(len(HIDDEN))]
        found, _ = index.search(HIDDEN, seen, 10)
        for row, items in enumerate(seen):
            assert not set(found[row]) & set(items)
        recalls.append(measure(index, VECTORS, HIDDEN, seen)["recall_10"])
    assert recalls[0] < recalls[1] <= recalls[2] == 1


def test_an_index_survives_its_file(tmp_path):
    index = ItemIndex.build(VECTORS)
    index.write(tmp_path / "items.faiss")
    again = ItemIndex.read(tmp_path / "items.faiss")
    for ours, theirs in zip(
        index.search(HIDDEN, SEEN, 5), again.search(HIDDEN, SEEN, 5), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(UserError, match="has no index"):
        ItemIndex.read(tmp_path / "nothing.faiss")


def test_where_too_little_is_left_places_stay_empty():
    index = ItemIndex.build(VECTORS[:20], cells=1, probes=1)
    found, scores = index.search(HIDDEN[:1], [np.arange(1, 19)], 5)
    assert set(found[0]) == {19, 20, 0}
    assert np.isinf(scores[0, 2:]).all()


def test_more_cells_than_items_are_refused():
    with pytest.raises(ValueError, match="Received: 20 items, 30 cells"):
        ItemIndex.build(VECTORS[:20], cells=30)


def test_the_command_indexes_a_run(finished_run, capsys):
    _, run_dir = finished_run("recommendation")
    before = (run_dir / "metrics.json").read_text()
    try:
        assert main(["--run-dir", str(run_dir), "--cells", "10", "--probes", "10"]) == 0
        assert "recall@10 1.0000 of the exact answer" in capsys.readouterr().out
        with pytest.raises(UserError, match="no more probes than cells"):
            build_index(run_dir, cells=2, probes=3)
    finally:
        (run_dir / "metrics.json").write_text(before)
    assert (run_dir / "items.faiss").is_file()
