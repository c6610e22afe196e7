"""One decision: weights, gaps and shares that are known in closed form (Z3, Z4, Z10)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.agents.algorithms.awr import AWR
from weft.agents.algorithms.bc import BC
from weft.agents.algorithms.brac import BRAC
from weft.agents.algorithms.cql import CQL
from weft.agents.algorithms.crr import CRR
from weft.agents.algorithms.discrete_bcq import DiscreteBCQ, allowed
from weft.agents.algorithms.dqn import DQN
from weft.agents.algorithms.filtered_bc import FilteredBC
from weft.agents.algorithms.iql import IQL
from weft.agents.algorithms.kl_control import KLControl
from weft.core import pytree
from weft.core.errors import UserError
from weft.data.spec import ActionSpec
from weft.nn.distributions import Categorical
from weft.nn.multipliers import Fixed, Lagrange

HERE = jnp.ones(1)
TEN = {"hidden": (), "sampler": zoo.Everything(10)}
BEHAVIOUR = np.array([0.6, 0.3, 0.1])
TILTED = [0.0367, 0.1626, 0.8008]  # Z10: behaviour times exp(reward / .5)


def shares(setting, state) -> np.ndarray:
    return np.asarray(setting.policy(state).distribution((), HERE).probabilities())


def test_cloning_counts():
    setting = BC(learning_rate=0.02, **TEN)
    [state] = zoo.runs([setting], zoo.weighted_bandit(), 600)
    np.testing.assert_allclose(shares(setting, state), [0.5, 0.3, 0.2], atol=1e-3)


def test_a_conservative_gap_never_falls_below_the_entropy_of_the_behaviour():
    base = CQL(learning_rate=0.02, **TEN)
    weights = (0.2, 1.0, 100.0)
    states = zoo.runs([dataclasses.replace(base, weight=Fixed(w)) for w in weights], zoo.conservative_bandit(), 4000)
    gaps = []
    for state in states:
        values = np.asarray(state.critics.model[0].all(HERE))
        assert BEHAVIOUR @ values == pytest.approx(0.6, abs=2e-3)  # the logged value, whatever the weight
        gaps.append(float(jax.nn.logsumexp(values) - BEHAVIOUR @ values))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] == pytest.approx(0.8979, abs=1e-3)
    np.testing.assert_allclose(jax.nn.softmax(values), BEHAVIOUR, atol=5e-3)


def test_a_multiplier_holds_the_gap_at_its_threshold():
    # Known with 1/2 before the squared error: .4366 at .92, so .8732 here; 1.0 is met without it, .85 never.
    base = CQL(learning_rate=0.02, **TEN)
    thresholds = (0.92, 1.0, 0.85)
    weights = [Lagrange(threshold, learning_rate=0.02, largest=50.0) for threshold in thresholds]
    states = zoo.runs([dataclasses.replace(base, weight=w) for w in weights], zoo.conservative_bandit(), 6000)
    found = [float(w.at(state.weight)) for w, state in zip(weights, states, strict=True)]
    assert found[0] == pytest.approx(0.8732, abs=0.01)
    assert found[1] < 0.01
    assert found[2] == pytest.approx(50.0, rel=1e-4)


def test_weights_by_advantage_tilt_the_behaviour_and_clipping_moves_the_answer():
    base = AWR(learning_rate=0.02, normalise=False, refresh_every=100, largest_weight=1e9, **TEN)
    settings = [
        base,
        dataclasses.replace(base, inverse_temperature=10.0, largest_weight=100.0),
        dataclasses.replace(base, inverse_temperature=0.0),
    ]
    warm, clipped, cloned = (shares(base, state) for state in zoo.runs(settings, zoo.weighted_bandit(), 3000))
    np.testing.assert_allclose(warm, [0.179, 0.292, 0.529], atol=2e-3)
    np.testing.assert_allclose(clipped, [0.0, 0.2315, 0.7685], atol=5e-3)  # (0, .0001, .9999) without the clip
    np.testing.assert_allclose(cloned, [0.5, 0.3, 0.2], atol=1e-3)


def test_a_dual_finds_the_temperature_that_leaves_the_log_by_its_divergence():
    setting = AWR(
        learning_rate=0.02,
        normalise=False,
        refresh_every=100,
        largest_weight=1e9,
        weighting="dual",
        divergence=0.2,
        **TEN,
    )
    [state] = zoo.runs([setting], zoo.weighted_bandit(), 3000)
    found, behaviour = shares(setting, state), np.array([0.5, 0.3, 0.2])
    assert float(jnp.exp(state.heat.model)) == pytest.approx(1.29, abs=0.01)
    np.testing.assert_allclose(found, [0.2388, 0.3110, 0.4502], atol=2e-3)
    assert float((found * np.log(found / behaviour)).sum()) == pytest.approx(0.2, abs=3e-3)


def test_soft_values_make_the_weights_of_every_state_average_one():
    setting = AWR(
        learning_rate=0.02,
        inverse_temperature=2.0,
        normalise=False,
        refresh_every=100,
        largest_weight=1e9,
        weighting="soft",
        **TEN,
    )
    [state] = zoo.runs([setting], zoo.weighted_bandit(), 3000)
    assert float(setting.value(state, HERE, jax.random.key(0))) == pytest.approx(1.30637, abs=3e-3)
    np.testing.assert_allclose(shares(setting, state), TILTED, atol=2e-3)


def test_values_refuse_the_gamble_that_the_best_episodes_show():
    data = zoo.lucky_gamble()
    filtered = FilteredBC(learning_rate=0.05, fraction=0.15, hidden=())
    [state] = zoo.runs([filtered], data, 300)
    assert shares(filtered, state)[1] > 0.95  # three lucky gambles are all it sees
    implicit = IQL(learning_rate=0.02, inverse_temperature=20.0, target_rate=0.1, hidden=(), sampler=zoo.Everything(20))
    [state] = zoo.runs([implicit], data, 1500)
    assert shares(implicit, state)[0] > 0.95


def test_an_explicit_constraint_reaches_the_tilted_behaviour():
    """T10, by the gradient: the actor of BRAC pays .5 KL; a large weight leaves the behaviour."""
    base = BRAC(learning_rate=0.02, target_rate=0.1, behaviour_steps=800, penalty="policy", **TEN)
    weights = (0.5, 1e4)
    states = zoo.runs([dataclasses.replace(base, weight=Fixed(w)) for w in weights], zoo.weighted_bandit(), 4000)
    np.testing.assert_allclose(shares(base, states[0]), TILTED, atol=2e-3)
    np.testing.assert_allclose(shares(base, states[1]), [0.5, 0.3, 0.2], atol=5e-3)


def test_a_soft_backup_has_the_value_of_the_tilted_behaviour():
    """T10, in closed form: .5 log E exp(r / .5) = 1.30637, once and for ever."""
    base = KLControl(
        inverse_temperature=2.0, learning_rate=0.02, target_rate=0.1, behaviour_steps=800, discount=0.9, **TEN
    )
    [state] = zoo.runs([base], zoo.weighted_bandit(), 3000)
    np.testing.assert_allclose(shares(base, state), TILTED, atol=2e-3)
    assert float(base.value(state, HERE, jax.random.key(0))) == pytest.approx(1.30637, abs=5e-3)
    loop = zoo.tabular([[(0, choice, float(choice))] for choice in [0] * 5 + [1] * 3 + [2] * 2], 1, 3, terminal=False)
    [state] = zoo.runs([base], loop, 6000)
    assert float(base.value(state, HERE, jax.random.key(0))) == pytest.approx(13.0637, rel=5e-3)


def test_a_binary_filter_climbs_to_the_best_choice():
    setting = CRR(learning_rate=0.02, target_rate=0.1, weighting="binary", **TEN)
    [state] = zoo.runs([setting], zoo.weighted_bandit(), 3000)
    assert shares(setting, state)[2] > 0.98


@pytest.mark.parametrize("baseline", ["mean", "max"])
def test_a_binary_filter_keeps_nothing_where_all_choices_are_equal(baseline):
    setting, data = CRR(learning_rate=0.0, weighting="binary", baseline=baseline, **TEN), zoo.weighted_bandit()
    states = zoo.begin([setting], data)
    states = dataclasses.replace(states, critics=jax.tree.map(jnp.zeros_like, states.critics))
    _, metrics = zoo.continued([setting], states, data, 0, 20, 20)
    assert float(metrics["kept_weight"][0]) == 0.0
    assert float(metrics["actor_loss"][0]) == 0.0


def test_exponential_weights_of_a_critic_tilt_like_those_of_returns():
    base = CRR(learning_rate=0.02, target_rate=0.1, inverse_temperature=1.0, largest_weight=1e9, **TEN)
    [state] = zoo.runs([base], zoo.weighted_bandit(), 3000)
    np.testing.assert_allclose(shares(base, state), [0.179, 0.292, 0.529], atol=3e-3)


def test_choices_that_the_log_hardly_takes_are_masked():
    behaviour = Categorical(jnp.log(jnp.array([0.6, 0.3, 0.1])))  # ratios 1, .5 and .167
    np.testing.assert_array_equal(allowed(behaviour, 0.3), [True, True, False])
    np.testing.assert_array_equal(allowed(behaviour, 0.0), [True, True, True])
    np.testing.assert_array_equal(allowed(behaviour, 0.999), [True, False, False])
    base = DiscreteBCQ(learning_rate=0.02, target_rate=0.1, logit_weight=0.0, error="squared", **TEN)
    settings = [dataclasses.replace(base, least_ratio=ratio) for ratio in (0.0, 0.3, 0.5, 0.99)]
    states = zoo.runs(settings, zoo.weighted_bandit(), 1500)
    best = [int(shares(setting, state).argmax()) for setting, state in zip(settings, states, strict=True)]
    assert best == [2, 2, 1, 0]  # ratios 1, .6 and .4


def test_a_uniform_prior_learns_the_same_and_reports_a_lower_gap():
    base = CQL(learning_rate=0.02, weight=Fixed(1.0), **TEN)
    found = {}
    for regulariser in ("entropy", "uniform"):
        setting = dataclasses.replace(base, regulariser=regulariser)
        states = zoo.begin([setting], zoo.conservative_bandit())
        states, metrics = zoo.continued([setting], states, zoo.conservative_bandit(), 0, 3000, 3000)
        states, metrics = zoo.continued([setting], states, zoo.conservative_bandit(), 3000, 3001, 3001)
        values = np.asarray(pytree.run_axis(states, 0).critics.model[0].all(HERE))
        found[regulariser] = values, float(metrics["gap"][0])
    np.testing.assert_allclose(found["uniform"][0], found["entropy"][0], atol=1e-3)
    values, gap = found["uniform"]
    assert gap == pytest.approx(float(jax.nn.logsumexp(values)) - np.log(3) - 0.6, abs=2e-3)  # Z3
    assert gap == pytest.approx(found["entropy"][1] - np.log(3), abs=1e-3)


def test_the_policy_as_prior_counts_twice():
    # rho = softmax Qbar and Qbar = Q at rest, so mu is softmax 2Q: a large weight brings that to the behaviour.
    base = CQL(learning_rate=0.02, weight=Fixed(100.0), regulariser="policy", target_rate=0.1, **TEN)
    [state] = zoo.runs([base], zoo.conservative_bandit(), 4000)
    values = np.asarray(state.critics.model[0].all(HERE))
    np.testing.assert_allclose(jax.nn.softmax(2 * values), BEHAVIOUR, atol=5e-3)
    assert BEHAVIOUR @ values == pytest.approx(0.6, abs=2e-3)


@pytest.mark.parametrize("method", ["dqn", "cql"])
def test_quantiles_of_a_coin(method):
    # Choice 0 always pays .4, choice 1 a one in three of ten cases.
    data = zoo.tabular([[(0, 0, 0.4)]] * 10 + [[(0, 1, float(i < 3))] for i in range(10)], 1, 2)
    options = {"learning_rate": 2e-3, "error": "absolute", "quantiles": 10, "hidden": (), "sampler": zoo.Everything(20)}
    setting = DQN(**options) if method == "dqn" else CQL(weight=Fixed(0.0), **options)
    [state] = zoo.runs([setting], data, 4000)
    critic = state.critic.model if method == "dqn" else state.critics.model[0]
    returns = np.asarray(critic.returns(HERE))
    np.testing.assert_allclose(returns[0], 0.4, atol=0.02)
    np.testing.assert_allclose(returns[1], [0.0] * 7 + [1.0] * 3, atol=0.02)
    np.testing.assert_allclose(critic.all(HERE), [0.4, 0.3], atol=0.01)
    assert shares(setting, state)[0] == 1.0


def test_the_penalty_acts_on_the_mean_over_quantiles():
    base = CQL(learning_rate=0.02, error="huber", quantiles=4, weight=Fixed(100.0), **TEN)
    [state] = zoo.runs([base], zoo.conservative_bandit(), 4000)
    values = np.asarray(state.critics.model[0].all(HERE))
    np.testing.assert_allclose(jax.nn.softmax(values), BEHAVIOUR, atol=5e-3)
    assert float(jax.nn.logsumexp(values)) - BEHAVIOUR @ values == pytest.approx(0.8979, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"regulariser": "none"}, "no regulariser 'none'"),
        ({"quantiles": 5}, "no error 'squared' for quantiles; take huber or absolute"),
        ({"error": "absolute"}, "no error 'absolute' without quantiles"),
        ({"quantiles": -1, "error": "huber"}, "0 quantiles"),
        ({"backup": "largest"}, "no backup 'largest'"),
    ],
)
def test_what_does_not_go_together_is_refused(change, sentence):
    with pytest.raises(UserError, match=sentence):
        CQL(**change)


def test_choices_have_no_sampled_maximum_and_other_actions_no_quantiles():
    with pytest.raises(UserError, match="no sampled_max backup for discrete actions; take plain or greedy"):
        CQL(backup="sampled_max").init(jax.random.key(0), zoo.conservative_bandit().spec)
    spec = dataclasses.replace(zoo.conservative_bandit().spec, action=ActionSpec("continuous", (1,), "float32"))
    with pytest.raises(UserError, match="quantiles for discrete actions only"):
        CQL(quantiles=3, error="huber").init(jax.random.key(0), spec)
