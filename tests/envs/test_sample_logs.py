"""Samples by name."""

import pytest

from weft.core.errors import UserError
from weft.data.load import load
from weft.envs.sample_logs import Sample


def test_a_sample_is_loaded_by_name_and_seed():
    data = load("sample:maze", episodes=6, seed=3)
    assert data.episodes == 6
    assert data.origin == "sample:maze"
    assert data.log_propensities is not None
    assert load("sample:maze", episodes=6, seed=3).fingerprint == data.fingerprint
    assert load("sample:maze", episodes=6, seed=4).fingerprint != data.fingerprint


def test_a_sample_has_its_own_number_of_episodes():
    assert load("sample:stitch").episodes == 300


def test_declared_facts_win():
    assert load("sample:grid", episodes=3, discount=0.9).spec.discount == 0.9


def test_unknown_samples_and_options_are_refused():
    with pytest.raises(UserError, match="Did you mean 'maze'"):
        load("sample:mase")
    with pytest.raises(UserError, match="at least one episode"):
        load("sample:maze", episodes=0)
    with pytest.raises(UserError, match="no option 'sed'"):
        load("sample:maze", sed=1)


def test_the_options():
    assert Sample.options()[:2] == ("seed", "episodes")


def test_fields_of_the_world_are_options():
    assert load("sample:grid", episodes=2, steps=3).spec.horizon == 3
    assert load("sample:maze", episodes=3, pace=1).fingerprint != load("sample:maze", episodes=3).fingerprint
    with pytest.raises(UserError, match=r"this world has no 'pace'\. Known: steps"):
        load("sample:grid", pace=1.0)
    with pytest.raises(UserError, match=r"steps is of the type int, got 2\.5"):
        load("sample:grid", steps=2.5)
