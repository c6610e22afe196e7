import builtins
import errno
import json

import jax.numpy as jnp
import numpy as np
import pytest
from small import bc, child, continuous, same

import weft
from weft.core import storage
from weft.core.errors import UserError

TREE = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3), "count": np.int32(3), "flags": np.array([True, False])}


class Broken:
    """A file that takes half of what it is given and then fails."""

    def __init__(self, file, code):
        self.file, self.code = file, code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        raise OSError(self.code, "injected")

    def __getattr__(self, name):
        return getattr(self.file, name)


def break_writing(monkeypatch, code, part=""):
    """Make every opening for writing fail half-way, of files whose name contains a word."""

    def opening(path, mode="r", **options):
        file = builtins.open(path, mode, **options)  # noqa: SIM115
        return Broken(file, code) if mode[0] in "wa" and part in str(path) else file

    monkeypatch.setattr(storage, "open", opening, raising=False)


def test_a_tree_comes_back_bit_for_bit(tmp_path):
    storage.write_tree(tmp_path / "tree", TREE, step=7)
    found = storage.read_tree(tmp_path / "tree", TREE)
    assert same(found, TREE)
    assert found["count"].shape == ()
    assert storage.stored(tmp_path / "tree").about["step"] == 7


def test_a_transposed_array_comes_back_as_it_was(tmp_path):
    tree = {"turned": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    storage.write_tree(tmp_path / "tree", tree)
    assert np.array_equal(storage.read_tree(tmp_path / "tree", tree)["turned"], tree["turned"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:4],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"not a tensor file at all",
        lambda content: (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_a_damaged_file_is_one_sentence(damage, tmp_path):
    storage.write_tree(tmp_path / "tree", TREE)
    (tmp_path / "tree").write_bytes(damage((tmp_path / "tree").read_bytes()))
    with pytest.raises(storage.DamagedFile, match=r"tree is (damaged|not a file that weft wrote)") as caught:
        storage.read_tree(tmp_path / "tree", TREE)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_another_structure_are_said(tmp_path):
    with pytest.raises(UserError, match="There is no file"):
        storage.read_tree(tmp_path / "none", TREE)
    storage.write_tree(tmp_path / "tree", TREE)
    with pytest.raises(UserError, match="does not fit"):
        storage.read_tree(tmp_path / "tree", {"weights": jnp.zeros(2)})


def test_broken_json_is_said(tmp_path):
    (tmp_path / "run.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"run\.json cannot be read as JSON"):
        storage.read_json(tmp_path / "run.json")
    with pytest.raises(UserError, match="There is no file"):
        storage.read_json(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EACCES, "permission is denied"),
        (errno.EIO, "injected"),
    ],
)
def test_a_failed_write_is_one_sentence_and_leaves_what_was_there(code, words, tmp_path, monkeypatch):
    storage.write_bytes(tmp_path / "file", b"before")
    with monkeypatch.context() as patch:
        break_writing(patch, code)
        with pytest.raises(UserError, match=f"Cannot write .*file: {words}.*intact") as caught:
            storage.write_bytes(tmp_path / "file", b"after")
        assert "\n" not in str(caught.value)
        with pytest.raises(UserError, match=words):
            storage.append_lines(tmp_path / "lines", ["one", "two"])
    assert (tmp_path / "file").read_bytes() == b"before"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("part", ["step-000000020", "metrics.jsonl"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fills_up_in_the_middle_of_a_run_costs_nothing(part, code, tmp_path, monkeypatch):
    data = continuous()
    whole = weft.fit(bc(), data, 30, 1, tmp_path / "whole", log_every=5)
    call = {"algorithm": bc(), "data": data, "steps": 30, "out": tmp_path / "run", "log_every": 5, "keep": [10, 20]}
    weft.fit(**{**call, "steps": 10, "keep": []})
    with monkeypatch.context() as patch:
        break_writing(patch, code, part)
        with pytest.raises(UserError, match="Cannot write"):
            weft.fit(**call, resume=True)
    loaded = weft.load_run(tmp_path / "run")
    assert loaded.steps == [10]
    loaded.policy()
    run = weft.fit(**call, resume=True)
    assert same(run.state(), whole.state())
    assert [row for row in run.metrics if row["step"] % 10] == [row for row in whole.metrics if row["step"] % 10]


def test_a_file_size_limit_is_one_sentence_and_the_run_goes_on_later(tmp_path):
    """The nearest thing to a full disk that a child process can be given."""
    code = """
import resource, sys, weft, small
from weft.errors import UserError
weft.fit(small.iql(), small.continuous(), 10, 2, sys.argv[1], log_every=5)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    weft.fit(small.iql(), small.continuous(), 20, 2, sys.argv[1], log_every=5, resume=True)
except UserError as problem:
    print(problem)
"""
    process = child(code, tmp_path / "run")
    said, problems = process.communicate(timeout=300)
    assert process.returncode == 0, problems
    assert "would exceed the allowed size" in said
    assert said.count("\n") == 1
    assert weft.load_run(tmp_path / "run").steps == [10]
    assert not list((tmp_path / "run").rglob(".*.part"))


def test_a_lock_is_held_once_and_ends_with_its_block(tmp_path):
    with (
        storage.locked(tmp_path / "lock", "busy"),
        pytest.raises(UserError, match="busy"),
        storage.locked(tmp_path / "lock", "busy"),
    ):
        pass
    with storage.locked(tmp_path / "lock", "busy"):
        pass


def test_a_file_holds_no_pickle(tmp_path):
    storage.write_tree(tmp_path / "tree", TREE, note="plain")
    content = (tmp_path / "tree").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["weft"])["note"] == "plain"
