"""Terms for betting: right means by enumeration of all episodes, lower bounds, padding, units."""

import itertools
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.evaluation.bounded_terms import Centre, Range, decline, improvement, unit_means, value
from weft.evaluation.trajectories import Paths

PLACES, CHOICES, TIME, LONGER = 2, 2, 3, 5
RNG = np.random.default_rng(3)
BEGIN, MOVE = RNG.dirichlet(np.ones(PLACES)), RNG.dirichlet(np.ones(PLACES), (PLACES, CHOICES))
PAY, STOP = RNG.uniform(0.2, 0.8, (PLACES, CHOICES)), RNG.uniform(0.1, 0.6, (PLACES, CHOICES))
LOGGING, FIRST, SECOND = RNG.dirichlet(np.ones(CHOICES), (3, PLACES))
DISCOUNT = 0.9


def every_episode(policy):
    """Return all episodes of at most `TIME` steps: their chance under LOGGING, and paths of a policy."""
    chances, ratios, rewards, there = [], [], [], []

    def go(chance, place, ratio, reward):
        if len(ratio) == TIME:
            return keep(chance, ratio, reward)
        for action, pays in itertools.product(range(CHOICES), (0.0, 1.0)):
            here = chance * LOGGING[place, action] * (PAY[place, action] if pays else 1 - PAY[place, action])
            more = [*ratio, policy[place, action] / LOGGING[place, action]], [*reward, pays]
            keep(here * STOP[place, action], *more)
            for later in range(PLACES):
                go(here * (1 - STOP[place, action]) * MOVE[place, action, later], later, *more)
        return None

    def keep(chance, ratio, reward):
        rest = TIME - len(ratio)
        chances.append(chance)
        ratios.append([*ratio, *[1.0] * rest])
        rewards.append([*reward, *[0.0] * rest])
        there.append([True] * len(ratio) + [False] * rest)

    for place in range(PLACES):
        go(BEGIN[place], place, [], [])
    discount = jnp.broadcast_to(DISCOUNT ** jnp.arange(TIME), (len(chances), TIME))
    made = Paths(jnp.log(jnp.asarray(ratios)), jnp.asarray(rewards), discount, jnp.asarray(there))
    return np.array(chances), made


def true(policy):
    found = np.zeros(PLACES)
    for _ in range(TIME):
        found = (policy * (PAY + DISCOUNT * (1 - STOP) * (MOVE @ found))).sum(1)
    return BEGIN @ found


CHANCES, OURS = every_episode(FIRST)
OTHERS = every_episode(SECOND)[1]
DECLARED = Range(-0.5, 1.5, DISCOUNT, LONGER)  # the horizon is two steps beyond the longest episode of the log
TOTAL = sum(DISCOUNT**t for t in range(LONGER))


def test_the_enumeration_is_whole():
    assert CHANCES.sum() == pytest.approx(1)
    assert CHANCES @ np.asarray(OURS.weight)[:, -1] == pytest.approx(1, abs=1e-5)
    assert {int(n) for n in np.asarray(OURS.there).sum(1)} == {1, 2, 3}


def test_values_have_the_right_mean_and_are_never_negative():
    lower, upper = (np.asarray(part, float) for part in value(OURS, DECLARED))
    assert CHANCES @ lower == pytest.approx(true(FIRST) + 0.5 * TOTAL, rel=1e-5)
    assert CHANCES @ upper == pytest.approx(1.5 * TOTAL - true(FIRST), rel=1e-5)
    assert min(lower.min(), upper.min()) >= 0


def test_improvements_have_the_right_mean_over_any_baseline():
    for found, baseline, wanted in (
        (OURS, None, true(FIRST) - true(LOGGING)),
        (OURS, OTHERS, true(FIRST) - true(SECOND)),
        (OTHERS, OURS, true(SECOND) - true(FIRST)),
    ):
        terms = np.asarray(improvement(found, baseline, DECLARED), float)
        assert CHANCES @ terms == pytest.approx(wanted, abs=2e-5)
        assert terms.min() >= -float(DECLARED.bound()) * (1 + 1e-6)
    assert CHANCES @ np.asarray(decline(OURS, DECLARED)) == pytest.approx(true(LOGGING) - true(FIRST), abs=2e-5)


def test_the_short_form_over_the_logging_policy_is_the_long_one():
    still = Paths(jnp.zeros_like(OURS.log_ratio), OURS.reward, OURS.discount, OURS.there)
    close = partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-5)
    close(improvement(OURS, None, DECLARED), improvement(OURS, still, DECLARED))
    close(decline(OURS, DECLARED), improvement(still, OURS, DECLARED))


