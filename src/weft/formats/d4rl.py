"""The layout of D4RL: one HDF5 file with flat arrays `observations`, `actions`, `rewards`, `terminals`, `timeouts`.

`timeouts` and `next_observations` may be absent. A timed-out step without a next observation led nowhere that was
seen: it is kept as the last observation of its episode only, and a note says so.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..dataset import Dataset
from ..errors import UserError
from ..format import Format
from ..hdf5 import array, opened

LOG_PROPENSITY = "action_log_probs"


class D4RL(Format):
    """One HDF5 file in the layout of D4RL, also inside a `.gz`."""

    suffixes: ClassVar[tuple[str, ...]] = (".hdf5", ".h5", ".hdf5.gz", ".h5.gz")

    def read(self, log: Any, /, *, propensities: bool = False, **shared: Any) -> Dataset:
        """Read the file; `propensities` asks for `infos/action_log_probs` as logarithms of propensities.

        Other columns with one number a step become columns to split by. Raises UserError for a file that is no HDF5,
        is cut short, lacks an array, or holds arrays of unequal length.
        """
        path = Path(log)
        with opened(path) as file:
            parts: dict[str, Any] = {name: array(file, name, path) for name in ("actions", "rewards", "terminals")}
            parts["observations"] = _component(file, "observations", path)
            if "next_observations" in file:
                parts["next_observations"] = _component(file, "next_observations", path)
            if "timeouts" in file:
                parts["timeouts"] = array(file, "timeouts", path)
            columns = _columns(file, len(parts["actions"]) if parts["actions"].ndim else 0)
            if propensities:
                parts["propensities"] = _propensities(file, path)
        for name in ("rewards", "terminals", "timeouts"):
            if name in parts:
                parts[name] = parts[name].reshape(-1)  # some files keep them as (N, 1)
        if parts["actions"].ndim == 0:
            raise UserError(f"{path}: column 'actions' is one value; give one action a step.")
        return Dataset.from_arrays(**parts, columns=columns, origin=str(path), **shared)


def _component(file: Any, name: str, path: Path) -> Any:
    """Return an array, or a dictionary of arrays where the file has a group."""
    found = file.get(name)
    if hasattr(found, "keys"):
        return {key: array(found, key, path) for key in found}
    return array(file, name, path)


def _propensities(file: Any, path: Path) -> np.ndarray:
    found = file.get("infos")
    if found is None:
        raise UserError(f"{path}: there is no 'infos/{LOG_PROPENSITY}' to take propensities from; leave them out.")
    return np.exp(array(found, LOG_PROPENSITY, path).astype(float))


def _columns(file: Any, count: int) -> dict[str, np.ndarray]:
    """Return what else the file says about each step, by its path in the file."""
    used = {"observations", "actions", "rewards", "terminals", "timeouts", "next_observations"}
    found: dict[str, np.ndarray] = {}

    def visit(name: str, thing: Any) -> None:
        flat = getattr(thing, "shape", None) == (count,) and thing.dtype.kind in "biuf"
        if flat and name.split("/", maxsplit=1)[0] not in used:
            found[name] = thing[()]

    file.visititems(visit)
    return found
