"""The policy gradient in closed form (Z12): what a baseline may change, and what it may not.

    grad J = E[ sum_t grad log pi(a_t | s_t) (G_t - b(s_t)) ],      G_t = sum_{t' >= t} gamma^(t' - t) r_t'

Expectations are sums over all choices of a bandit, and over all episodes of three states and four steps.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.labs.tabular import Model, evaluate

THETA, PAY = np.array([0.2, -0.1, 0.4]), np.array([1.0, 2.0, 5.0])
CHANCE = np.exp(THETA) / np.exp(THETA).sum()
SCORE = np.eye(3) - CHANCE  # grad log pi of each choice
WORTH = CHANCE @ PAY
GRADIENT = np.array([-0.6412, -0.2249, 0.8661])


def moving_average(rate=0.9):
    """Return where a moving average of returns comes to rest."""
    found = 0.0
    for _ in range(500):
        found = rate * found + (1 - rate) * WORTH
    return found


def learned_value():
    """Return the least-squares fit of V to the returns, by descent on `E[½ (V - G)²]`."""
    slope = jax.grad(lambda v: jnp.asarray(CHANCE) @ jnp.square(v - jnp.asarray(PAY)) / 2)
    value = jnp.float32(0.0)
    for _ in range(60):
        value = value - 0.5 * slope(value)
    return float(value)


def best_constant():
    size = np.square(SCORE).sum(1)
    return (CHANCE * size) @ PAY / (CHANCE @ size)


BASELINES = {
    "none": lambda: 0.0,
    "moving average": moving_average,
    "learned value": learned_value,
    "best constant": best_constant,
}
VARIANCE = {"none": 5.24, "moving average": 0.727, "learned value": 0.727, "best constant": 0.683}


def spread(each, chance):
    """Return mean and total variance of gradients `(case, parameter)` with their chances."""
    mean = chance @ each
    return mean, chance @ np.square(each - mean).sum(1)


def test_the_gradient_of_the_bandit():
    assert pytest.approx(2.8994, abs=5e-5) == WORTH
    exact = SCORE.T @ (CHANCE * PAY)
    assert exact == pytest.approx(GRADIENT, abs=5e-5)
    traced = jax.grad(lambda theta: jax.nn.softmax(theta) @ jnp.asarray(PAY, jnp.float32))(jnp.float32(THETA))
    assert np.asarray(traced) == pytest.approx(exact, abs=1e-6)
    likelihood = jax.jacobian(jax.nn.log_softmax)(jnp.float32(THETA))
    assert np.asarray(likelihood) == pytest.approx(SCORE, abs=1e-6)


def test_where_the_baselines_come_to_rest():
    assert moving_average() == pytest.approx(WORTH)
    assert learned_value() == pytest.approx(WORTH, abs=1e-5)
    assert best_constant() == pytest.approx(2.641, abs=5e-4)


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_changes_the_variance_and_not_the_mean(name):
    each = SCORE * (PAY - BASELINES[name]())[:, None]
    mean, variance = spread(each, CHANCE)
    assert mean == pytest.approx(GRADIENT, abs=5e-5)
    assert variance == pytest.approx(VARIANCE[name], rel=2e-3)
    drawn = each[np.random.default_rng(0).choice(3, 200_000, p=CHANCE)]
    assert np.abs(drawn.mean(0) - mean).max() < 4 * np.sqrt(variance / len(drawn))
    assert drawn.var(0).sum() == pytest.approx(VARIANCE[name], rel=0.05)


def test_no_other_constant_does_better():
    variances = [spread(SCORE * (PAY - b)[:, None], CHANCE)[1] for b in best_constant() + np.linspace(-1, 1, 21)]
    assert np.argmin(variances) == 10


def test_a_baseline_that_knows_the_choice_is_wrong():
    each = SCORE * (PAY - np.array([0.0, 0.0, 2.0]))[:, None]
    assert np.abs(spread(each, CHANCE)[0] - GRADIENT).max() > 0.2


# --- three states, two choices, four steps ---------------------------------------------------------------------------

STATES, CHOICES, TIME = 3, 2, 4
RNG = np.random.default_rng(0)
MOVE, REWARD = RNG.dirichlet(np.ones(STATES), (STATES, CHOICES)), RNG.uniform(-1, 1, (STATES, CHOICES))
LOGITS = RNG.normal(size=(STATES, CHOICES))
MODEL = Model.from_arrays(MOVE, REWARD)


class Episodes(NamedTuple):
    """Every episode: its chance, its states and choices `(episode, time)`."""

    chance: np.ndarray
    state: np.ndarray
    choice: np.ndarray


def policy(logits):
    weight = np.exp(logits)
    return weight / weight.sum(1, keepdims=True)


def worth(logits, discount=1.0, bonus=0.0):
    """Return J exactly: dynamic programming over the four steps."""
    model = Model.from_arrays(MOVE, REWARD + bonus)
    return MODEL.first @ evaluate(model, policy(logits), discount, sweeps=TIME).values


def slope(**options):
    """Return grad J by central differences."""
    steps = 1e-5 * np.eye(LOGITS.size).reshape(-1, *LOGITS.shape)
    return np.array([(worth(LOGITS + step, **options) - worth(LOGITS - step, **options)) / 2e-5 for step in steps])


@functools.cache
def every_episode():
    state = np.array(list(itertools.product(range(STATES), repeat=TIME)))
    choice = np.array(list(itertools.product(range(CHOICES), repeat=TIME)))
    state, choice = np.repeat(state, len(choice), 0), np.tile(choice, (len(state), 1))
    moves = MOVE[state[:, :-1], choice[:, :-1], state[:, 1:]].prod(1)
    return Episodes(MODEL.first[state[:, 0]] * moves * policy(LOGITS)[state, choice].prod(1), state, choice)


def gradients(weight):
    """Return `sum_t grad log pi(a_t | s_t) weight_t` of every episode `(episode, parameter)`."""
    _, state, choice = every_episode()
    score = np.eye(CHOICES)[choice] - policy(LOGITS)[state]
    placed = np.eye(STATES)[state][..., None] * score[:, :, None, :]
    return (placed * weight[:, :, None, None]).sum(1).reshape(len(state), -1)


def returns(discount=1.0, bonus=0.0):
    """Return what is still to come at every step `(episode, time)`."""
    _, state, choice = every_episode()
    rewards, found = REWARD[state, choice] + bonus, np.zeros(state.shape)
    for time in reversed(range(TIME)):
        found[:, time] = rewards[:, time] + (discount * found[:, time + 1] if time + 1 < TIME else 0.0)
    return found


def values(bonus=0.0):
    """Return V of every state met, with the steps that are left: a baseline refitted at every step of time."""
    model = Model.from_arrays(MOVE, REWARD + bonus)
    tables = [evaluate(model, policy(LOGITS), 1.0, sweeps=TIME - time).values for time in range(TIME)]
    return np.stack(tables)[np.arange(TIME), every_episode().state]


def test_what_is_past_has_no_part_in_the_mean_and_much_in_the_variance():
    chance, coming = every_episode().chance, returns()
    assert chance.sum() == pytest.approx(1.0)
    whole, whole_variance = spread(gradients(np.repeat(coming[:, :1], TIME, 1)), chance)
    onward, onward_variance = spread(gradients(coming), chance)
    against, against_variance = spread(gradients(coming - values()), chance)
    for mean in (whole, onward, against):
        assert mean == pytest.approx(slope(), abs=1e-8)
    assert against_variance < onward_variance < whole_variance


def test_a_reward_that_nothing_can_change_is_taken_up_by_the_baseline():
    chance = every_episode().chance
    before, after = (gradients(returns(bonus=bonus) - values(bonus)) for bonus in (0.0, 100.0))
    assert after == pytest.approx(before, abs=1e-9)
    plain, raised = (spread(gradients(returns(bonus=bonus)), chance) for bonus in (0.0, 100.0))
    assert raised[0] == pytest.approx(plain[0], abs=1e-9)
    assert raised[1] > 1000 * plain[1]


def test_the_leading_discount_belongs_to_the_discounted_objective():
    chance, coming, exact = every_episode().chance, returns(0.8), slope(discount=0.8)
    with_it = spread(gradients(coming * 0.8 ** np.arange(TIME)), chance)[0]
    without = spread(gradients(coming), chance)[0]
    assert with_it == pytest.approx(exact, abs=1e-8)
    assert np.abs(without - exact).max() > 0.01
