"""The page of `weft demo`: what was logged, what six methods made of it, what they believe and what they get."""

from typing import Any, ClassVar

import numpy as np

from ._findings import Findings, Method, interval, share, value
from .chart import COLOURS, QUIET, Axis, Chart, band, curves, line, plain
from .report import Report, Table

__all__ = ["DemoReport"]


class DemoReport(Report):
    """The demonstration's page."""

    template: ClassVar[str] = "demo.html"

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    @property
    def title(self) -> str:
        return "weft: what can be learned from a log, and what cannot"

    # --- drawings ----------------------------------------------------------------------------------------------

    def charts(self) -> list[Chart]:
        axis = self._axis()
        methods = self.findings.methods
        panels = [chart for method in methods for chart in (self._walks(method), self._belief(method, axis))]
        second = [] if self.findings.trust is None else self.findings.trust.charts()
        return [self._log(), *panels, self._intervals(), *second]

    def _axis(self) -> Axis:
        """Return the one scale of all beliefs and gains."""
        findings = self.findings
        values = [part for method in findings.methods for part in (method.gets, method.believed) if part is not None]
        return Axis.over(np.concatenate([np.asarray([0.0, findings.most]), *(part.ravel() for part in values)]))

    def _log(self) -> Chart:
        findings = self.findings
        start = [path for path, begun in zip(findings.logged, findings.from_start, strict=True) if begun]
        other = [path for path, begun in zip(findings.logged, findings.from_start, strict=True) if not begun]
        traces = [_walk(start[:40], COLOURS[0], 1.0, 0.75), _walk(other[:40], COLOURS[2], 1.0, 0.75)]
        return Chart("log", self.findings.log(), [*traces, *self._places(True)], self._plan(), "square")

    def _walks(self, method: Method) -> Chart:
        findings = self.findings
        label = f"Maze with the walks of {method.name}: {share(method.success.mean())} reach the goal."
        behind = _walk(findings.logged[:60], QUIET, 0.8, 0.3)
        traces = [behind, _walk(method.paths, method.colour, 2.0, 0.9), *self._places(False)]
        return Chart(f"walks-{method.slug}", label, traces, self._plan(), "square")

    def _belief(self, method: Method, axis: Axis) -> Chart:
        ends = [0, max(method.steps)]
        most = axis.place([self.findings.most] * 2)
        traces = [line(ends, most, QUIET, width=1.5, dash="dot", hoverinfo="skip")]
        traces += curves(method.steps, method.gets, method.colour, "gets", axis, dash="dash")
        if method.believed is not None:
            traces += curves(method.steps, method.believed, method.colour, "believes", axis)
        layout = {
            "margin": {"l": 52, "r": 12, "t": 8, "b": 52},
            "showlegend": False,
            "xaxis": {
                "title": {"text": "training step"},
                "range": [0, ends[1] * 1.02],
                "fixedrange": True,
                "nticks": 5,
            },
            "yaxis": {**axis.layout(""), "fixedrange": True},
        }
        return Chart(f"belief-{method.slug}", self.findings.belief_of(method), traces, layout, "panel")

    def _intervals(self) -> Chart:
        methods = self.findings.methods[::-1]
        left, right = self._window()
        colours = [method.colour for method in methods]
        traces = [
            band(max(method.low, left), min(method.high, right), row, method.colour, hoverinfo="skip")
            for row, method in enumerate(methods)
            if method.low < right and method.high > left
        ]
        for name, symbol, values in (
            ("estimated from the log", "circle", [method.estimated for method in methods]),
            ("true", "diamond-open", [method.true for method in methods]),
        ):
            style = {"size": 13, "symbol": symbol, "color": colours, "line": {"width": 2, "color": colours}}
            text = [f"{method.name}, {name}: {value(number)}" for method, number in zip(methods, values, strict=True)]
            traces.append(
                {"type": "scatter", "mode": "markers", "x": plain(values), "y": list(range(len(methods))), "text": text,
                 "hoverinfo": "text", "marker": style, "name": name, "showlegend": False}
            )  # fmt: skip
        outside = [
            {"x": right if method.estimated > right else left, "y": row, "yshift": 18, "showarrow": False,
             "xanchor": "right" if method.estimated > right else "left",
             "text": f"{value(method.estimated)} →" if method.estimated > right else f"← {value(method.estimated)}"}
            for row, method in enumerate(methods) if not left <= method.estimated <= right
        ]  # fmt: skip
        layout = {
            "margin": {"l": 10, "r": 16, "t": 8, "b": 48},
            "annotations": outside,
            "xaxis": {
                "title": {"text": "discounted value"}, "fixedrange": True, "zeroline": True, "range": [left, right],
            },
            "yaxis": {
                "tickvals": list(range(len(methods))), "ticktext": [method.name for method in methods],
                "automargin": True, "fixedrange": True, "showgrid": False, "zeroline": False,
                "range": [-0.6, len(methods) - 0.4], "ticklabelstandoff": 8,
            },
        }  # fmt: skip
        return Chart("intervals", " ".join(self.findings.intervals()), traces, layout, "rows")

    def _window(self) -> tuple[float, float]:
        """Return the values that the drawing of the intervals shows; what lies further out is named at its edge."""
        methods = self.findings.methods
        numbers = [[method.low, method.high, method.estimated, method.true] for method in methods]
        ends = np.nan_to_num(np.array(numbers), nan=0.0)
        furthest = 1.5 * self.findings.most
        return max(float(ends.min()), -furthest / 3) - 0.05, min(float(ends.max()), furthest) + 0.05

    def _cut(self) -> bool:
        left, right = self._window()
        return any(method.low < left or method.high > right for method in self.findings.methods)

    def _places(self, all_: bool) -> list[dict[str, Any]]:
        """Return the letters of cells, written into the wall beside them so that no walk hides them."""
        maze = self.findings.maze
        named = [(name, *at) for name, at in maze.places.items() if all_ or name not in maze.elsewhere]
        size = len(maze.open)
        return [
            {
                "type": "scatter", "mode": "text", "hoverinfo": "skip", "showlegend": False, "textfont": {"size": 18},
                "x": [(column + 0.5 + 0.85 * right) / size for _, (column, _), (right, _) in named],
                "y": [(row + 0.5 + 0.85 * down) / size for _, (_, row), (_, down) in named],
                "text": [f"<b>{name}</b>" for name, _, _ in named],
            }
        ]  # fmt: skip

    def _plan(self) -> dict[str, Any]:
        cells = self.findings.maze.open
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
        findings = self.findings
        return {
            "found": findings,
            "lead": self.findings.lead(),
            "log_words": self.findings.log(),
            "walk_words": {method.name: self.findings.walks_of(method) for method in findings.methods},
            "belief_words": {method.name: self.findings.belief_of(method) for method in findings.methods},
            "interval_words": self.findings.intervals(),
            "cut": self._cut(),
            "bent": self._axis().bend > 0,
            "outcome": self.outcome(),
            "stages": self._stages(),
            "facts": Table(["What", "Finding"], [list(fact) for fact in findings.facts]),
            "trust": findings.trust,
            "trust_counts": None if findings.trust is None else findings.trust.outcome(),
            "trust_answer": None if findings.trust is None else findings.trust.answer(),
            "colours": {"start": COLOURS[0], "elsewhere": COLOURS[2]},
        }

    def _stages(self) -> Table:
        stages = [*self.findings.stages, ("In all", sum(seconds for _, seconds in self.findings.stages))]
        return Table(["Stage", "Seconds"], [[name, f"{seconds:.1f}"] for name, seconds in stages])

    def outcome(self) -> Table:
        """Return the table of believed, estimated and true values, one row a method."""
        head = ["Method", "Believed", "Estimated from the log", f"{100 * self.findings.level:g} % interval", "True"]
        rows = [
            [
                method.name,
                "—" if method.believed is None else value(float(method.believed[-1, 0])),
                value(method.estimated),
                interval(method) + ("" if method.holds else " (misses)"),
                value(method.true),
                share(method.success.mean()),
                f"{share(method.success.min())} to {share(method.success.max())}",
            ]
            for method in self.findings.methods
        ]
        marks = [method.colour for method in self.findings.methods]
        return Table([*head, "Reach the goal", "Worst to best seed"], rows, marks)


def _walk(paths: list[np.ndarray], colour: str, width: float, opacity: float) -> dict[str, Any]:
    """Return many walks as one line with gaps."""
    gap = np.full((1, 2), np.nan)
    points = np.concatenate([part for path in paths for part in (path, gap)]) if paths else gap
    return line(points[:, 0].round(4), points[:, 1].round(4), colour, width=width, opacity=opacity, hoverinfo="skip")
