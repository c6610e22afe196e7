"""weft: from logged decisions to a policy, and to an answer whether to deploy it.

The public names are those of `__init__.pyi`. Each is imported when it is first used, so that `import weft` and the
command line start at once.
"""

import ast
import importlib
from pathlib import Path
from typing import Any

from ._aliases import ALIASES, install

__version__ = "0.1.0"

install(__name__)

_PLACES = {
    alias.name: node.module
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}

__all__ = ["__version__", *sorted(_PLACES)]  # noqa: PLE0604 # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        if name in ALIASES:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"weft has no '{name}'")
    home = importlib.import_module(f"{__name__}.{_PLACES[name]}")
    value = getattr(home, name, None) or importlib.import_module(f"{home.__name__}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
