import os

import jax
import jax.numpy as jnp
import pytest
from small import child

from weft.core import memory
from weft.core.compilation import Program
from weft.core.errors import UserError

CODE = """
import jax, jax.numpy as jnp
from weft.core.compilation import keep_compiled_programs
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


def test_a_program_is_compiled_once_and_is_a_plain_function_inside_another(monkeypatch):
    traces = []

    def double(values, word):
        traces.append(word)
        return 2 * values

    program = Program(double, "Doubling")
    assert program(jnp.ones(3), "a").tolist() == program(jnp.zeros(3) + 1, "a").tolist() == [2.0] * 3
    assert traces == ["a"]
    program(jnp.ones(4), "a")
    program(jnp.ones(3), "b")
    assert traces == ["a", "a", "b"]
    assert jax.jit(lambda values: program(values, "c"))(jnp.ones(3)).tolist() == [2.0] * 3


def test_a_program_that_needs_too_much_is_refused_before_it_runs(monkeypatch):
    def apart(values):
        return jnp.sort(jnp.abs(values[:, None] - values[None]), axis=1)[:, 1]

    program = Program(apart, "Comparing all")
    monkeypatch.setattr(memory, "available_memory", lambda: 10_000_000)
    program(jnp.arange(100.0))
    with pytest.raises(UserError, match=r"^Comparing all needs .* GB of memory, and 0\.0 GB are free; judge a part"):
        program(jnp.arange(5000.0))
