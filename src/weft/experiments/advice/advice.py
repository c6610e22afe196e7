"""Advice on a log: what was measured, which algorithms to try in which order, what to beware of, how to judge.

Every reason quotes the figure that it rests on. The figures come from `measurement`, the order from `recommendation`;
here they are put into words, and it is said which kind of evaluation the log allows.
"""

import dataclasses
from collections.abc import Iterator

from ...core.errors import UserError
from ...core.tables import text_table
from ...data.dataset import Dataset
from .measurement import Measurement, measure
from .recommendation import Recommendation, rank

__all__ = ["Advice", "Property", "advise"]

FEW, HARDLY_ANY = 100, 20  # independent units below which intervals are wide, or worth nothing
LONG = 20  # steps over which importance weights leave little certain
MEMORY = 0.01  # nats a step that count


@dataclasses.dataclass(frozen=True)
class Property:
    """One measured figure: its name, its value in words and figures, and what it means."""

    name: str
    value: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class Advice:
    """What `advise` found: measured properties, algorithms (best first), warnings, and how they can be judged."""

    properties: tuple[Property, ...]
    ranking: tuple[Recommendation, ...]
    warnings: tuple[str, ...]
    evaluation: str
    measurement: Measurement

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield `(what, text)` in plain text, ready to be laid out."""
        for found in self.properties:
            yield found.name, f"{found.value}: {found.meaning}"
        for place, found in enumerate(self.ranking, 1):
            settings = "".join(f" {name}={value}" for name, value in found.settings.items())
            yield f"{place}. {found.algorithm}{settings}", found.reason
        for warning in self.warnings:
            yield "warning", warning
        yield "evaluation", self.evaluation

    def __str__(self) -> str:
        """The findings as a table of two columns."""
        return text_table(self.lines())


def advise(data: Dataset) -> Advice:
    """Measure a log and say which algorithms to try first, why, what to beware of, and how they can be judged.

    Takes seconds. Raises UserError for a log with several rewards: what is good must be said first.
    """
    if len(data.spec.rewards) > 1:
        names = ", ".join(data.spec.rewards)
        raise UserError(f"{data.origin} has several rewards ({names}); make one of them first, with weights.")
    measured = measure(data)
    ranking = rank(measured)
    warnings = tuple(_warnings(measured, ranking))
    return Advice(tuple(_properties(measured)), ranking, warnings, _evaluation(measured), measured)


def _properties(m: Measurement) -> Iterator[Property]:
    """Put every figure that could be had into words."""
    kinds = {"discrete": f"one of {m.choices} choices", "multidiscrete": "several choices a step"}
    yield Property("actions", kinds.get(m.kind, m.kind), "which algorithms can learn from the log")
    unit = f"{m.units:,} values of '{m.unit}'" if m.unit else f"{m.episodes:,} episodes"
    yield Property("size", f"{m.steps:,} steps, {unit}", "what there is to learn from, and to judge by")
    length = "one decision" if m.single else f"{m.length:,.0f} steps (median), {m.longest:,} at most"
    yield Property("episodes", length, "how far consequences reach")
    yield Property("returns", f"{m.bottom:.4g} to {m.top:.4g}", "means of the worst and the best twentieth of episodes")
    if m.spread:
        yield Property("good episodes", f"{m.good:.2%}", "within a tenth of the best; what filtered copying would keep")
    if m.started is not None and not m.single:
        yield Property("starts", f"{m.started:.0%}", "of the differences in return come from where episodes begin")
    if m.covered is not None and not m.single:
        yield Property("good starts", f"{m.covered:.0%}", "of the starts have a good episode that began nearby")
    yield Property("rewarded", f"{m.rewarded:.2%}", "of the steps, that is, with another reward than the commonest")
    if m.exploration is not None:
        yield Property("exploration", f"{m.exploration:.0%}", "chance in the actions at a place, against uniform ones")
    if m.near is not None:
        yield Property("overlap", f"{m.near:.0%}", "of the steps have a near one in another episode")
    if m.contrast is not None:
        yield Property("contrast", f"{m.contrast:.2f}", "difference of actions at one place (1: as anywhere, 0: none)")
    if m.spliced is not None:
        yield Property(
            "stitching",
            f"{m.spliced:.0%}",
            "of the episodes, going on like others they meet, would beat all from their start",
        )
    if m.split is not None:
        yield Property("two groups", f"{m.split:.0%}", "of the places have two separate groups of actions")
    if m.memory is not None:
        seen = f"{m.memory.gain:.3f} nats" if m.memory.clear else "none seen"
        yield Property("memory", f"{seen} (z {_z(m.memory.z)})", "what the step before tells of the action")
    if m.effect is not None:
        seen = f"{m.effect.share:.1%}" if m.effect.clear else "none seen"
        yield Property("effect", f"{seen} (z {_z(m.effect.z)})", "what the action tells of the rewards after it")
    yield Property("ends", f"{m.terminal:.0%} terminal", "the others were cut, so something would have followed")
    if m.sources > 1:
        yield Property("sources", f"{m.sources}", "policies or people acted")
    if m.irregular > 0:
        yield Property("durations", f"vary by {m.irregular:.0%}", "discounts go by time, not by step")
    shown = "none" if m.least is None else f"least {m.least:.3g}"
    yield Property("propensities", shown, "how likely each logged action was")
    yield Property("declared", ", ".join(_declared(m)) or "nothing", "what a certificate may rest on")


def _z(z: float) -> str:
    return f"{z:.1f}" if abs(z) < 100 else ("over 100" if z > 0 else "under -100")


def _declared(m: Measurement) -> list[str]:
    facts = {
        "reward range": m.ranged,
        f"horizon {m.horizon}": m.horizon is not None,
        f"unit {m.unit}": m.unit is not None,
    }
    return [name for name, given in facts.items() if given]


def _missing(m: Measurement) -> list[str]:
    return [name for name, given in {"reward range": m.ranged, "horizon": m.horizon is not None}.items() if not given]


def _warnings(m: Measurement, ranking: tuple[Recommendation, ...]) -> Iterator[str]:
    """Say what makes learning or judging hard, with the figure."""
    if not ranking:
        yield f"No algorithm of weft learns from {m.kind} actions."
    if m.units < FEW:
        kind = f"values of '{m.unit}'" if m.unit else "episodes"
        yield f"{m.units} {kind} are few: what is learned from them, and every interval, depends on which they were."
    if not m.spread:
        yield f"Every episode returns {m.top:.4g}: there is nothing to tell good actions from bad ones."
    if m.deterministic:
        yield "The same place always met the same action: what another would have done was never tried."
    if m.single and m.effect is not None and not m.effect.clear and m.spread:
        yield (
            f"That the action matters cannot be seen: it adds {max(m.effect.share, 0):.1%} to the prediction of the "
            f"reward (z {_z(m.effect.z)}); differences between policies may be too small to measure on this log."
        )
    if m.memory is not None and m.memory.clear and m.memory.gain >= MEMORY:
        yield (
            f"The step before helps to predict the action ({m.memory.gain:.3f} nats, z {_z(m.memory.z)}): observations "
            "hide something that the behaviour used, or several policies acted. Estimates without propensities suffer."
        )
    if m.near is not None and m.near < 0.5 and not m.single:
        yield (
            f"Only {m.near:.0%} of the steps have a near one in another episode: whether parts of episodes can be put "
            "together is hard to tell here, and values rest on the network's guess in between."
        )
    if m.excess is not None and m.excess > 3:
        yield (
            f"The propensities cannot be right: one over them is above the {m.choices} choices on average "
            f"(z {_z(m.excess)}); look for logged logarithms, wrong labels, or a later version of the policy."
        )
    if m.least is not None and m.kind != "continuous" and m.least < 1e-3:
        yield f"The least propensity is {m.least:.2g}: one such step can weigh as much as {1 / m.least:,.0f} others."
    if m.terminal == 0:
        yield "No episode ends by a terminal step: values rest on the discount, or on the declared horizon."
    if m.irregular > 0.1:
        yield f"Durations vary by {m.irregular:.0%}: choose the discount per unit of time, not per step."


def _evaluation(m: Measurement) -> str:
    """Say what kind of answer on a learned policy this log can give."""
    if m.units < HARDLY_ANY:
        return f"Abstain: {m.units} independent units are too few for any interval; collect hundreds."
    if m.deterministic:
        return (
            "Abstain (no exploration): only the logged behaviour itself can be judged. Let a small share of decisions "
            "be random, log their probabilities, and come back."
        )
    unit = (
        f"Units are the values of '{m.unit}'."
        if m.unit
        else "It is assumed that episodes are independent: no unit is declared."
    )
    missing = " and ".join(_missing(m))
    if m.excess is not None and m.excess > 3:
        return f"Tier 2 (estimate) at most, until the propensities are mended. {unit}"
    if m.propensities and missing:
        return f"Tier 2 (estimate) now; declare the {missing}, and tier 1 (certificate) is possible. {unit}"
    if m.propensities:
        weights = (
            f" Weights multiply over {m.length:,.0f} steps, so expect proof only for policies that take over a small "
            "share of the decisions."
            if m.length > LONG
            else ""
        )
        density = (
            " Policies without a density (one exact action) cannot be certified." if m.kind == "continuous" else ""
        )
        return f"Tier 1 (certificate): propensities, reward range and horizon are there.{weights}{density} {unit}"
    doubt = ", which the memory figure puts in doubt" if m.memory is not None and m.memory.clear else ""
    return (
        "Tier 2 (estimate) at most, since no propensities are given: it holds if observations show all that the "
        f"behaviour looked at{doubt}. {unit}"
    )
