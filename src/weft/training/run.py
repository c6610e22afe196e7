"""A run: settings × seeds of one method on one log, in memory or as a folder that outlives the process.

`run.json` in the folder holds the resolved settings, the log's fingerprint and spec, versions and how runs were
computed; `weft.training.run_folder` says what else lies there. Nothing in it is a pickle.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from ..agents.algorithm import Algorithm, describe, rebuild
from ..agents.served import Served, check_finite
from ..core import pytree, storage
from ..core.errors import UserError
from ..core.tables import html_table
from ..data import replay as rings
from ..data.columns import Lanes
from ..data.dataset import Dataset
from ..data.spec import Spec
from ..data.trace import Trace
from ..data.transforms import Transform, skeleton
from . import plan
from . import run_folder as folders

__all__ = ["Run", "load_policy", "load_run", "rebuild", "structure"]


@dataclasses.dataclass
class Run:
    """Trained states and everything needed to use, continue or explain them.

    `settings` are the swept instances, `seeds` the seeds of each; `states[group]` maps a step to the stacked states of
    the runs of one compiled program (`groups` lists their settings). `trained_on` recognises the episodes of the log.
    """

    record: dict[str, Any]
    settings: list[Algorithm]
    seeds: list[int]
    spec: Spec
    transform: Transform
    groups: list[list[int]]
    states: list[dict[int, PyTree]]
    metrics: list[dict[str, Any]]
    folder: Path | None = None
    trained_on: Trace = dataclasses.field(default_factory=Trace)
    others: dict[int, PyTree] = dataclasses.field(default_factory=dict)

    @classmethod
    def fresh(
        cls,
        record: dict[str, Any],
        settings: list[Algorithm],
        seeds: list[int],
        transform: Transform,
        out: str | Path | None,
    ) -> "Run":
        """Return a run that has not begun. Raises UserError where a method refuses the form of what it learns from."""
        record["transform"] = transform.parts()
        groups = pytree.groups([pytree.as_arrays(setting) for setting in settings])
        for members in groups:
            structure(settings[members[0]], transform.inner)  # what a method refuses, before anything is written
        folder = None if out is None else Path(out)
        return cls(record, settings, seeds, transform.spec, transform, groups, [{} for _ in groups], [], folder)

    @property
    def name(self) -> str:
        """The folder's name, or the method's."""
        return self.folder.name if self.folder else self.settings[0].name

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what was trained, how far, and the last metrics, means over all runs."""
        settings, seeds, steps = len(self.settings), len(self.seeds), self.steps
        rows = [
            ("Learned from", str(self.record["data"]["origin"])),
            ("Runs", f"{settings * seeds} ({settings} × {seeds}: settings × seeds)"),
            ("Steps", f"{steps[-1] if steps else 0:,} of {self.record['steps']:,}"),
            ("Folder", "none: in memory" if self.folder is None else str(self.folder)),
        ]
        rows += [("Stopped early", stop["reason"]) for stop in self.record.get("stopped", [])]
        rows += [(name, f"{value:.4g}") for name, value in self._last_means().items()]
        return html_table(rows, self.settings[0].title)

    def _last_means(self) -> dict[str, float]:
        """Return the means of the metrics of the last logged step over all runs that have it."""
        last = max((row["step"] for row in self.metrics), default=0)
        columns: dict[str, list[float]] = {}
        for row in self.metrics:
            for name, value in row.items() if row["step"] == last else ():
                if name not in ("step", "setting", "seed"):
                    columns.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in columns.items()}

    @property
    def planned(self) -> int:
        """The total that was planned first, 0 where the run goes on from another: what opening phases go by."""
        goes_on = "from" in self.record.get("online", {})
        return 0 if goes_on else [*self.record.get("extended_from", []), self.record["steps"]][0]

    @property
    def unit(self) -> float:
        """How much of the log's reward is 1 for the method, whose values the metrics report in the log's rewards."""
        return self.transform.reward_unit if "values" in self.record else 1.0

    @property
    def steps(self) -> list[int]:
        """The steps whose states are kept, ascending; what was stopped early is later as it was then."""
        every = [self._kept(group) for group in range(len(self.groups))]
        return sorted(
            step
            for step in set.union(*every)
            if all(self._at(group, step) in steps for group, steps in enumerate(every))
        )

    def kept(self, setting: int = 0) -> list[int]:
        """Return the steps whose states are kept of one setting, ascending."""
        return sorted(self._kept(self._group(setting)))

    def lasting(self, setting: int = 0) -> list[int]:
        """Return the steps of one setting that are kept for good, ascending: those asked for, and where it ended.

        Others of `kept` are there to resume from: when they were written depends on the machine, so that nothing may be
        chosen among them.
        """
        stops = [stop["step"] for stop in self.record.get("stopped", []) if setting in stop["settings"]]
        lasting = {*self.record["keep"], self.record["steps"], *stops}
        return [step for step in self.kept(setting) if step in lasting]

    @property
    def identity(self) -> str:
        """A name for what was asked of the run, whose files bear it: settings, seeds, units and log."""
        parts = [self.record[part] for part in ("settings", "seeds", "units")]
        return storage.digest([*parts, self.record["data"]["fingerprint"]])[:16]

    def state(self, setting: int = 0, seed: int = 0, step: int | None = None) -> PyTree:
        """Return one run's state at a kept step (the last by default); `seed` counts from 0 within the run's seeds."""
        group = self._group(setting)
        if not 0 <= seed < len(self.seeds):
            raise UserError(f"{self.name} has seeds 0 to {len(self.seeds) - 1}, not {seed}.")
        steps = self.kept(setting)
        if not steps:
            raise UserError(f"{self.name} has no checkpoint yet.")
        step = steps[-1] if step is None else step
        if step not in steps and step in self.steps:
            step = self._at(group, step)
        if step not in steps:
            raise UserError(f"{self.name} keeps no state of step {step}; kept are {', '.join(map(str, steps))}.")
        if step not in self.states[group]:
            assert self.folder is not None
            like = structure(self.settings[setting], self.transform.inner)
            path = folders.checkpoint_path(self.folder, group, step)
            self.states[group][step] = storage.read_tree(path, like, run=self.identity, step=step)
        place = self.groups[group].index(setting) * len(self.seeds) + seed
        return pytree.run_axis(self.states[group][step], place)

    def policy(self, seed: int = 0, setting: int = 0, step: int | None = None) -> Served:
        """Return the policy of one run in the user's units."""
        state = self.state(setting, seed, step)
        return Served(pytree.as_arrays(self.settings[setting]).policy(state), self.transform, self.trained_on)

    def collected(self, seed: int = 0, setting: int = 0) -> Dataset:
        """Return what a run that acts still holds of what it did, in the user's units, with its propensities.

        The buffer of a method keeps the last steps only; running episodes are cut. Raises UserError for a run that
        never acted.
        """
        group = self._group(setting)
        place = self.groups[group].index(setting) * len(self.seeds) + seed
        if "online" not in self.record:
            raise UserError(f"{self.name} learned from a log; it collected nothing.")
        if group not in self.others:
            assert self.folder is not None
            last = max(self._kept(group), default=None)
            if last is None:
                raise UserError(f"{self.name} has no checkpoint yet.")
            lanes = Lanes(self.record["online"]["rounds"]["lanes"], 1, 1)
            one = jax.eval_shape(lambda: rings.empty(self.spec, lanes, self.transform.stack))
            path = folders.other_path(self.folder, "ring", group, last)
            runs = len(self.groups[group]) * len(self.seeds)
            self.others[group] = {"ring": storage.read_tree(path, [one] * runs, run=self.identity, step=last)}
        origin = f"collected:{self.record['online']['environment']}"
        return rings.collected(pytree.host(self.others[group]["ring"][place]), self.transform, origin)

    def save_policy(
        self, path: str | Path, seed: int = 0, setting: int = 0, step: int | None = None, drawn: bool = False
    ) -> None:
        """Write one policy as a single safetensors file that `weft.load_policy` reads without the log.

        drawn: the policy that is read draws its actions (`Served.drawing`) rather than takes its mode. Raises UserError
        for a policy with parameters that are not finite.
        """
        policy = self.policy(seed, setting, step)
        check_finite(policy, self.name)
        about = {
            "setting": describe(self.settings[setting]),
            "spec": json.loads(self.spec.to_json()),
            "transform": self.transform.parts(),
            "versions": self.record["versions"],
            "traced": True,
            "drawn": bool(drawn),
        }
        storage.write_tree(Path(path), (policy, self.trained_on.packed()), **about)

    def _kept(self, group: int) -> set[int]:
        return {*folders.kept_steps(self.folder, group), *self.states[group]}

    def _at(self, group: int, step: int) -> int:
        """Return where a group stood when the others had reached a step: at its last if it was stopped early."""
        stops = [stop["step"] for stop in self.record.get("stopped", []) if stop["group"] == group]
        return min([step, *stops])

    def _group(self, setting: int) -> int:
        for number, members in enumerate(self.groups):
            if setting in members:
                return number
        raise UserError(f"{self.name} has settings 0 to {len(self.settings) - 1}, not {setting}.")


