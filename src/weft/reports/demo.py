"""The page of `weft demo`: what was logged, what five methods made of it, what they believe and what they get.

Every sentence that states an outcome is made from the numbers at hand.
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from ..chart import COLOURS, QUIET, Axis, Chart, band, curves, line, plain
from ..report import Report, Table

__all__ = ["DemoReport", "Maze", "Method", "Results"]

CLOSE = 0.1  # values that differ by less are called close; the most that a walk can be worth is 1


@dataclasses.dataclass(frozen=True)
class Maze:
    """What is drawn of the world: `open` cells `(row, column)` of a square plan, and the cells S, G and E."""

    open: np.ndarray
    start: tuple[int, int]
    goal: tuple[int, int]
    elsewhere: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Method:
    """What one method did. Arrays are `(kept step, seed)`; `believed` is None where a method believes nothing.

    paths: walks of the final policies, `(points, 2)` each. success: share of walks that reach the goal, per seed.
    estimated, low, high and true are about the final policy of the first seed; values are discounted.
    """

    name: str
    idea: str
    colour: str
    steps: list[int]
    believed: np.ndarray | None
    gets: np.ndarray
    success: np.ndarray
    paths: list[np.ndarray]
    estimated: float
    low: float
    high: float
    true: float
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether the interval contains the true value."""
        return self.low <= self.true <= self.high


@dataclasses.dataclass(frozen=True)
class Results:
    """Everything the page shows. `logged` are walks as `(points, 2)`; `from_start` and `reached` say of each where it
    began and whether it came to the goal; `held_out` of them were kept for judging."""

    maze: Maze
    logged: list[np.ndarray]
    from_start: np.ndarray
    reached: np.ndarray
    steps_logged: int
    held_out: int
    methods: list[Method]
    seeds: int
    steps: int
    discount: float
    most: float
    level: float
    replicates: int
    walks: int
    facts: list[tuple[str, str]]
    stages: list[tuple[str, float]]


