"""A page about one or several runs: their settings, their logs, and every metric over training."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..core.errors import UserError
from ..training.run import Run
from .chart import Axis, Chart, colour, curves
from .report import Report, Table

__all__ = ["RunsReport"]

NOT_METRICS = ("step", "setting", "seed")
DASHES = {"solid": "", "dash": "9 5", "dot": "2 3", "dashdot": "9 4 2 4"}


class Line:
    """One setting of one run: a colour on the page, a name, and its metrics `(steps, {metric: (step, seed)})`."""

    def __init__(self, run: Run, setting: int, name: str, number: int) -> None:
        self.run, self.name = run, name
        self.colour, self.dash = colour(number)
        self.settings = dict(_flat(run.record["settings"][setting], ""))
        rows = [row for row in run.metrics if row["setting"] == setting]
        steps = sorted({row["step"] for row in rows})
        seeds = list(dict.fromkeys(row["seed"] for row in rows))
        place = {step: index for index, step in enumerate(steps)}
        column = {seed: index for index, seed in enumerate(seeds)}
        names = list(dict.fromkeys(key for row in rows for key in row if key not in NOT_METRICS))
        self.steps, self.metrics = np.array(steps), {key: np.full((len(steps), len(seeds)), np.nan) for key in names}
        for row in rows:
            for key in names:
                self.metrics[key][place[row["step"]], column[row["seed"]]] = row.get(key, np.nan)


class RunsReport(Report):
    """The page of `weft report RUN...`. Raises UserError when there is no run, or none has a metric yet."""

    template: ClassVar[str] = "runs.html"

    def __init__(self, runs: Sequence[Run]) -> None:
        if not runs:
            raise UserError("A report needs at least one run.")
        self.runs = list(runs)
        self.lines = []
        for run, label in zip(self.runs, _labels(self.runs), strict=True):
            for setting, name in enumerate(_setting_names(run)):
                self.lines.append(Line(run, setting, f"{label} {name}".strip(), len(self.lines)))
        if not any(len(line.steps) for line in self.lines):
            raise UserError(f"{self.runs[0].name} has no metrics yet; report on it when it has taken some steps.")

    @property
    def title(self) -> str:
        return "weft: " + ", ".join(_labels(self.runs))

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics, in the order of their first appearance."""
        return list(dict.fromkeys(name for line in self.lines for name in line.metrics))

    def charts(self) -> list[Chart]:
        return [self._chart(number, name) for number, name in enumerate(self.metrics)]

    def _chart(self, number: int, metric: str) -> Chart:
        lines = [line for line in self.lines if metric in line.metrics]
        axis = Axis.over(np.concatenate([line.metrics[metric].ravel() for line in lines]), linear_up_to=1e4)
        traces = []
        for line in lines:
            traces += curves(line.steps, line.metrics[metric], line.colour, line.name, axis, line.dash)
        last = max(int(line.steps[-1]) for line in lines)
        layout = {
            "margin": {"l": 64, "r": 12, "t": 8, "b": 52},
            "showlegend": False,
            "xaxis": {"title": {"text": "training step"}, "range": [0, last * 1.02], "fixedrange": True, "nticks": 5},
            "yaxis": {**axis.layout(""), "fixedrange": True},
        }
        if not axis.bend:
            layout["yaxis"] = {"fixedrange": True, "zeroline": True, "ticklabelstandoff": 6, "nticks": 6}
        ends = "; ".join(f"{line.name} ends at {_mean(line.metrics[metric][-1])}" for line in lines)
        return Chart(f"metric-{number}", f"{_words(metric)} over training: {ends}.", traces, layout, "panel")

    def content(self) -> dict[str, Any]:
        return {
            "figures": [(f"metric-{number}", _words(name)) for number, name in enumerate(self.metrics)],
            "key": [(line.name, line.colour, DASHES[line.dash]) for line in self.lines],
            "seeds": max(len(run.seeds) for run in self.runs),
            "final": self._final(),
            "settings": self._settings(),
            "logs": self._logs(),
            "versions": self._versions(),
            "same_log": len({run.record["data"]["fingerprint"] for run in self.runs}) == 1,
            "methods": len({run.record["settings"][0]["algorithm"] for run in self.runs}),
        }

    def _final(self) -> Table:
        """Return the last row of every metric: mean over seeds, and the range where there are several."""
        rows = []
        for line in self.lines:
            values = [line.metrics[name][-1] if name in line.metrics else np.array([]) for name in self.metrics]
            steps = f"{line.steps[-1]:,}" if len(line.steps) else "—"
            rows.append([line.name, steps, *[_spread(part) for part in values]])
        marks = [line.colour for line in self.lines]
        return Table(["Run", "Step", *[_words(name) for name in self.metrics]], rows, marks)

    def _settings(self) -> Table:
        """Return one row per hyperparameter, one column per run and setting."""
        names = list(dict.fromkeys(name for line in self.lines for name in line.settings))
        rows = [[_words(name), *[_shown(line.settings.get(name)) for line in self.lines]] for name in names]
        for name in ("steps", "seeds"):
            rows.append([_words(name), *[_shown(line.run.record[name]) for line in self.lines]])
        for name in self.runs[0].record["units"]:
            cells = [_shown(line.run.record["units"].get(name)) for line in self.lines]
            rows.append([f"{_words(name)} transform", *cells])
        return Table(["Setting", *[line.name for line in self.lines]], rows)

    def _logs(self) -> Table:
        rows = []
        for run, label in zip(self.runs, _labels(self.runs), strict=True):
            data = run.record["data"]
            rows.append(
                [label, data["origin"], f"{data['steps']:,}", f"{data['episodes']:,}", data["fingerprint"][:12]]
            )
        return Table(["Run", "Log", "Steps", "Episodes", "Fingerprint"], rows)

    def _versions(self) -> Table:
        versions = [{**run.record["versions"], **run.record["computed"]} for run in self.runs]
        names = list(dict.fromkeys(name for part in versions for name in part))
        rows = [[_words(name), *[_shown(part.get(name)) for part in versions]] for name in names]
        return Table(["", *_labels(self.runs)], rows)


def _labels(runs: list[Run]) -> list[str]:
    """Return a name for every run, with its number where names repeat."""
    names = [run.name for run in runs]
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names, 1)]


def _setting_names(run: Run) -> list[str]:
    """Return what differs between the settings of a run, the empty string where there is one."""
    flat = [dict(_flat(settings, "")) for settings in run.record["settings"]]
    names = dict.fromkeys(name for settings in flat for name in settings)
    differing = [name for name in names if any(settings.get(name) != flat[0].get(name) for settings in flat)]
    return [", ".join(f"{_words(name)} {_shown(settings.get(name))}" for name in differing) for settings in flat]


def _flat(settings: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    parts = []
    for name, value in settings.items():
        parts += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return parts


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", ": ")


def _shown(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.4g}".replace("-", "−") if values.size else "—"


def _spread(values: np.ndarray) -> str:
    if values.size < 2:
        return _mean(values)
    return f"{_mean(values)} ({values.min():.3g} to {values.max():.3g})".replace("-", "−")