def load_run(folder: str | Path) -> Run:
    """Read a run's folder (states are read when asked for). Raises UserError when it is not one, or is damaged."""
    folder = Path(folder)
    path = folder / folders.RECORD
    if not path.exists():
        raise UserError(f"{folder} is no run: it has no {folders.RECORD}.")
    record = storage.read_record(path)
    with storage.rebuilding(path):
        spec = Spec.from_json(record["spec"])
        settings = [rebuild(described) for described in record["settings"]]
        blank = skeleton(spec, record["transform"])
        groups = pytree.groups([pytree.as_arrays(setting) for setting in settings])
        seeds, sealed = plan.seeds_of(list(record["seeds"])), record["format"] > 1
        run = Run(record, settings, seeds, spec, blank, groups, [{} for _ in groups], [], folder)
        latest = [max(folders.kept_steps(folder, group), default=0) for group in range(len(groups))]
        identity = run.identity
    run.transform = storage.read_tree(folder / folders.TRANSFORM, blank, run=identity)
    run.metrics = folders.read_rows(folder, sealed)
    _check_rows(run, latest)
    if (trace := folder / folders.EPISODES).exists():
        run.trained_on = Trace.unpack(storage.read_tree(trace, 0, run=identity))
    return run


def _check_rows(run: Run, latest: list[int]) -> None:
    """Raise DamagedFile where rows lack what was written before the last checkpoint of a group (`latest`)."""
    assert run.folder is not None
    path = run.folder / folders.METRICS
    if not path.exists():
        return
    rows = {(row.get("step"), row.get("setting"), row.get("seed")) for row in run.metrics}
    for step, members in zip(latest, run.groups, strict=True):
        wanted = {(step, setting, seed) for setting in members for seed in run.seeds} if step else set()
        if not wanted <= rows:
            raise storage.DamagedFile(
                f"{path} is damaged: it ends before step {step:,}, whose checkpoint is there; restore it from a copy, "
                "or delete it and do without what was measured (the states of the run do not depend on it)."
            )


