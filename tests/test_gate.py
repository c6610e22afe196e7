"""The statistic behind a decision: how often a whole gate is wrong, where it stops, what it is about."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tabular import asks, world

from weft import gate
from weft.certificate import Range
from weft.estimator import question
from weft.gate import DOSES, Terms, evidence, needed, opposite, randomised, score, terms

STEPS = jnp.asarray(DOSES)
UNITS, TIME = 200, 4
DECLARED = Range(0.0, 1.0, 1.0, TIME)


def of(rows, bound):
    """Return terms of doses whose units have the given values."""
    values = jnp.asarray(rows, jnp.float32)
    return Terms(values, jnp.asarray(bound, jnp.float32), jnp.ones(values.shape[1], bool))


def test_the_sequence_stops_at_the_first_dose_that_is_not_certified():
    good, bad = np.full(200, 0.3), np.tile([0.3, -0.3], 100)
    doses = jnp.asarray([0.1, 0.5, 1.0])
    found = evidence(of([good, bad, good], [1.0, 1.0, 1.0]), doses, 0.0, 0.05)
    assert (int(found.certified), float(found.dose)) == (1, pytest.approx(0.1))
    assert float(found.log_wealth[2]) > np.log(20)
    found = evidence(of([bad, good, good], [1.0, 1.0, 1.0]), doses, 0.0, 0.05)
    assert (int(found.certified), float(found.dose)) == (0, 0.0)
    found = evidence(of([good, good, good], [1.0, 1.0, 1.0]), doses, 0.0, 0.05)
    assert (int(found.certified), float(found.dose)) == (3, 1.0)


def test_with_a_margin_every_dose_has_its_share_of_the_risk():
    small, large = np.tile([0.1, -0.06], 100), np.full(200, 0.3)
    doses = jnp.asarray([0.1, 1.0])
    found = evidence(of([small, large], [0.5, 1.0]), doses, 0.1, 0.05, ordered=False)
    assert (int(found.certified), float(found.dose)) == (2, 1.0)
    assert int(evidence(of([small, large], [0.5, 1.0]), doses, 0.1, 0.05).certified) == 0
    alone = evidence(of([large], [1.0]), doses[1:], 0.1, 0.025)
    assert float(found.low[1]) == pytest.approx(float(alone.low[0]), rel=1e-5)


def test_terms_opposites_and_evidence_agree_with_what_is_true():
    here = world()
    asked = question(asks(here.rule(0.6)), here.log(4000, 1), None, True, 8, 0)
    ours = terms(asked[0], None, *asked[1:], DECLARED, STEPS)
    against = opposite(asked[0], None, *asked[1:], DECLARED, STEPS)
    for place, dose in enumerate(DOSES):
        rule = (1 - dose) * here.logging + dose * here.rule(0.6)
        true = here.value(rule) - here.value(here.logging)
        for found, sign in ((ours, 1), (against, -1)):
            values = np.asarray(found.values[place], float)
            assert abs(values.mean() - sign * true) < 4 * values.std() / np.sqrt(4000)
            assert values.min() >= -float(found.bound[place]) * (1 + 1e-5)
    found = evidence(ours, STEPS, 0.0, 0.05)
    high = -evidence(against, STEPS, 1e-3, 0.05).low
    assert float(found.dose) == 1.0
    assert (np.asarray(found.low) < np.asarray(found.mean)).all()
    assert (np.asarray(high) > np.asarray(found.mean)).all()
    assert float(score(ours, 4000.0, 0.05)[-1]) == pytest.approx(float(found.low[-1]), abs=0.15)
    assert 20 < float(needed(ours, 0.0, 0.05)[-1]) < 4000


def test_swapping_policy_and_baseline_swaps_the_improvement():
    here = world()
    data = here.log(400, 1)
    first, second = (question(asks(here.rule(pull)), data, None, True, 8, 0) for pull in (0.5, -0.5))
    whole = jnp.ones(1)
    one = opposite(first[0], second[0], *first[1:], DECLARED, whole)
    two = terms(second[0], first[0], *first[1:], DECLARED, whole)
    np.testing.assert_allclose(one.values, two.values, rtol=1e-5, atol=1e-5)
    assert float(one.bound[0]) == float(two.bound[0]) == TIME


def test_a_randomised_test_needs_about_what_its_terms_say():
    here = world()
    asked = question(asks(here.rule(0.6)), here.log(4000, 2), None, True, 8, 0)
    planned = float(randomised(asked[0], *asked[1:], DECLARED, 0.0, 0.05))
    other = world()
    theirs = type(other)(other.begin, other.move, other.pay, other.rule(0.6))
    gains, losses = theirs.log(2000, 3).returns, other.log(2000, 4).returns
    measured = of([np.concatenate([2 * gains - TIME, 2 * (TIME - losses) - TIME])], [float(TIME)])
    wanted = float(needed(measured, 0.0, 0.05)[0])
    assert 0.5 < planned / wanted < 2


@partial(jax.jit, static_argnums=2)
def deploys(key, pull, repeats):
    """Return how often the gate certifies something about a policy that is exactly as good as the logging policy.

    Two choices pay the same on average whatever was done before, so every policy has the same value; weights are those
    of a policy that departs from the logging one by `pull`.
    """
    logging = jnp.asarray([0.3, 0.7])
    policy = (1 - pull) * logging + pull * jnp.asarray([1.0, 0.0])

    def one(key):
        action_key, reward_key, mood_key = jax.random.split(key, 3)
        first = jax.random.bernoulli(action_key, logging[0], (UNITS, TIME))
        ratio = jnp.where(first, policy[0] / logging[0], policy[1] / logging[1])
        mood = jax.random.uniform(mood_key, (UNITS, 1))  # of a unit: its rewards go together
        reward = jax.random.bernoulli(reward_key, mood, (UNITS, TIME)).astype(jnp.float32)
        found = gate.Paths(jnp.log(ratio), reward, jnp.ones((UNITS, TIME)), jnp.ones((UNITS, TIME), bool))
        values = jax.vmap(lambda dose: gate.improvement(found.dosed(dose), None, DECLARED))(STEPS)
        bound = jax.vmap(DECLARED.bound)(STEPS)
        every = Terms(values, bound, jnp.ones(UNITS, bool))
        return evidence(every, STEPS, 0.0, 0.05).certified > 0, evidence(every, STEPS, 0.0, 0.05, False).certified > 0

    return jax.tree.map(jnp.mean, jax.lax.map(one, jax.random.split(key, repeats), batch_size=20))


@pytest.mark.parametrize("pull", [0.1, 0.9])
def test_no_improvement_is_deployed_at_most_as_often_as_promised(pull):
    repeats = 1000
    for found in deploys(jax.random.key(1), pull, repeats):
        assert float(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / repeats)
