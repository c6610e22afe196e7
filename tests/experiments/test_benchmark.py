"""`weft.benchmark`: a cell is what training and acting give, what is killed goes on, mistakes are told first."""

import importlib
import json
import shutil

import pytest
from small import bc, continuous, iql

import weft
from weft.core import storage
from weft.core.errors import UserError
from weft.envs.worlds.grid import Grid
from weft.experiments.benchmark_files import LOCK, cell_path, load_benchmark
from weft.experiments.comparison import Protocol, Task

MODULE = importlib.import_module("weft.experiments.benchmark")
DATA = weft.load("sample:grid", episodes=40)
TASKS = {"grid": (DATA, "grid")}
SHORT = {"steps": 20, "every": 8, "episodes": 3, "seeds": 2}


def files(folder):
    """Return the bytes of every cell."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("seed-*.json")}


def figures(folder):
    """Return what must not depend on interruptions."""
    return {name: {**json.loads(text), "seconds": None, "digest": None} for name, text in files(folder).items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the folder of two methods that learn and one that cannot, on one log."""
    folder = tmp_path_factory.mktemp("benchmark") / "whole"
    weft.benchmark([bc(), iql(), "td3_bc"], TASKS, folder, **SHORT)
    return folder


def test_a_cell_is_what_training_and_acting_give(whole):
    found = load_benchmark(whole)
    run = weft.fit(iql(), DATA, 20, 2, keep=(8, 16))
    cell = found.of("iql", "grid")[1]
    returns = [weft.rollout(run.policy(1, step=step), "grid", 3, seed=1000).mean() for step in (8, 16, 20)]
    assert [point["return"] for point in cell.curve] == returns
    assert [(point["step"], point["episodes"]) for point in cell.curve] == [(8, 3), (16, 3), (20, 3)]
    assert cell.final == {"step": 20, "return": returns[2], "score": returns[2]}
    assert cell.best["return"] == max(returns)
    record = cell.record
    assert record["settings"] == run.record["settings"][0]
    assert record["data"] == {"origin": "sample:grid", "fingerprint": DATA.fingerprint, "steps": 490, "episodes": 40}
    assert record["versions"] == run.record["versions"]
    assert record["protocol"]["first_episode"] == 1000
    assert record["seconds"]["trained_together"] == 2
    assert record["seconds"]["training"] > 0
    assert not (whole / "runs").exists()


def test_a_method_that_cannot_learn_from_the_log_is_skipped_with_a_sentence(whole):
    found = load_benchmark(whole)
    sentence = "TD3 with behaviour cloning learns from continuous actions, the log's are discrete."
    assert found.notes == [f"td3_bc on grid, seed 0, 1: skipped. {sentence}"]
    assert found.table()[3] == ("td3_bc", "skipped")
    assert [cell.status for cell in found.of("td3_bc", "grid")] == ["skipped"] * 2


