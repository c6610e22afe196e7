"""Tables of probabilities by decision: found by their ids, checked row by row."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from asked import chances, probabilities
from hypothesis import given
from hypothesis import strategies as st

import weft
from weft.core.errors import UserError

COUNT = 40
LABELS = ("no", "yes", "maybe")


def log(episodes: bool = False, **options) -> weft.Dataset:
    """Return decisions with ids: single ones, or ten episodes of four steps."""
    random = np.random.default_rng(0)
    number = np.arange(COUNT)
    columns = {
        "id": [f"d{one}" for one in number], "user": number // 4, "t": number % 4, "x": random.normal(size=COUNT),
        "action": np.array(LABELS)[np.append(np.arange(3), random.integers(0, 3, COUNT - 3))],
        "reward": random.integers(0, 2, COUNT), "p": np.full(COUNT, 1 / 3),
    }  # fmt: skip
    roles = {"observations": "x", "action": "action", "reward": "reward", "propensity": "p", **options}
    return weft.load(columns, **roles, **({"episode": "user", "time": "t"} if episodes else {}))


def table(**changes) -> dict:
    """Return a probability of each choice for each decision, another in every row."""
    chance = np.random.default_rng(1).dirichlet(np.ones(3), COUNT)
    columns = {
        "id": [f"d{one}" for one in range(COUNT)],
        **{f"p_{name}": chance[:, k] for k, name in enumerate(LABELS)},
    }
    return {name: column for name, column in {**columns, **changes}.items() if column is not None}


def expected(data) -> np.ndarray:
    """Return what the table says, with the choices in the order of the log's codes."""
    return np.stack([table()[f"p_{label}"] for label in data.spec.action.labels], 1)


@pytest.mark.parametrize("kind", ["polars", "pandas", "csv", "parquet"])
def test_rows_are_found_by_id_in_any_order_and_form(kind, tmp_path):
    frame = pl.DataFrame(table()).sample(fraction=1.0, shuffle=True, seed=3)
    source = {"polars": frame, "pandas": pd.DataFrame(frame.to_dict(as_series=False))}.get(kind)
    if source is None:
        source = str(tmp_path / f"table.{kind}")
        frame.write_csv(source) if kind == "csv" else frame.write_parquet(source)
    data = log()
    assert np.allclose(probabilities(source, data), expected(data), atol=1e-6)


