"""Tables: columns by pattern, episodes, ends, categories, and every wrong cell with its column and row."""

import itertools
import time

import numpy as np
import pandas
import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tables import PARTS, csv, frame, sentence

from weft import UserError
from weft.data.columns import Ragged
from weft.data.load import load
from weft.data.summary import inspect

EPISODES = {**PARTS, "episode": "e", "time": "t"}


def test_without_episodes_each_row_is_a_terminal_decision():
    data = load(frame(), **PARTS)
    assert (data.steps, data.episodes, data.terminals.all(), data.timeouts.any()) == (6, 6, True, False)
    assert data.observations.tolist() == [[11, 1], [10, 0], [20, 0], [21, 1], [22, 2], [12, 2]]
    assert data.spec.action.counts == (3,)


def test_episodes_are_gathered_and_sorted_by_time():
    data = load(frame(), **EPISODES, terminal="end")
    assert data.lengths.tolist() == [3, 3]
    assert data.observations[:, 0].tolist() == [10, 11, 12, 20, 21, 22]
    assert data.rewards.tolist() == [0, 0.5, 1.5, 1, 2, 3]
    assert data.columns["e"].tolist() == ["b"] * 3 + ["a"] * 3
    assert data.terminals.tolist() == [False, False, True] * 2
    assert data.notes == ("6 rows were moved to bring episodes together and in order of time.",)


def test_equal_times_keep_their_order():
    data = load(frame(t=[1, 1, 1, 1, 1, 1]), **EPISODES, ends="terminal")
    assert data.rewards.tolist() == [0.5, 0, 1.5, 1, 2, 3]


def test_ends_terminal_and_timeout():
    ended = load(frame(), **EPISODES, ends="terminal")
    assert (ended.terminals.sum(), ended.timeouts.sum()) == (2, 0)
    cut = load(frame(), **EPISODES, ends="timeout")
    assert (cut.terminals.sum(), cut.timeouts.sum()) == (0, 2)
    assert cut.lengths.tolist() == [2, 2]
    assert cut.episode(0).observations[:, 0].tolist() == [10, 11, 12]
    known = load(frame(y0=[0.0] * 6, y1=[1] * 6), **EPISODES, ends="timeout", next_observations="y*")
    assert known.lengths.tolist() == [3, 3]
    assert known.next_observations[2].tolist() == [0, 1]


def test_ends_that_nobody_tells_are_terminals_and_a_note_says_so(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "user,ts,x1,x2,item,reward,click,p\n"
        "ann,2024-05-01T10:01:00,1.5,2,tea,0,1,0.5\n"
        "bob,2024-05-01T08:00:00,2.5,0,ale,0,0,0.25\n"
        "ann,2024-05-01T09:05:00,0.5,1,ale,0,0,0.5\n"
    )
    data = load(str(path), observations="x*", action="item", reward="click", episode="user", time="ts", propensity="p")
    assert (data.lengths.tolist(), data.terminals.tolist()) == ([2, 1], [False, True, True])
    assert data.observations[:, 0].tolist() == [0.5, 1.5, 2.5]
    assert data.notes[-1] == (
        "No column says how episodes end; each is taken to end in a terminal; pass terminal=COLUMN or ends='timeout' "
        "if they were cut."
    )
    assert any("How episodes end was not said" in warning for warning in inspect(data).warnings)
    told = load(frame(), **EPISODES, ends="terminal")
    assert told.fingerprint == load(frame(), **EPISODES).fingerprint
    assert not any("How episodes end" in text for text in (*told.notes, *inspect(told).warnings))


@pytest.mark.parametrize(
    "times",
    [
        ["10:01", "09:05", "08:00", "08:00:00.5", "23:59", "10:01:01"],
        ["2024-05-02", "2024-05-01T23:59", "2023-01-01", "2023-01-02 00:00:00.25", "2024-01-01", "2024-05-02T00:01"],
        [
            "2024-05-01T09:00:00Z",
            "2024-05-01T10:30:00+02:00",
            "2024-05-01T23:00+0300",
            "2024-05-01 20:00:00.000000001+00:00",
            "2024-05-01 20:00:00.000000002+00:00",
            "2024-05-01T09:00:01Z",
        ],
    ],
)
def test_words_that_are_iso_times_are_sorted_as_times(times):
    data = load(frame(t=times), **EPISODES, ends="terminal")
    assert data.rewards.tolist() == [0, 0.5, 1.5, 1, 2, 3]


