"""In which order the algorithms are worth trying on a measured log, and the figure behind every reason.

`RULES` is a table: a condition on the measurement, the traits of algorithms that it speaks for or against, and by how
much. `FAMILIES` says what families do; an algorithm that differs declares its own traits. A new algorithm is ranked
without a line here; one of an unknown family that declares none is listed last. Points only order; they promise no
return. The orders follow published comparisons: copying where nearly all is good, filtered copying where much of it is
(arXiv:2106.01345), value learning where little is good or good episodes must be put together (arXiv:2110.06169).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from ...agents.algorithm import Algorithm, algorithms
from ...data.spec import Spec
from .measurement import Measurement

__all__ = ["Recommendation", "Rule", "Setting", "rank", "traits"]

FEW_STEPS = 5000
MOST_REASONS = 3

FAMILIES: dict[str, frozenset[str]] = {
    "imitation": frozenset({"copies"}),
    "implicit constraint": frozenset({"values", "within"}),
    "explicit constraint": frozenset({"values", "tethered"}),
    "conservative": frozenset({"values", "pessimistic"}),
    "unconstrained": frozenset({"reckless"}),
    "value based": frozenset({"reckless"}),
}
"""Traits by family. copies: imitates. selects: keeps what came out well. values: learns values step by step, so that
parts of different episodes can be put together. outcomes: weighs actions by what followed in their own episode. within:
never asks for the value of an action that was not logged. tethered: does, held near the logged action. pessimistic:
does, and lowers it. certain: its policy has no density. lucky: takes a step that came out well by chance for a good
one. unmeasured: this package has run it on few logs and seeds. reckless: nothing holds it. An algorithm that differs
from its family says so itself (`Algorithm.traits`)."""

HELD = frozenset({"within", "tethered", "pessimistic"})
"""Traits of methods that learn values and stay with the log."""

USUAL: dict[str, float] = {
    "values": 0.6, "within": 0.4, "pessimistic": 0.2, "tethered": 0.1, "selects": 0.3, "outcomes": 0.2,
    "lucky": -0.4, "unmeasured": -0.1,
}  # fmt: skip
"""The order where nothing measured speaks: the mean scores of published locomotion comparisons."""


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """An algorithm by its registered name, settings that differ from its defaults, and why, with the figures."""

    algorithm: str
    settings: dict[str, Any]
    reason: str


@dataclasses.dataclass(frozen=True)
class Rule:
    """When something holds of a measurement, algorithms with any of the traits gain or lose points; and the reason.

    `says` is filled with the measurement as `m`.
    """

    holds: Callable[[Measurement], bool]
    points: Mapping[str, float]
    says: str


# --- conditions ----------------------------------------------------------------------------------------------------


def _copyable(m: Measurement) -> bool:
    return m.spread and m.good >= 0.9 and not _spliceable(m)


def _mixed(m: Measurement) -> bool:
    return not m.single and 0.1 <= m.good < 0.9 and (m.covered or 0) >= 0.8 and not _start_decides(m)


def _few_good(m: Measurement) -> bool:
    return not m.single and m.spread and m.good < 0.1 and not _start_decides(m)


def _spliceable(m: Measurement) -> bool:
    return (m.spliced or 0) >= 0.15


def _start_decides(m: Measurement) -> bool:
    return (m.started or 0) >= 0.8 and m.spliced is not None and m.spliced < 0.05 and not m.single


def _uncovered(m: Measurement) -> bool:
    return not m.single and m.spread and m.covered is not None and m.covered < 0.8 and not _start_decides(m)


def _undirected(m: Measurement) -> bool:
    return m.exploration is not None and m.exploration >= 0.9


def _small(m: Measurement) -> bool:
    return m.steps < FEW_STEPS


def _two_groups(m: Measurement) -> bool:
    return m.split is not None and m.split >= 0.1


RULES: tuple[Rule, ...] = (
    Rule(
        _copyable,
        {"copies": 3.0, "selects": -0.5},
        "{m.good:.0%} of the episodes come within a tenth of the best ({m.top:.4g}), so copying is nearly enough",
    ),
    Rule(
        lambda m: not m.spread,
        {"copies": 3.0, "selects": -0.5},
        "every episode returns {m.top:.4g}, so no action can be told to be better than another",
    ),
    Rule(
        _start_decides,
        {"copies": 3.0, "selects": -1.0},
        "{m.started:.0%} of the differences in return come from where episodes begin and {m.spliced:.0%} could be "
        "improved by parts of others, so copying is nearly enough",
    ),
    Rule(
        _mixed,
        {"selects": 3.0},
        "{m.good:.0%} of the episodes are good and begin where the others do ({m.covered:.0%} of the starts), so "
        "copying only those is simple and strong",
    ),
    Rule(
        _mixed,
        {"values": 2.0, "outcomes": 1.5},
        "returns from {m.bottom:.4g} to {m.top:.4g} tell good actions from bad ones",
    ),
    Rule(
        _mixed,
        {"copies": -0.5, "selects": 0.5},
        "{m.bad:.0%} of what it copies is not good",
    ),
    Rule(
        _few_good,
        {"values": 3.0, "outcomes": 1.0},
        "only {m.good:.1%} of the episodes come within a tenth of the best ({m.top:.4g}), so actions must be weighed",
    ),
    Rule(
        _few_good,
        {"selects": 1.5},
        "it copies only the {m.good:.1%} of the episodes that are good, and not the rest",
    ),
    Rule(
        _few_good,
        {"copies": -0.5, "selects": 0.5},
        "{m.bad:.0%} of what it copies is not good",
    ),
    Rule(
        _spliceable,
        {"values": 3.0},
        "{m.spliced:.0%} of the episodes could have gone on like another one that they meet, to a return that no "
        "episode from their start had; learning values step by step finds that",
    ),
    Rule(
        _spliceable,
        {"copies": -1.0, "outcomes": -0.5},
        "it cannot put episodes together, which would improve {m.spliced:.0%} of them",
    ),
    Rule(
        _uncovered,
        {"selects": -1.0},
        "only {m.covered:.0%} of the starts have a good episode from nearby, so the good ones do not show what to do "
        "from the others",
    ),
    Rule(
        lambda m: m.single,
        {"values": 2.0, "outcomes": 1.0},
        "each of the {m.episodes:,} episodes is one decision, so learning values is plain regression and luck averages "
        "out",
    ),
    Rule(
        lambda m: m.single,
        {"selects": -2.0},
        "keeping the {m.good:.2%} best single decisions keeps the lucky ones",
    ),
    Rule(
        _undirected,
        {"copies": -2.0, "selects": 1.0},
        "logged actions are nearly undirected ({m.exploration:.0%} of the chance of uniform ones), so a copy would be, "
        "too",
    ),
    Rule(
        _undirected,
        {"values": 0.5, "pessimistic": 0.3},
        "exploration is {m.exploration:.0%} of uniform, so the values of all actions can be compared",
    ),
    Rule(
        lambda m: m.deterministic,
        {"copies": 3.0},
        "the same place always met the same action (contrast {m.shown_contrast}), so what another would do is unknown",
    ),
    Rule(
        lambda m: m.deterministic,
        {"values": -1.5, "outcomes": -0.5, "within": 0.5},
        "it compares actions, and the same place always met the same one (contrast {m.shown_contrast})",
    ),
    Rule(
        _small,
        {"copies": 1.0, "within": 0.5},
        "{m.steps:,} steps are few, and it asks for nothing that was not logged",
    ),
    Rule(
        _small,
        {"pessimistic": -1.0, "tethered": -0.5},
        "{m.steps:,} steps are few for values of actions that were not logged",
    ),
    Rule(
        _two_groups,
        {"certain": -0.5},
        "at {m.split:.0%} of the places actions fall into two groups, and one exact action may lie between them",
    ),
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Settings for one algorithm when something holds, and the reason."""

    algorithm: str
    holds: Callable[[Measurement], bool]
    values: Callable[[Measurement], dict[str, Any]]
    says: str


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "filtered_bc",
        lambda m: _mixed(m) or _few_good(m),
        lambda m: {"fraction": min(0.9, max(math.ceil(100 * m.good) / 100, 0.05))},
        "the fraction is the share of good episodes, {m.good:.1%}, and at least 5 %",
    ),
    *(
        Setting(
            name, _two_groups, lambda _: {"head": "mixture"}, "a mixture, for two groups at {m.split:.0%} of places"
        )
        for name in ("bc", "filtered_bc")
    ),
    Setting(
        "iql",
        lambda m: _spliceable(m) and m.rewarded < 0.05,
        lambda _: {"expectile": 0.9, "inverse_temperature": 10.0},
        "a high expectile, because {m.rewarded:.1%} of the steps are rewarded and values have far to travel",
    ),
)