class DemoReport(Report):
    """The demonstration's page."""

    template: ClassVar[str] = "demo.html"

    def __init__(self, results: Results) -> None:
        self.results = results

    @property
    def title(self) -> str:
        return "weft: what can be learned from a log, and what cannot"

    # --- drawings ----------------------------------------------------------------------------------------------

    def charts(self) -> list[Chart]:
        axis = self._axis()
        methods = self.results.methods
        panels = [chart for method in methods for chart in (self._walks(method), self._belief(method, axis))]
        return [self._log(), *panels, self._intervals()]

    def _axis(self) -> Axis:
        """Return the one scale of all beliefs and gains."""
        found = self.results
        values = [part for method in found.methods for part in (method.gets, method.believed) if part is not None]
        return Axis.over(np.concatenate([np.asarray([0.0, found.most]), *(part.ravel() for part in values)]))

    def _log(self) -> Chart:
        found = self.results
        start = [path for path, begun in zip(found.logged, found.from_start, strict=True) if begun]
        other = [path for path, begun in zip(found.logged, found.from_start, strict=True) if not begun]
        traces = [_walk(start[:40], COLOURS[0], 1.2, 0.55), _walk(other[:40], COLOURS[2], 1.2, 0.55)]
        return Chart("log", self._log_words(), [*traces, *self._places(True)], self._plan(), "square")

    def _walks(self, method: Method) -> Chart:
        found = self.results
        label = f"Maze with the walks of {method.name}: {_share(method.success.mean())} reach the goal."
        behind = _walk(found.logged[:60], QUIET, 0.8, 0.3)
        traces = [behind, _walk(method.paths, method.colour, 2.0, 0.9), *self._places(False)]
        return Chart(f"walks-{method.name}", label, traces, self._plan(), "square")

    def _belief(self, method: Method, axis: Axis) -> Chart:
        ends = [0, max(method.steps)]
        most = axis.place([self.results.most] * 2)
        traces = [line(ends, most, QUIET, width=1.5, dash="dot", hoverinfo="skip")]
        traces += curves(method.steps, method.gets, method.colour, "gets", axis, dash="dash")
        if method.believed is not None:
            traces += curves(method.steps, method.believed, method.colour, "believes", axis)
        layout = {
            "margin": {"l": 48, "r": 12, "t": 8, "b": 42},
            "showlegend": False,
            "xaxis": {"title": {"text": "training step"}, "range": [0, ends[1] * 1.02], "fixedrange": True, "nticks": 5},
            "yaxis": {**axis.layout(""), "fixedrange": True},
        }
        return Chart(f"belief-{method.name}", self._belief_words(method), traces, layout, "panel")

    def _intervals(self) -> Chart:
        methods = self.results.methods[::-1]
        left, right = self._window()
        traces = [
            band(max(method.low, left), min(method.high, right), row, method.colour, hoverinfo="skip")
            for row, method in enumerate(methods)
            if method.low < right and method.high > left
        ]
        for name, symbol, values in (
            ("estimated from the log", "circle", [method.estimated for method in methods]),
            ("true", "diamond-open", [method.true for method in methods]),
        ):
            style = {"size": 13, "symbol": symbol, "color": [method.colour for method in methods], "line": {"width": 2.5}}
            text = [f"{method.name}, {name}: {_value(value)}" for method, value in zip(methods, values, strict=True)]
            traces.append(
                {"type": "scatter", "mode": "markers", "x": plain(values), "y": list(range(len(methods))), "text": text,
                 "hoverinfo": "text", "marker": style, "name": name, "showlegend": False}
            )  # fmt: skip
        outside = [
            {"x": right if method.estimated > right else left, "y": row, "yshift": 18, "showarrow": False,
             "xanchor": "right" if method.estimated > right else "left",
             "text": f"{_value(method.estimated)} →" if method.estimated > right else f"← {_value(method.estimated)}"}
            for row, method in enumerate(methods) if not left <= method.estimated <= right
        ]  # fmt: skip
        layout = {
            "margin": {"l": 10, "r": 16, "t": 8, "b": 48},
            "annotations": outside,
            "xaxis": {
                "title": {"text": "discounted value"}, "fixedrange": True, "zeroline": True, "range": [left, right],
            },
            "yaxis": {
                "tickvals": list(range(len(methods))), "ticktext": [method.name for method in methods], "automargin": True,
                "fixedrange": True, "showgrid": False, "zeroline": False, "range": [-0.6, len(methods) - 0.4],
                "ticklabelstandoff": 8,
            },
        }  # fmt: skip
        return Chart("intervals", " ".join(self._interval_words()), traces, layout, "rows")

    def _window(self) -> tuple[float, float]:
        """Return the values that the drawing of the intervals shows; what lies further out is named at its edge."""
        methods = self.results.methods
        ends = np.array([[method.low, method.high, method.estimated, method.true] for method in methods])
        furthest = 1.5 * self.results.most
        return max(float(ends.min()), -furthest / 3) - 0.05, min(float(ends.max()), furthest) + 0.05

    def _cut(self) -> bool:
        left, right = self._window()
        return any(method.low < left or method.high > right for method in self.results.methods)

    def _places(self, all_: bool) -> list[dict[str, Any]]:
        maze = self.results.maze
        named = [("S", maze.start), ("G", maze.goal), *([("E", maze.elsewhere)] if all_ else [])]
        size = len(maze.open)
        return [
            {
                "type": "scatter", "mode": "text", "x": [(column + 0.5) / size for _, (column, _) in named],
                "y": [(row + 0.5) / size for _, (_, row) in named], "text": [f"<b>{name}</b>" for name, _ in named],
                "textfont": {"size": 18}, "hoverinfo": "skip", "showlegend": False,
            }
        ]  # fmt: skip

    def _plan(self) -> dict[str, Any]:
        cells = self.results.maze.open
        size = len(cells)
        walls = [
            {"type": "rect", "layer": "below", "x0": column / size, "x1": (column + 1) / size, "y0": row / size,
             "y1": (row + 1) / size, "line": {"width": 0.5}, "fillcolor": QUIET}
            for row in range(size) for column in range(size) if not cells[row, column]
        ]  # fmt: skip
        hidden = {"visible": False, "fixedrange": True}
        return {
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
            "shapes": walls,
            "showlegend": False,
            "xaxis": {**hidden, "range": [0, 1], "constrain": "domain"},
            "yaxis": {**hidden, "range": [1, 0], "scaleanchor": "x", "constrain": "domain"},
        }

    # --- sentences and tables ----------------------------------------------------------------------------------

    def content(self) -> dict[str, Any]:
        found = self.results
        return {
            "found": found,
            "lead": self._lead(),
            "log_words": self._log_words(),
            "walk_words": {method.name: self._walk_words(method) for method in found.methods},
            "belief_words": {method.name: self._belief_words(method) for method in found.methods},
            "interval_words": self._interval_words(),
            "cut": self._cut(),
            "bent": self._axis().bend > 0,
            "outcome": self.outcome(),
            "stages": Table(["Stage", "Seconds"], [[name, f"{seconds:.1f}"] for name, seconds in found.stages]),
            "facts": Table(["", "Training log"], [list(fact) for fact in found.facts]),
            "colours": {"start": COLOURS[0], "elsewhere": COLOURS[2]},
        }

    def _whole(self) -> int:
        return int((self.results.from_start & self.results.reached).sum())

    def _lead(self) -> str:
        found = self.results
        good = [method.name for method in found.methods if method.success.mean() >= 0.9]
        bad = [method.name for method in found.methods if method.success.mean() < 0.5]
        between = [method.name for method in found.methods if method.name not in (*good, *bad)]
        parts = [f"{_names(good)} {_verb(good, 'finds', 'find')} the whole way from start to goal"] if good else []
        parts += [f"{_names(between)} {_verb(between, 'finds', 'find')} it in part of the cases"] if between else []
        parts += [f"{_names(bad)} {_verb(bad, 'does', 'do')} not"] if bad else []
        none = "none of which shows" if self._whole() == 0 else f"{self._whole()} of which show"
        return f"From {len(found.logged)} logged walks, {none} the whole way: {'; '.join(parts)}."

    def _log_words(self) -> str:
        found = self.results
        start, other = found.from_start.sum(), (~found.from_start).sum()
        reached = (found.reached & ~found.from_start).sum()
        return (
            f"The log holds {len(found.logged)} walks, {found.steps_logged:,} steps in all. {start} begin at the start "
            f"S, and {self._whole()} of these come to the goal G. {other} begin elsewhere, at E, and {reached} of these "
            f"come to G. So {self._whole()} of {len(found.logged)} walks lead from S to G."
        )

    def _walk_words(self, method: Method) -> str:
        seeds = ", ".join(f"{100 * share:.0f}" for share in method.success)
        return f"{method.idea} {_share(method.success.mean())} of its walks reach G (by seed: {seeds} %)."

    def _belief_words(self, method: Method) -> str:
        gets = float(method.gets[-1].mean())
        if method.believed is None:
            return f"{method.name} holds no belief about values. In the end it gets {_value(gets)}."
        first, last = float(method.believed[0].mean()), float(method.believed[-1].mean())
        words = f"{method.name} believes {_value(last)} in the end and gets {_value(gets)}"
        if abs(last - gets) < CLOSE:
            words += ": close."
        else:
            words += f": {_value(abs(last - gets))} too {'much' if last > gets else 'little'}."
        if last > self.results.most + CLOSE:
            words += f" No walk can be worth more than {self.results.most:g}."
        peak = float(method.believed.mean(1).max())
        if last > gets + CLOSE and last > first + CLOSE and last >= 0.9 * peak:
            words += f" Its belief climbed from {_value(first)} during training."
        elif peak > max(last, self.results.most) + CLOSE:
            words += f" On the way it believed up to {_value(peak)}."
        return words

    def _interval_words(self) -> list[str]:
        found = self.results
        share = f"{100 * found.level:g} %"
        missed = [method for method in found.methods if not method.holds]
        words = []
        for method in missed:
            side = "above" if method.low > method.true else "below"
            words.append(
                f"The {share} interval of {method.name}, {_interval(method)}, misses the true value "
                f"{_value(method.true)}: it lies {side} it."
            )
        if missed:
            held = len(found.methods) - len(missed)
            words.append(f"{held} of the {len(found.methods)} intervals contain the true value.")
        else:
            words.append(f"All {len(found.methods)} {share} intervals contain the true value here.")
        return words

    def outcome(self) -> Table:
        """Return the table of believed, estimated and true values, one row a method."""
        head = ["Method", "Believed", "Estimated from the log", f"{100 * self.results.level:g} % interval", "True"]
        rows = [
            [
                method.name,
                "—" if method.believed is None else _value(float(method.believed[-1, 0])),
                _value(method.estimated),
                _interval(method) + ("" if method.holds else "  misses"),
                _value(method.true),
                _share(method.success.mean()),
                f"{_share(method.success.min())} to {_share(method.success.max())}",
            ]
            for method in self.results.methods
        ]
        marks = [method.colour for method in self.results.methods]
        return Table([*head, "Reach the goal", "Worst to best seed"], rows, marks)


def _walk(paths: list[np.ndarray], colour: str, width: float, opacity: float) -> dict[str, Any]:
    """Return many walks as one line with gaps."""
    gap = np.full((1, 2), np.nan)
    points = np.concatenate([part for path in paths for part in (path, gap)]) if paths else gap
    return line(points[:, 0].round(4), points[:, 1].round(4), colour, width=width, opacity=opacity, hoverinfo="skip")


def _value(value: float) -> str:
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return shown.replace("-0.00", "0.00").replace("-", "−")


def _interval(method: Method) -> str:
    return f"{_value(method.low)} to {_value(method.high)}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _verb(names: list[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
