"""`weft benchmark`: methods × data sets × seeds, and a page about them."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from ...core.errors import UserError, nearest
from ..command import (
    Command,
    Count,
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
    """Compare methods on logs whose environments can be played: one file of results per run, and a page about all.

    Every method is trained with every seed on every log and measured as it learns. Final scores are compared; best
    ones stand apart. The same command skips what is done and goes on with what was stopped; more methods, logs or
    seeds are added to the folder. `weft benchmark --page FOLDER` only writes the page again.
    """

    example: ClassVar[str] = (
        "weft benchmark bc iql --data sample:maze --env maze --seeds 5 --steps 2500 --every 500 --out benchmarks/maze"
    )

    algorithms: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[ALGORITHM ...]")] = ()
    """Which methods to compare: `weft algorithms` lists them."""
    data: Annotated[tuple[str, ...], tyro.conf.arg(metavar="DATA [DATA ...]", help_behavior_hint="")] = ()
    """The logs: files, folders, or URIs such as sample:maze."""
    env: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ENVIRONMENT [ENVIRONMENT ...]", help_behavior_hint="")] = ()
    """Where what was learned from each log acts, in the order of --data; one serves all."""
    reference: Annotated[tuple[str, ...], tyro.conf.arg(metavar="DATA=LOW:HIGH", help_behavior_hint="")] = ()
    """Returns that count as 0 and as 100 on a log: hopper.hdf5=-20.27:3234.3."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD.FIELD=VALUE", help_behavior_hint="")] = ()
    """Hyperparameters: iql.expectile=0.9, iql.hidden=64,64; with iql.expectile=0.7/0.9 both are compared."""
    steps: int = 100_000
    """Gradient steps of every run."""
    every: Count = None
    """Steps between measurements; by default a tenth of all."""
    episodes: int = 20
    """Greedy episodes of every measurement, always the same ones."""
    seeds: str = "5"
    """How many seeds (4), or which (3,7)."""
    batch_size: Count = None
    """Logged steps per gradient step; by default the methods' own."""
    stack: int = 1
    """Successive grey images that make an observation."""
    standardise: bool = True
    """Bring numeric observations to mean 0 and standard deviation 1."""
    scale_rewards: Literal["none", "returns", "unit"] = "none"
    """returns: 1000 over the range of returns; unit: standard deviation 1."""
    shift_rewards: float = 0.0
    """Added to every scaled reward."""
    out: Place = None
    """Folder of the results; by default the next free benchmarks/benchmark-NUMBER."""
    page: Place = None
    """Only write the page of this folder's results again."""
    keep_runs: Flag = False
    """Leave the checkpoints of every run in the folder."""
    quiet: Flag = False
    """Show nothing but the result."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Train, measure, print the table of final scores, and write the page."""
        from ...core.compilation import keep_compiled_programs
        from ...experiments.benchmark_files import load_benchmark

        if self.page is not None:
            if self.algorithms or self.data or self.out is not None:
                raise UserError("--page FOLDER only writes a page: leave out methods, --data and --out.")
            self._tell(load_benchmark(self.page))
            return
        keep_compiled_programs()
        names = self._names()
        methods = self._methods()
        tasks = self._tasks(names)
        out = self.out or free_folder(Path("benchmarks"), "benchmark")
        import weft

        try:
            found = weft.benchmark(
                methods, tasks, out, steps=self.steps, every=self.every, episodes=self.episodes,
                seeds=seeds(self.seeds), batch_size=self.batch_size, stack=self.stack,
                observations="standardise" if self.standardise else "none", rewards=self.scale_rewards,
                reward_shift=self.shift_rewards, keep_runs=self.keep_runs, progress=not self.quiet,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise stopped(out, self.out) from None
        self._tell(found)

    def _tell(self, found: Any) -> None:
        from ...experiments.benchmark_files import DONE
        from ...reports.benchmark import write_page

        screen = console()
        screen.print("Final scores, mean ± standard deviation (seeds):")
        print_cells(found.table("final"))
        for note in found.notes:
            screen.print(f"Note: {note}", soft_wrap=True, markup=False)
        if not any(cell.status == DONE for cell in found.cells):
            raise UserError(f"No run in {found.folder} has a score, so there is no page.")
        page = write_page(found.folder)
        told = f"Written: {page} (statistics, best scores apart, pictures); a file for every run is in"
        screen.print(f"{told} {found.folder / 'cells'}.", soft_wrap=True, markup=False)

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
        given = dict(pairs("reference", self.reference))
        known = [*self.data, *names]
        for name, words in given.items():
            if name not in known:
                raise UserError(f"--reference {name}={words} is of no log in --data.{nearest(name, known)}")
        found = {}
        for name, log, env in zip(names, self.data, self._worlds(), strict=True):
            words = given.get(name, given.get(log))
            found[name] = (self.log.load(log), env, None if words is None else _returns(name, words))
        return found

    def _methods(self) -> list[Any]:
        """Return every method with the hyperparameters that were set, each combination of several values."""
        from ...agents.algorithm import algorithm
        from ...core.pytree import grid
        from ...experiments.search_space import listed

        made: list[Any] = [algorithm(name)() for name in self.algorithms]  # type: ignore[call-arg]
        known = {method.name: method for method in made}
        choices: dict[str, dict[str, list[Any]]] = {name: {} for name in known}
        for words, text in pairs("set", self.set):
            head, _, field = words.partition(".")
            name = head.lower().replace("-", "_")
            if name not in known or not field:
                raise UserError(
                    f"--set is written METHOD.FIELD=VALUE with one of {', '.join(known)}, got '{words}={text}'."
                )
            choices[name][field] = listed(known[name], field, text)
        return list(itertools.chain.from_iterable(grid(method, **choices[name]) for name, method in known.items()))


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
