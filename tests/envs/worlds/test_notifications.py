"""The notification problem: its exact values, what its log tells and hides, and how good its policies are."""

import dataclasses
import functools
import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from weft.core.errors import UserError
from weft.data.load import load
from weft.envs.worlds import notifications
from weft.envs.worlds.notifications import WEIGHTS, Notifications, behaviour, expected, reference, simulate, value

HIDDEN = Notifications(hidden=True)
INSIDER = Notifications(hidden=True, insider=True, sharpness=20.0)
GAPS = {1: 0.5, 2: 0.3, 4: 0.2}


def always(send):
    return lambda seen: np.tile([1.0 - send, send], (len(seen), 1))


@functools.cache
def log():
    return load("sample:notifications", seed=5)


def by_hand(choose, steps, discount=1.0):
    """Return the value of `choose(kind, fatigue, moment, left)` by recursion over the equations, state by state."""

    @functools.cache
    def worth(kind, fatigue, moment, left):
        if left == 0:
            return 0.0
        send = choose(kind, fatigue, moment, left)
        total = 0.0
        for action, chance in ((0, 1 - send), (1, send)):
            click = action * (0.1, 0.9)[moment] * (0.9, 0.4)[kind] ** fatigue
            shock = ((0.3, 0.0), (0.9, 0.7))[kind][moment]
            leave = action * min(1.0, shock + (0.08, 0.1)[kind] * fatigue)
            after = 0.0
            for (gap, likely), then in itertools.product(GAPS.items(), (0, 1)):
                tired = fatigue + ((1, 2)[kind] if action else -1) - (gap == 4)
                after += likely / 2 * discount**gap * worth(kind, min(max(tired, 0), 4), then, left - 1)
            total += chance * (0.625 * click + 0.25 * 0.8 ** (fatigue + 1) + 0.125 * (1 - action) + (1 - leave) * after)
        return total

    begins = itertools.product((0, 1), (0, 1, 2), (0, 1))
    return sum(worth(*state, steps) for state in begins) / 12


def as_function(choose, steps):
    """Return a function of the observation for one of the state."""

    def answer(seen):
        send = [choose(int(k), round(4 * f), int(m), round(steps * left)) for f, m, left, k in np.asarray(seen)]
        return np.stack([1.0 - np.array(send), send], 1)

    return answer


def odd(kind, fatigue, moment, left):
    return (0.2 + 0.3 * moment + 0.1 * kind + 0.05 * left) / (1 + fatigue)


@pytest.mark.parametrize(("steps", "discount"), [(1, 1.0), (3, 1.0), (4, 0.9)])
def test_values_are_those_of_the_equations(steps, discount):
    world = Notifications(steps=steps)
    for choose in (odd, lambda *_: 0.0, lambda *_: 1.0):
        known = by_hand(choose, steps, discount)
        np.testing.assert_allclose(value(as_function(choose, steps), world, discount), known, rtol=1e-5)


@pytest.mark.parametrize(("world", "discount"), [(Notifications(), 1.0), (HIDDEN, 0.8), (INSIDER, 1.0)])
def test_simulated_users_return_what_is_computed(world, discount):
    for policy in (reference(world), always(0.5), None):
        found = simulate(policy, 4000, 3, world, discount)
        error = found.std(ddof=1) / np.sqrt(len(found))
        assert abs(found.mean() - value(policy, world, discount)) < 4 * error
        assert (found >= 0).all()
        assert (found <= world.steps).all()


def test_users_differ_by_seed_and_not_by_who_acts():
    one, again, other = simulate(None), simulate(None), simulate(None, seed=1)
    assert one.shape == (10_000,)
    np.testing.assert_array_equal(one, again)
    assert (one[1:] != other[:-1]).any()
    np.testing.assert_array_equal(one[:50], simulate(None, 50))
    assert np.corrcoef(simulate(always(0.0)), simulate(always(1.0)))[0, 1] > 0.05


def test_no_other_choice_in_any_state_is_better_than_the_reference():
    table = np.asarray(reference().table)
    best = value(reference())
    for place in itertools.product(*map(range, table.shape[:-1])):
        changed = table.copy()
        changed[place] = changed[place][::-1]
        assert value(notifications.Rule(jnp.asarray(changed))) <= best + 1e-6


def test_the_best_policy_is_a_threshold_in_fatigue():
    sends = np.asarray(reference().table)[..., 1]
    assert (np.diff(sends, axis=2) <= 0).all()
    assert (sends[..., 0] <= sends[..., 1]).all()  # whoever is bothered at a bad moment is bothered at a good one
    assert sends[:, 0].sum() > sends[:, 1].sum()  # the sensitive are left in peace
    assert 0 < sends.mean() < 0.5


def test_there_is_much_to_gain_over_a_weak_behaviour_and_little_over_a_sharp_one():
    values = [value(behaviour(sharpness=b)) for b in (0.0, 0.5, 1.0, 5.0, 20.0)]
    best = value(reference())
    assert (np.diff(values) > 0).all()
    assert values[1] < 0.65 * best
    assert 0.97 * best < values[-1] < best
    np.testing.assert_allclose(behaviour(sharpness=0.0).table, 0.5)
    assert np.asarray(behaviour(sharpness=1e4).table).min() > 0.009


def test_the_log_is_that_of_the_behaviour():
    data = log()
    chances = np.asarray(behaviour()(data.observations))
    np.testing.assert_allclose(np.exp(data.log_propensities), chances[np.arange(data.steps), data.actions], rtol=1e-5)
    assert abs(data.returns.mean() - value(None)) < 4 * data.returns.std() / np.sqrt(data.episodes)
    assert value(None) == pytest.approx(value(behaviour()))
    assert data.terminals.sum() == data.episodes
    assert data.spec.action.labels == ("hold", "send")


