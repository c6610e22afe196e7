"""ReBRAC against its formulas in NumPy, against TD3BC where they meet, and its known answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.agents.algorithm import Tick
from weft.agents.algorithms.rebrac import ReBRAC
from weft.agents.algorithms.td3_bc import TD3BC
from weft.agents.algorithms.td3_bc import State as Other
from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.data.samplers.quintuples import Quintuple, Quintuples

ROWS = 48
SMALL = {"hidden": (8, 8), "sampler": Quintuples(32)}


def log() -> Dataset:
    """Episodes of four steps that end in a terminal step, a time-out, a terminal step, ..."""
    random = np.random.default_rng(0)
    last = np.arange(ROWS) % 4 == 3
    terminal = last & (np.arange(ROWS) % 8 == 3)
    return Dataset.from_arrays(
        random.normal(size=(ROWS, 3)).astype(np.float32),
        random.uniform(-0.9, 0.9, (ROWS, 2)).astype(np.float32),
        random.normal(size=ROWS).astype(np.float32),
        terminal,
        last & ~terminal,
        next_observations=random.normal(size=(ROWS, 3)).astype(np.float32),
        action_bounds=([-1.0, -1.0], [1.0, 1.0]),
    )


def begun(setting: ReBRAC):
    """Return a state whose targets are not its networks and whose norms are not the first ones, and a batch."""
    data = log()
    state, other = (setting.init(jax.random.key(seed), data.spec) for seed in (1, 2))
    state = dataclasses.replace(state, target=other.target, target_actor=other.target_actor)
    random = np.random.default_rng(3)
    state = jax.tree.map(
        lambda leaf: leaf + random.normal(0.0, 0.3, leaf.shape).astype(np.float32) if leaf.ndim == 1 else leaf, state
    )
    return state, setting.sampler(data.device(), jax.random.key(4))


def updated(setting, state, batch, step: int = 0):
    return jax.jit(type(setting).update)(setting, state, batch, Tick(jax.random.key(5), jnp.int32(step), jnp.zeros(())))


def numbers(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def dense(network, values):
    for place, layer in enumerate(network.layers):
        values = np.maximum(values, 0.0) if place else values
        values = (values if layer.norm is None else normed(layer.norm, values)) @ layer.weight + layer.bias
    return values


def normed(norm, values):
    mean, deviation = values.mean(-1, keepdims=True), np.sqrt(values.var(-1, keepdims=True) + 1e-6)
    return (values - mean) / deviation * norm.scale + norm.shift


def q_of(critic, observation, action):
    first = np.concatenate([observation, action], -1) @ np.concatenate([critic.observation_half, critic.action_half])
    return dense(critic.rest, np.maximum(first + critic.bias, 0.0))[:, 0]


@pytest.mark.parametrize("layer_norm", [True, False])
def test_the_losses_are_those_of_the_paper(layer_norm):
    setting = ReBRAC(actor_penalty=0.3, critic_penalty=0.7, discount=0.9, layer_norm=layer_norm, **SMALL)
    state, batch = begun(setting)
    after, metrics = updated(setting, state, batch)
    old, new, got = numbers(state), numbers(after), numbers(batch)
    step, follows, terminal = got.step, np.asarray(batch.follows), np.asarray(batch.step.terminal)
    assert (follows & ~terminal).any()
    assert (~follows & ~terminal).any()
    assert (~follows & terminal).any()

    noise = np.clip(0.2 * np.asarray(jax.random.normal(jax.random.key(5), step.action.shape)), -0.5, 0.5)
    chosen = np.tanh(dense(old.target_actor.body, step.next_observation))
    chosen = np.clip(chosen + noise, -1.0, 1.0)
    away = follows * ((chosen - got.next_action) ** 2).sum(-1)
    following = np.min([q_of(q, step.next_observation, chosen) for q in old.target], 0)
    goal = step.reward + 0.9 * ~terminal * (following - 0.7 * away)
    logged = [q_of(q, step.observation, step.action) for q in old.critics.model]
    expected = sum(((q - goal) ** 2).mean() for q in logged)
    np.testing.assert_allclose(metrics["critic_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["distance"], away[follows].mean(), rtol=1e-5)

    action = np.tanh(dense(old.actor.model.body, step.observation))
    value = np.min([q_of(q, step.observation, action) for q in new.critics.model], 0)
    expected = -value.mean() / abs(value).mean() + 0.3 * ((action - step.action) ** 2).sum(-1).mean()
    np.testing.assert_allclose(metrics["actor_loss"], expected, rtol=1e-4, atol=1e-5)


def test_each_target_is_penalised_where_an_action_follows_and_only_there():
    """The loss of single steps: where none follows, next_action is of another episode and has no effect."""
    setting = ReBRAC(critic_penalty=0.7, **SMALL)
    state, batch = begun(setting)
    elsewhere = dataclasses.replace(batch, next_action=-batch.next_action)

    def loss(critic_penalty, batch):
        each = jax.tree.map(lambda leaf: leaf[:, None], batch)
        one = dataclasses.replace(setting, critic_penalty=critic_penalty)
        return jax.vmap(lambda row: updated(one, state, row)[1]["critic_loss"])(each)

    plain, here, there = loss(0.0, batch), loss(0.7, batch), loss(0.7, elsewhere)
    np.testing.assert_array_equal(plain, loss(0.0, elsewhere))
    follows = np.asarray(batch.follows)
    np.testing.assert_array_equal(plain[~follows], here[~follows])
    np.testing.assert_array_equal(here[~follows], there[~follows])
    assert (plain[follows] != here[follows]).all()
    assert (here[follows] != there[follows]).all()


@pytest.mark.parametrize("value_weight", [1.0, 2.5])
def test_without_its_own_parts_it_is_td3_bc(value_weight):
    """With no critic penalty, no layer norm and one critic, the loss of ReBRAC's actor is that of TD3BC's divided by
    `value_weight`, at `actor_penalty` 1 / (value_weight d) in d dimensions. All else is the same; Adam does not see the
    factor but in its epsilon.
    """
    ours = ReBRAC(actor_penalty=1.0 / (value_weight * 2), critic_penalty=0.0, layer_norm=False, critic_count=1, **SMALL)
    theirs = TD3BC(learning_rate=ours.learning_rate, value_weight=value_weight, hidden=(8, 8))
    mine, batch = begun(ours)
    yours = Other(mine.actor, mine.critics, mine.target_actor, mine.target, mine.actor_loss)
    for step in range(4):
        (mine, one), (yours, two) = updated(ours, mine, batch, step), updated(theirs, yours, batch.step, step)
        np.testing.assert_allclose(one["critic_loss"], two["critic_loss"], rtol=1e-5)
        np.testing.assert_allclose(one["actor_loss"], two["actor_loss"] / value_weight, rtol=1e-4)
    for left, right in zip(jax.tree.leaves(mine.critics), jax.tree.leaves(yours.critics), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    for part in ("actor", "target_actor", "target"):
        left, right = (getattr(state, part) for state in (mine, yours))
        left, right = (getattr(side, "model", side) for side in (left, right))
        for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


def test_an_actor_without_a_penalty_follows_the_value_alone():
    state, batch = begun(setting := ReBRAC(actor_penalty=0.0, **SMALL))
    after, metrics = updated(setting, state, batch)
    step, new = numbers(batch).step, numbers(after)
    action = np.asarray(state.actor.model(batch.step.observation).action)
    value = np.min([q_of(q, step.observation, action) for q in new.critics.model], 0)
    np.testing.assert_allclose(metrics["actor_loss"], -value.mean() / abs(value).mean(), rtol=1e-4)


def test_it_improves_within_the_log_by_so_much():
    """The log of test_support: one state, a uniform on [-.2, .2], the reward is a. Q(a) = a, so that what moves the
    actor, 1 / |pi| - 2 beta pi, is nothing at pi = 1 / sqrt(2 beta): at .1 for beta = 50.
    """
    actions = np.linspace(-0.2, 0.2, 512, dtype=np.float32)[:, None]
    ones = np.ones((512, 1), np.float32)
    data = Dataset.from_arrays(ones, actions, actions[:, 0], np.ones(512, bool), action_bounds=([-1.0], [1.0]))
    setting = ReBRAC(actor_penalty=50.0, learning_rate=3e-3, hidden=(16,), sampler=Quintuples(64))
    [state] = zoo.runs([setting], data, 600)
    chosen = float(setting.policy(state).distribution((), jnp.ones(1)).mode()[0])
    assert chosen == pytest.approx(0.1, abs=0.02)
    assert float(setting.value(state, jnp.ones((1, 1)), jax.random.key(0))[0]) == pytest.approx(chosen, abs=0.03)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_critic_loses_what_the_next_action_is_away_from_the_log(penalty):
    """No rewards, two steps, linear critics; in the second state the log takes -.5 or .5, and pi their mean, 0."""
    second = np.arange(64) % 2 == 1
    actions = (np.where(np.arange(64) % 4 < 2, 0.5, -0.5) * second).astype(np.float32)[:, None]
    seen = np.eye(2, dtype=np.float32)[second.astype(int)]
    data = Dataset.from_arrays(seen, actions, np.zeros(64, np.float32), second, action_bounds=([-1.0], [1.0]))
    setting = ReBRAC(
        actor_penalty=100.0, critic_penalty=penalty, noise=0.0, target_rate=0.1, learning_rate=0.01, hidden=(),
        sampler=Quintuples(64),
    )  # fmt: skip
    [state] = zoo.runs([setting], data, 1000)
    here, there = setting.value(state, jnp.eye(2), jax.random.key(0))
    assert float(here) == pytest.approx(-0.99 * 0.25 * penalty, abs=0.01)
    assert float(there) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actor_penalty": -0.1}, "may not be negative"),
        ({"critic_penalty": -0.1}, "may not be negative"),
        ({"noise": -0.1}, "may not be negative"),
        ({"noise_limit": -0.1}, "may not be negative"),
        ({"actor_every": 0}, "every so many"),
        ({"critic_count": 0}, "at least one critic"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        ReBRAC(**changes)


def test_the_batch_is_one_of_single_steps_with_the_next_action():
    assert isinstance(ReBRAC().sampler(log().device(), jax.random.key(0)), Quintuple)
