"""What `inspect` finds in logs whose contents are known, and the warnings it gives in plain words."""

import numpy as np
import pytest
from examples import robot_and_chatbot, small_log

from weft import Dataset
from weft.data.assemble import ENDS_ASSUMED
from weft.data.load import load
from weft.data.summary import Rounding, inspect, rounding


def decisions(count=200, **changes) -> Dataset:
    rng = np.random.default_rng(0)
    parts = {
        "observations": rng.normal(size=(count, 2)),
        "actions": rng.integers(0, 3, count),
        "rewards": rng.normal(size=count),
        "terminals": np.ones(count, bool),
        "propensities": np.full(count, 1 / 3),
    }
    return Dataset.from_arrays(**{**parts, **changes})


def warned(data: Dataset) -> str:
    return "\n".join(inspect(data).warnings)


def test_sizes_returns_and_ends():
    found = inspect(small_log())
    assert (found.steps, found.episodes, found.terminals, found.timeouts) == (6, 3, 2, 1)
    spread = found.returns["reward"]
    assert (spread.mean, spread.median, spread.least, spread.most) == (7, 6, 3, 12)
    assert spread.high == pytest.approx(10.8)
    assert (found.lengths.mean, found.single, found.reward_values) == (2, False, {"reward": 6})
    assert found.fingerprint == small_log().fingerprint


def test_single_decisions_show_the_mean_reward():
    found = inspect(decisions())
    assert found.single
    lines = dict(found.lines())
    assert lines["episodes"] == "200 (one decision each)"
    assert "reward (reward)" in lines
    assert found.warnings == ()


def test_continuous_actions_and_bounds():
    actions = np.linspace(-1, 1, 200)[:, None]
    actions[:50] = 1
    found = inspect(decisions(actions=actions, action_bounds=(-1, 1)))
    assert found.at_bounds == (pytest.approx(51 / 200),)
    assert found.action_ranges[0][1] == 1


def test_choices_and_rare_ones():
    found = inspect(decisions(actions=np.array([0] * 100 + [1] * 97 + [2] * 3), action_count=4))
    assert found.action_counts == (100, 97, 3, 0)
    assert found.rare == ("2 (3 times)", "3 (0 times)")
    assert "2 actions were taken fewer than 10 times" in "\n".join(found.warnings)
    labels = inspect(decisions(actions=["go"] * 199 + ["stop"]))
    assert labels.rare == ("stop (1 times)",)


def test_constant_and_duplicated_columns():
    column = np.random.default_rng(1).normal(size=200)
    found = inspect(decisions(observations=np.stack([column, np.full(200, 7.0), column], 1)))
    assert found.constant == ("1",)
    assert found.duplicated == ("2 repeats 0",)
    text = "\n".join(found.warnings)
    assert "Observation columns that never change: 1." in text
    assert "Observation columns that say the same: 2 repeats 0." in text


def test_propensities():
    given = np.full(200, 0.5)
    given[0] = 1e-4
    found = inspect(decisions(propensities=given))
    assert found.propensities is not None
    assert found.propensities.least == pytest.approx(1e-4)
    assert found.effective is not None
    assert found.effective < 0.1
    assert "Propensities are very unequal (least 0.0001)" in "\n".join(found.warnings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"rewards": np.ones(200)},
            "All values of 'reward' are 1: there is nothing to tell good actions from bad ones.",
        ),
        ({"terminals": np.arange(200) == 199}, "There is one episode: it cannot be split"),
        (
            {
                "terminals": np.zeros(200, bool),
                "timeouts": np.arange(200) % 10 == 9,
            },
            "Every episode ends by a timeout",
        ),
        ({"propensities": None}, "No propensities are given"),
        ({"propensities": np.ones(200)}, "The same observation always meets the same action"),
        ({"actions": np.zeros(200, int), "propensities": None}, "The same observation always meets the same action"),
        (
            {
                "observations": np.arange(200.0)[:, None] % 4,
                "actions": np.arange(200) % 4 // 2,
                "propensities": None,
            },
            "The same observation always meets the same action",
        ),
        ({"reward_range": (0, 0.5)}, "Values of 'reward' lie outside the declared reward range."),
    ],
)
def test_warnings(changes, said):
    assert said in warned(decisions(**changes))


def test_ends_that_were_not_said():
    said = "How episodes end was not said: nothing is expected to follow their last rows, wrongly if they were cut."
    assert said in inspect(decisions(notes=(ENDS_ASSUMED,))).warnings
    assert said not in inspect(decisions()).warnings


