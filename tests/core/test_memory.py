"""What does not fit into memory is refused before it is begun."""

import resource

import pytest

from weft.core import memory
from weft.core.errors import UserError
from weft.core.memory import Allowance, available_memory, declared_bytes, require_memory


def test_memory_is_counted_and_a_limit_of_the_process_counts_too(monkeypatch):
    free = available_memory()
    if free is None:
        pytest.skip("this system does not say how much memory is free")
    assert free > 1e8
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, 1))
    assert available_memory() == 0


def test_a_limit_of_a_container_counts(tmp_path, monkeypatch):
    for name, text in {"max": "3000", "current": "2500", "stat": "anon 10\ninactive_file 400\n"}.items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in ("max", "current", "stat")]
    monkeypatch.setattr(memory, "LIMITS", ((*files, "inactive_file"),))
    assert available_memory() == 900
    (tmp_path / "max").write_text("max")
    assert available_memory() != 900


def test_too_much_is_one_sentence_with_both_figures(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2_000_000_000)
    require_memory(1_999_999_999, "This", "do less")
    with pytest.raises(UserError, match=r"^This needs 3\.0 GB of memory, and 2\.0 GB are free; do less\.$"):
        require_memory(3_000_000_000, "This", "do less")
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    require_memory(10**15, "This", "do less")


def allowance(tmp_path, size=1000, free=10**9, gigabytes=None):
    return Allowance(tmp_path / "log.npz", size, free, gigabytes)


def test_a_log_may_always_take_a_part_of_the_free_memory(tmp_path):
    log = allowance(tmp_path)
    log.take(10**9 // 32)
    with pytest.raises(UserError) as caught:
        log.take(1)
    assert str(caught.value) == (
        f"{tmp_path}/log.npz: the log takes 31.3 MB of memory or more, its file has 1.0 kB; more than 20 times that "
        "and a 32nd of the free memory (1.0 GB) is refused; if you trust the file, say how much it may take: "
        "gigabytes=NUMBER (--gigabytes NUMBER)."
    )
    assert log.taken == 10**9 // 32


def test_a_large_file_may_take_twenty_times_its_size_up_to_half_of_what_is_free(tmp_path):
    log = allowance(tmp_path, size=20 * 10**6)
    log.take(4 * 10**8)
    with pytest.raises(UserError, match="more than 20 times that"):
        log.require(1)
    assert allowance(tmp_path, size=10**9).most == 5 * 10**8
    with pytest.raises(UserError, match=r"takes 500\.0 MB of memory .* has 1\.0 GB; more than half of the free memory"):
        allowance(tmp_path, size=10**9).take(5 * 10**8 + 1)


def test_what_the_user_allows_is_the_only_limit(tmp_path):
    assert allowance(tmp_path, gigabytes=64).most == 64 * 10**9
    with pytest.raises(UserError, match=r"takes 2\.0 MB of memory .* and gigabytes=0\.001 allows 1\.0 MB; raise it"):
        allowance(tmp_path, gigabytes=0.001).take(2 * 10**6)


def test_the_allowance_of_a_file(tmp_path, monkeypatch):
    (tmp_path / "log").write_bytes(bytes(50))
    monkeypatch.setattr(memory, "available_memory", lambda: 640)
    assert Allowance.of(tmp_path / "log").most == 320
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    assert Allowance.of(tmp_path / "log").most == memory.UNKNOWN // 32


def test_declared_bytes_count_empty_axes():
    assert declared_bytes((3, 4), 8) == 96
    assert declared_bytes((), 4) == 4
    assert declared_bytes((10**12, 0), 8) == 8 * 10**12
