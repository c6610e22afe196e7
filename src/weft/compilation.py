"""Keep compiled programs between processes, so that a second start costs no compilation."""

import os
import warnings
from pathlib import Path

import jax

__all__ = ["keep_compiled_programs"]


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
