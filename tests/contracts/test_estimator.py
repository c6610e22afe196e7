"""What every registered estimator and interval promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft import estimator as judges
from weft import interval as ranges
from weft.algorithms.bc import BC
from weft.dataset import Dataset
from weft.distributions import Normal
from weft.environment import environment, log
from weft.errors import UserError
from weft.policy import Policy, Served
from weft.support import unsupported
from weft.transform import fit_transform

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


def unbounded(low=-0.2, high=0.2, **options):
    actions = np.linspace(low, high, 40, dtype=np.float32)[:, None]
    return Dataset.from_arrays(np.ones((40, 2)), actions, actions[:, 0], np.ones(40, bool), **options)


def test_the_range_that_a_log_shows_does_not_clip_a_policy():
    def far(seen):
        return np.full((len(seen), 1), 1.0, np.float32)

    candidate, columns, *_ = judges.question(far, unbounded(), None, True, 1, 0)
    np.testing.assert_allclose(candidate.action, 5.0, rtol=1e-5)
    assert float(jnp.abs(columns.action).max()) < 1.0
    near = unbounded(action_bounds=(-0.2, 0.2))
    np.testing.assert_allclose(judges.question(far, near, None, True, 1, 0)[0].action, 1.0, atol=1e-5)


def test_drawn_actions_are_not_clipped_to_the_logs_range_either():
    class Far(Policy):
        def distribution(self, memory, observation):
            shape = (*observation.shape[:-1], 1)
            return Normal(jnp.full(shape, 1.0), jnp.full(shape, -9.0))

    candidate = judges.question(Far(), unbounded(), None, False, 3, 0)[0]
    np.testing.assert_allclose(candidate.action, 5.0, rtol=1e-2)


def test_a_policy_that_leaves_the_log_is_unsupported():
    def far(seen):
        return np.full((len(seen), 1), 1.0, np.float32)

    log_ = unbounded()
    candidate, columns, *_ = judges.question(far, log_, None, True, 1, 0)
    assert unsupported(candidate, columns, log_.rows, jax.random.key(0)) == 1.0


def labelled(actions=("left", "right"), zones=("north", "south"), kind="category"):
    return Dataset.from_arrays(
        {"zone": np.arange(40) % 2},
        np.array(actions)[np.arange(40) // 2 % 2],
        np.ones(40),
        np.ones(40, bool),
        kinds={"zone": kind},
        categories={"zone": zones},
        origin="other.csv",
    )


def test_codes_that_mean_something_else_are_refused():
    method = BC(hidden=(8,))
    trained = labelled()
    policy = Served(method.policy(method.init(jax.random.key(0), trained.spec)), fit_transform(trained))
    for other, sentence in (
        (labelled(zones=("east", "west")), r"other\.csv: observation 'zone' is coded as east, west, .* north, south"),
        (labelled(("halt", "left")), r"other\.csv: the action is coded as halt, left, the .* trained on left, right"),
        (labelled(kind="vector", zones=()), r"other\.csv shows observations .*'vector'.* trained on .*'category'"),
    ):
        with pytest.raises(UserError, match=sentence):
            judges.question(policy, other, None, True, 1, 0)
    for same in (labelled(), labelled(zones=())):
        assert judges.question(policy, same, None, True, 1, 0)[0].probability.shape == (40, 2)


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