def test_terminal_and_timeout_columns():
    data = load(
        frame(end=[0, 0, 0, 0, 1, 0], cut=["false", "False"] + ["false"] * 3 + ["true"], y0=[0.0] * 6, y1=[1] * 6),
        **EPISODES, terminal="end", timeout="cut", next_observations=["y0", "y1"],
    )  # fmt: skip
    assert data.terminals.tolist() == [False] * 5 + [True]
    assert data.timeouts.tolist() == [False, False, True, False, False, False]


def test_words_become_categories_kept_in_the_spec():
    data = load(
        frame(x2=["red", "blue", "red", "red", "green", "red"], a=["go", "no", "no", "go", "go", "no"]), **PARTS
    )
    assert set(data.observations) == {"numbers", "x2"}
    assert data.observations["x2"].tolist() == [2, 0, 2, 2, 1, 2]
    assert data.spec.observation("x2").categories == ("blue", "green", "red")
    assert data.spec.observation("x2").kind == "category"
    assert data.observations["numbers"].shape == (6, 2)
    assert data.spec.action.labels == ("go", "no")
    assert data.actions.tolist() == [0, 1, 1, 0, 0, 1]


def test_categories_are_shared_with_the_next_observation():
    table = frame(x0=["a", "b", "a", "a", "b", "b"], x1=None, y=["c", "b", "b", "c", "c", "c"])
    data = load(table, **PARTS, next_observations="y")
    assert data.spec.observation("x0").categories == ("a", "b", "c")
    assert data.next_observations["x0"].tolist() == [2, 1, 1, 2, 2, 2]


def test_numbers_can_be_called_categories():
    data = load(frame(), **PARTS, kinds={"x1": "category"})
    assert data.observations["x1"].tolist() == [1, 0, 0, 1, 2, 2]
    assert data.spec.observation("x1").kind == "category"
    assert data.observations["numbers"].shape == (6, 1)


def test_lists_of_tokens_and_fixed_lists():
    tokens = polars.Series("text", [[1], [2, 3], [], [4], [5], [6]], dtype=polars.List(polars.Int64))
    data = load(frame().with_columns(tokens), observations="text", action="a", reward="r")
    assert isinstance(data.store_observations, Ragged)
    assert data.spec.plain
    fixed = polars.Series("v", np.arange(12.0).reshape(6, 2), dtype=polars.Array(polars.Float32, 2))
    data = load(frame().with_columns(fixed), observations="v", action="v", reward="r")
    assert data.observations.tolist() == np.arange(12).reshape(6, 2).tolist()
    assert data.spec.action.kind == "continuous"


def test_kinds_of_actions():
    assert load(frame(a=[0.5] * 6), **PARTS).spec.action.kind == "continuous"
    assert load(frame(), **{**PARTS, "observations": "x0,x1", "action": "x*"}).spec.action.shape == (2,)
    assert load(frame(b=[1] * 6), **{**PARTS, "action": "a,b"}).spec.action.kind == "multidiscrete"
    whole = load(frame(), **PARTS, action_bounds=(0, 2)).spec.action
    assert (whole.kind, whole.low, whole.high) == ("continuous", (0.0,), (2.0,))


def test_several_rewards_are_named_components():
    data = load(frame(), observations="x*", action="a", reward=["r", "x0"])
    assert data.spec.rewards == ("r", "x0")
    assert data.rewards.shape == (6, 2)


def test_propensity_duration_source_and_unit():
    data = load(
        frame(p=[0.5] * 6, d=[1.0, 2, 3, 4, 5, 6], s=["x", "y"] * 3),
        **EPISODES, ends="terminal", propensity="p", duration="d", source="s", unit="e", horizon=3,
    )  # fmt: skip
    assert data.log_propensities == pytest.approx(np.log(0.5))
    assert data.durations.tolist() == [2, 1, 6, 3, 4, 5]
    assert data.sources is not None
    assert data.sources.tolist() == ["y", "x", "y", "x", "y", "x"]
    assert (data.spec.unit, data.spec.horizon) == ("e", 3)


def test_duration_from_time():
    data = load(frame(t=[2.0, 1.0, 1.0, 4.0, 9.0, 5.0]), **EPISODES, ends="terminal", duration="t")
    assert data.durations.tolist() == [1, 3, 3, 3, 5, 5]


@pytest.mark.parametrize("make", [frame, lambda: frame().to_dict(as_series=False), lambda: frame().lazy()])
def test_objects_in_memory_are_the_same_log(make):
    assert (
        load(make(), **EPISODES, ends="terminal").fingerprint == load(frame(), **EPISODES, ends="terminal").fingerprint
    )


