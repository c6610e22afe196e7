"""Single decisions with known answers: what propensities right, what is never done, what is saved and refused."""

import builtins
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import weft
from weft.agents.parts.boosting import Boosted
from weft.agents.parts.crossfitting import Decisions
from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.data.units import fit_transform
from weft.training.session import transformed

pytest.importorskip("lightgbm")


def logged(seen, actions, rewards, propensities=None, choices=2, **options):
    """Return a log of single decisions."""
    ends = np.ones(len(actions), bool)
    return Dataset.from_arrays(seen, actions, rewards, ends, propensities=propensities, action_count=choices, **options)


def hidden_cause(count=4000, propensities=True, seed=0):
    """Action 0 brings .5; action 1 brings h, which the log hides, 1 in 3 of 10 cases where x = 0 and in 7 where x = 1.

    Who logged it knew h, so that the mean of action 1 is .79 and .95: the best actions are 0 and 1, by exact values.
    """
    random = np.random.default_rng(seed)
    seen = random.integers(0, 2, count)
    cause = random.uniform(size=count) < np.array([0.3, 0.7])[seen]
    chance = np.where(cause, 0.9, 0.1)
    actions = (random.uniform(size=count) < chance).astype(int)
    rewards = np.where(actions == 1, cause, 0.5).astype(np.float32)
    own = np.where(actions == 1, chance, 1 - chance)
    return logged(seen[:, None].astype(np.float32), actions, rewards, own if propensities else None)


def trained(data, steps=100, **changes):
    return weft.fit(weft.Regression(**changes), data, steps, 1, progress=False, batch_size=8)


def values(run, seen, unit=1.0):
    """Return what a run holds each action to be worth, in the rewards of the log."""
    shown = run.transform.observe(jnp.asarray(seen))
    return np.asarray(run.state().so_far.predict(shown)) * run.unit * unit


BOTH = np.array([[0.0], [1.0]], np.float32)


def test_propensities_right_what_a_hidden_cause_confounds():
    told, untold = trained(hidden_cause()), trained(hidden_cause(propensities=False))
    np.testing.assert_array_equal(told.policy()(BOTH), [0, 1])
    np.testing.assert_array_equal(untold.policy()(BOTH), [1, 1])  # plain regression believes what it was shown
    np.testing.assert_allclose(values(told, BOTH), [[0.5, 0.3], [0.5, 0.7]], atol=0.05)
    np.testing.assert_allclose(values(untold, BOTH), [[0.5, 0.79], [0.5, 0.95]], atol=0.05)


def test_every_context_gets_its_best_action_without_propensities():
    random, table = np.random.default_rng(1), np.array([[0.1, 0.5, 0.3], [0.6, 0.2, 0.4], [0.3, 0.3, 0.9]])
    place, actions = random.integers(0, 3, 6000), random.integers(0, 3, 6000)
    rewards = (random.uniform(size=6000) < table[place, actions]).astype(np.float32)
    data = logged({"shop": place}, actions, rewards, choices=3, kinds={"shop": "category"})
    run, shops = trained(data), {"shop": np.arange(3)}
    np.testing.assert_array_equal(run.policy()(shops), table.argmax(1))
    np.testing.assert_allclose(values_of(run, shops), table, atol=0.07)


def values_of(run, seen):
    return np.asarray(run.state().so_far.predict(run.transform.observe(seen))) * run.unit


@pytest.fixture(scope="module")
def run():
    return trained(hidden_cause())


def test_the_forest_predicts_what_the_library_predicts():
    data, setting = hidden_cause(1500), weft.Regression(trees=40)
    random = np.random.default_rng(3)
    seen = random.normal(size=(1500, 4)).astype(np.float32)
    rewards = np.sin(seen[:, 0]) + seen[:, 1] * data.actions + 0.1 * random.normal(size=1500)
    data = logged(seen, data.actions, rewards.astype(np.float32), np.exp(data.log_propensities))
    columns, key = transformed(fit_transform(data, rewards="size"), data.device()), jax.random.key(0)
    log = Decisions.of(key, columns, data.spec, setting.folds, setting.largest_weight)
    forest, wanted = setting.prefit(key, columns, data.spec), []
    for action in range(2):
        base, parts = setting._ensemble(log, action)
        assert all(isinstance(part, Boosted) for part in parts)
        assert len(parts) == 2 * setting.folds
        wanted.append(base + sum(part.predict(log.table) for part in parts) / setting.folds)
    np.testing.assert_allclose(forest.predict(columns.observation[columns.position]), np.stack(wanted, 1), atol=1e-5)


def test_a_unit_lies_in_one_fold_and_else_an_episode_does():
    count, unit = 600, np.arange(600) // 3
    random = np.random.default_rng(0)
    arrays = random.normal(size=(count, 1)).astype(np.float32), random.integers(0, 2, count), random.normal(size=count)
    data = logged(*arrays, columns={"user": unit.astype(str)}, unit="user")
    columns = data.device(units=True)
    log = Decisions.of(jax.random.key(0), columns, data.spec, 5, 50.0)
    assert all(len(set(log.fold[unit == one])) == 1 for one in range(200))
    assert set(log.fold) == set(range(5))
    assert data.device().unit is None
    apart = Decisions.of(jax.random.key(0), data.device(), data.spec, 5, 50.0)
    assert any(len(set(apart.fold[unit == one])) > 1 for one in range(200))


def test_a_view_is_fitted_on_its_own_rows():
    data = hidden_cause(1000)
    view = data.select(np.arange(0, 1000, 2))
    log = Decisions.of(jax.random.key(0), view.device(), view.spec, 5, 4.0)
    np.testing.assert_array_equal(log.action, view.actions)
    np.testing.assert_allclose(log.table, view.observations)
    assert log.weight.max() == 4.0


