"""What every registered estimator and interval promises."""

import dataclasses
import functools
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.agents.algorithms.bc import BC
from weft.agents.policy import Policy
from weft.agents.served import Served
from weft.core.errors import UserError
from weft.core.pytree import as_arrays
from weft.data.dataset import Dataset
from weft.data.units import fit_transform
from weft.evaluation import estimator as judges
from weft.evaluation import interval as ranges
from weft.evaluation.case import case_of
from weft.evaluation.moments import moments
from weft.evaluation.overlap import unsupported
from weft.evaluation.waves import features
from weft.nn.distributions import Normal

DISCOUNT, EPISODES, LONGEST = 0.9, 24, 4
SMALL = {
    "fitted_q": {"steps": 30, "hidden": (8,), "batch_size": 16},
    "bootstrap": {"replicates": 3},
    "bca": {"replicates": 40},
}
DECLARED = {"reward_low": 0.0, "reward_high": 1.0, "discount": DISCOUNT, "horizon": LONGEST}
KINDS = ["discrete", "continuous"]
each = pytest.mark.parametrize("name", sorted(judges.estimators()))
each_kind = pytest.mark.parametrize("kind", KINDS)


def every(*fast):
    """Return all estimators as parameters of a test; only some are quick enough to run every time."""
    return [
        name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in sorted(judges.estimators())
    ]


def small(name, found, **known):
    """Return a small instance with what is declared of the logs below."""
    fields = [field.name for field in dataclasses.fields(found)]
    wanted = {"features": 12, "folds": 3, **known, **SMALL.get(name, {})}
    return as_arrays(found(**{key: value for key, value in wanted.items() if key in fields}))


class Gaussian:
    """A stochastic policy over one number, from outside; its draws share their noise."""

    def sample(self, seen, key):
        return 0.3 * seen[:, :1] + 0.2 * np.asarray(jax.random.normal(key))

    def log_prob(self, seen, action):
        return -0.5 * ((action - 0.3 * seen[:, :1]) / 0.2)[:, 0] ** 2 - np.log(0.2 * np.sqrt(2 * np.pi))


CHANCES = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])


