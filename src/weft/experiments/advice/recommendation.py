"""In which order the methods are worth trying on a measured log, and the reason for each.

The log's situation says where a group of methods usually ends (`situations`), weft's own tables of logs in the same
situation say where single methods did (`evidence`), a few measured properties add or take a little (`CHANGES`), and
what is to happen after training decides first (`Aim`). `FAMILIES` says what families do; a method that differs declares
its own traits. A new method is ranked without a line here; one of an unknown family that declares none is listed last.
Shares only order; they promise no return.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from ...agents.algorithm import Algorithm, algorithms
from ...core.errors import UserError
from ...data.spec import Spec
from .evidence import EVIDENCE, Table, seen
from .measurement import Measurement
from .situations import GROUPS, Situation, Words, situation, stitches

__all__ = [
    "Aim",
    "Change",
    "Recommendation",
    "Setting",
    "aimed",
    "constrained",
    "filter_settings",
    "group",
    "rank",
    "traits",
]

Aim = Literal["offline", "online", "model"]
"""What is to become of a policy: it is served as it is, it goes on learning by acting, or a model of the world can be
trained and learned from, because its dynamics are simple to predict."""

FAMILIES: dict[str, frozenset[str]] = {
    "imitation": frozenset({"copies"}),
    "implicit constraint": frozenset({"values", "within", "weighs"}),
    "explicit constraint": frozenset({"values", "tethered"}),
    "conservative": frozenset({"values", "pessimistic"}),
    "regression": frozenset({"values", "regresses"}),
    "model based": frozenset({"values", "pessimistic", "models"}),
    "unconstrained": frozenset({"reckless"}),
    "value based": frozenset({"reckless"}),
}
"""Traits by family. copies: imitates. selects: keeps what came out well. values: learns values step by step, so that
parts of different episodes can be put together. weighs: its policy copies logged actions, each with a weight. outcomes:
weighs actions by what followed in their own episode. within: never asks for the value of an action that was not logged.
tethered: does, held near the logged action. pessimistic: does, and lowers it. regresses: fits the reward of single
decisions. models: learns a model of the world. certain: its policy has no density. lucky: takes a step that came out
well by chance for a good one. unmeasured: this package has run it on few logs and seeds. reckless: nothing holds it. A
method that differs from its family says so itself (`Algorithm.traits`)."""

HELD = frozenset({"within", "tethered", "pessimistic"})
"""Traits of methods that learn values and stay with the log."""

BY_TRAIT: tuple[tuple[str, str], ...] = (
    ("regresses", "regression"), ("models", "model"), ("selects", "filtered"), ("copies", "copy"),
    ("outcomes", "outcomes"), ("weighs", "weighing"), ("pessimistic", "pessimistic"), ("tethered", "tethered"),
    ("values", "weighing"),
)  # fmt: skip
"""The group of a method is that of the first trait that it has."""


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """A method by its registered name, settings that differ from its defaults, why, and the share that orders it."""

    algorithm: str
    settings: dict[str, Any]
    reason: str
    share: float = 0.0


@dataclasses.dataclass(frozen=True)
class Change:
    """What a measured property adds to the shares of methods with a trait."""

    holds: Callable[[Measurement], bool]
    shares: Mapping[str, float]


def _narrow(m: Measurement) -> bool:
    """Say whether hardly any place was visited twice, or actions fall into groups that an exact one may lie between."""
    return (m.near is not None and m.near < 0.3) or (m.split is not None and m.split >= 0.1)


CHANGES: tuple[Change, ...] = (
    Change(lambda m: not m.single, {"within": 0.05, "lucky": -0.1}),
    Change(_narrow, {"certain": -0.15}),
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Settings for one method when something holds."""

    algorithm: str
    holds: Callable[[Measurement], bool]
    values: Callable[[Measurement], dict[str, Any]]


SETTINGS: tuple[Setting, ...] = (
    Setting("filtered_bc", lambda m: m.fraction is not None, lambda m: {"fraction": m.fraction}),
    *(
        Setting(name, lambda m: m.split is not None and m.split >= 0.1, lambda _: {"head": "mixture"})
        for name in ("bc", "filtered_bc")
    ),
)


@dataclasses.dataclass(frozen=True)
class Onward:
    """How a method went on learning online in published runs: its share, its share where episodes must be put together
    or rewards are rare, its settings, and the figures.
    """

    share: float
    sparse: float
    settings: Mapping[str, Any]
    says: str


ONWARD: dict[str, Onward] = {
    "iql": Onward(
        3.0, 3.0, {}, "goes on best across tasks (CORL: mazes 56 to 79, hands 22 to 45 on average)"
    ),
    "awac": Onward(
        2.9, 2.8, {}, "made to go on online (arXiv:2006.09359); in CORL's mazes it gained nothing"
    ),
    "cql": Onward(
        2.8, 2.9, {"calibrated": True}, "calibrated values (arXiv:2303.05479): CORL's mazes 53 to 97, hands nothing"
    ),
}  # fmt: skip
"""IQL first and AWAC well tried, as its authors and CORL's runs from offline to online have it."""
OTHERS = 2.0  # of another method that can go on
SPARSE = 0.05  # of the steps with another reward than the commonest


