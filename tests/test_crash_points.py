"""Wherever a command is killed, the same command goes on and ends in the same bits: no trace, no other result.

Every state that a kill or a cut of the power can leave is made from one recorded run (`crash_points`), so that hundreds
of them cost no more than what is left to do after each. The last tests kill real processes.
"""

import dataclasses
import functools
import hashlib
import importlib
import json
import os
import random
import signal
import time

import jax
import numpy as np
import pytest
import small
import tabular
from crash_points import Scenario, endure, points, record, restore, twice, whole

import weft
from weft.agents.schedule import Rounds
from weft.cli.main import run
from weft.core import pytree, storage
from weft.data.samplers.transitions import Transitions
from weft.deployment.ledger import Ledger
from weft.experiments.learning_curves import Finding

HERE = tabular.world()
CONTINUOUS = small.continuous()
LOGGED = HERE.log(1000)
OTHERS = [HERE.log(1000, seed) for seed in (7, 8, 9)]
BATCHES = {"sampler": Transitions(16), "hidden": (8,)}


def digest(tree) -> str:
    """Return a name for the bits of a tree."""
    found = hashlib.sha256()
    for leaf in map(np.asarray, jax.tree.leaves(tree)):
        found.update(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes())
    return found.hexdigest()[:16]


def of_run(run) -> dict[str, object]:
    """Return what must be the same of a run in memory, and the files that help no states to go on."""
    kept = {path.name for path in (run.folder / "checkpoints").iterdir()}
    alone = {name for name in kept if name.replace("ring", "group").replace("worlds", "group") not in kept}
    last = {f"{one} {seed}": digest(run.state(one, seed)) for one in range(len(run.settings)) for seed in range(2)}
    return {**last, "metrics": json.dumps(run.metrics), "stopped": run.record.get("stopped"), "alone": alone}


def of_study(study) -> dict[str, object]:
    """Return what must be the same of a study in memory."""
    seen = np.arange(6, dtype=np.int32)
    return {
        "decision": repr(study.decision.record()), "table": repr(study.table), "notes": study.notes,
        "policy": study.policy(seen, jax.random.key(0)).tolist(),
    }  # fmt: skip


def of_search(found) -> dict[str, object]:
    """Return what must be the same of a search in memory."""
    return {"trials": repr(found.trials), "setting": repr(found.setting), "policy": digest(found.policy.inner)}


def of_benchmark(found) -> dict[str, object]:
    """Return what must be the same of a benchmark in memory."""
    return {"table": found.table(), "best": found.table("best"), "notes": found.notes}


# --- the commands ---------------------------------------------------------------------------------------------------


def trained(root, steps=16, settings=None, **options):
    """Train two settings of each of two sizes, two seeds of each, with a checkpoint at every row."""
    tried = settings or weft.grid(small.iql(), expectile=[0.6, 0.9], hidden=[(8,), (4, 4)])
    how = {"log_every": 2, "checkpoint_seconds": 0, "resume": True, **options}
    return weft.fit(tried, CONTINUOUS, steps, 2, root / "run", **how)


def hopeless(root):
    """Train a setting that is well and one that is stopped early."""
    settings = [small.iql(), small.iql(hidden=(4,), learning_rate=1e30)]
    return trained(root, settings=settings, stop_when_hopeless=True)


def acted(root, env="cartpole", **options):
    """Learn by acting, and be evaluated on the way."""
    rounds = Rounds(lanes=2, updates=1, warm_up=8, capacity=24)
    how = {"log_every": 4, "evaluate_every": 8, "evaluate_episodes": 2, "checkpoint_seconds": 0, "resume": True}
    return weft.fit(
        weft.DQN(**BATCHES), steps=40, seeds=2, out=root / "run", env=env, rounds=rounds, **{**how, **options}
    )


@functools.cache
def logged():
    """Return a run on the maze's log, and the log."""
    data = weft.load("sample:maze", episodes=6)
    return weft.fit(weft.IQL(**BATCHES), data, 10, 2), data


