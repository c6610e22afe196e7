"""Z11: one state that leads to itself, reward 0, and an action that nobody tried but that the critic likes.

Learning without a constraint believes the critic; methods that stay with the log do not.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
import zoo

from weft.agents.algorithms.cql import CQL
from weft.agents.algorithms.discrete_bcq import DiscreteBCQ
from weft.agents.algorithms.dqn import DQN
from weft.agents.algorithms.iql import IQL
from weft.core import pytree
from weft.nn.multipliers import Fixed

HERE = jnp.ones(1)
LOOP = {"discount": 0.9, "learning_rate": 0.01, "target_rate": 0.1, "hidden": (), "sampler": zoo.Everything(1)}
STEPS = 6000


def learned(settings) -> list:
    """Train from critics whose only opinion is that the unseen action is worth 10."""
    data = zoo.self_loop()
    states = zoo.begin(settings, data)

    def liked(models):
        models = jax.tree.map(jnp.zeros_like, models)
        if not isinstance(models, tuple):
            return liked((models,))[0]
        return tuple(
            eqx.tree_at(lambda q: q.head.layers[-1].bias, q, q.head.layers[-1].bias.at[..., 1].set(10.0))
            for q in models
        )

    name = "critics" if hasattr(states, "critics") else "critic"
    states = eqx.tree_at(
        lambda s: (getattr(s, name).model, s.target), states, (liked(getattr(states, name).model), liked(states.target))
    )
    states, _ = zoo.continued(settings, states, data, 0, STEPS, STEPS)
    found = [getattr(pytree.run_axis(states, index), name).model for index in range(len(settings))]
    return [(models[0] if name == "critics" else models).all(HERE) for models in found]


@pytest.mark.parametrize("double", [False, True])
def test_without_a_constraint_the_dream_comes_true(double):
    [values] = learned([DQN(double=double, target_every=1, error="squared", **LOOP)])
    assert values[0] == pytest.approx(9.0, abs=0.01)
    assert values[1] == pytest.approx(10.0, abs=1e-6)


def test_iql_never_asks_about_the_unseen_action():
    [values] = learned([IQL(**LOOP)])
    assert values[0] == pytest.approx(0.0, abs=0.02)


def test_a_masked_choice_is_never_believed():
    [values] = learned([DiscreteBCQ(error="squared", least_ratio=0.3, **LOOP)])
    assert values[0] == pytest.approx(0.0, abs=0.02)
    assert values[1] == pytest.approx(10.0, abs=1e-6)  # still liked, never asked


def test_conservative_learning_pushes_the_unseen_action_below_the_seen_one():
    base = CQL(backup="greedy", **LOOP)
    for values in learned([dataclasses.replace(base, weight=Fixed(weight)) for weight in (0.1, 1.0, 5.0)]):
        assert values[0] == pytest.approx(0.0, abs=0.1)
        assert values[1] < -1.0


def test_what_is_never_logged_is_never_read():
    """IQL's answer does not change by a bit when the unseen action is poisoned."""
    setting, data = IQL(**LOOP), zoo.self_loop()
    clean = zoo.begin([setting], data)

    def poison(models):
        return tuple(
            eqx.tree_at(lambda q: q.head.layers[-1].weight, q, q.head.layers[-1].weight.at[..., 1].set(1e6))
            for q in models
        )

    dirty = eqx.tree_at(
        lambda s: (s.critics.model, s.target), clean, (poison(clean.critics.model), poison(clean.target))
    )
    values = []
    for states in (clean, dirty):
        after, _ = zoo.continued([setting], states, data, 0, 200, 200)
        values.append(after.value.model)
    assert all((one == two).all() for one, two in zip(*map(jax.tree.leaves, values), strict=True))
