"""Variants found by file name: one per file in a folder such as `algorithms/`, nothing to register.

This file imports nothing heavy, so that the command line can name what there is at once.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from .errors import UserError, nearest

__all__ = ["choose", "discover", "final", "names"]


def names(package: str) -> list[str]:
    """Return the names of a package's variants without importing them: its files, and those that lie `ELSEWHERE`."""
    folder = importlib.import_module(package)
    files = (info.name for info in pkgutil.iter_modules(folder.__path__) if not info.name.startswith("_"))
    return sorted({*files, *getattr(folder, "ELSEWHERE", {})})


def discover(package: str, wanted: Callable[[Any], bool]) -> dict[str, Any]:
    """Return `{file name: the one object of that file for which wanted(object)}` for every file of a package.

    A file whose name starts with an underscore is skipped. Objects imported from elsewhere do not count.
    """
    return {name: _only(package, name, wanted) for name in names(package)}


def choose(package: str, name: str, kind: str, wanted: Callable[[Any], bool]) -> Any:
    """Return the variant of a package by its file name; raise UserError that names the nearest one."""
    variants = names(package)
    if name not in variants:
        raise UserError(f"There is no {kind} '{name}'.{nearest(name, variants)} Known: {', '.join(variants)}.")
    return _only(package, name, wanted)


def final(base: type) -> Callable[[Any], bool]:
    """Return a test for the concrete classes below an abstract base."""
    return lambda thing: isinstance(thing, type) and issubclass(thing, base) and thing is not base


def _only(package: str, name: str, wanted: Callable[[Any], bool]) -> Any:
    elsewhere = getattr(importlib.import_module(package), "ELSEWHERE", {})
    module = importlib.import_module(elsewhere.get(name, f"{package}.{name}"))
    own = [thing for thing in vars(module).values() if wanted(thing) and thing.__module__ == module.__name__]
    if len(own) != 1:
        raise ImportError(f"{package}.{name} must define exactly one variant, it defines {len(own)}")
    return own[0]
