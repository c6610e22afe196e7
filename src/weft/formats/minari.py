"""Minari datasets: a folder whose `data/main_data.hdf5` has one group an episode, read without Minari itself.

An episode has T actions and T + 1 observations, terminations and truncations apart. Dictionaries and tuples of
observations are groups. The spaces in `metadata.json` say how many choices there are and how far actions may go.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..dataset import Dataset
from ..errors import UserError, nearest
from ..format import Format
from ..hdf5 import array, opened

FILE = "main_data.hdf5"


class Minari(Format):
    """A Minari dataset: `minari:NAME` under MINARI_DATASETS_PATH (or ~/.minari/datasets), its folder or its file."""

    schemes: ClassVar[tuple[str, ...]] = ("minari",)
    files: ClassVar[tuple[str, ...]] = (f"data/{FILE}", "data/metadata.json", FILE)

    def read(self, log: Any, /, **shared: Any) -> Dataset:
        """Read every episode.

        Raises UserError when there is no such dataset, its folder holds no data, it was stored as Arrow or its images
        as JPEG, an episode has no steps or unequal lengths, or its actions are not one array.
        """
        folder = _named(log) if isinstance(log, str) else Path(log)
        path = folder if folder.is_file() else _data_file(folder)
        about = _metadata(path)
        with opened(path) as file:
            groups = sorted((name for name in file if name.startswith("episode_")), key=_number)
            if not groups:
                raise UserError(f"{path}: there are no episodes in it.")
            episodes = [_episode(file[name], path) for name in groups]
            observations, following, actions, rewards, terminals, timeouts = (
                _join([episode[part] for episode in episodes]) for part in range(6)
            )
        lengths = [len(episode[2]) for episode in episodes]
        boundaries = np.zeros(len(actions), bool)
        boundaries[np.cumsum(lengths) - 1] = True
        facts = _facts(about, actions, observations)
        notes = facts.pop("notes")
        return Dataset.from_arrays(
            observations,
            facts.pop("form")(actions),
            rewards,
            terminals,
            timeouts,
            next_observations=following,
            boundaries=boundaries,
            columns={"episode": np.repeat([_number(name) for name in groups], lengths)},
            origin=str(log),
            notes=notes,
            names={"terminals": "terminations", "timeouts": "truncations"},
            **{**facts, **shared},
        )


def _named(uri: str) -> Path:
    name = uri.partition(":")[2].strip("/")
    root = Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")
    folder = root / name
    if not name or not folder.is_dir():
        known = [str(file.parent.parent.relative_to(root)) for file in sorted(root.glob(f"**/data/{FILE}"))]
        raise UserError(
            f"{uri}: there is no such dataset in {root}.{nearest(name, known)} "
            f"Known: {', '.join(known) or 'none'}; set MINARI_DATASETS_PATH if yours are elsewhere."
        )
    return folder


def _data_file(folder: Path) -> Path:
    for path in (folder / "data" / FILE, folder / FILE):
        if path.is_file():
            return path
    about = folder / "data" / "metadata.json"
    if about.is_file() and _metadata(about).get("data_format") == "arrow":
        raise UserError(f"{folder}: the dataset is stored as Arrow; create it with data_format='hdf5'.")
    raise UserError(f"{folder}: the folder holds no data: there is no data/{FILE} in it.")


def _metadata(path: Path) -> dict[str, Any]:
    about = path.parent / "metadata.json"
    if not about.is_file():
        return {}
    try:
        found = json.loads(about.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise UserError(f"{about}: the file is no JSON ({problem}).") from None
    return found if isinstance(found, dict) else {}


def _number(name: str) -> int:
    tail = name.rpartition("_")[2]
    return int(tail) if tail.isdigit() else -1


def _episode(group: Any, path: Path) -> tuple[Any, ...]:
    """Return observations, the ones after, actions, rewards, terminations and truncations of one episode."""
    if hasattr(group.get("actions"), "keys"):
        raise UserError(f"{path}: the actions of {group.name} are a dictionary or tuple; weft takes one array.")
    parts = [array(group, name, path) for name in ("actions", "rewards", "terminations", "truncations")]
    count = len(parts[0])
    if count == 0:
        raise UserError(f"{path}: {group.name} is an episode of zero length; drop it.")
    for name, part in zip(("rewards", "terminations", "truncations"), parts[1:], strict=True):
        if len(part) != count:
            raise UserError(f"{path}: {group.name}/{name} has {len(part)} rows, the actions have {count}.")
    seen = _flat(group, "observations", path)
    for name, part in (seen if isinstance(seen, dict) else {"": seen}).items():
        place = "/".join(filter(None, (group.name, "observations", name)))
        if part.dtype == object:
            raise UserError(
                f"{path}: {place} holds JPEG images or text; weft takes arrays, create it with jpeg_encoding=False."
            )
        if len(part) != count + 1:
            raise UserError(f"{path}: {place} has {len(part)} rows, {count} actions need {count + 1}.")
    if isinstance(seen, dict):
        before, after = ({key: part[cut] for key, part in seen.items()} for cut in (slice(-1), slice(1, None)))
        return before, after, *parts
    return seen[:-1], seen[1:], *parts


def _flat(group: Any, name: str, path: Path) -> Any:
    """Return an array, or a dictionary of arrays with nested names joined by a slash."""
    found = group.get(name)
    if not hasattr(found, "keys"):
        return array(group, name, path)
    made = {}
    for key in found:
        inner = _flat(found, key, path)
        made.update(
            {f"{key}/{deep}": part for deep, part in inner.items()} if isinstance(inner, dict) else {key: inner}
        )
    return made


def _join(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return np.concatenate(parts)


def _space(about: dict[str, Any], name: str) -> dict[str, Any]:
    found = about.get(name)
    found = json.loads(found) if isinstance(found, str) else found
    return found if isinstance(found, dict) else {}


def _leaves(space: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the spaces inside dictionaries and tuples, by the names that their arrays have."""
    if not isinstance(space, dict):
        return
    inner = space.get("subspaces")
    if isinstance(inner, list):
        inner = {f"_index_{index}": part for index, part in enumerate(inner)}
    if not isinstance(inner, dict):
        yield name, space
        return
    for key, part in inner.items():
        yield from _leaves(part, f"{name}/{key}" if name else key)


