"""Folds: nearest whole numbers, whole units, the seed, time, and what is refused."""

import json

import numpy as np
import pytest

from weft import Dataset, UserError
from weft.data.folds import seal


def log(episodes: int = 50, length: int = 2, **columns) -> Dataset:
    """Return episodes of two steps; extra columns are given per episode."""
    steps = episodes * length
    return Dataset.from_arrays(
        np.arange(steps, dtype=np.float32)[:, None], np.arange(steps) % 3, np.ones(steps),
        np.arange(steps) % length == length - 1, origin="log",
        columns={name: np.repeat(np.asarray(values), length) for name, values in columns.items()},
    )  # fmt: skip


def test_sizes_are_the_nearest_whole_numbers_and_nothing_is_shared():
    for episodes, sizes in ((50, (20, 10, 20)), (11, (4, 3, 4)), (1000, (400, 200, 400))):
        folds = seal(log(episodes))
        parts = (folds.train, folds.select, folds.certify)
        assert tuple(part.episodes for part in parts) == sizes
        assert sorted(np.concatenate([part.chosen for part in parts]).tolist()) == list(range(episodes))
    assert repr(seal(log())) == "Folds(log: train 20, select 10, certify 20 episodes)"


def test_units_go_whole_and_a_name_decides_not_what_it_holds():
    users = np.repeat([f"user {i}" for i in range(20)], 5)
    data = log(100, user=users).declare(unit="user")
    folds = seal(data, seed=3)
    sides = [set(part.units("user")) for part in (folds.train, folds.select, folds.certify)]
    assert [len(side) for side in sides] == [8, 4, 8]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]  # noqa: PT018
    assert folds.manifest["units"] == {"train": 8, "select": 4, "certify": 8}
    shuffled = log(100, user=users[::-1]).declare(unit="user")
    assert set(seal(shuffled, seed=3).train.units("user")) == sides[0]
    assert set(seal(data, seed=4).train.units("user")) != sides[0]
    # the fold of a unit hardly depends on which other units there are
    more = log(105, user=[*users, *["user 20"] * 5]).declare(unit="user")
    assert len(set(seal(more, seed=3).certify.units("user")) & sides[2]) >= 7


def test_the_manifest_is_json_and_repeatable():
    first, second = seal(log()).manifest, seal(log()).manifest
    assert json.loads(json.dumps(first)) == second
    assert (first["kind"], first["seed"], first["fractions"]) == ("hash", 0, [0.4, 0.2, 0.4])
    assert first["fingerprints"]["certify"] == seal(log()).certify.fingerprint


def test_a_view_is_divided_as_a_view():
    part = log().select(np.arange(10, 30))
    folds = seal(part)
    found = np.concatenate([folds.train.chosen, folds.select.chosen, folds.certify.chosen])
    assert sorted(found.tolist()) == list(range(10, 30))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", ["numbers", "dates", "words", "zones"])
def test_by_time_the_folds_follow_one_another(form):
    days = np.random.default_rng(0).permutation(50)
    given = {
        "numbers": days * 0.5,
        "dates": np.datetime64("2026-01-01") + days,
        "words": np.datetime_as_string(np.datetime64("2026-01-01") + days),
        "zones": np.array([f"2026-01-01T{12 + day % 2:02}:{day:02}:00+0{day % 2}:00" for day in days]),
    }[form]
    folds = seal(log(50, day=given), by_time="day")
    ends = [np.sort(days[part.chosen]) for part in (folds.train, folds.select, folds.certify)]
    assert [len(part) for part in ends] == [20, 10, 20]
    assert ends[0][-1] < ends[1][0]
    assert ends[1][-1] < ends[2][0]
    assert folds.manifest["kind"] == "time"
    assert (seal(log(50, day=given), by_time="day", seed=9).train.chosen == folds.train.chosen).all()


def test_units_that_reach_over_a_border_of_time_are_refused():
    data = log(40, day=np.arange(40), user=np.arange(40) % 10)
    with pytest.raises(UserError, match=r"^log cannot be divided by 'day': 12 episodes of the folds before select end"):
        seal(data, by="user", by_time="day")
    whole = log(40, day=np.arange(40), user=np.arange(40) // 4)
    assert seal(whole, by="user", by_time="day").train.units("user").max() == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fractions": (0.5, 0.5)}, "Folds take three positive fractions (train, select, certify) with a sum of at "
         "most 1, got (0.5, 0.5)."),
        ({"fractions": (0.5, 0.5, 0.5)}, "Folds take three positive fractions (train, select, certify) with a sum of "
         "at most 1, got (0.5, 0.5, 0.5)."),
        ({"fractions": (0.9, 0.02, 0.08)}, "Folds of log by 50 episodes leave 1 for select, where at least 2 are "
         "needed; give more data or other fractions."),
        ({"by_time": "word"}, "log: 'word' holds words that are no ISO dates or times; give numbers or dates."),
        ({"by": "usr"}, "log has no column 'usr' of units. Did you mean 'user'? Known: user, when, word."),
        ({"by_time": "when"}, "log has episodes without a time in 'when'; give every step one."),
    ],
)  # fmt: skip
def test_mistakes(options, sentence):
    data = log(user=np.arange(50), when=np.where(np.arange(50) == 7, np.nan, 1.0), word=["ten"] * 50)
    with pytest.raises(UserError) as caught:
        seal(data, **options)
    assert str(caught.value) == sentence


def test_few_units_are_refused_by_their_name():
    with pytest.raises(UserError, match=r"^Folds of log by 3 values of 'user' leave 1 for train"):
        seal(log(30, user=np.arange(30) % 3), by="user")
