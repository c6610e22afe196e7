"""What every test shares: how programs are compiled and kept, who runs what, and the data outside the repository.

`make test` compiles without most optimisations and without XLA's fusion emitters, which takes a third of the time;
compiling is most of what these tests cost. A file that trains for long is marked `optimised`. `make test-all` sets
`WEFT_TESTS=all`: slow tests too, every program optimised, and property tests with more examples.

`jax_numpy_rank_promotion="raise"` is not set: networks and distributions take any leading axes, so every bias and every
shared deviation is promoted on purpose. Wrong broadcasts are caught by the twins and the known answers.
"""

import collections
import gc
import importlib.metadata
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import checked  # noqa: F401 - before weft, whose annotations it widens
import hypothesis
import jax
import pytest

from weft.core.compilation import forget_programs

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
MOST_MAPS = 15_000
FINISHED = itertools.count()
PLAIN = "--xla_cpu_use_fusion_emitters=false"
ALL = os.environ.get("WEFT_TESTS") == "all"
BUDGET = 20.0
"""Seconds that a file of the fast suite may take with its programs compiled; the summary marks those above it."""

# how long an example takes depends on what else the machine does
hypothesis.settings.register_profile("fast", deadline=None, max_examples=40)
hypothesis.settings.register_profile("full", deadline=None)
hypothesis.settings.load_profile("full" if ALL else "fast")

jax.config.update("jax_compilation_cache_dir", os.environ.get("WEFT_CACHE") or str(ROOT / ".cache" / "compiled"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

if not ALL:
    flags = os.environ.get("XLA_FLAGS", "")
    if importlib.metadata.version("jaxlib").startswith("0.10.") and PLAIN not in flags:  # XLA aborts at an unknown flag
        os.environ["XLA_FLAGS"] = f"{flags} {PLAIN}".strip()
    jax.config.update("jax_disable_most_optimizations", True)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # for the commands that tests run


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests are slow, and in which order they run.

    `pytest.mark.few(n)`: of a test's cases all but the first n are slow. Folders that compile most come first: a file
    goes to one worker whole, and no long one should begin when the others have ended.
    """
    cases: collections.Counter[str] = collections.Counter()
    for item in items:
        if few := item.get_closest_marker("few"):
            name = f"{item.path}::{getattr(item, 'originalname', item.name)}"
            cases[name] += 1
            if cases[name] > few.args[0]:
                item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.parent.name not in ("contracts", "deployment", "algorithms", "experiments"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what every file took, the slowest first."""
    seconds: collections.Counter[str] = collections.Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.location[0]] += report.duration
    if len(seconds) < 2:
        return
    terminalreporter.section(f"seconds by file, {sum(seconds.values()):.0f} in all")
    for place, taken in seconds.most_common(20):
        terminalreporter.write_line(f"{taken:7.1f}  {place}{'  above its budget' if taken > BUDGET else ''}")


@pytest.fixture(scope="module", autouse=True)
def optimisations(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compile the programs of a file with all optimisations where it is marked `optimised`."""
    if request.node.get_closest_marker("optimised"):
        jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", not ALL)


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
