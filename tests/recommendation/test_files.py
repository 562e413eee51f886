"""People's own files: every form that is read, every mistake that is refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from attention_apps.running.command import UserError
from recommendation import interactions as interactions_module
from recommendation.files import read_groups, read_interactions, read_titles


def write(folder, text, name="interactions.csv"):
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_bytes(text.encode())
    return path


def told(interactions):
    """Histories by user, as the keys that the file used."""
    keys = interactions.items.keys
    return {
        user: [keys[item - 1] for item in interactions.history(index)]
        for index, user in enumerate(interactions.users)
    }


EXPECTED = {"ann": ["x", "y"], "bob": ["y"]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "ann x\nbob y\nann y\n"),
        ("a.txt", "ann   x\r\nbob y\r\n\r\nann y"),
        ("a.tsv", "ann\tx\t5\t100000001\nbob\ty\t3\t100000001\nann\ty\t4\t100000002\n"),
        ("a.csv", "\ufeffuserId,movieId,rating\nann,x,5\nbob,y,3\nann,y,4\n"),
        ("a.csv", 'item,user\nx,ann\n"y",bob\ny,ann\n'),
        ("a.dat", "ann::x::5::100000001\nbob::y::5::100000001\nann::y::1::100000009\n"),
        ("a.csv.gz", "user,item,timestamp\nann,x,1\nbob,y,1\nann,y,2.5\n"),
        ("a.txt", "ann x 100000001\nbob y 100000001\nann y 100000002\n"),
        ("a.csv", "user:token,item:token\nann,x\nbob,y\nann,y\n"),
    ],
)
def test_every_form_is_read_alike(tmp_path, name, text):
    assert told(read_interactions(write(tmp_path, text, name))) == EXPECTED


def test_times_sort_and_ties_keep_the_order_of_the_file(tmp_path):
    text = "user,item,timestamp\na,late,9\na,tie1,5\nb,only,1\na,tie2,5\na,early,1\n"
    found = read_interactions(write(tmp_path, text))
    assert told(found) == {"a": ["early", "tie1", "tie2", "late"], "b": ["only"]}
    np.testing.assert_array_equal(found.times, [1, 5, 5, 9, 1])
    # tie1 and tie2 stand behind `late`, `early` behind all.
    assert "3 of 5 interactions stood behind a later one" in found.notes[-1]


def test_chunks_change_nothing(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    rows = [(random.integers(20), random.integers(50), random.integers(30)) for _ in range(500)]
    text = "user,item,time\n" + "".join(f"u{u},i{i},{t}\n" for u, i, t in rows)
    path = write(tmp_path, text)
    whole = read_interactions(path)
    monkeypatch.setattr(interactions_module, "_CHUNK", 7)
    parts = read_interactions(path)
    assert told(parts) == told(whole)
    np.testing.assert_array_equal(parts.times, whole.times)
    by_hand = {}
    for user, item, _ in sorted(rows, key=lambda row: row[2]):  # Python's sort is stable
        by_hand.setdefault(f"u{user}", []).append(f"i{item}")
    assert told(whole) == by_hand


def test_known_items_keep_their_numbers(tmp_path):
    found = read_interactions(write(tmp_path, "a new\na y\n", "a.txt"), known_items=["x", "y"])
    assert found.items.keys == ["x", "y", "new"]
    assert told(found) == {"a": ["new", "y"]}


def test_titles_are_read_and_doubles_told_apart(tmp_path):
    path = write(tmp_path, "1::Alien::Horror\n2::Solaris::Drama\n3::Solaris::Drama\n", "m.dat")
    assert read_titles(path) == {"1": "Alien", "2": "Solaris", "3": "Solaris [3]"}
    path = write(tmp_path, 'item,title\n1,"Good, the Bad, The"\n', "m.csv")
    assert read_titles(path) == {"1": "Good, the Bad, The"}
    path = write(tmp_path, "1\tA long title\n", "m.tsv")
    assert read_titles(path) == {"1": "A long title"}
    found = read_interactions(write(tmp_path, "a 1\na 9\n", "a.txt"), titles={"1": "Alien"})
    assert found.items.titles == ["Alien", "9"]


def test_groups_are_read_for_every_user(tmp_path):
    path = write(tmp_path, "user,age,gender\nann,30,F\ncid,50,M\n", "u.csv")
    assert read_groups(path, ["bob", "ann"]) == {
        "age": ["unknown", "30"],
        "gender": ["unknown", "F"],
    }


def test_the_users_of_movielens_are_read_without_names(tmp_path):
    path = write(tmp_path, "1::F::1::10::48067\n2::M::56::16::70072\n", "users.dat")
    assert read_groups(path, ["2", "1", "3"]) == {
        "gender": ["M", "F", "unknown"],
        "age": ["56", "1", "unknown"],
        "occupation": ["16", "10", "unknown"],
        "zip": ["70072", "48067", "unknown"],
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "no line in"),
        ("a.csv", "user,item\n", "only names in"),
        ("a.csv", "user,rating,timestamp\n1,5,9\n", "There must be a column `item`. Received: the"),
        ("a.csv", "item,rating\n1,5\n", "There must be a column `user`"),
        ("a.txt", "lonely\n", "at least a user and an item"),
        (
            "a.csv",
            "user,item,timestamp\na,b,1\na,b\n",
            "must have 3 columns. Received: 2 in line 3",
        ),
        ("a.csv", "user,item,timestamp\na,b,yesterday\n", "Received: 'yesterday' in line 2"),
        ("a.csv", "user,item,timestamp\na,b,inf\n", "Received: 'inf' in line 2"),
        ("a.csv", "user,item\na,b\n ,b\n", "an empty one in line 3"),
        ("a.txt", "a b good\n", "A third column must hold ratings or times"),
        ("a.csv.gz", None, "cannot be read"),
        ("a.txt", "latin", "byte 0xe4 in"),
    ],
)
def test_a_mistake_gets_one_line(tmp_path, name, text, message):
    path = tmp_path / name
    if text is None:
        path.write_bytes(gzip.compress(b"a b\n" * 5000)[:-20])
    elif text == "latin":
        path.write_bytes(b"a b\nB\xe4r c\n")
    else:
        write(tmp_path, text, name)
    with pytest.raises(UserError) as refusal:
        read_interactions(path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_named_with_what_there_is(tmp_path):
    write(tmp_path, "a b\n", "ml-1m.txt")
    with pytest.raises(UserError, match=r"no file .*ratings.csv. The folder holds: ml-1m.txt"):
        read_interactions(tmp_path / "ratings.csv")


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_titles, "1\n", "an item and its title"),
        (lambda path: read_groups(path, ["a"]), "a,30\n", "begins with a line of names"),
    ],
)
def test_titles_and_groups_are_refused_alike(tmp_path, read, text, message):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, text, "x.csv"))


@pytest.mark.verify
def test_ten_million_interactions_take_no_more_memory_than_one(tmp_path):
    """Anonymous memory: what is mapped from files can be reclaimed and does not count."""
    path = tmp_path / "large.csv"
    random = np.random.default_rng(0)

    def anonymous():
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

    growth = {}
    for millions in (1, 10):
        with path.open("w") as file:
            file.write("user,item,timestamp\n")
            for _ in range(millions):
                users, items = random.integers(20_000, size=(2, 1_000_000))
                np.savetxt(file, np.stack([users, items, users + items], 1), "%d", ",")
        before = anonymous()
        found = read_interactions(path)
        assert len(found) == millions * 1_000_000
        growth[millions] = anonymous() - before
        assert np.diff(found.offsets).sum() == len(found)
        del found
    assert growth[10] < growth[1] + 60
