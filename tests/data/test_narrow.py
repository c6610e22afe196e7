"""What 32 bits keep of numbers of any type, and what words are: missing values, numbers, names."""

import decimal

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft import Dataset, UserError
from weft.data.naming import Naming
from weft.data.narrow import far, fractions, judged, missing, named, narrowed, plain, scattered
from weft.data.steps import Source

MARKS = ["NA", "nan", "NULL", "null", "None", "N/A", "?", "-", "#N/A", ""]
COUNT = 40


def name() -> Naming:
    return Naming(Source("log"))


def sentence(values, do=plain) -> str:
    with pytest.raises(UserError) as caught:
        do(values, "x", name())
    return str(caught.value).removeprefix("log: ")


def log(**changes) -> Dataset:
    rng = np.random.default_rng(0)
    parts = {
        "observations": rng.normal(size=(COUNT, 2)),
        "actions": rng.integers(0, 3, COUNT),
        "rewards": rng.normal(size=COUNT),
        "terminals": np.ones(COUNT, bool),
    }
    return Dataset.from_arrays(**{**parts, **changes})


ODD = {
    "complex": (np.ones(3) + 1j, "column 'x' holds complex numbers; give real and imaginary parts as columns of"),
    "record": (np.zeros(3, [("p", "f4"), ("v", "f4")]), "column 'x' holds records (p, v); give their fields as"),
    "moment": (np.arange(3).astype("M8[s]"), "column 'x' holds datetime64[s] values; give numbers"),
    "span": (np.arange(3).astype("m8[s]"), "column 'x' holds timedelta64[s] values; give numbers"),
    "masked": (np.ma.masked_array([1.0, 2, 3], [0, 1, 0]), "column 'x' has no value (row 1); mend or drop"),
    "masked row": (np.ma.masked_array(np.ones((2, 2)), [[0, 0], [0, 1]]), "column 'x' has no value (row 1)"),
    "None": (np.array([1, None, 2], object), "column 'x' has no value (row 1)"),
    "pandas": (np.array([1, pandas.NA, pandas.NA], object), "column 'x' has no value (2 rows, first 1, 2)"),
    "NaT": (np.array([1, pandas.NaT], object), "column 'x' has no value (row 1)"),
    "object complex": (np.array([1, 2j], object), "column 'x' holds complex numbers"),
}


@pytest.mark.parametrize(("values", "said"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("part", ["observations", "actions", "rewards", "terminals", "propensities"])
def test_odd_types_are_one_sentence_in_every_part_of_a_log(values, said, part):
    assert sentence(values).startswith(said)
    padded = {"observations": values, "terminals": values, "actions": np.arange(len(values)), "rewards": values}
    with pytest.raises(UserError) as caught:
        Dataset.from_arrays(**{**padded, "terminals": np.ones(len(values), bool), part: values})
    assert "column '" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.0, 2, 3], ">f8"),
        np.array([1, 2, 3], ">i2"),
        np.array([1.0, 2, 3], np.longdouble),
        np.array([1.0, 2, 3], np.float16),
        np.array([1, 2, 3], np.uint64),
        np.array([1.0, 2, 3], object),
        np.array([decimal.Decimal(1), decimal.Decimal(2), decimal.Decimal(3)], object),
        np.ma.masked_array([1.0, 2, 3], False),
        pandas.array([1, 2, 3], dtype="Int64"),
        [1, 2, 3],
    ],
    ids=str,
)
def test_numbers_of_any_type_are_the_same_numbers(values):
    found = plain(values, "x", name())
    assert found.dtype.isnative
    assert found.tolist() == [1, 2, 3]
    assert narrowed(found, "x", name()).dtype == np.float32


def test_arrays_of_arrays_of_one_shape_are_one_array():
    rows = np.empty(2, object)
    rows[:] = [np.arange(3.0), np.arange(3.0)]
    assert plain(rows, "x", name()).tolist() == [[0, 1, 2], [0, 1, 2]]


def test_numbers_beyond_32_bits_are_refused_with_their_column():
    values = np.array([[1.0, 2], [3, 1e60]])
    assert sentence(values, narrowed) == (
        "column 1 of 'x' holds numbers beyond 3.4e38, the largest that 32 bits can hold (row 1); change the unit, or "
        "mend or drop these rows."
    )
    with pytest.raises(UserError, match=r"column 'rewards' holds numbers beyond 3\.4e38"):
        log(rewards=np.full(COUNT, 1e39))


