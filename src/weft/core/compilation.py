"""Compiled programs: kept between processes, and asked how much memory they need before they run."""

import collections
import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
from jax.core import Tracer

from .interruption import heard
from .memory import require_memory

__all__ = ["Program", "forget_programs", "keep_compiled_programs"]

PROGRAMS = 64  # compiled ones that a process holds; the oldest is given back first
REMEDY = "judge a part of the log (data.split), or do it where there is more memory"

_held: collections.OrderedDict[Any, Any] = collections.OrderedDict()


class Program:
    """A function compiled as by `eqx.filter_jit`, which says beforehand if there is too little memory for it.

    A compiled program knows what it will lay out. Asked before it runs, that is one sentence instead of a process that
    the system kills. Inside another program it is the plain function. what: what it does, for that sentence.
    """

    def __init__(self, function: Callable[..., Any], what: str) -> None:
        functools.update_wrapper(self, function)
        self.function: Any = eqx.filter_jit(function)
        self.what = what

    def __call__(self, *args: Any, **more: Any) -> Any:
        """Run the program. Raises UserError where it needs more memory than there is."""
        leaves, structure = jax.tree.flatten((args, more))
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return self.function(*args, **more)
        key = self, structure, tuple(_form(leaf) for leaf in leaves)
        if key not in _held:
            _held[key] = self.function.lower(*args, **more).compile()
            if len(_held) > PROGRAMS:
                _held.popitem(last=False)
        _held.move_to_end(key)
        compiled = _held[key]
        sizes = compiled.compiled.memory_analysis()
        if sizes is not None and jax.default_backend() == "cpu":
            require_memory(sizes.temp_size_in_bytes + sizes.output_size_in_bytes, self.what, REMEDY)
        heard()  # compiling may have lost it
        return compiled(*args, **more)


def forget_programs() -> None:
    """Give all programs back that this process holds."""
    _held.clear()


def _form(leaf: Any) -> Any:
    """Return all that a program depends on of an argument: form and type of an array, anything else as it is."""
    if eqx.is_array(leaf):
        return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)  # keys of random numbers have none
    return type(leaf), leaf


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent cache, in `$WEFT_CACHE` or `~/.cache/weft`; `WEFT_CACHE=off` turns it off.

    A cache that was configured by the user is left alone. Our programs compile in less than JAX's default threshold
    of a second, so the threshold is set to zero. A cache is a convenience: where it cannot be written (full disk) or
    read (a process was killed while writing an entry), programs are compiled again and nobody is told.
    """
    where = os.environ.get("WEFT_CACHE", "")
    if where == "off" or jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        return
    folder = Path(where) if where else Path.home() / ".cache" / "weft"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    from jax.experimental.compilation_cache import compilation_cache

    warnings.filterwarnings("ignore", message="Error (writing|reading) persistent compilation cache")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # JAX decides at its first compilation, which may be behind us
