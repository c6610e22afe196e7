"""Only regular files are opened: anything else can block for ever."""

import gzip
import os
import socket
import stat
from pathlib import Path

import pytest

from weft.core.errors import UserError
from weft.core.files import gunzipped, mode, regular
from weft.core.memory import Allowance


def sentence(path) -> str:
    with pytest.raises(UserError) as caught:
        regular(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_passes_also_through_links(tmp_path):
    path = tmp_path / "log.csv"
    path.touch()
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "link of a link").symlink_to(tmp_path / "link")
    for name in ("log.csv", "link", "link of a link"):
        assert regular(tmp_path / name) == tmp_path / name


def test_pipes_folders_devices_and_sockets_are_refused(tmp_path):
    pipe = tmp_path / "log.csv"
    os.mkfifo(pipe)
    rest = "weft opens regular files only; give the path of a file."
    assert sentence(pipe) == f"{pipe}: this is a named pipe, and {rest}"
    assert sentence(tmp_path) == f"{tmp_path}: this is a folder, and {rest}"
    assert sentence(Path("/dev/null")) == f"/dev/null: this is a device, and {rest}"
    (tmp_path / "link.csv").symlink_to(pipe)
    assert "a named pipe" in sentence(tmp_path / "link.csv")


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("log.csv")
        assert "this is a socket" in sentence(Path("log.csv"))


def test_what_cannot_be_reached_is_one_sentence(tmp_path):
    missing = tmp_path / "log.csv"
    assert sentence(missing) == f"{missing}: there is no such file."
    (tmp_path / "link").symlink_to(missing)
    assert sentence(tmp_path / "link") == f"{tmp_path / 'link'}: the link leads to no file."
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "the file cannot be reached (Too many levels of symbolic links)" in sentence(tmp_path / "loop")
    assert "the file cannot be reached (File name too long)" in sentence(tmp_path / ("x" * 300))
    assert "the file cannot be reached" in sentence(Path("a\0b"))


def test_the_mode_of_nothing_is_none(tmp_path):
    assert mode(tmp_path / "log") is None
    assert mode(tmp_path / "log" / "inside") is None
    assert stat.S_ISDIR(mode(tmp_path) or 0)
    with pytest.raises(UserError, match="File name too long"):
        mode(tmp_path / ("x" * 300))


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "log.csv"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    assert sentence(path) == f"{path}: you may not read this file; ask for permission, or copy it."


def test_gzip_comes_out_piece_by_piece_and_within_its_allowance(tmp_path):
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(bytes(3 * 2**20)) + gzip.compress(b"end"))
    allowance = Allowance.of(path, 1.0)
    assert gunzipped(path, allowance).read() == bytes(3 * 2**20) + b"end"
    assert allowance.taken == 3 * 2**20 + 3
    path.write_bytes(gzip.compress(bytes(100 * 2**20)))
    allowance = Allowance.of(path, 0.01)
    with pytest.raises(UserError, match=r"takes 10\.5 MB of memory or more"):
        gunzipped(path, allowance)
    assert allowance.taken <= 10**7


@pytest.mark.parametrize(
    "content",
    [b"no gzip at all", gzip.compress(bytes(999))[:-5], b"\x1f\x8b\x08" + bytes(30)],
    ids=["none", "cut short", "head alone"],
)
def test_damaged_gzip_is_one_sentence(content, tmp_path):
    path = tmp_path / "log.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"the gzip file cannot be read \(.*\); fetch it again\."):
        gunzipped(path, Allowance.of(path))
