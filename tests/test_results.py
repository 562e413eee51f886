"""What the Markdown pages publish is what results.json holds."""

import dataclasses
import json

import pytest

from benchmarks import results

GOOD = results.Row(
    name="data_bleu",
    room="room",
    value=39.5,
    unit="BLEU",
    command="python -m room.train --dataset data",
    minutes=50.0,
    interval=(38.0, 41.0),
    seeds=(0, 1),
    floor=5.25,
    floor_name="copy of the source",
    commit="0123abc",
    hardware="2 cores",
    date="2026-11-20",
)


def test_published_rows_are_well_formed():
    results.load(results.ROWS)


def test_pages_show_the_rows_as_they_are():
    rows = results.load(results.ROWS)
    texts = {page: page.read_text() for page in results.pages(results.ROOT)}
    stale = [str(page) for page, text in texts.items() if results.render(text, rows) != text]
    assert stale == [], "run: python -m benchmarks.results tables"


def test_rows_survive_saving_and_loading(tmp_path):
    path = tmp_path / "results.json"
    other = dataclasses.replace(GOOD, name="data_aer", interval=None, floor=None, floor_name=None)
    results.save([GOOD, other], path)
    assert results.load(path) == [other, GOOD]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "bleu"),
        ("name", "Room/BLEU"),
        ("unit", " "),
        ("command", ""),
        ("command", "python -m room.train --data-dir /home/me/data"),
        ("command", "python -m room.train --data-dir=/home/me/data"),
        ("value", float("nan")),
        ("minutes", 0.0),
        ("seeds", ()),
        ("seeds", (1, 1)),
        ("interval", (40.0, 41.0)),
        ("floor", None),
        ("floor_name", None),
        ("commit", "HEAD"),
        ("date", "20 November"),
    ],
)
def test_malformed_row_is_refused(field, value):
    GOOD.check()
    with pytest.raises(ValueError, match=r"must be .* Received"):
        dataclasses.replace(GOOD, **{field: value}).check()


@pytest.mark.parametrize("change", [{"floor": ...}, {"better": "higher"}])
def test_file_with_missing_or_unknown_fields_is_refused(tmp_path, change):
    entry = {**dataclasses.asdict(GOOD), **change}
    entry = {key: value for key, value in entry.items() if value is not ...}
    path = tmp_path / "results.json"
    path.write_text(json.dumps([entry]))
    with pytest.raises(ValueError, match="fields"):
        results.load(path)


def test_name_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "results.json"
    results.save([GOOD, GOOD], path)
    with pytest.raises(ValueError, match="once"):
        results.load(path)


def test_regions_are_written_and_the_rest_is_left():
    elsewhere = dataclasses.replace(GOOD, name="data_f1", room="roomier")
    text = (
        "before\n<!-- results:room -->\nold\n<!-- /results -->\nbetween "
        "<!-- results:data_bleu value -->?<!-- /results --> and "
        "<!-- results:data_bleu floor --><!-- /results --> after\n"
    )
    page = results.render(text, [GOOD, elsewhere])
    assert page.startswith("before\n<!-- results:room -->\n| figure |")
    assert "| data_bleu | 39.5 (38 to 41) BLEU | 5.25 (copy of the source) |" in page
    assert "between <!-- results:data_bleu value -->39.5 (38 to 41) BLEU<!--" in page
    assert page.endswith("floor -->5.25 (copy of the source)<!-- /results --> after\n")
    assert "old" not in page
    assert "data_f1" not in page
    assert results.render(page, [GOOD, elsewhere]) == page


def test_changed_row_makes_the_page_differ():
    page = results.render("<!-- results:room -->\n<!-- /results -->\n", [GOOD])
    assert results.render(page, [dataclasses.replace(GOOD, value=39.6)]) != page


def test_table_keeps_its_columns_when_a_command_has_a_pipe():
    row = dataclasses.replace(GOOD, command="echo a | python -m room.predict")
    lines = results.render("<!-- results:room --><!-- /results -->", [row]).splitlines()
    assert len({line.count("|") for line in lines[1:-1]}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "<!-- results:room -->\n",
        "text <!-- /results -->",
        "<!-- results:room -->\n<!-- results:room -->\n<!-- /results -->",
        "<!-- results: room -->\n<!-- /results -->",
        "<!-- results:nowhere -->\n<!-- /results -->",
        "<!-- results:room value --><!-- /results -->",
        "<!-- results:data_bleu colour --><!-- /results -->",
    ],
)
def test_region_that_cannot_be_written_is_refused(text):
    with pytest.raises(ValueError, match="Received"):
        results.render(text, [GOOD])


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a README and no rows, in place of the project's."""
    (tmp_path / "README.md").write_text("<!-- results:data_bleu value --><!-- /results -->\n")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(results, "ROWS", tmp_path / "results.json")
    results.ROWS.write_text("[]")
    return tmp_path


def test_figure_reaches_the_page(project, capsys):
    results.Add(dataclasses.replace(GOOD, value=38.5)).run()
    results.Add(GOOD).run()
    results.Tables().run()
    assert results.load(results.ROWS) == [GOOD]
    assert ">39.5 (38 to 41) BLEU<" in (project / "README.md").read_text()
    assert capsys.readouterr().out.splitlines() == [
        "data_bleu: 38.5 (38 to 41) BLEU (new)",
        "data_bleu: 39.5 (38 to 41) BLEU (was 38.5 (38 to 41) BLEU)",
        "rewrote README.md",
    ]


def test_bad_row_leaves_the_file_alone(project):
    with pytest.raises(ValueError, match="minutes"):
        results.Add(dataclasses.replace(GOOD, minutes=-1.0)).run()
    assert results.load(results.ROWS) == []


def test_changed_tree_gives_no_commit(project, monkeypatch):
    def git(*arguments):
        return " M attention_apps/attention/layers.py" if "status" in arguments else "0123abc"

    monkeypatch.setattr(results, "_git", git)
    with pytest.raises(ValueError, match=r"Commit first.*layers\.py|layers\.py.*Commit first"):
        results.Add(dataclasses.replace(GOOD, commit="")).run()
    assert results.load(results.ROWS) == []


def test_commit_and_machine_and_day_are_filled_in(project, monkeypatch):
    monkeypatch.setattr(
        results, "_git", lambda *arguments: "" if "status" in arguments else "0123abc"
    )
    results.Add(dataclasses.replace(GOOD, commit="", hardware="", date="")).run()
    (row,) = results.load(results.ROWS)
    assert row.commit == "0123abc"
    assert "cores" in row.hardware


def test_command_line_adds_and_refuses(project, monkeypatch, capsys):
    flags = "--room room --name data_bleu --value 1 --unit BLEU --command x --seeds 1 2"
    line = ["results", "add", *flags.split(), "--commit", "0123abc", "--interval", "0", "2"]
    monkeypatch.setattr("sys.argv", [*line, "--minutes", "3"])
    assert results.main() == 0
    assert results.load(results.ROWS)[0].seeds == (1, 2)
    monkeypatch.setattr("sys.argv", [*line, "--minutes", "0"])
    assert results.main() == 2
    assert "minutes of data_bleu must be positive" in capsys.readouterr().err
