"""Advice on a log: what was measured, which methods to try in which order, what to beat, and how to judge.

The figures come from `measurement`, the order from `recommendation`, the lines to run from `plan`; here figures are put
into words, and it is said which kind of evaluation the log allows.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

from ...agents.algorithm import algorithm
from ...core.errors import UserError
from ...core.tables import html_table, text_table
from ...data.dataset import Dataset
from ...data.load import check_loaded
from .evidence import alike
from .measurement import Measurement, measure
from .plan import commands, family
from .properties import Property, missing, properties, shown_z
from .recommendation import Aim, Recommendation, aimed, filter_settings, group, rank
from .situations import FEW_UNITS, Words, situation

__all__ = ["Advice", "Property", "advise", "shown"]

FEW = 100  # independent units below which intervals are wide
LONG = 20  # steps over which importance weights leave little certain
MEMORY = 0.01  # nats a step that count


@dataclasses.dataclass(frozen=True)
class Advice:
    """What `advise` found: measured properties, the situation in a sentence, methods (best first), what they have to
    beat, warnings, how they can be judged, the preset of such tasks if there is one, and what the order rests on.
    """

    properties: tuple[Property, ...]
    situation: str
    ranking: tuple[Recommendation, ...]
    baselines: tuple[Property, ...]
    warnings: tuple[str, ...]
    evaluation: str
    preset: str | None
    grounds: str
    measurement: Measurement
    then: Aim = "offline"

    def groups(self) -> Iterator[tuple[str, list[Recommendation]]]:
        """Yield neighbours in the order that share a reason, with their places: `("2-4", [...])`."""
        place = 1
        for _, each in itertools.groupby(self.ranking, lambda part: part.reason):
            neighbours = list(each)
            last = place + len(neighbours) - 1
            yield (f"{place}" if last == place else f"{place}-{last}"), neighbours
            place = last + 1

    def commands(self, log: str, options: Sequence[str] = (), environment: str | None = None) -> dict[str, list[str]]:
        """Return the words of the commands that come next, by what they do; see `plan.commands`."""
        return commands(self.measurement, self.ranking, log, options, environment, self.then)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield `(what, text)` in plain text, ready to be laid out."""
        for part in self.properties:
            yield part.name, f"{part.value}: {part.meaning}"
        yield "situation", self.situation
        for places, neighbours in self.groups():
            yield f"{places}. {', '.join(map(shown, neighbours))}", neighbours[0].reason
        for part in self.baselines:
            yield f"to beat: {part.name}", f"{part.value} {part.meaning}".strip()
        for warning in self.warnings:
            yield "warning", warning
        yield "evaluation", self.evaluation
        yield "order", self.grounds

    def __str__(self) -> str:
        """The findings as a table of two columns."""
        return text_table(self.lines())

    def _repr_html_(self) -> str:
        return html_table(self.lines(), "Advice")


def shown(part: Recommendation) -> str:
    """Return a method with the settings that are advised for it."""
    return " ".join([part.algorithm, *(f"{name}={value}" for name, value in part.settings.items())])


def advise(data: Dataset, then: str = "offline") -> Advice:
    """Measure a log and say which methods to try first, why, what they have to beat, and how they can be judged.

    then: what comes after training: `offline`, the policy is served as it is; `online`, it goes on learning by acting;
    `model`, a model of the world can be trained and learned from.

    Takes seconds. Raises UserError for a log with several rewards (what is good must be said first) and for another
    word after `then`.
    """
    check_loaded(data, "Advice")
    aim = aimed(then)
    if len(data.spec.rewards) > 1:
        names = ", ".join(data.spec.rewards)
        raise UserError(f"{data.origin} has several rewards ({names}); make one of them first, with weights.")
    measured = measure(data)
    ranking = rank(measured, then=aim)
    return Advice(
        tuple(properties(measured)),
        situation(measured).says.format(m=Words(measured)),
        ranking,
        tuple(_baselines(measured)),
        tuple(_warnings(measured, ranking, aim)),
        _evaluation(measured),
        family(measured),
        _grounds(measured, ranking, aim),
        measured,
        aim,
    )


def _baselines(m: Measurement) -> Iterator[Property]:
    """Yield what every method has to beat: filtered behaviour cloning first."""
    settings = " ".join(f"{name}={value}" for name, value in filter_settings(m).items())
    if m.fraction is None:
        yield Property("filtered_bc", "", "nothing to filter by: no episodes stand out")
    else:
        best = f"the best {m.kept_episodes:,} of {m.episodes:,} episodes, {m.kept_steps:,} steps"
        yield Property(f"filtered_bc {settings}", f"{best},", f"which returned {m.kept_mean:.4g} on average")
    yield Property("bc", "", "a copy of everything")
    yield Property("the old rule", f"{m.mean:.4g}", "an episode on average, without any risk")


def _modelled(ranking: Sequence[Recommendation]) -> bool:
    """Say whether any of the methods learns a model."""
    return any(group(algorithm(part.algorithm)) == "model" for part in ranking)


def _grounds(m: Measurement, ranking: Sequence[Recommendation], then: Aim) -> str:
    """Say what the order rests on."""
    logs = alike(situation(m).name)
    tables = f" and weft's own tables of logs in this situation ({', '.join(logs)})" if logs else ""
    first = "The"
    if then == "online":
        first = "Methods that go on online come first, as in CORL's runs from offline to online; beyond that the"
    elif then == "model" and _modelled(ranking):
        first = "Methods that learn a model come first; beyond that the"
    return f"{first} order follows published comparisons{tables}; it is where to begin, not a promise."


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
        "z_effect": "" if m.effect is None else shown_z(m.effect.z),
        "z_memory": "" if m.memory is None else shown_z(m.memory.z),
        "z_excess": "" if m.excess is None else shown_z(m.excess),
    }


def _invisible(m: Measurement) -> bool:
    return m.single and m.spread and m.effect is not None and not m.effect.clear


def _remembered(m: Measurement) -> bool:
    return m.memory is not None and m.memory.clear and m.memory.gain >= MEMORY


WARNINGS: tuple[_Warning, ...] = (
    _Warning(
        lambda m: FEW_UNITS <= m.units < FEW,
        "{m.units} {units} are few: what is learned from them, and every interval, depends on which they were.",
    ),
    _Warning(
        _invisible,
        "That the action matters cannot be seen: it adds {added} to the prediction of the reward (z {z_effect}); "
        "differences between policies may be too small to measure on this log, and the old rule as good as any.",
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


def _warnings(m: Measurement, ranking: tuple[Recommendation, ...], then: Aim = "offline") -> Iterator[str]:
    """Say what makes learning or judging hard, with the figure."""
    if not ranking:
        yield f"No algorithm of weft learns from {m.kind} actions."
    if then == "model" and not _modelled(ranking):
        yield "No method of weft learns a model of such a world yet, so the order is that of offline learning."
    words = _words(m)
    for warning in WARNINGS:
        if warning.holds(m):
            yield warning.says.format(m=m, **words)


# --- evaluation ---------------------------------------------------------------------------------------------------


def _evaluation(m: Measurement) -> str:
    """Say what kind of answer on a learned policy this log can give."""
    if m.units < FEW_UNITS:
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
    lacking = " and ".join(missing(m))
    if m.excess is not None and m.excess > 3:
        return f"Tier 2 (estimate) at most, until the propensities are mended. {unit}"
    if m.propensities and lacking:
        return f"Tier 2 (estimate) now; declare the {lacking}, and tier 1 (certificate) is possible. {unit}"
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
