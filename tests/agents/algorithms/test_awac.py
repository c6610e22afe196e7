"""AWAC puts parts of episodes together (Z2), drops what nobody tried (Z11), and weighs as its paper and code do."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import zoo

from weft.agents.algorithm import Tick
from weft.agents.algorithms.awac import AWAC
from weft.core import pytree
from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.data.samplers.transitions import Transitions
from weft.nn.losses import imitation
from weft.nn.optimise import descend

HERE = jnp.ones(1)
STATES = jnp.eye(3)
LOOP = {"discount": 0.9, "learning_rate": 0.01, "target_rate": 0.1}


@pytest.mark.parametrize("weighting", ["exponential", "softmax"])
def test_it_goes_on_where_only_another_episode_shows_why(weighting):
    setting = AWAC(
        learning_rate=0.02,
        target_rate=0.1,
        inverse_temperature=20.0,
        weighting=weighting,
        hidden=(),
        sampler=zoo.Everything(5),
    )
    [state] = zoo.runs([setting], zoo.stitching(), 2500)
    chances = setting.policy(state).distribution((), STATES).probabilities()
    assert float(0.6 * chances[0, 1] + chances[0, 0] * chances[2, 1]) == pytest.approx(1.0, abs=0.03)
    assert float(state.critics.model[0].all(STATES)[0, 0]) == pytest.approx(0.99, abs=0.03)


def test_an_unseen_choice_is_forgotten_with_the_policy():
    """The critics like the unseen action from the start; pi drops it, and its value leaves the targets."""
    setting, data = AWAC(inverse_temperature=1.0, hidden=(), sampler=zoo.Everything(1), **LOOP), zoo.self_loop()
    states = zoo.begin([setting], data)

    def liked(models):
        models = jax.tree.map(jnp.zeros_like, models)
        place = lambda q: q.head.layers[-1].bias  # noqa: E731
        return tuple(eqx.tree_at(place, q, place(q).at[..., 1].set(10.0)) for q in models)

    states = eqx.tree_at(
        lambda s: (s.critics.model, s.target), states, (liked(states.critics.model), liked(states.target))
    )
    states, _ = zoo.continued([setting], states, data, 0, 6000, 6000)
    state = pytree.run_axis(states, 0)
    values = state.critics.model[0].all(HERE)
    chance = float(setting.policy(state).distribution((), HERE).probabilities()[1])
    assert values[1] == pytest.approx(10.0, abs=1e-5)  # never logged, never trained
    assert chance < 1e-3
    # what is left of it: Q(0) = gamma ((1 - p) Q(0) + 10 p)
    assert float(values[0]) == pytest.approx(9.0 * chance / (1 - 0.9 * (1 - chance)), abs=0.01)


@functools.cache
def band() -> Dataset:
    """One state that leads to itself; actions from -.2 to .2 and a reward that is the action: the best value is 2."""
    actions = np.linspace(-0.2, 0.2, 41, dtype=np.float32)[:, None]
    seen, over = np.ones((41, 1), np.float32), np.zeros(41, bool)
    return Dataset.from_arrays(
        seen, actions, actions[:, 0], over, ~over, next_observations=seen, action_bounds=([-1.0], [1.0])
    )


@pytest.mark.slow
def test_values_stay_bounded_where_no_action_was_logged():
    setting = AWAC(inverse_temperature=5.0, samples=10, hidden=(32,), sampler=Transitions(64), **LOOP)
    for state in zoo.runs([setting], band(), 3000, seeds=(0, 1)):
        chosen = setting.policy(state).distribution((), HERE)
        edge = [float(q(HERE, jnp.ones(1))) for q in state.critics.model]
        assert max(map(abs, edge)) < 5.0
        assert 0.0 < float(chosen.mean[0]) < 0.25
        assert float(setting.value(state, HERE, jax.random.key(0))) < 2.2


@pytest.mark.few(1)
@pytest.mark.parametrize("weighting", ["exponential", "softmax"])
@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_without_temperature_the_actor_imitates(weighting, kind):
    data = band() if kind == "continuous" else zoo.weighted_bandit()
    setting = AWAC(inverse_temperature=0.0, weighting=weighting, hidden=(8,), sampler=zoo.Everything(10))
    state = pytree.run_axis(zoo.begin([setting], data), 0)
    batch = setting.sampler(data.device(), jax.random.key(0))
    after, _ = setting.update(state, batch, Tick(jax.random.key(1), jnp.int32(0), jnp.zeros(())))

    def cloning(pi):
        return jnp.mean(imitation(pi(batch.observation), batch.action))

    cloned, _ = descend(state.actor, optax.adam(setting.learning_rate), cloning)
    # the first moment is a tenth of the gradient
    for one, two in zip(*map(jax.tree.leaves, (after.actor.moments[0].mu, cloned.moments[0].mu)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)
    assert any(jnp.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(cloned.moments[0].mu))


def test_a_deviation_steps_back_to_one():
    setting, data = AWAC(hidden=(8,), learning_rate=0.1, sampler=Transitions(16)), band()
    states = zoo.begin([setting], data)
    wide = eqx.tree_at(lambda s: s.actor.model.log_std, states, states.actor.model.log_std + 1.5)
    after, _ = zoo.continued([setting], wide, data, 0, 1, 1)
    assert (after.actor.model.log_std <= 0).all()
    later, _ = zoo.continued([setting], after, data, 1, 60, 60)
    assert (later.actor.model.log_std < -0.5).all()  # not stuck at the bound


@pytest.mark.parametrize(
    "wrong", [{"weighting": "rank"}, {"samples": 0}, {"largest_weight": 0.0}, {"inverse_temperature": -1.0}]
)
def test_mistakes_are_refused(wrong):
    with pytest.raises(UserError):
        dataclasses.replace(AWAC(), **wrong)
