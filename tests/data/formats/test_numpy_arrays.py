"""NumPy archives and dictionaries: contents come back, pickles never run."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weft import UserError
from weft.data.load import load


def arrays(**changes):
    return {
        "observations": np.arange(8.0).reshape(4, 2),
        "actions": np.array([0, 1, 0, 1]),
        "rewards": np.arange(4.0),
        "terminals": np.array([0, 1, 0, 1], bool),
        **changes,
    }


def test_archive_round_trip(tmp_path):
    path = tmp_path / "log.npz"
    parts = arrays(
        propensities=np.full(4, 0.5),
        durations=np.arange(1.0, 5),
        user=np.array(["a", "a", "b", "b"]),
        matrix=np.zeros((2, 2)),
    )
    np.savez(path, **parts)
    data = load(path)
    np.testing.assert_array_equal(data.observations, parts["observations"])
    np.testing.assert_array_equal(data.actions, parts["actions"])
    np.testing.assert_array_equal(data.rewards, parts["rewards"])
    np.testing.assert_array_equal(data.durations, parts["durations"])
    assert data.log_propensities == pytest.approx(np.log(0.5))
    assert data.columns["user"].tolist() == ["a", "a", "b", "b"]
    assert data.notes == ("The array 'matrix' does not have one entry a step; it is left out.",)
    assert (data.episodes, data.origin) == (2, str(path))


def test_components_by_name(tmp_path):
    path = tmp_path / "log.npz"
    parts = arrays(**{"observations/image": np.zeros((4, 3, 3, 1), np.uint8), "observations/x": np.zeros((4, 2))})
    parts |= {"rewards/click": np.arange(4.0), "rewards/buy": np.zeros(4)}
    del parts["observations"], parts["rewards"]
    np.savez(path, **parts)
    data = load(path)
    assert set(data.observations) == {"image", "x"}
    assert data.spec.rewards == ("click", "buy")


def test_dictionary_with_tokens_and_labels():
    data = load(arrays(observations=[[1], [2, 3], [1], []], actions=["go", "stop", "go", "go"]))
    assert data.spec.observation().kind == "tokens"
    assert data.spec.action.labels == ("go", "stop")
    assert data.origin == "the arrays"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 9), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, width=32)
    ),
    seed=st.integers(0, 9),
)
def test_random_arrays_round_trip(values, seed, tmp_path):
    rng = np.random.default_rng(seed)
    count = len(values)
    terminals = rng.random(count) < 0.5
    actions = rng.normal(size=(count, 2)).astype(np.float32)
    np.savez(tmp_path / "log.npz", observations=values, actions=actions, rewards=values[:, 0], terminals=terminals,
             next_observations=values + 1)  # fmt: skip
    data = load(tmp_path / "log.npz")
    np.testing.assert_array_equal(data.observations, values)
    np.testing.assert_array_equal(data.actions, actions)
    np.testing.assert_array_equal(data.rewards, values[:, 0])
    np.testing.assert_array_equal(data.terminals, terminals)
    np.testing.assert_array_equal(data.next_observations, values + 1)


class Bomb:
    """Would leave a file behind if it were ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def sentence(path) -> str:
    with pytest.raises(UserError) as caught:
        load(path)
    return str(caught.value)


def test_pickle_is_refused_and_never_run(tmp_path):
    path, trace = tmp_path / "log.npz", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Bomb(trace)))
    assert sentence(path) == (
        f"{path}: this is a pickle, which can run any code and is never loaded; write it with numpy.savez."
    )
    assert not trace.exists()


def test_object_arrays_are_refused_and_never_run(tmp_path):
    path, trace = tmp_path / "log.npz", tmp_path / "trace"
    np.savez(path, **arrays(actions=np.array([Bomb(trace), 1, 2, 3], object)))
    assert sentence(path) == (
        f"{path}: the array 'actions' holds Python objects, which are pickles and never loaded; write it again with "
        "numpy.savez."
    )
    assert not trace.exists()


def test_other_content_is_refused(tmp_path):
    path = tmp_path / "log.npz"
    path.write_text("hello")
    assert sentence(path) == f"{path}: this is no NumPy archive; write it with numpy.savez."


def test_cut_archive_is_refused(tmp_path):
    path = tmp_path / "log.npz"
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:300])
    assert sentence(path).startswith(f"{path}: ")


def test_missing_array_names_the_nearest(tmp_path):
    path = tmp_path / "log.npz"
    parts = arrays()
    parts["terminal"] = parts.pop("terminals")
    np.savez(path, **parts)
    assert sentence(path) == (
        f"{path}: there is no array 'terminals'. Did you mean 'terminal'? "
        "Known: observations, actions, rewards, terminal."
    )


