"""The second act's learners, terms and truths against known answers, on logs of a few dozen users."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import weft
from weft.core.pytree import as_arrays
from weft.deployment import dose_test as gate
from weft.envs.worlds.notifications import Notifications, Rule, behaviour, reference, value
from weft.evaluation.bounded_terms import Range
from weft.evaluation.case import case_of
from weft.reports import demonstration_trust as act

WORLD = Notifications()
draw = jax.jit(act._log, static_argnums=3)


@pytest.fixture(scope="module")
def log():
    return draw(as_arrays(WORLD), jnp.float32(1), jax.random.key(3), 80)


def dataset(log):
    """Return the same campaigns as a weft data set."""
    alive = np.asarray(log.alive)
    kind, level, moment = np.unravel_index(np.asarray(log.here), act.SHAPE)
    left = 1 - np.broadcast_to(np.arange(5) / 5, alive.shape)
    seen = np.stack([level / 4, moment, left, kind], -1).astype(np.float32)[alive]
    ends = alive & ~np.asarray(log.goes_on)
    return weft.Dataset.from_arrays(
        seen, np.asarray(log.action)[alive], np.asarray(log.reward)[alive], ends[alive],
        propensities=np.exp(np.asarray(log.log_propensity))[alive], horizon=5, discount=1.0, reward_range=(0.0, 1.0),
    )  # fmt: skip


def test_terms_are_those_of_the_gate(log):
    table = reference(WORLD).table.reshape(5, -1, 2)
    doses, declared = jnp.asarray([0.1, 0.5, 1.0]), Range(0.0, 1.0, 1.0, 5)
    mine = act._terms(table, log, declared, doses, None)
    answer = reference(WORLD)
    asked = case_of(lambda seen: np.asarray(answer(seen)), dataset(log), None, True, 8, 0)
    theirs = gate.terms(asked, None, doses)
    np.testing.assert_allclose(mine.values, theirs.values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mine.bound, theirs.bound, rtol=1e-6)
    assert mine.there.all()
    assert theirs.there.all()


def test_a_learned_table_is_optimal_in_the_world_of_its_counts(log):
    table, worth = act._learned(log, 0.0)
    here, there, action, reward, alive, goes_on = (
        np.asarray(part)
        for part in (log.here, log.there, log.action, log.reward, log.alive, log.goes_on)
    )  # fmt: skip
    later = np.zeros(20)
    for step in reversed(range(5)):
        q = np.zeros((20, 2))
        for place in range(20):
            for choice in range(2):
                rows = (here[:, step] == place) & (action[:, step] == choice) & alive[:, step]
                if rows.any():
                    onward = np.where(goes_on[rows, step], later[there[rows, step]], 0.0)
                    q[place, choice] = (reward[rows, step] + onward).mean()
        np.testing.assert_array_equal(np.asarray(table[step]).argmax(1), q.argmax(1))
        later = q.max(1)
    assert float(worth) == pytest.approx(later[here[:, 0]].mean(), rel=1e-5)


def test_pessimism_keeps_away_from_what_was_hardly_tried(log):
    bold, careful = (np.asarray(act._learned(log, pessimism)[0]) for pessimism in (0.0, 100.0))
    tried = np.zeros((5, 20, 2))
    np.add.at(tried, (np.broadcast_to(np.arange(5), log.here.shape), np.asarray(log.here), np.asarray(log.action)),
              np.asarray(log.alive, float))  # fmt: skip
    both = (tried > 0).all(2) & (tried[..., 0] != tried[..., 1])
    np.testing.assert_array_equal(careful[both].argmax(1), tried[both].argmax(1))
    assert (bold[both].argmax(1) != tried[both].argmax(1)).any()


def test_a_hidden_kind_is_not_used():
    log = draw(as_arrays(WORLD), jnp.float32(0), jax.random.key(3), 80)
    assert int(log.here.max()) < 10
    table = act._every_kind(act._learned(log, 0.0)[0], jnp.float32(0))
    np.testing.assert_array_equal(table[:, 0], table[:, 1])


@pytest.mark.parametrize("drawn", [False, True])
def test_the_tested_policy_is_the_chosen_one_at_its_dose(drawn):
    chances = jnp.asarray([[0.3, 0.7], [0.9, 0.1]])
    policy = types.SimpleNamespace(
        probabilities=lambda seen: chances[: len(seen)], act=lambda _, seen: (chances[: len(seen)].argmax(1), ())
    )
    found = types.SimpleNamespace(policy=policy, table=[types.SimpleNamespace(drawn=drawn, chosen=True)])
    seen = jnp.asarray([[0.0, 1.0, 1.0, 0.0], [0.25, 0.0, 0.4, 1.0]])
    answer = act.policy_of(found)
    np.testing.assert_allclose(answer(seen), chances if drawn else [[0, 1], [1, 0]])
    mixed = act.dosed(answer, 0.25, WORLD)(seen)
    np.testing.assert_allclose(mixed, 0.75 * behaviour(WORLD)(seen) + 0.25 * answer(seen), rtol=1e-6)


def test_counts_are_measured_and_repeat(monkeypatch):
    monkeypatch.setattr(act, "LOGS", 4)
    monkeypatch.setattr(act, "CAMPAIGNS", 40)
    weak = act.KINDS[-1]
    found, again = act.count(weak, 1), act.count(weak, 1)
    np.testing.assert_array_equal(found.usual, again.usual)
    assert (found.usual > 0.2).all(), "nearly anything is better than a coin"
    assert (act.count(weak, 2).usual != found.usual).any()
    assert found.base == pytest.approx(value(None, WORLD))
    assert found.best == pytest.approx(value(Rule(reference(WORLD).table), WORLD))
    assert np.isnan(found.low[found.dose == 0]).all()