@functools.cache
def asked(kind, single=False, order=None):
    """Return the question about a policy on a log of episodes of 1 to 4 steps, some of them cut, of 24 users."""
    random = np.random.default_rng(2)
    length = np.ones(EPISODES, int) if single else np.tile([1, 2, 3, 4], EPISODES // 4)
    shape = (EPISODES, LONGEST)
    time, user = np.arange(LONGEST) + np.zeros(shape, int), np.arange(EPISODES)[:, None] + np.zeros(shape, int)
    last = time == length[:, None] - 1
    cut = last & (user % 3 == 0)
    columns = {"seen": random.integers(0, 3, shape), "after": random.integers(0, 3, shape)}
    columns |= {"action": random.integers(0, 3, shape), "propensity": random.uniform(0.2, 0.6, shape)}
    if kind == "continuous":
        columns |= {"seen": random.normal(size=(*shape, 2)), "after": random.normal(size=(*shape, 2))}
        columns |= {"action": random.uniform(-1, 1, (*shape, 1)), "propensity": random.uniform(0.3, 1.5, shape)}
    columns |= {"reward": random.uniform(size=shape), "terminal": last & ~cut, "cut": cut, "user": user}
    there = (time < length[:, None])[list(order or range(EPISODES))]
    flat = {key: part[list(order or range(EPISODES))][there] for key, part in columns.items()}
    options = {"kinds": {"": "category"}, "action_count": 3} if kind == "discrete" else {"action_bounds": (-1.0, 1.0)}
    data = Dataset.from_arrays(
        flat["seen"], flat["action"], flat["reward"], flat["terminal"], flat["cut"], flat["propensity"],
        next_observations=flat["after"], columns={"user": flat["user"]}, unit="user", **options,
    )  # fmt: skip
    return case_of(Gaussian() if kind == "continuous" else lambda seen: CHANCES[seen], data, None, True, 4, 0)


@functools.cache
def method(name):
    return small(name, judges.estimator(name), discount=DISCOUNT, horizon=LONGEST)


@functools.cache
def program(name):
    return eqx.filter_jit(method(name).value)


def value(name, case):
    return float(program(name)(case, jax.random.key(0)))


def question(name, kind, order=None):
    return asked(kind, judges.estimator(name).single, order)


def paying(case, reward):
    """Return the case with other rewards."""
    return eqx.tree_at(lambda one: one.columns.reward, case, reward)


def spoilt(case, episode):
    columns = case.columns
    return paying(case, jnp.where((columns.episode == episode)[:, None], 99.0, columns.reward))


@each
def test_it_says_what_it_is(name):
    found = judges.estimator(name)
    assert found.title
    assert found.paper
    assert found.__doc__


@each
@each_kind
def test_an_estimate_is_one_finite_number_and_repeats(name, kind):
    first = program(name)(question(name, kind), jax.random.key(0))
    assert first.shape == ()
    assert jnp.isfinite(first)
    assert float(first) == value(name, question(name, kind))


@each
@each_kind
def test_only_the_proportions_of_weights_matter(name, kind):
    case = question(name, kind)
    first = value(name, case)
    for scale in (2.0, 0.25):
        scaled = value(name, case.reweighted(scale * case.weighing.weights))
        assert scaled == pytest.approx(first, rel=1e-3, abs=1e-5)


@each
@each_kind
def test_an_episode_of_weight_zero_changes_nothing(name, kind):
    case = question(name, kind)
    case = case.reweighted(case.weighing.weights.at[3].set(0.0))
    first = value(name, case)
    assert value(name, spoilt(case, 3)) == first
    assert value(name, paying(case, case.columns.reward + 1.0)) != first


@pytest.mark.parametrize("name", sorted({*judges.estimators()} - {"fitted_q"}))  # its batches depend on the order
@each_kind
def test_the_order_of_episodes_changes_nothing(name, kind):
    order = tuple(np.random.default_rng(0).permutation(EPISODES).tolist())
    first, second = (value(name, question(name, kind, order)) for order in (None, order))
    assert second == pytest.approx(first, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("name", every("linear_q", "quantile"))
def test_compiling_changes_nothing(name):
    plain = float(method(name).value(question(name, "discrete"), jax.random.key(0)))
    assert value(name, question(name, "discrete")) == pytest.approx(plain, rel=2e-3, abs=1e-4)


def fits(found, ranged):
    """Return whether an interval is for an estimator."""
    if ranged.bounded:
        return found.__name__ == "PerDecision"
    return not ranged.statistic or (issubclass(found, judges.Statistic) and found.smooth)


@functools.cache
def bounded(name):
    """Return a program of all intervals that fit an estimator, and their names."""
    found = judges.estimator(name)
    names = [one for one, ranged in sorted(ranges.intervals().items()) if fits(found, ranged)]
    made = {one: small(one, ranges.interval(one), **DECLARED) for one in names}

    return eqx.filter_jit(lambda case: {one: made[one](method(name), case, jax.random.key(0), 0.9) for one in names})


@pytest.mark.parametrize("name", every("linear_q", "magic", "per_decision"))
def test_every_interval_that_fits_holds_the_estimate(name):
    case = question(name, "discrete")
    found = bounded(name)(case)
    assert "bootstrap" in found
    for interval, bounds in found.items():
        assert bounds.low <= bounds.high, interval
        if interval not in ("bca", "bernstein"):  # one is shifted, the other clips
            assert bounds.low <= bounds.value <= bounds.high, interval
        refitted = interval == "bootstrap" and not isinstance(method(name), judges.Statistic)
        if not refitted:
            assert float(bounds.value) == pytest.approx(value(name, case), rel=2e-3, abs=1e-4)
    zero = case.reweighted(case.weighing.weights.at[3].set(0.0))
    again = [bounded(name)(one) for one in (zero, spoilt(zero, 3))]
    scaled = bounded(name)(case.reweighted(2 * case.weighing.weights))
    for interval in found:
        for end in ("low", "high"):
            assert getattr(again[0][interval], end) == getattr(again[1][interval], end), interval
            first, second = (float(getattr(one[interval], end)) for one in (found, scaled))
            assert second == pytest.approx(first, rel=5e-3, abs=1e-3), interval


@pytest.mark.parametrize(
    ("name", "cut", "ends"),
    [(one, 5.0, 1.0) for one in ("double_reinforcement", "doubly_robust", "linear_q", "magic", "marginalized")]
    + [(one, 1.0, 1.0) for one in ("importance_sampling", "per_decision", "quantile", "tail_mean")],
)
def test_a_time_out_goes_on_and_a_terminal_does_not(name, cut, ends):
    """One state, one reward of 1 per step, one step per episode, a discount of .8."""
    judge = eqx.filter_jit(small(name, judges.estimator(name), discount=0.8, ridge=1e-7, damping=0.0).value)
    for timeout, expected in ((True, cut), (False, ends)):
        flags, blank = np.ones(EPISODES, bool), np.zeros(EPISODES, int)
        data = Dataset.from_arrays(
            blank, blank, np.ones(EPISODES), flags & (not timeout), flags & timeout, np.ones(EPISODES),
            next_observations=blank, kinds={"": "category"}, action_count=1,
        )  # fmt: skip
        found = judge(case_of(lambda seen: np.ones((len(seen), 1)), data, None, True, 1, 0), jax.random.key(0))
        assert float(found) == pytest.approx(expected, rel=1e-3)


def test_observations_of_any_form_have_features():
    random = np.random.default_rng(0)
    for seen in (
        {"place": random.integers(0, 3, 12), "map": random.normal(size=(12, 2, 3))},
        random.integers(0, 255, (12, 4, 4, 1)).astype(np.uint8),
    ):
        ends = np.arange(12) % 3 == 2
        data = Dataset.from_arrays(seen, np.arange(12) % 2, np.ones(12), ends)
        case = case_of(lambda _: np.full((12, 2), 0.5), data, None, True, 1, 0)
        basis = features(data.spec, jax.random.key(0), 30)
        terms = jax.jit(moments, static_argnums=3)(basis, case.candidate, case.columns, 4, 0.9)
        assert np.isfinite(terms.gram).all()
        same = np.asarray(terms.first[:, :8]).std(0).max()
        assert same > 0.01, "the first observations differ, so their features do"


def unbounded(low=-0.2, high=0.2, **options):
    actions = np.linspace(low, high, 40, dtype=np.float32)[:, None]
    return Dataset.from_arrays(np.ones((40, 2)), actions, actions[:, 0], np.ones(40, bool), **options)


def test_the_range_that_a_log_shows_does_not_clip_a_policy():
    def far(seen):
        return np.full((len(seen), 1), 1.0, np.float32)

    case = case_of(far, unbounded(), None, True, 1, 0)
    np.testing.assert_allclose(case.candidate.action, 5.0, rtol=1e-5)
    assert float(jnp.abs(case.columns.action).max()) < 1.0
    near = unbounded(action_bounds=(-0.2, 0.2))
    np.testing.assert_allclose(case_of(far, near, None, True, 1, 0).candidate.action, 1.0, atol=1e-5)


def test_drawn_actions_are_not_clipped_to_the_logs_range_either():
    class Far(Policy):
        def distribution(self, memory, observation):
            shape = (*observation.shape[:-1], 1)
            return Normal(jnp.full(shape, 1.0), jnp.full(shape, -9.0))

    candidate = case_of(Far(), unbounded(), None, False, 3, 0).candidate
    np.testing.assert_allclose(candidate.action, 5.0, rtol=1e-2)


def test_a_policy_that_leaves_the_log_is_unsupported():
    def far(seen):
        return np.full((len(seen), 1), 1.0, np.float32)

    log_ = unbounded()
    case = case_of(far, log_, None, True, 1, 0)
    assert unsupported(case.candidate, case.columns, log_.rows, jax.random.key(0)) == 1.0


class Drift(Policy):
    """A Gaussian around the sum of the actions so far."""

    def reset(self, prompt=None):
        return jnp.zeros(1)

    def distribution(self, memory, observation):
        return Normal(memory, jnp.zeros(1))

    def observe(self, memory, action, reward, terminal):
        return memory + action


def test_a_policy_with_memory_is_asked_along_the_logged_history():
    action = np.array([0.1, 0.4, -0.2, 0.3, 0.5])[:, None].astype(np.float32)
    ends = np.array([False, False, True, False, True])
    data = Dataset.from_arrays(np.ones((5, 1)), action, np.ones(5), ends, propensities=np.full(5, 0.5))
    candidate = case_of(Drift(), data, None, False, 4, 0).candidate
    centre = np.array([0.0, 0.1, 0.5, 0.0, 0.3])
    expected = -0.5 * (action[:, 0] - centre) ** 2 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(candidate.log_prob, expected, rtol=1e-5)
    assert candidate.action.shape[1:] == (4, 1)


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
            case_of(policy, other, None, True, 1, 0)
    for same in (labelled(), labelled(zones=())):
        assert case_of(policy, same, None, True, 1, 0).candidate.probability.shape == (40, 2)


@pytest.mark.parametrize("name", sorted(ranges.intervals()))
def test_an_interval_says_what_it_covers(name):
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


@each
@each_kind
def test_room_for_more_changes_nothing(name, kind):
    if name == "fitted_q":
        pytest.skip("it draws its batches from a table whose length follows the log's")
    case = question(name, kind)
    assert value(name, case.padded()) == pytest.approx(value(name, case), rel=2e-4, abs=2e-5)