def test_pandas():
    table = pandas.DataFrame(frame().to_dict(as_series=False))
    assert (
        load(table, **EPISODES, ends="terminal").fingerprint == load(frame(), **EPISODES, ends="terminal").fingerprint
    )
    table["x2"] = pandas.Categorical(["u", "v", "u", "u", "v", "u"])
    table["when"] = pandas.date_range("2024-01-01", periods=6, tz="Europe/Berlin")
    data = load(table, **PARTS, time="when")
    assert data.spec.observation("x2").categories == ("u", "v")
    table["r"] = pandas.array([1, None, 3, 4, 5, None], dtype="Int64")
    assert sentence(table, **PARTS) == (
        "the DataFrame: column 'r' has no value (2 rows, first 1, 5); mend or drop these rows."
    )


def test_zero_length_episode():
    found = sentence(frame(e=["b", "b", "a", "a", "c", "b"]), **EPISODES, ends="timeout")
    assert found == (
        "the DataFrame: an episode of zero length: its only row is a timeout without a next observation (row 4); give "
        "next observations, or drop the row."
    )


def test_mixed_types_in_memory():
    columns = frame().to_dict(as_series=False)
    assert sentence({**columns, "a": [0, "left", 1, 2, 0, 1]}, **PARTS) == (
        "the dict: column 'a' mixes text and numbers (row 1); make them all one type."
    )
    assert sentence({**columns, "a": [1]}, **PARTS) == "the dict: column 'a' has 1 rows, column 'e' has 6."
    assert sentence({**columns, "a": 1}, **PARTS) == "the dict: column 'a' is one value; give one a row."
    moment = frame().with_columns(x2=polars.date_range(polars.date(2024, 1, 1), polars.date(2024, 1, 6)))
    assert sentence(moment, **PARTS) == "the DataFrame: column 'x2' holds Date values; weft takes numbers and words."


def test_no_rows(tmp_path):
    path = csv(tmp_path, frame().head(0))
    assert sentence(path, **PARTS) == f"{path}: there are no steps; give a log with at least one."


def test_empty_and_foreign_files(tmp_path):
    empty = tmp_path / "log.csv"
    empty.touch()
    assert sentence(empty, **PARTS) == f"{empty}: the file is empty."
    foreign = tmp_path / "log.parquet"
    foreign.write_text("hello hello")
    assert sentence(foreign, **PARTS).startswith(f"{foreign}: the file cannot be read as Parquet (")


CELLS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
WORDS = st.text("uvwxyz", min_size=1, max_size=3)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(CELLS, CELLS, st.integers(0, 4), CELLS, st.sampled_from("abc"), WORDS),
        min_size=1, max_size=15,
    )
)  # fmt: skip
def test_random_tables_round_trip(rows, tmp_path):
    names = ["x0", "x1", "a", "r", "e", "word"]
    table = polars.DataFrame(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    table.write_csv(tmp_path / "log.csv")
    options = {"observations": "x*,word", "action": "a", "reward": "r", "episode": "e", "ends": "terminal"}
    read = [load(tmp_path / "log.csv", **options), load(table, **options)]
    assert read[0].fingerprint == read[1].fingerprint
    firsts = list(dict.fromkeys(row[4] for row in rows))
    expected = [row for name in firsts for row in rows if row[4] == name]
    for data in read:
        np.testing.assert_array_equal(data.observations["numbers"], np.array([row[:2] for row in expected], np.float32))
        words = data.spec.observation("word").categories
        assert [words[code] for code in data.observations["word"]] == [row[5] for row in expected]
        assert data.actions.tolist() == [row[2] for row in expected]
        np.testing.assert_array_equal(data.rewards, np.array([row[3] for row in expected], np.float32))
        assert data.lengths.tolist() == [sum(row[4] == name for row in rows) for name in firsts]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200))
