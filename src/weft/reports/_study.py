"""Drawings, tables and sentences about candidates and decisions, for every page that shows some."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..deployment.decision import Decision
from ..evaluation.diagnostics import Diagnostics, Weights
from ..experiments.selection import Row, by_two_scores
from ..experiments.study import title
from .chart import COLOURS, QUIET, Chart, band, colour, line, plain
from .report import Table

__all__ = [
    "amount", "candidate_table", "candidates", "change", "dose_table", "doses", "effective", "evidence", "firmness",
    "largest", "meaning", "needed", "share", "tests", "threshold", "title_of", "wanted",
]  # fmt: skip

SHOWN = 12  # candidates in a drawing; the table has all
FEW = 20  # effective units below which weights say nothing
Z = 1.96


# --- numbers in words ----------------------------------------------------------------------------------------------


def amount(number: float, digits: int = 3) -> str:
    """Write a number with so many significant digits, in plain figures."""
    if not math.isfinite(number):
        return "—"
    if number == 0 or abs(number) >= 1000:
        return f"{number:,.0f}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    return f"{number:.{min(decimals, 8)}f}".replace("-", "−")


def change(number: float) -> str:
    """Write a change with its sign."""
    return ("+" if number > 0 else "") + amount(number)


def share(number: float) -> str:
    """Write a share in percent."""
    return f"{100 * number:.0f} %" if number >= 0.01 or number == 0 else f"{100 * number:.1g} %"


def odds(number: float) -> str:
    """Write evidence: how much to one."""
    if number >= 1e6:
        power = math.floor(math.log10(number))
        return f"{number / 10**power:.1f} × 10{str(power).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return f"{number:,.0f}" if number >= 100 else amount(number, 2)


def title_of(decision: Decision) -> str:
    """Return the decision in a few words: DEPLOY (dose 0.5)."""
    if decision.action in ("DEPLOY", "STAGED"):
        return f"{decision.action} (dose {decision.dose:g})"
    return f"COLLECT ({decision.collect:,} units)" if decision.collect else decision.action


def meaning(decision: Decision) -> str:
    """Say what to do, in one sentence."""
    part = "all decisions" if decision.dose >= 1 else f"{share(decision.dose)} of the decisions, drawn at random"
    return {
        "DEPLOY": f"Let the policy take {part}.",
        "STAGED": f"Begin a randomised test in which the policy takes {part}; it is not ready for more.",
        "COLLECT": "Not yet: gather more units first, logged as these were.",
        "REJECT": f"Keep {decision.baseline}: the policy is not better by the margin.",
        "ABSTAIN": "This log does not say whether the policy is better, so nothing should be changed because of it.",
    }[decision.action]


def threshold(decision: Decision) -> float:
    """Return the evidence that certifies a dose: in their order, or each at an equal share of the risk."""
    return (len(decision.doses) if decision.first is None else 1) / decision.risk


def firmness(decision: Decision) -> list[str]:
    """Say how far the question could be changed without another answer."""
    sentences = []
    if decision.action == "DEPLOY":
        sentences += [*_room(decision), *_next_dose(decision)]
    elif decision.needed:
        sentences.append(_first_dose(decision))
    if decision.tier == 2:
        sentences.append(
            "Logged propensities and declared reward ranges would allow a certificate instead of an estimate."
        )
    return sentences


def _room(decision: Decision) -> list[str]:
    """Say which margin and which risk would still have deployed."""
    if not decision.evidence:
        return []
    first = decision.first or 0.0
    every = zip(decision.doses, decision.evidence, strict=True)
    passed = [proof for dose, proof in every if first <= dose <= decision.dose]
    least = min(passed) if decision.first is not None else passed[-1] / len(decision.doses)
    return [
        f"With a margin above {amount(decision.low)} this dose would not have been certified.",
        f"The answer is the same at any risk down to 1 in {odds(least)}.",
    ]


def _next_dose(decision: Decision) -> list[str]:
    """Say what the dose above the deployed one would take; nothing where there is none."""
    higher = [dose for dose in decision.doses if dose > decision.dose] if decision.dose else []
    if not higher:
        return []
    needs = decision.needed.get(higher[0], math.inf)
    verdict = (
        f"would be certified with a chance of 80 % by about {needs:,.0f} units; there were {decision.units:,}."
        if math.isfinite(needs)
        else "does not look better than the margin, so more units would not certify it."
    )
    return [f"The next dose, {higher[0]:g}, {verdict}"]


def _first_dose(decision: Decision) -> str:
    """Say what the dose that needs the fewest units would take, where none is deployed."""
    dose, units = min(decision.needed.items(), key=lambda pair: pair[1] if math.isfinite(pair[1]) else math.inf)
    if not math.isfinite(units):
        return "No dose looks better than the margin on this log, so more units like these would not help."
    return (
        f"About {units:,.0f} units, logged as these were, would certify a dose of {dose:g} with a chance of 80 %, "
        f"if the improvement is what it looks like; there were {decision.units:,}."
    )


# --- tables --------------------------------------------------------------------------------------------------------


def candidate_table(rows: Sequence[Row]) -> Table:
    """Return all candidates, best first, with what triage said."""
    shades, scores = _shades(rows), by_two_scores(rows)
    body = [
        [
            title(row) + (" (chosen)" if row.chosen else ""), f"{row.step:,}", amount(row.value),
            f"{amount(row.low)} to {amount(row.high)}", change(row.score), f"{row.dose:g}",
            "—" if row.effective is None else f"{row.effective:,.0f}", *(_scores(row) if scores else ()),
            "alarm" if row.triage else "clear",
        ]
        for row in rows
    ]  # fmt: skip
    more = ("Advantage", "Unlike the log") if scores else ()
    head = ["Candidate", "Step", "Value", "95 % interval", "Score", "Dose", "Effective units", *more, "Training"]
    return Table(head, body, [shades[row.algorithm] for row in rows])


def _scores(row: Row) -> tuple[str, str]:
    """Return the advantage of a candidate, and the share of its actions that are unlike any logged one."""
    share = "—" if row.unsupported is None else f"{row.unsupported:.0%}"
    return ("—" if row.advantage is None else change(row.advantage)), share


def dose_table(decision: Decision) -> Table:
    """Return evidence, bounds and units needed, one row a dose."""
    rows = []
    for place, dose in enumerate(decision.doses):
        needs = decision.needed.get(dose, math.nan)
        units = f"{needs:,.0f}" if math.isfinite(needs) else "none would do" if needs == math.inf else "—"
        rows.append([
            f"{dose:g}", change(decision.means[place]), change(decision.lows[place]),
            f"{odds(decision.evidence[place])} to 1" if decision.evidence else "—", units,
        ])  # fmt: skip
    return Table(["Dose", "Estimated improvement", "At least", "Evidence", "Units needed"], rows)


def tests(found: Diagnostics) -> Table:
    """Return the tests of assumptions in plain words."""
    rows = [[test.name, f"Alarm. {test.sentence}" if test.alarm else test.sentence] for test in found.tests]
    return Table(["Test", "Finding"], rows, [COLOURS[2] if test.alarm else COLOURS[1] for test in found.tests])


# --- drawings ------------------------------------------------------------------------------------------------------


def candidates(rows: Sequence[Row], name: str = "candidates") -> Chart:
    """Draw the value intervals of the best candidates, and the mean return of the log."""
    shades = _shades(rows)
    best = list(rows[:SHOWN])[::-1]
    logged = best[-1].logged
    traces = [line([logged, logged], [-0.6, len(best) - 0.4], QUIET, width=1.5, dash="dot", hoverinfo="skip")]
    for place, row in enumerate(best):
        shade = shades[row.algorithm]
        traces.append(band(row.low, row.high, place, shade, hoverinfo="skip"))
        words = f"{title(row)}: {amount(row.value)}, {amount(row.low)} to {amount(row.high)}"
        style = {"size": 12, "color": shade, "symbol": "circle" if row.chosen else "circle-open", "line": {"width": 2}}
        traces.append({"type": "scatter", "mode": "markers", "x": plain([row.value]), "y": [place], "text": [words],
                       "hoverinfo": "text", "marker": style, "showlegend": False})  # fmt: skip
    names = [f"<b>{title(row)}</b>" if row.chosen else title(row) for row in best]
    layout = {
        "margin": {"l": 10, "r": 16, "t": 8, "b": 52},
        "xaxis": {"title": {"text": "value"}, "fixedrange": True, "zeroline": False, "nticks": 6},
        "yaxis": {"tickvals": list(range(len(best))), "ticktext": names, "automargin": True, "fixedrange": True,
                  "showgrid": False, "zeroline": False, "range": [-0.6, len(best) - 0.4], "ticklabelstandoff": 8},
    }  # fmt: skip
    chosen = next((row for row in rows if row.chosen), rows[0])
    label = (
        f"Value intervals of {len(best)} candidates. {title(chosen)} was chosen: {amount(chosen.value)}, "
        f"{amount(chosen.low)} to {amount(chosen.high)}; the log brings {amount(chosen.logged)}."
    )
    return Chart(name, label, traces, layout, "rows")


def doses(decision: Decision, name: str = "doses", true: Sequence[float] | None = None) -> Chart:
    """Draw the estimated improvement and its lower bound by dose; `true` adds what each dose is truly worth."""
    x = list(decision.doses)
    mark = "lines+markers"
    traces = [
        line(x, decision.means, COLOURS[0], name="", dash="dash", mode=mark, text=[
            f"estimated {change(value)}" for value in decision.means], hoverinfo="text+x"),
        line(x, decision.lows, COLOURS[1], name="", width=3, mode=mark, text=[
            f"at least {change(value)}" for value in decision.lows], hoverinfo="text+x"),
    ]  # fmt: skip
    if true is not None:
        style = {"size": 11, "symbol": "diamond-open", "color": COLOURS[2], "line": {"width": 2}}
        traces.append({"type": "scatter", "mode": "markers", "x": x, "y": plain(true), "marker": style,
                       "text": [f"truly {change(value)}" for value in true], "hoverinfo": "text+x",
                       "showlegend": False})  # fmt: skip
    if decision.dose and decision.action == "DEPLOY":
        ends = [min(0.0, *decision.lows), decision.means[x.index(decision.dose)] if decision.dose in x else 0.0]
        traces.insert(0, line([decision.dose] * 2, ends, QUIET, width=1.5, dash="dot", hoverinfo="skip"))
    label = (
        "Improvement by dose: " + "; ".join(
            f"{dose:g} at least {change(low)}, estimated {change(mean)}"
            for dose, low, mean in zip(x, decision.lows, decision.means, strict=True)
        ) + "."
    )  # fmt: skip
    return Chart(name, label, traces, _plain_layout("dose", [0, 1.04]), "panel")


def evidence(decision: Decision, name: str = "evidence") -> Chart:
    """Draw the evidence of every dose on a logarithmic scale, with what a certificate needs."""
    wanted_ = threshold(decision)
    powers = np.log10(np.maximum(np.asarray(decision.evidence, float), 1e-9))
    level = math.log10(wanted_)
    low, high = min(0.0, float(powers.min())), max(level, float(powers.max()))
    passed = powers >= level
    marks = {"size": 10, "color": [COLOURS[1] if good else COLOURS[2] for good in passed],
             "symbol": ["circle" if good else "x" for good in passed]}  # fmt: skip
    words = [f"{odds(value)} to 1" for value in decision.evidence]
    traces = [
        line([0, 1.04], [level, level], QUIET, width=1.5, dash="dot", hoverinfo="skip"),
        line(decision.doses, powers, COLOURS[1], mode="lines+markers", marker=marks, text=words, hoverinfo="text+x"),
    ]
    step = max(1, math.ceil((high - low) / 5))
    ticks = list(range(math.floor(low), math.ceil(high) + 1, step))
    layout = _plain_layout("dose", [0, 1.04])
    gap = 0.06 * (high - low)
    layout["yaxis"] |= {"tickvals": ticks, "ticktext": [_power(power) for power in ticks],
                        "range": [low - gap, high + gap]}  # fmt: skip
    label = "Evidence by dose, " + "; ".join(
        f"{dose:g}: {word}" for dose, word in zip(decision.doses, words, strict=True)
    )
    return Chart(name, f"{label}. A certificate needs {wanted_:g} to 1.", traces, layout, "panel")


def effective(weights: Weights, units: int, name: str = "effective") -> Chart:
    """Draw how many effective units are left at every step."""
    steps = np.arange(1, len(weights.effective) + 1)
    traces = [
        line([1, len(steps)], [FEW, FEW], QUIET, width=1.5, dash="dot", hoverinfo="skip"),
        line(steps, weights.effective, COLOURS[0], width=3, mode="lines+markers" if len(steps) < 40 else "lines"),
    ]
    layout = _plain_layout("step", [0.5, len(steps) + 0.5])
    layout["yaxis"]["rangemode"] = "tozero"
    layout["xaxis"]["nticks"] = min(6, len(steps) + 1)
    label = (
        f"Effective units by step: {weights.effective[0]:,.0f} of {units:,} at the first step, "
        f"{weights.effective[-1]:,.0f} at step {len(steps)}; below {FEW} weights say nothing."
    )
    return Chart(name, label, traces, layout, "panel")


def largest(weights: Weights, name: str = "largest") -> Chart:
    """Draw which share of all weight the heaviest unit has at every step."""
    steps = np.arange(1, len(weights.share) + 1)
    percent = 100 * np.asarray(weights.share)
    traces = [line(steps, percent, COLOURS[2], width=3, mode="lines+markers" if len(steps) < 40 else "lines")]
    layout = _plain_layout("step", [0.5, len(steps) + 0.5])
    layout["yaxis"]["rangemode"] = "tozero"
    layout["xaxis"]["nticks"] = min(6, len(steps) + 1)
    first, last = share(weights.share[0]), share(weights.share[-1])
    label = f"The heaviest unit has {first} of all weight at the first step, {last} at step {len(steps)}."
    return Chart(name, label, traces, layout, "panel")


def needed(decision: Decision, name: str = "needed") -> Chart:
    """Draw how many units would certify each dose, with how many there were."""
    finite = [(dose, units) for dose, units in decision.needed.items() if math.isfinite(units)]
    x, y = [dose for dose, _ in finite], np.log10([units for _, units in finite])
    level = math.log10(max(decision.units, 1))
    low, high = min(level, float(y.min())), max(level, float(y.max()))
    words = [f"{units:,.0f} units" for _, units in finite]
    traces = [
        line([0, 1.04], [level, level], QUIET, width=1.5, dash="dot", hoverinfo="skip"),
        line(x, y, COLOURS[0], width=3, mode="lines+markers", text=words, hoverinfo="text+x"),
    ]
    ticks = [
        value + math.log10(step)
        for value in range(math.floor(low), math.ceil(high) + 1)
        for step in ((1, 2, 5) if high - low < 2 else (1,))
    ]
    layout = _plain_layout("dose", [0, 1.04])
    gap = 0.12 * max(high - low, 0.3)
    layout["yaxis"] |= {"tickvals": plain(ticks), "ticktext": [f"{10**tick:,.0f}" for tick in ticks],
                        "range": [low - gap, high + gap]}  # fmt: skip
    label = "Units needed by dose: " + "; ".join(f"{dose:g}: {units:,.0f}" for dose, units in finite)
    return Chart(name, f"{label}. There were {decision.units:,}.", traces, layout, "panel")


def wanted(decision: Decision) -> bool:
    """Whether there is anything to draw of the units needed."""
    return any(math.isfinite(units) for units in decision.needed.values())


def _plain_layout(x: str, ends: list[float]) -> dict[str, Any]:
    return {
        "margin": {"l": 62, "r": 12, "t": 8, "b": 52},
        "showlegend": False,
        "xaxis": {"title": {"text": x}, "range": ends, "fixedrange": True, "nticks": 6, "zeroline": False},
        "yaxis": {"fixedrange": True, "zeroline": True, "ticklabelstandoff": 6, "nticks": 6},
    }


def _shades(rows: Sequence[Row]) -> dict[str, str]:
    names = sorted({row.algorithm for row in rows})
    return {name: colour(number)[0] for number, name in enumerate(names)}


def _power(power: int) -> str:
    if power < 0:
        return f"1 in {_power(-power)}"
    return f"{10**power:,}" if power < 6 else f"10{str(power).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