# --- what methods are ------------------------------------------------------------------------------------------------


def traits(kind: type[Algorithm]) -> frozenset[str]:
    """Return what a method does: what it declares itself and its family adds, else what its family does."""
    family = FAMILIES.get(kind.family, frozenset())
    return kind.traits | (family & {"regresses", "models"}) if kind.traits else family


def group(kind: type[Algorithm]) -> str | None:
    """Return the group of a method; None for one that nothing is known of."""
    return next((name for trait, name in BY_TRAIT if trait in traits(kind)), None)


def constrained(spec: Spec) -> list[str]:
    """Return the names of the methods that learn from such a log and that something holds near it, by name."""
    sees = frozenset(part.kind for part in spec.observations)
    return [
        name
        for name, kind in algorithms().items()
        if _learns(kind, spec.action.kind, sees, spec.longest)
        and traits(kind) & HELD
        and "unmeasured" not in traits(kind)
    ]


def _learns(kind: type[Algorithm], actions: str, sees: frozenset[str], longest: int) -> bool:
    """Say whether a method learns from a log of such actions, observations and lengths of episodes."""
    forms = actions in kind.actions and (kind.sees is None or sees <= kind.sees)
    return "log" in kind.learns_from and forms and not (kind.single and longest > 1)


# --- the order -------------------------------------------------------------------------------------------------------


def aimed(then: str) -> Aim:
    """Return an aim by its word. Raises UserError for another word."""
    words: tuple[Aim, ...] = get_args(Aim)
    for aim in words:
        if aim == then:
            return aim
    raise UserError(f"After training comes one of {', '.join(words)}, got {then!r}.")


def rank(
    measured: Measurement,
    methods: Mapping[str, type[Algorithm]] | None = None,
    then: Aim = "offline",
    tables: Mapping[str, Table] = EVIDENCE,
) -> tuple[Recommendation, ...]:
    """Order `methods` (all of weft by default) that learn from such a log, best first.

    then: what comes after training. tables: scores of methods on logs, by which shares are corrected.
    """
    case, entries = situation(measured), []
    for name, kind in (algorithms() if methods is None else methods).items():
        fits = _learns(kind, measured.kind, measured.sees, measured.longest)
        member = group(kind)
        fits = fits and (member != "filtered" or measured.fraction is not None)  # nothing to filter by
        if fits and "reckless" not in traits(kind) and (member is None or member in case.shares):
            entries.append(_entry(name, kind, measured, case, then, tables))
    return tuple(sorted(entries, key=lambda entry: (-entry.share, entry.algorithm)))


def _entry(
    name: str, kind: type[Algorithm], m: Measurement, case: Situation, then: Aim, tables: Mapping[str, Table]
) -> Recommendation:
    settings: dict[str, Any] = {}
    for rule in SETTINGS:
        if rule.algorithm == name and rule.holds(m):
            settings |= rule.values(m)
    member = group(kind)
    if member is None:
        reason = f"nothing is known here of the family '{kind.family}'"
        return Recommendation(name, settings, _sentence(reason), -1.0)
    changed = sum(
        (part for rule in CHANGES if rule.holds(m) for trait, part in rule.shares.items() if trait in traits(kind)), 0.0
    )
    share = seen(name, case.shares[member] + changed, case.name, m.kind, tables)
    reason = case.reasons.get(member, GROUPS[member]).format(m=Words(m))
    if then == "online":
        onward, more, why = _onward(name, kind, m)
        return Recommendation(name, settings | more, _sentence(why or reason), share + onward)
    if then == "model" and member == "model":
        share += 1.0
    return Recommendation(name, settings, _sentence(reason), share)


def _onward(name: str, kind: type[Algorithm], m: Measurement) -> tuple[float, dict[str, Any], str]:
    """Return what going on online adds to a method's share, the settings that it takes, and why, if anything is known.

    The best of a situation may not overtake the published order, so that steps between methods are larger than shares.
    """
    if "replay" not in kind.learns_from:
        return 0.0, {}, ""
    onward = ONWARD.get(name)
    if onward is None:
        return OTHERS, {}, "can go on learning online from the log's replay"
    sparse = stitches(m) or m.rewarded < SPARSE
    return 10 * (onward.sparse if sparse else onward.share), dict(onward.settings), onward.says


def filter_settings(m: Measurement) -> dict[str, Any]:
    """Return the settings with which filtered behaviour cloning is the baseline of a log."""
    return {name: value for rule in SETTINGS if rule.algorithm == "filtered_bc" and rule.holds(m)
            for name, value in rule.values(m).items()}  # fmt: skip


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
