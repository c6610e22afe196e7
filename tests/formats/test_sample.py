"""Samples by name."""

import pytest

from weft.errors import UserError
from weft.formats.sample import Sample
from weft.load import load


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
