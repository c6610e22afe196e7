"""A first reading in a child process: what can happen to it happens to nobody else."""

import faulthandler
import io
import os
import resource
import sys
from pathlib import Path

import pytest

from weft.core import trial as trials
from weft.core.errors import UserError
from weft.core.memory import Allowance
from weft.core.trial import trial


def reads(source, allowance):
    print("this is no answer")
    content = source.read() if isinstance(source, io.BytesIO) else source.read_bytes()
    return len(content) + allowance.taken


def refuses(source, allowance):
    raise UserError(f"{allowance.path}: no\nlog")


def raises(source, allowance):
    raise AttributeError("no such thing")


def aborts(source, allowance):
    faulthandler.disable()
    print("thread '<unnamed>' panicked", file=sys.stderr)
    os.abort()


def swells(source, allowance):
    return len(bytearray(4 * 2**30))


def loops(source, allowance):
    resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
    while True:
        pass


def ends(source, allowance):
    os._exit(0)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)  # the child imports the readers above by name
    made = tmp_path / "log.bin"
    made.write_bytes(b"12345")
    return made


def asked(path, reader, content=None):
    return trial(path, f"test_trial:{reader}", Allowance.of(path, 0.1), content)


def test_the_answer_of_a_child(path):
    assert asked(path, "reads") == 5
    path.write_bytes(b"123")
    assert asked(path, "reads", io.BytesIO(bytes(10**6))) == 10**6


def test_what_passed_is_remembered_until_the_file_changes(path, monkeypatch):
    assert asked(path, "reads") == 5
    with monkeypatch.context() as during:
        during.setattr(trials.subprocess, "run", lambda *_, **__: pytest.fail("a second child"))
        assert asked(path, "reads") == 5
    path.write_bytes(b"1234567")
    assert asked(path, "reads") == 7


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ("refuses", "no log"),
        ("raises", "it cannot be read (AttributeError: no such thing); fetch the file again."),
        ("aborts", "reading it crashes the library that reads such files, so it is damaged; fetch the file again."),
        ("swells", "reading it takes more memory than the log may take (gigabytes=NUMBER allows more), or it is "
                   "damaged; fetch the file again."),
        ("loops", "reading it does not come to an end, so it is damaged; fetch the file again."),
        ("ends", "reading it crashes the library that reads such files, so it is damaged; fetch the file again."),
    ],
)  # fmt: skip
def test_a_child_that_fails_is_one_sentence(reader, said, path, capfd):
    with pytest.raises(UserError) as caught:
        asked(path, reader)
    assert str(caught.value) == f"{path}: {said}"
    assert capfd.readouterr() == ("", "")