def test_steps_are_trees_and_later_ones_change_nothing(run):
    data, last = hidden_cause(), int(run.state().forest.rounds)
    assert 3 < last <= 100
    few = trained(data, 3)
    assert int(few.state().so_far.rounds) == 3
    assert not np.array_equal(values(few, BOTH), values(run, BOTH))
    np.testing.assert_array_equal(values(trained(data, 400), BOTH), values(run, BOTH))


def test_a_saved_policy_is_the_same_bit_for_bit_and_needs_no_library(run, tmp_path, monkeypatch):
    run.save_policy(tmp_path / "policy.safetensors")
    absent(monkeypatch)
    again, seen = weft.load_policy(tmp_path / "policy.safetensors"), np.linspace(-2, 3, 200, dtype=np.float32)[:, None]
    own = run.policy()
    one, two = own.probabilities(seen), again.probabilities(seen)
    np.testing.assert_array_equal(one, two)
    for left, right in zip(jax.tree.leaves(own.inner), jax.tree.leaves(again.inner), strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(again(seen), own(seen))


def test_what_was_never_logged_is_never_done():
    random = np.random.default_rng(0)
    seen, actions = random.normal(size=(500, 1)).astype(np.float32), random.integers(0, 2, 500)
    policy = trained(logged(seen, actions, -1.0 - actions, choices=3), epsilon=0.2).policy()
    np.testing.assert_allclose(policy.probabilities(seen[:2]), [[0.9, 0.1, 0.0]] * 2, atol=1e-6)
    assert (np.asarray(policy(seen)) == 0).all()
    assert policy.log_prob((), seen[0], 2) == -np.inf
    drawn = np.asarray(policy.act((), jnp.repeat(seen[:1], 4000, 0), jax.random.key(1), greedy=False)[0])
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 4000, [0.9, 0.1, 0.0], atol=0.02)


def test_a_rare_action_is_held_to_be_as_good_as_the_others_until_it_shows():
    actions = np.arange(2000) % 2
    rewards = np.where(np.arange(2000) % 4 < 2, 1.0, 0.0)
    actions[7], rewards[7] = 2, 1.0  # one lucky try
    seen = np.random.default_rng(0).normal(size=(2000, 1)).astype(np.float32)
    run = trained(logged(seen, actions, rewards.astype(np.float32), choices=3))
    assert values(run, np.zeros((1, 1), np.float32))[0, 2] < 0.6


# --- refusals -----------------------------------------------------------------------------------------------------


def absent(monkeypatch):
    """Let LightGBM be as if it were not installed."""
    real = builtins.__import__

    def importing(name, *rest, **options):
        if name == "lightgbm":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", importing)


SEEN = np.random.default_rng(0).normal(size=(200, 1)).astype(np.float32)
EVEN, RISING = np.arange(200) % 2, np.arange(200, dtype=np.float32)


def pictures():
    return logged(np.zeros((200, 12, 12), np.uint8), EVEN, RISING)


def sequences():
    return Dataset.from_arrays(SEEN, EVEN, RISING, EVEN == 1, action_count=2)


def doses():
    return Dataset.from_arrays(SEEN, SEEN, RISING, np.ones(200, bool), action_bounds=([-9.0], [9.0]))


REFUSED = {
    "sequences": (sequences, "single decisions, and the log has episodes of up to 2 steps"),
    "continuous": (doses, "learns from discrete actions"),
    "pictures": (pictures, "learns from category or vector observations, the log's are of the kind image"),
    "one known action": (lambda: logged(SEEN, 0 * EVEN, RISING, choices=1), "the log knows one only"),
    "one action": (lambda: logged(SEEN, 0 * EVEN, RISING), "the log holds one action only"),
    "equal rewards": (lambda: logged(SEEN, EVEN, 1 + 0 * RISING), "all rewards of the log are equal"),
    "few rows": (lambda: logged(SEEN[:99], EVEN[:99], RISING[:99]), "at least 100 decisions, the log has 99"),
    "few units": (
        lambda: logged(SEEN, EVEN, RISING, columns={"user": (EVEN + 1).astype(str)}, unit="user"),
        "5 folds, and the log has 2",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_from_is_refused_in_a_sentence(name):
    make, words = REFUSED[name]
    with pytest.raises(UserError, match=words) as refusal:
        trained(make())
    assert str(refusal.value).count(". ") == 0


def test_an_absent_library_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    absent(monkeypatch)
    with pytest.raises(UserError, match=r"pip install 'weft\[trees\]'"):
        weft.fit(weft.Regression(), hidden_cause(200), 5, 1, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    [{"penalty": -1.0}, {"epsilon": 1.1}, {"learning_rate": 0.0}, {"leaves": 1}, {"folds": 2}, {"trees": 0},
     {"least_rows": 0}, {"patience": 0}, {"largest_weight": 0.0}],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(changes):
    with pytest.raises(UserError):
        weft.Regression(**changes)


def test_a_swept_run_and_workers_see_the_same_log(run):
    settings = weft.grid(weft.Regression(), penalty=[10.0, 100.0])
    swept = weft.fit(settings, hidden_cause(), 100, 1, progress=False, batch_size=8)
    one, two = (jax.tree.leaves(dataclasses.asdict(swept.state(number).forest)) for number in range(2))
    assert not all(map(np.array_equal, one, two))
    np.testing.assert_allclose(swept.state(0).forest.base, run.state().forest.base)
