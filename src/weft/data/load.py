"""`load`: from whatever holds a log to a `Dataset`, by asking the formats who claims it."""

import contextlib
import inspect
import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import UserError, nearest
from ..core.files import mode, regular
from ..core.registry import choose, discover, final
from .dataset import Dataset
from .format import Format

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
    name, found = (format, choose("weft.data.formats", format, "format", _concrete)) if format else _claimant(log)
    known = found.options()
    for option in options:
        if option not in known:
            raise UserError(
                f"{_shown(log)}: the format {name} has no option '{option}'.{nearest(option, known)} "
                f"Known: {', '.join(known)}."
            )
    _check_facts(options, _shown(log))
    if isinstance(options.get("kinds"), str):
        options["kinds"] = {"": options["kinds"]}
    data = found().read(log, **options)
    unit = data.spec.unit
    if unit is not None and unit not in data.columns and not (unit == "source" and data.sources is not None):
        raise UserError(
            f"{data.origin}: there is no column '{unit}' to be the unit.{nearest(unit, data.columns)} "
            f"Known: {', '.join(data.columns) or 'none'}."
        )
    return data


def _concrete(thing: Any) -> bool:
    return final(Format)(thing) and not inspect.isabstract(thing)


def _is_uri(log: str) -> bool:
    return SCHEME.match(log) is not None and mode(Path(log)) is None


def _shown(log: Any) -> str:
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
    for name, found in formats().items():
        if found.holds(log):
            return name, found
    raise UserError(
        f"weft cannot load a {type(log).__name__}; give a path, a URI, a pandas or polars data frame, or a dictionary "
        "of arrays."
    )


def _by_scheme(uri: str) -> tuple[str, type[Format]]:
    scheme = uri.partition(":")[0]
    known = {word: (name, found) for name, found in formats().items() for word in found.schemes}
    if scheme not in known:
        shown = ", ".join(f"{word}:" for word in known)
        raise UserError(f"{uri}: nothing is known about '{scheme}:'.{nearest(scheme, known)} Known: {shown}.")
    return known[scheme]


def _by_file(path: Path) -> tuple[str, type[Format]]:
    every = formats()
    for name, found in every.items():
        if path.name in {Path(file).name for file in found.files}:
            return name, found
    for name, found in every.items():
        if path.name.lower().endswith(found.suffixes):
            return name, found
    suffixes = sorted({suffix for found in every.values() for suffix in found.suffixes})
    kind = f"files that end in '{path.suffix}'" if path.suffix else "files without a suffix"
    raise UserError(f"{path}: weft does not know {kind}. Known: {', '.join(suffixes)}.")


def _by_folder(path: Path) -> tuple[str, type[Format]]:
    signs = {}
    for name, found in formats().items():
        for file in found.files:
            if mode(path / file) is not None:
                return name, found
            signs[file] = name
    shown = ", ".join(f"{file} ({name})" for file, name in signs.items())
    raise UserError(f"{path}: the folder holds no log. weft looks for {shown}.")


def _check_facts(options: Mapping[str, Any], origin: str) -> None:
    """Check the declared numbers that no data can contradict."""
    horizon, discount = options.get("horizon"), options.get("discount")
    if horizon is not None and (isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1):
        raise UserError(f"{origin}: horizon must be a whole number of steps, at least 1, got {horizon!r}.")
    if discount is not None and not (isinstance(discount, (int, float)) and 0 <= discount <= 1):
        raise UserError(f"{origin}: discount must lie in [0, 1], got {discount!r}.")
    most = options.get("gigabytes")
    number = isinstance(most, (int, float)) and not isinstance(most, bool)
    if most is not None and not (number and 0 < most < math.inf):
        raise UserError(f"{origin}: gigabytes is the most that the log may take in memory, above 0, got {most!r}.")
    least = options.get("propensity_low")
    if least is not None and not (isinstance(least, (int, float)) and 0 < least <= 1):
        raise UserError(f"{origin}: propensity_low is a chance, above 0 and at most 1, got {least!r}.")
    inside = options.get("terminal_inside", "error")
    if inside not in ("error", "keep"):
        raise UserError(f"{origin}: terminal_inside must be 'error' or 'keep', got {inside!r}.")
    for pair in ("reward_range", "action_bounds"):
        given = options.get(pair)
        if given is not None and not (isinstance(given, (tuple, list)) and len(given) == 2):
            raise UserError(f"{origin}: {pair} must be a pair (low, high), got {given!r}.")
