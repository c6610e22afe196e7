"""Candidates of a study or a search: how they are made and trained. Which one is chosen: `selection`."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..agents import preset as families
from ..agents.algorithm import Algorithm
from ..agents.algorithm import algorithm as named
from ..agents.preset import Preset
from ..core.errors import UserError, nearest
from ..data.dataset import Dataset
from ..training import run_folder as folders
from ..training.fit import fit
from ..training.run import Run, load_run
from .advice.plan import BASELINES
from .advice.quality import quality

__all__ = ["STEPS", "Training", "default_methods", "instance", "with_imitation"]

STEPS = 5000
PROBE = 50  # steps that tell the pace of a method
USUAL = ("bc", "iql", "cql")
SINGLE = "regression"  # where every episode is one decision


def default_methods(data: Dataset, preset: str | None = None) -> tuple[str, ...]:
    """Return the methods of a study that names none: `bc`, `iql`, `cql`, and `regression` of single decisions.

    preset: a family of tasks, which may have no numbers for a method that is left out then.
    """
    try:
        instance(SINGLE, "A study").check(data.spec)
    except UserError:
        return USUAL
    suits = preset is None or SINGLE in families.preset(preset).settings
    return (*USUAL, SINGLE) if suits else USUAL


def instance(
    algorithm: Any, caller: str, settings: Mapping[str, Any] | None = None, family: type[Preset] | None = None
) -> Algorithm:
    """Return an algorithm by its name, with settings that differ from a preset's or its defaults, or as it is.

    Raises UserError for a name or setting that there is not, and for a method that the preset has no numbers for.
    """
    if isinstance(algorithm, str) and family is not None:
        return family.setting(algorithm, **(settings or {}))
    if isinstance(algorithm, str):
        kind, names = named(algorithm), [field.name for field in dataclasses.fields(named(algorithm))]
        for name in settings or {}:
            if name not in names:
                raise UserError(f"{kind.title} has no hyperparameter '{name}'.{nearest(name, names)}")
        return kind(**(settings or {}))
    if not isinstance(algorithm, Algorithm):
        raise UserError(f"{caller} needs algorithms such as weft.IQL(), got {algorithm!r}.")
    return algorithm


def with_imitation(
    methods: Mapping[str, list[Algorithm]], data: Dataset, family: type[Preset] | None
) -> tuple[dict[str, list[Algorithm]], list[str]]:
    """Return the methods with behaviour cloning and its filtered form, where they are not among them and fit the log,
    and what is said of that. The filter is the share of the best episodes that the log supports (`weft.advise`).
    """
    names = {setting.name for settings in methods.values() for setting in settings}
    fraction, notes = quality(data)["fraction"], []
    more: dict[str, list[Algorithm]] = {}
    for name in reversed(BASELINES):
        if name in names:
            continue
        if name == "filtered_bc" and fraction is None:
            notes.append("filtered_bc is left out: no episodes are so much better that only they could be copied.")
            continue
        chosen = {} if name == "bc" else {"fraction": fraction}
        numbers = family if family is not None and name in family.settings else None
        method = instance(name, "A study", chosen, numbers)
        try:
            method.check(data.spec)
        except UserError as problem:
            notes.append(f"{name} is left out: {problem}")
            continue
        more[name] = [method]
    if more:
        notes.append(f"{' and '.join(more)} came unasked: what others have to beat.")
    return {**methods, **more}, notes


@dataclasses.dataclass(frozen=True)
class Training:
    """How every candidate of a study or a search is trained: steps, seeds and further options, those of `weft.fit`.

    A preset's units of measure are those of its methods, unless `options` say others.
    """

    steps: int
    seeds: int | Sequence[int]
    options: Mapping[str, Any]
    progress: bool = False
    family: type[Preset] | None = None

    @property
    def choices(self) -> dict[str, Any]:
        """The options, and the name of the preset where there is one: what decides beside steps and seeds."""
        return {**self.options, **({} if self.family is None else {"preset": self.family.name()})}

    def fit(self, settings: Sequence[Algorithm], data: Dataset, folder: Path | None) -> Run:
        """Train settings as one run, in a folder where there is one, and go on with what it holds.

        The state half way is kept for good, so that triage has a checkpoint to choose from before a late divergence.
        """
        keep = sorted({max(1, self.steps // 2)} | set(self.options.get("keep", ())))
        units = {} if self.family is None else self.family.units_for(settings[0].name)
        options = {"resume": folder is not None, "progress": self.progress, **units, **self.options, "keep": keep}
        return fit(settings, data, self.steps, self.seeds, folder, **options)

    def within(self, minutes: float, settings: Sequence[Algorithm], data: Dataset, folder: Path | None) -> "Training":
        """Return the same training with as many steps as fit into so many minutes, at most its own.

        The pace is measured, compilation left out. What a folder holds already keeps the steps it was begun with.
        """
        if folder is not None and folders.holds_run(folder):
            return dataclasses.replace(self, steps=int(load_run(folder).record["steps"]))
        brief, seconds = [_brief(setting) for setting in settings], []
        for steps in (PROBE, PROBE, 5 * PROBE):  # the first compiles
            begun = time.perf_counter()
            dataclasses.replace(self, steps=steps, options={**self.options, "keep": ()}, progress=False).fit(
                brief, data, None
            )
            seconds.append(time.perf_counter() - begun)
        pace = max(seconds[2] - seconds[1], 1e-6) / (4 * PROBE)
        return dataclasses.replace(self, steps=min(self.steps, max(PROBE, _round(60 * minutes / pace))))


def _brief(setting: Algorithm) -> Algorithm:
    """Return a setting whose opening phases fit into any run: those counted in updates are a fifth of it."""
    counted = {name: 0.2 for name in setting.openings if getattr(setting, name) >= 1}
    return dataclasses.replace(setting, **counted)


def _round(steps: float) -> int:
    """Cut a number of steps to its first two digits."""
    unit = 10 ** max(len(str(int(steps))) - 2, 0)
    return int(steps) // unit * unit
