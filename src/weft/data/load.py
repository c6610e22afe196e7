"""`load`: from whatever holds a log to a `Dataset`, by asking the formats who claims it."""

import contextlib
import inspect
import math
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import UserError, nearest
from ..core.files import mode, regular
from ..core.registry import choose, discover, final
from .dataset import Dataset
from .format import Format
from .identity import check_identity

__all__ = ["check_loaded", "formats", "load"]

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_+.-]+):(?!\\)")  # two letters at least: `C:` is a drive


def formats() -> dict[str, type[Format]]:
    """Return `{name: Format}` for every known format, in the order of their names."""
    return discover("weft.data.formats", _concrete)


def check_loaded(data: Any, caller: str) -> None:
    """Raise UserError where what `caller` was given as a log is not a loaded one, and say how to load it."""
    if isinstance(data, Dataset):
        return
    source = repr(str(data)) if isinstance(data, str | os.PathLike) else "…"
    raise UserError(f"{caller} needs a loaded log, weft.load({source}), got {_described(data)}.")


def _described(thing: Any) -> str:
    """Return what an argument is: words as they are, anything else by its type."""
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    return repr(thing) if isinstance(thing, str) else f"an object of type {type(thing).__name__}"


def load(log: Any, /, *, format: str | None = None, **options: Any) -> Dataset:
    """Read a log: a path, a URI (`minari:hopper/medium-v0`, `sample:maze`), a data frame or a dictionary of arrays.

    `format` names the format where the source does not tell. Options are the format's own (`observations="x*"` of a
    table) and the shared ones (`weft.data.format.SHARED`); an unknown `format` is answered with the known ones.
    Raises UserError, one sentence, for a source that nobody knows, an unknown option, or anything wrong with the data.
    """
    if (isinstance(log, str) and not _is_uri(log)) or isinstance(log, os.PathLike):
        log = _path(log)
    name, reader = (format, choose("weft.data.formats", format, "format", _concrete)) if format else _claimant(log)
    names = reader.options()
    for option in options:
        if option not in names:
            raise UserError(
                f"{_called(log)}: the format {name} has no option '{option}'.{nearest(option, names)} "
                f"Known: {', '.join(names)}."
            )
    _check_facts(options, _called(log))
    if isinstance(options.get("kinds"), str):
        options["kinds"] = {"": options["kinds"]}
    data = reader().read(log, **options)
    unit = data.spec.unit
    if unit is not None and unit not in data.columns and not (unit == "source" and data.sources is not None):
        raise UserError(
            f"{data.origin}: there is no column '{unit}' to be the unit.{nearest(unit, data.columns)} "
            f"Known: {', '.join(data.columns) or 'none'}."
        )
    check_identity(data)
    return data


def _concrete(thing: Any) -> bool:
    return final(Format)(thing) and not inspect.isabstract(thing)


def _is_uri(log: str) -> bool:
    return SCHEME.match(log) is not None and mode(Path(log)) is None


def _called(log: Any) -> str:
    return str(log) if isinstance(log, (str, Path)) else f"the {type(log).__name__}"


def _path(log: Any) -> Path:
    """Return the path of a file or folder that is there; raise UserError for anything else."""
    path = Path(os.fsdecode(log))
    with contextlib.suppress(RuntimeError):  # nobody of that name has a home: then it is a file's name
        path = path.expanduser()
    bits = mode(path)
    if bits is None and not path.is_symlink():
        beside = [entry.name for entry in path.parent.iterdir()] if os.access(path.parent, os.R_OK | os.X_OK) else []
        raise UserError(f"{path}: there is no such file or folder.{nearest(path.name, beside)}")
    return path if bits is not None and stat.S_ISDIR(bits) else regular(path)


def _claimant(log: Any) -> tuple[str, type[Format]]:
    """Find the one format that claims a source, the most telling sign first."""
    if isinstance(log, str):
        return _by_scheme(log)
    if isinstance(log, Path):
        return _by_folder(log) if log.is_dir() else _by_file(log)
    for name, reader in formats().items():
        if reader.holds(log):
            return name, reader
    raise UserError(
        f"weft cannot load a {type(log).__name__}; give a path, a URI, a pandas or polars data frame, or a dictionary "
        "of arrays."
    )


def _by_scheme(uri: str) -> tuple[str, type[Format]]:
    scheme = uri.partition(":")[0]
    readers = {word: (name, reader) for name, reader in formats().items() for word in reader.schemes}
    if scheme not in readers:
        words = ", ".join(f"{word}:" for word in readers)
        raise UserError(f"{uri}: nothing is known about '{scheme}:'.{nearest(scheme, readers)} Known: {words}.")
    return readers[scheme]


def _by_file(path: Path) -> tuple[str, type[Format]]:
    every = formats()
    for name, reader in every.items():
        if path.name in {Path(file).name for file in reader.files}:
            return name, reader
    for name, reader in every.items():
        if path.name.lower().endswith(reader.suffixes):
            return name, reader
    suffixes = sorted({suffix for reader in every.values() for suffix in reader.suffixes})
    kind = f"files that end in '{path.suffix}'" if path.suffix else "files without a suffix"
    raise UserError(f"{path}: weft does not know {kind}. Known: {', '.join(suffixes)}.")


def _by_folder(path: Path) -> tuple[str, type[Format]]:
    signs = {}
    for name, reader in formats().items():
        for file in reader.files:
            if mode(path / file) is not None:
                return name, reader
            signs[file] = name
    files = ", ".join(f"{file} ({name})" for file, name in signs.items())
    raise UserError(f"{path}: the folder holds no log. weft looks for {files}.")


def _check_facts(options: Mapping[str, Any], origin: str) -> None:
    """Check the declared facts that no data can contradict; None declares nothing."""
    for name, (sentence, good) in FACTS.items():
        fact = options.get(name)
        if fact is not None and not good(fact):
            raise UserError(f"{origin}: {name} {sentence}, got {fact!r}.")


def _is_pair(fact: Any) -> bool:
    return isinstance(fact, (tuple, list)) and len(fact) == 2


NUMBER = (int, float)
FACTS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "horizon": (
        "must be a whole number of steps, at least 1",
        lambda fact: isinstance(fact, int) and not isinstance(fact, bool) and fact >= 1,
    ),
    "discount": ("must lie in [0, 1]", lambda fact: isinstance(fact, NUMBER) and 0 <= fact <= 1),
    "gigabytes": (
        "is the most that the log may take in memory, above 0",
        lambda fact: isinstance(fact, NUMBER) and not isinstance(fact, bool) and 0 < fact < math.inf,
    ),
    "propensity_low": (
        "is a chance, above 0 and at most 1",
        lambda fact: isinstance(fact, NUMBER) and 0 < fact <= 1,
    ),
    "terminal_inside": ("must be 'error' or 'keep'", lambda fact: fact in ("error", "keep")),
    "reward_range": ("must be a pair (low, high)", _is_pair),
    "action_bounds": ("must be a pair (low, high)", _is_pair),
}
"""What must hold of declared facts, in words and as a test."""