def test_several_columns_may_name_a_decision():
    number = np.arange(COUNT)
    frame = pl.DataFrame(table(id=None, user=number // 4, t=number % 4))
    data = log(episodes=True)
    assert np.allclose(probabilities(frame, data), expected(data), atol=1e-6)


def test_a_file_may_say_which_columns_name_a_decision(tmp_path):
    path = tmp_path / "table.csv"
    pl.DataFrame(table(x=np.zeros(COUNT))).write_csv(path)  # a column of the log that names nothing
    with pytest.raises(UserError, match="has no row for decision d0, "):
        probabilities(str(path), log())
    assert np.allclose(probabilities(f"{path}:id", log()), expected(log()), atol=1e-6)
    with pytest.raises(UserError, match=r"has no column 'ix' to know decisions by"):
        probabilities(f"{path}:ix", log())


def test_a_view_needs_the_rows_of_its_own_decisions_only():
    frame, data = pl.DataFrame(table())[:20], log()
    assert np.allclose(probabilities(frame, data.select(np.arange(15))), expected(data)[:15], atol=1e-6)
    remarks = weft.external_policy(frame).remarks(data.select(np.arange(15)))
    assert list(remarks) == [
        "5 rows of the DataFrame are about none of the decisions that are judged; they are not used."
    ]


def changed(place: int, name: str, value) -> dict:
    """Return the table with one other value."""
    column = list(table()[name])
    column[place] = value
    return table(**{name: column})


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (changed(3, "id", "d9"), r"row 9 \(decision d9\): row 3 is about the same decision; one row each is needed"),
        (changed(3, "id", "e3"), r"has no row for decision d3 of the dict \(step 3, by id\)"),
        (changed(3, "id", None), r"row 3: the id of the decision is missing \(id\)"),
        (changed(5, "p_yes", -0.5), r"row 5 \(decision d5\): a probability is negative \(-0\.5\)"),
        (changed(5, "p_yes", 1.5), r"row 5 \(decision d5\): the probabilities sum to .* and not to 1"),
        (changed(5, "p_yes", None), r"row 5 \(decision d5\): a probability is missing or not finite"),
        (changed(5, "p_yes", float("inf")), r"row 5 \(decision d5\): a probability is missing or not finite"),
        (table(p_yes=["much"] * COUNT), r"column 'p_yes' holds String values"),
        (table(p_yes=None, p_never=table()["p_yes"]), r"row 0 \(decision d0\): 'never' has a prob.*no choice"),
        (table(id=None, number=list(range(COUNT))), r"has no column that the dict has, too"),
        (table(p_no=None, p_yes=None, p_maybe=None), r"has no column for any of the log's choices"),
        (table(**{f"q_{name}": table()[f"p_{name}"] for name in LABELS}), r"that begin with 'p_' and 'q_' may"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_with_row_and_id(columns, sentence):
    with pytest.raises(UserError, match=rf"The DataFrame.*{sentence}"):
        probabilities(pl.DataFrame(columns), log())


def test_a_choice_that_the_log_never_made_has_no_support():
    data = log(action_labels=(*LABELS, "never"))
    chance = np.full(COUNT, 0.25)
    frame = pl.DataFrame(table(**{f"p_{name}": chance for name in (*LABELS, "never")}))
    with pytest.raises(
        UserError, match=r"row 0 \(decision d0\): the choice 'never' has a probability of 0.25, and no dec"
    ):
        probabilities(frame, data)
    assert np.allclose(probabilities(frame, data.declare(propensity_low=0.05)), 0.25)  # every choice had a chance
    none = pl.DataFrame(table(p_never=np.zeros(COUNT)))
    assert np.allclose(probabilities(none, data)[:, data.spec.action.labels.index("never")], 0.0)


def test_ids_that_name_several_decisions_are_refused():
    frame = pl.DataFrame(table(id=None, user=np.arange(COUNT)))
    with pytest.raises(UserError, match=r"steps 0 and 1 have the same user \(0\), which therefore names no single dec"):
        probabilities(frame, log())


def test_behind_a_cut_nobody_knows_so_values_cannot_be_fitted():
    data, frame = log(episodes=True, ends="timeout"), pl.DataFrame(table())
    # the last row of a cut episode is no decision but its last observation
    rows = np.flatnonzero(np.arange(COUNT) % 4 < 3)
    assert np.allclose(chances(frame, data), expected(data)[rows, data.actions])
    with pytest.raises(
        UserError, match=r"'Doubly robust' fits values.*says nothing of what the policy would do at the l"
    ):
        weft.estimate(frame, data)
    weighed = weft.estimate(frame, data, "per_decision", "normal", discount=1.0)
    assert np.isfinite(weighed.value)


def test_the_estimate_is_that_of_the_function_of_the_same_probabilities():
    data, frame = log(), pl.DataFrame(table())
    here = weft.estimate(lambda _: expected(data), data, "per_decision", "normal")
    assert weft.estimate(frame, data, "per_decision", "normal").value == pytest.approx(here.value, rel=1e-6)
    weights = expected(data)[np.arange(COUNT), data.actions] * 3
    assert here.value == pytest.approx((weights * data.rewards).mean(), rel=1e-5)


@given(st.permutations(range(COUNT)), st.integers(0, COUNT - 1), st.floats(-1, 1, allow_nan=False))
def test_any_order_is_read_alike_and_any_other_sum_refused(order, place, more):
    data, frame = log(), pl.DataFrame(table())[list(order)]
    assert np.allclose(probabilities(frame, data), expected(data), atol=1e-6)
    if abs(more) > 1e-2:
        column = frame["p_no"].to_list()
        column[place] += more
        with pytest.raises(UserError, match=rf"row {place} "):
            probabilities(frame.with_columns(p_no=pl.Series(column)), data)
