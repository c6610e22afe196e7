"""What every weft environment promises."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.envs import environment as worlds

NAMES = sorted(worlds.environments())
each = pytest.mark.parametrize("name", NAMES)
EPISODES = 24


@functools.cache
def log(name, seed=0):
    return worlds.log(worlds.environment(name), EPISODES, seed)


@each
def test_the_spec_declares_what_judging_needs(name):
    spec = worlds.environment(name).spec
    assert spec.horizon is not None
    assert spec.horizon >= 1
    assert spec.discount is not None
    assert spec.reward_low is not None
    assert spec.reward_high is not None
    assert type(worlds.environment(name)).title
    assert type(worlds.environment(name)).__doc__


@each
def test_a_step_keeps_the_structure_of_the_state(name):
    world = worlds.environment(name)
    state = world.reset(jax.random.key(0))
    action = world.behave(world.begin(jax.random.key(0), jnp.int32(0))[1], state, jax.random.key(1))[0]
    following, reward, terminal = world.step(state, action, jax.random.key(2))
    assert jax.tree.structure(state) == jax.tree.structure(following)
    shapes = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (state, following)]
    assert shapes[0] == shapes[1]
    assert world.observe(state).shape == world.spec.observations[0].shape
    assert reward.shape == terminal.shape == ()
    assert terminal.dtype == bool


@each
def test_a_log_keeps_what_is_declared(name):
    data = log(name)
    world = worlds.environment(name)
    spec = world.spec
    assert data.spec.observations == spec.observations
    assert (data.spec.horizon, data.spec.discount) == (spec.horizon, spec.discount)
    assert data.episodes == EPISODES
    assert (data.lengths <= spec.horizon).all()
    assert (data.rewards >= np.float32(spec.reward_low[0])).all()
    assert (data.rewards <= np.float32(spec.reward_high[0])).all()
    timed_out = np.array([data.episode(i).timeout for i in range(EPISODES)])
    assert (data.lengths[timed_out] == spec.horizon).all()
    assert not (data.terminals & data.timeouts).any()
    if spec.discrete:
        assert (data.log_propensities <= 0).all()
    assert np.isfinite(data.log_propensities).all()


@each
def test_a_log_depends_on_its_seed_alone(name):
    again = worlds.log(worlds.environment(name), EPISODES, 0)
    assert again.fingerprint == log(name).fingerprint
    shorter = worlds.log(worlds.environment(name), 5, 0)
    np.testing.assert_allclose(shorter.rewards, log(name).rewards[: shorter.steps], atol=1e-6)
    if name != "stitch":  # nothing is left to chance there
        assert worlds.log(worlds.environment(name), EPISODES, 1).fingerprint != again.fingerprint


def test_an_empty_log_is_refused():
    with pytest.raises(ValueError, match="at least one episode"):
        worlds.log(worlds.environment("grid"), 0)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'maze'"):
        worlds.environment("mase")


def test_a_name_may_carry_fields():
    world = worlds.environment("maze:shortcut=true, pace=0.4,rarity=5")
    assert (world.shortcut, world.pace, world.rarity) == (True, 0.4, 5)
    assert type(world.pace) is float
    assert worlds.environment("maze:wobble=1").wobble == 1.0
    assert worlds.environment("maze:shortcut=False") == worlds.environment("maze") == worlds.environment("maze:")
    assert worlds.known("maze:shortcut=true")
    assert not worlds.known("mase:shortcut=true")
    assert not worlds.known("Hopper-v5")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("maze:shotcut=true", "maze:shotcut=true: this world has no 'shotcut'. Did you mean 'shortcut'?"),
        ("maze:shortcut=1", "shortcut is true or false, got '1'"),
        ("maze:rarity=2.5", "rarity is a whole number, got '2.5'"),
        ("maze:pace=fast", "pace is a number, got 'fast'"),
        ("maze:pace=nan", "pace is a number, got 'nan'"),
        ("maze:shortcut", "fields are written field=value, got 'shortcut'"),
        ("maze:pace=0.4,", "fields are written field=value, got ''"),
        ("stitch:steps=4", "this world has no 'steps'. Known: none."),
        ("notifications:weights=1", "weights is a tuple, which no name can hold"),
        ("mase:shortcut=true", "no environment 'mase'. Did you mean 'maze'?"),
        ("catch:size=2", "at least 5 pixels"),
    ],
)
def test_fields_that_cannot_be_read_are_refused(name, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        worlds.environment(name)
