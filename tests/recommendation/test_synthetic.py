"""The embedded viewers keep the rules by which they claim to have been made."""

import itertools
from collections import Counter

import numpy as np
import pytest

from recommendation.catalogue import SIZES, catalogue
from recommendation.config import EXAMPLE, EXAMPLE_BATCH
from recommendation.synthetic import (
    AGES,
    LONGEST_LAG,
    GeneratedRecommendation,
    generate,
    likeliest_cause,
    main,
    pending,
)

FILMS = catalogue("small")
VIEWERS = list(generate("small", count=400, seed=0))
TITLES = {film.title: number for number, film in enumerate(FILMS)}


@pytest.mark.parametrize("size", SIZES)
def test_titles_are_unique_and_every_series_has_its_sequel(size):
    films = catalogue(size)
    assert len({film.title for film in films}) == len(films)
    plan = SIZES[size]
    series = [film for film in films if film.sequel is not None]
    assert len(series) == plan.studios * plan.series_each
    for film in series:
        sequel = films[film.sequel]
        assert sequel.title == f"{film.title} II"
        assert (sequel.studio, sequel.genre) == (film.studio, film.genre)
    portraits = Counter(film.studio for film in films if film.is_portrait)
    assert set(portraits.values()) == {plan.portraits_each}


def test_the_small_catalogue_is_part_of_the_full_one():
    assert {f.title for f in FILMS} <= {f.title for f in catalogue("full")}


def test_a_seed_gives_the_same_viewers_and_a_smaller_count_the_first_of_them():
    assert list(generate("small", count=7, seed=0)) == VIEWERS[:7]
    assert list(generate("small", count=7, seed=1)) != VIEWERS[:7]


def test_nobody_watches_anything_twice_or_out_of_time():
    for viewer in VIEWERS:
        assert len(set(viewer.items)) == len(viewer.items) >= 8
        assert len(viewer.items) == len(viewer.times) == len(viewer.causes)
        assert list(viewer.times) == sorted(viewer.times)
    pairs = [pair for viewer in VIEWERS for pair in itertools.pairwise(viewer.times)]
    assert 0.02 < np.mean([a == b for a, b in pairs]) < 0.2


def test_every_cause_is_the_first_film_of_the_series_and_asked_for():
    lags = Counter()
    for viewer in VIEWERS:
        for place, cause in enumerate(viewer.causes):
            film = FILMS[viewer.items[place]]
            is_sequel = film.title.endswith(" II")
            assert is_sequel == (cause >= 0)
            if cause < 0:
                continue
            assert FILMS[viewer.items[cause]].sequel == viewer.items[place]
            before = FILMS[viewer.items[place - 1]]
            at_once = cause == place - 1
            portrayed = before.is_portrait and before.studio == film.studio
            assert at_once or portrayed
            lags[place - cause] += 1
    assert min(lags) == 1
    assert 40 <= max(lags) <= LONGEST_LAG
    assert sum(count for lag, count in lags.items() if lag > 10) > 0.15 * lags.total()


def test_the_rule_finds_nearly_all_causes_and_chance_few():
    hits, chance = [], []
    for viewer in VIEWERS:
        for place, cause in enumerate(viewer.causes):
            if cause >= 0:
                hits.append(likeliest_cause(FILMS, viewer.items[:place]) == cause)
                chance.append(1 / place)
    assert np.mean(hits) > 0.97
    assert np.mean(chance) < 0.15


def test_the_rule_by_hand():
    first = [f.sequel - 1 for f in FILMS if f.sequel is not None and f.studio == "Meridian"][:2]
    other = next(f.sequel - 1 for f in FILMS if f.sequel is not None and f.studio == "Halcyon")
    portrait = next(n for n, f in enumerate(FILMS) if f.is_portrait and f.studio == "Meridian")
    assert likeliest_cause(FILMS, []) is None
    assert likeliest_cause(FILMS, [first[0]]) == 0
    assert likeliest_cause(FILMS, [*first, other, portrait]) == 1
    # The sequel of the later film is seen: the earlier one is left.
    assert likeliest_cause(FILMS, [*first, other, FILMS[first[1]].sequel, portrait]) == 0
    assert likeliest_cause(FILMS, [other, portrait]) is None
    assert likeliest_cause(FILMS, [first[0], portrait, len(FILMS) - 1]) is None


def test_what_is_too_long_ago_causes_nothing():
    first = next(f.sequel - 1 for f in FILMS if f.sequel is not None)
    others = [n for n, f in enumerate(FILMS) if not f.studio][:LONGEST_LAG]
    assert pending(FILMS, [first, *others[:-1]]) == [0]
    assert pending(FILMS, [first, *others]) == []


def test_ages_differ_in_what_and_how_much_they_watch():
    by_age = {age: [v for v in VIEWERS if v.age == age] for age in AGES}
    lengths = [np.mean([len(v.items) for v in by_age[age]]) for age in AGES]
    assert lengths[0] > 1.2 * lengths[2]
    genres = [Counter(FILMS[i].genre for v in by_age[age] for i in v.items) for age in AGES]
    shares = [counts["western"] / counts.total() for counts in genres]
    assert abs(shares[0] - shares[2]) > 0.01


def test_the_example_asks_for_a_sequel():
    items = [TITLES[title] for title in EXAMPLE.split("; ")]
    cause = likeliest_cause(FILMS, items)
    assert FILMS[items[cause]].title == "The Silent Voyage"
    assert all(1 <= int(key[1:]) <= len(FILMS) for row in EXAMPLE_BATCH for key in row)


def test_what_there_is_not_is_refused():
    with pytest.raises(ValueError, match="Received: 'huge'"):
        generate("huge", count=1, seed=0)
    with pytest.raises(ValueError, match="Received: -1"):
        generate("small", count=-1, seed=0)


def test_the_builder_names_what_it_holds():
    assert {config.name for config in GeneratedRecommendation.BUILDER_CONFIGS} == set(SIZES)
    assert set(GeneratedRecommendation.COUNTS) == set(SIZES)


def test_it_can_be_looked_at(capsys):
    main(["--show", "3", "--size", "small"])
    shown = capsys.readouterr().out
    assert shown.count("\nv") == 2
    assert "back: " in shown
