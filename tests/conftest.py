"""What every test shares: compiled programs kept on disk, and the data outside the repository.

`jax_numpy_rank_promotion="raise"` is not set: networks and distributions take any leading axes, so every bias and every
shared deviation is promoted on purpose. Wrong broadcasts are caught by the twins and the known answers.
"""

import gc
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import pytest

from weft.core.compilation import forget_programs

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
MOST_MAPS = 15_000
FINISHED = itertools.count()

# how long an example takes depends on what else the machine does
hypothesis.settings.register_profile("weft", deadline=None)
hypothesis.settings.load_profile("weft")

jax.config.update("jax_compilation_cache_dir", os.environ.get("WEFT_CACHE") or str(ROOT / ".cache" / "compiled"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of data files that are not part of the repository; skip the test where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the data files in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="module", autouse=True)
def few_memory_maps() -> Iterator[None]:
    """Drop compiled programs between files when there are many: each holds a few memory maps, and a process that needs
    more of them than the kernel allows (65,530 by default) dies without a word.
    """
    yield
    drop_programs(MOST_MAPS)


@pytest.fixture(autouse=True)
def few_memory_maps_in_a_file() -> Iterator[None]:
    """The same within a file that compiles for every method; looking costs time, so only every sixteenth test does."""
    yield
    if next(FINISHED) % 16 == 0:
        drop_programs(2 * MOST_MAPS)


def drop_programs(most: int) -> None:
    """Give compiled programs back when they hold more memory maps than that."""
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > most:
        forget_programs()
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def own_ledger(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the ledger of every test in a folder of its own."""
    folder = tmp_path_factory.mktemp("ledger") / "ledger"
    monkeypatch.setenv("WEFT_LEDGER", str(folder))
    return folder
