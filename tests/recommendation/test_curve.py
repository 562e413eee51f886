"""The curve of a run: what was known after how many minutes."""

from benchmarks.recommendation_curve import best_until, main

CURVE = [
    {"epoch": 1, "minutes": 4.0, "cpu_minutes": 2.0, "val_ndcg_10": 0.10},
    {"epoch": 3, "minutes": 9.0, "cpu_minutes": 4.0, "val_ndcg_10": 0.15},
    {"epoch": 5, "minutes": 12.0, "cpu_minutes": 6.0, "val_ndcg_10": 0.12},
]


def test_what_is_known_is_the_best_so_far_by_the_clock_that_is_asked():
    assert best_until(CURVE, 1.9, "cpu_minutes") is None
    assert best_until(CURVE, 2.0, "cpu_minutes") == 0.10
    assert best_until(CURVE, 100, "cpu_minutes") == 0.15
    assert best_until(CURVE, 5.0, "minutes") == 0.10


def test_the_curve_of_a_run_is_told_and_drawn(finished_run, tmp_path, capsys):
    _, run_dir = finished_run("recommendation")
    picture = tmp_path / "curve.png"
    assert main(["--run-dir", str(run_dir), "--picture", str(picture)]) == 0
    told = capsys.readouterr().out
    assert "best floor" in told
    assert "after   10 minutes: 0." in told
    assert picture.stat().st_size > 5000