# --- the order -----------------------------------------------------------------------------------------------------


class _Words:
    """A measurement with the few derived words that sentences need."""

    def __init__(self, measured: Measurement) -> None:
        self.measured = measured
        self.bad = 1 - measured.good
        self.shown_contrast = "0" if not measured.contrast else f"{measured.contrast:.2f}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.measured, name)


def traits(kind: type[Algorithm]) -> frozenset[str]:
    """Return what an algorithm does: what it declares itself, else what its family does, else nothing."""
    return kind.traits or FAMILIES.get(kind.family, frozenset())


def constrained(spec: Spec) -> list[str]:
    """Return the names of the methods that learn from such a log and that something holds near it, by name."""
    sees = frozenset(part.kind for part in spec.observations)
    return [
        name
        for name, kind in algorithms().items()
        if _learns(kind, spec.action.kind, sees) and traits(kind) & HELD and "unmeasured" not in traits(kind)
    ]


def _learns(kind: type[Algorithm], actions: str, sees: frozenset[str]) -> bool:
    """Say whether a method learns from a log of such actions and observations."""
    return "log" in kind.learns_from and actions in kind.actions and (kind.sees is None or sees <= kind.sees)


def rank(measured: Measurement, known: Mapping[str, type[Algorithm]] | None = None) -> tuple[Recommendation, ...]:
    """Order the algorithms (all of weft by default) that learn from the log's actions and observations, best first."""
    words = _Words(measured)
    entries = [
        (_points(kind, measured), _recommendation(name, kind, words))
        for name, kind in (algorithms() if known is None else known).items()
        if _learns(kind, measured.kind, measured.sees) and "reckless" not in traits(kind)
    ]
    return tuple(entry for _, entry in sorted(entries, key=lambda entry: (-entry[0], entry[1].algorithm)))


