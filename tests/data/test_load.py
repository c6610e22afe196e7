"""Whose a source is, and what is said when it is nobody's."""

import os
from pathlib import Path

import numpy as np
import pytest

import weft
from weft import UserError
from weft.data.load import formats, load


def arrays(**changes):
    return {
        "observations": np.arange(8.0).reshape(4, 2),
        "actions": np.array([0, 1, 0, 1]),
        "rewards": np.arange(4.0),
        "terminals": np.array([0, 1, 0, 1], bool),
        **changes,
    }


def sentence(*args, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(*args, **options)
    return str(caught.value)


def test_every_format_is_found_by_its_file():
    assert {"d4rl", "minari", "numpy_arrays", "sample", "table"} <= set(formats())


def test_no_such_file_names_the_nearest(tmp_path):
    (tmp_path / "hopper.hdf5").touch()
    path = tmp_path / "hoper.hdf5"
    assert sentence(path) == f"{path}: there is no such file or folder. Did you mean 'hopper.hdf5'?"


def test_unknown_suffix_names_the_known(tmp_path):
    path = tmp_path / "log.xyz"
    path.touch()
    found = sentence(str(path))
    assert found.startswith(f"{path}: weft does not know files that end in '.xyz'. Known: .csv, .csv.gz, .h5, ")
    assert ".parquet" in found
    bare = tmp_path / "log"
    bare.touch()
    assert sentence(bare).startswith(f"{bare}: weft does not know files without a suffix. Known: ")


def test_unknown_scheme_names_the_known():
    assert sentence("minary:hopper/medium-v0") == (
        "minary:hopper/medium-v0: nothing is known about 'minary:'. Did you mean 'minari'? Known: minari:, sample:."
    )


def test_folder_without_a_log(tmp_path):
    found = sentence(tmp_path)
    assert found.startswith(f"{tmp_path}: the folder holds no log. weft looks for data/main_data.hdf5 (minari)")


def test_unknown_object():
    assert sentence(3) == (
        "weft cannot load a int; give a path, a URI, a pandas or polars data frame, or a dictionary of arrays."
    )


def test_unknown_option_names_the_nearest():
    found = sentence(arrays(), reward_rnge=(0, 1))
    assert found.startswith(
        "the dict: the format numpy_arrays has no option 'reward_rnge'. Did you mean 'reward_range'? "
        "Known: action_bounds"
    )


def test_unknown_format():
    assert sentence(arrays(), format="tabel").startswith("There is no format 'tabel'. Did you mean 'table'?")


def test_format_can_be_said(tmp_path):
    path = tmp_path / "log.data"
    path.write_text("x,a,r\n1.5,0,1\n2.5,1,0\n")
    data = load(path, format="table", observations="x", action="a", reward="r")
    assert data.observations.tolist() == [[1.5], [2.5]]


def test_a_file_with_a_colon_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "log:1.npz", **arrays())
    assert load("log:1.npz").steps == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"horizon": 0}, "the dict: horizon must be a whole number of steps, at least 1, got 0."),
        ({"horizon": 2.5}, "the dict: horizon must be a whole number of steps, at least 1, got 2.5."),
        ({"discount": 1.5}, "the dict: discount must lie in [0, 1], got 1.5."),
        ({"reward_range": 3}, "the dict: reward_range must be a pair (low, high), got 3."),
        ({"gigabytes": 0}, "the dict: gigabytes is the most that the log may take in memory, above 0, got 0."),
        ({"gigabytes": True}, "the dict: gigabytes is the most that the log may take in memory, above 0, got True."),
        ({"gigabytes": "8"}, "the dict: gigabytes is the most that the log may take in memory, above 0, got '8'."),
        ({"gigabytes": np.inf}, "the dict: gigabytes is the most that the log may take in memory, above 0, got inf."),
        ({"terminal_inside": "kep"}, "the dict: terminal_inside must be 'error' or 'keep', got 'kep'."),
    ],
)
def test_bad_facts(options, said):
    assert sentence(arrays(), **options) == said


def test_declared_facts_reach_the_spec():
    data = load(arrays(user=np.arange(4)), horizon=5, discount=0.9, reward_range=(0, 3), unit="user")
    spec = data.spec
    assert (spec.horizon, spec.discount, spec.reward_low, spec.reward_high, spec.unit) == (
        5,
        0.9,
        (0.0,),
        (3.0,),
        "user",
    )


