"""Every estimator against exact answers: all episodes of a small world in exact proportion, slow loops, by hand.

A log that holds every possible episode once, weighed by its probability, makes expectations of estimators exact.
"""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.agents.policy import Policy
from weft.core.pytree import as_arrays
from weft.data.dataset import Dataset
from weft.evaluation import control_variates
from weft.evaluation.case import case_of, effective
from weft.evaluation.estimators.double_reinforcement import DoubleReinforcement
from weft.evaluation.estimators.doubly_robust import DoublyRobust
from weft.evaluation.estimators.fitted_q import FittedQ
from weft.evaluation.estimators.importance_sampling import ImportanceSampling
from weft.evaluation.estimators.linear_q import LinearQ
from weft.evaluation.estimators.magic import Magic
from weft.evaluation.estimators.marginalized import Marginalized
from weft.evaluation.estimators.per_decision import PerDecision
from weft.evaluation.estimators.quantile import Quantile
from weft.evaluation.estimators.shrinkage import Shrinkage
from weft.evaluation.estimators.switch import Switch
from weft.evaluation.estimators.tail_mean import TailMean
from weft.labs.tabular import Model, evaluate
from weft.nn.distributions import Categorical

LOGGED = np.array([[0.3, 0.7], [0.6, 0.4]])  # [state, action]
JUDGED = np.array([[0.8, 0.2], [0.25, 0.75]])
REWARD = np.array([[1.0, -0.5], [0.25, 2.0]])
NEXT = np.array([[[0.5, 0.3], [0.2, 0.8]], [[0.6, 0.4], [0.1, 0.5]]])  # [state, action, next]; the rest ends
FIRST = np.array([0.4, 0.6])
DISCOUNT, LONGEST = 0.9, 3
EXACT = {LinearQ: {}, DoubleReinforcement: {"folds": 2}, Marginalized: {"folds": 2, "damping": 0.0}}
MODELS = list(EXACT)


def values(policy, steps=LONGEST):
    """Return Q with `h` steps to go `[h, state, action]` by dynamic programming; `h = 0` is 0."""
    q = [np.zeros((2, 2))]
    for _ in range(steps):
        q.append(REWARD + DISCOUNT * NEXT @ (policy * q[-1]).sum(1))
    return np.array(q)


def truth(policy=JUDGED, first=FIRST, steps=LONGEST):
    return first @ (policy * values(policy, steps)[-1]).sum(1)


def every_episode():
    """Return all episodes as lists of (state, action, next, terminal) with their probability under the log."""
    done, open_ = [], [([], start, chance) for start, chance in enumerate(FIRST)]
    while open_:
        steps, state, chance = open_.pop()
        for action, after in itertools.product(range(2), range(3)):
            leads = NEXT[state, action]
            likely = chance * LOGGED[state, action] * (leads[after] if after < 2 else 1 - leads.sum())
            path = [*steps, (state, action, min(after, 1), after == 2)]
            if after == 2 or len(path) == LONGEST:
                done.append((path, likely))
            else:
                open_.append((path, after, likely))
    return done


@functools.cache
def world(copies=1):
    """Return the question about JUDGED on the log of all episodes, `copies` times in a row, and their returns."""
    found = [one for one in every_episode() for _ in range(copies)]
    rows = np.array([step for path, _ in found for step in path])
    last = np.array([i + 1 == len(path) for path, _ in found for i in range(len(path))])
    state, action, after, terminal = rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3].astype(bool)
    reward = REWARD[state, action]
    data = Dataset.from_arrays(
        state, action, reward, terminal, last & ~terminal, propensities=LOGGED[state, action], action_count=2,
        next_observations=after, kinds={"": "category"},
    )  # fmt: skip
    chance = np.array([likely for _, likely in found])
    return case_of(lambda seen: JUDGED[seen], data, None, True, 1, 0).reweighted(jnp.asarray(chance, jnp.float32))


compiled = eqx.filter_jit(lambda method, *rest: method.value(*rest))
terms = eqx.filter_jit(lambda method, *rest: method.terms(*rest))


def run(method, asked):
    return float(compiled(as_arrays(method), asked, jax.random.key(0)))


