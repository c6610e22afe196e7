"""Advice on a log: what was measured, which algorithms to try in which order, what to beware of, how to judge.

Every reason quotes the figure that it rests on. The figures come from `measurement`, the order from `recommendation`;
here they are put into words, and it is said which kind of evaluation the log allows.
"""

import dataclasses
from collections.abc import Callable, Iterator

from ...core.errors import UserError
from ...core.tables import html_table, text_table
from ...data.dataset import Dataset
from ...data.load import check_loaded
from .measurement import Measurement, measure
from .prediction import Comparison
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
        for part in self.properties:
            yield part.name, f"{part.value}: {part.meaning}"
        for place, part in enumerate(self.ranking, 1):
            settings = "".join(f" {name}={value}" for name, value in part.settings.items())
            yield f"{place}. {part.algorithm}{settings}", part.reason
        for warning in self.warnings:
            yield "warning", warning
        yield "evaluation", self.evaluation

    def __str__(self) -> str:
        """The findings as a table of two columns."""
        return text_table(self.lines())

    def _repr_html_(self) -> str:
        return html_table(self.lines(), "Advice")


def advise(data: Dataset) -> Advice:
    """Measure a log and say which algorithms to try first, why, what to beware of, and how they can be judged.

    Takes seconds. Raises UserError for a log with several rewards: what is good must be said first.
    """
    check_loaded(data, "Advice")
    if len(data.spec.rewards) > 1:
        names = ", ".join(data.spec.rewards)
        raise UserError(f"{data.origin} has several rewards ({names}); make one of them first, with weights.")
    measured = measure(data)
    ranking = rank(measured)
    warnings = tuple(_warnings(measured, ranking))
    return Advice(tuple(_properties(measured)), ranking, warnings, _evaluation(measured), measured)


# --- properties ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Figure:
    """How a figure is put into words, what it means, and when there is anything to say."""

    name: str
    value: Callable[[Measurement], str]
    meaning: str
    holds: Callable[[Measurement], bool] = lambda _: True


KINDS = {"discrete": "one of {m.choices} choices", "multidiscrete": "several choices a step"}

FIGURES: tuple[_Figure, ...] = (
    _Figure("actions", lambda m: KINDS.get(m.kind, m.kind).format(m=m), "which algorithms can learn from the log"),
    _Figure("size", lambda m: f"{m.steps:,} steps, {_units(m)}", "what there is to learn from, and to judge by"),
    _Figure(
        "episodes",
        lambda m: "one decision" if m.single else f"{m.length:,.0f} steps (median), {m.longest:,} at most",
        "how far consequences reach",
    ),
    _Figure(
        "returns",
        lambda m: f"{m.bottom:.4g} to {m.top:.4g}",
        "means of the worst and the best twentieth of episodes",
    ),
    _Figure(
        "good episodes",
        lambda m: f"{m.good:.2%}",
        "within a tenth of the best; what filtered copying would keep",
        lambda m: m.spread,
    ),
    _Figure(
        "starts",
        lambda m: f"{m.started:.0%}",
        "of the differences in return come from where episodes begin",
        lambda m: m.started is not None and not m.single,
    ),
    _Figure(
        "good starts",
        lambda m: f"{m.covered:.0%}",
        "of the starts have a good episode that began nearby",
        lambda m: m.covered is not None and not m.single,
    ),
    _Figure("rewarded", lambda m: f"{m.rewarded:.2%}", "of the steps, that is, with another reward than the commonest"),
    _Figure(
        "exploration",
        lambda m: f"{m.exploration:.0%}",
        "chance in the actions at a place, against uniform ones",
        lambda m: m.exploration is not None,
    ),
    _Figure(
        "overlap",
        lambda m: f"{m.near:.0%}",
        "of the steps have a near one in another episode",
        lambda m: m.near is not None,
    ),
    _Figure(
        "contrast",
        lambda m: f"{m.contrast:.2f}",
        "difference of actions at one place (1: as anywhere, 0: none)",
        lambda m: m.contrast is not None,
    ),
    _Figure(
        "stitching",
        lambda m: f"{m.spliced:.0%}",
        "of the episodes, going on like others they meet, would beat all from their start",
        lambda m: m.spliced is not None,
    ),
    _Figure(
        "two groups",
        lambda m: f"{m.split:.0%}",
        "of the places have two separate groups of actions",
        lambda m: m.split is not None,
    ),
    _Figure(
        "memory",
        lambda m: _compared(m.memory, "{c.gain:.3f} nats"),
        "what the step before tells of the action",
        lambda m: m.memory is not None,
    ),
    _Figure(
        "effect",
        lambda m: _compared(m.effect, "{c.share:.1%}"),
        "what the action tells of the rewards after it",
        lambda m: m.effect is not None,
    ),
    _Figure("ends", lambda m: f"{m.terminal:.0%} terminal", "the others were cut, so something would have followed"),
    _Figure("sources", lambda m: f"{m.sources}", "policies or people acted", lambda m: m.sources > 1),
    _Figure(
        "durations",
        lambda m: f"vary by {m.irregular:.0%}",
        "discounts go by time, not by step",
        lambda m: m.irregular > 0,
    ),
    _Figure(
        "propensities",
        lambda m: "none" if m.least is None else f"least {m.least:.3g}",
        "how likely each logged action was",
    ),
    _Figure("declared", lambda m: ", ".join(_declared(m)) or "nothing", "what a certificate may rest on"),
)


