"""What the demonstration's second act found, the sentences that say it, and its drawings.

Every sentence that states an outcome is made from the numbers at hand.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from ..deployment.decision import Decision
from ..deployment.ledger import Entry
from ..experiments.study import Row
from ._study import amount, candidates, change, effective, share, title_of
from ._study import doses as dose_chart
from .chart import COLOURS, QUIET, Chart, band, line, plain
from .report import Table

__all__ = ["Arm", "Rules", "Trust"]

Z = 1.96
USUAL, GATE, WORSE = COLOURS[0], COLOURS[1], COLOURS[2]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm of an A/B test: number of users, mean return, standard error."""

    users: int
    mean: float
    error: float


@dataclasses.dataclass(frozen=True, eq=False)
class Rules:
    """Two rules on many logs of one kind. base: value of the policy that made the logs; best: of the best known one.

    Per log `(log,)`: `believed`, the improvement that the usual practice sees (it deploys where that is above 0), and
    `usual`, what it truly is; `dose` that the gate deploys (0: none), its certified bound `low`, and `gained`, the true
    improvement of what it deploys.
    """

    name: str
    about: str
    users: int
    base: float
    best: float
    believed: np.ndarray
    usual: np.ndarray
    dose: np.ndarray
    low: np.ndarray
    gained: np.ndarray

    @property
    def deployed(self) -> tuple[np.ndarray, np.ndarray]:
        """Which logs end in a deployment: by the usual practice, by the gate."""
        return self.believed > 0, self.dose > 0

    @property
    def worse(self) -> tuple[int, int]:
        """How often each rule deploys a policy that is truly worse than the one that it replaces."""
        usual, gate = self.deployed
        return int((usual & (self.usual < 0)).sum()), int((gate & (self.gained <= 0)).sum())

    def words(self) -> str:
        """Say what came of both rules."""
        logs, (usual, gate), (bad, wrong) = len(self.usual), (int(part.sum()) for part in self.deployed), self.worse
        words = f"The usual practice deploys on {usual} of {logs} logs, on {bad or 'none'} of them a worse policy. "
        if usual:
            seen, true = (float(part[self.deployed[0]].mean()) for part in (self.believed, self.usual))
            words += f"It expects {change(seen)} a campaign and gets {change(true)}. "
        if not gate:
            return f"{words}weft deploys on none."
        gain = float(self.gained[self.deployed[1]].mean())
        of = "none of them" if not wrong else f"{wrong} of them"
        return f"{words}weft deploys on {gate}, on {of} a worse one, and gets {change(gain)}."