def given(monkeypatch, q):
    """Let every doubly robust estimator use a table `[time, state, action]`."""

    def tables(case, model):
        where, columns = case.trajectories.layout, case.columns
        state = where(columns.observation[columns.position]).astype(int)
        time = jnp.arange(where.row.shape[1])
        table = jnp.asarray(q, jnp.float32)[time, state]
        chosen = jnp.take_along_axis(table, where(columns.action).astype(int)[..., None], 2)[..., 0]
        expected = (table * jnp.asarray(JUDGED)[state]).sum(-1)
        there = where.there
        return jnp.where(there, chosen, 0.0), jnp.where(there, expected, 0.0), jnp.zeros(there.shape)

    monkeypatch.setattr(control_variates, "tables", tables)
    anew = eqx.filter_jit(lambda method, *rest: method.value(*rest))  # the shared program knows the fitted table
    monkeypatch.setitem(globals(), "compiled", anew)


def test_the_log_holds_every_episode():
    chance = np.array([likely for _, likely in every_episode()])
    assert chance.sum() == pytest.approx(1)
    assert len({len(path) for path, _ in every_episode()}) == LONGEST


@pytest.mark.parametrize("kind", [ImportanceSampling, PerDecision])
@pytest.mark.parametrize("normalised", [False, True])
def test_the_expectation_of_importance_sampling_is_the_value(kind, normalised):
    assert run(kind(discount=DISCOUNT, self_normalised=normalised), world()) == pytest.approx(truth(), rel=1e-5)


@pytest.mark.parametrize("normalised", [False, True])
def test_doubly_robust_is_unbiased_whatever_q_is(monkeypatch, normalised):
    given(monkeypatch, np.random.default_rng(3).normal(0, 3, (LONGEST, 2, 2)))
    method = DoublyRobust(discount=DISCOUNT, horizon=LONGEST, self_normalised=normalised)
    assert run(method, world()) == pytest.approx(truth(), rel=1e-5)


def test_doubly_robust_with_the_true_q_is_right_whatever_the_propensities_are(monkeypatch):
    given(monkeypatch, values(JUDGED)[:0:-1])
    columns = world().columns
    shifted = columns.log_propensity - 0.7 * columns.action
    wrong = eqx.tree_at(lambda case: case.columns.log_propensity, world(), shifted)
    method = DoublyRobust(discount=DISCOUNT, horizon=LONGEST)
    assert run(method, wrong) == pytest.approx(truth(), rel=1e-5)
    assert abs(run(PerDecision(discount=DISCOUNT), wrong) - truth()) > 0.1
    assert run(Magic(discount=DISCOUNT, horizon=LONGEST), world()) == pytest.approx(truth(), rel=1e-5)


def test_doubly_robust_with_the_true_q_has_no_variance_in_a_deterministic_world(monkeypatch):
    given(monkeypatch, np.full((1, 2, 2), 0.0) + REWARD)
    rows = np.array(list(itertools.product(range(2), range(2))) * 3)
    data = Dataset.from_arrays(
        np.zeros(12, int), rows[:, 1], REWARD[0, rows[:, 1]], np.ones(12, bool), propensities=np.full(12, 0.5),
        kinds={"": "category"}, action_count=2,
    )  # fmt: skip
    asked = case_of(lambda seen: JUDGED[seen], data, None, True, 1, 0)
    method = DoublyRobust(discount=1.0, horizon=1)
    _, error, _, v = eqx.filter_jit(method.terms)(asked, jax.random.key(0))
    np.testing.assert_allclose(error + v, JUDGED[0] @ REWARD[0], atol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_what_needs_no_weights_equals_dynamic_programming(kind):
    method = kind(discount=DISCOUNT, horizon=LONGEST, ridge=1e-7, **EXACT[kind])
    assert run(method, world(2)) == pytest.approx(truth(), abs=1e-4)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("start", [0, 1])
def test_only_some_episodes_begin_where_the_policy_will(kind, start):
    first = np.array([path[0][0] for path, _ in every_episode() for _ in range(2)]) == start
    case = eqx.tree_at(lambda case: case.weighing.initial, world(2), jnp.asarray(first, jnp.float32))
    method = kind(discount=DISCOUNT, horizon=LONGEST, ridge=1e-7, **EXACT[kind])
    assert run(method, case) == pytest.approx(truth(first=np.eye(2)[start]), abs=2e-4)
    assert run(PerDecision(discount=DISCOUNT), case) == pytest.approx(truth(first=np.eye(2)[start]), rel=1e-5)


@functools.cache
def garnet():
    """A world of 5 states, 3 actions and 4 equally likely branches as a log of single steps that were cut."""
    random = np.random.default_rng(0)
    branches = random.integers(0, 5, (5, 3, 4))
    reward = random.uniform(size=(5, 3)).round(3)
    policy = random.dirichlet(np.ones(3), 5)
    state, action, branch, _ = np.array(list(itertools.product(range(5), range(3), range(4), range(2)))).T
    size = len(state)
    data = Dataset.from_arrays(
        state, action, reward[state, action], np.zeros(size, bool), np.ones(size, bool), kinds={"": "category"},
        next_observations=branches[state, action, branch], action_count=3, propensities=np.full(size, 1 / 3),
    )  # fmt: skip
    transition = np.eye(5)[branches].mean(2)
    return case_of(lambda seen: policy[seen], data, None, True, 1, 0), transition, reward, policy


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("horizon", "discount"), [(1, 1.0), (12, 1.0), (12, 0.8), (None, 0.9)])
def test_a_garnet_with_exact_dynamic_programming(kind, horizon, discount):
    asked, transition, reward, policy = garnet()
    value = evaluate(Model.from_arrays(transition, reward), policy, discount, sweeps=horizon).values
    method = kind(discount=discount, horizon=horizon, ridge=1e-7, **EXACT[kind])
    assert run(method, asked) == pytest.approx(value.mean(), rel=1e-4)