def test_steps_last_as_long_as_their_gap():
    found, counts = np.unique(log().durations, return_counts=True)
    assert found.tolist() == [1.0, 2.0, 4.0]
    np.testing.assert_allclose(counts / log().steps, list(GAPS.values()), atol=0.04)


def test_episodes_of_a_user_are_of_one_kind():
    data = load("sample:notifications", episodes=90, per_user=3, seed=2)
    assert data.spec.unit == "user"
    assert data.units("user").tolist() == [i // 3 for i in range(90)]
    kinds = data.first_observations[:, 3].reshape(30, 3)
    assert (kinds == kinds[:, :1]).all()
    assert 5 < kinds[:, 0].sum() < 25
    assert (np.ptp(data.first_observations[:, 0].reshape(30, 3), axis=1) > 0).any()
    again = load("sample:notifications", episodes=90, per_user=3, seed=3).first_observations[:, 3]
    assert (again != kinds.reshape(-1)).any()


def test_objectives_weigh_up_to_the_reward():
    apart, plain = load("sample:notifications", seed=5, objectives=True), log()
    assert apart.spec.rewards == tuple(WEIGHTS)
    assert np.isin(apart.rewards, [0.0, 1.0]).all()
    np.testing.assert_array_equal(apart.rewards[:, 2], apart.actions == 0)
    assert (apart.rewards[:, 0] <= apart.actions).all()
    one = apart.rewarded(WEIGHTS)
    np.testing.assert_array_equal(one.rewards, plain.rewards)
    assert (one.spec.reward_low, one.spec.reward_high) == ((0.0,), (1.0,))
    assert one.spec == plain.spec


def test_weighing_quiet_draws_a_front():
    clicks, holds = [], []
    for quiet in (0.0, 0.2, 0.4, 0.7):
        policy = reference(Notifications(weights=(1.0 - quiet, 0.0, quiet)))
        clicks.append(value(policy, Notifications(weights=(1.0, 0.0, 0.0))))
        holds.append(value(policy, Notifications(weights=(0.0, 0.0, 1.0))))
    assert (np.diff(clicks) < 0).all()
    assert (np.diff(holds) > 0).all()


def test_an_insider_does_what_no_policy_of_its_log_can():
    data = load("sample:notifications", hidden=True, insider=True, sharpness=20.0, episodes=300)
    assert data.observations.shape[1] == 3
    rows = {}
    for seen, action, chance in zip(data.observations, data.actions, data.log_propensities, strict=True):
        rows.setdefault((*seen.tolist(), action), set()).add(round(float(chance), 4))
    assert max(map(len, rows.values())) == 2  # two kinds behind one observation
    assert value(None, INSIDER) > value(reference(HIDDEN), HIDDEN) + 0.08
    assert value(reference(HIDDEN), HIDDEN) < value(reference()) - 0.1
    blind = dataclasses.replace(HIDDEN, sharpness=20.0)
    assert value(None, blind) < value(reference(HIDDEN), HIDDEN)


def test_policies_are_functions_or_have_probabilities():
    class Even:
        probabilities = staticmethod(always(0.25))

        def __call__(self, seen):
            raise AssertionError("a policy that has probabilities is asked for those")

    assert value(Even()) == value(always(0.25))
    with pytest.raises(UserError, match=r"must answer 100 observations with probabilities \(100, 2\)"):
        value(lambda seen: np.zeros(len(seen)))
    with pytest.raises(UserError, match="are no probabilities"):
        simulate(lambda seen: np.ones((len(seen), 2)), 10)
    with pytest.raises(UserError, match="at least one user"):
        simulate(None, 0)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"steps": 0}, "at least one step"),
        ({"per_user": 0}, "at least one episode"),
        ({"sharpness": -1.0}, "must not be negative"),
        ({"insider": True}, "set hidden, too"),
        ({"weights": (0.9, 0.2, 0.0)}, "sum to at most 1"),
        ({"weights": (0.9, 0.1)}, "click, visit, quiet"),
    ],
)
def test_impossible_settings_are_refused(fields, sentence):
    with pytest.raises(UserError, match=sentence):
        Notifications(**fields)


def test_expected_counts_add_up_to_the_value():
    world = Notifications(steps=4)
    for policy in (reference(world), always(0.3), None):
        found = expected(policy, world)
        weighted = sum(weight * found[name] for name, weight in notifications.WEIGHTS.items())
        assert weighted == pytest.approx(value(policy, world), rel=1e-5)
        assert found["send"] + found["quiet"] == pytest.approx(found["decision"], rel=1e-5)
    assert expected(always(0.0), world) == pytest.approx(
        {"click": 0.0, "visit": expected(always(0.0), world)["visit"], "quiet": 4.0, "send": 0.0, "decision": 4.0}
    )


def test_expected_counts_are_those_of_a_log():
    data = load("sample:notifications", episodes=3000, objectives=True, seed=4)
    found = expected(None)
    for place, name in enumerate(data.spec.rewards):
        each = np.array([data.episode(i).rewards[:, place].sum() for i in range(data.episodes)])
        assert abs(each.mean() - found[name]) < 4 * each.std() / np.sqrt(len(each))
    assert data.steps / data.episodes == pytest.approx(found["decision"], abs=0.1)


def test_the_reference_knows_the_discount():
    world = Notifications(steps=10)
    impatient = reference(world, 0.7)
    assert (np.asarray(impatient.table) != np.asarray(reference(world).table)).any()
    assert value(impatient, world, 0.7) > value(reference(world), world, 0.7)
    assert value(impatient, world) < value(reference(world), world)
