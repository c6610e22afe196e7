"""Table files: what polars unpacks without a limit, or aborts on, never reaches it."""

import gzip
import os
import subprocess
import sys
import zlib

import polars
import pytest

from weft.core.errors import UserError
from weft.core.memory import Allowance
from weft.data.formats import _table_file as table_file
from weft.data.formats._table_file import examined, table


def sentence(path, gigabytes=None) -> str:
    with pytest.raises(UserError) as caught:
        table(path, Allowance.of(path, gigabytes))
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


TEXT = b"x,a,r\n1.5,0,1\n2.5,1,0\n"


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
@pytest.mark.parametrize(
    "content",
    [TEXT, gzip.compress(TEXT), gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:])],
    ids=["plain", "packed", "in two members"],  # what is packed holds the second in which it was
)
def test_what_is_in_a_csv_decides_whether_it_is_unpacked(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    assert table(path, Allowance.of(path)).rows() == [(1.5, 0, 1), (2.5, 1, 0)]


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
@pytest.mark.parametrize(
    ("content", "packing"),
    [
        (zlib.compress(TEXT, 1), "by zlib"),
        (zlib.compress(TEXT, 5), "by zlib"),
        (zlib.compress(TEXT, 9), "by zlib"),
        (b"\x28\xb5\x2f\xfd rest", "by zstd"),
        (gzip.compress(gzip.compress(TEXT)), "twice, the second time by gzip"),
        (gzip.compress(zlib.compress(TEXT)), "twice, the second time by zlib"),
    ],
    ids=["little", "more", "most", "zstd", "gzip twice", "zlib and gzip"],
)
def test_other_packings_are_refused(name, content, packing, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    assert sentence(path) == f"the file is packed {packing}; unpack it, or pack it by gzip once."


def test_a_gzip_that_expands_too_far_is_refused(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(gzip.compress(TEXT + b"1,2,3\n" * 2_000_000))
    assert sentence(path, 0.01).startswith("the log takes 10.5 MB of memory or more (its file has ")


def test_short_rows_under_a_wide_head_are_refused(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(",".join(f"x{place}" for place in range(5000)) + "\n" + "1\n" * 100_000)
    assert sentence(path, 1).startswith("the log takes 8.0 GB of memory or more (its file has ")
    path.write_text(",".join(f"x{place}" for place in range(300_000)) + "\n1\n")
    assert sentence(path, 0.5).startswith("the log takes 614.4 MB of memory or more")
    path.write_text('"a, b, c","d\n""e"" ",r\n1,2,3\n')
    assert table(path, Allowance.of(path)).width == 3


def test_one_long_word_makes_all_words_long(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("w,r\n" + "w" * 100_000 + ",1\n" + "a,2\n" * 5000)
    assert sentence(path, 1).startswith("the log takes 2.0 GB of memory or more")
    polars.read_csv(path).write_parquet(path := tmp_path / "log.parquet")
    assert sentence(path, 1).startswith("the log takes 2.0 GB of memory or more")


def test_few_bytes_of_parquet_can_be_very_many_rows(tmp_path):
    path = tmp_path / "log.parquet"
    polars.DataFrame({"x": polars.repeat(1.0, 30_000_000, eager=True)}).write_parquet(path)
    assert path.stat().st_size < 10**6
    assert sentence(path, 0.2).startswith("the log takes 240.0 MB of memory or more (its file has ")
    with pytest.raises(UserError, match=r"takes 240\.0 MB"):
        examined(path, Allowance.of(path, 0.2))


def test_a_column_of_lists_is_counted_in_the_child(tmp_path):
    path = tmp_path / "log.parquet"
    polars.DataFrame({"x": [[1] * 10**5] * 30}).write_parquet(path)
    assert sentence(path, 0.01).startswith("the log takes 24.0 MB of memory or more")


@pytest.fixture
def aborting(tmp_path):
    """A Parquet file with one wrong bit: the number of values of a page is negative."""
    path = tmp_path / "log.parquet"
    polars.DataFrame({"c": [True, False] * 20}).write_parquet(path, compression="uncompressed", statistics=False)
    content = bytearray(path.read_bytes())
    content[12] ^= 1
    path.write_bytes(content)
    return path


def test_a_parquet_on_which_polars_aborts_is_one_sentence(aborting, capfd):
    code = f"import polars; polars.read_parquet({str(aborting)!r})"
    alone = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    if alone.returncode == 0:
        pytest.skip("this polars reads the file")
    said = sentence(aborting)
    assert said.startswith(("it is damaged", "the file cannot be read as Parquet"))
    assert capfd.readouterr() == ("", "")


def test_what_is_no_parquet_starts_no_child(tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, "trial", lambda *_: pytest.fail("a child was started"))
    path = tmp_path / "log.parquet"
    path.touch()
    assert sentence(path) == "the file is empty."
    for content in (b"hello hello", b"PAR1", b"PAR1 and PAR1", b"PAR1" + bytes(20), b"PAR1" + b"\xff" * 20 + b"PAR1"):
        path.write_bytes(content)
        assert sentence(path) == "the file cannot be read as Parquet (it does not begin and end like one)."


def test_names_are_no_patterns_and_folders_no_columns(tmp_path):
    folder = tmp_path / "a=1"
    folder.mkdir()
    for name in ("log[1].parquet", "log1.parquet", "log[1].csv", "log1.csv"):
        frame = polars.DataFrame({"x": [1.5], "who": [name]})
        frame.write_parquet(folder / name) if name.endswith("t") else frame.write_csv(folder / name)
    for name in ("log[1].parquet", "log[1].csv"):
        assert table(folder / name, Allowance.of(folder / name)).to_dict(as_series=False) == {"x": [1.5], "who": [name]}


def test_pipes_are_refused(tmp_path):
    for name in ("log.csv", "log.parquet"):
        os.mkfifo(tmp_path / name)
        assert sentence(tmp_path / name).startswith("this is a named pipe")
