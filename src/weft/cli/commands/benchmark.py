"""`weft benchmark`: methods × data sets × seeds, and a page about them."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from ...core.errors import UserError, nearest
from ..command import (
    Command,
    Count,
    Family,
    Flag,
    Log,
    LogOptions,
    Place,
    console,
    free_folder,
    pairs,
    print_cells,
    seeds,
    stopped,
)

__all__ = ["Benchmark"]


@dataclasses.dataclass(frozen=True)
class Benchmark(Command):
    """Compare methods on logs with an environment to evaluate in: one result file per run, and a page about all.

    Every method is trained with every seed on every log and evaluated as it learns. Methods are compared by their
    final scores; best scores are listed apart. Run the same command again to resume; more methods, logs or seeds are
    added to the folder. `weft benchmark --page FOLDER` only writes the page again.
    """

    example: ClassVar[str] = (
        "weft benchmark bc iql --data sample:maze --env maze --seeds 5 --steps 2500 --every 500 --out benchmarks/maze"
    )

    algorithms: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[ALGORITHM ...]")] = ()
    """Methods to compare; `weft algorithms` lists them."""
    data: Annotated[tuple[str, ...], tyro.conf.arg(metavar="DATA [DATA ...]", help_behavior_hint="")] = ()
    """Logs: files, folders or URIs such as sample:maze."""
    env: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ENVIRONMENT [ENVIRONMENT ...]", help_behavior_hint="")] = ()
    """Environment to evaluate each log's policies in, in the order of --data; one serves all."""
    reference: Annotated[tuple[str, ...], tyro.conf.arg(metavar="DATA=LOW:HIGH", help_behavior_hint="")] = ()
    """Returns that score 0 and 100 on a log: hopper.hdf5=-20.27:3234.3."""
    preset: Family = None
    """Start from the settings and units for a family of tasks (locomotion, sparse-goal, ...); --set overrides them."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD.FIELD=VALUE", help_behavior_hint="")] = ()
    """Hyperparameters: iql.expectile=0.9, iql.hidden=64,64; iql.expectile=0.7/0.9 compares both values."""
    steps: int = 100_000
    """Gradient steps of every run."""
    every: Count = None
    """Gradient steps between evaluations; by default a tenth of the run."""
    episodes: int = 20
    """Greedy episodes per evaluation, with the same initial states every time."""
    seeds: str = "5"
    """Number of seeds (4), or a list of them (3,7)."""
    batch_size: Count = None
    """Batch size; by default each method's own."""
    stack: int = 1
    """Consecutive grey-scale frames stacked into one observation."""
    standardise: bool = True
    """Standardise numeric observations to mean 0 and standard deviation 1."""
    scale_rewards: Literal["size", "largest", "returns", "unit", "none"] = "size"
    """Divide rewards by: size, their root mean square; largest, their largest size; returns, a thousandth of the range
    of returns; unit, their standard deviation; none, nothing."""
    shift_rewards: float = 0.0
    """Constant added to every scaled reward."""
    out: Place = None
    """Folder of the results; by default the next free benchmarks/benchmark-NUMBER."""
    page: Place = None
    """Only rewrite the page of the results in this folder."""
    keep_runs: Flag = False
    """Keep the checkpoints of every run."""
    quiet: Flag = False
    """Print the result only."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Train, measure, print the table of final scores, and write the page."""
        from ...core.compilation import keep_compiled_programs
        from ...experiments.benchmark_files import load_benchmark

        if self.page is not None:
            if self.algorithms or self.data or self.out is not None:
                raise UserError("--page FOLDER only writes a page: leave out methods, --data and --out.")
            self._report(load_benchmark(self.page))
            return
        keep_compiled_programs()
        names = self._names()
        methods, units = self._methods()
        tasks = self._tasks(names)
        out = self.out or free_folder(Path("benchmarks"), "benchmark")
        import weft

        try:
            results = weft.benchmark(
                methods, tasks, out, steps=self.steps, every=self.every, episodes=self.episodes,
                seeds=seeds(self.seeds), batch_size=self.batch_size, stack=self.stack,
                keep_runs=self.keep_runs, progress=not self.quiet, **units,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise stopped(out, self.out) from None
        self._report(results)

    def _methods(self) -> tuple[list[Any], dict[str, Any]]:
        """Return every method with what was set, and the units of measure that all of them share."""
        from ...agents.preset import UNITS
        from ..method_options import listed_methods, shared_units

        own = {
            "observations": "standardise" if self.standardise else "none",
            "rewards": self.scale_rewards,
            "reward_shift": self.shift_rewards,
        }
        methods = listed_methods("A benchmark", self.algorithms, self.set, self.preset)
        if self.preset is None:
            return methods, own
        if own != UNITS:
            raise UserError("--preset sets the units of measure: leave out --scale-rewards and the like.")
        return methods, shared_units(self.preset, methods)

    def _report(self, results: Any) -> None:
        from ...experiments.benchmark_files import DONE
        from ...reports.benchmark import write_page

        screen = console()
        screen.print("Final scores, mean ± standard deviation (seeds):")
        print_cells(results.table("final"))
        for note in results.notes:
            screen.print(f"Note: {note}", soft_wrap=True, markup=False)
        if not any(cell.status == DONE for cell in results.cells):
            raise UserError(f"No run in {results.folder} has a score, so there is no page.")
        page = write_page(results.folder)
        about = f"Written: {page} (statistics, best scores apart, pictures); a file for every run is in"
        screen.print(f"{about} {results.folder / 'cells'}.", soft_wrap=True, markup=False)

    def _names(self) -> list[str]:
        """Return the name of every task: the log's, and the environment's behind it where a log has several."""
        if not self.algorithms or not self.data or not self.env:
            raise UserError(
                "Say what to compare: weft benchmark ALGORITHM [ALGORITHM ...] --data LOG --env ENVIRONMENT."
            )
        if len(self.env) not in (1, len(self.data)):
            many = f"{len(self.data)} logs, {len(self.env)} environments"
            raise UserError(f"--env names one environment for all logs, or one for each, got {many}.")
        names: list[str] = []
        for log, env in zip(self.data, self._worlds(), strict=True):
            name = _short(log)
            names.append(f"{name} in {env}" if name in names else name)
        return names

    def _worlds(self) -> list[str]:
        return [*self.env] * (len(self.data) if len(self.env) == 1 else 1)

    def _tasks(self, names: Sequence[str]) -> dict[str, Any]:
        """Return every log with its environment and its reference returns."""
        references = dict(pairs("reference", self.reference))
        logs = [*self.data, *names]
        for name, words in references.items():
            if name not in logs:
                raise UserError(f"--reference {name}={words} is of no log in --data.{nearest(name, logs)}")
        tasks = {}
        for name, log, env in zip(names, self.data, self._worlds(), strict=True):
            words = references.get(name, references.get(log))
            tasks[name] = (self.log.load(log), env, None if words is None else _returns(name, words))
        return tasks


def _short(log: str) -> str:
    """Return the name of a log: what follows the scheme of a URI, or a file's name without its ending."""
    scheme, colon, rest = log.partition(":")
    uri = colon and re.fullmatch(r"\w[\w-]+", scheme)
    return rest.strip("/") if uri else Path(log).stem


def _returns(name: str, words: str) -> tuple[float, float]:
    try:
        low, high = map(float, words.split(":"))
    except ValueError:
        raise UserError(f"--reference is written {name}=LOW:HIGH, got '{words}'.") from None
    return low, high
