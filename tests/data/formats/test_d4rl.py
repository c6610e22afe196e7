"""The layout of D4RL: contents come back, damaged files are one sentence, and the shared Hopper log is as described."""

import gzip

import h5py
import numpy as np
import pytest

from weft import UserError
from weft.data.load import load


def write(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.normal(size=(6, 3)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (6, 2)).astype(np.float32),
        "rewards": rng.normal(size=6).astype(np.float32),
        "terminals": np.array([0, 1, 0, 0, 0, 1], bool),
        "timeouts": np.array([0, 0, 0, 1, 0, 0], bool),
        **changes,
    }
    arrays = {name: values for name, values in arrays.items() if values is not None}
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values)
    return arrays


def sentence(path, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(path, **options)
    return str(caught.value)


def test_round_trip_with_next_observations(tmp_path):
    following = np.arange(18, dtype=np.float32).reshape(6, 3)
    arrays = write(tmp_path / "log.hdf5", next_observations=following)
    data = load(tmp_path / "log.hdf5")
    for name in ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations"):
        np.testing.assert_array_equal(getattr(data, name), arrays[name])
    assert data.lengths.tolist() == [2, 2, 2]


def test_timed_out_step_without_next_observation_is_a_last_observation(tmp_path):
    arrays = write(tmp_path / "log.h5")
    data = load(tmp_path / "log.h5")
    assert data.lengths.tolist() == [2, 1, 2]
    np.testing.assert_array_equal(data.episode(1).observations, arrays["observations"][2:4])
    assert data.episode(1).timeout
    assert data.terminals.sum() == 2


def test_gzip(tmp_path):
    write(tmp_path / "log.hdf5")
    (tmp_path / "log.hdf5.gz").write_bytes(gzip.compress((tmp_path / "log.hdf5").read_bytes()))
    assert load(tmp_path / "log.hdf5.gz").fingerprint == load(tmp_path / "log.hdf5").fingerprint
    (tmp_path / "bad.hdf5.gz").write_bytes(b"no gzip")
    assert sentence(tmp_path / "bad.hdf5.gz").startswith(f"{tmp_path / 'bad.hdf5.gz'}: the gzip file cannot be read (")


def test_propensities_where_asked(tmp_path):
    path = tmp_path / "log.hdf5"
    logs = np.array([0.5, -1, -2, 1.5, 0, -0.5])
    write(path, **{"infos/action_log_probs": logs}, timeouts=None)
    assert load(path).log_propensities is None
    assert load(path, propensities=True).log_propensities == pytest.approx(logs)
    assert load(path).columns["infos/action_log_probs"].tolist() == logs.tolist()
    write(path)
    assert sentence(path, propensities=True) == (
        f"{path}: there is no 'infos/action_log_probs' to take propensities from; leave them out."
    )


def test_flat_columns_may_be_two_dimensional(tmp_path):
    write(tmp_path / "log.hdf5", rewards=np.ones((6, 1)), terminals=np.ones((6, 1), bool), timeouts=None)
    assert load(tmp_path / "log.hdf5").returns.tolist() == [1] * 6


def test_not_hdf5(tmp_path):
    path = tmp_path / "log.hdf5"
    path.write_text("hello")
    assert sentence(path) == f"{path}: this is not an HDF5 file."


def test_truncated(tmp_path):
    path = tmp_path / "log.hdf5"
    write(path)
    path.write_bytes(path.read_bytes()[:-500])
    assert sentence(path) == f"{path}: the HDF5 file cannot be read: it is cut short; fetch it again."


def test_missing_dataset_names_the_nearest(tmp_path):
    path = tmp_path / "log.hdf5"
    arrays = write(path)
    write(path, rewards=None, reward=arrays["rewards"])
    assert sentence(path) == (
        f"{path}: there is no dataset 'rewards'. Did you mean 'reward'? Known: actions, observations, reward, "
        "terminals, timeouts."
    )


def test_unequal_lengths_and_bad_values(tmp_path):
    path = tmp_path / "log.hdf5"
    write(path, rewards=np.zeros(5))
    assert sentence(path) == f"{path}: column 'rewards' has 5 rows, the actions have 6."
    write(path, rewards=np.array([0, np.nan, 0, 0, np.inf, 0]))
    assert sentence(path) == (
        f"{path}: column 'rewards' is NaN or infinite (2 rows, first 1, 4); mend or drop these rows."
    )
    write(path)
    assert sentence(path, action_bounds=(-0.01, 0.01)).startswith(
        f"{path}: column 'actions' is outside its bounds [[-0.009999999776482582, -0.009999999776482582], "
    )


def test_shared_hopper_log(shared_data):
    data = load(shared_data / "d4rl" / "hopper_medium_replay.hdf5")
    assert (data.steps, data.episodes) == (249_795, 1_502)
    assert data.returns.mean() == pytest.approx(463.86, abs=0.01)
    assert np.median(data.returns) == pytest.approx(323, abs=0.5)
    assert data.returns.max() == pytest.approx(1452, abs=0.5)


def test_flags_of_d3rlpy_and_what_is_left_out(tmp_path):
    path = tmp_path / "log.h5"
    ends = np.array([0, 1, 0, 1, 0, 1], np.float32)
    write(path, timeouts=None, terminals=np.array([0, 1, 0, 0, 0, 0], bool), episode_terminals=ends[:, None],
          discrete_action=True, actions=np.array([0, 1, 2, 0, 1, 2], np.float32)[:, None],
          next_observations=np.zeros((6, 3)), version="1.0", **{"infos/qpos": np.zeros((6, 2))})  # fmt: skip
    data = load(path)
    assert (data.lengths.tolist(), data.terminals.sum(), data.timeouts.sum()) == ([2, 2, 2], 1, 2)
    assert data.spec.action.counts == (3,)
    assert "Arrays that are not one number a step are left out: infos/qpos." in data.notes
    write(path, discrete_action=True)
    assert "'discrete_action' says that actions are choices, but they are not whole" in sentence(path)
    write(path, discrete_action=False, actions=np.arange(6))
    assert load(path).spec.action.kind == "continuous"
    write(path, dones=np.zeros(6, bool))
    assert f"{path}: the array 'dones' and the arrays terminals and timeouts differ" in sentence(path)


def test_odd_things_where_arrays_are_expected(tmp_path):
    path = tmp_path / "log.hdf5"
    write(path, infos=np.zeros(6))
    assert sentence(path, propensities=True).startswith(f"{path}: there is no 'infos/action_log_probs'")
    write(path, **{"infos/action_log_probs": np.array([b"a"] * 6)})
    assert sentence(path, propensities=True) == f"{path}: 'infos/action_log_probs' holds |S1 values; give numbers."
    write(path, nothing=h5py.Empty("f8"))
    assert load(path).episodes == 3


def test_columns_are_counted_like_the_rest(tmp_path):
    path = tmp_path / "log.hdf5"
    count = 1_000_000
    arrays = {"observations": np.zeros((count, 1), np.int8), "rewards": np.zeros(count, np.int8)}
    with h5py.File(path, "w") as file:
        for name, part in {**arrays, "actions": arrays["rewards"], "terminals": arrays["rewards"] == 0}.items():
            file.create_dataset(name, data=part, compression="gzip")
        for number in range(10):
            file.create_dataset(f"infos/{number}", (count,), "f8", chunks=(10_000,), compression="gzip")
    assert sentence(path, gigabytes=0.05).startswith(f"{path}: the log takes 52.")
