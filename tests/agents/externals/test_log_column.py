"""Columns of the log itself as policies."""

import numpy as np
import pytest
from asked import chances, probabilities

import weft
from weft.core.errors import UserError

COUNT = 40


def log(discrete: bool = True, **changes) -> weft.Dataset:
    """Return single decisions with columns that say what another policy does."""
    random = np.random.default_rng(0)
    code, chance = random.integers(0, 2, COUNT), random.uniform(0.1, 0.9, COUNT)
    columns = {
        "x": random.normal(size=COUNT), "action": code if discrete else random.normal(size=COUNT),
        "reward": random.integers(0, 2, COUNT), "p": np.full(COUNT, 0.5),
        "new": np.where(code == 1, chance, 1 - chance),
        "pi_0": 1 - chance, "pi_1": chance, "word": ["a"] * COUNT,
    } | changes  # fmt: skip
    return weft.load(columns, observations="x", action="action", reward="reward", propensity="p")


def test_the_probability_of_the_logged_action_is_enough_for_weights():
    data = log()
    assert np.allclose(chances("column:new", data), data.columns["new"], atol=1e-6)
    found = weft.estimate("column:new", data, "per_decision", "normal")
    assert found.value == pytest.approx((2 * data.columns["new"] * data.rewards).mean(), rel=1e-5)
    assert any("Nobody knows what the column 'new' was trained on" in one for one in found.warnings)


@pytest.mark.parametrize("method", [name for name, kind in __import__("weft.evaluation.estimator", fromlist=["x"])
                                    .estimators().items() if kind.fits])  # fmt: skip
def test_what_fits_values_says_that_more_is_needed(method):
    with pytest.raises(
        UserError, match="fits values, for which it must know what the policy would do at every observation"
    ):
        weft.estimate("column:new", log(), method, "bootstrap")


def test_other_doors_that_fit_values_say_so_and_certify_does_not_need_them(tmp_path):
    data = log().declare(reward_low=(0.0,), reward_high=(1.0,), horizon=1)
    for judge in (weft.answer, weft.diagnose):
        with pytest.raises(UserError, match="fits values"):
            judge("column:new", data)
    decision = weft.certify("column:new", data, ledger=tmp_path)
    assert decision.tier in (1, 3)
    assert any("the column 'new'" in one for one in decision.assumptions)


def test_a_column_for_each_choice_is_a_whole_policy():
    data = log()
    wanted = np.stack([data.columns["pi_0"], data.columns["pi_1"]], 1)
    assert np.allclose(probabilities("column:pi_*", data), wanted, atol=1e-6)


def test_a_density_may_be_above_one():
    data = log(discrete=False, new=np.full(COUNT, 2.5))
    assert np.allclose(chances("column:new", data), 2.5)


@pytest.mark.parametrize(
    ("source", "changes", "sentence"),
    [
        ("column:nwe", {}, "has no column 'nwe'. Did you mean 'new'"),
        ("column:", {}, "needs the name of a column"),
        ("column:word", {}, "column 'word' holds words"),
        ("column:zz*", {}, "has no column that matches 'zz\\*'"),
        ("column:new", {"new": np.full(COUNT, 1.5)}, "step 0: 1.5 is no probability between 0 and 1"),
        ("column:new", {"new": np.full(COUNT, -0.5)}, "step 0: -0.5 is no probability between 0 and 1"),
        ("column:pi_*", {"pi_0": np.full(COUNT, 0.9)}, "step 0: the probabilities sum to"),
        ("column:pi_*", {"pi_x": np.zeros(COUNT)}, "column 'pi_x' matches 'pi_\\*' and belongs to no choice"),
    ],
)
def test_what_is_wrong_is_one_sentence(source, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        chances(source, log(**changes))