def test_declared_facts_and_notes():
    found = inspect(decisions(reward_range=(-9, 9), horizon=1, discount=0.9, notes=("Read with care.",)))
    assert found.declared == {"reward range": "-9 to 9", "horizon": 1, "discount": 0.9}
    assert ("note", "Read with care.") in list(found.lines())


def test_images_tokens_and_dictionaries():
    robot, chatbot = robot_and_chatbot()
    assert inspect(robot).observations[0].startswith("camera: image 12×16×3, from 0 to 255")
    assert inspect(chatbot).observations[0].endswith("tokens out of 50")
    parts = inspect(chatbot.select(np.arange(3)))
    assert parts.steps == 12


def test_several_rewards():
    found = inspect(decisions(rewards={"click": np.arange(200), "buy": np.zeros(200)}))
    assert set(found.returns) == {"click", "buy"}
    assert "All values of 'buy' are 0" in "\n".join(found.warnings)


def test_shared_open_bandit_log(shared_data):
    data = load(
        shared_data / "open_bandit" / "men_bts.csv",
        observations="user_feature_*,position",
        action="item_id",
        reward="click",
        propensity="propensity_score",
    )
    found = inspect(data)
    assert found.rewards["reward"].mean == pytest.approx(0.0069, abs=1e-6)
    assert len(found.action_counts) == 34


def test_an_inspection_prints_as_a_table():
    data = Dataset.from_arrays(np.zeros((4, 2)), np.array([0, 1, 1, 0]), np.arange(4.0), [0, 1, 0, 1])
    text = str(inspect(data))
    assert len(text.splitlines()) == len(list(inspect(data).lines()))
    assert "steps" in text
    assert "Inspection(" not in text


def test_rounded_propensities_are_found_with_what_they_leave_unknown():
    rng = np.random.default_rng(0)
    frequencies = rng.binomial(200_000, rng.beta(0.5, 5, 3000)) / 200_000
    chances = np.append(frequencies[frequencies > 0], 1 / 34)  # the uniform start was logged as it is
    found = rounding(chances.astype(np.float32))
    assert found is not None
    assert found.step == pytest.approx(5e-6)
    assert found.error == pytest.approx(2.5e-6 / chances.min(), rel=1e-4)
    assert Rounding(5e-6, 33 * 5e-6).chance == pytest.approx(33**-0.5, rel=1e-3)
    hundredths = rounding(np.round(rng.uniform(0.01, 1, 500), 2))
    assert (hundredths.step, hundredths.least) == pytest.approx((0.01, 0.01))
    assert rounding(rng.dirichlet(np.ones(10), 300).ravel()) is None
    assert rounding(np.full(100, 1 / 34)) is None
    assert rounding(np.array([0.05, 0.95] * 50)) is None  # chances that were meant


def test_one_decimal_leaves_few_values_and_is_found_all_the_same():
    rng = np.random.default_rng(0)
    tenths = rounding(np.clip(np.round(rng.uniform(0.05, 1, 300), 1), 0.1, 1))
    assert tenths is not None
    assert tenths.step == pytest.approx(0.1)
    assert rounding(np.array([0.1, 0.2, 0.4, 0.8, 0.05, 0.85])) is None  # six that leave gaps may be meant


def test_what_rounding_does_to_weights_on_average():
    rng = np.random.default_rng(1)
    chance = rng.uniform(0.1, 0.9, 200_000)
    logged = np.where(rng.random(200_000) < chance, chance, 1 - chance)
    coarse = np.clip(np.round(logged, 1), 0.1, 0.9)
    inflated = np.mean(logged / coarse) - 1
    assert rounding(coarse).bias == pytest.approx(inflated, abs=0.4 * inflated)


def test_rounding_is_told_where_it_matters():
    chances = np.round(np.random.default_rng(0).uniform(0.02, 1, 200), 3)
    found = inspect(decisions(propensities=chances))
    assert "multiples of 0.001" in dict(found.lines())["rounding"]
    assert "multiples of 0.001" in warned(decisions(propensities=chances))
    assert "multiples" not in warned(decisions(propensities=np.round(chances, 2) / 2 + 0.5))


def test_far_observations_and_categories_that_hardly_come_again():
    seen = np.random.default_rng(0).normal(size=(200, 2))
    seen[7, 1] = -9999
    assert "Column 1 of observations lies mostly from " in warned(decisions(observations=seen))
    assert "(row 7)" in warned(decisions(observations=seen))
    words = decisions(observations={"x": np.arange(200)}, kinds={"x": "category"})
    assert "'x' has 200 categories in 200 steps; are these numbers or names?" in warned(words)
