"""Z2: no logged episode is the best one. Who puts parts together, and from which setting on?

Going on from A is worth 1, stopping there .6; the only logged episode that went on from A ended with 0.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import weft
from weft.agents.algorithms.awac import AWAC
from weft.agents.algorithms.awr import AWR
from weft.agents.algorithms.bc import BC
from weft.agents.algorithms.cql import CQL
from weft.agents.algorithms.crr import CRR
from weft.agents.algorithms.discrete_bcq import DiscreteBCQ
from weft.agents.algorithms.filtered_bc import FilteredBC
from weft.agents.algorithms.iql import IQL
from weft.agents.algorithms.kl_control import KLControl
from weft.agents.algorithms.one_step import OneStep
from weft.core.pytree import static
from weft.data.sampler import Sampler, gather
from weft.data.samplers.quintuples import Quintuple
from weft.nn.multipliers import Fixed

TABULAR = {"hidden": (), "sampler": zoo.Everything(5)}
STATES = jnp.eye(3)


class EveryQuintuple(Sampler):
    """The first steps of a log with the actions that followed."""

    count: int = static()

    def __call__(self, columns, key):
        rows = jnp.arange(self.count)
        following = jnp.minimum(rows + 1, self.count - 1)
        follows = (columns.episode[following] == columns.episode[rows]) & (following > rows)
        return Quintuple(gather(columns, rows), columns.action[following], follows)


def earned(setting, state) -> float:
    """Undiscounted return from A under the learned policy."""
    chances = setting.policy(state).distribution((), STATES).probabilities()
    return float(0.6 * chances[0, 1] + chances[0, 0] * chances[2, 1])


def test_imitation_earns_the_average():
    setting = BC(learning_rate=0.05, **TABULAR)
    [state] = zoo.runs([setting], zoo.stitching(), 400)
    assert earned(setting, state) == pytest.approx(0.55, abs=0.005)


@pytest.mark.parametrize("budget", ["trajectories", "timesteps"])
def test_imitating_the_best_two_of_three_episodes_stops_at_a(budget):
    kept = zoo.Everything(3)  # B going on, and A stopping
    setting = FilteredBC(learning_rate=0.1, fraction=2 / 3, budget=budget, hidden=(), sampler=kept)
    [state] = zoo.runs([setting], zoo.stitching(), 600)
    assert earned(setting, state) == pytest.approx(0.6, abs=0.01)


def test_weights_by_return_cannot_stitch():
    setting = AWR(learning_rate=0.05, inverse_temperature=20.0, normalise=False, refresh_every=50, **TABULAR)
    [state] = zoo.runs([dataclasses.replace(setting, largest_weight=1e4)], zoo.stitching(), 1000)
    assert earned(setting, state) == pytest.approx(0.6, abs=0.01)


def test_iql_goes_on_from_an_expectile_of_606_thousandths_on():
    base = IQL(learning_rate=0.01, target_rate=0.1, inverse_temperature=30.0, **TABULAR)
    levels = (0.5, 0.586, 0.626, 0.7, 0.9)
    settings = [dataclasses.replace(base, expectile=level) for level in levels]
    states = zoo.runs(settings, zoo.stitching(), 3000)
    for level, state in zip(levels, states, strict=True):
        value = float(state.critics.model[0].all(STATES)[0, 0])
        assert value == pytest.approx(0.99 * level, abs=2e-3)
        goes_on = int(base.policy(state).distribution((), STATES[0]).mode()) == 0
        assert goes_on == (level > 0.606)
    assert earned(base, states[-1]) > 0.95


def test_conservative_learning_goes_on_below_a_weight():
    # Known with 1/2 before the squared error: below 3.728, so below 7.456 here.
    base = CQL(learning_rate=0.01, target_rate=0.1, backup="greedy", **TABULAR)
    weights = (0.1, 7.36, 7.56)
    states = zoo.runs([dataclasses.replace(base, weight=Fixed(weight)) for weight in weights], zoo.stitching(), 6000)
    choices = [int(base.policy(state).distribution((), STATES[0]).mode()) for state in states]
    assert choices == [0, 0, 1]
    assert earned(base, states[0]) == 1.0


def test_the_value_of_the_log_itself_stops_at_a():
    base = OneStep(learning_rate=0.01, target_rate=0.1, inverse_temperature=30.0, hidden=(), sampler=EveryQuintuple(5))
    [state] = zoo.runs([base], zoo.stitching(), 3000)
    values = state.critics.model[0].all(STATES)
    assert float(values[0, 0]) == pytest.approx(0.0, abs=2e-3)  # what came next, once, was worth nothing
    assert float(values[1, 0]) == pytest.approx(0.99, abs=2e-3)
    assert earned(base, state) == pytest.approx(0.6, abs=0.01)


def test_the_critic_of_the_log_solves_its_linear_equations():
    """Q(s, a) is the mean of r + γ Q(s', a') over the visits; where a time-out cut, V(s') is the mean of Q there."""
    random = np.random.default_rng(0)
    steps = [
        [(int(random.integers(3)), int(random.integers(2)), float(random.random())) for _ in range(8)] for _ in range(2)
    ]
    data = zoo.tabular(steps, 3, 2)
    flat = [(s * 2 + a, r) for episode in steps for s, a, r in episode]
    visits = np.zeros((6, 6))
    rewards, count = np.zeros(6), np.zeros(6)
    for index, (pair, reward) in enumerate(flat):
        rewards[pair] += reward
        count[pair] += 1
        if index % 8 < 7:
            visits[pair, flat[index + 1][0]] += 1
    seen = count > 0
    scale = np.where(seen, count, 1.0)
    exact = np.linalg.solve(np.eye(6) - 0.9 * visits / scale[:, None], rewards / scale)
    base = OneStep(learning_rate=0.01, target_rate=0.1, discount=0.9, hidden=(), sampler=EveryQuintuple(16))
    [state] = zoo.runs([base], data, 5000)
    values = np.asarray(state.critics.model[0].all(STATES)).reshape(-1)
    np.testing.assert_allclose(values[seen], exact[seen], atol=5e-3)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "setting",
    [
        AWAC(inverse_temperature=30.0, learning_rate=0.01, target_rate=0.1, **TABULAR),
        CRR(inverse_temperature=30.0, learning_rate=0.01, target_rate=0.1, **TABULAR),
        CRR(weighting="binary", learning_rate=0.01, target_rate=0.1, **TABULAR),
        DiscreteBCQ(error="squared", learning_rate=0.01, target_rate=0.1, **TABULAR),
        KLControl(inverse_temperature=30.0, learning_rate=0.01, target_rate=0.1, behaviour_steps=500, **TABULAR),
    ],
    ids=["awac", "crr", "crr-binary", "discrete_bcq", "kl_control"],
)
def test_who_asks_its_own_policy_goes_on(setting):
    [state] = zoo.runs([setting], zoo.stitching(), 4000)
    assert earned(setting, state) > 0.95