MERGED = {
    "unix seconds": 1.7e9 + np.arange(COUNT),
    "whole unix seconds": 1_700_000_000 + np.arange(COUNT),
    "whole unix milliseconds": 1_700_000_000_000 + np.arange(COUNT) * 1000,
    "ids": 10_000_000_000 + np.arange(COUNT),
    "half steps": 1e8 + 0.5 * np.arange(COUNT),
    "two hosts of ids": np.append(np.arange(COUNT // 2.0), 2**30 + np.arange(COUNT // 2)),
    "tiny": 1e-60 * (1 + np.arange(COUNT)),
    "times with gaps": np.where(np.arange(COUNT) % 4 == 0, 0.0, 1.7e9 + 0.1 * np.arange(COUNT)),
}


@pytest.mark.parametrize("values", MERGED.values(), ids=MERGED)
def test_numbers_that_float32_merges_are_noted(values):
    data = log(observations=np.stack([np.zeros(COUNT), values], 1))
    assert len(data.notes) == 1
    assert data.notes[0].startswith(f"Column 1 of 'observations' has {len(np.unique(values))} different values, of ")
    after = log(observations=values, next_observations=values + 0)
    assert sum("float32" in note for note in after.notes) <= 2
    assert any("float32" in note and "'rewards'" in note for note in log(rewards=values).notes)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=200_000),
        np.random.default_rng(0).uniform(size=200_000),
        np.arange(200_000),
        np.arange(200_000) * 1e-9,
        np.full(9, 1.7e9 + 1),
        1e5 + np.arange(1000) / 4,
    ],
    ids=["normal", "uniform", "whole", "small", "constant", "quarters"],
)
def test_numbers_that_lose_nothing_are_not_noted(values):
    naming = name()
    narrowed(values[:, None], "x", naming)
    assert naming.notes == []


@pytest.mark.parametrize("mark", MARKS)
def test_marks_among_numbers_are_missing_values(mark):
    words = np.array(["1.5", mark, "2", "3"])
    said, note = judged(words, "column 'x'", "", False)
    assert said == f"column 'x' has no value, but '{mark}', in some rows (row 1); mend or drop these rows."
    assert note is None
    said, note = judged(np.array(["red", mark, "red"]), "column 'x'", "", False)
    assert said is None
    assert note is not None
    assert "(row 1), which may mean that there is no value; it counts as one of 2 words." in note
    assert missing(words).tolist() == [False, True, False, False]


@pytest.mark.parametrize("slip", ["<0.1", "1,234.5", "0,5", "12 %", "$3", "2 kg", "x"])
def test_slips_among_numbers_are_no_categories(slip):
    words = np.array(["1.5", "2", slip, "3"])
    said, _ = judged(words, "column 'x'", ", or say so", False)
    assert said == f"column 'x' mixes numbers and words such as '{slip}' (row 2); mend or drop these rows, or say so."
    assert judged(words, "column 'x'", "", True) == (None, None)
    assert judged(np.array(["a", "b", slip, "c"]), "column 'x'", "", False) == (None, None)


def test_numbers_written_as_text():
    assert "count as 2 words" in str(judged(np.array(["1", "2"]), "column 'x'", "", False)[1])
    assert fractions(np.array(["1", "2"])) is None
    assert fractions(np.array(["1", "a"])) is None
    assert fractions(np.array([" 1.5", "2"])).tolist() == [1.5, 2]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=12),
    st.lists(st.integers(0, 11), max_size=4),
    st.sampled_from(MARKS),
)
def test_any_numbers_with_any_marks_name_the_rows_of_the_marks(values, places, mark):
    words = [repr(value) for value in values]
    gone = sorted({place for place in places if place < len(words)})
    for place in gone:
        words[place] = mark
    said, _ = judged(np.array(words), "column 'x'", "", False, lambda mask: str(np.flatnonzero(mask).tolist()))
    assert (said is not None) == (0 < len(gone) < len(words))
    if said is not None:
        assert f"({gone})" in said


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=10))
def test_whole_numbers_of_any_size_are_kept_or_noted(values):
    try:
        data = Dataset.from_arrays(
            np.array(values, object), np.zeros(len(values), int), np.zeros(len(values)), [True] * len(values)
        )
    except UserError:
        return
    kept = len(np.unique(np.asarray(data.observations, np.float32)))
    assert kept == len(set(values)) or any("float32" in note for note in data.notes)


def test_names_may_not_be_missing_or_rounded():
    for values in (
        np.array([1.0, np.nan]),
        np.array(["a", "NA"]),
        np.array(["a", None], object),
        np.ma.masked_array([1, 2], [0, 1]),
        np.array(["2024-01-01", "NaT"], "M8[D]"),
    ):
        assert named(values, "column 'u'") == (
            "column 'u' has no value, or a mark such as 'NA' (row 1); mend or drop these rows."
        )
    assert "names as float32 numbers of 16777216 or more" in str(named(np.array([1, 2**24], np.float32), "column 'u'"))
    assert named(np.array([1, 2**24]), "column 'u'") is None
    assert named(np.array([1.0, 2**24]), "column 'u'") is None


def test_far_values():
    values = np.random.default_rng(0).normal(size=(500, 2))
    assert far(values) == []
    values[7, 1] = 1000
    ((place, low, high, rows),) = far(values)
    assert (place, np.flatnonzero(rows).tolist()) == (1, [7])
    assert -2 < low < -1 < 1 < high < 2
    doses = np.zeros((500, 1))
    doses[:40, 0] = np.arange(40)
    assert far(doses) == []
    assert far(np.random.default_rng(0).laplace(size=(100_000, 1))) == []


def test_scattered_numbers_are_names():
    assert scattered(np.array([10, 20, 31, 47]))
    assert scattered(np.array([10**9, 10**9 + 7]))
    assert scattered(np.array([-1, 0, 1]))
    assert not scattered(np.array([0, 17]))
    assert not scattered(np.arange(1000))
