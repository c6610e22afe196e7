"""Which candidate of a study or a search is the best: each is asked on the select fold, also those not trained here.

Where a certificate can be expected, a candidate's score is the lower bound of its estimated improvement times the
root of the chance that a dose of it is certified. Of two policies of about the same value the one nearer to the log
needs far fewer units, so choosing by value alone costs power; by the chance as it is, half as much is gained on weak
logs (`benchmarks/coverage/selection.py`). The select fold also says where the order of doses begins and how the bets
are spread.

Where none can, two scores are asked that share no values: the lower bound of linear fitted Q, and the advantage of
the logged steps that a candidate agrees with (`weft.evaluation.logged_advantage`). Values that no return can have and
actions unlike any logged one come last; where most values are impossible, the advantage ranks alone. The first by the
mean of both ranks is chosen where one score says beyond chance that it is better than imitation and the other does
not say the contrary; else imitation is.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.stats import norm

from ..agents.external import External
from ..agents.served import Served
from ..core.compilation import Program
from ..data.dataset import Dataset
from ..data.declarations import declared_discount
from ..data.folds import Folds
from ..deployment import dose_test
from ..deployment.certify import missing
from ..evaluation.candidate import Candidate, check_fitting
from ..evaluation.case import Case, PreparedLog, effective, prepare
from ..evaluation.estimators.linear_q import LinearQ
from ..evaluation.interval import influence, spread
from ..evaluation.logged_advantage import Advantage, logged_advantage
from ..evaluation.overlap import unsupported
from ..evaluation.thresholds import UNSUPPORTED
from ..evaluation.waves import feature_count, features
from ..training.run import Run
from .advice.plan import BASELINES
from .triage import triage

__all__ = ["Judged", "Requirement", "Row", "by_two_scores", "judge", "ranked"]

HOPE = 0.05  # chance of a certificate below which nobody counts on one
RISK = 0.05  # that chance alone prefers another to imitation
NOTHING = "No candidate has a value that returns can have and actions like the logged ones; the most alike comes first."


@dataclasses.dataclass(frozen=True)
class Requirement:
    """What a certificate has to show: that a policy is better than `baseline` (None: the policy that made the log) by
    more than `margin`, at a `risk` of being wrong.
    """

    baseline: Any = None
    margin: float = 0.0
    risk: float = 0.05


@dataclasses.dataclass(frozen=True)
class Row:
    """A candidate: a kept state of a run, or an external policy by its name, which has no setting, seed or step, and of
    which nobody knows whether it is drawn. value, low, high: linear fitted Q on the select fold with its 95 % interval;
    score: the lower bound of its estimated improvement above the margin, times the root of the chance that a dose of it
    is certified, `dose` being the one with the most to expect (without that chance where it is no improvement, or
    where nothing can be certified); effective: effective sample size of its weights on the select fold; logged: mean
    return of that fold; chance: that a dose of it is certified, None where nothing can be. advantage, unsupported: the
    mean advantage of the logged steps that the policy agrees with, and the share of its actions unlike any logged one,
    None where there is no distance. possible: whether the value is one that the rewards of the log can add up to, with
    an error that is not larger than all that they can.
    """

    algorithm: str
    setting: int
    seed: int
    step: int
    drawn: bool | None
    value: float
    low: float
    high: float
    score: float
    dose: float
    effective: float | None
    logged: float
    chosen: bool = False
    triage: str = ""
    external: bool = False
    advantage: float | None = None
    unsupported: float | None = None
    possible: bool = True
    chance: float | None = None

    @property
    def sound(self) -> bool:
        """Whether its value is one that returns can have, and most of its actions are like logged ones."""
        return math.isfinite(self.score) and (self.unsupported or 0.0) <= UNSUPPORTED

    @property
    def hopeful(self) -> bool:
        """Whether a certificate of it can be expected."""
        return self.sound and (self.chance or 0.0) >= HOPE

    @property
    def imitates(self) -> bool:
        """Whether it is imitation, which others have to beat."""
        return self.algorithm in BASELINES and not self.external


class Judged(NamedTuple):
    """A candidate on the select fold: its row, its policy, which acts as it was judged, where it can be certified a
    plan of its test, and what every unit adds to its value and to its advantage `(score, unit)`.
    """

    row: Row
    policy: Served | External
    plan: dose_test.Plan | None
    each: Float[np.ndarray, "score unit"]

    def better(self, other: "Judged", valued: bool) -> tuple[float, float]:
        """Return by how many standard errors the value and the advantage are above those of another candidate.

        valued: whether values say anything; 0 stands for them where they do not.
        """
        value = self.row.value - other.row.value if valued and self.row.possible and other.row.possible else 0.0
        apart = np.array([value, (self.row.advantage or 0.0) - (other.row.advantage or 0.0)])
        error = np.sqrt(np.square(self.each - other.each).sum(1))
        by_value, by_advantage = apart / np.maximum(error, 1e-30)
        return float(by_value), float(by_advantage)


def judge(
    runs: Mapping[str, Run], folds: Folds, requirement: Requirement, seed: int, only: Sequence[int] | None = None,
    external: Sequence[External] = (),
) -> list[Judged]:  # fmt: skip
    """Ask on the select fold of every candidate what it would certify. A baseline is judged as it acts.

    only: which settings of the runs; all by default. external: further candidates, which weft did not train.
    """
    fold = _SelectFold.of(folds, requirement, seed)
    trained = [fold.judge(state, drawn) for state in _states(runs, only) for drawn in fold.ways]
    return [*trained, *(fold.judge_external(policy) for policy in external)]


def ranked(every: Sequence[Judged]) -> tuple[list[Judged], tuple[str, ...]]:
    """Return candidates with the one to choose first, and in sentences why it is.

    Those of which a certificate can be expected come first, by their score; the others are ordered by two scores.
    """
    best = sorted(every, key=lambda one: -one.row.score)
    certain = [one for one in best if one.row.hopeful]
    sound = [one for one in best if one.row.sound and not one.row.hopeful]
    rest = sorted((one for one in best if not one.row.sound), key=lambda one: one.row.unsupported or 0.0)
    if not sound:
        return [*certain, *rest], () if certain else (NOTHING,)
    order, why = _before_imitation(sound)
    return [*certain, *order, *rest], () if certain else why


def by_two_scores(rows: Iterable[Row]) -> bool:
    """Say whether two scores order candidates, because a certificate can be expected of none."""
    return all(not row.hopeful and row.advantage is not None for row in rows)


def _before_imitation(every: Sequence[Judged]) -> tuple[list[Judged], tuple[str, ...]]:
    """Return candidates by the mean of their ranks, but imitation first unless another is better beyond chance.

    The risk of 5 % is shared by all comparisons with imitation and by the two scores (Bonferroni).
    """
    valued = 2 * sum(one.row.possible for one in every) > len(every)  # else values diverge on this log
    order = _by_mean_rank(every, valued)
    ahead = list(itertools.takewhile(lambda one: not one.row.imitates, order))
    if len(ahead) == len(order):
        return order, ("No imitation that can be believed is there to compare with.",)
    if not ahead:
        return order, ("No candidate comes before imitation by both scores together.",)
    imitation, sure = order[len(ahead)], float(norm.isf(RISK / ((1 + valued) * len(ahead))))
    for one in ahead:
        apart = one.better(imitation, valued)
        if max(apart) > sure and min(apart) > -sure:
            by_value = f" and {apart[0]:.1f} in its value" if valued else ", while values diverge on this log"
            how = f"{apart[1]:.1f} standard errors in its advantage{by_value}"
            return _first(one, order), (f"The choice is better than imitation: by {how}.",)
    names = ", ".join(sorted({one.row.algorithm for one in ahead}))
    return _first(imitation, order), (f"Before imitation, but not better beyond chance: {names}.",)


def _by_mean_rank(every: Sequence[Judged], valued: bool) -> list[Judged]:
    """Return candidates by the mean of their ranks by the two scores; by the advantage alone where not `valued`."""
    scores = [[one.row.advantage or 0.0 for one in every]]
    if valued:
        scores.append([one.row.low if one.row.possible else -math.inf for one in every])
    places = sum(np.argsort(np.argsort(-np.array(score), kind="stable")) for score in scores)
    return [every[number] for number in np.argsort(places, kind="stable")]


def _first(one: Judged, order: Sequence[Judged]) -> list[Judged]:
    """Return an order with one candidate at its head."""
    return [one, *(other for other in order if other is not one)]


@dataclasses.dataclass(frozen=True)
class _State:
    """A kept state of a run that is a candidate, and the sentences of what raised an alarm in training."""

    name: str
    run: Run
    setting: int
    place: int
    step: int
    alarms: str


def _states(runs: Mapping[str, Run], only: Sequence[int] | None) -> Iterator[_State]:
    """Yield the state of every setting and seed that triage says to take."""
    for name, run in runs.items():
        for setting in range(len(run.settings)) if only is None else only:
            health = triage(run, setting=setting)
            step = run.lasting(setting)[-1] if health.checkpoint is None else health.checkpoint
            alarms = "; ".join(finding.sentence for finding in health.findings if finding.verdict == "alarm")
            for place in range(len(run.seeds)):
                yield _State(name, run, setting, place, step, alarms)


class _Who(NamedTuple):
    """Which policy a candidate is: the first words of its row."""

    algorithm: str
    setting: int
    seed: int
    step: int
    drawn: bool | None
    alarms: str
    external: bool


class _Outlook(NamedTuple):
    """What the prospect of a certificate depends on beside the terms: see `dose_test.prospect`."""

    share: Float[Array, ""]
    gain: Float[Array, ""]
    units: Float[Array, ""]
    margin: Float[Array, ""]
    risk: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class _SelectFold:
    """The select fold, prepared once to be asked about one candidate after another."""

    log: PreparedLog
    method: LinearQ
    baseline: Case | None
    level: float | None  # the baseline's estimated value; without a baseline the logged mean takes its place
    requirement: Requirement
    units: int  # of the certify fold
    seed: int

    @classmethod
    def of(cls, folds: Folds, requirement: Requirement, seed: int) -> "_SelectFold":
        data = folds.select
        method = LinearQ(declared_discount(data), horizon=data.spec.horizon, features=feature_count(data.steps))
        log, baseline, level = prepare(data), None, None
        if requirement.baseline is not None:
            baseline = log.case(requirement.baseline, seed=seed).padded()
            level = float(_value(method, baseline, jax.random.key(seed)).value)
        return cls(log, method, baseline, level, requirement, folds.manifest["units"]["certify"], seed)

    @property
    def ways(self) -> tuple[bool, ...]:
        """How candidates are judged: by their mode (False), as they draw (True), or both.

        Weights need a density, which a mode over continuous actions lacks: where they can certify, draws are judged.
        """
        return (False, True) if self.log.data.spec.discrete else (not self._missing(),)

    def _missing(self, *candidates: Candidate) -> str:
        """Return why nothing can be certified about the baseline (and a candidate); empty if something can."""
        compared = () if self.baseline is None else (self.baseline.candidate,)
        return missing(self.log.data, *candidates, *compared)

    def judge(self, state: _State, drawn: bool) -> Judged:
        """Return a candidate of a run with its row and its plan."""
        policy, case = self._case(state, drawn)
        who = _Who(
            state.name, state.setting, state.run.seeds[state.place], state.step, policy.drawn, state.alarms, False
        )
        return self._judged(who, policy, case)

    def judge_external(self, policy: External) -> Judged:
        """Return an external candidate with its row and its plan."""
        case = self.log.case(policy, seed=self.seed)
        check_fitting(case.candidate, f"A study with {policy.name}")
        return self._judged(_Who(policy.name, 0, 0, 0, None, "", True), policy, case)

    def _judged(self, who: _Who, policy: Served | External, case: Case) -> Judged:
        case = case.padded()
        worth = _value(self.method, case, jax.random.key(self.seed))
        value, deviation, logged = (float(part) for part in (worth.value, worth.deviation, worth.logged))
        reach = 1.96 * deviation
        gain = value - reach - (logged if self.level is None else self.level)
        if not math.isfinite(gain) or value - reach > _largest_return(self.log.data):
            gain = -math.inf  # a value that no return can have says nothing
        score, dose, size, plan, chance = gain - self.requirement.margin, 1.0, None, None, None
        if not self._missing(case.candidate):
            plan, size = self._prospect(case, logged, gain)
            chance, dose = float(plan.chance), round(float(plan.dose), 6)
            score = score * math.sqrt(chance) if score > 0 else score
        row = Row(
            who.algorithm, who.setting, who.seed, who.step, who.drawn, value, value - reach, value + reach, score, dose,
            size, logged, triage=who.alarms, external=who.external, possible=_possible(value, reach, self.log.data),
            advantage=float(worth.advantage.mean), chance=chance,
            unsupported=unsupported(case.candidate, case.columns, self.log.data.rows, jax.random.key(self.seed)),
        )  # fmt: skip
        each = np.stack([worth.each, worth.advantage.each])
        return Judged(row, policy, plan, each)

    def _case(self, state: _State, drawn: bool) -> tuple[Served, Case]:
        policy = state.run.policy(state.place, state.setting, state.step).drawing(drawn)
        case = self.log.case(policy, seed=self.seed)
        if drawn and case.candidate.log_prob is None:  # its draws have no density either
            return self._case(state, False)
        return policy, case

    def _prospect(self, case: Case, logged: float, gain: float) -> tuple[dose_test.Plan, float]:
        """Return a plan of the candidate's test, and the effective sample size of its weights."""
        doses = jnp.asarray(dose_test.DOSES if self.baseline is None else (1.0,))
        goal = self.units, self.requirement.margin, self.requirement.risk
        outlook = _Outlook(case.range.share(jnp.float32(logged)), jnp.float32(gain), *map(jnp.float32, goal))
        plan, size = _prospect(case, self.baseline, doses, outlook)
        return plan, float(size)


