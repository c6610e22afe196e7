"""A run: settings × seeds of one method on one log, in memory or as a folder that outlives the process.

`run.json` in the folder holds the resolved settings, the log's fingerprint and spec, versions and how runs were
computed; `weft.folder` says what else lies there. Nothing in it is a pickle.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from . import folder as folders
from . import pytree, storage
from . import ring as rings
from .algorithm import Algorithm, algorithm, describe
from .columns import Lanes
from .dataset import Dataset
from .errors import UserError
from .fingerprints import Trace
from .policy import Served
from .spec import Spec
from .transform import Transform, skeleton

__all__ = ["Run", "load_policy", "load_run", "rebuild", "structure"]

FORMAT = 1  # of run.json


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

    @property
    def planned(self) -> int:
        """The total that was planned first, 0 where the run goes on from another: what opening phases go by."""
        goes_on = "from" in self.record.get("online", {})
        return 0 if goes_on else [*self.record.get("extended_from", []), self.record["steps"]][0]

    @property
    def steps(self) -> list[int]:
        """The steps whose states are kept, ascending; what was stopped early is later as it was then."""
        known = [self._known(group) for group in range(len(self.groups))]
        return sorted(
            step
            for step in set.union(*known)
            if all(self._at(group, step) in found for group, found in enumerate(known))
        )

    def kept(self, setting: int = 0) -> list[int]:
        """Return the steps whose states are kept of one setting, ascending."""
        return sorted(self._known(self._group(setting)))

    def state(self, setting: int = 0, seed: int = 0, step: int | None = None) -> PyTree:
        """Return one run's state at a kept step (the last by default); `seed` counts from 0 within the run's seeds."""
        group = self._group(setting)
        if not 0 <= seed < len(self.seeds):
            raise UserError(f"{self.name} has seeds 0 to {len(self.seeds) - 1}, not {seed}.")
        known = self.kept(setting)
        if not known:
            raise UserError(f"{self.name} has no checkpoint yet.")
        step = known[-1] if step is None else step
        if step not in known and step in self.steps:
            step = self._at(group, step)
        if step not in known:
            raise UserError(f"{self.name} keeps no state of step {step}; kept are {', '.join(map(str, known))}.")
        if step not in self.states[group]:
            assert self.folder is not None
            like = structure(self.settings[setting], self.transform.inner)
            self.states[group][step] = storage.read_tree(folders.checkpoint_path(self.folder, group, step), like)
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
            last = max(self._known(group), default=None)
            if last is None:
                raise UserError(f"{self.name} has no checkpoint yet.")
            lanes = Lanes(self.record["online"]["rounds"]["lanes"], 1, 1)
            one = jax.eval_shape(lambda: rings.empty(self.spec, lanes, self.transform.stack))
            path = folders.other_path(self.folder, "ring", group, last)
            runs = len(self.groups[group]) * len(self.seeds)
            self.others[group] = {"ring": storage.read_tree(path, [one] * runs)}
        origin = f"collected:{self.record['online']['environment']}"
        return rings.collected(pytree.host(self.others[group]["ring"][place]), self.transform, origin)

    def save_policy(
        self, path: str | Path, seed: int = 0, setting: int = 0, step: int | None = None, drawn: bool = False
    ) -> None:
        """Write one policy as a single safetensors file that `weft.load_policy` reads without the log.

        drawn: the policy that is read draws its actions (`Served.drawing`) rather than takes its mode.
        """
        policy = self.policy(seed, setting, step)
        about = {
            "setting": describe(self.settings[setting]),
            "spec": json.loads(self.spec.to_json()),
            "transform": self.transform.parts(),
            "versions": self.record["versions"],
            "traced": True,
            "drawn": bool(drawn),
        }
        storage.write_tree(Path(path), (policy, self.trained_on.packed()), **about)

    def _known(self, group: int) -> set[int]:
        return {*folders.kept_steps(self.folder, group), *self.states[group]}

    def _at(self, group: int, step: int) -> int:
        """Return where a group stood when the others had reached a step: at its last if it was stopped early."""
        stops = [found["step"] for found in self.record.get("stopped", []) if found["group"] == group]
        return min([step, *stops])

    def _group(self, setting: int) -> int:
        for number, members in enumerate(self.groups):
            if setting in members:
                return number
        raise UserError(f"{self.name} has settings 0 to {len(self.settings) - 1}, not {setting}.")


def load_run(folder: str | Path) -> Run:
    """Read a run's folder (states are read when asked for). Raises UserError when it is not one, or is damaged."""
    folder = Path(folder)
    if not (folder / folders.RECORD).exists():
        raise UserError(f"{folder} is no run: it has no {folders.RECORD}.")
    record = storage.read_json(folder / folders.RECORD)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UserError(f"{folder / folders.RECORD} is damaged, or another version of weft wrote it.")
    try:
        spec = Spec.from_json(record["spec"])
        settings = [rebuild(found) for found in record["settings"]]
        blank = skeleton(spec, record["transform"])
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{folder / folders.RECORD} is damaged, or another version of weft wrote it.") from None
    transform = storage.read_tree(folder / folders.TRANSFORM, blank)
    groups = pytree.groups([pytree.as_arrays(setting) for setting in settings])
    rows = folders.read_rows(folder)
    kept = folder / folders.EPISODES
    trace = Trace.unpack(storage.read_tree(kept, 0)) if kept.exists() else Trace()
    return Run(record, settings, record["seeds"], spec, transform, groups, [{} for _ in groups], rows, folder, trace)


def load_policy(path: str | Path) -> Served:
    """Read a policy written by `Run.save_policy`; no log is needed. It acts as it was saved: by its mode, or drawn.

    Raises UserError for anything else.
    """
    path = Path(path)
    about = storage.read_about(path)
    if "setting" not in about or "spec" not in about:
        raise UserError(f"{path} is not a policy that weft wrote.")
    spec, setting = Spec.from_json(about["spec"]), rebuild(about["setting"])
    inner = jax.eval_shape(
        pytree.as_arrays(setting).policy, structure(setting, skeleton(spec, about["transform"]).inner)
    )
    like = Served(inner, skeleton(spec, about["transform"]))
    if not about.get("traced"):
        return storage.read_tree(path, like)
    policy, packed = storage.read_tree(path, (like, 0))
    return Served(policy.inner, policy.transform, Trace.unpack(packed), bool(about.get("drawn", False)))


def rebuild(found: dict[str, Any]) -> Algorithm:
    """Return the instance that `describe` described; raise UserError if this weft does not know it."""
    made = algorithm(found["algorithm"])
    return _module(made, {key: value for key, value in found.items() if key != "algorithm"}, made.__module__)


def _module(kind: type, found: dict[str, Any], home: str) -> Any:
    values = {}
    for key, given in found.items():
        value = given
        if isinstance(value, dict) and "kind" in value:
            nested = getattr(sys.modules[home], value["kind"], None)
            if nested is None:
                raise UserError(f"This weft has no '{value['kind']}', which the run used for '{key}'.")
            value = _module(nested, {k: v for k, v in value.items() if k != "kind"}, home)
        values[key] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**values)
    except TypeError as problem:
        raise UserError(
            f"The settings of {kind.__name__} were written by another version of weft: {problem}."
        ) from None


def structure(setting: Algorithm, spec: Spec) -> PyTree:
    """Return a state's structure. The sizes of what depends on the log's length are those of the file."""
    return eqx.filter_eval_shape(lambda s: s.init(jax.random.key(0), spec), pytree.as_arrays(setting))
