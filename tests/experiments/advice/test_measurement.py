"""What is measured of logs that were made to have it."""

import dataclasses

import numpy as np
import pytest
from examples import robot_and_chatbot, steps

from weft import Dataset
from weft.data.load import load
from weft.experiments.advice.measurement import Measurement, measure


def walks(seed=0) -> Dataset:
    """Return random walks whose rewards are pure luck."""
    generator = np.random.default_rng(seed)
    move = generator.normal(size=(150, 20, 2)) * 0.3
    seen = generator.normal(size=(150, 1, 2)) + np.cumsum(move, 1) - move
    ends = np.tile(np.arange(20) == 19, 150)
    return Dataset.from_arrays(
        seen.reshape(-1, 2), move.clip(-0.9, 0.9).reshape(-1, 2), generator.normal(size=3000), ends
    )


def test_an_expert_is_good_everywhere_and_predictable():
    found = measure(steps())
    assert found.good == 1
    assert found.spliced == 0
    assert found.exploration is not None
    assert 0.1 < found.exploration < 0.4
    assert found.contrast == pytest.approx(0.2 / 0.65, abs=0.1)
    assert not found.deterministic


def test_a_smooth_behaviour_without_chance_is_deterministic():
    assert measure(steps(noise=0.0)).deterministic
    assert measure(steps(actions=np.zeros(2000, int), action_bounds=None)).deterministic


def test_luck_is_no_reason_to_put_episodes_together_and_no_effect():
    for seed in range(3):
        found = measure(walks(seed))
        assert found.spliced is not None
        assert found.spliced < 0.1
        assert found.effect is not None
        assert not found.effect.clear
        assert found.memory is not None
        assert not found.memory.clear


def test_the_samples_have_what_they_were_made_for():
    maze = measure(load("sample:maze"))
    assert maze.good == pytest.approx(1 / 3, abs=0.01)
    assert maze.covered == pytest.approx(1 / 3, abs=0.01)  # successes begin elsewhere
    assert maze.started == pytest.approx(1, abs=0.02)
    assert maze.spliced is not None
    assert maze.spliced > 0.2
    assert maze.effect is not None
    assert maze.effect.clear
    assert (maze.longest, maze.horizon, maze.ranged) == (40, 40, True)
    stitch = measure(load("sample:stitch"))
    assert stitch.spliced == pytest.approx(1 / 3, abs=0.01)
    assert stitch.memory is not None
    assert stitch.memory.clear  # the behaviour knows its route, the observation does not


def test_exploration_is_exact_where_propensities_are_logged():
    generator = np.random.default_rng(0)
    count = 600
    chance = np.array([0.7, 0.2, 0.1])
    choice = generator.choice(3, count, p=chance)
    given = Dataset.from_arrays(
        generator.normal(size=(count, 2)),
        choice,
        generator.normal(size=count),
        np.ones(count, bool),
        propensities=chance[choice],
    )
    found = measure(given)
    assert found.exploration == pytest.approx(-(chance * np.log(chance)).sum() / np.log(3), abs=0.05)
    assert found.single
    assert found.spliced is None
    assert found.excess is not None
    assert abs(found.excess) < 3
    fitted = measure(dataclasses.replace(given, store_log_propensities=None))
    assert fitted.exploration == pytest.approx(found.exploration, abs=0.05)


def test_propensities_that_cannot_be_right_have_too_large_weights():
    choice = np.random.default_rng(0).integers(0, 2, 500)
    given = np.where(choice == 0, 0.5, 0.2)
    data = Dataset.from_arrays(np.zeros((500, 1)), choice, choice * 1.0, np.ones(500, bool), propensities=given)
    found = measure(data).excess
    assert found is not None
    assert found > 3


def test_two_groups_of_actions_are_seen():
    seen = np.random.default_rng(0).normal(size=(4000, 1))
    side = np.sign(np.random.default_rng(1).normal(size=(4000, 1)))
    ends = np.arange(4000) % 20 == 19
    wobble = 0.1 * np.random.default_rng(2).normal(size=(4000, 1))
    apart = measure(Dataset.from_arrays(seen, 0.7 * side + wobble, np.ones(4000), ends)).split
    one = measure(Dataset.from_arrays(seen, wobble, np.ones(4000), ends)).split
    assert apart is not None
    assert one is not None
    assert apart > 0.8
    assert one < 0.05


def test_starts_that_decide_the_return():
    generator = np.random.default_rng(0)
    place = generator.uniform(1, 10, 200)
    seen = np.repeat(place, 5) + np.tile(np.arange(5), 200)
    data = Dataset.from_arrays(
        seen[:, None], generator.integers(0, 2, 1000), -np.repeat(place, 5), np.arange(1000) % 5 == 4
    )
    found = measure(data)
    assert found.started is not None
    assert found.started > 0.9


def test_images_tokens_and_tiny_logs_are_measured():
    for data in robot_and_chatbot():
        assert isinstance(measure(data), Measurement)
    tiny = Dataset.from_arrays(np.zeros((2, 1)), np.array([0, 1]), np.array([0.0, 1.0]), np.array([False, True]))
    assert measure(tiny).near is None


def test_the_same_log_gets_the_same_figures_and_a_view_its_own():
    data = load("sample:stitch")
    first, second = measure(data), measure(data)
    assert first.spliced == second.spliced
    assert first.contrast == second.contrast
    assert measure(data.select(np.arange(60))).episodes == 60


def test_good_episodes_that_act_differently_are_told_from_lucky_ones():
    generator = np.random.default_rng(0)
    seen = generator.normal(size=(4000, 2))
    skilled = np.repeat(np.arange(200) % 4 == 0, 20)
    choice = np.where(skilled, seen[:, 0] > 0, generator.random(4000) < 0.5).astype(int)
    ends = np.arange(4000) % 20 == 19
    by_skill = measure(Dataset.from_arrays(seen, choice, np.where(skilled, 1.0, 0.1), ends)).skill
    assert by_skill is not None
    assert by_skill.clear
    lucky = np.repeat(generator.random(200), 20)
    by_luck = measure(Dataset.from_arrays(seen, choice, lucky, ends)).skill
    assert by_luck is not None
    assert not by_luck.clear


def test_different_actions_are_counted():
    choice = np.array([0] * 60 + [1] * 30 + [3] * 10)
    found = measure(Dataset.from_arrays(np.zeros((100, 1)), choice, choice * 1.0, np.ones(100, bool), action_count=5))
    assert (found.taken, found.seldom, found.width) == (3, 3, 1)
    still = np.full((100, 2), 0.5)
    found = measure(Dataset.from_arrays(np.zeros((100, 1)), still, choice * 1.0, np.ones(100, bool)))
    assert (found.taken, found.width) == (1, 2)