def load_policy(path: str | Path) -> Served:
    """Read a policy written by `Run.save_policy`; no log is needed. It acts as it was saved: by its mode, or drawn.

    Raises UserError for anything else, and for a policy with parameters that are not finite.
    """
    path = Path(path)
    file = storage.stored(path)
    about = file.about
    if "setting" not in about or "spec" not in about:
        raise UserError(f"{path} is not a policy that weft wrote.")
    if "checksum" in about:
        storage.unvouched(path)
    with storage.rebuilding(path):
        spec, setting = Spec.from_json(about["spec"]), rebuild(about["setting"])
        blank = skeleton(spec, about["transform"])
        inner = jax.eval_shape(pytree.as_arrays(setting).policy, structure(setting, blank.inner))
        served = Served(inner, blank)
        if about.get("traced"):
            served, packed = file.tree((served, 0))
            drawn = bool(about.get("drawn", False))
            served = Served(served.inner, served.transform, Trace.unpack(packed), drawn)
        else:
            served = file.tree(served)
    check_finite(served, str(path))
    return served


def structure(setting: Algorithm, spec: Spec) -> PyTree:
    """Return a state's structure. The sizes of what depends on the log's length are those of the file."""
    return eqx.filter_eval_shape(lambda s: s.init(jax.random.key(0), spec), pytree.as_arrays(setting))
