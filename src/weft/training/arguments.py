"""What comes through the doors of training from Python: one sentence that says what to give instead of a trace."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..agents.algorithm import PACKAGE, Algorithm, algorithm, algorithms
from ..core.errors import UserError
from ..core.registry import names
from ..data.dataset import Dataset
from ..data.spec import check_types
from ..envs import environment as worlds
from .options import Options

__all__ = ["check_log", "check_method", "check_options", "methods_that", "settings_of"]


def settings_of(methods: Any, caller: str = "fit") -> list[Any]:
    """Return an algorithm, or a sequence of them, as a list; raise UserError, naming what to give, for anything else.

    Settings in it may be of other types than their fields declare: `check_method` looks at one of them.
    """
    if isinstance(methods, Sequence) and not isinstance(methods, str | bytes):
        return list(methods)
    check_method(methods, caller)
    return [methods]


def check_method(method: Any, caller: str = "fit") -> None:
    """Raise UserError unless this is an instance of an algorithm whose settings are of the declared types."""
    if isinstance(method, Algorithm):
        check_types(method)
        return
    what = f"{caller} needs an algorithm such as weft.IQL(), got"
    if isinstance(method, type) and issubclass(method, Algorithm):
        raise UserError(f"{what} the class {method.__name__}; make an instance of it, {method.__name__}().")
    if isinstance(method, str):
        name = method.lower().replace("-", "_")
        hint = f"; give an instance, {algorithm(name).__name__}()" if name in names(PACKAGE) else ""
        raise UserError(f"{what} {method!r}{hint}.")
    if isinstance(method, Dataset):
        raise UserError(f"{what} a log; the algorithm comes first, then the log: {caller}(weft.IQL(), data).")
    raise UserError(f"{what} {type(method).__name__}.")


def check_log(data: Any, caller: str = "fit") -> None:
    """Raise UserError unless this is a data set."""
    if isinstance(data, Dataset):
        return
    what = f"{caller} learns from a Dataset, got"
    if isinstance(data, str) and worlds.known(data):
        raise UserError(f"{what} '{data}', which is a world to act in; give it as env='{data}'.")
    if isinstance(data, str | os.PathLike):
        path = os.fspath(data)
        raise UserError(f"{what} {path!r}; read the log first: weft.load({path!r}).")
    raise UserError(f"{what} {type(data).__name__}; make one of it first, with weft.load or Dataset.from_arrays.")


def check_options(options: Options) -> None:
    """Raise UserError for options of a type that says nothing. Numbers of steps and seeds are `plan_of`'s to check."""
    if not (options.out is None or isinstance(options.out, str | os.PathLike)):
        raise UserError(f"out is the folder of the run, a path, got {options.out!r}.")
    seconds = options.checkpoint_seconds
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | np.number) or math.isnan(seconds):
        raise UserError(f"checkpoint_seconds is the time between checkpoints in seconds, got {seconds!r}.")
    for name in ("resume", "progress", "stop_when_hopeless"):
        value = getattr(options, name)
        if not (isinstance(value, bool | np.bool_) or (name == "progress" and value is None)):
            raise UserError(f"{name} is True or False, got {value!r}.")


def methods_that(can: Callable[[type[Algorithm]], bool]) -> str:
    """Return the names of all methods that can do something, for a sentence about one that cannot."""
    return ", ".join(name.replace("_", "-") for name, kind in algorithms().items() if can(kind))
