"""The statistic behind a decision: how often a whole gate is wrong, where it stops, what it is about."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tabular import asks, world

from weft.deployment import dose_test as gate
from weft.deployment.dose_test import DOSES, Terms, evidence, needed, opposite, prospect, randomised, terms
from weft.evaluation.bounded_terms import Range, improvement
from weft.evaluation.case import case_of
from weft.evaluation.trajectories import Paths

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
    asked = case_of(asks(here.rule(0.6)), here.log(4000, 1), None, True, 8, 0)
    ours = terms(asked, None, STEPS)
    against = opposite(asked, None, STEPS)
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
    assert 20 < float(needed(ours, 0.0, 0.05)[-1]) < 4000


def test_a_plan_says_where_to_begin_and_how_to_bet():
    good, bad = np.full(200, 0.3), np.tile([0.3, -0.3], 100)
    doses = jnp.asarray([0.1, 0.5, 1.0])
    every = of([bad, good, good], [1.0, 1.0, 1.0])
    plan = prospect(lambda _: every, doses, 0.5, 0.3, 100.0, 0.0, 0.05)
    assert (int(plan.start), float(plan.dose), float(plan.score)) == (1, 1.0, pytest.approx(0.3, rel=1e-3))
    found = evidence(every, doses, 0.0, 0.05, plan=plan)
    assert (int(found.certified), float(found.dose)) == (3, 1.0)
    even = evidence(every, doses, 0.0, 0.05)
    assert int(even.certified) == 0
    assert float(found.log_wealth[1]) > float(even.log_wealth[1])  # the bets that paid on the select fold
    fallen = evidence(of([good, bad, good], [1.0, 1.0, 1.0]), doses, 0.0, 0.05, plan=plan)
    assert int(fallen.certified) == 0  # the first dose in the order fails, and the order ends
    assert float(prospect(lambda _: every, doses, 0.5, -0.2, 100.0, 0.0, 0.05).score) == pytest.approx(-0.02)


def test_a_plan_has_an_order_above_a_margin_too():
    doses = jnp.asarray([0.1, 1.0])
    every = of([np.tile([0.1, -0.06], 100), np.full(200, 0.3)], [0.5, 1.0])
    plan = prospect(lambda _: every, doses, 0.5, 0.3, 200.0, 0.1, 0.05)
    assert int(plan.start) == 1
    found = evidence(every, doses, 0.1, 0.05, ordered=False, plan=plan)
    assert (int(found.certified), float(found.dose)) == (2, 1.0)
    shared = evidence(every, doses, 0.1, 0.05, ordered=False)
    assert float(found.low[1]) > float(shared.low[1])  # the whole risk, not its share


def test_a_declared_floor_makes_the_same_evidence_stronger():
    here = world()
    data = here.log(300, 3)
    asked = case_of(asks(here.rule(0.6)), data, None, True, 8, 0)
    floored = dataclasses.replace(asked, declared=Range(0.0, 1.0, 1.0, TIME, float(here.logging.min())))
    usual = jax.tree.map(lambda part: part * jnp.ones(len(DOSES)), gate.USUAL)
    plain, centred = terms(asked, None, STEPS), terms(floored, None, STEPS, usual)
    assert (np.asarray(centred.values).var(1)[:6] < 0.6 * np.asarray(plain.values).var(1)[:6]).all()
    one, two = (evidence(found, STEPS, 0.0, 0.05) for found in (plain, centred))
    assert (np.asarray(two.log_wealth)[:6] > np.asarray(one.log_wealth)[:6]).all()
    against, centred = (opposite(floored, None, STEPS, centre) for centre in (None, usual))
    assert (np.asarray(centred.values).var(1)[:6] < 0.6 * np.asarray(against.values).var(1)[:6]).all()


def test_swapping_policy_and_baseline_swaps_the_improvement():
    here = world()
    data = here.log(400, 1)
    first, second = (case_of(asks(here.rule(pull)), data, None, True, 8, 0) for pull in (0.5, -0.5))
    whole = jnp.ones(1)
    one, two = opposite(first, second, whole), terms(second, first, whole)
    np.testing.assert_allclose(one.values, two.values, rtol=1e-5, atol=1e-5)
    assert float(one.bound[0]) == float(two.bound[0]) == TIME


def test_a_randomised_test_needs_about_what_its_terms_say():
    here = world()
    asked = case_of(asks(here.rule(0.6)), here.log(4000, 2), None, True, 8, 0)
    planned = float(randomised(asked, 0.0, 0.05))
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
    logging, floored = jnp.asarray([0.3, 0.7]), Range(0.0, 1.0, 1.0, TIME, 0.3)
    policy = (1 - pull) * logging + pull * jnp.asarray([1.0, 0.0])

    def one(key):
        action_key, reward_key, mood_key = jax.random.split(key, 3)
        first = jax.random.bernoulli(action_key, logging[0], (UNITS, TIME))
        ratio = jnp.where(first, policy[0] / logging[0], policy[1] / logging[1])
        mood = jax.random.uniform(mood_key, (UNITS, 1))  # of a unit: its rewards go together
        reward = jax.random.bernoulli(reward_key, mood, (UNITS, TIME)).astype(jnp.float32)
        found = Paths(jnp.log(ratio), reward, jnp.ones((UNITS, TIME)), jnp.ones((UNITS, TIME), bool))
        values = jax.vmap(lambda dose: improvement(found.dosed(dose), None, DECLARED))(STEPS)
        there = jnp.ones(UNITS, bool)
        every = Terms(values, jax.vmap(DECLARED.bound)(STEPS), there)

        def centred(dose):
            taken = floored.centring(dose, gate.USUAL)
            return improvement(found.dosed(dose), None, floored, taken), floored.bound(dose, gate.USUAL)

        centred = Terms(*jax.vmap(centred)(STEPS), there)
        said = evidence(every, STEPS, 0.0, 0.05), evidence(every, STEPS, 0.0, 0.05, False)
        return [one.certified > 0 for one in (*said, evidence(centred, STEPS, 0.0, 0.05))]

    return jax.tree.map(jnp.mean, jax.lax.map(one, jax.random.split(key, repeats), batch_size=20))


@pytest.mark.parametrize("pull", [0.1, 0.9])
def test_no_improvement_is_deployed_at_most_as_often_as_promised(pull):
    repeats = 1000
    for found in deploys(jax.random.key(1), pull, repeats):
        assert float(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / repeats)