def tuned_finely(root):
    """Go on from a log by acting."""
    run, data = logged()
    how = {"log_every": 4, "evaluate_every": 8, "evaluate_episodes": 2, "checkpoint_seconds": 0, "resume": True}
    return weft.finetune(run, "maze", 20, root / "run", data=data, **how)


def studied(root, **options):
    """From a log to a decision."""
    methods = options.pop("methods", None) or (small.bc(), small.iql())
    how = {"steps": 20, "seeds": 2, "batch_size": 16, "log_every": 2, "checkpoint_seconds": 0, **options}
    return weft.study(LOGGED, methods, root / "study", ledger=root / "ledger", **how)


def searched(root, **options):
    """Search a learning rate in two batches."""
    how = {"trials": 4, "together": 2, "steps": 20, "seeds": 2, "batch_size": 16, **options}
    space = {"learning_rate": "log:1e-6:3e-2"}
    return weft.tune(LOGGED, small.iql(), space, root / "search", log_every=4, checkpoint_seconds=0, **how)


def compared(root, methods=("bc", "iql"), seeds=2):
    """Compare two methods on one task."""
    made = [getattr(small, name)() for name in methods]
    how = {"steps": 20, "every": 4, "episodes": 3, "seeds": seeds}
    return weft.benchmark(made, {"grid": (weft.load("sample:grid", episodes=40), "grid")}, root / "benchmark", **how)


def certified(root):
    """Ask about four logs: two decisions about one of them, two reports, and the first question once more."""

    def ask(pull, data, **options):
        return weft.certify(tabular.asks(HERE.rule(pull)), data, ledger=root / "ledger", **options)

    how = {"show": "decision", "risk": 0.02}
    asked = [
        (-0.6, LOGGED, how),
        (0.6, LOGGED, how),
        (0.6, OTHERS[0], {}),
        (0.3, OTHERS[1], how),
        (-0.6, OTHERS[2], {}),
    ]
    found = [ask(pull, data, **options) for pull, data, options in [*asked, asked[0]]]
    storage.make_folder(root / "answers")
    for number, decision in enumerate(found):
        storage.write_json(root / "answers" / f"{number}.json", decision.record())
    return found


# --- every state that a kill can leave ------------------------------------------------------------------------------

LONG = 1e9  # seconds between checkpoints that are never over


def without_checkpoints(path: str) -> bool:
    """Say whether a file depends on when checkpoints fell due."""
    return "/checkpoints/" in path


SCENARIOS = {
    "fit": Scenario(trained, figures=of_run),
    "fit hopeless": Scenario(hopeless, figures=of_run),
    "fit extended": Scenario(lambda root: trained(root, 24), lambda root: trained(root, 12), of_run),
    "fit, checkpoints by the clock": Scenario(
        trained, figures=of_run, later=lambda root: trained(root, checkpoint_seconds=LONG), ignored=without_checkpoints
    ),
    "fit --env": Scenario(acted, figures=of_run),
    "fit --env, a simulator": Scenario(lambda root: acted(root, "CartPole-v1"), figures=of_run),
    "fit --env, checkpoints by the clock": Scenario(
        acted, figures=of_run, later=lambda root: acted(root, checkpoint_seconds=LONG), ignored=without_checkpoints
    ),
    "finetune": Scenario(tuned_finely, figures=of_run),
    "study": Scenario(studied, figures=of_study),
    "tune": Scenario(searched, figures=of_search),
    "benchmark": Scenario(compared, figures=of_benchmark),
    "certify": Scenario(certified, figures=lambda found: {"decisions": [repr(one.record()) for one in found]}),
}
PART = {"fit hopeless": 40, "fit extended": 40, "fit, checkpoints by the clock": 20, "finetune": 30}
PART |= {"fit --env, a simulator": 40, "fit --env, checkpoints by the clock": 20}


