"""What every test shares: compiled programs kept on disk, and the data outside the repository.

`jax_numpy_rank_promotion="raise"` is not set: networks and distributions take any leading axes, so every bias and every
shared deviation is promoted on purpose. Wrong broadcasts are caught by the twins and the known answers.
"""

import os
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

jax.config.update("jax_compilation_cache_dir", os.environ.get("WEFT_CACHE") or str(ROOT / ".cache" / "compiled"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of data files that are not part of the repository; skip the test where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the data files in {SHARED_DATA}")
    return SHARED_DATA
