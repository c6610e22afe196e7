"""The face of a package: the names of its `__init__.pyi`, each imported when it is first used.

A package's `__init__.pyi` is the one table of what others may take from the package; type checkers follow it, and
`face` reads it. So importing a module of a package loads no other: `weft.data.spec` knows nothing of the readers.
"""

import ast
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["face"]


def face(
    package: str, modules: Mapping[str, Any] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return a package's `__getattr__`, `__dir__` and `__all__`, to be bound to these names in its `__init__.py`.

    package: its dotted name, `__name__`. modules: names that are modules of other places, reached as attributes too.
    """
    home = sys.modules[package]
    table = Path(str(home.__file__)).with_suffix(".pyi").read_text(encoding="utf-8")
    places = {
        alias.name: node.module or ""
        for node in ast.parse(table).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    names = sorted(places)

    def attribute(name: str) -> Any:
        if name not in places:
            if name in (modules or {}):
                return importlib.import_module(f"{package}.{name}")
            raise AttributeError(f"{package} has no '{name}'")
        module = importlib.import_module(f"{package}.{places[name]}")
        value = getattr(module, name, None) or importlib.import_module(f"{module.__name__}.{name}")
        setattr(home, name, value)
        return value

    return attribute, lambda: list(names), names