def test_any_text_as_csv_is_a_log_or_a_user_error(text, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("x,a,r\n" + text, encoding="utf-8")
    try:
        load(path, observations="x", action="a", reward="r")
    except UserError as problem:
        assert str(path) in str(problem)  # noqa: PT017


def test_open_bandit(shared_data):
    data = load(
        shared_data / "open_bandit" / "men_random.csv",
        observations="user_feature_*,position",
        action="item_id",
        reward="click",
        propensity="propensity_score",
        time="timestamp",
    )
    assert (data.steps, data.episodes, data.spec.action.counts) == (10_000, 10_000, (34,))
    assert sorted(set(data.actions.tolist())) == list(range(34))
    assert data.rewards.mean() == pytest.approx(0.0046, abs=1e-6)
    assert data.log_propensities == pytest.approx(np.log(1 / 34))
    assert data.spec.observation("user_feature_0").kind == "category"
    assert data.terminals.all()
    assert "user-item_affinity_0" in data.columns


MARKS = ["NA", "nan", "NULL", "null", "None", "N/A", "?", "-", "#N/A"]


COLUMNS = ["x0", "a", "r", "e", "t", "end", "p", "u"]
STORED = ["csv", "parquet", "polars", "pandas", "dict"]


def cells() -> list[object]:
    """Return every mark in every column of every kind of table; in the fast tests the kinds of table take turns."""
    return [
        pytest.param(column, mark, stored, marks=() if number == place % len(STORED) else pytest.mark.slow)
        for place, (column, mark) in enumerate(itertools.product(COLUMNS, MARKS))
        for number, stored in enumerate(STORED)
    ]


@pytest.mark.parametrize(("column", "mark", "stored"), cells())
def test_a_mark_of_a_missing_value_is_refused_in_every_column(column, mark, stored, tmp_path):
    words = frame(p=[0.5] * 6, u=[1, 1, 2, 2, 2, 1]).with_columns(polars.col(column).cast(polars.String))
    words = words.with_columns(polars.Series(column, [mark if row == 4 else v for row, v in enumerate(words[column])]))
    table = {"polars": words, "dict": words.to_dict(as_series=False)}.get(stored)
    if stored == "csv":
        table = csv(tmp_path, words)
    elif stored == "parquet":
        table = tmp_path / "log.parquet"
        words.write_parquet(table)
    elif stored == "pandas":
        table = pandas.DataFrame(words.to_dict(as_series=False))
    said = sentence(table, **EPISODES, terminal="end", propensity="p", unit="u")
    assert f"column '{column}'" in said
    assert "(row 4)" in said


def test_slips_among_numbers_are_refused_unless_they_are_called_words(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("x,a,r\n" + "".join(f"{'<0.1' if row == 3 else row / 7},{row % 2},1\n" for row in range(9)))
    said = sentence(path, observations="x", action="a", reward="r")
    assert said == (
        f"{path}: column 'x' mixes numbers and words such as '<0.1' (row 3); mend or drop these rows, or pass "
        "kinds={'x': 'category'} (--kinds x=category) if they are words."
    )
    data = load(path, observations="x", action="a", reward="r", kinds={"x": "category"})
    assert data.spec.observation("x").count == 9


def test_numbers_written_as_text_are_numbers_in_a_csv_file_and_where_they_are_fractions(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("x,a,r\n 0.5, 1, 1\n 1.5, 0, 1e3\n")
    data = load(path, observations="x", action="a", reward="r")
    assert (data.observations.tolist(), data.actions.tolist(), data.rewards.tolist()) == (
        [[0.5], [1.5]],
        [1, 0],
        [1, 1000],
    )
    table = frame(
        x0=["0.5", "1.5", "1", "2", "3", "4"], x1=["1", "2", "1", "2", "1", "2"], r=["1", "2", "3", "4", "5", "6"]
    )
    data = load(table, **PARTS)
    assert data.observations["numbers"].ravel().tolist() == [0.5, 1.5, 1, 2, 3, 4]
    assert data.rewards.tolist() == [1, 2, 3, 4, 5, 6]
    assert data.spec.observation("x1").kind == "category"
    assert data.notes == (
        "Column 'x0' holds numbers written as text; they are read as numbers.",
        "Column 'x1' holds numbers written as text; they count as 2 words, not as numbers.",
    )


def test_globs_leave_out_what_is_no_observation():
    table = frame(x2=[0.5] * 6, x3=[1, 1, 2, 2, 2, 1], p=[0.5] * 6)
    data = load(table, **{**EPISODES, "observations": "*"}, terminal="end", propensity="p", unit="x3")
    assert data.observations.shape == (6, 3)
    assert data.notes[-1] == (
        "The observations are x0, x1, x2; columns with another part in the log are left out: e (episode), t (time), a "
        "(action), r (reward), end (terminal), x3 (unit), p (propensity). Name them in observations to have them."
    )
    named = load(table, **{**EPISODES, "observations": "x0,t"}, terminal="end")
    assert named.observations.shape == (6, 2)
    assert named.notes[-1] == "Column 't' is both time and observation."
    assert sentence(table, observations="a*", action="a", reward="r") == (
        "the DataFrame: 'a*' (observations) matches only columns with another part in the log: a."
    )
    assert "both action and reward" in sentence(table, observations="x0", action="a", reward="a")


def test_flags_that_nobody_names_are_noted():
    assert "Columns that may say how episodes end are not used: done." in load(frame(done=[1] * 6), **PARTS).notes
    seen = load(frame(done=[1] * 6), **{**PARTS, "observations": "*"})
    assert "Observations may say how episodes end: done." in seen.notes


def test_ids_of_any_length_name_episodes_and_choices(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("e,x,a,r\n" + "".join(f"{10**20 + row // 2},{row},{10**19 + row % 3},1\n" for row in range(6)))
    data = load(path, observations="x", action="a", reward="r", episode="e")
    assert (data.lengths.tolist(), data.spec.action.counts) == ([2, 2, 2], (3,))
    assert data.spec.action.labels == tuple(str(10**19 + choice) for choice in range(3))
    rounded = frame(e=None).with_columns(e=polars.Series([1e9] * 6, dtype=polars.Float32))
    assert "holds names as float32 numbers of 16777216 or more" in sentence(rounded, **EPISODES)
    gaps = frame(id=[2**60 + 1, 2**60 + 2, None, 1, 2, 3])
    assert load(gaps, **PARTS).columns["id"].tolist()[:3] == [str(2**60 + 1), str(2**60 + 2), ""]


def test_equal_times_are_noted():
    (note, *_) = load(frame(e=["a"] * 6, t=[1, 2, 2, 3, 3, 4]), **EPISODES, ends="terminal").notes
    assert note.startswith("Rows of one episode have equal times in column 't' (2 rows, first 2, 4)")


def test_lists_of_fractions_and_gaps_in_lists(tmp_path):
    path = tmp_path / "log.parquet"
    frame().with_columns(v=polars.Series([[0.5, 1.0]] * 6)).write_parquet(path)
    assert load(path, **{**PARTS, "observations": "v"}).observations.shape == (6, 2)
    for values in ([[0.5, None]] * 6, [[[1], [2, 3]]] * 6, [[0.5], [1.0, 2.0]] * 3, [["a"]] * 6):
        assert "column 'v'" in sentence(frame().with_columns(v=polars.Series(values)), **{**PARTS, "observations": "v"})
    block = polars.Series([[1.0, None]] * 6, dtype=polars.Array(polars.Float64, 2))
    assert "with gaps or words" in sentence(frame().with_columns(v=block), **{**PARTS, "observations": "v"})


def test_columns_of_one_name(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("x,x,a,r\n1,2,0,1\n")
    assert sentence(path, observations="x", action="a", reward="r") == (
        f"{path}: two columns have the name 'x'; rename one."
    )
    table = pandas.DataFrame([[1, 2]], columns=["1", 1])
    assert "two columns have the same name" in sentence(table, observations="1", action="1", reward="1")


def test_dense_numbers_that_are_called_categories_are_their_own_codes():
    data = load(frame(x1=[1, 3, 3, 1, 5, 5]), **PARTS, kinds={"x1": "category"})
    assert data.observations["x1"].tolist() == [1, 3, 3, 1, 5, 5]
    assert data.spec.observation("x1").categories == ("0", "1", "2", "3", "4", "5")
    far = load(frame(x1=[10**9, 7, 7, 7, 7, 10**9]), **PARTS, kinds={"x1": "category"})
    assert (far.observations["x1"].tolist(), far.spec.observation("x1").count) == ([1, 0, 0, 0, 0, 1], 2)


def test_wide_numbers_are_noted_by_the_name_of_their_column():
    data = load(frame(x1=[1_700_000_000 + row for row in range(6)]), **PARTS)
    assert data.notes[0].startswith("Column 'x1' has 6 different values, of which float32 keeps 1 apart")


def test_very_many_columns_are_soon_read(tmp_path):
    """Whatever is asked of every column must not look at all the others."""
    path = tmp_path / "log.csv"
    path.write_text(",".join(f"c{place}" for place in range(6000)) + "\n" + ",".join("1" * 6000) + "\n")
    begun = time.monotonic()
    assert load(path, observations="c*", action="c1", reward="c2").spec.observations[0].shape == (5998,)
    assert time.monotonic() - begun < 20  # a second; minutes where it does