@functools.cache
def chain():
    """Z14: ten independent steps, reward 1 for action 1, which is chosen with .9 instead of .5. All 1024 episodes."""
    action = np.random.default_rng(0).permutation(list(itertools.product(range(2), repeat=10)))
    ends = np.tile(np.arange(10) == 9, 1024)
    data = Dataset.from_arrays(
        np.tile(np.arange(10), 1024), action.ravel(), action.ravel().astype(float), ends, kinds={"": "category"},
        propensities=np.full(10240, 0.5), action_count=2,
    )  # fmt: skip
    return case_of(lambda seen: np.tile([0.1, 0.9], (len(seen), 1)), data, None, True, 1, 0)


@pytest.mark.slow
def test_the_chain_of_ten_steps():
    asked = chain()
    for kind, deviation in ((ImportanceSampling, 117), (PerDecision, 35)):
        each = np.asarray(terms(kind(discount=1.0), asked, jax.random.key(0))[1]).reshape(1024, -1).sum(1)
        assert each.mean() == pytest.approx(9.0, rel=1e-5)
        assert each.std() == pytest.approx(deviation, rel=0.01)
    assert float(effective(asked)) / 1024 == pytest.approx((1 / 1.64) ** 10, rel=1e-4)
    assert run(LinearQ(discount=1.0, ridge=1e-7), asked) == pytest.approx(9.0, abs=1e-3)
    assert run(DoubleReinforcement(discount=1.0, folds=2), asked) == pytest.approx(9.0, abs=0.02)
    ratios = Marginalized(discount=1.0, folds=2, damping=0.0, self_normalised=True)
    assert run(ratios, asked) == pytest.approx(9.0, abs=0.1)
    assert run(DoublyRobust(discount=1.0, folds=2), asked) == pytest.approx(9.0, abs=0.02)


@pytest.mark.parametrize("kind", [DoubleReinforcement, Marginalized])
def test_what_the_other_folds_never_show_has_no_huge_ratio(kind):
    action = (np.arange(40) == 7).astype(int)
    data = Dataset.from_arrays(
        np.zeros(40, int), action, 1.0 + action, np.ones(40, bool), kinds={"": "category"}, action_count=2
    )
    asked = case_of(lambda seen: np.full((len(seen), 2), 0.5), data, None, True, 1, 0)
    assert run(kind(discount=1.0), asked) == pytest.approx(1.5, abs=0.6)
    assert run(kind(discount=1.0, damping=0.0), asked) > 100


def test_fitted_q_on_the_chain_of_ten_steps():
    method = FittedQ(discount=1.0, learning_rate=0.02, target_rate=0.1, steps=2500, batch_size=256, hidden=())
    assert run(method, chain()) == pytest.approx(9.0, abs=0.02)