def _properties(m: Measurement) -> Iterator[Property]:
    """Put every figure that could be had into words."""
    for figure in FIGURES:
        if figure.holds(m):
            yield Property(figure.name, figure.value(m), figure.meaning)


def _units(m: Measurement) -> str:
    return f"{m.units:,} values of '{m.unit}'" if m.unit else f"{m.episodes:,} episodes"


def _compared(comparison: Comparison | None, words: str) -> str:
    assert comparison is not None
    return f"{words.format(c=comparison) if comparison.clear else 'none seen'} (z {_z(comparison.z)})"


def _z(z: float) -> str:
    return f"{z:.1f}" if abs(z) < 100 else ("over 100" if z > 0 else "under -100")


def _declared(m: Measurement) -> list[str]:
    facts = {
        "reward range": m.ranged,
        f"horizon {m.horizon}": m.horizon is not None,
        f"unit {m.unit}": m.unit is not None,
    }
    return [name for name, declared in facts.items() if declared]


def _missing(m: Measurement) -> list[str]:
    facts = {"reward range": m.ranged, "horizon": m.horizon is not None}
    return [name for name, declared in facts.items() if not declared]


# --- warnings -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Warning:
    """When learning or judging is hard, and what is said of it: the measurement is `m`, further words are `_words`."""

    holds: Callable[[Measurement], bool]
    says: str


def _words(m: Measurement) -> dict[str, str]:
    """Return the figures of warnings that no format lays out."""
    return {
        "units": f"values of '{m.unit}'" if m.unit else "episodes",
        "added": "" if m.effect is None else f"{max(m.effect.share, 0):.1%}",
        "weight": f"{1 / m.least:,.0f}" if m.least else "",
        "z_effect": "" if m.effect is None else _z(m.effect.z),
        "z_memory": "" if m.memory is None else _z(m.memory.z),
        "z_excess": "" if m.excess is None else _z(m.excess),
    }


def _invisible(m: Measurement) -> bool:
    return m.single and m.spread and m.effect is not None and not m.effect.clear


def _remembered(m: Measurement) -> bool:
    return m.memory is not None and m.memory.clear and m.memory.gain >= MEMORY


WARNINGS: tuple[_Warning, ...] = (
    _Warning(
        lambda m: m.units < FEW,
        "{m.units} {units} are few: what is learned from them, and every interval, depends on which they were.",
    ),
    _Warning(
        lambda m: not m.spread,
        "Every episode returns {m.top:.4g}: there is nothing to tell good actions from bad ones.",
    ),
    _Warning(
        lambda m: m.deterministic,
        "The same place always met the same action: what another would have done was never tried.",
    ),
    _Warning(
        _invisible,
        "That the action matters cannot be seen: it adds {added} to the prediction of the reward (z {z_effect}); "
        "differences between policies may be too small to measure on this log.",
    ),
    _Warning(
        _remembered,
        "The step before helps to predict the action ({m.memory.gain:.3f} nats, z {z_memory}): observations hide "
        "something that the behaviour used, or several policies acted. Estimates without propensities suffer.",
    ),
    _Warning(
        lambda m: m.near is not None and m.near < 0.5 and not m.single,
        "Only {m.near:.0%} of the steps have a near one in another episode: whether parts of episodes can be put "
        "together is hard to tell here, and values rest on the network's guess in between.",
    ),
    _Warning(
        lambda m: m.excess is not None and m.excess > 3,
        "The propensities cannot be right: one over them is above the {m.choices} choices on average (z {z_excess}); "
        "look for logged logarithms, wrong labels, or a later version of the policy.",
    ),
    _Warning(
        lambda m: m.least is not None and m.kind != "continuous" and m.least < 1e-3,
        "The least propensity is {m.least:.2g}: one such step can weigh as much as {weight} others.",
    ),
    _Warning(
        lambda m: m.terminal == 0,
        "No episode ends by a terminal step: values rest on the discount, or on the declared horizon.",
    ),
    _Warning(
        lambda m: m.irregular > 0.1,
        "Durations vary by {m.irregular:.0%}: choose the discount per unit of time, not per step.",
    ),
)


def _warnings(m: Measurement, ranking: tuple[Recommendation, ...]) -> Iterator[str]:
    """Say what makes learning or judging hard, with the figure."""
    if not ranking:
        yield f"No algorithm of weft learns from {m.kind} actions."
    words = _words(m)
    for warning in WARNINGS:
        if warning.holds(m):
            yield warning.says.format(m=m, **words)


# --- evaluation ---------------------------------------------------------------------------------------------------


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