def test_unequal_lengths(tmp_path):
    path = tmp_path / "log.npz"
    np.savez(path, **arrays(rewards=np.zeros(3)))
    assert sentence(path) == f"{path}: column 'rewards' has 3 rows, the actions have 4."


def test_components_beside_the_whole_are_refused(tmp_path):
    path = tmp_path / "log.npz"
    np.savez(path, **arrays(**{"observations/x": np.zeros(4)}))
    assert sentence(path) == f"{path}: there are both 'observations' and 'observations/x'; leave one of them out."


def test_flags_of_ogbench(tmp_path):
    path = tmp_path / "log.npz"
    np.savez(path, **arrays(next_observations=np.zeros((4, 2)), masks=np.array([1, 0, 1, 1], "f4")))
    data = load(path)
    assert (data.terminals.tolist(), data.timeouts.tolist()) == (
        [False, True, False, False],
        [False, False, False, True],
    )


def entries(path, **contents):
    """Write an archive of whatever bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(f"{name}.npy", content)
    return path


def header(shape, kind="<f8"):
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(made, {"descr": kind, "fortran_order": False, "shape": shape})
    return made.getvalue()


def test_an_archive_that_expands_too_far_is_refused_before_it_is_unpacked(tmp_path):
    path = entries(tmp_path / "log.npz", observations=header((10**7,)) + bytes(8 * 10**7))
    assert path.stat().st_size < 10**6
    with pytest.raises(UserError, match=r"takes 80\.0 MB of memory or more \(its file has .* gigabytes=0\.05 allows"):
        load(path, gigabytes=0.05)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((10**12,), r"is declared as \(1000000000000,\) of float64, 8,000,000,000,000 bytes, and the archive holds 16"),
        ((10**30,), "is declared as .* and the archive holds 16"),
        ((1,), r"is declared as \(1,\) of float64, 8 bytes, and the archive holds 16; it is damaged"),
        ((-2,), r"is declared as \(-2,\) of float64"),
        ((-2, -1), r"is declared as \(-2, -1\) of float64"),
    ],
)
def test_an_array_must_be_as_large_as_it_says(shape, said, tmp_path):
    path = entries(tmp_path / "log.npz", actions=header(shape) + bytes(16))
    with pytest.raises(UserError, match=said):
        load(path)


def test_rows_without_columns_count_too(tmp_path):
    path = entries(tmp_path / "log.npz", actions=header((10**12, 0)))
    with pytest.raises(UserError, match=r"takes 8\.0 TB of memory or more"):
        load(path)


def test_packings_that_numpy_never_uses_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "log.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("actions.npy", header((2,)) + bytes(16))
    with pytest.raises(UserError, match=r"the entry 'actions\.npy' is packed as NumPy never does"):
        load(tmp_path / "log.npz")


def test_words_of_letters_that_do_not_exist(tmp_path):
    words = header((2,), "<U2") + np.array([65, 0x110000, 66, 0], "<u4").tobytes()
    path = entries(tmp_path / "log.npz", actions=words)
    with pytest.raises(UserError, match="the array 'actions' holds words of letters that do not exist"):
        load(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"propensities": np.ones((4, 3))}, r"'propensities' has the shape \(4, 3\); give one number a step"),
        ({"propensities": np.ones((4, 0))}, r"'propensities' has the shape \(4, 0\); give one number a step"),
        ({"durations": np.ones((4, 3))}, r"'durations' has the shape \(4, 3\); give one number a step"),
        ({"rewards/a": np.ones((4, 2))}, r"'a' has the shape \(4, 2\); give one number a step"),
        ({"sources": np.zeros((4, 2))}, r"'sources' has the shape \(4, 2\); give one a step, of 4"),
        ({"sources": np.zeros(3)}, r"'sources' has the shape \(3,\); give one a step, of 4"),
        ({"terminals": np.zeros(0, bool), "masks": np.ones(4)}, "'terminals' has 0 rows, the actions have 4"),
    ],
)
def test_arrays_of_odd_shapes(changes, said, tmp_path):
    parts = {"observations": np.zeros((4, 2)), "actions": np.array([0, 1, 0, 1]), "terminals": np.ones(4, bool)}
    parts |= changes if "rewards/a" in changes else {"rewards": np.zeros(4), **changes}
    np.savez(tmp_path / "log.npz", **parts)
    with pytest.raises(UserError, match=said):
        load(tmp_path / "log.npz")
