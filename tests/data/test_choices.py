"""Choices and numbers told apart: declared counts, whole floats, labels, names that are numbers, far values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft import Dataset, UserError
from weft.data.summary import inspect

COUNT = 60
CHOICES = np.arange(COUNT) % 3


def log(actions, **options) -> Dataset:
    return Dataset.from_arrays(np.random.default_rng(0).normal(size=(len(actions), 2)), actions,
                               np.arange(float(len(actions))), np.ones(len(actions), bool), **options)  # fmt: skip


def sentence(actions, **options) -> str:
    with pytest.raises(UserError) as caught:
        log(actions, **options)
    return str(caught.value).removeprefix("arrays: ")


@pytest.mark.parametrize("form", [lambda a: a, lambda a: a[:, None], lambda a: a.astype(object), lambda a: a.tolist()])
@pytest.mark.parametrize("options", [{"action_count": 3}, {"action_labels": ("a", "b", "c")}])
def test_whole_floats_with_a_declared_count_are_choices(form, options):
    data = log(form(CHOICES.astype(float)), **options)
    assert (data.spec.action.kind, data.spec.action.counts) == ("discrete", (3,))
    assert data.actions.tolist() == CHOICES.tolist()
    assert data.notes == ()


def test_whole_floats_without_one_are_continuous_and_noted():
    data = log(CHOICES.astype(float))
    assert data.spec.action.kind == "continuous"
    assert "whole numbers written as fractions; they count as continuous actions" in data.notes[0]


def test_fractions_with_a_count_and_bad_counts_are_refused():
    assert sentence(CHOICES + 0.5, action_count=3).startswith("column 'actions' holds fractions (60 rows, first 0, 1")
    for bad in (0, -1, 2.5, "3", 2**40, ()):
        assert "the number of choices must be a whole number from 1 to" in sentence(CHOICES, action_count=bad)
    assert "give one of them" in sentence(CHOICES, action_count=4, action_labels=("a", "b", "c"))
    assert "give one of them" in sentence(CHOICES, action_count=3, action_bounds=(0, 2))
    assert "pass all of them as action_labels" in sentence(["a", "b"] * 30, action_count=3)
    assert "has 2 columns" in sentence(np.zeros((4, 2), int), action_count=3)


def test_whole_numbers_with_bounds_are_continuous():
    data = log(CHOICES, action_bounds=(0, 2))
    assert (data.spec.action.kind, data.spec.action.low, data.spec.action.high) == ("continuous", (0.0,), (2.0,))
    assert "words, which have no bounds" in sentence(["a", "b"] * 30, action_bounds=(0, 2))


@pytest.mark.parametrize(
    "names",
    [(10, 20, 31, 47), (1_000_000_001, 1_000_000_017), (3_000_000_000, 3_000_000_007), (2**63, 2**63 + 5), (5, 10, 20)],
)
def test_whole_numbers_that_are_names_get_codes_and_labels(names):
    given = np.array(names)[np.arange(COUNT) % len(names)]
    data = log(given)
    assert data.spec.action.counts == (len(names),)
    assert data.spec.action.labels == tuple(str(each) for each in names)
    assert [int(data.spec.action.labels[code]) for code in data.actions] == given.tolist()
    assert f"from {names[0]} to {names[-1]}; they are labels of choices" in data.notes[0]
    assert sum(inspect(data).action_counts) == COUNT


def test_whole_numbers_of_20_digits_are_labels():
    data = log(np.array([10**20 + int(choice) for choice in CHOICES], object))
    assert data.spec.action.labels == tuple(str(10**20 + choice) for choice in range(3))


def test_small_gaps_stay_choices_and_are_noted():
    data = log(CHOICES + 1)
    assert (data.spec.action.counts, data.spec.action.labels) == ((4,), ())
    assert data.notes[0].startswith("Column 'actions' never holds 0; all whole numbers from 0 to 3 count as choices.")
    assert log(CHOICES, action_count=7).notes == ()


def test_several_choices_with_counts():
    data = log(np.stack([CHOICES, CHOICES % 2], 1).astype(float), action_count=(4, 2))
    assert (data.spec.action.kind, data.spec.action.counts) == ("multidiscrete", (4, 2))
    assert "choices out of (2, 2)" in sentence(np.stack([CHOICES, CHOICES], 1), action_count=(2, 2))
    assert "there may be" in sentence(np.full((4, 2), 10**9))
    assert any("up to 100, which all count" in note for note in log(np.stack([CHOICES, CHOICES * 50], 1)).notes)


def test_labels_that_may_be_missing_values():
    assert sentence(["1", "NA", "2", "3"]).startswith("column 'actions' has no value, but 'NA', in some rows (row 1)")
    data = log(["go", "None", "stop"])
    assert data.spec.action.labels == ("None", "go", "stop")
    assert "'None' (row 1), which may mean that there is no value" in data.notes[0]
    assert log(np.array([[b"go"], [b"no"]])).spec.action.labels == ("go", "no")


def test_one_wild_action_is_noted_with_its_row():
    actions = 0.5 * np.tanh(np.random.default_rng(1).normal(size=(2000, 1)))
    actions[7] = 1000
    (note,) = log(actions).notes
    assert note.startswith("Action 0 ranges from -0.4992 to 1000, most of it from -0.4")
    assert "(row 7)" in note
    assert log(actions, action_bounds=(-1, 1000)).notes == ()
    assert log(np.delete(actions, 7, 0)).notes == ()


def test_bounds_of_small_units_are_as_strict_as_those_of_large_ones():
    assert "outside its bounds" in sentence(np.array([[1e-7], [5e-7]]), action_bounds=(-2e-7, 2e-7))
    log(np.array([[1.0 + 5e-7]]), action_bounds=(-1, 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=20))
def test_any_whole_numbers_come_back_by_label_or_code(values):
    data = log(np.array(values))
    labels = data.spec.action.labels or [str(code) for code in range(data.spec.action.counts[0])]
    assert [int(labels[code]) for code in data.actions] == values
    assert data.spec.action.counts[0] <= max(20, 4 * len(set(values)))
