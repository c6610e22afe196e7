"""Finite models: the known tables (Z1, Z2, Z8, Z11, T26), dynamic programming, and learning by trial with a table."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import weft
from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.data.spec import ActionSpec, ObservationSpec, Spec
from weft.envs.environment import Environment, environment, log
from weft.labs import tabular
from weft.labs.tabular import Model

GRID = tabular.grid_world()
RANDOM = np.full((16, 4), 0.25)
RANDOM_VALUES = [0, -14, -20, -22, -14, -18, -20, -20, -20, -20, -18, -14, -22, -20, -14, 0]
BEST_VALUES = [0, -1, -2, -3, -1, -2, -3, -2, -2, -3, -2, -1, -3, -2, -1, 0]
KEYS = jax.random.split(jax.random.key(0), 3)


def random_model(seed, states=6, choices=3, terminal=()):
    """Return a random model whose rewards belong to transitions."""
    rng = np.random.default_rng(seed)
    move = rng.dirichlet(np.full(states, 0.5), (states, choices))
    return Model.from_arrays(move, rng.uniform(-1, 1, (states, choices, states)), terminal)


def test_the_package_offers_it_by_name():
    assert weft.tabular is tabular
    assert "tabular" in dir(weft)


# --- dynamic programming ---------------------------------------------------------------------------------------------


def test_the_random_policy_is_worth_what_sutton_and_barto_say():
    found = tabular.evaluate(GRID, RANDOM, 1.0)
    np.testing.assert_allclose(found.values, RANDOM_VALUES, atol=1e-8)
    swept = tabular.evaluate(GRID, RANDOM, 1.0, sweeps=1000)
    np.testing.assert_allclose(swept.values, RANDOM_VALUES, atol=1e-8)
    assert swept.q == pytest.approx(found.q)


def test_the_best_values_are_exact_after_three_sweeps():
    found = tabular.value_iteration(GRID, 1.0)
    np.testing.assert_array_equal(found.values, BEST_VALUES)
    assert found.rounds == 4  # the fourth changes nothing
    np.testing.assert_allclose(tabular.policy_iteration(GRID, 1.0).values, BEST_VALUES, atol=1e-8)


def test_one_greedy_step_from_the_random_policy_is_optimal():
    better = tabular.greedy(tabular.evaluate(GRID, RANDOM, 1.0).q)
    np.testing.assert_allclose(tabular.evaluate(GRID, better, 1.0).values, BEST_VALUES, atol=1e-8)


Q_VALUES = arrays(float, (6, 3), elements=st.floats(-1e3, 1e3))


@given(st.integers(0, 2**31), Q_VALUES, Q_VALUES, st.floats(0, 1), st.sampled_from(["best", "policy", "restricted"]))
@settings(max_examples=150, deadline=None)
def test_the_operators_contract(seed, first, second, discount, kind):
    model = random_model(seed)
    policy = np.random.default_rng(seed).dirichlet(np.ones(3), 6) if kind == "policy" else None
    one, two = (tabular.bellman(model, q, discount, policy, kind == "restricted") for q in (first, second))
    assert np.abs(one - two).max() <= discount * np.abs(first - second).max() + 1e-9


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("discount", [0.0, 0.5, 0.95])
def test_three_ways_to_the_same_values(seed, discount):
    model = random_model(seed, terminal=[2] if seed % 2 else ())
    swept = tabular.value_iteration(model, discount)
    solved = tabular.evaluate(model, swept.policy, discount)
    improved = tabular.policy_iteration(model, discount)
    assert np.abs(swept.values - solved.values).max() < 1e-6
    np.testing.assert_allclose(improved.values, solved.values, atol=1e-7)
    np.testing.assert_allclose(tabular.bellman(model, improved.q, discount), improved.q, atol=1e-9)
    np.testing.assert_array_equal(improved.policy, swept.policy)


@pytest.mark.parametrize("accuracy", [1.0, 0.1, 1e-4])
def test_value_iteration_stops_when_the_greedy_policy_is_as_good_as_was_asked_for(accuracy):
    for seed in range(20):
        model = random_model(seed)
        found = tabular.value_iteration(model, 0.9, accuracy)
        truth = tabular.policy_iteration(model, 0.9).values
        assert (truth - tabular.evaluate(model, found.policy, 0.9).values).max() <= accuracy
    assert found.rounds < tabular.value_iteration(model, 0.9, accuracy / 10).rounds


def test_equal_choices_are_told_apart_by_their_number():
    q = np.array([[0.1 + 0.2, 0.3, 0.0], [-1e6, -1e6 - 1e-4, -2e6], [0.0, 1e-6, 0.0], [1.0, 2.0, 2.0]])
    np.testing.assert_array_equal(tabular.greedy(q).argmax(1), [0, 0, 1, 1])
    allowed = np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0]], bool)
    np.testing.assert_array_equal(tabular.greedy(q, allowed).argmax(1), [1, 2, 0, 1])


def test_the_reward_of_a_transition_comes_when_it_is_made():
    """Reward on arrival is worth one step more than the same number paid on departure."""
    move = np.array([[[0.0, 1.0]], [[0.0, 1.0]]])
    arrival = Model.from_arrays(move, np.array([[[0.0, 1.0]], [[0.0, 1.0]]]))
    departure = Model.from_arrays(move, np.array([[0.0], [1.0]]))
    one, two = (tabular.evaluate(model, np.ones((2, 1)), 0.9).values[0] for model in (arrival, departure))
    assert one == pytest.approx(10.0)
    assert two == pytest.approx(9.0)


# --- models of logs --------------------------------------------------------------------------------------------------


def test_the_log_of_the_grid_has_the_values_of_the_grid():
    found = tabular.model_of(log(environment("grid"), 400, 0))
    assert found.known[1:15].all()
    assert not found.known[[0, 15]].any()  # nobody ever left a corner
    np.testing.assert_allclose(tabular.value_iteration(found, 1.0).values, BEST_VALUES, atol=1e-8)
    np.testing.assert_allclose(tabular.evaluate(found, RANDOM, 1.0).values, RANDOM_VALUES, atol=1e-8)


def test_frequencies_and_mean_rewards_become_the_model():
    truth = random_model(3, terminal=[1])
    found = tabular.model_of(log(tabular.ModelWorld.of(truth, 40), 3000, 0))
    going = np.arange(6) != 1
    np.testing.assert_allclose(found.transition[going], truth.transition[going], atol=0.04)
    seen = found.transition > 0
    np.testing.assert_allclose(found.reward[seen], truth.reward[seen], atol=1e-6)
    np.testing.assert_array_equal(found.ends[seen], np.broadcast_to(np.arange(6) == 1, (6, 3, 6))[seen])
    np.testing.assert_allclose(found.first, truth.first, atol=0.03)
    wanted, got = (tabular.value_iteration(model, 0.9).values[going] for model in (truth, found))
    np.testing.assert_allclose(got, wanted, atol=0.1)


def test_stitching_by_staying_with_what_was_seen():
    for data in (log(environment("stitch"), 30, 0), zoo.stitching()):
        found = tabular.model_of(data)
        best = tabular.value_iteration(found, 0.99, restricted=True, unknown=100.0)
        assert best.values[0] == pytest.approx(0.99)
        assert best.policy[0, 0] == 1
        assert best.q[0, 1] == pytest.approx(0.6)
        again = tabular.policy_iteration(found, 0.99, restricted=True, unknown=100.0)
        assert again.values == pytest.approx(best.values)
        assert tabular.value_iteration(found, 0.99, unknown=100.0).values[1] == 100  # B's other choice was never taken


def test_hope_for_an_unseen_choice_stays_unless_it_is_left_out():
    found = tabular.model_of(zoo.self_loop())
    np.testing.assert_array_equal(found.counts, [[1, 0]])
    hoping = tabular.value_iteration(found, 0.9, unknown=10.0)
    assert hoping.q == pytest.approx(np.array([[9.0, 10.0]]))
    staying = tabular.value_iteration(found, 0.9, restricted=True, unknown=10.0)
    assert staying.q == pytest.approx(np.array([[0.0, 10.0]]))
    assert staying.values == pytest.approx([0.0])
    assert staying.policy[0, 0] == 1


def test_a_time_out_goes_on_and_a_terminal_does_not():
    looping = Model.from_arrays(np.ones((1, 1, 1)), 1.0)
    for discount in (0.5, 0.9):
        endless = tabular.model_of(zoo.self_loop(reward=1.0))
        assert tabular.value_iteration(endless, discount, restricted=True).values[0] == pytest.approx(
            1 / (1 - discount)
        )
        once = tabular.model_of(zoo.self_loop(reward=1.0, terminal=True))
        assert tabular.value_iteration(once, discount, restricted=True).values[0] == pytest.approx(1.0)
        chain = tabular.model_of(zoo.tabular([[(i, 0, 1.0) for i in range(7)]], 7, 1))
        finite = (1 - discount**7) / (1 - discount)
        assert tabular.value_iteration(chain, discount).values[0] == pytest.approx(finite)
        assert tabular.evaluate(looping, np.ones((1, 1)), discount, sweeps=7).values[0] == pytest.approx(finite)


def test_categories_and_whole_numbers_are_states_too():
    place, after, ends = np.array([0, 2, 0]), np.array([2, 2, 1]), np.array([False, True, False])
    for seen, kinds in ((place, {"": "category"}), (place, None), (np.eye(3, dtype=int)[place], None)):
        data = Dataset.from_arrays(
            seen, np.array([1, 0, 0]), np.array([0.0, 1.0, 5.0]), ends, kinds=kinds,
            next_observations=after if seen.ndim == 1 else np.eye(3, dtype=int)[after],
            action_count=2,
        )  # fmt: skip
        found = tabular.model_of(data)
        assert found.transition.shape == (3, 2, 3)
        np.testing.assert_array_equal(found.first, [1, 0, 0])
        best = tabular.value_iteration(found, 0.5, restricted=True, unknown=4.0)
        assert best.q[0] == pytest.approx([5.0 + 0.5 * 4.0, 0.5])  # state 1 was never left: its worth is not known


# --- learning by trial -----------------------------------------------------------------------------------------------


@functools.cache
def learned(steps):
    return tabular.q_learning(GRID, KEYS, steps, 1.0, exploration=1.0, power=0.7)


def test_q_learning_finds_the_best_values_of_the_grid():
    errors = [np.abs(learned(steps).q.max(-1) - BEST_VALUES).max() for steps in (10_000, 20_000)]
    assert errors[0] < 0.005
    assert errors[1] < 1e-4
    assert np.abs(learned(20_000).q - tabular.value_iteration(GRID, 1.0).q).max() < 0.05
    assert (learned(20_000).visited.sum((1, 2)) == 20_000).all()
    assert (learned(20_000).visited[:, 1:15] > 0).all()
    assert (learned(20_000).q[:, [0, 15]] == 0).all()


def test_a_key_says_it_all():
    again = tabular.q_learning(GRID, KEYS, 10_000, 1.0, exploration=1.0, power=0.7)
    np.testing.assert_array_equal(again.q, learned(10_000).q)
    assert (learned(10_000).visited[0] != learned(10_000).visited[1]).any()


@pytest.mark.parametrize(("begin", "exploration"), [(0.0, 0.1), (5.0, 0.0)])
def test_a_little_exploration_or_high_hopes_are_enough_in_a_world(begin, exploration):
    settings = {"step_size": 0.5, "power": 0.0, "begin": begin, "exploration": exploration}
    found = tabular.q_learning(environment("grid"), KEYS[0], 20_000, 1.0, **settings)
    assert found.q.shape == found.visited.shape == (16, 4)
    np.testing.assert_allclose(found.q.max(-1)[1:15], BEST_VALUES[1:15], atol=1e-3)
    best = found.visited[1:15][np.arange(14), found.q[1:15].argmax(1)].sum()
    assert best > 0.75 * 20_000


def test_a_time_out_is_bootstrapped_from():
    stays, leaves = (Model.from_arrays(np.eye(2)[[[there], [1]]], 1.0, [1]) for there in (0, 1))
    for model, worth in ((stays, 5.0), (leaves, 1.0)):
        world = tabular.ModelWorld.of(model, steps=3)
        found = tabular.q_learning(world, KEYS[0], 400, 0.8, step_size=0.5, power=0.0)
        assert found.q[0, 0] == pytest.approx(worth, abs=1e-4)


def test_sarsa_values_the_policy_that_acts():
    model, keys = random_model(26, 4, 2, terminal=[3]), jax.random.split(jax.random.key(1), 16)
    coin = tabular.evaluate(model, np.full((4, 2), 0.5), 0.7)
    found = tabular.sarsa(model, keys, 40_000, 0.7, power=0.8, exploration=1.0)
    np.testing.assert_allclose(found.q.mean(0), coin.q, atol=0.02)
    found = tabular.sarsa(model, keys, 40_000, 0.7, power=0.8, exploration=0.4).q.mean(0)
    fixed = 0.2 + 0.6 * tabular.greedy(found)
    np.testing.assert_allclose(found, tabular.evaluate(model, fixed, 0.7).q, atol=0.02)
    assert np.abs(found - tabular.value_iteration(model, 0.7).q).max() > 0.3
    assert np.abs(found - coin.q).max() > 0.3


class Noise(Environment):
    """State 0 leads to state 1, where so many choices pay U(−1, 1), the others −1, and all end (Z8)."""

    title: ClassVar[str] = "Noise"

    choices: float

    @property
    def spec(self):
        action = ActionSpec("discrete", (), "int32", counts=(18,))
        return Spec((ObservationSpec((), "int32", "category", count=2),), action, horizon=2)

    def reset(self, key):
        return jnp.int32(0)

    def observe(self, state):
        return state

    def step(self, state, action, key):
        paid = jnp.where(action < self.choices, jax.random.uniform(key, minval=-1, maxval=1), -1.0)
        return jnp.int32(1), jnp.where(state == 1, paid, 0.0), state == 1


@pytest.mark.slow
@pytest.mark.parametrize(("choices", "bias"), [(2, 1 / 3), (4, 0.6), (18, 17 / 19)])
def test_one_table_believes_its_luck_and_two_do_not(choices, bias):
    """A step size of 1 keeps the last reward, so what state 0 is worth is a maximum of single draws."""
    drawn = np.random.default_rng(0).uniform(-1, 1, (2, 100_000, choices))
    assert drawn[0].max(1).mean() == pytest.approx(bias, abs=0.01)
    assert drawn[1][np.arange(100_000), drawn[0].argmax(1)].mean() == pytest.approx(0.0, abs=0.01)
    settings = {"step_size": 1.0, "power": 0.0, "exploration": 1.0, "begin": -1.0}
    for double, worth in ((False, bias), (True, 0.0)):
        world, keys = Noise(choices), jax.random.split(jax.random.key(2), 2500)
        found = tabular.q_learning(world, keys, 500, 1.0, double=double, **settings)
        assert found.q[:, 0, 0].mean() == pytest.approx(worth, abs=0.03)


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_mistakes_are_named():
    good, coin, key = np.full((2, 2, 2), 0.5), np.full((2, 2), 0.5), jax.random.key(0)
    short, model = good * [0.9, 1.0], Model.from_arrays(good, 1.0)
    for call, sentence in (
        (lambda: Model.from_arrays(short, 0.0), "state 0 with choice 0 sum to 0.95"),
        (lambda: Model.from_arrays(good * [-1.0, 3.0], 0.0), "state 0 with choice 0 hold -0.5"),
        (lambda: Model.from_arrays(good[0], 0.0), r"shape \(states, choices, states\), got \(2, 2\)"),
        (lambda: Model.from_arrays(good * np.nan, 0.0), "'transition' holds values that are not finite"),
        (lambda: Model.from_arrays(good, np.inf), "'reward' holds values that are not finite"),
        (lambda: Model.from_arrays(good, np.zeros(2)), r"got the shape \(2,\)"),
        (lambda: Model.from_arrays(good, 0.0, [2]), "from 0 to 1"),
        (lambda: Model.from_arrays(good, 0.0, [0.5]), "from 0 to 1"),
        (lambda: Model.from_arrays(good, 0.0, [0, 1]), "Every state is terminal"),
        (lambda: Model.from_arrays(good, 0.0, first=[0.5, 0.6]), "chances to begin sum to 1.1"),
        (lambda: Model.from_arrays(good, 0.0, first=[1.0]), r"must have the shape \(2,\)"),
        (lambda: tabular.value_iteration(model, 1.0, most=50), "not settled in 50 sweeps"),
        (lambda: tabular.value_iteration(model, 1.5), "discount must be between 0 and 1"),
        (lambda: tabular.value_iteration(model, accuracy=0.0), "accuracy must be positive"),
        (lambda: tabular.evaluate(model, coin, 1.0), "From state 0 this policy never ends"),
        (lambda: tabular.policy_iteration(model, 1.0), "never ends the task"),
        (lambda: tabular.evaluate(model, coin[:1]), r"A policy of this model is \(2, 2\)"),
        (lambda: tabular.evaluate(model, coin * 2), "chances in state 0 sum to 2"),
        (lambda: tabular.evaluate(model, coin, sweeps=0), "at least one sweep"),
        (lambda: tabular.q_learning(model, key, 0), "at least one step"),
        (lambda: tabular.q_learning(model, key, 9, step_size=0.0), "step size"),
        (lambda: tabular.q_learning(model, key, 9, power=-1.0), "power"),
        (lambda: tabular.sarsa(model, key, 9, exploration=2.0), "exploration"),
        (lambda: tabular.sarsa(model, key, 9, discount=-1.0), "discount"),
        (lambda: tabular.q_learning(model, key, 9, begin=np.zeros(3)), r"a number or \(2, 2\)"),
        (lambda: tabular.q_learning(environment("maze"), key, 9), "discrete actions"),
        (lambda: tabular.q_learning(environment("notifications"), key, 9), "not all one-hot"),
        (
            lambda: tabular.q_learning(tabular.model_of(zoo.self_loop()), key, 9),
            "Nothing is known of choice 1",
        ),
        (lambda: tabular.ModelWorld.of(model, 0), "at least one step"),
        (lambda: tabular.model_of(log(environment("maze"), 3, 0)), "discrete actions"),
        (lambda: tabular.model_of(weft.load("sample:notifications", episodes=5)), "different times"),
    ):
        with pytest.raises(UserError, match=sentence):
            call()


def test_logs_of_other_forms_are_refused():
    seen, zero, ends = np.array([[1.0, 0.0], [0.5, 0.5]]), np.zeros(2, int), np.array([False, True])
    options = {"action_count": 2}
    for data, sentence in (
        (Dataset.from_arrays(seen, zero, np.zeros(2), ends, **options), r"not all one-hot .* \(row 1\)"),
        (Dataset.from_arrays(np.array([0, 99_999]), zero, np.zeros(2), ends, **options), "too many for a table"),
        (Dataset.from_arrays(seen[:, :, None], zero, np.zeros(2), ends, **options), "are neither"),
        (Dataset.from_arrays({"a": seen, "b": seen}, zero, np.zeros(2), ends, **options), "several components"),
        (Dataset.from_arrays(seen, zero, {"a": zero, "b": zero}, ends, **options), "several rewards"),
    ):
        with pytest.raises(UserError, match=sentence):
            tabular.model_of(data)
    ended = Dataset.from_arrays(
        np.eye(2), zero, np.ones(2), ends, next_observations=np.array([[0.0, 1.0], [0.0, 0.0]]), **options
    )
    assert tabular.value_iteration(tabular.model_of(ended), 0.5, restricted=True).values == pytest.approx([1.5, 1.0])


def walk(side: int = 5) -> np.ndarray:
    """Return the law of a random walk on a square whose borders push back."""
    law = np.zeros((side * side, side * side))
    for row in range(side):
        for column in range(side):
            for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                to = min(max(row + down, 0), side - 1) * side + min(max(column + right, 0), side - 1)
                law[row * side + column, to] += 0.25
    return law


def test_a_linearly_solvable_walk_costs_what_iteration_says():
    """A 5 × 5 grid, half a unit a step, the goal in a corner: 9.2310 from the opposite one."""
    law, goals = walk(), np.arange(25) == 0
    found = tabular.desirability(law, 0.5, goals)
    assert found.values[-1] == pytest.approx(9.2310, abs=5e-5)
    cost = np.where(goals, 0.0, 0.5)
    values = np.zeros(25)
    for _ in range(3000):
        values = np.where(goals, 0.0, cost - np.log(law @ np.exp(-values)))
    np.testing.assert_allclose(found.values, values, atol=1e-12)
    moved = found.policy[~goals]
    likely = moved > 0
    ratio = np.where(likely, moved, 1.0) / np.where(likely, law[~goals], 1.0)
    paid = (moved * np.log(ratio)).sum(1)
    np.testing.assert_allclose(found.values[~goals], 0.5 + paid + moved @ found.values, atol=1e-12)


def test_problems_without_an_end_or_a_cost_are_refused():
    law, goals = walk(), np.arange(25) == 0
    with pytest.raises(UserError, match="at least one goal"):
        tabular.desirability(law, 0.5, np.zeros(25, bool))
    with pytest.raises(UserError, match="must be positive"):
        tabular.desirability(law, 0.0, goals)
    with pytest.raises(UserError, match="passive law"):
        tabular.desirability(2 * law, 0.5, goals)