def returns():
    """Return of every episode of the world, its probability under the log and under the policy."""
    found = []
    for path, chance in every_episode():
        total = sum(DISCOUNT**t * REWARD[s, a] for t, (s, a, *_) in enumerate(path))
        ratio = np.prod([JUDGED[s, a] / LOGGED[s, a] for s, a, *_ in path])
        found.append((total, chance, chance * ratio))
    return np.array(found).T


@pytest.mark.parametrize("level", [0.05, 0.3, 0.5, 0.9])
def test_quantiles_of_the_return(level):
    total, _, chance = returns()
    order = np.argsort(total)
    expected = total[order][np.searchsorted(np.cumsum(chance[order]), level)]
    assert run(Quantile(discount=DISCOUNT, level=level), world()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_the_mean_of_the_worst_returns(share):
    total, _, chance = returns()
    corners = [z - (chance * np.maximum(z - total, 0)).sum() / share for z in total]
    assert run(TailMean(discount=DISCOUNT, share=share), world()) == pytest.approx(max(corners), abs=1e-5)
    if share == 1.0:
        assert max(corners) == pytest.approx(truth())
        plain = ImportanceSampling(discount=DISCOUNT, self_normalised=True)
        assert run(TailMean(discount=DISCOUNT, share=1.0), world()) == pytest.approx(run(plain, world()), rel=1e-5)


@functools.cache
def ragged():
    """A random log of 25 episodes of 1 to 6 steps over the two states, as lists, with its question."""
    random = np.random.default_rng(8)
    episodes = []
    for _ in range(25):
        length = random.integers(1, 7)
        state, action = random.integers(0, 2, (2, length))
        episodes.append(
            (state, action, random.normal(size=length).astype(np.float32), random.uniform(0.2, 0.9, length))
        )
    state, action, reward, propensity = (np.concatenate([one[i] for one in episodes]) for i in range(4))
    ends = np.concatenate([np.arange(len(one[0])) == len(one[0]) - 1 for one in episodes])
    data = Dataset.from_arrays(
        state, action, reward, ends, propensities=propensity, kinds={"": "category"}, action_count=2
    )
    return episodes, case_of(lambda seen: JUDGED[seen], data, None, True, 1, 0)


def slow(q=None, largest=np.inf, normalised=False, whole=False):
    """Return estimates by loops over the ragged log."""
    episodes, _ = ragged()
    longest, count = 6, len(episodes)
    weight, gain, before, model = np.zeros((4, count, longest))
    for i, (state, action, reward, propensity) in enumerate(episodes):
        product = 1.0
        for t in range(longest):
            before[i, t] = product
            if t < len(state):
                product *= JUDGED[state[t], action[t]] / propensity[t]
                gain[i, t] = DISCOUNT**t * (reward[t] - (0 if q is None else q[t, state[t], action[t]]))
                model[i, t] = 0 if q is None else DISCOUNT**t * JUDGED[state[t]] @ q[t, state[t]]
            weight[i, t] = product
    weight = np.minimum(weight, largest)
    if whole:
        weight[:] = weight[:, -1:]
    if not normalised:
        return (weight * gain + before * model).sum(1).mean()
    return ((weight * gain).sum(0) / weight.sum(0) + (before * model).sum(0) / before.sum(0)).sum()


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("largest", [np.inf, 1.5])
def test_episodes_of_different_lengths_against_loops(monkeypatch, normalised, largest):
    _, asked = ragged()
    options = {"discount": DISCOUNT, "self_normalised": normalised}
    found = run(ImportanceSampling(largest=largest, **options), asked)
    assert found == pytest.approx(slow(None, largest, normalised, True), rel=1e-5)
    found = run(PerDecision(largest=largest, **options), asked)
    assert found == pytest.approx(slow(None, largest, normalised), rel=1e-5)
    q = np.random.default_rng(3).normal(size=(6, 2, 2))
    given(monkeypatch, q)
    assert run(DoublyRobust(**options), asked) == pytest.approx(slow(q, np.inf, normalised), rel=1e-5)


@pytest.mark.parametrize("chances", [[0.2, 0.25, 0.55], [0.45, 0.5, 0.05]])
def test_products_over_long_episodes_neither_vanish_nor_overflow(chances):
    """Weights of e^-176 and e^110 are, self-normalised, as good as any others: only the second action counts."""
    action, ends = np.repeat([0, 0, 1, 1], 300), np.tile(np.arange(300) == 299, 4)
    data = Dataset.from_arrays(
        np.zeros(1200, int), action, ends * (1.0 + action), ends, kinds={"": "category"}, action_count=3,
        propensities=np.full(1200, 0.45 if chances[0] < 0.4 else 0.3464),
    )  # fmt: skip
    asked = case_of(lambda seen: np.tile(chances, (len(seen), 1)), data, None, True, 1, 0)
    weight = terms(ImportanceSampling(), asked, jax.random.key(0))[0]
    assert float(weight.max()) == (0.0 if chances[0] < 0.4 else np.inf)
    for method in (
        ImportanceSampling(discount=1.0, self_normalised=True),
        PerDecision(discount=1.0, self_normalised=True),
        Quantile(discount=1.0),
        TailMean(discount=1.0, share=1.0),
    ):
        assert run(method, asked) == pytest.approx(2.0, rel=1e-4)


@functools.cache
def single():
    random = np.random.default_rng(5)
    state, action = random.integers(0, 2, (2, 60))
    data = Dataset.from_arrays(
        state, action, random.normal(size=60), np.ones(60, bool), propensities=random.uniform(0.1, 0.9, 60),
        kinds={"": "category"}, action_count=2,
    )  # fmt: skip
    return case_of(lambda seen: JUDGED[seen], data, None, True, 1, 0)


@pytest.mark.parametrize("kind", [Switch, Shrinkage])
def test_the_limits_of_switch_and_shrinkage(kind):
    robust = run(DoublyRobust(discount=1.0, horizon=1), single())
    assert run(kind(largest=float("inf")), single()) == pytest.approx(robust, rel=1e-5)
    assert run(kind(largest=1e7), single()) == pytest.approx(robust, rel=1e-4)
    model = terms(DoublyRobust(discount=1.0, horizon=1), single(), jax.random.key(0))[3]
    assert run(kind(largest=0.0), single()) == pytest.approx(float(model.sum(1).mean()), rel=1e-5)


class Turns(Policy):
    """Remembers how often it was rewarded and what it did last, and leans towards doing the other thing."""

    def reset(self, prompt=None):
        return jnp.zeros(()), jnp.int32(0)

    def distribution(self, memory, observation):
        rewarded, last = memory
        lean = 0.5 * rewarded + 0.3 * observation
        return Categorical(jnp.stack([jnp.where(last == 0, -lean, 0.0), jnp.where(last == 1, -lean, 0.0)]))

    def observe(self, memory, action, reward, terminal):
        return memory[0] + (reward > 0), action


def by_hand(episodes):
    ratios = []
    for state, action, reward, propensity in episodes:
        rewarded, last, product = 0.0, 0, 1.0
        for s, a, r, p in zip(state, action, reward, propensity, strict=True):
            lean = 0.5 * rewarded + 0.3 * s
            scores = np.exp([-lean * (last == 0), -lean * (last == 1)])
            product *= scores[a] / scores.sum() / p
            rewarded, last = rewarded + (r > 0), a
        ratios.append(product)
    return np.array(ratios)


def test_a_policy_with_memory_is_asked_along_the_logged_history():
    episodes, case = ragged()
    state, action, reward, propensity = (np.concatenate([one[i] for one in episodes]) for i in range(4))
    ends = np.concatenate([np.arange(len(one[0])) == len(one[0]) - 1 for one in episodes])
    data = Dataset.from_arrays(
        state, action, reward, ends, propensities=propensity, kinds={"": "category"}, action_count=2
    )
    asked = case_of(Turns(), data, None, False, 1, 0)
    weight = np.asarray(terms(ImportanceSampling(), asked, jax.random.key(0))[0])
    np.testing.assert_allclose(weight, by_hand(episodes), rtol=1e-5)
    assert np.ptp(np.asarray(asked.candidate.probability)[:, 0]) > 0.1
    greedy = case_of(Turns(), data, None, True, 1, 0).candidate.probability
    assert set(np.unique(np.asarray(greedy)[np.asarray(case.columns.position)])) == {0.0, 1.0}
