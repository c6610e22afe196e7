"""Policies speak the user's units outside and the method's inside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.agents.policy import GreedyPolicy, Policy
from weft.agents.served import Served, acts_greedily
from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.data.transforms import identity
from weft.data.units import fit_transform
from weft.nn.critics import critics
from weft.nn.distributions import Categorical, Normal
from weft.nn.encoder import encoder


class Leaning(Policy):
    """Acts like a Gaussian around a fixed action."""

    def distribution(self, memory, observation):
        return Normal(jnp.full((*observation.shape[:-1], 1), 0.5), jnp.full((*observation.shape[:-1], 1), -1.0))


class Obedient(Policy):
    """Chooses what the observed category says."""

    def distribution(self, memory, observation):
        return Categorical(10.0 * jax.nn.one_hot(observation["place"], 2))


def served() -> Served:
    seen = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    actions = np.linspace(0.0, 8.0, 20, dtype=np.float32)[:, None]
    data = Dataset.from_arrays(seen, actions, np.zeros(20), np.ones(20, bool), action_bounds=([0.0], [8.0]))
    return Served(Leaning(), fit_transform(data))


def test_actions_come_out_in_the_users_units():
    policy = served()
    np.testing.assert_allclose(policy(np.zeros(2, np.float32)), [6.0], rtol=1e-6)
    assert policy(np.zeros((5, 2), np.float32)).shape == (5, 1)
    drawn, memory = policy.act((), np.zeros((5, 2), np.float32), jax.random.key(0), greedy=False)
    assert memory == ()
    assert len(np.unique(drawn)) > 2


def test_a_density_in_the_users_units_integrates_to_one():
    policy = served()
    grid = jnp.linspace(0.01, 7.99, 2001)[:, None]  # a little mass lies outside the bounds
    density = jnp.exp(policy.log_prob((), jnp.zeros((2001, 2)), grid))
    inside = jax.scipy.stats.norm.cdf(jnp.array([-1.0, 1.0]), 0.5, jnp.exp(-1.0))
    assert float(density.sum() * (grid[1, 0] - grid[0, 0])) == pytest.approx(float(inside[1] - inside[0]), abs=0.01)


def test_wrong_observations_prompts_and_missing_keys_are_refused():
    policy = served()
    with pytest.raises(UserError, match="shape"):
        policy(np.zeros(3, np.float32))
    with pytest.raises(UserError, match="prompt"):
        policy.reset({"goal": 1})
    with pytest.raises(UserError, match="key"):
        policy.inner.act((), jnp.zeros(2), None, greedy=False)
    with pytest.raises(UserError, match="discrete"):
        policy.probabilities(np.zeros(2, np.float32))


def test_a_greedy_policy_takes_the_best_choice_with_certainty():
    data = zoo.stitching()
    models = critics(jax.random.key(0), data.spec, (8,), 1)
    policy = Served(GreedyPolicy(models), identity(data.spec))
    seen = np.eye(3, dtype=np.float32)
    best = np.asarray(models[0].all(jnp.asarray(seen))).argmax(-1)
    np.testing.assert_array_equal(policy(seen), best)
    np.testing.assert_allclose(policy.probabilities(seen), np.eye(2)[best])
    assert isinstance(policy(seen[0]), int)
    assert policy.spec == data.spec


def test_labels_go_in_and_come_out():
    data = Dataset.from_arrays(
        {"place": np.array([0, 1] * 4)},
        np.array(["wait", "go"] * 4),
        np.zeros(8),
        np.ones(8, bool),
        kinds={"place": "category"},
        categories={"place": ["here", "there"]},
    )
    encode = encoder(jax.random.key(0), data.spec)
    assert encode.features == 16
    policy = Served(Obedient(), fit_transform(data))
    labels = data.spec.action.labels
    assert policy({"place": np.array("there")}) == labels[1]
    with pytest.raises(UserError, match="nowhere"):
        policy({"place": np.array("nowhere")})
    with pytest.raises(UserError, match="place"):
        policy(np.zeros(2))
    code, _ = policy.act((), {"place": np.array(["there", "here"])})
    np.testing.assert_array_equal(code, [1, 0])
    assert policy.probabilities({"place": np.array("there")}).argmax() == 1
    with pytest.raises(UserError, match="nowhere"):
        policy.act((), {"place": np.array("nowhere")})


def test_acting_checks_the_form_of_an_observation_outside_compiled_programs():
    policy = served()
    for wrong in (0.5, np.zeros(3, np.float32), jnp.zeros((4, 1)), {"x": np.zeros(2)}):
        with pytest.raises(UserError):
            policy.act((), wrong)
    seen = jnp.zeros((5, 2))
    compiled = jax.jit(lambda seen: policy.act((), seen)[0])
    np.testing.assert_allclose(compiled(seen), policy.act((), seen)[0])


def test_a_draw_carries_the_density_of_what_was_drawn():
    policy = served()
    keys = jax.random.split(jax.random.key(0), 200)
    action, density, _ = jax.vmap(lambda key: policy.draw((), jnp.zeros(2), key))(keys)
    action, density = np.asarray(action), np.asarray(density)
    clipped = (action[:, 0] <= 0.0) | (action[:, 0] >= 8.0)
    assert 0 < clipped.sum() < 100
    np.testing.assert_array_equal(np.isposinf(density), clipped)
    known = policy.log_prob((), jnp.zeros((200, 2)), jnp.asarray(action))
    np.testing.assert_allclose(density[~clipped], known[~clipped], atol=1e-4)
    np.testing.assert_array_equal(action[0], policy.act((), jnp.zeros(2), keys[0], greedy=False)[0])


def test_a_policy_draws_where_it_says_so():
    policy = served()
    drawing, seen = policy.drawing(), np.zeros((6, 2), np.float32)
    assert not policy.drawn
    assert drawing.drawn
    assert not drawing.drawing(False).drawn
    assert acts_greedily(policy)
    assert not acts_greedily(drawing)
    assert acts_greedily(drawing, True)
    assert acts_greedily(Leaning())
    mode = policy(seen)
    first, second = drawing(seen), drawing(seen)
    assert len(np.unique(first)) > 1  # an observation of a batch has a draw of its own (two may be cut to one bound)
    assert not np.array_equal(first, second)
    key = jax.random.key(3)
    np.testing.assert_array_equal(drawing(seen, key), drawing.act((), seen, key)[0])
    np.testing.assert_array_equal(drawing(seen, key), policy.act((), seen, key, greedy=False)[0])
    np.testing.assert_array_equal(drawing.act((), seen, greedy=True)[0], mode)
    np.testing.assert_array_equal(policy(seen, key), mode)
    with pytest.raises(UserError, match="needs a key to draw with"):
        drawing.act((), seen)


def test_drawn_choices_come_as_often_as_is_likely():
    data = zoo.stitching()
    policy = Served(Even(), identity(data.spec)).drawing()
    found = np.asarray(policy(np.zeros((4000, 3), np.float32)))
    np.testing.assert_allclose(np.bincount(found) / 4000, policy.probabilities(np.zeros(3, np.float32)), atol=0.03)


class Even(Policy):
    """Chooses the second of two in 7 of 10 cases."""

    def distribution(self, memory, observation):
        return Categorical(jnp.broadcast_to(jnp.log(jnp.array([0.3, 0.7])), (*observation.shape[:-1], 2)))
