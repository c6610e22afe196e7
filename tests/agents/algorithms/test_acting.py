"""Known answers of methods that act: DQN, SAC over choices, REINFORCE and actor-critic, and their returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import weft
from weft.agents.algorithms.actor_critic import ActorCritic
from weft.agents.algorithms.dqn import DQN
from weft.agents.algorithms.reinforce import Reinforce
from weft.agents.algorithms.sac import SAC
from weft.agents.parts.baselines import Learned, MovingAverage, Zero
from weft.agents.schedule import Rounds
from weft.core import pytree
from weft.data.columns import Segments
from weft.data.samplers.transitions import Transitions
from weft.labs import tabular
from weft.nn.losses import standardised, weighted_mean
from weft.nn.multipliers import Fixed, Lagrange
from weft.nn.returns import n_step_returns, returns_to_go

DISCOUNT = 0.9


def segments(seed=0, lanes=3, time=7):
    """Random segments in which episodes end, are cut, and lanes stop acting."""
    random = np.random.default_rng(seed)
    terminal = random.random((lanes, time)) < 0.2
    cut = ~terminal & (random.random((lanes, time)) < 0.2)
    last = terminal | cut
    last[:, -1] = True
    zeros = jnp.zeros((lanes, time))
    rewards = jnp.asarray(random.normal(size=(lanes, time)), jnp.float32)
    alive = jnp.ones((lanes, time), bool)
    batch = Segments(zeros, zeros, rewards, zeros, jnp.asarray(terminal), jnp.asarray(last), alive, zeros + 1.0)
    return batch, random.normal(size=(lanes, time)).astype(np.float32)


def slowly(batch, beyond, trace, steps=10**9):
    """The definition, step by step: an average of n-step returns with weights (1 - trace) trace^(n - 1)."""
    found = np.zeros(batch.reward.shape)
    for lane, start in np.ndindex(*batch.reward.shape):
        returns, total, factor = [], 0.0, 1.0
        for now in range(start, batch.reward.shape[1]):
            total += factor * float(batch.reward[lane, now])
            factor *= DISCOUNT
            ended = bool(batch.terminal[lane, now])
            returns.append(total + (0.0 if ended else factor * float(beyond[lane, now])))
            if batch.last[lane, now] or len(returns) == steps:
                break
        weights = [(1 - trace) * trace**n for n in range(len(returns) - 1)]
        weights.append(trace ** (len(returns) - 1))
        found[lane, start] = returns[-1] if steps < 10**9 else np.dot(weights, returns)
    return found


@pytest.mark.parametrize("trace", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_traced_returns_are_what_they_are_defined_to_be(trace, seed):
    batch, beyond = segments(seed)
    np.testing.assert_allclose(
        returns_to_go(batch, DISCOUNT, trace, beyond), slowly(batch, beyond, trace), rtol=1e-4, atol=1e-5
    )


def test_the_ends_of_the_trace_are_the_td_error_and_the_monte_carlo_advantage():
    batch, beyond = segments()
    one_step = batch.reward + DISCOUNT * jnp.where(batch.terminal, 0.0, beyond)
    np.testing.assert_allclose(returns_to_go(batch, DISCOUNT, 0.0, beyond), one_step, rtol=1e-6)
    np.testing.assert_allclose(
        returns_to_go(batch, DISCOUNT, 1.0, beyond), n_step_returns(batch, DISCOUNT, 99, beyond), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_n_step_returns_are_what_they_are_defined_to_be(count):
    batch, beyond = segments(1)
    found = n_step_returns(batch, DISCOUNT, count, beyond)
    np.testing.assert_allclose(found, slowly(batch, beyond, 1.0, count), rtol=1e-4, atol=1e-5)


def test_equal_advantages_only_lose_their_mean():
    alive = jnp.array([[True, True, False]])
    np.testing.assert_allclose(standardised(jnp.full((1, 3), 7.0), alive)[alive], 0.0)
    np.testing.assert_allclose(standardised(jnp.array([[1.0, 3.0, 99.0]]), alive)[alive], [-1.0, 1.0], rtol=1e-6)


def test_what_was_never_taken_counts_for_nothing():
    values = jnp.array([[1.0, 3.0, jnp.nan]])
    assert weighted_mean(values, jnp.array([[True, True, False]])) == 2.0
    assert weighted_mean(values, jnp.zeros((1, 3), bool)) == 0.0


# --- DQN --------------------------------------------------------------------------------------------------------------


@pytest.mark.few(1)
@pytest.mark.parametrize("double", [False, True])
def test_a_linear_q_network_on_the_grid_is_value_iteration(double):
    data = weft.load("sample:grid", episodes=120, seed=0)
    setting = DQN(
        hidden=(), double=double, error="squared", learning_rate=0.05, target_every=25, discount=1.0,
        largest_gradient=1e9, sampler=Transitions(256),
    )  # fmt: skip
    [state] = zoo.runs([setting], data, 3000)
    exact = tabular.value_iteration(tabular.grid_world(), 1.0)
    found = state.critic.model.all(jnp.eye(16))
    inside = slice(1, 15)
    np.testing.assert_allclose(found[inside].max(-1), exact.values[inside], atol=1e-2)


def test_double_takes_the_choice_of_the_online_network_and_the_value_of_the_target():
    data = zoo.tabular([[(0, 0, 0.0), (1, 0, 0.0)]], 2, 2)
    goals = {}
    for double in (False, True):
        setting = DQN(hidden=(), double=double, error="squared", learning_rate=0.0, sampler=zoo.Everything(1))
        state = jax.tree.map(lambda leaf: leaf[0], zoo.begin([setting], data))

        def table(values, model=state.critic.model):
            model = jax.tree.map(jnp.zeros_like, model)
            layer = model.head.layers[0]
            return pytree.eqx.tree_at(lambda m: m.head.layers[0], model, type(layer)(jnp.array(values), layer.bias))

        online, target = table([[0.0, 0.0], [1.0, 5.0]]), table([[0.0, 0.0], [3.0, 2.0]])
        state = type(state)(type(state.critic)(online, state.critic.moments), target)
        batch = setting.sampler(data.device(), jax.random.key(0))
        _, metrics = setting.update(
            state, batch, weft.agents.algorithm.Tick(jax.random.key(0), jnp.int32(0), jnp.zeros(()))
        )
        goals[double] = float(jnp.sqrt(metrics["critic_loss"]))
    assert goals[False] == pytest.approx(0.99 * 3.0, rel=1e-5)  # the target's own best
    assert goals[True] == pytest.approx(0.99 * 2.0, rel=1e-5)  # the target's value of what the online network likes


def test_epsilon_falls_over_the_first_share_of_all_steps():
    data = zoo.bandit((1, 1), (0.0, 1.0))
    setting = DQN(hidden=(), exploring=0.5, epsilon_last=0.1)
    state = jax.tree.map(lambda leaf: leaf[0], zoo.begin([setting], data))
    for fraction, wanted in ((0.0, 1.0), (0.25, 0.55), (0.5, 0.1), (1.0, 0.1)):
        tick = weft.agents.algorithm.Tick(jax.random.key(0), jnp.int32(0), jnp.float32(fraction))
        chosen = setting.explore(state, tick).distribution((), jnp.ones(1)).probabilities()
        assert float(chosen.min()) == pytest.approx(wanted / 2, abs=1e-6)


def test_clipping_the_error_clips_the_gradient_and_clipping_rewards_the_goal():
    data = zoo.tabular([[(0, 0, 50.0)]], 1, 2)
    for clip, wanted in ((False, 50.0), (True, 1.0)):
        setting = DQN(
            hidden=(),
            clip_rewards=clip,
            error="huber",
            learning_rate=0.5,
            largest_gradient=1e9,
            sampler=zoo.Everything(1),
        )
        [state] = zoo.runs([setting], data, 400)
        assert float(state.critic.model.all(jnp.ones(1))[0]) == pytest.approx(wanted, rel=0.05)


# --- SAC over choices -------------------------------------------------------------------------------------------------


def test_a_soft_bandit_has_the_known_value_and_policy():
    data = zoo.bandit((1, 1), (0.0, 1.0))
    setting = SAC(hidden=(), temperature=Fixed(0.5), learning_rate=0.02, sampler=zoo.Everything(2))
    [state] = zoo.runs([setting], data, 1500)
    chosen = state.actor.model(jnp.ones(1))
    values = state.critics.model[0].all(jnp.ones(1))
    assert float(chosen.probabilities()[1]) == pytest.approx(1 / (1 + np.exp(-2)), abs=2e-3)  # .8808
    soft = chosen.expected(values - 0.5 * chosen.log_probabilities())
    assert float(soft) == pytest.approx(0.5 * np.log(1 + np.exp(2)), abs=2e-3)  # 1.0635


def test_a_learned_temperature_holds_the_share_of_the_entropy():
    data = zoo.bandit((1, 1), (0.0, 1.0))
    setting = SAC(
        hidden=(),
        temperature=Lagrange(1.0, 0.01, 1.0),
        entropy_share=0.6,
        learning_rate=0.02,
        sampler=zoo.Everything(2),
    )
    [state] = zoo.runs([setting], data, 4000)
    entropy = state.actor.model(jnp.ones(1)).entropy(jax.random.key(0))
    assert float(entropy) == pytest.approx(0.6 * np.log(2), abs=0.02)


# --- policy gradients -------------------------------------------------------------------------------------------------


@pytest.mark.few(1)
@pytest.mark.parametrize("baseline", [Zero(), MovingAverage(), Learned()], ids=lambda b: type(b).__name__)
def test_reinforce_solves_the_smallest_world_with_every_baseline(baseline):
    setting = Reinforce(hidden=(), baseline=baseline, learning_rate=0.05)
    run = weft.fit(setting, env="stitch", steps=6000, seeds=2, rounds=Rounds(lanes=16, steps=0))
    for seed in range(2):
        chosen = run.policy(seed).probabilities(jnp.eye(3))
        assert float(chosen[0, 0]) > 0.8  # on to M, which is worth 1, and not out with .6
        assert float(chosen[2, 0]) > 0.9


def test_a_moving_average_lags_a_batch_behind():
    moving = MovingAverage(0.9)
    state = moving.begin(jax.random.key(0), zoo.stitching().spec, ())
    goal, alive = jnp.full((1, 4), 5.0), jnp.ones((1, 4), bool)
    assert moving.at(state, jnp.zeros((1, 4))) == 0.0
    after, _ = moving.follow(state, jnp.zeros((1, 4)), goal, alive)
    assert float(after) == pytest.approx(0.5)


@pytest.mark.few(1)
@pytest.mark.parametrize("options", [{"trace": 1.0}, {"trace": 0.9}, {"lookahead": 2}])
def test_every_critic_solves_the_smallest_world(options):
    setting = ActorCritic(hidden=(), learning_rate=0.05, value_learning_rate=0.05, **options)
    run = weft.fit(setting, env="stitch", steps=8000, rounds=Rounds(lanes=16, steps=8))
    assert float(run.policy().probabilities(jnp.eye(3))[0, 0]) > 0.8
    assert weft.rollout(run.policy(), "stitch", 5).mean() == pytest.approx(1.0)


def test_the_critic_of_a_fixed_policy_is_its_exact_value():
    setting = ActorCritic(hidden=(), learning_rate=0.0, value_learning_rate=0.03, trace=0.5, discount=0.9)
    run = weft.fit(setting, env="grid", steps=60_000, rounds=Rounds(lanes=16, steps=4))
    probabilities = np.asarray(run.policy().probabilities(jnp.eye(16)))
    exact = tabular.evaluate(tabular.grid_world(), probabilities, 0.9)
    found = run.state().value.model(jnp.eye(16))
    np.testing.assert_allclose(found[1:15], exact.values[1:15], atol=0.35)


# --- learning runs ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pictures_are_learned_from():
    setting = DQN(
        vision="2013", hidden=(256,), learning_rate=5e-4, exploring=0.4, target_every=100, sampler=Transitions(32)
    )
    rounds = Rounds(lanes=4, updates=1, warm_up=1000, capacity=20_000)
    run = weft.fit(setting, env="catch", steps=24_000, rounds=rounds)
    assert weft.rollout(run.policy(), "catch", 50).mean() >= 0.9  # of 1, on 84 × 84 grey pictures


@pytest.mark.slow
def test_fine_tuning_finds_the_shortcut_without_a_deep_dip():
    data, world = weft.load("sample:maze", seed=0), "maze:shortcut=true"
    method = weft.AWAC(inverse_temperature=20.0, learning_rate=1e-3, target_rate=0.05, hidden=(64, 64))
    run = weft.fit(method, data, 2500, batch_size=128)
    rounds = Rounds(warm_up=200, logged_share=0.5)
    after = weft.finetune(run, world, 20_000, data=data, rounds=rounds, evaluate_every=1000)
    assert weft.online.switch(after)["dip"] <= 0.2  # T29
    before, then = (weft.collect(each.policy(), world, 50, greedy=True).lengths.mean() for each in (run, after))
    assert then < before - 3