def test_the_best_episodes_keep_ties_and_need_no_whole_log():
    data = zoo.tabular([[(0, 0, 1.0)], [(0, 1, 0.0), (0, 1, 0.0)], [(0, 0, 1.0)], [(0, 1, 0.5)], [(0, 0, 1.0)]], 1, 2)

    def rows(setting, log):
        columns = jax.jit(setting.focus)(log.device())
        return sorted(np.asarray(columns.rows[: columns.count]).tolist())

    assert rows(FilteredBC(fraction=0.2), data) == [0, 3, 5]  # one of five episodes, and all that are as good
    assert rows(FilteredBC(fraction=0.8), data) == [0, 3, 4, 5]
    assert rows(FilteredBC(fraction=1.0), data) == [0, 1, 2, 3, 4, 5]
    assert rows(FilteredBC(fraction=0.01), data) == [0, 3, 5]  # at least one episode
    assert rows(FilteredBC(fraction=0.8, budget="timesteps"), data) == [0, 3, 4, 5]
    part = data.select(np.array([1, 3]))
    assert rows(FilteredBC(fraction=0.5), part) == [4]


CROSSED = {  # share of 50 walks that come to the goal, by the setting's defaults
    "iql": (IQL(hidden=(64, 64)), 0.8, 1.0),
    "cql": (CQL(hidden=(64, 64), samples=3), 0.8, 1.0),
    "cal_ql": (CQL(hidden=(64, 64), samples=3, calibrated=True), 0.8, 1.0),
    "awac": (AWAC(hidden=(64, 64)), 0.8, 1.0),
    "one_step": (OneStep(hidden=(64, 64)), 0.0, 0.2),
    "awr": (AWR(hidden=(64, 64)), 0.0, 0.2),
    "filtered_bc": (FilteredBC(hidden=(64, 64)), 0.0, 0.2),
    "bc": (BC(hidden=(64, 64)), 0.0, 0.2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CROSSED))
def test_only_repeated_improvement_finds_the_way_at_the_crossroads(name):
    """By defaults but for small networks: what a single step of improvement leaves out, and the coin that it takes."""
    method, least, most = CROSSED[name]
    run = weft.fit(method, weft.load("sample:crossroads"), 10_000, 2, progress=False)
    shares = [(weft.rollout(run.policy(place), "crossroads", 50, 1000) >= 1).mean() for place in range(2)]
    assert least <= min(shares) <= max(shares) <= most