@dataclasses.dataclass(frozen=True, eq=False)
class Trust:
    """A study with its test. dose: what was tested; base and best: values of the logging and of the best known policy;
    gain: true improvement at the tested dose, gains: at every dose; logging, policy: arms of the A/B test; rules: the
    many logs."""

    decision: Decision
    table: tuple[Row, ...]
    manifest: dict[str, Any]
    entries: tuple[Entry, ...]
    steps: int
    training: int
    dose: float
    base: float
    best: float
    gain: float
    gains: tuple[float, ...]
    logging: Arm
    policy: Arm
    rules: tuple[Rules, ...] = ()

    @property
    def difference(self) -> tuple[float, float]:
        """The A/B test's improvement and half the width of its 95 % interval."""
        error = float(np.hypot(self.logging.error, self.policy.error))
        return self.policy.mean - self.logging.mean, Z * error

    # --- sentences ---------------------------------------------------------------------------------------------

    def lead(self) -> str:
        """Say the decision and what a test of it showed."""
        decision, (mean, reach) = self.decision, self.difference
        test = f"on {self.policy.users:,} fresh users in each arm it brings {change(mean)} ± {amount(reach)} a campaign"
        if decision.action == "DEPLOY":
            return f"weft says {title_of(decision)}, with a certified gain of at least {amount(decision.low)}; {test}."
        if decision.action == "STAGED":
            return f"weft says {title_of(decision)}: begin with a randomised test. Simulated, {test}."
        return f"weft says {title_of(decision)}. Had the policy been deployed all the same, {test}."

    def test(self) -> list[str]:
        """Compare the certified bound with the A/B test and with the truth."""
        (mean, reach), low = self.difference, self.decision.low
        said = [
            f"The logging policy's arm brings {amount(self.logging.mean)} a campaign, the other arm "
            f"{amount(self.policy.mean)}: {change(mean)}, with a 95 % interval from {change(mean - reach)} to "
            f"{change(mean + reach)}. The exact difference is {change(self.gain)}."
        ]
        if self.decision.action == "DEPLOY":
            holds = "The bound holds" if self.gain >= low else "The bound does not hold"
            said.append(f"{holds}: {change(low)} was certified from the log alone, {change(self.gain)} is true.")
        closed = self.gain / max(self.best - self.base, 1e-9)
        said.append(
            f"The best known policy is worth {amount(self.best)}, so this closes {share(closed)} of the gap between "
            "the logging policy and it."
        )
        return said

    def trap(self) -> str:
        """Say in one sentence what came of the many logs."""
        return " ".join(
            f"{rules.name}: the usual practice deploys a worse policy on {rules.worse[0] or 'none'} of "
            f"{len(rules.usual)} logs, weft on {rules.worse[1] or 'none'}."
            for rules in self.rules
        )

    def closing(self) -> str:
        """Say whether the gate does anything but refuse."""
        easiest = max(self.rules, key=lambda rules: rules.deployed[1].sum())
        count = int(easiest.deployed[1].sum())
        does = (
            f"this one deploys on {count} of {len(easiest.dose)} logs of {easiest.name[:1].lower()}{easiest.name[1:]}"
            if count
            else "this one does so here, on logs of this size"
        )
        return (
            f"A gate that always refuses would be of no use: {does}. And a refusal is no proof that a policy is bad: it"
            " says that this log does not show it to be good."
        )

    # --- tables ------------------------------------------------------------------------------------------------

    def answer(self) -> Table:
        """Return the decision's own lines."""
        left_out = ("by dose", "promise")
        return Table(["What", "Answer"], [list(row) for row in self.decision.lines() if row[0] not in left_out])

    def outcome(self) -> Table:
        """Return the counts of both rules, one row each and kind of log."""
        rows, marks = [], []
        for rules in self.rules:
            gains = (rules.usual, rules.gained)
            for place, name in enumerate(("usual practice", "weft")):
                there = rules.deployed[place]
                mean = change(float(gains[place][there].mean())) if there.any() else "—"
                rows.append([f"{rules.name}, {name}", f"{there.sum()} of {len(there)}", f"{rules.worse[place]}", mean])
                marks.append((USUAL, GATE)[place])
        return Table(["Logs and rule", "Deploys", "A worse policy", "Mean true change"], rows, marks)

    # --- drawings ----------------------------------------------------------------------------------------------

    def charts(self) -> list[Chart]:
        """Return every drawing of the act."""
        charts = [candidates(self.table, "trust-candidates"), self._test()]
        if self.decision.doses:
            charts.append(dose_chart(self.decision, "trust-doses", self.gains))
        checks = self.decision.diagnostics
        if checks is not None and checks.weights is not None:
            charts.append(effective(checks.weights, checks.units, "trust-effective"))
        return [*charts, *(self._logs(number, part) for number, part in enumerate(self.rules))]

    def _test(self) -> Chart:
        """Draw the bound, the A/B test and the truth as improvements over the logging policy."""
        mean, reach = self.difference
        low = self.decision.low
        names = ["exact", "A/B test", "certified"]
        most = max(self.best - self.base, self.gain, mean + reach)
        least = min(0.0, self.gain, mean - reach, 0.0 if math.isnan(low) else low)
        traces = [band(mean - reach, mean + reach, 1, COLOURS[0], hoverinfo="skip")]
        marks = [(mean, 1, "circle", COLOURS[0], f"A/B test: {change(mean)}"),
                 (self.gain, 0, "diamond-open", COLOURS[0], f"exact: {change(self.gain)}")]  # fmt: skip
        if not math.isnan(low):
            traces.append(band(low, most, 2, COLOURS[1], hoverinfo="skip"))
            marks.append((low, 2, "line-ns-open", COLOURS[1], f"certified: at least {change(low)}"))
        for x, y, symbol, colour, text in marks:
            style = {"size": 14, "symbol": symbol, "color": colour, "line": {"width": 3, "color": colour}}
            traces.append({"type": "scatter", "mode": "markers", "x": plain([x]), "y": [y], "text": [text],
                           "hoverinfo": "text", "marker": style, "showlegend": False})  # fmt: skip
        gap = 0.06 * max(most - least, 1e-6)
        layout = {
            "margin": {"l": 10, "r": 16, "t": 8, "b": 52},
            "xaxis": {"title": {"text": "improvement"}, "fixedrange": True, "zeroline": True,
                      "range": [least - gap, most + gap], "nticks": 6},
            "yaxis": {"tickvals": [0, 1, 2], "ticktext": names, "automargin": True, "fixedrange": True,
                      "showgrid": False, "zeroline": False, "range": [-0.6, 2.6], "ticklabelstandoff": 8},
        }  # fmt: skip
        return Chart("trust-test", " ".join(self.test()), traces, layout, "panel")

    def _logs(self, number: int, rules: Rules) -> Chart:
        """Draw what was promised against what is true, one dot per log and rule."""
        usual, gate = rules.deployed
        parts = [
            ("usual practice, better", rules.believed, rules.usual, usual & (rules.usual >= 0), USUAL, "circle"),
            ("usual practice, worse", rules.believed, rules.usual, usual & (rules.usual < 0), WORSE, "x"),
            ("weft, at least", rules.low, rules.gained, gate, GATE, "diamond"),
        ]
        left, right = self._window("promised")
        down, up = self._window("true")
        ends = [max(left, down), min(right, up)]
        traces = [line(ends, ends, QUIET, width=1.5, dash="dot", hoverinfo="skip")]
        for name, x, y, there, colour, symbol in parts:
            pairs = zip(x[there], y[there], strict=True)
            traces.append({
                "type": "scatter", "mode": "markers", "x": plain(x[there]), "y": plain(y[there]), "name": name,
                "text": [f"{name}: promised {change(a)}, true {change(b)}" for a, b in pairs], "hoverinfo": "text",
                "marker": {"size": 8, "symbol": symbol, "color": colour, "opacity": 0.75}, "showlegend": False,
            })  # fmt: skip
        layout = {
            "margin": {"l": 56, "r": 12, "t": 8, "b": 52},
            "xaxis": {"title": {"text": "promised change"}, "fixedrange": True, "zeroline": True, "nticks": 5,
                      "range": [left, right]},
            "yaxis": {"title": {"text": "true change"}, "fixedrange": True, "zeroline": True, "nticks": 6,
                      "range": [down, up], "ticklabelstandoff": 6},
        }  # fmt: skip
        return Chart(f"trap-{number}", rules.words(), traces, layout, "panel")

    def _window(self, axis: str) -> tuple[float, float]:
        """Return the range of one axis, the same in all drawings of the many logs."""
        parts = [(part.believed, part.low) if axis == "promised" else (part.usual, part.gained) for part in self.rules]
        values = np.concatenate([each[np.isfinite(each)] for pair in parts for each in pair])
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        gap = 0.06 * max(high - low, 1e-6)
        return low - gap, high + gap
