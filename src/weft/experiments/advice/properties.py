"""The measured properties of a log in words: a table of figures, each with what it means and when it is shown."""

import dataclasses
from collections.abc import Callable, Iterator

from .measurement import Measurement
from .prediction import Comparison
from .situations import Words

__all__ = ["Property", "missing", "properties", "shown_z"]


@dataclasses.dataclass(frozen=True)
class Property:
    """One measured figure: its name, its value in words and figures, and what it means."""

    name: str
    value: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class _Figure:
    """How a figure is put into words, what it means, and when there is anything to say."""

    name: str
    value: Callable[[Measurement], str]
    meaning: str
    holds: Callable[[Measurement], bool] = lambda _: True


KINDS = {"discrete": "one of {m.choices} choices", "multidiscrete": "several choices a step"}

FIGURES: tuple[_Figure, ...] = (
    _Figure("actions", lambda m: KINDS.get(m.kind, m.kind).format(m=m), "what methods must be able to learn from"),
    _Figure("size", lambda m: f"{m.steps:,} steps, {_units(m)}", "to learn from and to judge by"),
    _Figure(
        "horizon",
        lambda m: "one decision" if m.single else f"{m.length:,.0f} steps, {m.longest:,} at most",
        "how far consequences reach (median)",
    ),
    _Figure(
        "returns",
        lambda m: f"{m.mean:.4g} ± {m.deviation:.3g}",
        "{m.bottom:.4g} in the worst twentieth of episodes, {m.top:.4g} in the best",
    ),
    _Figure("rewards", lambda m: f"{m.unit_reward:.3g}", "root mean square; {m.rewarded:.1%} are not the commonest"),
    _Figure(
        "good",
        lambda m: f"{m.good_episodes:,} episodes",
        "near the best: {m.good:.1%} of the episodes, {m.good_steps:.1%} of the steps",
        lambda m: m.spread,
    ),
    _Figure(
        "skill",
        lambda m: _compared(m.skill, "{c.gain:.3f} nats"),
        "what an episode's return tells of its actions",
        lambda m: m.skill is not None,
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
    _Figure(
        "stitching",
        lambda m: f"{m.spliced:.0%}",
        "of the episodes, going on like others they meet, would beat all from their start",
        lambda m: m.spliced is not None,
    ),
    _Figure(
        "exploration",
        lambda m: f"{m.exploration:.0%}",
        "chance in the actions at a place, against uniform ones",
        lambda m: m.exploration is not None,
    ),
    _Figure(
        "support",
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
        "seldom",
        lambda m: f"{m.seldom:,} choices",
        "of {m.choices:,} were taken fewer than 20 times",
        lambda m: m.seldom > 0,
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
    _Figure("ends", lambda m: f"{m.terminal:.0%} terminal", "{m.others}", lambda m: not m.single),
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


def properties(m: Measurement) -> Iterator[Property]:
    """Put every figure that could be had into words."""
    for figure in FIGURES:
        if figure.holds(m):
            yield Property(figure.name, figure.value(m), figure.meaning.format(m=Words(m)))


def _units(m: Measurement) -> str:
    return f"{m.units:,} values of '{m.unit}'" if m.unit else f"{m.episodes:,} episodes"


def _compared(comparison: Comparison | None, words: str) -> str:
    assert comparison is not None
    return f"{words.format(c=comparison) if comparison.clear else 'none seen'} (z {shown_z(comparison.z)})"


def shown_z(z: float) -> str:
    """Return a z value in few letters."""
    return f"{z:.1f}" if abs(z) < 100 else ("over 100" if z > 0 else "under -100")


def _declared(m: Measurement) -> list[str]:
    facts = {
        "reward range": m.ranged,
        f"horizon {m.horizon}": m.horizon is not None,
        f"unit {m.unit}": m.unit is not None,
    }
    return [name for name, declared in facts.items() if declared]


def missing(m: Measurement) -> list[str]:
    """Return what a certificate needs and the log does not declare."""
    facts = {"reward range": m.ranged, "horizon": m.horizon is not None}
    return [name for name, declared in facts.items() if not declared]