def _rules(kind: type[Algorithm], measured: Measurement) -> list[tuple[float, Rule]]:
    """Return the rules that hold and speak for or against a method, with their points."""
    weighed = ((sum(value for trait, value in rule.points.items() if trait in traits(kind)), rule) for rule in RULES)
    return [(points, rule) for points, rule in weighed if points and rule.holds(measured)]


def _points(kind: type[Algorithm], measured: Measurement) -> float:
    """Return what a method is ordered by; nobody knows it of one without traits."""
    if not traits(kind):
        return -math.inf
    usual = sum((points for trait, points in USUAL.items() if trait in traits(kind)), 0.0)
    return sum((points for points, _ in _rules(kind, measured)), usual)


def _recommendation(name: str, kind: type[Algorithm], words: _Words) -> Recommendation:
    """Return a method with its settings for a log, and with why."""
    advised = [rule for rule in SETTINGS if rule.algorithm == name and rule.holds(words.measured)]
    settings: dict[str, Any] = {}
    for rule in advised:
        settings |= rule.values(words.measured)
    reasons = [(points, rule.says.format(m=words)) for points, rule in _rules(kind, words.measured)]
    reason = "; ".join(_reasons(kind, reasons, words) + [rule.says.format(m=words) for rule in advised])
    return Recommendation(name, settings, f"{_capital(reason)}.")


def _reasons(kind: type[Algorithm], reasons: list[tuple[float, str]], words: _Words) -> list[str]:
    """Return the weightiest reasons, those for it first."""
    if not traits(kind):
        return [f"no rule speaks of the family '{kind.family}' yet ({words.steps:,} steps of {words.kind} actions)"]
    if not reasons:
        return [f"nothing measured on the {words.steps:,} steps speaks for or against it; its usual place"]
    weightiest = sorted(reasons, key=lambda reason: -abs(reason[0]))[:MOST_REASONS]
    favour = [says for points, says in weightiest if points > 0]
    against = [says for points, says in weightiest if points < 0]
    return [*favour, f"against it: {against[0]}", *against[1:]] if against else favour


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
