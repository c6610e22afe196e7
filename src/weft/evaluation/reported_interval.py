"""What may be said of a policy's value: an interval that was measured to hold, with its tier, or the reason for none.

The rule is `weft.evaluation.interval_rule`, of which the coverage suite counts how often its intervals hold
(docs/promises.md).
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..core.compilation import Program
from ..core.errors import UserError
from ..core.tables import text_table
from ..data.dataset import Dataset
from ..data.declarations import CUT, check_ranges, cut_early, unevenly_discounted
from .candidate import NO_DENSITY, check_density, check_fitting
from .case import case_of
from .estimator import EPISODES, per_unit
from .interval_rule import Issued, issue
from .propensities import coarse
from .provenance import doubts
from .subject import subject
from .thresholds import DISAGREEMENT, DOUBTFUL, EFFECTIVE_UNITS, EQUAL_RATIOS
from .waves import feature_count

__all__ = ["Answer", "answer"]

TIERS = {
    1: "certified: from weights alone, with a betting interval that holds for any number of units and any policy",
    2: "estimated: fitted values that agree with each other, after tests of what they assume",
    3: "no interval",
}


@dataclasses.dataclass(frozen=True)
class Answer:
    """The interval of a value that may be shown, in units of the return. tier: 1 certified, 2 estimated, 3 none (value,
    low and high are then NaN). reasons: why it is not of the second tier, or none at all, and what else speaks against
    it. estimand: what the mean is over.
    """

    tier: int
    value: float
    low: float
    high: float
    level: float
    effective_sample_size: float
    reasons: tuple[str, ...] = ()
    estimand: str = EPISODES

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield `(what, text)` in plain words."""
        if self.tier < 3:
            about = f"{100 * self.level:g} %, {self.estimand}"
            yield "value", f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] ({about})"
        yield "tier", f"{self.tier}, {TIERS[self.tier]}"
        yield "weights", f"worth {self.effective_sample_size:.1f} episodes"
        for sentence in self.reasons:
            yield "because", sentence

    def __str__(self) -> str:
        """The answer as a table of two columns."""
        return text_table(self.lines())


def answer(policy: Any, data: Dataset, level: float = 0.95, *, greedy: bool | None = None, seed: int = 0) -> Answer:
    """Return the interval that may be shown for a policy's value, or why there is none.

    policy, greedy: as in `weft.estimate`. The log needs logged propensities and declares reward range and horizon.
    Where it declares a unit, every unit counts the same, whatever number of episodes it has.

    Raises UserError where they are missing, not kept to, or rounded so far that weights are wrong, for a level outside
    (0, 1), a policy without a density, and steps of different duration with a discount.
    """
    if not 0 < level < 1:
        raise UserError(f"The level lies between 0 and 1, got {level}.")
    check_ranges(data, "An interval that may be shown")
    if data.store_log_propensities is None or data.propensities_estimated:
        how = "only estimated" if data.propensities_estimated else "not logged"
        raise UserError(
            f"The propensities of {data.origin} are {how}, so whether an interval holds cannot be told; weft.estimate "
            "gives one that rests on its assumptions."
        )
    if reason := coarse(data):
        raise UserError(f"Whether an interval holds on {data.origin} cannot be told: {reason}.")
    if unevenly_discounted(data):
        raise UserError(f"Steps of {data.origin} last differently long; declare a discount of 1.")
    policy = subject(policy)
    case = case_of(policy, data, None, greedy, 8, seed)
    check_fitting(case.candidate, "An interval that may be shown")
    if case.candidate.log_prob is None:
        raise UserError(f"Nothing can be answered about the policy: {NO_DENSITY}.")
    check_density(np.asarray(case.candidate.log_prob)[data.rows], "The policy's log-probability")
    issued = jax.tree.map(
        np.asarray, _issued(case.padded(), jax.random.key(seed), jnp.float32(level), feature_count(data.steps))
    )
    tier = int(issued.tier)
    cut = (CUT,) if cut_early(data, data.spec.horizon) else ()
    reasons = (*_reasons(issued), *cut, *doubts(policy, data))
    value, low, high = (float(part) if tier < 3 else float("nan") for part in (issued.value, issued.low, issued.high))
    return Answer(tier, value, low, high, level, float(issued.effective), reasons, per_unit(data))


_issued = Program(issue, "An interval for this policy")


def _reasons(issued: Issued) -> Iterator[str]:
    """Yield what kept the answer from a better tier."""
    if not issued.passed:
        if not issued.tested:
            yield (
                f"The weights are worth fewer than {EFFECTIVE_UNITS:g} episodes, and the log is too short for its "
                "tests to find a hidden state."
            )
        if not EQUAL_RATIOS[0] < issued.ratio < EQUAL_RATIOS[1]:
            yield f"The mean one-step ratio is {issued.ratio:.3g}, not 1: no overlap, or wrong propensities."
        if not issued.agreement < DISAGREEMENT:
            yield f"Estimators disagree (largest |z| {issued.agreement:.1f})."
        if issued.bellman < DOUBTFUL:
            yield f"Bellman's equation is rejected (p {issued.bellman:.3f})."
        if issued.memory < DOUBTFUL:
            yield f"The step before says more than is seen (p {issued.memory:.3f})."
        if not abs(issued.behaviour) < DISAGREEMENT:
            yield f"The logging policy's own value comes out wrong (z {issued.behaviour:.1f})."
    elif not issued.common:
        yield (
            "The ends of the declared range of rewards came up too rarely for a normal error, so the interval reaches "
            "as far as a few more of them would move it."
        )
    if issued.tier == 3:
        yield "What is left is wider than half of the range of returns."
