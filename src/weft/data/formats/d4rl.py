"""The layout of D4RL: one HDF5 file with flat arrays `observations`, `actions`, `rewards`, `terminals`, `timeouts`.

`timeouts` and `next_observations` may be absent. A timed-out step without a next observation led nowhere that was
seen: it is kept as the last observation of its episode only, and a note says so. Flags of d3rlpy's and OGBench's
files (`episode_terminals`, `masks`, …) are understood or refused by name (`weft.data.ends`).
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...core.errors import UserError
from ...core.files import regular
from ...core.memory import Allowance
from ..dataset import Dataset
from ..ends import NAMES, understood
from ..format import Format
from ..steps import Facts, Source, StepColumns
from ._hdf5 import array, opened

LOG_PROPENSITY = "action_log_probs"


class D4RL(Format):
    """One HDF5 file in the layout of D4RL, also inside a `.gz`."""

    suffixes: ClassVar[tuple[str, ...]] = (".hdf5", ".h5", ".hdf5.gz", ".h5.gz")

    def read(
        self, log: Any, /, *, propensities: bool = False, gigabytes: float | None = None, **shared: Any
    ) -> Dataset:
        """Read the file; `propensities` asks for `infos/action_log_probs` as logarithms of propensities.

        Other columns with one number a step become columns to split by. Raises UserError for a file that is no HDF5,
        is cut short, lacks an array, or holds arrays of unequal length.
        """
        path = regular(Path(log))
        allowance = Allowance.of(path, gigabytes)
        with opened(path, allowance) as file:
            parts: dict[str, Any] = {name: array(file, name, allowance) for name in ("actions", "rewards", "terminals")}
            parts["observations"] = _component(file, "observations", allowance)
            if "next_observations" in file:
                parts["next_observations"] = _component(file, "next_observations", allowance)
            if "timeouts" in file:
                parts["timeouts"] = array(file, "timeouts", allowance)
            columns, notes = _columns(file, len(parts["actions"]) if parts["actions"].ndim else 0, allowance)
            flags = {name: array(file, name, allowance) for name in file if name.lower() in NAMES}
            choices = _discrete(file)
            if propensities:
                parts["propensities"] = _propensities(file, allowance)
        for name in ("rewards", "terminals", "timeouts"):
            if name in parts:
                parts[name] = parts[name].reshape(-1)  # some files keep them as (N, 1)
        if parts["actions"].ndim == 0:
            raise UserError(f"{path}: column 'actions' is one value; give one action a step.")
        if choices is not None:
            parts["actions"] = _as_declared(parts["actions"], choices, path)
        parts, others, options = understood(parts, {**columns, **flags}, str(path))
        columns = {name: values.reshape(-1) for name, values in others.items() if values.size == len(parts["actions"])}
        notes += options.pop("notes", [])
        source = Source(str(path), notes=notes, **options)
        return Dataset.from_steps(StepColumns(**parts, columns=columns), Facts.of(shared), source)


def _discrete(file: Any) -> bool | None:
    """Return what d3rlpy wrote about its actions, or None."""
    flag = file.get("discrete_action")
    return bool(flag[()]) if getattr(flag, "shape", None) == () and flag.dtype.kind in "biu" else None


def _as_declared(actions: np.ndarray, choices: bool, path: Path) -> np.ndarray:
    if choices and actions.dtype.kind == "f":
        if not (actions == np.round(actions)).all():
            raise UserError(f"{path}: 'discrete_action' says that actions are choices, but they are not whole numbers.")
        return actions.astype(np.int64)
    return actions if choices or actions.dtype.kind not in "iu" else actions.astype(np.float32)


def _component(file: Any, name: str, allowance: Allowance) -> Any:
    """Return an array, or a dictionary of arrays where the file has a group."""
    group = file.get(name)
    if hasattr(group, "keys"):
        return {key: array(group, key, allowance) for key in group}
    return array(file, name, allowance)


def _propensities(file: Any, allowance: Allowance) -> np.ndarray:
    infos = file.get("infos")
    if not hasattr(infos, "keys"):
        raise UserError(
            f"{allowance.path}: there is no 'infos/{LOG_PROPENSITY}' to take propensities from; leave them out."
        )
    logs = array(infos, LOG_PROPENSITY, allowance)
    if logs.dtype.kind not in "biuf":
        raise UserError(f"{allowance.path}: 'infos/{LOG_PROPENSITY}' holds {logs.dtype} values; give numbers.")
    return np.exp(logs.astype(float))


def _columns(file: Any, count: int, allowance: Allowance) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return what else the file says about each step, by its path in the file, and a note of what is left out."""
    used = {"observations", "actions", "rewards", "terminals", "timeouts", "next_observations"}
    single: list[str] = []
    left: list[str] = []

    def visit(name: str, thing: Any) -> None:
        shape = getattr(thing, "shape", None) or ()
        if name.split("/", maxsplit=1)[0] in used or name.lower() in NAMES or shape[:1] != (count,):
            return
        if len(shape) == 1 and thing.dtype.kind in "biuf":
            single.append(name)
        else:
            left.append(name)

    file.visititems(visit)
    columns = {name: array(file, name, allowance) for name in single}
    several = ", ".join(left[:8]) + (f" and {len(left) - 8} more" if len(left) > 8 else "")
    return columns, [f"Arrays that are not one number a step are left out: {several}."] if left else []
