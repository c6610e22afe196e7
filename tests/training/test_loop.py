"""The loop: chunks, seeds and refreshes change nothing that they should not."""

import jax
import jax.numpy as jnp
import numpy as np
import zoo

from weft.agents.algorithms.awr import AWR
from weft.agents.algorithms.bc import BC
from weft.core import pytree
from weft.data.samplers.transitions import Transitions
from weft.training import loop as train

TINY = BC(learning_rate=0.05, hidden=(4,), sampler=Transitions(2))


def same(one, two) -> bool:
    return all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True))


def test_the_same_seed_gives_the_same_bits():
    assert same(zoo.runs([TINY], zoo.stitching(), 20), zoo.runs([TINY], zoo.stitching(), 20))
    assert not same(zoo.runs([TINY], zoo.stitching(), 20), zoo.runs([TINY], zoo.stitching(), 20, (1,)))


def test_metrics_are_means_over_the_chunk():
    data = zoo.stitching()
    states = zoo.begin([TINY], data)
    values = []
    now = states
    for step in range(4):
        now, metrics = zoo.continued([TINY], now, data, step, step + 1, 4)
        values.append(float(metrics["actor_loss"][0]))
    _, metrics = zoo.continued([TINY], states, data, 0, 4, 4)
    np.testing.assert_allclose(metrics["actor_loss"][0], np.mean(values), rtol=1e-6)


def test_side_by_side_equals_one_after_another():
    data = zoo.stitching()
    settings = pytree.as_arrays(pytree.stack([TINY, pytree.replace(TINY, "learning_rate", 0.1)]))
    keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
    found = []
    for how in ("sequential", "parallel"):
        states = train.begin(settings, keys, data.device(), data.spec, how)
        found.append(train.advance(settings, states, data.device(), keys, train.Span.of(0, 10, 10), how)[0])
    for one, two in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_a_refresh_happens_at_its_own_steps_and_not_per_chunk():
    data = zoo.stitching()
    setting = AWR(learning_rate=0.05, refresh_every=3, hidden=(), sampler=zoo.Everything(5))
    now, seen = zoo.begin([setting], data), []
    for step in range(5):
        now, _ = zoo.continued([setting], now, data, step, step + 1, 5)
        seen.append(np.asarray(now.returns[0]))
    assert (seen[0] == seen[1]).all()
    assert (seen[1] == seen[2]).all()
    assert (seen[2] != seen[3]).any()
    assert (seen[3] == seen[4]).all()
    whole, _ = zoo.continued([setting], zoo.begin([setting], data), data, 0, 5, 5)
    assert same(whole, now)
