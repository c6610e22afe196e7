"""HDF5 files from anywhere: they stay one file, take what they may, and come to an end."""

import gzip
import io
import os
import time

import h5py
import numpy as np
import pytest

from weft.core import trial
from weft.core.errors import UserError
from weft.core.memory import Allowance
from weft.data.formats._hdf5 import array, examined, opened


def sentence(path, name="x", gigabytes=None) -> str:
    with pytest.raises(UserError) as caught, opened(path, allowance := Allowance.of(path, gigabytes)) as file:
        array(file, name, allowance)
    assert str(path) in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.h5"


@pytest.fixture
def other(tmp_path):
    """A file of this machine that a log must not show."""
    made = tmp_path / "private.h5"
    with h5py.File(made, "w") as file:
        file["x"] = np.arange(6.0)
    return made


def test_arrays_come_back_and_are_counted(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(6.0)
        file["group/again"] = file["x"]
        file["group/soft"] = h5py.SoftLink("/x")
        file["group/broken"] = h5py.SoftLink("/nothing")
        file["words"] = ["a", "bc"]
    allowance = Allowance.of(path)
    with opened(path, allowance) as file:
        assert array(file["group"], "soft", allowance).tolist() == np.arange(6.0).tolist()
        assert allowance.taken == 48
        assert array(file, "words", allowance).tolist() == [b"a", b"bc"]
        assert allowance.taken == 48 + 32
    assert examined(path, Allowance.of(path)) == 48 + 32


def test_links_into_other_files_are_refused_wherever_they_lie(path, other):
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)
        file["deep/er/secret"] = h5py.ExternalLink(str(other), "/x")
    assert sentence(path) == (
        "'/deep/er/secret' is a link into another file; weft reads one file; write its values into this file."
    )


def test_values_in_other_files_are_refused(path, tmp_path):
    (tmp_path / "private").write_bytes(bytes(48))
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (6,), "f8", external=[(str(tmp_path / "private"), 0, 48)])
    assert sentence(path).startswith("'/x' keeps its values in another file; ")


def test_virtual_datasets_are_refused(path, other):
    layout = h5py.VirtualLayout((6,), "f8")
    layout[:] = h5py.VirtualSource(str(other), "x", (6,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout)
    assert sentence(path).startswith("'/x' is made of parts of other datasets, which can lie in other files; ")


def test_circles_of_links_come_to_an_end(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)
        group = file.create_group("a")
        group["a"] = group
        group["top"] = file["/"]
    allowance = Allowance.of(path)
    with opened(path, allowance) as file:
        assert array(file, "x", allowance).size == 3


def test_very_deep_groups_are_refused(path):
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = np.zeros(3)
        group = file.id
        for _ in range(20_000):
            group = h5py.h5g.create(group, b"a")
    assert sentence(path) == "there are groups inside groups, deeper than 64."


def test_declared_sizes_are_looked_at_before_anything_is_read(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (400_000_000,), "f8", chunks=(1_000_000,), compression="gzip")
        file.create_dataset("empty", (10**12, 0), "f8", chunks=(1000, 1), maxshape=(None, None))
        file.create_dataset("chunk", (3,), "f8", chunks=(10**8,), maxshape=(None,))
        file.create_dataset("null", data=h5py.Empty("f8"))
    assert path.stat().st_size < 10_000
    assert sentence(path, "x", 1).startswith("the log takes 3.2 GB of memory or more (its file has ")
    assert sentence(path, "empty", 1).startswith("the log takes 8.0 TB of memory or more")
    assert sentence(path, "chunk", 0.5).startswith("the log takes 800.0 MB of memory or more")
    assert sentence(path, "null") == "the dataset 'null' holds nothing; write an array."


def test_many_datasets_are_counted_together(path):
    with h5py.File(path, "w") as file:
        for number in range(3):
            file.create_dataset(str(number), (50_000_000,), "f8", chunks=(1_000_000,), compression="gzip")
    allowance = Allowance.of(path, 0.5)
    with pytest.raises(UserError, match=r"takes 808\.0 MB"), opened(path, allowance) as file:  # noqa: PT012
        array(file, "0", allowance)
        array(file, "1", allowance)


def test_a_large_dataset_is_read_piece_by_piece_in_a_trial(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (60_000_000,), "i1", chunks=(7_000_000,), compression="gzip", fillvalue=3)
        file["x"][-1] = 5
    assert examined(path, Allowance.of(path)) == 60_000_000


def test_a_gzip_that_expands_too_far_is_refused(tmp_path):
    path = tmp_path / "log.h5.gz"
    path.write_bytes(gzip.compress(bytes(200 * 2**20), 9))
    assert sentence(path, gigabytes=0.1).startswith("the log takes 100.7 MB of memory or more (its file has ")


def test_words_that_lead_round_in_a_circle_come_to_an_end(path, monkeypatch):
    """libhdf5 reads the heap of a damaged file for ever."""
    monkeypatch.setattr(trial, "SECONDS", 1.0)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=[f"word {row}" for row in range(24)], dtype=h5py.string_dtype())
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL") + 16
    content[heap + 24 : heap + 536] = bytes(512)
    path.write_bytes(content)
    begun = time.monotonic()
    said = sentence(path)
    assert time.monotonic() - begun < 20
    assert said == "reading it does not come to an end, so it is damaged; fetch the file again."


def test_what_is_no_hdf5_is_said_at_once(path, monkeypatch):
    monkeypatch.setattr(trial.subprocess, "run", lambda *_, **__: pytest.fail("a child was started"))
    path.write_bytes(b"hello" * 1000)
    assert sentence(path) == "this is not an HDF5 file."
    (path.parent / "log.h5.gz").write_bytes(gzip.compress(b"hello"))
    assert sentence(path.parent / "log.h5.gz") == "this is not an HDF5 file."
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="this is a named pipe"), opened(path, Allowance(path, 0, 10**9)):
        pass


def test_a_file_behind_a_block_of_the_user_is_hdf5(path):
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["x"] = np.arange(3.0)
    allowance = Allowance.of(path)
    with opened(path, allowance) as file:
        assert array(file, "x", allowance).tolist() == [0, 1, 2]


def test_content_in_memory_is_examined_too(path):
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        file["x"] = np.arange(3.0)
    path.write_bytes(b"")
    assert examined(made, Allowance.of(path)) == 24
