"""Where interactions come from: the embedded viewers, files, sets of tensorflow-datasets."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow_datasets as tfds

from attention_apps.running import datasets
from attention_apps.running.command import UserError
from recommendation.catalogue import catalogue
from recommendation.config import TINY, Config
from recommendation.data import load, read
from recommendation.synthetic import generate


def test_the_embedded_viewers_are_those_that_are_generated(embedded_data):
    found = read(replace(TINY, data_dir=embedded_data))
    by_name = {name: index for index, name in enumerate(found.users)}
    assert found.items.titles == [film.title for film in catalogue("small")]
    for viewer in generate("small", count=20, seed=0):
        user = by_name[viewer.name]
        place = slice(found.offsets[user], found.offsets[user + 1])
        assert tuple(found.history(user) - 1) == viewer.items
        assert tuple(found.times[place]) == viewer.times
        assert tuple(found.causes[place]) == viewer.causes
        assert found.groups["age"][user] == viewer.age


def test_causes_of_cases_are_places_in_their_histories(embedded_data):
    films = catalogue("small")
    splits = load(replace(TINY, data_dir=embedded_data))
    causes = splits.test.causes()
    assert 0.1 < (causes >= 0).mean() < 0.3
    targets = splits.test.targets()
    for case in np.flatnonzero(causes >= 0)[:50]:
        cause = splits.test.history(case)[causes[case]]
        assert films[cause - 1].sequel == targets[case] - 1


@pytest.mark.parametrize("target", ["first", "last", "successive"])
def test_the_embedded_viewers_can_be_cut_in_time(embedded_data, target):
    config = replace(TINY, data_dir=embedded_data, split="time", target=target)
    splits = load(config)
    assert len(splits.test) > 50
    assert len(splits.validation) > 20


def write(folder):
    (folder / "interactions.csv").write_text("user,item,timestamp\na,1,1\na,2,2\na,3,3\nb,1,1\n")
    (folder / "items.csv").write_text("item,title\n1,Alien\n2,Solaris\n")
    (folder / "users.csv").write_text("user,age\nb,30\n")
    return Config(
        dataset="files", data_dir=str(folder), items_name="items.csv", users_name="users.csv"
    )


def test_files_are_read_with_titles_and_groups(tmp_path):
    found = read(write(tmp_path))
    assert found.items.titles == ["Alien", "Solaris", "3"]
    assert found.groups == {"age": ["unknown", "30"]}
    assert [found.items.title(int(item)) for item in found.history(0)] == ["Alien", "Solaris", "3"]


def test_what_tells_persons_apart_is_no_group(tmp_path):
    config = write(tmp_path)
    users = [f"u{number}" for number in range(40)]
    lines = [f"{user},{item}" for user in users for item in (1, 2, 3)]
    (tmp_path / "interactions.csv").write_text("\n".join(["user,item", *lines]))
    rows = [f"{user},{number % 2},{number}" for number, user in enumerate(users)]
    (tmp_path / "users.csv").write_text("\n".join(["user,gender,zip", *rows]))
    found = read(config)
    assert set(found.groups) == {"gender"}
    assert found.notes[-1].startswith("users.csv: 40 different zip are too many")


def test_a_bias_of_times_needs_times(tmp_path):
    config = write(tmp_path)
    (tmp_path / "interactions.csv").write_text("user,item\na,1\na,2\na,3\n")
    with pytest.raises(UserError, match="--time-bias needs a time with every interaction"):
        load(replace(config, time_bias=True))


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="--data-dir must be a folder"):
        load(replace(write(tmp_path), data_dir=str(tmp_path / "nowhere")))


def test_ratings_of_tensorflow_datasets_are_read_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "online", lambda host: True)
    config = Config(dataset="movielens/1m-ratings", data_dir=str(tmp_path))
    with tfds.testing.mock_data(num_examples=40):
        found = read(config)
    assert len(found) == 40
    assert found.times is not None
    assert set(found.groups) == {"age", "gender"}
    assert all(len(groups) == len(found.users) for groups in found.groups.values())
    assert all(title for title in found.items.titles)


def test_a_set_without_users_and_items_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "online", lambda host: True)
    with tfds.testing.mock_data(num_examples=2), pytest.raises(UserError) as refusal:
        read(Config(dataset="mnist", data_dir=str(tmp_path)))
    assert "must hold users and items" in str(refusal.value)
    assert "Received: mnist with" in str(refusal.value)
    with pytest.raises(UserError, match=r"such as movielens/1m-ratings\. Received: no_such_set"):
        read(Config(dataset="no_such_set", data_dir=str(tmp_path)))
