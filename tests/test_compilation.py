import os

from small import child

CODE = """
import jax, jax.numpy as jnp
from weft.compilation import keep_compiled_programs
print(jax.jit(lambda x: x + 1)(jnp.ones(3))[0])  # JAX decides here whether it has a cache
keep_compiled_programs()
print(jax.jit(lambda x: x * 3)(jnp.ones(4))[0])
"""


def run(monkeypatch, where):
    monkeypatch.setenv("WEFT_CACHE", where)
    process = child(CODE)
    said, problems = process.communicate(timeout=120)
    assert (process.returncode, problems) == (0, "")
    assert said.split() == ["2.0", "3.0"]


def test_programs_are_kept_even_when_something_was_compiled_before(tmp_path, monkeypatch):
    run(monkeypatch, str(tmp_path / "cache"))
    kept = [name for name in os.listdir(tmp_path / "cache") if name.endswith("-cache")]
    assert kept
    # an entry torn by a killed process is passed over without a word
    for name in kept:
        (tmp_path / "cache" / name).write_bytes((tmp_path / "cache" / name).read_bytes()[:50])
    run(monkeypatch, str(tmp_path / "cache"))


def test_a_cache_that_cannot_be_had_is_no_reason_to_fail(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    run(monkeypatch, str(tmp_path / "file" / "cache"))
    run(monkeypatch, "off")
