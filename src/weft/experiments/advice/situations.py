"""In which situation a log is, by its measured figures, and how far methods of each group come there.

The first situation of the table that holds is the log's. Its numbers say where, between the worst method (0) and the
best (1), methods of a group usually end: a starting point that weft's own tables then correct (`evidence`). They follow
published comparisons: final scores of CORL on D4RL and of the papers (filtered copying beside values where whole good
episodes begin everywhere, arXiv:2106.01345; values alone put parts of episodes together, arXiv:2110.06169; of a single
policy's log little beats copying, NeoRL-2; DQN-like values and a penalty where actions are random, arXiv:2006.04779).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from .measurement import Measurement

__all__ = ["FEW_UNITS", "GROUPS", "SITUATIONS", "Situation", "Words", "few", "situation", "stitches"]

FEW_UNITS = 20  # independent units below which good actions cannot be told from luck
UNDIRECTED = 0.9  # of the chance of uniform actions
STITCHED = 0.15  # of the episodes that parts of others would lift
NARROW = 0.6  # of the steps with a near one in another episode
COVERED = 0.8  # of the starts with a good episode from nearby

GROUPS: dict[str, str] = {
    "regression": "fits the reward of each choice, which is all that a single decision needs",
    "model": "learns a model of the world and trains in it, held near what was logged",
    "filtered": "copies the best {m.kept_episodes:,} episodes ({m.kept_steps:,} steps) and nothing else",
    "weighing": "copies logged actions, each weighed by learned values",
    "outcomes": "copies logged actions, each weighed by what followed in its own episode",
    "pessimistic": "learns values and lowers those of actions that were not logged",
    "tethered": "follows learned values, held near the logged actions",
    "copy": "copies everything, so it comes out near the old rule",
}
"""What the methods of a group do: the reason of a row, where the situation has none of its own."""

COPIED = "{m.kept_episodes:,} episodes ({m.kept_steps:,} steps)"


@dataclasses.dataclass(frozen=True)
class Situation:
    """What a log is like: when it `holds`, what it `says` with figures of the measurement `m`, where methods of each
    group end (`shares`; groups that are not named are not advised), and reasons of its own by group.
    """

    name: str
    holds: Callable[[Measurement], bool]
    says: str
    shares: Mapping[str, float]
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Words:
    """A measurement with the few derived words that sentences need."""

    def __init__(self, measured: Measurement) -> None:
        self.measured = measured
        self.bad = 1 - measured.good
        cut = "the others were cut, so something would have followed"
        self.others = cut if measured.terminal < 1 else "none was cut"
        self.covered_shown = "an unknown share" if measured.covered is None else f"{measured.covered:.0%}"
        self.spliced_shown = f"{measured.spliced or 0:.0%}"
        self.units_named = f"values of '{measured.unit}'" if measured.unit else "episodes"
        self.acting = "; whether they act differently could not be told"
        if measured.skill is not None:
            self.acting = f" and act differently ({measured.skill.gain:.2f} nats a step)"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.measured, name)


def few(m: Measurement) -> bool:
    """Whether a log is too small to tell good actions from luck."""
    return m.units < FEW_UNITS


def stitches(m: Measurement) -> bool:
    """Whether parts of different episodes, put together, would beat them."""
    return (m.spliced or 0) >= STITCHED


def _start_decides(m: Measurement) -> bool:
    return (m.started or 0) >= 0.8 and m.spliced is not None and m.spliced < 0.05


def _skilled(m: Measurement) -> bool:
    """Whether good episodes act differently, as far as that can be told."""
    return m.skill is None or m.skill.clear


SITUATIONS: tuple[Situation, ...] = (
    Situation(
        "one action",
        lambda m: m.taken == 1,
        "Every step took the same action, so no log of it can say what another would have done: keep the old rule.",
        {"copy": 1.0},
        {"copy": "copies the one action that there is"},
    ),
    Situation(
        "equal returns",
        lambda m: not m.spread,
        "Every episode returns {m.top:.4g}, so no action can be told to be better than another: keep the old rule.",
        {"copy": 1.0},
        {"copy": "copies the old rule, which nothing here can improve"},
    ),
    Situation(
        "few",
        few,
        "{m.units} {m.units_named} are too few to tell good actions from luck: keep the old rule and collect hundreds.",
        {"copy": 1.0},
        {"copy": "copies the old rule; {m.units} {m.units_named} support no more"},
    ),
    Situation(
        "deterministic",
        lambda m: m.deterministic,
        "The same place always met the same action, so what another would do is unknown: little beats a copy.",
        {"copy": 0.9, "filtered": 0.7, "weighing": 0.5, "outcomes": 0.5, "regression": 0.3, "pessimistic": 0.3,
         "tethered": 0.3},
        {"copy": "copies the one action that each place has met"},
    ),
    Situation(
        "single",
        lambda m: m.single,
        "Every episode is one decision: learning is regression, and luck averages out over {m.episodes:,} of them.",
        {"regression": 1.0, "weighing": 0.85, "tethered": 0.8, "pessimistic": 0.8, "outcomes": 0.75, "filtered": 0.3,
         "copy": 0.1},
        {"filtered": "copies {m.good:.1%} of single decisions, the lucky ones among them"},
    ),
    Situation(
        "undirected",
        lambda m: m.exploration is not None and m.exploration >= UNDIRECTED,
        "Actions are nearly random ({m.exploration:.0%} of the chance of uniform ones): a copy is random, too, but the "
        "values of all actions can be compared.",
        {"pessimistic": 0.9, "weighing": 0.8, "tethered": 0.7, "model": 0.8, "outcomes": 0.6, "filtered": 0.35,
         "copy": 0.0},
        {"copy": "copies actions that are nearly random ({m.exploration:.0%} of uniform)",
         "filtered": "copies " + COPIED + ", good by luck as much as by choice"},
    ),
    Situation(
        "stitching",
        stitches,
        "{m.spliced:.0%} of the episodes could have gone on like another that they meet, to a return that no episode "
        "from their start had: values find that, copying whole episodes cannot.",
        {"weighing": 0.9, "pessimistic": 0.85, "model": 0.7, "tethered": 0.5, "outcomes": 0.4, "filtered": 0.1,
         "copy": 0.0},
        {"weighing": "weighs logged actions by values, which put parts of episodes together",
         "outcomes": "improves one step on the log, where more are needed",
         "filtered": "copies whole episodes; only {m.covered:.0%} of the starts have a good one nearby",
         "copy": "copies whole episodes, of which {m.bad:.0%} are not good"},
    ),
    Situation(
        "good",
        lambda m: m.good >= 0.9 or _start_decides(m),
        "{m.good:.0%} of the episodes come within a tenth of the best ({m.top:.4g}), and {m.spliced_shown} could be "
        "improved by parts of others: copying is nearly enough.",
        {"copy": 0.9, "filtered": 0.8, "weighing": 0.7, "outcomes": 0.6, "tethered": 0.5, "pessimistic": 0.4,
         "model": 0.3},
        {"copy": "copies everything, and {m.good:.0%} of it is good"},
    ),
    Situation(
        "whole",
        lambda m: m.fraction is not None and (m.covered or 0) >= COVERED and _skilled(m),
        "{m.good_episodes:,} whole episodes are good, begin where all begin ({m.covered:.0%} of the starts)"
        "{m.acting}: copying only those is simple and strong.",
        {"filtered": 0.85, "weighing": 0.75, "outcomes": 0.65, "pessimistic": 0.55, "model": 0.55, "tethered": 0.45,
         "copy": 0.2},
        {"copy": "copies everything, of which {m.bad:.0%} of the episodes are not good"},
    ),
    Situation(
        "narrow",
        lambda m: not _skilled(m) and m.near is not None and m.near < NARROW,
        "Good episodes act like the rest, as far as can be seen, and only {m.near:.0%} of the steps have a near one in "
        "another episode: values of other actions are guesses, and little beats a copy.",
        {"filtered": 0.9, "copy": 0.8, "weighing": 0.6, "outcomes": 0.6, "tethered": 0.4, "pessimistic": 0.3,
         "model": 0.3},
        {"filtered": "copies " + COPIED + "; what they share with the rest does no harm"},
    ),
    Situation(
        "lucky",
        lambda m: not _skilled(m),
        "Good episodes do not act differently from bad ones, as far as can be seen: they were lucky, and a filter "
        "hardly changes what is copied.",
        {"weighing": 0.75, "tethered": 0.65, "pessimistic": 0.6, "model": 0.6, "outcomes": 0.6, "filtered": 0.5,
         "copy": 0.35},
        {"filtered": "copies " + COPIED + ", which act like the rest"},
    ),
    Situation(
        "mixed",
        lambda _: True,
        "Returns run from {m.bottom:.4g} to {m.top:.4g}, and only {m.covered_shown} of the starts have a good episode "
        "nearby: actions must be weighed.",
        {"weighing": 0.8, "pessimistic": 0.65, "tethered": 0.6, "model": 0.6, "outcomes": 0.6, "filtered": 0.45,
         "copy": 0.1},
        {"filtered": "copies " + COPIED + "; only {m.covered_shown} of the starts have a good one nearby"},
    ),
)  # fmt: skip


def situation(m: Measurement) -> Situation:
    """Return the first situation that holds of a log."""
    return next(case for case in SITUATIONS if case.holds(m))
