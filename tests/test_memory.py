"""What does not fit into memory is refused before it is begun."""

import resource

import pytest

from weft import memory
from weft.errors import UserError
from weft.memory import available_memory, require_memory


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