def test_a_second_start_trains_nothing_and_more_seeds_train_only_themselves(whole, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    before = files(folder)
    fit = MODULE.fit
    trained = []
    monkeypatch.setattr(MODULE, "fit", lambda *given, **how: trained.append(given[3]) or fit(*given, **how))
    weft.benchmark([bc(), iql(), "td3_bc"], TASKS, folder, **SHORT)
    assert (trained, files(folder)) == ([], before)
    more = weft.benchmark([bc()], TASKS, folder, **{**SHORT, "seeds": [1, 4]})
    assert trained == [[4]]
    assert [cell.seed for cell in more.of("bc", "grid")] == [0, 1, 4]
    assert {name: files(folder)[name] for name in before} == before


def test_a_killed_benchmark_goes_on_and_ends_the_same(whole, tmp_path, monkeypatch):
    played = []

    def kill(policy, *how):
        if len(played) == 4:  # in the middle of the second seed of the first method
            raise KeyboardInterrupt
        played.append(how)
        return rollout(policy, *how)

    rollout = MODULE.rollout
    monkeypatch.setattr(MODULE, "rollout", kill)
    with pytest.raises(KeyboardInterrupt):
        weft.benchmark([bc(), iql(), "td3_bc"], TASKS, tmp_path, **SHORT)
    assert [str(name) for name in files(tmp_path)] == ["cells/grid/bc/seed-0.json"]
    assert (tmp_path / "runs/grid/bc/0/run.json").exists()
    monkeypatch.setattr(MODULE, "rollout", rollout)
    found = weft.benchmark([bc(), iql(), "td3_bc"], TASKS, tmp_path, **SHORT)
    assert figures(tmp_path) == figures(whole)
    assert [cell.record["seconds"]["resumed"] for cell in found.of("bc", "grid")] == [False, True]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("gone", [["run.json"], ["metrics.jsonl"], ["run.json", "transform.safetensors"]])
def test_a_deletion_that_was_killed_is_finished_and_blocks_no_further_seeds(whole, tmp_path, monkeypatch, gone):
    folder, deleted = tmp_path / "copy", []
    shutil.copytree(whole, folder)
    for path in folder.rglob("bc/seed-*.json"):
        path.unlink()

    def kill(place, **_):
        deleted.append(place)
        for name in gone:
            (place / name).unlink(missing_ok=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(MODULE.shutil, "rmtree", kill)
        with pytest.raises(KeyboardInterrupt):
            weft.benchmark([bc()], TASKS, folder, **SHORT)
    assert deleted[0].exists()
    found = weft.benchmark([bc()], TASKS, folder, **{**SHORT, "seeds": 3})
    assert [(cell.seed, cell.status) for cell in found.of("bc", "grid")] == [(0, "done"), (1, "done"), (2, "done")]
    assert not (folder / "runs").exists()


def test_a_record_half_written_is_no_stranger(tmp_path):
    (tmp_path / ".benchmark.json.part").write_text('{"version"')
    weft.benchmark([bc()], TASKS, tmp_path, **SHORT)
    assert not (tmp_path / ".benchmark.json.part").exists()


def test_a_failure_is_written_down_stops_nobody_and_is_tried_again(whole, tmp_path, monkeypatch):
    fit, rollout = MODULE.fit, MODULE.rollout

    def astray(policy, *how):
        calls.append(how)
        if len(calls) % 2 == 0:
            raise UserError("The policy's actions are not finite; its training went astray.")
        return rollout(policy, *how)

    def broken(method, *given, **how):
        if method.name == "iql":
            raise RuntimeError("out of memory\nand much more")
        return fit(method, *given, **how)

    calls = []
    monkeypatch.setattr(MODULE, "rollout", astray)
    monkeypatch.setattr(MODULE, "fit", broken)
    found = weft.benchmark([iql(), bc()], TASKS, tmp_path, **SHORT)
    assert found.notes == [
        "iql on grid, seed 0, 1: failed. RuntimeError: out of memory",
        "bc on grid, seed 0, 1: failed. At step 16: The policy's actions are not finite; its training went astray.",
    ]
    failed = found.of("bc", "grid")[0]
    assert ([point["step"] for point in failed.curve], failed.final, failed.best) == ([8], None, None)
    assert found.table() == [("method", "grid"), ("iql", "failed"), ("bc", "failed")]
    monkeypatch.setattr(MODULE, "rollout", rollout)
    monkeypatch.setattr(MODULE, "fit", fit)
    weft.benchmark([iql(), bc()], TASKS, tmp_path, **SHORT)
    expected = figures(whole)
    assert figures(tmp_path) == {name: record for name, record in expected.items() if "td3_bc" not in str(name)}


def test_tasks_have_references_and_settings_have_names(tmp_path):
    tasks = {"far": Task(DATA, Grid(), (-200.0, -4.0)), "near": (DATA, Grid(), (-8, 0))}
    methods = [bc(), bc(learning_rate=0.01)]
    found = weft.benchmark(methods, tasks, tmp_path, steps=4, every=4, episodes=2, seeds=[3], keep_runs=True)
    assert list(found.methods) == ["bc learning_rate=0.0003", "bc learning_rate=0.01"]
    cell = found.of("bc learning_rate=0.01", "far")[0]
    assert cell.final["score"] == pytest.approx(100 * (cell.final["return"] + 200) / 196)
    assert cell.record["settings"]["learning_rate"] == 0.01
    assert found.tasks["far"]["environment"] == "grid"
    assert weft.load_run(tmp_path / "runs/far/bc-learning_rate=0.01/0").steps == [4]
    named = weft.benchmark(
        {"fast": methods[1]}, {"far": tasks["far"]}, tmp_path / "named", steps=4, seeds=1, episodes=1
    )
    assert list(named.methods) == ["fast"]
    assert len(named.of("fast", "far")[0].curve) == 4


def test_the_moments_of_a_protocol_end_with_the_last_step():
    assert Protocol(20, 8, 3).moments == [8, 16, 20]
    assert Protocol(20, 10, 3).moments == [10, 20]
    assert Protocol(5, 5, 3).moments == [5]


@pytest.mark.parametrize(
    ("methods", "tasks", "more", "sentence"),
    [
        (["bcc"], TASKS, {}, "There is no algorithm 'bcc'"),
        ([], TASKS, {}, "at least one method and one task"),
        ([3], TASKS, {}, "needs algorithms such as weft.IQL"),
        ([bc(), bc()], TASKS, {}, "bc is given twice with the same settings"),
        ([bc()], {"grid": (DATA, "maze")}, {}, "The environment of 'grid' does not fit its log: maze shows"),
        ([bc()], {"grid": (DATA, "CartPole-v1")}, {}, "The environment of 'grid' does not fit its log: CartPole-v1"),
        ([bc()], {"grid": (continuous(), "grid")}, {}, "The environment of 'grid' does not fit its log: grid shows"),
        ([bc()], {"grid": (DATA, "gridd")}, {}, "There is no environment 'gridd'. Did you mean 'grid'"),
        ([bc()], {"grid": DATA}, {}, "The task 'grid' is .data, environment. or"),
        ([bc()], {"grid": (DATA, "grid", (1, 1))}, {}, "goes from a lower to a higher return, got 1 and 1"),
        ([bc()], {"grid": (DATA, "grid", "ab")}, {}, "The reference of 'grid' is two returns"),
        ([bc()], {"a b": TASKS["grid"], "a-b": TASKS["grid"]}, {}, "'a b' and 'a-b' are too much alike"),
        ([bc()], {"/": TASKS["grid"]}, {}, "'/' is no name"),
        ([bc()], TASKS, {"every": 21}, "measured every 1 to 20 steps, got 21"),
        ([bc()], TASKS, {"episodes": 0}, "at least one episode, got 0"),
        ([bc()], TASKS, {"steps": 0}, "measured every 1 to 0 steps"),
        ([bc()], TASKS, {"seeds": [1, 1]}, "Seeds must be different"),
        ([bc()], TASKS, {"batch_size": 0}, "batch"),
        ([bc()], TASKS, {"rewards": "nonsense"}, "Rewards can be scaled by"),
        ([bc()], TASKS, {"observations": "nonsense"}, "Observations can be transformed by"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(methods, tasks, more, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        weft.benchmark(methods, tasks, tmp_path / "out", **{**SHORT, **more})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_benchmark_is_left_alone(whole):
    before = files(whole)
    for more, sentence in (
        ({"episodes": 4}, r"holds another benchmark: its protocol differs \(episodes: 3 then, 4 now\)"),
        ({"batch_size": 8}, "its settings of bc differs"),
    ):
        with pytest.raises(UserError, match=sentence):
            weft.benchmark([bc()], TASKS, whole, **{**SHORT, **more})
    with pytest.raises(UserError, match="its task grid differs"):
        weft.benchmark([bc()], {"grid": (DATA.split((0.5, 0.5), seed=0)[0], "grid")}, whole, **SHORT)
    with (
        storage.locked(whole / LOCK, "busy"),
        pytest.raises(UserError, match="is in use by another process"),
    ):
        weft.benchmark([bc()], TASKS, whole, **SHORT)
    assert files(whole) == before
    assert cell_path(whole, "grid", "bc", 0).exists()
