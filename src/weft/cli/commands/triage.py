"""`weft triage`: did training go well, and which checkpoint is the one to take."""

import dataclasses
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from ..command import Command, Log, LogOptions, Place, console

__all__ = ["Triage"]


@dataclasses.dataclass(frozen=True)
class Triage(Command):
    """Check how a run trained: over-fitting, under-fitting, divergence, seeds; and which checkpoint to take.

    Follows the workflow of Kumar et al. 2021 (arXiv:2109.10813) for conservative methods, with general checks for all.
    It sorts training runs and is never evidence of a policy's value; `weft evaluate` gives that.
    """

    example: ClassVar[str] = "weft triage runs/cql-1 --larger runs/cql-2"

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run, finished or not."""
    larger: Place = None
    """A run that differs only in a larger --hidden, to test for under-fitting."""
    data: Annotated[str | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """Held-out log: adds the error on it and the share of actions outside its support."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Print what was found about every setting."""
        from ...core.compilation import keep_compiled_programs
        from ...experiments.triage import triage
        from ...training.run import load_run

        keep_compiled_programs()
        run = load_run(self.run_folder)
        larger = None if self.larger is None else load_run(self.larger)
        held_out = None if self.data is None else self.log.load(self.data)
        pages = [str(triage(run, larger, held_out, setting)) for setting in range(len(run.settings))]
        several = len(pages) > 1
        text = "\n\n".join(f"Setting {number}: {page}" if several else page for number, page in enumerate(pages))
        console().print(text, soft_wrap=True, markup=False)