def _facts(about: dict[str, Any], actions: np.ndarray, observations: Any) -> dict[str, Any]:
    """Return what the spaces declare, as options of `Dataset.from_arrays`, and how actions take their form.

    Choices are counted from 0. Observations keep their numbers, so that they are what an environment shows.
    """
    facts: dict[str, Any] = {"form": lambda given: given, "notes": []}
    space = _space(about, "action_space")
    kind = space.get("type")
    if kind == "Discrete":
        facts["form"], facts["action_count"] = (lambda given: given - int(space.get("start", 0))), int(space["n"])
    elif kind == "MultiDiscrete":
        counts = np.asarray(space["nvec"], int).reshape(-1)
        start = np.broadcast_to(np.asarray(space.get("start") or 0, int).reshape(-1), counts.shape)
        facts["form"], facts["action_count"] = (lambda given: given.reshape(len(given), -1) - start), tuple(counts)
    elif kind == "MultiBinary":
        counts = (2,) * int(np.prod(space["n"]))
        facts["form"], facts["action_count"] = (lambda given: given.reshape(len(given), -1).astype(np.int32)), counts
    elif kind == "Box":
        facts["form"] = lambda given: given.reshape(len(given), -1).astype(np.result_type(given, np.float32))
        if "low" in space and "high" in space:
            low, high = (np.asarray(space[end], float).reshape(-1) for end in ("low", "high"))
            if np.isfinite(low).all() and np.isfinite(high).all():
                facts["action_bounds"] = (low, high)
    facts["kinds"], facts["categories"] = {}, {}
    known = observations if isinstance(observations, dict) else {"": observations}
    for name, part in _leaves(_space(about, "observation_space")):
        if name not in known or part.get("type") not in ("Discrete", "MultiDiscrete"):
            continue
        first, count = part.get("start") or 0, part.get("n", 0)
        if part["type"] == "Discrete" and first >= 0 and first + count <= max(64, 4 * count):
            facts["kinds"][name] = "category"
            facts["categories"][name] = [str(code) for code in range(first + count)]
        else:
            place = f" '{name}'" if name else "s"
            facts["notes"].append(f"The observation{place} of a {part['type']} space are taken for numbers.")
    recorded = _space(about, "env_spec")
    if recorded.get("id"):
        limit = recorded.get("max_episode_steps")
        facts["notes"].append(
            f"Recorded from {recorded['id']}" + (f", at most {limit} steps an episode." if limit else ".")
        )
    return facts
