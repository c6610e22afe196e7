r"""Can this log say what this policy is worth? Everything that can be checked before a number is believed.

Weights: how many effective units are left at every step and how far that reaches; whether one-step ratios have the
mean that right propensities give them; whether one unit decides everything. Overlap: what the policy does that the log
never shows. Specification: whether estimators with different assumptions agree, whether linear Q gets the value of the
logging policy right (a known answer), whether Bellman's equation holds on what it was not fitted for, and whether the
step before still matters. Time: whether rewards or ratios drift. Every test says what it found in a sentence; none of
them proves that an estimate is right, and passing all is needed for one, not enough.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from ..core.compilation import Program
from ..core.errors import UserError
from ..core.tables import text_table
from ..data.dataset import Dataset
from ..data.declarations import cut_early, declared_discount
from ..data.summary import Rounding, rounding
from .agreement import SAME_CLASS, agree
from .candidate import check_fitting
from .case import Case, case_of
from .confounding import Confounding, confounding
from .linear_q import Fitting
from .markov_tests import bellman_test, memory_test
from .overlap import unsupported
from .specification_tests import (
    agreement,
    alarmed,
    behaviour_test,
    effective_sizes,
    largest_share,
    mean_weight_test,
    trend_test,
)
from .thresholds import DISAGREEMENT, EFFECTIVE_UNITS, FALSE_ALARM, LARGEST_SHARE, UNSUPPORTED
from .waves import Features, feature_count, features

__all__ = [
    "Confounding",
    "Diagnostics",
    "Test",
    "Weights",
    "agreement",
    "alarmed",
    "behaviour_test",
    "bellman_test",
    "confounding",
    "diagnose",
    "examine",
    "mean_weight_test",
    "memory_test",
    "ratio_test",
    "trend_test",
]

RIDGE = 1e-4


@dataclasses.dataclass(frozen=True)
class Test:
    """One statistical test. z is None where the largest of several values was tested; `alarm` speaks against judging
    the policy from this log, and `sentence` says what was found."""

    __test__ = False  # for pytest: not a test of the suite

    name: str
    z: float | None
    p: float
    alarm: bool
    sentence: str


@dataclasses.dataclass(frozen=True)
class Weights:
    """What importance weights leave of a log. effective: number of units `(time,)`; share: largest weight of a unit
    `(time,)`; reach: number of steps up to which at least 20 effective units are left; beyond: share of the logged
    (absolute, discounted) reward after them; ratio: mean one-step ratio; never: share of the logged steps whose action
    the policy never takes; smallest: smallest propensity or density; estimated: whether propensities were fitted;
    rounding: the step that propensities are multiples of, if there is one.
    """

    effective: np.ndarray
    share: np.ndarray
    reach: int
    beyond: float
    ratio: float
    never: float
    smallest: float
    estimated: bool
    rounding: Rounding | None = None


@dataclasses.dataclass(frozen=True)
class Diagnostics:
    """What `diagnose` found. weights is None without propensities or a density; values: estimates that should agree,
    by method, with their standard errors; disagreement: z of every pair `(method, method)`; unsupported: share of the
    policy's actions unlike any logged one (`weft.evaluation.overlap`), None where there is no distance.
    """

    origin: str
    units: int
    weights: Weights | None
    values: dict[str, tuple[float, float]]
    disagreement: np.ndarray
    unsupported: float | None
    tests: tuple[Test, ...]
    warnings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against an estimate that rests on Markov observations."""
        return not any(test.alarm for test in self.tests)

    def objections(self) -> tuple[str, ...]:
        """Return what speaks against an estimate that rests on fitted values, sentence by sentence."""
        alarms = [test.sentence for test in self.tests if test.alarm]
        if self.unsupported is not None and self.unsupported > UNSUPPORTED:
            alarms.append(f"{self.unsupported:.0%} of the policy's actions are unlike any logged one.")
        return tuple(alarms)

    def test(self, name: str) -> Test | None:
        """Return a test by name, None where it was not possible."""
        return next((test for test in self.tests if test.name == name), None)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield `(what, text)` in plain words; warnings come last."""
        yield "log", f"{self.origin}, {self.units:,} independent units"
        if self.weights is None:
            yield "weights", "none: the log has no propensities, or the policy no density"
        else:
            w = self.weights
            steps = sorted({0, len(w.effective) // 2, len(w.effective) - 1})
            sizes = ", ".join(f"{w.effective[step]:.0f} at step {step + 1}" for step in steps)
            yield "effective units", f"{sizes}; the largest has {w.share[-1]:.1%} of all weight at the end"
            reach = f"the first {w.reach} of {len(w.effective)} steps" if w.reach else "no step"
            yield (
                "evaluable",
                f"{reach} (at least {EFFECTIVE_UNITS:g} effective units); {w.beyond:.0%} of the reward is beyond",
            )
            source = "estimated" if w.estimated else "logged"
            yield (
                "propensities",
                (f"{source}, least {w.smallest:.3g}; {w.never:.1%} of the logged actions are none of its own"),
            )
            if w.rounding is not None:
                yield "rounding", f"propensities are {w.rounding}"
        if self.unsupported is not None:
            yield "unsupported", f"{self.unsupported:.0%} of the policy's actions are unlike any logged one"
        if self.passed:
            for name, (value, error) in self.values.items():
                yield "estimate", f"{name} {value:.4g} ± {error:.2g}"
        else:
            yield "estimate", "none is shown, because a test speaks against all of them"
        for test in self.tests:
            yield test.name, test.sentence
        for warning in self.warnings:
            yield "warning", warning

    def __str__(self) -> str:
        """The findings as a table of two columns."""
        return text_table(self.lines())


def diagnose(
    policy: Any,
    data: Dataset,
    *,
    discount: float | None = None,
    horizon: int | None = None,
    seed: int = 0,
    greedy: bool | None = None,
    samples: int = 8,
    starts: Any = None,
    time: str | None = None,
    count: int | None = None,
) -> Diagnostics:
    """Check whether a log can say what a policy is worth.

    policy, discount, horizon, greedy, samples, starts: as for `weft.estimate`. time: a column that orders the episodes
    (by default they are in order). count: features of the linear value function, by default about steps / 10, up to
    128.

    Raises UserError as `weft.estimate` does, and where values are infinite: a discount of 1, no horizon, and no end.
    """
    case = case_of(policy, data, starts, greedy, samples, seed)
    return examine(case, data, discount, horizon, seed, time, count)


def examine(
    case: Case, data: Dataset, discount: float | None = None, horizon: int | None = None, seed: int = 0,
    time: str | None = None, count: int | None = None,
) -> Diagnostics:  # fmt: skip
    """Check whether a log can say what the policy of a case is worth; arguments as `diagnose`."""
    check_fitting(case.candidate, "The diagnosis")
    discount = declared_discount(data, discount)
    horizon = data.spec.horizon if horizon is None else horizon
    if horizon is None and discount >= 1 and not data.terminals.any():
        raise UserError(
            f"With a discount of 1, no horizon and no episode of {data.origin} that ends, values are infinite; declare "
            "a horizon (data.declare(horizon=...)) or a discount below 1."
        )
    fitting = Fitting(discount, RIDGE, horizon, count or feature_count(data.steps), 5)
    case, keys = case.padded().laid_out(), jax.random.split(jax.random.key(seed), 6)
    weights, tests = None, []
    if case.weighs:
        weights = _weights(case, data, discount)
        tests.append(ratio_test(case, keys[0]))
    heard = weights is not None and weights.effective[-1] >= EFFECTIVE_UNITS
    agreeing = agree(case, keys[1], fitting, heard, cut_early(data, horizon))
    more = "" if weights is None or len(agreeing.values) > 2 else ", weighted ones left out"
    tests.append(_agreement_test(list(agreeing.values), agreeing.apart, more))
    basis = features(data.spec, keys[2], fitting.features)
    order = np.zeros(case.episodes, np.float32)
    order[data.chosen] = _order(data, time)
    tests += [*_model_tests(basis, case, keys, data, fitting), *_drifts(case, jnp.asarray(order))]
    share = unsupported(case.candidate, case.columns, data.rows, keys[5])
    units = len(np.unique(np.asarray(case.weighing.unit)[np.asarray(case.weighing.weights) > 0]))
    return Diagnostics(
        data.origin, units, weights, agreeing.values, agreeing.apart, share, tuple(tests),
        tuple(_warnings(data, weights, share, tests)),
    )  # fmt: skip


def _order(data: Dataset, time: str | None) -> np.ndarray:
    """Return the place of every episode in time, evenly from −1 to 1; equal times share a place."""
    times = np.arange(data.episodes) if time is None else data.units(time, time=True)
    place = np.unique(times.astype(str) if times.dtype == object else times, return_inverse=True)[1]
    return 2.0 * place / max(1, place.max()) - 1.0


def _weights(case: Case, data: Dataset, discount: float) -> Weights:
    sizes, share, gained = (np.asarray(part) for part in _by_step(case, jnp.float32(discount)))
    few = np.flatnonzero(sizes < EFFECTIVE_UNITS)
    reach = int(few[0]) if len(few) else len(sizes)
    logs = np.asarray(case.columns.log_propensity)[data.rows]
    ratio = np.exp(np.asarray(case.candidate.log_prob)[data.rows] - logs)
    beyond = float(gained[reach:].sum() / max(gained.sum(), 1e-30))
    never = float((ratio < 1e-6).mean())
    chances = np.exp(logs.astype(float))
    return Weights(
        sizes, share, reach, beyond, float(ratio.mean()), never, float(chances.min()), data.propensities_estimated,
        rounding(chances),
    )  # fmt: skip


@jax.jit
def _by_step(case: Case, discount: Any) -> tuple[Any, Any, Any]:
    """Return, at every step, the effective number of units, the share of the heaviest, and the absolute reward."""
    paths, weighing = case.paths(discount), case.weighing
    gained = jnp.abs(weighing.starts[:, None] * paths.discount * paths.reward).sum(0)
    return effective_sizes(paths, weighing), largest_share(paths, weighing), gained


# --- tests ----------------------------------------------------------------------------------------------------------


def ratio_test(case: Case, key: Any) -> Test:
    """Test whether one-step ratios have the mean that right propensities give them (`mean_weight_test`), in words."""
    ratios = _ratios_tested(case, key)
    alarm, mean, z = bool(ratios.alarm), float(ratios.mean), np.asarray(ratios.z)
    worst = float(np.abs(z).max())
    p = float(min(1.0, len(z) * 2 * norm.sf(worst)))
    if mean == 0:
        sentence = "No logged action is one that the policy takes there, so nothing logged says what it is worth."
    elif not alarm:
        sentence = f"One-step ratios have a mean of {mean:.3f} (z {z[0]:.1f}), as right propensities would give them."
    elif z[0] > 3:
        sentence = (
            f"One-step ratios have a mean of {mean:.3f} instead of at most 1 (z {z[0]:.1f}): the propensities, the "
            "policy's probabilities or the codes of the actions are wrong."
        )
    elif worst <= 3:
        sentence = (
            f"One-step ratios have a mean of {mean:.3g} instead of at most 1, and a few huge ones make it up: "
            "propensities are wrong, or too small for the log to be weighed with."
        )
    elif z[0] < -3:
        sentence = (
            f"One-step ratios have a mean of {mean:.3f} (z {z[0]:.1f}): propensities or codes are wrong, or "
            f"{1 - mean:.0%} of what the policy does is never in the log."
        )
    else:
        sentence = (
            f"One-step ratios have the wrong mean for some actions or observations (largest |z| {worst:.1f} of "
            f"{len(z)}): propensities or codes are wrong, or the log never shows what the policy does there."
        )
    first = -np.inf if mean == 0 and alarm else float(z[0])  # no ratio above 0, so that no error can be told
    return Test("mean weight", first, 0.0 if np.isinf(first) else p, alarm, sentence)


_ratios_tested = Program(mean_weight_test, "The test of ratios")
_behaviour_tested = Program(behaviour_test, "The value of the logging policy")
_equation_tested = Program(bellman_test, "The test of Bellman's equation")
_memory_tested = Program(memory_test, "The test of memory")


def _agreement_test(names: list[str], apart: np.ndarray, more: str = "") -> Test:
    """Return the test of whether estimators agree; that two of the same value class do says nothing."""
    first, second = np.unravel_index(np.abs(apart).argmax(), apart.shape)
    z = float(apart[first, second])
    pairs = len(names) * (len(names) - 1) // 2
    p = float(min(1.0, pairs * 2 * norm.sf(abs(z))))
    alarm = p < 0.05  # |z| > 2 of one pair alarms as often; the largest of six does at 16 % of right logs
    how = f"{names[first]} and {names[second]} differ by {abs(z):.1f} standard errors"
    if alarm:
        sentence = f"{how}: at least one of their assumptions is wrong here{more}."
    elif set(names) <= set(SAME_CLASS):
        sentence = (
            f"{' and '.join(names)} differ by {abs(z):.1f} standard errors, which says little: both rest on the same "
            f"linear values, and nothing that does not is there to agree with{more}."
        )
    else:
        sentence = f"Estimators agree (largest |z| {abs(z):.1f}{more})."
    return Test("agreement", z, p, alarm, sentence)


def _model_tests(basis: Features, case: Case, keys: Any, data: Dataset, fitting: Fitting) -> Iterator[Test]:
    """Yield the tests of the linear value function and of what Markov observations promise."""
    shared: dict[str, Any] = {
        "horizon": fitting.horizon, "discount": jnp.float32(fitting.discount), "ridge": fitting.ridge,
    }  # fmt: skip
    value, logged, z = (float(part) for part in _behaviour_tested(basis, case, **shared))
    sentence = f"The logging policy is worth {value:.4g} by linear Q and {logged:.4g} by its returns (z {z:.1f})"
    right = "as it should be." if abs(z) <= DISAGREEMENT else "so linear Q is wrong even where the answer is known."
    yield Test("behaviour value", z, float(2 * norm.sf(abs(z))), abs(z) > DISAGREEMENT, f"{sentence}, {right}")
    if data.spec.longest == 1:
        return  # single decisions: nothing follows, so there is no equation and no memory to test
    p = float(_equation_tested(basis, case, key=keys[3], **shared))
    yield Test("Bellman", None, p, p < FALSE_ALARM, _verdict(
        p, "Bellman's equation holds for linear Q as far as can be seen",
        "Bellman's equation fails for linear Q: observations hide what matters, the world changes with time, or the "
        "features cannot hold the value",
    ))  # fmt: skip
    p = float(_memory_tested(basis, case, keys[4]))
    yield Test("memory", None, p, p < FALSE_ALARM, _verdict(
        p, "The step before says nothing more about what follows",
        "The step before helps to predict what follows, so the observations are not Markov or the features cannot hold "
        "what follows",
    ))  # fmt: skip
    if data.spec.action.kind != "multidiscrete":
        p = float(_memory_tested(basis, case, jax.random.fold_in(keys[4], 1), target="behaviour"))
        yield Test("behaviour memory", None, p, p < FALSE_ALARM and data.log_propensities is None, _verdict(
            p, "The step before says nothing more about the action",
            "The logging policy used more than the observation, or more than the features can hold; only logged "
            "propensities account for that",
        ))  # fmt: skip


def _verdict(p: float, passes: str, fails: str) -> str:
    return f"{fails} (p {p:.3f})." if p < FALSE_ALARM else f"{passes} (p {p:.2f})."


def _drifts(case: Case, order: Any) -> Iterator[Test]:
    """Yield the tests of a trend over the episodes: of returns, and of ratios where there are some."""
    trajectories = case.trajectories
    there = trajectories.layout.there
    series = {"returns": ("drift", trajectories.reward.sum(1))}
    if trajectories.log_ratio is not None:
        ratio = jnp.where(there, jnp.exp(trajectories.log_ratio), 0.0)
        series["ratios"] = ("weight drift", ratio.sum(1) / jnp.maximum(there.sum(1), 1))
    for what, (name, values) in series.items():
        z = float(jax.jit(trend_test)(values, order, case.weighing))
        p = float(2 * norm.sf(abs(z)))
        sentence = (
            f"The {what} {'rise' if z > 0 else 'fall'} over the log (z {z:.1f}): divide it by time, and take the "
            "promise to be about the past."
            if abs(z) > 3
            else f"The {what} show no trend over the log (z {z:.1f})."
        )
        yield Test(name, z, p, abs(z) > 3, sentence)


def _warnings(data: Dataset, weights: Weights | None, outside: float | None, tests: list[Test]) -> Iterator[str]:
    if weights is not None:
        if weights.estimated:
            yield "Propensities are estimated: if the logging policy saw more than the log holds, weights are wrong."
        if weights.rounding is not None and weights.rounding.matters:
            yield f"Propensities are {weights.rounding}; weights are as exact as that."
        if weights.reach < len(weights.effective):
            yield (
                f"From step {weights.reach + 1} on fewer than {EFFECTIVE_UNITS:g} effective units are left; weighted "
                "estimates and their intervals are too low together there (betting intervals hold)."
            )
        if weights.share[-1] > LARGEST_SHARE:
            yield f"One unit has {weights.share[-1]:.0%} of all weight; refuse doubly robust and normalised estimates."
    if outside is not None and outside > UNSUPPORTED:
        yield f"At {outside:.0%} of the steps the policy does what the log never shows."
    if data.spec.unit is None:
        yield "No unit is declared: episodes are taken to be independent."
    for test in tests:
        if test.alarm:
            yield f"{test.name}: {test.sentence}"
