"""The user's own code: found by `module:name` or `path/file.py:name`, called, and quoted where it fails."""

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..core.errors import UserError, nearest
from ..core.files import regular

__all__ = ["called", "lasting", "located", "refers"]

NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
REFERENCE = re.compile(rf"(?:(?P<file>.+\.py)|(?P<module>{NAME})):(?P<name>{NAME})")
OURS = str(Path(__file__).resolve().parents[1])
INSTALLED = ("site-packages", "dist-packages")


def refers(words: str) -> bool:
    """Say whether words have the form of a reference to Python code."""
    return REFERENCE.fullmatch(words) is not None or words.endswith(".py")


def lasting(words: str) -> str:
    """Return a reference that leads to the same file from everywhere; a module is found as Python finds it."""
    match = REFERENCE.fullmatch(words)
    if match is None or not match["file"]:
        return words
    return f"{Path(match['file']).resolve()}:{match['name']}"


def located(words: str) -> tuple[Any, Path | None]:
    """Return what a reference leads to, and the file that it is written in.

    The file's code is run, as by `python file.py`. Raises UserError where there is no such file, module or name, and
    where that code fails.
    """
    match = REFERENCE.fullmatch(words)
    if match is None:
        raise UserError(f"{words}: say which function answers: {words}:FUNCTION.")
    module = _of_file(match["file"]) if match["file"] else _of_name(match["module"], words)
    thing: Any = module
    for part in match["name"].split("."):
        if not hasattr(thing, part):
            here = [name for name in vars(module) if not name.startswith("_")] if thing is module else dir(thing)
            raise UserError(f"{words}: there is no '{part}' in it.{nearest(part, here)}")
        thing = getattr(thing, part)
    file = getattr(module, "__file__", None)
    return thing, Path(file) if file and Path(file).is_file() else None


def _of_file(name: str) -> ModuleType:
    path = regular(Path(name)).resolve()
    title = f"weft_user_{path.stem}_{abs(hash(str(path))):x}"
    spec = importlib.util.spec_from_file_location(title, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{name}: this is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[title] = module  # dataclasses and the like look their module up
    sys.path.insert(0, str(path.parent))  # as by `python file.py`: it may import its neighbours
    try:
        called(name, spec.loader.exec_module, module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def _of_name(name: str, words: str) -> ModuleType:
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as by `python -m module`
    try:
        if _absent(name):
            raise UserError(
                f"{words}: there is no module '{name}' that Python finds from here; install it, or give the file: "
                "path/file.py:function."
            )
        return called(name, lambda: importlib.import_module(name))
    finally:
        sys.path.remove(here)


def _absent(name: str) -> bool:
    try:
        return name not in sys.modules and importlib.util.find_spec(name) is None
    except (ModuleNotFoundError, ValueError):  # a parent is missing, or is no package
        return True


def called(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what the user's own code answers; raise UserError that names it, what it raised, and its line."""
    try:
        return function(*arguments)
    except (Exception, SystemExit) as problem:
        words = " ".join(str(problem).split()).rstrip(".")
        said = f"{type(problem).__name__}: {words}" if words else type(problem).__name__
        raise UserError(f"{name} raised {said}{_place(problem)}.") from problem


def _place(problem: BaseException) -> str:
    """Name the last line of the user's own files that led to an error: not of weft, Python or an installed library."""
    if isinstance(problem, SyntaxError) and problem.filename:
        return f" ({problem.filename}, line {problem.lineno})"
    frames = traceback.extract_tb(problem.__traceback__)
    own = [frame for frame in frames if not _foreign(frame.filename)]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def _foreign(file: str) -> bool:
    standard = str(Path(traceback.__file__).parent)
    return file.startswith((OURS, standard, "<frozen")) or any(part in Path(file).parts for part in INSTALLED)
