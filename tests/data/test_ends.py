"""Flags of other formats: taken for what they mean, or refused by name; never passed over."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft import Dataset, UserError
from weft.data.load import load

COUNT = 30
ENDS = np.arange(COUNT) % 10 == 9
OVER = np.arange(COUNT) == 9


def arrays(**changes):
    rng = np.random.default_rng(0)
    parts = {
        "observations": rng.normal(size=(COUNT, 3)),
        "actions": rng.integers(0, 3, COUNT),
        "rewards": np.arange(float(COUNT)),
        "terminals": OVER,
        **changes,
    }
    return {key: value for key, value in parts.items() if value is not None}


def read(**changes) -> Dataset:
    return load(arrays(**changes))


def sentence(**changes) -> str:
    with pytest.raises(UserError) as caught:
        read(**changes)
    return str(caught.value)


def shape(data: Dataset) -> tuple:
    return data.episodes, int(data.terminals.sum()), int(data.timeouts.sum())


@pytest.mark.parametrize("name", ["episode_terminals", "dones", "dones_float", "is_last", "Dones"])
@pytest.mark.parametrize("form", [lambda f: f, lambda f: f.astype("f4"), lambda f: f[:, None]])
def test_ends_of_either_kind_complete_the_terminals(name, form):
    data = read(**{name: form(ENDS)})
    assert shape(data) == (3, 1, 2)
    assert data.lengths.tolist() == [10, 9, 9]  # the last observation of a cut episode is no step
    assert any(f"'{name}'" in note for note in data.notes)


@pytest.mark.parametrize("name", ["is_first", "episode_starts"])
def test_begins(name):
    assert shape(read(**{name: np.roll(ENDS, 1)})) == (3, 1, 2)
    assert f"'{name}'" in sentence(**{name: ENDS})


@pytest.mark.parametrize("name", ["truncations", "truncated"])
def test_cuts_are_timeouts(name):
    assert shape(read(**{name: ENDS & ~OVER})) == (3, 1, 2)
    assert f"the array '{name}' and the arrays terminals and timeouts differ" in sentence(
        **{name: ENDS & ~OVER, "timeouts": np.zeros(COUNT, bool)}
    )


def test_numbers_of_rows_and_lengths():
    assert shape(read(episode_ends=np.array([10, 20, 30]))) == (3, 1, 2)
    assert shape(read(episode_lengths=np.array([10, 10, 10]))) == (3, 1, 2)
    assert "'episode_ends' seems to say where episodes end" in sentence(episode_ends=np.array([10, 20, 29]))


@pytest.mark.parametrize("name", ["masks", "discounts", "not_dones"])
def test_zeros_of_masks_are_the_ends_of_the_task(name):
    data = read(**{"terminals": ENDS, name: (~OVER).astype("f4")}, next_observations=np.zeros((COUNT, 3)))
    assert shape(data) == (3, 1, 2)
    assert any(f"'{name}'" in note for note in data.notes)
    same = read(**{"terminals": ENDS, name: (~ENDS).astype("f4")})
    assert (shape(same), same.notes) == ((3, 3, 0), ())


def test_zeros_inside_an_episode_are_refused_unless_kept():
    solved = np.isin(np.arange(COUNT), (8, 9, 14))
    said = sentence(terminals=ENDS, masks=~solved)
    assert said.startswith("the arrays: column 'masks' is true inside an episode (2 rows, first 8, 14)")
    data = load(arrays(terminals=ENDS, masks=~solved), terminal_inside="keep")
    assert (data.episodes, int(data.terminals.sum())) == (3, 3)


def test_masks_of_choices_are_something_else():
    data = read(masks=np.ones((COUNT, 3)))
    assert data.notes[0] == "The array 'masks' does not have one entry a step; it is left out."


def test_discounts_that_are_never_0_are_noted():
    data = read(discount=np.full(COUNT, 0.99))
    assert "The array 'discount' is nowhere 0; 'terminals' alone say where the task ends." in data.notes


def compact(**changes):
    """Six trajectories of four steps, and the last observation of each."""
    valid = np.tile([1, 1, 1, 1, 0], 6)
    return {"terminals": np.tile([0, 0, 0, 1, 1], 6), "valids": valid, "user": np.repeat(np.arange(6), 5), **changes}


def test_rows_without_a_step_are_last_observations():
    data = read(**compact())
    assert data.lengths.tolist() == [4] * 6
    assert shape(data) == (6, 0, 6)
    seen = arrays()["observations"].astype(np.float32)
    np.testing.assert_array_equal(data.episode(1).observations, seen[5:10])
    assert data.columns["user"].tolist() == np.repeat(np.arange(6), 4).tolist()
    assert len(data.store_observations) == COUNT
    solved = read(**compact(masks=np.arange(COUNT) != 3))
    assert shape(solved) == (6, 1, 5)


def test_rows_are_counted_as_in_the_file():
    rewards = np.arange(float(COUNT))
    rewards[6] = np.nan
    assert "(row 6)" in sentence(**compact(rewards=rewards))


@pytest.mark.parametrize(
    "changes",
    [
        {"valids": np.arange(COUNT) % 7 > 0},
        compact(timeouts=np.zeros(COUNT, bool)),
        {"dones": np.zeros(COUNT, bool)},
        {"dones": np.arange(COUNT)},
        {"dones": np.zeros(7, bool)},
        {"episode_terminals": ENDS, "timeouts": np.zeros(COUNT, bool)},
        {"terminated": ENDS},
        {"masks": np.full(COUNT, 0.5)},
        {"masks": ~ENDS, "timeouts": np.zeros(COUNT, bool)},
        {"is_last": np.full(COUNT, np.nan)},
    ],
)
def test_what_is_not_understood_is_refused_by_name(changes):
    assert any(f"'{name}'" in sentence(**changes) for name in changes)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_flags_say_is_followed_or_refused(draw):
    flags = st.lists(st.booleans(), min_size=6, max_size=6).map(np.array)
    name = draw.draw(st.sampled_from(["dones", "episode_terminals", "is_last", "truncations", "terminated", "masks"]))
    given_flags, terminals = draw.draw(flags), draw.draw(flags)
    parts = {"observations": np.arange(6.0), "next_observations": np.arange(6.0) + 1, "actions": np.arange(6) % 2}
    parts |= {"rewards": np.zeros(6), "terminals": terminals, name: given_flags}
    try:
        data = load(parts)
    except UserError:
        return
    over = ~given_flags if name == "masks" else terminals
    last = {"truncations": terminals | given_flags, "masks": terminals, "terminated": terminals}.get(name, given_flags)
    last = last | (np.arange(6) == 5)
    assert data.terminals.tolist() == over.tolist()
    assert (data.terminals | data.timeouts).tolist() == last.tolist()
    assert data.episodes == last.sum()