def check(root, scenario, count, deeper=0, seed=None):
    """Let a scenario go on from so many states, and from so many that a second kill leaves; complain of all at once."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    generator = random.Random(seed)
    _, moments, expected = whole(root, scenario)
    chosen = points(moments, count, generator)
    begun = generator.sample(chosen, min(len(chosen), -(-deeper // 4)))
    chosen += twice(root, scenario, begun, 4, generator) if deeper else []
    wrong = endure(root, scenario, chosen, expected)
    print(f"{len(chosen)} points drawn with seed {seed}, {len(moments)} moments, {len(wrong)} failures")
    assert not wrong, f"{len(wrong)} of {len(chosen)} points (seed {seed}):\n" + "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SCENARIOS)
def test_hundreds_of_kills_leave_no_trace_and_change_no_result(name, tmp_path):
    check(tmp_path / "here", SCENARIOS[name], PART.get(name, 64), PART.get(name, 64) // 2)


@pytest.mark.slow
def test_the_clock_has_no_say_in_what_a_study_chooses(tmp_path, monkeypatch):
    def peak(steps, mean_q):
        """Say that values were highest when all but the last checkpoint were written."""
        return Finding("over-fitting", "alarm", "Mean Q rose and fell.", 18, {"peak": float(len(mean_q) + len(steps))})

    monkeypatch.setattr(importlib.import_module("weft.experiments.triage"), "overfitting", peak)
    cql = pytree.replace(weft.CQL(hidden=(8,)), "sampler.batch_size", 16)
    rarely = Scenario(
        functools.partial(studied, methods=(cql,), checkpoint_seconds=LONG),
        figures=of_study,
        ignored=without_checkpoints,
    )
    often = dataclasses.replace(rarely, command=functools.partial(studied, methods=(cql,)), later=rarely.command)
    generator = random.Random(0)
    _, _, expected = whole(tmp_path / "here", rarely)
    _, moments, _ = whole(tmp_path / "here", often)
    wrong = endure(tmp_path / "here", often, points(moments, 40, generator), expected)
    assert not wrong, f"{len(wrong)} of 40 points:\n" + "\n".join(wrong)


@pytest.mark.slow
def test_a_killed_command_writes_its_answer_and_spends_once(tmp_path, capsys):
    log, policy = tmp_path / "log.csv", tmp_path / "policy.safetensors"
    generator = np.random.default_rng(0)
    lines = [f"{generator.normal():.6f},{number % 2},{int(generator.random() < 0.5)},0.5" for number in range(200)]
    log.write_text("\n".join(["x,item,click,p", *lines]) + "\n")
    columns = {"observations": ["x"], "action": "item", "reward": "click", "propensity": "p"}
    weft.fit(small.bc(), weft.load(log, **columns).select(np.arange(100)), 20).save_policy(policy)
    log.write_text("\n".join(["x,item,click,p", *lines[100:]]) + "\n")

    def asked(root):
        line = f"certify {policy} {log} --observations x --action item --reward click --propensity p --reward-range 0 1"
        more = f"--horizon 1 --ledger {root / 'ledger'} --out {root / 'answer.json'}"
        assert run([*line.split(), *more.split()]) == 0
        return capsys.readouterr().out

    check(tmp_path / "here", Scenario(asked, figures=lambda shown: {"shown": shown}), 64)


def test_a_few_kills_leave_no_trace_and_change_no_result(tmp_path):
    few = Scenario(lambda root: trained(root, 4, small.iql()), figures=of_run)
    check(tmp_path / "here", few, 6, seed=1)


# --- the states themselves ------------------------------------------------------------------------------------------


def two_steps(root):
    """Write a file as it must be written, a line as lines must be, and delete the file."""
    storage.write_bytes(root / "whole", b"content")
    storage.append_lines(root / "lines", ["first", "second"])
    (root / "whole").unlink()


def test_every_state_between_is_seen(tmp_path):
    restore(tmp_path / "here", {})
    moments, _ = record(tmp_path / "here", two_steps)
    states = [point.tree for seed in range(40) for point in points(moments, 99, random.Random(seed))]
    assert {"whole": b"content"} in states
    assert {"whole": b"content", "lines": b"first\nsecond\n"} in states  # before the deletion
    assert {"lines": b"first\nsecond\n"} in states
    for length in range(7):
        assert {".whole.part": b"content"[:length]} in states  # torn
    assert {"whole": b"content", "lines": b"first\nsec"} in states
    assert {"whole": b"content"} in states  # the line was never flushed
    assert all(tree.get("whole", b"content") == b"content" for tree in states)  # a name that is there is whole


def careless(root):
    """Write in place, and let nothing be finished that was begun."""
    assert not (root / "other").exists()
    (root / "file").write_bytes(b"0123456789")
    os.mkdir(root / "other")
    (root / "other/.rest.part").write_bytes(b"0")
    os.unlink(root / "other/.rest.part")
    os.rmdir(root / "other")


def test_what_a_careless_command_leaves_is_told(tmp_path):
    scenario = Scenario(careless, later=lambda root: None)
    _, moments, expected = whole(tmp_path / "here", scenario)
    wrong = "\n".join(endure(tmp_path / "here", scenario, points(moments, 99, random.Random(0)), expected))
    assert "torn at 0 of 4, before mkdir other: file differs" in wrong
    assert "killed at 2 of 4, before rmdir other: other is left over" in wrong
    assert "other/.rest.part is left over" in wrong
    again = endure(tmp_path / "here", Scenario(careless), points(moments, 99, random.Random(0)), expected)
    assert any("AssertionError (test_crash_points.py:" in complaint for complaint in again)


# --- processes ------------------------------------------------------------------------------------------------------

COMMAND = "from weft.cli.main import main; main()"


def rows(folder):
    """Return how many rows of metrics there are below a folder."""
    return sum(path.read_bytes().count(b"\n") for path in folder.rglob("metrics.jsonl"))


def drawn(numbers):
    """Return two of these numbers, ascending."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"moments drawn with seed {seed}")  # shown when the test fails
    return sorted(random.Random(seed).sample(numbers, 2))


