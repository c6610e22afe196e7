"""Minari datasets: a folder whose `data/main_data.hdf5` has one group an episode, read without Minari itself.

An episode has T actions and T + 1 observations, terminations and truncations apart. Dictionaries and tuples of
observations are groups. The spaces in `metadata.json` say how many choices there are and how far actions may go.
"""

import dataclasses
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...core.errors import UserError, nearest
from ...core.files import mode, regular
from ...core.memory import Allowance
from ..columns import components, like
from ..dataset import Dataset
from ..format import Format
from ..steps import Facts, Source, StepColumns
from ._hdf5 import address, array, opened
from ._spaces import Spaces

FILE, ABOUT = "main_data.hdf5", "metadata.json"
WORDS = {
    "before": "observations",
    "after": "observations",
    "actions": "actions",
    "rewards": "rewards",
    "terminals": "terminations",
    "timeouts": "truncations",
}
"""What a file calls the parts of an episode."""


@dataclasses.dataclass(frozen=True)
class _Episode:
    """One episode of a file: observations before and after each of its steps, and what was done and earned."""

    before: Any
    after: Any
    actions: np.ndarray
    rewards: np.ndarray
    terminals: np.ndarray
    timeouts: np.ndarray


class Minari(Format):
    """A Minari dataset: `minari:NAME` under MINARI_DATASETS_PATH (or ~/.minari/datasets), its folder or its file."""

    schemes: ClassVar[tuple[str, ...]] = ("minari",)
    files: ClassVar[tuple[str, ...]] = (f"data/{FILE}", f"data/{ABOUT}", FILE)

    def read(self, log: Any, /, *, gigabytes: float | None = None, **shared: Any) -> Dataset:
        """Read every episode.

        Raises UserError when there is no such dataset, its folder holds no data, it was stored as Arrow or its images
        as JPEG, an episode has no steps or unequal lengths, or its actions are not one array.
        """
        folder = _named(log) if isinstance(log, str) else Path(log)
        path = _data_file(folder) if folder.is_dir() else regular(folder)
        spaces = Spaces.of(path.parent / ABOUT)
        allowance = Allowance.of(path, gigabytes)
        with opened(path, allowance) as file:
            groups = sorted((name for name in file if name.startswith("episode_")), key=_number)
            if not groups:
                raise UserError(f"{path}: there are no episodes in it.")
            episodes = [_episode(file[name], name, allowance) for name in groups]
        before, after, actions, rewards, terminals, timeouts = (
            _join([getattr(episode, part) for episode in episodes], groups, words, path)
            for part, words in WORDS.items()
        )
        lengths = [len(episode.actions) for episode in episodes]
        boundaries = np.zeros(len(actions), bool)
        boundaries[np.cumsum(lengths) - 1] = True
        actions, declared = spaces.actions(actions)
        facts = declared | spaces.observations(components(before))
        notes = facts.pop("notes")
        steps = StepColumns(
            before,
            actions,
            rewards,
            terminals,
            timeouts,
            next_observations=after,
            boundaries=boundaries,
            columns={"episode": np.repeat([_number(name) for name in groups], lengths)},
        )
        names = {"terminals": WORDS["terminals"], "timeouts": WORDS["timeouts"]}
        return Dataset.from_steps(steps, Facts.of({**facts, **shared}), Source(str(log), names, notes=notes))


def _named(uri: str) -> Path:
    name = uri.partition(":")[2].strip("/")
    root = Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")
    folder = root / name
    bits = mode(folder)
    if not name or bits is None or not stat.S_ISDIR(bits):
        names = [str(file.parent.parent.relative_to(root)) for file in sorted(root.glob(f"**/data/{FILE}"))]
        raise UserError(
            f"{uri}: there is no such dataset in {root}.{nearest(name, names)} "
            f"Known: {', '.join(names) or 'none'}; set MINARI_DATASETS_PATH if yours are elsewhere."
        )
    return folder


def _data_file(folder: Path) -> Path:
    for path in (folder / "data" / FILE, folder / FILE):
        if mode(path) is not None or path.is_symlink():
            return regular(path)
    if Spaces.of(folder / "data" / ABOUT).about.get("data_format") == "arrow":
        raise UserError(f"{folder}: the dataset is stored as Arrow; create it with data_format='hdf5'.")
    raise UserError(f"{folder}: the folder holds no data: there is no data/{FILE} in it.")


