"""Cloning against closed forms: state means, pooled deviations, and two modes that a mean cannot show."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.agents.algorithms.bc import BC
from weft.core.errors import UserError
from weft.data.dataset import Dataset

ROWS = 400


@functools.cache
def logged(modes: bool) -> Dataset:
    """Two states with different mean actions, or one state with two modes at ±.5, deviation .1."""
    random = np.random.default_rng(1)
    state = np.arange(ROWS) % 2
    centre = np.where(state, 0.5, -0.5) if modes else np.where(state, 0.4, -0.2)
    # exactly standardised noise, so that the closed form holds without sampling error
    noise = random.normal(size=(ROWS // 2, 1)).repeat(2, 1).reshape(-1)
    noise = 0.1 * (noise - noise.mean()) / noise.std()
    seen = np.eye(2, dtype=np.float32)[np.zeros(ROWS, int) if modes else state]
    actions = (centre + noise)[:, None].astype(np.float32)
    done = np.ones(ROWS, bool)
    return Dataset.from_arrays(seen, actions, np.zeros(ROWS), done, action_bounds=([-1.0], [1.0]))


def cloned(head: str, modes: bool, steps: int = 1500):
    data = logged(modes)
    setting = BC(learning_rate=0.02, head=head, components=2, hidden=(), sampler=zoo.Everything(ROWS))
    [state] = zoo.runs([setting], data, steps)
    return setting.policy(state).distribution((), jnp.eye(2)), data


def test_a_gaussian_finds_the_least_squares_and_the_pooled_deviation():
    found, _ = cloned("gaussian", modes=False)
    np.testing.assert_allclose(found.mean[:, 0], [-0.2, 0.4], atol=1e-3)
    np.testing.assert_allclose(jnp.exp(found.log_std), 0.1, rtol=0.01)


def test_a_deterministic_actor_finds_the_least_squares():
    found, _ = cloned("deterministic", modes=False)
    np.testing.assert_allclose(found.mode()[:, 0], [-0.2, 0.4], atol=1e-3)


def test_a_mean_of_two_modes_is_neither():
    found, _ = cloned("deterministic", modes=True)
    assert float(found.mode()[0, 0]) == pytest.approx(0.0, abs=3e-3)


def test_a_mixture_finds_both_modes():
    found, data = cloned("mixture", modes=True)
    here = type(found)(found.logits[:1], found.mean[:1], found.log_std[:1])
    error = -float(jnp.mean(here.log_prob(jnp.asarray(data.actions))))
    assert error == pytest.approx(np.log(2) + 0.5 * np.log(2 * np.pi * np.e * 0.1**2), abs=0.01)  # −.1905
    assert abs(float(here.mode()[0, 0])) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("options", [{"head": "spline"}, {"components": 0}])
def test_unknown_heads_are_refused(options):
    with pytest.raises(UserError):
        BC(**options)
