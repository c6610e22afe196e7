"""IDQL learns IQL's values, copies the behaviour whatever its values, and chooses among its draws as it says."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.agents.algorithms.idql import IDQL
from weft.agents.algorithms.iql import IQL
from weft.agents.parts.candidates import BestOfSamples
from weft.agents.parts.implicit import Expectile, Exponential, Quantile
from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.data.samplers.transitions import Transitions
from weft.data.spec import ActionSpec, ObservationSpec, Spec
from weft.nn.critics import critics

HERE = jnp.ones(1)
SMALL = {"hidden": (8,), "blocks": 1, "width": 8, "samples": 4}


@functools.cache
def two_modes(bad: int = 5, good: int = 5) -> Dataset:
    """One state whose steps end at once: actions near −.6 are worth 0, actions near .6 are worth 1."""
    actions = np.array([-0.6] * bad + [0.6] * good, np.float32)
    actions = np.repeat(actions, 40) + np.tile(np.linspace(-0.05, 0.05, 40, dtype=np.float32), bad + good)
    seen = np.ones((len(actions), 1), np.float32)
    ends = np.ones(len(actions), bool)
    return Dataset.from_arrays(
        seen, actions[:, None], (actions > 0) * 1.0, ends, next_observations=seen, action_bounds=([-1.0], [1.0])
    )


@functools.cache
def learned():
    """A run on four bad actions to six good ones; neither `samples` nor `resample` changes what it learns.

    Five diffusion steps leave narrow modes wide, even with a perfect denoiser; twenty do not.
    """
    setting = IDQL(
        learning_rate=3e-3,
        target_rate=0.02,
        average_rate=0.01,
        dropout=0.0,
        loss=Expectile(0.9),
        blocks=1,
        width=32,
        hidden=(32,),
        decay=True,
        diffusion_steps=20,
        sampler=Transitions(256),
    )
    [state] = zoo.runs([setting], two_modes(4, 6), 2000)
    return setting, state


def drawn(count: int = 4000, greedy: bool = False, **changes: object) -> np.ndarray:
    setting, state = learned()
    policy = dataclasses.replace(setting, **changes).policy(state)
    return np.asarray(jax.jit(lambda key: policy.act((), jnp.ones((count, 1)), key, greedy)[0])(jax.random.key(3)))


@pytest.mark.slow
def test_one_sample_is_the_behaviour():
    actions = drawn(samples=1)
    assert (actions > 0).mean() == pytest.approx(0.6, abs=0.03)
    assert (np.abs(np.abs(actions) - 0.6) < 0.3).mean() > 0.9


@pytest.mark.slow
def test_the_best_of_many_is_of_the_better_mode():
    assert (drawn(count=500, samples=16) > 0.3).mean() > 0.99
    assert (drawn(count=3, greedy=True, samples=16) > 0.3).all()


@pytest.mark.slow
def test_resampling_takes_the_policy_whose_value_was_learned():
    """V is .9 .6 / (.9 .6 + .1 .4), and that is how often π_imp ∝ (.1 .4, .9 .6) takes what is worth 1."""
    setting, state = learned()
    share = 0.54 / 0.58
    assert float(setting.value(state, HERE, jax.random.key(0))) == pytest.approx(share, abs=0.02)
    assert (drawn(samples=64, resample=True) > 0).mean() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("resample", [True, False])
def test_draws_are_weighed_by_what_resampling_implies_and_by_nothing_else(resample):
    setting = IDQL(hidden=(4,), blocks=1, width=4, samples=4, resample=resample)
    state = jax.eval_shape(lambda key: setting.init(key, two_modes().spec), jax.random.key(0))
    assert (setting.policy(state).weigh is not None) == resample


@pytest.mark.parametrize("count", [16, 64, 256])
def test_the_best_of_normal_draws_with_the_action_as_value(count):
    spec = Spec((ObservationSpec((1,)),), ActionSpec("continuous", (1,)))
    [one] = critics(jax.random.key(0), spec, (), 1)
    one = eqx.tree_at(
        lambda q: (q.observation_half, q.action_half, q.bias), one, (jnp.zeros((1, 1)), jnp.ones((1, 1)), jnp.zeros(1))
    )

    def propose(observation, key, count):
        return jax.random.normal(key, (*observation.shape[:-1], count, 1))

    policy = BestOfSamples(propose, (one,), count=count)
    chosen = jax.jit(lambda key: policy.act((), jnp.ones((8000, 1)), key, greedy=False)[0])(jax.random.key(0))
    assert float(chosen.mean()) == pytest.approx({16: 1.766, 64: 2.344, 256: 2.826}[count], abs=0.03)


@pytest.mark.slow
def test_a_greedy_choice_does_not_hang_on_its_place_in_a_batch():
    setting, state = learned()
    policy = dataclasses.replace(setting, samples=16).policy(state)
    seen = jax.random.normal(jax.random.key(1), (2, 3, 1))
    together = policy.act((), seen)[0]
    assert together.shape == (2, 3, 1)
    np.testing.assert_allclose(together[1, 2], policy.act((), seen[1, 2])[0], atol=1e-5)
    same = policy.act((), jnp.ones((150, 1)))[0]  # more states than are chosen for together
    np.testing.assert_allclose(same, jnp.broadcast_to(same[0], same.shape), atol=1e-5)
    drawn = policy.act((), jnp.ones((20, 1)), jax.random.key(0), greedy=False)[0]
    assert len(np.unique(drawn)) > 10  # a few are equal: clipped to 1 before the last step, which adds no noise


def test_the_values_are_those_of_iql():
    data = two_modes()
    shared = {"hidden": (8,), "sampler": Transitions(16)}
    [one] = zoo.runs([IQL(expectile=0.8, **shared)], data, 20)
    [two] = zoo.runs([IDQL(**{**SMALL, **shared}, loss=Expectile(0.8))], data, 20)
    for part in ("critics", "value", "target"):
        for mine, theirs in zip(*map(jax.tree.leaves, (getattr(two, part), getattr(one, part))), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


# V of an even chance of 0 and 1: the quantile above one half is 1, the soft maximum log((1 + e^α) / 2) / α
@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "truth"), [(Quantile(0.75), 1.0), (Exponential(2.0), float(np.log((1 + np.exp(2.0)) / 2) / 2))]
)
def test_other_losses_have_other_values(loss, truth):
    setting = IDQL(**SMALL, learning_rate=0.01, target_rate=0.05, loss=loss, sampler=zoo.Everything(400))
    [state] = zoo.runs([setting], two_modes(), 600)
    assert float(setting.value(state, HERE, jax.random.key(0))) == pytest.approx(truth, abs=0.03)


@pytest.mark.slow
def test_acting_knows_the_average_alone_and_no_dropout():
    setting, state = learned()
    setting = dataclasses.replace(setting, samples=4)
    seen, key = jnp.ones((5, 1)), jax.random.key(0)
    one = setting.policy(state).act((), seen, key, False)[0]
    other = eqx.tree_at(lambda s: s.behaviour, state, jax.tree.map(jnp.zeros_like, state.behaviour))
    dropping = dataclasses.replace(setting, dropout=0.9)
    assert (dropping.policy(other).act((), seen, key, False)[0] == one).all()
    assert (jnp.abs(one) < 1.0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0}, {"dropout": 1.0}, {"average_rate": 2.0}, {"discount": 1.1}, {"diffusion_steps": 0},
        {"blocks": 0}, {"width": 0},
    ],
)  # fmt: skip
def test_mistakes_are_refused(wrong):
    with pytest.raises(UserError):
        dataclasses.replace(IDQL(), **wrong)