def _number(name: str) -> int:
    tail = name.rpartition("_")[2]
    return int(tail) if tail.isascii() and tail.isdigit() and len(tail) <= 18 else -1


def _episode(group: Any, name: str, allowance: Allowance) -> _Episode:
    """Read one episode; raise UserError where its parts are not arrays of as many steps as one another."""
    path = allowance.path
    if not hasattr(group, "keys"):
        raise UserError(f"{path}: '{name}' is no group of arrays; an episode is one.")
    if hasattr(group.get("actions"), "keys"):
        raise UserError(f"{path}: the actions of {group.name} are a dictionary or tuple; weft takes one array.")
    flat = {part: array(group, WORDS[part], allowance) for part in ("actions", "rewards", "terminals", "timeouts")}
    for part, column in flat.items():
        if column.ndim == 0:
            raise UserError(f"{path}: {group.name}/{WORDS[part]} is one value; give one a step.")
    count = len(flat["actions"])
    if count == 0:
        raise UserError(f"{path}: {group.name} is an episode of zero length; drop it.")
    for part, column in flat.items():
        if len(column) != count:
            raise UserError(f"{path}: {group.name}/{WORDS[part]} has {len(column)} rows, the actions have {count}.")
    observations = _flat(group, "observations", allowance, set())
    _check_observations(components(observations), group.name, count, path)
    before, after = (
        like(observations, {key: part[rows] for key, part in components(observations).items()})
        for rows in (slice(-1), slice(1, None))
    )
    return _Episode(before, after, **flat)


def _check_observations(parts: Mapping[str, Any], episode: str, count: int, path: Path) -> None:
    """Raise UserError unless every component of an episode is an array with one row more than there are steps."""
    for key, part in parts.items():
        place = "/".join(filter(None, (episode, "observations", key)))
        if part.dtype == object:
            raise UserError(
                f"{path}: {place} holds JPEG images or text; weft takes arrays, create it with jpeg_encoding=False."
            )
        rows = len(part) if part.ndim else 1
        if rows != count + 1:
            raise UserError(f"{path}: {place} has {rows} rows, {count} actions need {count + 1}.")


def _flat(group: Any, name: str, allowance: Allowance, above: set[int]) -> Any:
    """Return an array, or a dictionary of arrays with nested names joined by a slash.

    Raises UserError for a group that is met twice: links could make a circle or many names of one group.
    """
    inner = group.get(name)
    if not hasattr(inner, "keys"):
        return array(group, name, allowance)
    if address(inner) in above:
        raise UserError(f"{allowance.path}: {group.name}/{name} is a second name of the same group; leave it out.")
    above.add(address(inner))
    arrays = {}
    for key in inner:
        part = _flat(inner, key, allowance, above)
        arrays |= {f"{key}/{deep}": one for deep, one in part.items()} if isinstance(part, dict) else {key: part}
    return arrays


def _join(parts: list[Any], groups: list[str], what: str, path: Path) -> Any:
    """Return one array, or dictionary of arrays, of those of the episodes; raise UserError where they are unlike."""
    first = parts[0]
    for part, group in zip(parts, groups, strict=True):
        if isinstance(part, dict) != isinstance(first, dict) or (isinstance(part, dict) and set(part) != set(first)):
            raise UserError(f"{path}: the {what} of {group} have other components than those of {groups[0]}.")
    if isinstance(first, dict):
        return {key: _join([part[key] for part in parts], groups, f"{what} '{key}'", path) for key in first}
    for part, group in zip(parts, groups, strict=True):
        numbers = part.dtype.kind in "biufc"
        if part.shape[1:] != first.shape[1:] or numbers != (first.dtype.kind in "biufc") or part.dtype.kind == "V":
            raise UserError(
                f"{path}: the {what} of {group} are {part.dtype} of shape {part.shape[1:]} a step, those of "
                f"{groups[0]} {first.dtype} of shape {first.shape[1:]}."
            )
    return np.concatenate(parts)