@settings(max_examples=60, deadline=None)
@given(
    dose=st.floats(0.01, 1.0),
    ratios=st.lists(st.floats(0, 30), min_size=TIME, max_size=TIME),
    rewards=st.lists(st.floats(-0.5, 1.5), min_size=TIME, max_size=TIME),
    length=st.integers(1, TIME),
)
def test_no_term_is_below_the_bound_of_its_dose(dose, ratios, rewards, length):
    there = jnp.arange(TIME)[None] < length
    log_ratio = jnp.where(there, jnp.log(jnp.asarray([ratios], jnp.float32)), 0.0)
    found = Paths(log_ratio, jnp.where(there, jnp.asarray([rewards], jnp.float32), 0.0), jnp.ones((1, TIME)), there)
    bound = float(DECLARED.bound(dose))
    room = 1e-6 * max(1.0, bound)
    assert float(improvement(found.dosed(dose), None, DECLARED)[0]) >= -bound - room
    assert float(decline(found.dosed(dose), DECLARED)[0]) >= -bound - room
    assert bound <= float(DECLARED.bound()) * (1 + 1e-6)


FLOORED = Range(-0.5, 1.5, DISCOUNT, LONGER, 0.2)
CENTRES = [Centre(0.5, 0.0), Centre(0.3, 2.0), Centre(0.9, 1e9)]


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("dose", [0.2, 1.0])
def test_what_is_taken_off_rewards_changes_no_mean(centre, dose):
    dosed = OURS.dosed(dose)
    taken = FLOORED.centring(dose, centre)
    assert float(taken.max()) > 0
    wanted = CHANCES @ np.asarray(improvement(dosed, None, DECLARED), float)
    assert CHANCES @ np.asarray(improvement(dosed, None, FLOORED, taken), float) == pytest.approx(wanted, abs=2e-5)
    assert CHANCES @ np.asarray(decline(dosed, FLOORED, taken), float) == pytest.approx(-wanted, abs=2e-5)


@settings(max_examples=100, deadline=None)
@given(
    dose=st.floats(0.01, 1.0),
    centre=st.sampled_from(CENTRES),
    ratios=st.lists(st.floats(0, 5), min_size=TIME, max_size=TIME),  # 5 is one over the floor
    rewards=st.lists(st.floats(-0.5, 1.5), min_size=TIME, max_size=TIME),
    length=st.integers(1, TIME),
)
def test_no_centred_term_is_below_its_bound(dose, centre, ratios, rewards, length):
    there = jnp.arange(TIME)[None] < length
    log_ratio = jnp.where(there, jnp.log(jnp.asarray([ratios], jnp.float32)), 0.0)
    found = Paths(log_ratio, jnp.where(there, jnp.asarray([rewards], jnp.float32), 0.0), jnp.ones((1, TIME)), there)
    bound, taken = float(FLOORED.bound(dose, centre)), FLOORED.centring(dose, centre)
    room = 1e-5 * max(1.0, bound)
    assert float(improvement(found.dosed(dose), None, FLOORED, taken)[0]) >= -bound - room
    assert float(decline(found.dosed(dose), FLOORED, taken)[0]) >= -bound - room


def test_a_part_of_the_centre_is_free_and_more_costs_what_it_says():
    for dose in (0.1, 0.5, 1.0):
        plain = float(FLOORED.bound(dose))
        assert float(FLOORED.bound(dose, Centre(0.5, 0.0))) < plain
        assert float(FLOORED.bound(dose, Centre(0.5, 4.0))) <= 4 * plain
        assert float(DECLARED.bound(dose, Centre(0.5, 4.0))) == pytest.approx(float(DECLARED.bound(dose)))  # no floor
    assert float(FLOORED.centring(0.1, Centre(0.4, 1e9)).min()) == pytest.approx(0.4)
    assert FLOORED.share(true(LOGGING)) == pytest.approx((true(LOGGING) / TOTAL + 0.5) / 2, rel=1e-5)


def test_the_bound_of_a_dose_is_reached():
    one = jnp.ones((1, TIME))
    never = Paths(-jnp.inf * one, one, one, one > 0)
    declared = Range(0.0, 1.0, 1.0, TIME)
    wanted = sum(1 - 0.8 ** (t + 1) for t in range(TIME))
    assert float(declared.bound(0.2)) == pytest.approx(wanted, rel=1e-5)
    assert float(improvement(never.dosed(0.2), None, declared)[0]) == pytest.approx(-wanted, rel=1e-5)


def test_units_are_means_of_their_episodes_and_those_outside_the_view_do_not_count():
    means, there = unit_means(
        jnp.asarray([1.0, 3.0, 5.0, jnp.nan]), jnp.asarray([1.0, 1.0, 1.0, 0.0]), jnp.asarray([2, 0, 2, 1])
    )
    assert np.asarray(means)[np.asarray(there)].tolist() == [3.0, 3.0]
    assert np.asarray(there).tolist() == [True, False, True, False]
