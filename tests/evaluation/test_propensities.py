"""Estimated propensities: against the true ones, and what they refuse."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm

from weft.core.errors import UserError
from weft.data.concatenation import concatenate
from weft.data.dataset import Dataset
from weft.evaluation.propensities import ASSUMPTION, calibrate, estimate_propensities


def flat(seen, actions, episodes, **options):
    size = len(actions)
    ends = np.arange(size) % (size // episodes) == size // episodes - 1
    return Dataset.from_arrays(seen, actions, np.zeros(size), ends, **options)


def chosen(size=4000, seed=0, strength=1.5, category=False):
    """Return a log of three choices, and the true log-probability of what was chosen."""
    random = np.random.default_rng(seed)
    if category:
        seen = random.integers(4, size=size)
        table = random.dirichlet(np.ones(3), 4)
        chance = table[seen]
    else:
        seen = random.normal(size=(size, 2)).astype(np.float32)
        score = strength * np.stack([seen[:, 0], np.sin(2 * seen[:, 1]), np.zeros(size)], 1)
        chance = np.exp(score) / np.exp(score).sum(1, keepdims=True)
    actions = (random.random((size, 1)) > chance.cumsum(1)[:, :2]).sum(1)
    options = {"kinds": {"": "category"}} if category else {}
    data = flat(seen, actions, size // 5, action_count=3, **options)
    return data, np.log(chance[np.arange(size), actions])


@pytest.mark.parametrize("category", [False, True])
def test_probabilities_of_choices_come_near_the_true_ones(category):
    data, true = chosen(category=category)
    found = estimate_propensities(data)
    assert found.propensities_estimated
    assert not data.propensities_estimated
    assert found.log_propensities is not None
    assert any(ASSUMPTION in note for note in found.notes)
    error = np.exp(found.log_propensities) - np.exp(true)
    assert np.sqrt((error**2).mean()) < 0.06
    assert np.exp(true - found.log_propensities).mean() == pytest.approx(1.0, abs=0.03)


def test_densities_come_near_the_true_ones_where_deviations_vary():
    random = np.random.default_rng(0)
    seen = random.normal(size=(5000, 2)).astype(np.float32)
    mean, width = np.stack([seen[:, 0], np.tanh(seen[:, 1])], 1), np.exp(0.4 * seen[:, :1])
    actions = mean + width * random.normal(size=(5000, 2))
    found = estimate_propensities(flat(seen, actions.astype(np.float32), 1000))
    true = norm.logpdf(actions, mean, width).sum(1)
    assert found.log_propensities is not None
    assert np.abs(found.log_propensities - true).mean() < 0.15
    assert true.mean() - found.log_propensities.mean() < 0.03


def test_a_coin_needs_no_observation():
    random = np.random.default_rng(1)
    data = flat(random.normal(size=(600, 3)), random.integers(2, size=600), 120)
    found = estimate_propensities(data)
    assert any("does not help" in note for note in found.notes)
    assert found.log_propensities is not None
    np.testing.assert_allclose(np.exp(found.log_propensities), 0.5, atol=0.06)


def test_held_out_units_judge_the_model():
    data, true = chosen()
    checked = calibrate(data)
    assert checked.z > 10
    assert checked.likelihood == pytest.approx(true.mean(), abs=0.03)
    assert checked.gap < 0.03
    assert len(list(checked.lines())) == 11


def test_what_a_gaussian_cannot_hold_is_refused():
    random = np.random.default_rng(2)
    seen = random.normal(size=(2000, 1)).astype(np.float32)
    actions = np.sign(random.normal(size=(2000, 1))) + 0.05 * random.normal(size=(2000, 1))
    with pytest.raises(UserError, match=r"cannot be estimated well: where 0\.10 is promised"):
        estimate_propensities(flat(seen, actions.astype(np.float32), 400))


def test_rare_choices_are_raised_and_counted():
    random = np.random.default_rng(3)
    seen = random.normal(size=(5000, 1)).astype(np.float32)
    actions = (seen[:, 0] > 0).astype(int)
    actions[np.argsort(seen[:, 0])[-2:]] = 0
    found = estimate_propensities(flat(seen, actions, 1000))
    assert found.log_propensities is not None
    assert np.exp(found.log_propensities).min() == pytest.approx(1e-3, rel=1e-4)
    assert any("2 of 5000 logged choices" in note for note in found.notes)


def test_units_are_held_out_whole():
    """A unit's own way of acting must not be learned from its other steps."""
    random = np.random.default_rng(4)
    user = np.repeat(np.arange(60), 20)
    seen = np.eye(60, dtype=np.float32)[user]
    actions = random.integers(2, size=60)[user]
    options = {"columns": {"user": user}, "unit": "user"}
    assert calibrate(flat(seen, actions, 240, **options)).likelihood < -0.6
    assert calibrate(flat(seen, actions, 240)).likelihood > -0.3


def test_views_flags_and_joins():
    data, _ = chosen(500)
    part = data.select(np.arange(50))
    found = estimate_propensities(part)
    assert found.log_propensities is not None
    assert len(found.log_propensities) == part.steps
    assert found.select(np.arange(3)).propensities_estimated
    logged = dataclasses.replace(data, store_log_propensities=np.zeros(data.steps, np.float32))
    assert concatenate([found, logged]).propensities_estimated
    assert not concatenate([logged, logged]).propensities_estimated
    with pytest.raises(UserError, match="estimated propensities already"):
        estimate_propensities(found)
    with pytest.raises(UserError, match="logged propensities already"):
        estimate_propensities(logged)
    np.testing.assert_array_equal(found.log_propensities, estimate_propensities(part).log_propensities)


def test_what_cannot_be_estimated_is_refused():
    data, _ = chosen(100)
    with pytest.raises(UserError, match="20 units"):
        estimate_propensities(data, folds=21)
    several = flat(np.ones((20, 1)), np.ones((20, 2), int), 5)
    with pytest.raises(UserError, match="several choices"):
        estimate_propensities(several)
    images = flat(np.zeros((20, 4, 4, 1), np.uint8), np.arange(20) % 2, 5, kinds={"": "image"})
    with pytest.raises(UserError, match="is image"):
        estimate_propensities(images)
