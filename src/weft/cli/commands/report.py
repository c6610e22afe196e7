"""`weft report`: one page about trained runs, or about a study."""

import dataclasses
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from ..command import Command, console

__all__ = ["Report"]


@dataclasses.dataclass(frozen=True)
class Report(Command):
    """Write one self-contained page about runs (settings, data, metrics over training), or about one study."""

    example: ClassVar[str] = "weft report runs/iql-1 runs/bc-1 --out report.html"

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Folders of runs, or the folder of one study."""
    out: Path = Path("report.html")
    """The page to write."""

    def run(self) -> None:
        """Write the page."""
        import weft

        from ...core.errors import UserError
        from ...experiments.study import RECORD
        from ...reports.runs import RunsReport
        from ...reports.study import StudyReport

        if not self.runs:
            raise UserError("Name at least one run: weft report runs/iql-1.")
        if len(self.runs) == 1 and (self.runs[0] / RECORD).is_file():
            path = StudyReport.of_folder(self.runs[0]).write(self.out)
        else:
            path = RunsReport([weft.load_run(folder) for folder in self.runs]).write(self.out)
        console().print(f"Wrote {path}; open it in any browser.", soft_wrap=True)