def _discounts(data: Dataset) -> float:
    """Return the sum of discounts of an episode: to the horizon, else for ever, else of the longest one."""
    discount, horizon = declared_discount(data), data.spec.horizon
    if horizon is None and discount < 1:
        return 1 / (1 - discount ** float(data.durations.min(initial=1.0)))
    return float((discount ** np.arange(horizon or data.lengths.max())).sum())


def _possible(value: float, reach: float, data: Dataset) -> bool:
    """Say whether the rewards of a log can add up to a value, and whether its error is less than all that they can."""
    low, high = (float(end(data.rewards, initial=0.0)) * _discounts(data) for end in (np.min, np.max))
    return low - reach <= value <= high + reach and reach <= high - low


def _largest_return(data: Dataset) -> float:
    """Return the largest return that an episode can have, infinite where nothing is declared."""
    spec = data.spec
    if spec.reward_high is None or spec.horizon is None:
        return math.inf
    return max(spec.reward_high[0], 0.0) * _discounts(data)


class _Worth(NamedTuple):
    """A candidate's value by linear fitted Q with its standard error and the influence of every unit, the mean return
    of the log, and the advantage of the logged steps that the candidate agrees with."""

    value: Float[Array, ""]
    deviation: Float[Array, ""]
    each: Float[Array, "unit"]
    logged: Float[Array, ""]
    advantage: Advantage


def _worth(method: LinearQ, case: Case, key: PRNGKeyArray) -> _Worth:
    value, each, count = influence(method, method.terms(case, key), case.weighing)
    weights = case.weighing.weights
    logged = (weights * case.paths(method.discount).returns).sum() / weights.sum()
    basis = features(case.candidate.spec, key, method.features)
    advantage = logged_advantage(basis, case, method.discount)
    return _Worth(value, spread(each, count), each, logged, advantage)


_value = Program(_worth, "The value of a candidate")


def _predict(
    case: Case, baseline: Case | None, doses: Float[Array, "dose"], outlook: _Outlook
) -> tuple[dose_test.Plan, Float[Array, ""]]:
    """Return what the certify fold can be expected to show, and the effective sample size on this one."""
    case, baseline = case.laid_out(), None if baseline is None else baseline.laid_out()

    def terms(centre: Any) -> dose_test.Terms:
        return dose_test.terms(case, baseline, doses, centre)

    strains = dose_test.STRAINS if baseline is None and case.range.floor is not None else (0.0,)
    return dose_test.prospect(terms, doses, *outlook, strains), effective(case)


_prospect = Program(_predict, "The prospect of a certificate")
