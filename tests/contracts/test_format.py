"""What every format promises: it names its options, and damaged or foreign input is a UserError and nothing else."""

import inspect

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft import UserError
from weft.data.format import SHARED
from weft.data.load import formats, load

FORMATS = formats()
SUFFIXES = sorted({suffix for found in FORMATS.values() for suffix in found.suffixes})
COLUMNS = {"observations": "x*", "action": "a", "reward": "r"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("garbage")


@pytest.mark.parametrize("name", FORMATS)
def test_options_are_keywords_with_defaults(name):
    found = FORMATS[name]
    parameters = list(inspect.signature(found.read).parameters.values())
    assert parameters[1].kind is inspect.Parameter.POSITIONAL_ONLY
    assert parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
    for part in parameters[2:-1]:
        assert part.kind is inspect.Parameter.KEYWORD_ONLY
        assert part.default is not inspect.Parameter.empty
    assert set(SHARED) <= set(found.options())
    assert found.__doc__
    assert found.read.__doc__


def test_nobody_claims_the_same_sign():
    for signs in ("schemes", "suffixes", "files"):
        claimed = [sign for found in FORMATS.values() for sign in getattr(found, signs)]
        assert len(claimed) == len(set(claimed))
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in SUFFIXES)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file_is_one_sentence(suffix, tmp_path):
    path = tmp_path / f"log{suffix}"
    path.touch()
    with pytest.raises(UserError) as caught:
        load(path, **(COLUMNS if FORMATS["table"].suffixes.count(suffix) else {}))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=400),
    magic=st.sampled_from([b"", b"PK\x03\x04", b"PAR1", b"\x89HDF\r\n\x1a\n", b"\x1f\x8b"]),
)
def test_garbage_is_a_user_error(suffix, content, magic, folder):
    path = folder / f"log{suffix}"
    path.write_bytes(magic + content + (magic if magic == b"PAR1" else b""))
    with pytest.raises(UserError):
        load(path, **(COLUMNS if FORMATS["table"].suffixes.count(suffix) else {}))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_the_most_memory_of_a_log(name):
    assert "gigabytes" in inspect.signature(FORMATS[name].read).parameters


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damage_never_surprises(place, byte, cut, folder):
    """`test_mutations` damages files of every format."""
    good, bad = folder / "good.npz", folder / "bad.npz"
    ones = np.ones(8)
    np.savez_compressed(good, observations=ones, actions=np.arange(8) % 2, rewards=ones, terminals=ones.astype(bool))
    content = bytearray(good.read_bytes())
    where = min(int(place * len(content)), len(content) - 1)
    content[where] = byte
    bad.write_bytes(content[:where] if cut else content)
    try:
        load(bad)
    except UserError as problem:
        assert str(bad) in str(problem)  # noqa: PT017
        assert "\n" not in str(problem)  # noqa: PT017