def test_unit_must_be_a_column():
    assert sentence(arrays(user=np.arange(4)), unit="usr") == (
        "the arrays: there is no column 'usr' to be the unit. Did you mean 'user'? Known: user."
    )


def test_sources_can_be_the_unit():
    table = {"x": [1.0, 2.0], "a": [0, 1], "r": [0, 1], "site": ["n", "s"]}
    data = load(table, observations="x", action="a", reward="r", source="site", unit="source")
    assert data.units("source").tolist() == ["n", "s"]
    assert sentence({**table}, observations="x", action="a", reward="r", unit="source").startswith("the dict: there is")


def test_the_docstring_sends_nobody_to_what_cannot_be_reached():
    assert weft.load is load
    assert "weft.load." not in str(load.__doc__)
    assert "Known: d4rl, minari" in sentence(arrays(), format="?")


def test_samples_load():
    data = load("sample:maze", episodes=3, seed=1)
    assert data.episodes == 3
    assert data.fingerprint == load("sample:maze", episodes=3, seed=1).fingerprint


def test_content_and_not_the_file_makes_the_fingerprint(tmp_path):
    polars = pytest.importorskip("polars")
    rng = np.random.default_rng(0)
    table = polars.DataFrame(
        {
            "x0": rng.normal(size=9).astype(np.float32),
            "x1": rng.normal(size=9).astype(np.float32),
            "a": rng.integers(0, 3, 9),
            "r": rng.normal(size=9).astype(np.float32),
        }
    )
    table.write_csv(tmp_path / "log.csv")
    table.write_parquet(tmp_path / "log.parquet")
    terminals = np.ones(9, bool)
    np.savez(
        tmp_path / "log.npz",
        observations=table.select("x0", "x1").to_numpy(),
        actions=table["a"].to_numpy(),
        rewards=table["r"].to_numpy(),
        terminals=terminals,
    )
    options = {"observations": "x*", "action": "a", "reward": "r"}
    found = {
        load(tmp_path / "log.csv", **options).fingerprint,
        load(tmp_path / "log.parquet", **options).fingerprint,
        load(table, **options).fingerprint,
        load(table.to_dict(as_series=False), **options).fingerprint,
        load(tmp_path / "log.npz").fingerprint,
    }
    assert len(found) == 1


def test_gigabytes_is_an_option_of_whatever_is_loaded(tmp_path):
    np.savez(tmp_path / "log.npz", **arrays())
    table = {"x": [1.5, 2.0], "a": [0, 1], "r": [0, 1]}
    for data in (
        load(arrays(), gigabytes=8),
        load(tmp_path / "log.npz", gigabytes=0.5),
        load(table, observations="x", action="a", reward="r", gigabytes=8),
        load("sample:maze", episodes=2, gigabytes=8),
    ):
        assert data.steps > 1
    with pytest.raises(UserError, match=r"gigabytes=1e-07 allows 100 bytes; raise it if you trust the file\.$"):
        load(tmp_path / "log.npz", gigabytes=1e-7)


@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.npz", "log.hdf5", "log.csv.gz", "main_data.hdf5", "x"])
def test_a_named_pipe_is_refused_before_anybody_waits_for_it(name, tmp_path):
    path = tmp_path / name
    os.mkfifo(path)
    assert sentence(path).startswith(f"{path}: this is a named pipe, and weft opens regular files only")
    assert sentence(path, format="table").startswith(f"{path}: this is a named pipe")


@pytest.mark.parametrize("format", ["table", "numpy_arrays", "d4rl"])
def test_a_folder_is_no_file(format, tmp_path):
    assert sentence(tmp_path, format=format).startswith(f"{tmp_path}: this is a folder, and weft opens regular files")


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "log.csv").symlink_to(tmp_path / "gone.csv")
    assert sentence(tmp_path / "log.csv") == f"{tmp_path / 'log.csv'}: the link leads to no file."
    assert sentence("~nobody_of_this_name/log.csv").startswith("~nobody_of_this_name/log.csv: there is no such file")
    assert "File name too long" in sentence("x" * 300 + ".csv")
    assert "File name too long" in sentence("abc:" + "x" * 300)
    assert "cannot be reached" in sentence("log\0.csv")
    assert sentence(Path("/dev/null")).startswith("/dev/null: this is a device")
