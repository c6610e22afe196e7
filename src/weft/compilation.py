"""Keep compiled programs between processes, so that a second start costs no compilation."""

import os
from pathlib import Path

import jax

__all__ = ["keep_compiled_programs"]


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent cache, in `$WEFT_CACHE` or `~/.cache/weft`; `WEFT_CACHE=off` turns it off.

    A cache that was configured by the user is left alone. Our programs compile in less than JAX's default threshold
    of a second, so the threshold is set to zero.
    """
    where = os.environ.get("WEFT_CACHE", "")
    if where == "off" or jax.config.jax_compilation_cache_dir:
        return
    folder = Path(where) if where else Path.home() / ".cache" / "weft"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a cache is a convenience: without one everything still works
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
