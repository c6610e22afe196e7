"""What every registered estimator and interval promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft import estimator as judges
from weft import interval as ranges
from weft.environment import environment, log
from weft.errors import UserError
from weft.policy import Policy

SMALL = {"fitted_q": {"steps": 30, "hidden": (8,), "batch_size": 16}}
KINDS = {"continuous": "maze", "discrete": "stitch"}
each = pytest.mark.parametrize("name", sorted(judges.estimators()))
each_kind = pytest.mark.parametrize("kind", KINDS)


@functools.cache
def asked(kind):
    data = log(environment(KINDS[kind]), 12, 0)

    def policy(seen):
        return np.zeros(len(seen), np.int32) if kind == "discrete" else np.zeros((len(seen), 2), np.float32)

    return judges.question(policy, data, None, True, 1, 0)


@functools.cache
def program(name):
    method = judges.estimator(name)(**SMALL.get(name, {}))
    return jax.jit(method.value)


@each
def test_it_says_what_it_is(name):
    found = judges.estimator(name)
    assert found.title
    assert found.paper
    assert found.__doc__


@each
@each_kind
def test_an_estimate_is_one_finite_number_and_repeats(name, kind):
    candidate, columns, weights, initial = asked(kind)
    first = program(name)(candidate, columns, weights, initial, jax.random.key(0))
    assert first.shape == ()
    assert jnp.isfinite(first)
    assert first == program(name)(candidate, columns, weights, initial, jax.random.key(0))


@each
@each_kind
def test_only_the_proportions_of_weights_matter(name, kind):
    candidate, columns, weights, initial = asked(kind)
    first = program(name)(candidate, columns, weights, initial, jax.random.key(0))
    doubled = program(name)(candidate, columns, 2 * weights, initial, jax.random.key(0))
    assert float(doubled) == pytest.approx(float(first), rel=1e-4, abs=1e-6)


@each
@each_kind
def test_an_episode_of_weight_zero_changes_nothing(name, kind):
    candidate, columns, weights, initial = asked(kind)
    weights = weights.at[3].set(0.0)
    spoilt = judges.eqx.tree_at(
        lambda c: c.reward, columns, jnp.where((columns.episode == 3)[:, None], 99.0, columns.reward)
    )
    found = [program(name)(candidate, c, weights, initial, jax.random.key(0)) for c in (columns, spoilt)]
    assert float(found[0]) == float(found[1])


def test_a_policy_with_memory_is_refused():
    class Remembering(Policy):
        def reset(self, prompt=None):
            return jnp.zeros(())

        def distribution(self, memory, observation):
            raise AssertionError

    with pytest.raises(UserError, match="memory"):
        judges.question(Remembering(), log(environment("stitch"), 6, 0), None, True, 1, 0)


@pytest.mark.parametrize("name", sorted(ranges.intervals()))
def test_an_interval_says_what_it_covers(name):
    import inspect

    found = ranges.interval(name)
    assert found.title
    text = inspect.getmodule(found).__doc__
    assert "covers" in text
    assert "not cover" in text


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(UserError, match="fitted_q"):
        judges.estimator("fitted-k")
    with pytest.raises(UserError, match="bootstrap"):
        ranges.interval("botstrap")
