"""What a report is: one HTML page that explains results, carries everything with it and asks no network for anything.

A report reads runs and results and never trains. One final class per file in `reports/`, its template beside it.
"""

import abc
import dataclasses
import importlib.resources
import json
from pathlib import Path
from typing import Any, ClassVar

from ..core.storage import make_folder, write_bytes
from .chart import Chart

__all__ = ["Report", "Table"]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: the first cell of a row names it; `marks` are colours put before those names."""

    head: list[str]
    rows: list[list[str]]
    marks: list[str] | None = None


class Report(abc.ABC):
    """One kind of page. `template` is the name of its file in `reports/`."""

    template: ClassVar[str]

    @property
    @abc.abstractmethod
    def title(self) -> str:
        """The page's title."""

    @abc.abstractmethod
    def charts(self) -> list[Chart]:
        """Return every drawing of the page; the template places them by name."""

    @abc.abstractmethod
    def content(self) -> dict[str, Any]:
        """Return what the template needs besides the charts: sentences and tables made from the results."""

    def html(self) -> str:
        """Return the whole page."""
        import jinja2
        from plotly.offline import get_plotlyjs

        room = jinja2.Environment(
            loader=jinja2.PackageLoader("weft", "reports"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        charts = {chart.name: chart for chart in self.charts()}
        drawings = {name: {"traces": chart.traces, "layout": chart.layout} for name, chart in charts.items()}
        # inside a script element only `</` could end it
        data = json.dumps(drawings, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
        return room.get_template(self.template).render(
            title=self.title,
            charts=charts,
            chart_data=data,
            style=_beside("page.css"),
            script=_beside("page.js"),
            plotly=get_plotlyjs(),
            **self.content(),
        )

    def write(self, path: str | Path) -> Path:
        """Write the page whole or not at all and return its path. Raises UserError where that fails."""
        path = Path(path)
        make_folder(path.parent)
        write_bytes(path, self.html().encode())
        return path


def _beside(name: str) -> str:
    return (importlib.resources.files("weft.reports") / name).read_text(encoding="utf-8")
