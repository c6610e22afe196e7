"""REPS: a certificate that the weights are the best there are, and what the divergence allows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.agents.algorithms.reps import REPS
from weft.core.errors import UserError

HERE = jnp.ones(1)
STATES = jnp.eye(3)
SMALL = {"hidden": (), "discount": 0.9, "largest_weight": 1e3}


def answer(setting, state, data) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the weights, the value of the dual, and by how much the flow of every state differs from the log's."""
    v, eta = state.value.model, float(jnp.exp(state.heat.model))
    carried = np.where(data.terminals, 0.0, setting.discount)
    here, there = data.observations, data.next_observations
    values = np.asarray(v.head.layers[-1].weight).reshape(-1) + float(np.asarray(v.head.layers[-1].bias).reshape(()))
    scaled = (data.rewards + carried * (there @ values) - here @ values) / eta
    weights = np.minimum(np.exp(scaled), setting.largest_weight)
    over = np.maximum(scaled - np.log(setting.largest_weight), 0)
    onward = np.where(data.timeouts, 0.0, carried)
    source = (here - onward[:, None] * there).mean(0) * (1 - carried).mean() / (1 - onward).mean()
    g = source @ values + eta * (setting.divergence + (weights * (1 + over) - 1).mean())
    flow = (weights[:, None] * (here - carried[:, None] * there)).mean(0) - source
    return weights, float(g), flow


def learned(data, steps=4000, count=5, **settings):
    setting = REPS(learning_rate=0.01, sampler=zoo.Everything(count), **{**SMALL, **settings})
    [state] = zoo.runs([setting], data, steps)
    return setting, state


def test_on_a_bandit_the_weights_are_those_of_the_dual_of_the_temperature():
    setting, state = learned(zoo.weighted_bandit(), count=10, divergence=0.2)
    chances = np.asarray(setting.policy(state).distribution((), HERE).probabilities())
    assert float(jnp.exp(state.heat.model)) == pytest.approx(1.29, abs=0.01)
    np.testing.assert_allclose(chances, [0.2388, 0.3110, 0.4502], atol=2e-3)


@pytest.mark.parametrize(
    ("divergence", "largest", "terminal"), [(0.1, 1e3, True), (0.3, 1e3, True), (0.05, 1.4, True), (0.3, 1e3, False)]
)
def test_the_weights_flow_stay_within_the_divergence_and_earn_what_the_dual_says(divergence, largest, terminal):
    """Feasible weights that earn as much as the dual allows are optimal, whatever found them."""
    data = zoo.stitching(terminal)
    setting, state = learned(data, 8000, divergence=divergence, largest_weight=largest)
    weights, g, flow = answer(setting, state, data)
    np.testing.assert_allclose(flow, 0.0, atol=4e-3)
    assert float((weights * np.log(weights) - weights + 1).mean()) == pytest.approx(divergence, abs=4e-3)
    assert float((weights * data.rewards).mean()) == pytest.approx(g, abs=4e-3)
    if largest < 2:
        assert weights.max() == pytest.approx(largest)  # the cap binds, and the certificate holds all the same
    share = np.array([weights[data.actions == a] @ data.observations[data.actions == a] for a in (0, 1)])
    chances = np.asarray(setting.policy(state).distribution((), STATES).probabilities())
    np.testing.assert_allclose(chances, (share / share.sum(0)).T, atol=5e-3)


def test_a_wide_divergence_joins_parts_of_episodes_and_a_narrow_one_copies():
    earned = []
    for divergence in (1e-4, 0.6):
        setting, state = learned(zoo.stitching(), 8000, divergence=divergence)
        chances = setting.policy(state).distribution((), STATES).probabilities()
        earned.append(float(0.6 * chances[0, 1] + chances[0, 0] * chances[2, 1]))
    assert earned[0] == pytest.approx(0.55, abs=0.02)
    assert earned[1] > 0.9


def test_a_time_out_goes_on_and_an_end_does_not():
    for terminal, worth in ((True, 1.0), (False, 10.0)):
        setting, state = learned(zoo.self_loop(1.0, terminal), count=1)
        assert float(setting.value(state, HERE, jax.random.key(0))) == pytest.approx(worth, rel=0.01)


def test_of_a_stochastic_step_luck_is_preferred():
    """Choice 0 ends with 1 or with 0, choice 1 always with .6; the weight of the lucky end outweighs both others."""
    data = zoo.tabular([[(0, 0, 1.0)], [(0, 0, 0.0)], [(0, 1, 0.6)], [(0, 1, 0.6)]], 1, 2)
    setting, state = learned(data, count=4, divergence=0.3)
    weights, _, _ = answer(setting, state, data)
    chances = np.asarray(setting.policy(state).distribution((), HERE).probabilities())
    assert chances[0] == pytest.approx(weights[:2].sum() / weights.sum(), abs=5e-3)
    assert chances[0] > 0.55


def test_a_divergence_of_nothing_is_refused():
    with pytest.raises(UserError, match=r"divergence of a dual must be positive, got 0"):
        REPS(divergence=0.0)
    with pytest.raises(UserError, match=r"The largest weight of REPS must be above 1, got 1"):
        REPS(largest_weight=1.0)
