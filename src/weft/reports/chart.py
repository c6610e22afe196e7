"""Charts as plain data for plotly.js: one colour per method, safe for colour-blind readers, on light and dark paper.

A chart holds no text colours: the page's style sheet gives them, so that one drawing serves light, dark and print.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "COLOURS",
    "INK",
    "PRINT",
    "QUIET",
    "SOFT",
    "Axis",
    "Chart",
    "band",
    "colour",
    "curves",
    "line",
    "plain",
]

COLOURS = ("#0072b2", "#009e73", "#d55e00", "#b5598a", "#7a7a7a", "#8a6d00", "#5b6fd6", "#a0522d")
QUIET = "#8c8c8c"  # what is background: at least 3 to 1 against white and against the dark page
INK, SOFT = "#1b1f24", "#565d66"  # of pictures on white paper, which matplotlib draws
PRINT: Any = {
    "font.family": "DejaVu Sans", "font.size": 11, "text.color": INK, "axes.edgecolor": "#d5d9de",
    "axes.labelcolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT, "axes.spines.top": False,
    "axes.spines.right": False, "figure.facecolor": "white",
}  # fmt: skip
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclasses.dataclass(frozen=True)
class Chart:
    """One drawing: its name on the page, what it shows in words (read aloud), traces and layout of plotly.js."""

    name: str
    label: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any]
    shape: str = "wide"  # a class of the style sheet, which decides the height: wide, panel, square


def colour(number: int) -> tuple[str, str]:
    """Return colour and dash of the n-th thing of a kind; dashes change when the colours are used up."""
    return COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]


def plain(values: Any) -> list[Any]:
    """Return numbers as JSON can hold them: what is not finite becomes a gap, six digits are enough."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in np.asarray(values, float).reshape(-1)]


def line(x: Any, y: Any, colour: str, *, name: str = "", width: float = 2.0, **style: Any) -> dict[str, Any]:
    """Return one line. `dash` and `opacity` as in plotly; without a name it is not in the legend."""
    dash, opacity = style.pop("dash", "solid"), style.pop("opacity", 1.0)
    return {
        "type": "scatter", "mode": "lines", "x": plain(x), "y": plain(y), "name": name, "showlegend": bool(name),
        "opacity": opacity, "line": {"color": colour, "width": width, "dash": dash}, **style,
    }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Axis:
    """A scale for values of very different size, negative ones included: linear near 0, logarithmic far from it.

    `bend` is where one turns into the other; 0 keeps the axis linear. Ticks and hover texts show the values themselves.
    """

    bend: float
    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float] | np.ndarray, linear_up_to: float = 3.0) -> "Axis":
        """Return the axis that holds all finite values; it bends when their size exceeds `linear_up_to`."""
        finite = np.asarray(values, float)
        finite = finite[np.isfinite(finite)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        return cls(0.2 if max(abs(low), abs(high)) > linear_up_to else 0.0, min(low, 0.0), max(high, 0.0))

    def place(self, values: Any) -> np.ndarray:
        """Return where values lie on the axis."""
        numbers = np.asarray(values, float)
        return np.arcsinh(numbers / self.bend) if self.bend else numbers

    def layout(self, title: str) -> dict[str, Any]:
        """Return the axis as plotly.js wants it."""
        low, high = (float(self.place(end)) for end in (self.low, self.high))
        margin = 0.06 * max(high - low, 1e-6)
        axis: dict[str, Any] = {
            "title": {"text": title},
            "range": [low - margin, high + margin],
            "zeroline": True,
            "ticklabelstandoff": 6,
        }
        if self.bend:
            ticks = [0.0]
            for power in range(12):
                ticks = [*([-(10.0**power)] if -(10.0**power) >= self.low else []), *ticks]
                ticks = [*ticks, *([10.0**power] if 10.0**power <= self.high else [])]
            axis |= {"tickvals": plain(self.place(ticks)), "ticktext": [_tick(tick) for tick in ticks]}
        return axis


def _tick(value: float) -> str:
    size = abs(value)
    sign = "−" if value < 0 else ""
    if size >= 1e6:
        return f"{sign}{size / 1e6:g} M"
    return f"{sign}{size / 1e3:g} k" if size >= 1e3 else f"{sign}{size:g}"


def curves(
    x: Any, values: np.ndarray, colour: str, name: str, axis: Axis | None = None, dash: str = "solid"
) -> list[dict[str, Any]]:
    """Return seeds `(time, seed)` as thin lines and their mean as a thick one with a name."""
    axis = axis or Axis(0.0, 0.0, 1.0)
    values = np.asarray(values, float)
    thin = [
        line(x, axis.place(values[:, seed]), colour, width=1, opacity=0.45, dash=dash, hoverinfo="skip")
        for seed in range(values.shape[1] if values.shape[1] > 1 else 0)
    ]
    mean = values.mean(1)
    words = [f"{name}: {value:.3g}" for value in mean]
    thick = line(x, axis.place(mean), colour, name=name, width=3, dash=dash, text=words, hoverinfo="text+x")
    return [*thin, thick]


def band(low: float, high: float, row: float, colour: str, **style: Any) -> dict[str, Any]:
    """Return a thick horizontal bar: an interval."""
    return line([low, high], [row, row], colour, width=9, opacity=0.5, **style)