def killed(line, moment):
    """Start a command, kill it as soon as `moment()` is true, and say whether it was still running."""
    process = small.child(COMMAND, *line)
    while process.poll() is None and not moment():
        time.sleep(0.002)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def finished(line):
    """Let a command come to its end."""
    process = small.child(COMMAND, *line)
    said, problems = process.communicate(timeout=300)
    assert process.returncode == 0, problems
    return said


@pytest.mark.slow
def test_two_kills_of_learning_by_acting_cost_no_bit(tmp_path):
    def line(folder):
        words = "fit dqn --env cartpole --steps 2000 --seeds 2 --log-every 20 --evaluate-every 200 --warm-up-steps 100"
        return [*words.split(), "--checkpoint-seconds", 0, "--quiet", "--resume", "--out", folder]

    finished(line(tmp_path / "whole"))
    for wanted in drawn(range(1, 180)):
        assert killed(line(tmp_path / "run"), lambda wanted=wanted: rows(tmp_path / "run") >= wanted), wanted
    finished(line(tmp_path / "run"))
    outcomes = [Scenario(print).outcome(tmp_path / name, None) for name in ("whole", "run")]
    assert outcomes[0] == outcomes[1]


@pytest.mark.slow
def test_three_kills_of_a_study_change_no_answer_and_spend_once(tmp_path):
    def line(name):
        words = "study sample:notifications --algorithms bc cql --steps 1000 --seeds 2 --batch-size 16 --quiet"
        return [*words.split(), "--out", tmp_path / name / "study", "--ledger", tmp_path / name / "ledger"]

    def spent():
        return (tmp_path / "killed/ledger/ledger.jsonl").exists()

    told = finished(line("left"))
    for wanted in drawn(range(1, 400)):
        assert killed(line("killed"), lambda wanted=wanted: rows(tmp_path / "killed") >= wanted), wanted
    assert killed(line("killed"), spent)
    assert not (tmp_path / "killed/study/study.json").exists()
    before = Ledger(tmp_path / "killed/ledger").entries()
    assert finished(line("killed")) == told.replace("/left/", "/killed/")
    assert Ledger(tmp_path / "killed/ledger").entries() == before
    outcomes = [Scenario(print, ignored=moments_in_it).outcome(tmp_path / name, None) for name in ("left", "killed")]
    assert outcomes[0] == outcomes[1]


def moments_in_it(path):
    """Say whether a file shows when the ledger was written."""
    return path.endswith("report.html")
