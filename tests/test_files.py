"""Only regular files are opened: anything else can block for ever."""

import os
import socket
from pathlib import Path

import pytest

from weft.errors import UserError
from weft.files import regular


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
