import json
import re

import jax
import numpy as np
import pytest
from small import bc, child, continuous, iql, labelled, same

import weft
from weft.agents.algorithm import describe, rebuild
from weft.core import pytree, storage
from weft.core.errors import UserError
from weft.training import loop as train
from weft.training import run_folder as folders


@pytest.fixture(scope="module")
def data():
    return continuous()


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run of 40 steps that nobody disturbed."""
    return weft.fit(iql(), data, 40, 2, tmp_path_factory.mktemp("whole") / "run", log_every=5)


def cut(run, step):
    """Make a folder look as if the process had died some time after the checkpoint at a step."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    text = "".join(json.dumps(row) + "\n" for row in rows if row["step"] <= step + 5)
    (run / "metrics.jsonl").write_text(text + '{"step": 35, "sett')
    for path in (run / "checkpoints").iterdir():
        if int(path.stem[-9:]) > step:
            path.unlink()


# --- resuming -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [iql, bc], ids=["iql", "bc"])
def test_a_resumed_run_is_the_whole_run_bit_for_bit(make, data, tmp_path):
    undisturbed = weft.fit(make(), data, 40, 2, tmp_path / "whole", log_every=5)
    weft.fit(make(), data, 40, 2, tmp_path / "run", log_every=5, keep=[20])
    cut(tmp_path / "run", 20)
    run = weft.fit(make(), data, 40, 2, tmp_path / "run", log_every=5, resume=True)
    assert same(run.states[0][40], undisturbed.states[0][40])
    assert run.metrics == undisturbed.metrics
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    loaded = weft.load_run(tmp_path / "run")
    assert same(loaded.state(seed=1), undisturbed.state(seed=1))


def test_chunks_logging_and_checkpoints_never_change_a_parameter(whole, data):
    for options in ({"log_every": 40}, {"log_every": 7, "keep": [3, 11]}):
        assert same(weft.fit(iql(), data, 40, 2, **options).states[0][40], whole.states[0][40])


def test_a_finished_run_resumes_to_itself(whole, data):
    again = weft.fit(iql(), data, 40, 2, whole.folder, log_every=5, resume=True)
    assert same(again.state(), whole.state())
    assert again.metrics == whole.metrics


@pytest.mark.slow
def test_two_processes_make_the_same_bits(whole, data, tmp_path):
    code = """
import sys, weft, small
weft.fit(small.iql(), small.continuous(), 40, 2, sys.argv[1], log_every=5)
"""
    process = child(code, tmp_path / "run")
    _, problems = process.communicate(timeout=300)
    assert process.returncode == 0, problems
    other = weft.load_run(tmp_path / "run")
    assert same(other.state(seed=1), whole.state(seed=1))
    assert other.metrics == whole.metrics


def test_a_longer_run_says_so_and_goes_on(data, tmp_path, capsys):
    weft.fit(bc(), data, 20, 1, tmp_path / "run")
    run = weft.fit(bc(), data, 30, 1, tmp_path / "run", resume=True, progress=True)
    assert "Extended from 20 to 30 steps; schedules go by the new total." in capsys.readouterr().err
    assert run.record["extended_from"] == [20]
    assert same(run.state(), weft.fit(bc(), data, 30, 1).state())  # behaviour cloning has no schedule
    with pytest.raises(UserError, match="was planned for 30 steps"):
        weft.fit(bc(), data, 20, 1, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"algorithm": iql(expectile=0.8)}, r"its settings differ \(expectile: 0.7 then, 0.8 now\)"),
        ({"seeds": 3}, r"its seeds differ \(\[0, 1\] then, \[0, 1, 2\] now\)"),
        ({"observations": "none"}, r"its units differ \(observations: standardise then, none now\)"),
        ({"reward_shift": 1.0}, r"its units differ \(reward_shift: 0.0 then, 1.0 now\)"),
        ({"data": continuous(seed=1)}, "its data differ"),
    ],
)
def test_resuming_another_run_is_refused_by_name(changes, sentence, whole, data):
    before = {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()}
    call = {"algorithm": iql(), "data": data, "steps": 40, "seeds": 2, "out": whole.folder, "resume": True}
    with pytest.raises(UserError, match=sentence):
        weft.fit(**{**call, **changes})
    assert before == {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()}


def test_resuming_other_declared_bounds_is_refused(whole, data):
    with pytest.raises(UserError, match="its spec differ"):
        weft.fit(iql(), data.declare(horizon=10), 40, 2, whole.folder, resume=True)


def test_resuming_nothing_starts(data, tmp_path, capsys):
    run = weft.fit(bc(), data, 5, 1, tmp_path / "new", resume=True, progress=True)
    assert run.steps == [5]
    assert "There is nothing to resume" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(whole, data, tmp_path, capsys):
    weft.fit(iql(), data, 40, 2, tmp_path / "run", log_every=5, keep=[20])
    last = tmp_path / "run/checkpoints/group-0-step-000000040.safetensors"
    content = bytearray(last.read_bytes())
    content[-3] ^= 1  # one bit of one number
    last.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        weft.load_run(tmp_path / "run").state()
    run = weft.fit(iql(), data, 40, 2, tmp_path / "run", log_every=5, resume=True, progress=True)
    said = capsys.readouterr().err
    assert "000000040.safetensors is damaged" in said
    assert "Resuming at step 20." in said
    assert same(run.state(), whole.state())
    assert run.metrics == whole.metrics
    for path in (tmp_path / "run/checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        weft.fit(iql(), data, 40, 2, tmp_path / "run", resume=True)


# --- opening phases -------------------------------------------------------------------------------------------------

IMITATING = {"brac": weft.BRAC, "kl_control": weft.KLControl}
TINY = {"hidden": (8,), "sampler": weft.data.samplers.transitions.Transitions(16)}
imitating = pytest.mark.parametrize("name", IMITATING)


def close(one, two) -> None:
    """Hold the states of two programs against each other, which may round otherwise."""
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@imitating
def test_imitation_takes_its_share_of_any_run(name, data):
    run = weft.fit(IMITATING[name](**TINY), data, 40, log_every=8)
    assert [row["critic_loss"] > 0.0 for row in run.metrics] == [False, True, True, True, True]
    assert [row["behaviour_loss"] != 0.0 for row in run.metrics] == [True, False, False, False, False]
    counted = weft.fit(IMITATING[name](behaviour_steps=8, **TINY), data, 40)
    close(counted.state(), run.state())
    setting, batch = pytree.as_arrays(run.settings[0]), TINY["sampler"](data.device(), jax.random.key(0))
    assert float(setting.measure(run.state(), batch, jax.random.key(1))["critic_loss"]) > 0.0  # not of its imitation


@pytest.mark.few(1)
@imitating
def test_a_share_is_resumed_bit_for_bit_and_no_extension_imitates_again(name, data, tmp_path):
    method, counted = IMITATING[name](**TINY), IMITATING[name](behaviour_steps=8, **TINY)
    for step in (5, 20):
        out = tmp_path / f"run-{step}"
        whole = weft.fit(method, data, 40, out=out, keep=[step])
        cut(out, step)
        assert same(weft.fit(method, data, 40, out=out, resume=True).state(), whole.state())
        longer = weft.fit(method, data, 400, out=out, resume=True)  # a fifth of it is more than was trained
        close(longer.state(), weft.fit(counted, data, 400).state())


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (weft.BRAC(behaviour_steps=5000, **TINY), "behaviour_steps=5000 takes 5,000 of 40 steps, more than half"),
        (weft.KLControl(behaviour_steps=0.6, **TINY), "behaviour_steps=0.6 takes 24 of 40 steps, more than half"),
        (weft.CQL(warm_up=30, **TINY), "warm_up=30 takes 30 of 40 steps"),
        (weft.BEAR(warm_up=30, **TINY), "warm_up=30 takes 30 of 40 steps"),
    ],
)
def test_an_opening_that_takes_most_of_a_run_is_refused(setting, words, data, tmp_path):
    with pytest.raises(UserError, match=re.escape(words)):
        weft.fit(setting, data, 40, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@imitating
def test_settings_of_runs_written_before_are_read(name):
    was = {**describe(IMITATING[name]()), "behaviour_steps": 5000}
    assert rebuild(was).behaviour_steps == 5000


@pytest.mark.slow
def test_continuous_cql_backs_up_drawn_actions_and_choices_greedily(data):
    few = labelled()
    for log, own, other in ((data, "plain", "greedy"), (few, "greedy", "plain")):
        runs = [
            weft.fit(weft.CQL(backup=how, learning_rate=0.1, **TINY), log, 20).state() for how in ("auto", own, other)
        ]
        assert same(runs[0], runs[1])
        assert not same(runs[0], runs[2])


# --- folders ------------------------------------------------------------------------------------------------------


def test_a_taken_folder_is_refused(whole, data, tmp_path):
    with pytest.raises(UserError, match="already holds a run"):
        weft.fit(iql(), data, 40, 2, whole.folder)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and holds no run \(notes.txt\)"):
        weft.fit(bc(), data, 5, 1, tmp_path)
    with pytest.raises(UserError, match="is a file; choose a folder"):
        weft.fit(bc(), data, 5, 1, tmp_path / "notes.txt")
    with pytest.raises(UserError, match="Cannot write"):
        weft.fit(bc(), data, 5, 1, tmp_path / "notes.txt" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_start_that_was_interrupted_may_begin_again(data, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "transform.safetensors").write_bytes(b"")
    (tmp_path / ".run.json.part").write_text("{")
    assert weft.fit(bc(), data, 5, 1, tmp_path).steps == [5]


def test_two_processes_cannot_share_a_folder(data, tmp_path):
    weft.fit(bc(), data, 5, 1, tmp_path / "run")
    with (
        storage.locked(tmp_path / "run/.lock", "busy"),
        pytest.raises(UserError, match="is in use by another process; wait for it or choose another folder"),
    ):
        weft.fit(bc(), data, 10, 1, tmp_path / "run", resume=True)
    assert weft.fit(bc(), data, 10, 1, tmp_path / "run", resume=True).steps == [5, 10]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": 0}, "The number of seeds must be at least 1, got 0"),
        ({"seeds": []}, "The number of seeds must be at least 1"),
        ({"seeds": [1, 1]}, "Seeds must be different"),
        ({"seeds": [-1]}, "whole numbers from 0"),
        ({"steps": 0}, "The number of steps must be at least 1, got 0"),
        ({"keep": [41]}, "must be between 1 and 40, got 41"),
        ({"batch_size": 0}, "The batch size must be at least 1, got 0"),
        ({"log_every": 0}, "every 1 step or more, got 0"),
        ({"algorithm": []}, "no setting to train"),
        ({"algorithm": "iql"}, "such as weft.IQL"),
        ({"algorithm": [iql(), bc()]}, "of one algorithm"),
        ({"observations": "whiten"}, "'standardise' or 'none'"),
        ({"rewards": "best"}, "'size', 'largest', 'returns', 'unit' or 'none'"),
    ],
)
def test_wrong_arguments_are_one_sentence_and_write_nothing(changes, sentence, data, tmp_path):
    call = {"algorithm": iql(), "data": data, "steps": 40, "seeds": 1, "out": tmp_path / "run"}
    with pytest.raises(UserError, match=sentence) as caught:
        weft.fit(**{**call, **changes})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_only_the_last_two_checkpoints_and_those_to_keep_stay(data, tmp_path):
    run = weft.fit(bc(), data, 20, 1, tmp_path / "run", log_every=2, keep=[5], checkpoint_seconds=0)
    assert run.steps == weft.load_run(tmp_path / "run").steps == [5, 18, 20]
    assert not same(run.state(step=5), run.state())
    assert weft.fit(bc(), data, 20, 1, keep=[5]).steps == [5, 20]


# --- sweeps -------------------------------------------------------------------------------------------------------


def test_a_grid_of_two_structures_is_two_programs(data, tmp_path):
    settings = weft.grid(bc(), learning_rate=[1e-2, 1e-3], hidden=[(8,), (4, 4)])
    before = train.advance._cache_size()
    run = weft.fit(settings, data, 20, [3, 5, 7], tmp_path / "run", log_every=5)
    assert train.advance._cache_size() == before + 2
    assert run.groups == [[0, 2], [1, 3]]
    assert [len(setting.hidden) for setting in run.settings] == [1, 2, 1, 2]
    loaded = weft.load_run(tmp_path / "run")
    for place, setting in enumerate(settings):
        single = weft.fit(setting, data, 20, [5])
        for source in (run, loaded):
            found = source.policy(setting=place, seed=1)
            assert all(
                np.allclose(one, two, atol=1e-5)
                for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(single.policy()), strict=True)
            )
    assert {(row["setting"], row["seed"]) for row in run.metrics} == {(s, seed) for s in range(4) for seed in (3, 5, 7)}
    with pytest.raises(UserError, match="has settings 0 to 3, not 4"):
        run.policy(setting=4)
    with pytest.raises(UserError, match="has seeds 0 to 2, not 3"):
        run.policy(seed=3)


def test_two_sweeps_over_floats_share_one_program(data):
    weft.fit(weft.grid(iql(), expectile=[0.6, 0.9], learning_rate=[1e-3, 1e-4]), data, 6, 2)
    before = train.advance._cache_size()
    weft.fit(weft.grid(iql(), expectile=[0.7, 0.8], inverse_temperature=[1, 10.0]), data, 9, 2)
    assert train.advance._cache_size() == before


def test_a_whole_number_for_a_float_compiles_and_means_the_same(data):
    assert same(
        weft.fit(iql(inverse_temperature=3), data, 5).state(), weft.fit(iql(inverse_temperature=3.0), data, 5).state()
    )


def test_a_grid_resumes_where_each_program_stopped(data, tmp_path):
    settings = weft.grid(bc(), hidden=[(8,), (4,)], learning_rate=[1e-3, 1e-2])
    whole = weft.fit(settings, data, 20, 1, tmp_path / "whole", log_every=5)
    weft.fit(settings, data, 20, 1, tmp_path / "run", log_every=5, keep=[10])
    folder = tmp_path / "run"
    folders.replace_rows(folder, [row for row in folders.read_rows(folder) if row["setting"] < 2])
    (folder / "checkpoints/group-1-step-000000020.safetensors").unlink()
    (folder / "checkpoints/group-1-step-000000010.safetensors").unlink()
    run = weft.fit(settings, data, 20, 1, folder, log_every=5, resume=True)
    assert run.metrics == whole.metrics
    assert all(same(run.state(place), whole.state(place)) for place in range(4))


def test_progress_says_how_many_runs_and_programs(data, capsys):
    weft.fit(weft.grid(bc(), learning_rate=[1e-3, 1e-4]), data, 10, 2, progress=True)
    said = capsys.readouterr().err
    assert "4 runs (2 settings × 2 seeds) in 1 program, 10 steps each" in said
    assert "10/10" in said
    weft.fit(bc(), data, 5)
    assert not capsys.readouterr().err


def test_discrete_and_dictionary_logs_train(tmp_path):
    run = weft.fit(iql(), labelled(), 10, 1, tmp_path / "run")
    assert run.policy()({"place": np.zeros(2, np.float32), "zone": np.array("north")}) in ("left", "right", "wait")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"steps": 1e5}, "The number of steps must be a whole number, got 100000.0."),
        ({"seeds": 1.5}, "The number of seeds must be a whole number, got 1.5."),
        ({"keep": [2.5]}, "A step to keep must be a whole number, got 2.5."),
        ({"batch_size": 8.0}, "The batch size must be a whole number, got 8.0."),
        ({"keep": 2}, "The steps to keep are a list such as [500, 1000], got 2."),
        (
            {"rewards": "nonsense"},
            "Rewards can be scaled by 'size', 'largest', 'returns', 'unit' or 'none', not by 'nonsense'.",
        ),
        ({"observations": "nonsense"}, "Observations can be transformed by 'standardise' or 'none', not by 'nonsense'"),
        ({"reward_shift": "much"}, "The shift of rewards must be a finite number, got 'much'."),
        ({"rounds": weft.Rounds()}, "rounds is for methods that act (env), and for finetune; leave it out."),
        ({"evaluate_every": 2}, "evaluate_every is for methods that act (env), and for finetune; leave it out."),
        ({"evaluate_episodes": 2}, "evaluate_episodes is for methods that act (env), and for finetune; leave it out."),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_is_written(tmp_path, given, sentence):
    with pytest.raises(weft.UserError, match=re.escape(sentence)):
        weft.fit(weft.BC(hidden=(4,)), continuous(), out=tmp_path / "run", **{"steps": 4, **given})
    assert not (tmp_path / "run").exists()


def test_what_a_method_refuses_is_refused_before_anything_is_written(tmp_path):
    data = weft.load("sample:grid", episodes=4)
    with pytest.raises(weft.UserError, match="no soft backup"):
        weft.fit(weft.CQL(hidden=(4,), backup="soft"), data, steps=2, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": -1.0},
        {"learning_rate": float("nan")},
        {"target_rate": 5.0},
        {"hidden": (0,)},
        {"hidden": (-3,)},
    ],
)
def test_hyperparameters_out_of_range_are_refused(wrong):
    with pytest.raises(weft.UserError, match=next(iter(wrong))):
        weft.IQL(**wrong)


def test_states_kept_for_good_survive_a_resume_that_does_not_name_them(tmp_path):
    options = {"checkpoint_seconds": 0.0, "log_every": 2}
    weft.fit(weft.BC(hidden=(4,)), continuous(), 4, out=tmp_path / "run", keep=[2], **options)
    weft.fit(weft.BC(hidden=(4,)), continuous(), 14, out=tmp_path / "run", resume=True, **options)
    steps = weft.load_run(tmp_path / "run").steps
    assert {2, 4, 14} <= set(steps)


def test_a_torn_first_row_and_half_written_files_do_not_stay(tmp_path):
    run = tmp_path / "run"
    weft.fit(weft.BC(hidden=(4,)), continuous(), 4, out=run, log_every=2)
    (run / "metrics.jsonl").write_text('{"step": 2, "se')
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged: it ends before step 4.*delete it"):
        weft.fit(weft.BC(hidden=(4,)), continuous(), 8, out=run, resume=True, log_every=2)
    (run / "checkpoints" / "group-0-step-000000004.safetensors").unlink()
    (run / "checkpoints" / ".group-0-step-000000002.safetensors.part").write_bytes(b"half")
    weft.fit(weft.BC(hidden=(4,)), continuous(), 8, out=run, resume=True, log_every=2)
    assert [row["step"] for row in weft.load_run(run).metrics] == [2, 4, 6, 8]
    assert not list((run / "checkpoints").glob(".*.part"))


def test_metrics_that_were_deleted_are_done_without(tmp_path):
    run = tmp_path / "run"
    weft.fit(weft.BC(hidden=(4,)), continuous(), 4, out=run, log_every=2)
    (run / "metrics.jsonl").unlink()
    weft.fit(weft.BC(hidden=(4,)), continuous(), 8, out=run, resume=True, log_every=2)
    assert [row["step"] for row in weft.load_run(run).metrics] == [6, 8]


def test_another_discount_than_the_declared_one_is_said(capsys):
    data = weft.load("sample:grid", episodes=4)
    weft.fit(weft.IQL(hidden=(4,)), data, steps=2, progress=True)
    assert "The log declares the discount 1; the method uses 0.99." in capsys.readouterr().err


def test_a_run_that_ends_in_an_opening_phase_says_so(capsys):
    method = weft.BRAC(hidden=(4,))
    weft.fit(method, continuous(), steps=1, progress=True)
    told = "Behaviour-regularised actor-critic ends within behaviour_steps=0.2: the policy does not learn in this run."
    assert told in capsys.readouterr().err
    weft.fit(method, continuous(), steps=2, progress=True)
    assert "does not learn" not in capsys.readouterr().err


# --- the scale of rewards -------------------------------------------------------------------------------------------


def paid(factor):
    """Return the log of `continuous`, paid in other units."""
    data = continuous()
    return data.rewarded(lambda reward: reward * np.float32(factor))


def test_values_are_reported_in_the_rewards_of_the_log_and_policies_do_not_care(tmp_path):
    runs = [weft.fit(iql(), paid(factor), 30, 1, tmp_path / f"{factor}", log_every=10) for factor in (1, 100)]
    for one, other in zip(*(run.metrics for run in runs), strict=True):
        assert other["mean_q"] == pytest.approx(100 * one["mean_q"], rel=1e-3)
        assert other["critic_loss"] == pytest.approx(one["critic_loss"], rel=1e-3)  # in the method's own scale
    seen = continuous().observations
    np.testing.assert_allclose(runs[0].policy()(seen), runs[1].policy()(seen), atol=1e-5)
    size = np.sqrt((continuous().rewards ** 2).mean())
    loaded = weft.load_run(tmp_path / "100")
    assert loaded.unit == pytest.approx(100 * size, rel=1e-5)
    loaded.save_policy(tmp_path / "policy.safetensors")
    assert weft.load_policy(tmp_path / "policy.safetensors").transform.reward_unit == pytest.approx(loaded.unit)


def test_the_scale_is_said(capsys):
    weft.fit(iql(), paid(100), steps=2, progress=True)
    size = 100 * np.sqrt((continuous().rewards ** 2).mean())
    assert f"The method sees rewards divided by {size:.4g}, their root mean square." in capsys.readouterr().err
    weft.fit(iql(), paid(100), steps=2, progress=True, rewards="none")
    assert "sees rewards" not in capsys.readouterr().err


def test_a_world_is_scaled_by_what_it_declares(capsys):
    run = weft.fit(weft.SAC(hidden=(4,)), env="pendulum", steps=40, rounds=weft.Rounds(warm_up=10), progress=True)
    assert run.unit == pytest.approx(-run.spec.reward_low[0], rel=1e-6)
    assert "the largest size that the environment declares." in capsys.readouterr().err
    assert run.collected().rewards.min() < -1.0  # in the units of the world


def test_a_run_of_the_older_rule_goes_on_as_it_was(tmp_path):
    folder = tmp_path / "run"
    weft.fit(iql(), paid(100), 10, 1, folder, log_every=5, rewards="unit")
    record = weft.load_run(folder).record
    largest = [most / weft.load_run(folder).unit for most in record.pop("largest_returns")]
    del record["values"]
    storage.write_record(folder / "run.json", {**record, "largest_returns": largest})
    again = weft.fit(iql(), paid(100), 20, 1, folder, resume=True, rewards="unit")
    assert again.unit == 1.0
    assert again.record["largest_returns"] == largest
    assert weft.load_run(folder).unit == 1.0
    assert abs(again.metrics[-1]["mean_q"]) < 10.0


# --- alarms -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maze():
    return weft.load("sample:maze", episodes=100)


def quick(method):
    """Return a method that learns fast enough to show in a thousand steps what it does in the end."""
    setting = method(hidden=(32,), learning_rate=3e-3, target_rate=0.05)
    return pytree.replace(setting, "sampler.batch_size", 32)


def broken(**settings):
    """Return a method that is lost after its first step."""
    return iql(learning_rate=1e30, **settings)


def test_learning_without_a_constraint_raises_the_alarm_once_and_iql_does_not(maze, caplog):
    run = weft.fit(quick(weft.SAC), maze, 1000, 1, log_every=100, rewards="none")
    (said,) = [record.message for record in caplog.records]
    assert re.fullmatch(
        r"Alarm at step \d+: mean Q is [\d.]+, more than 10 times what rewards, discount and method make "
        r"believable \(1\)\.",
        said,
    )
    assert run.steps == [1000]  # nobody asked to stop
    assert "stopped" not in run.record
    caplog.clear()
    weft.fit(quick(weft.IQL), maze, 1000, 1, log_every=100, stop_when_hopeless=True)
    assert not caplog.records


def test_a_hopeless_run_stops_when_asked_and_goes_on_when_asked(maze, tmp_path, caplog):
    whole = weft.fit(quick(weft.SAC), maze, 1000, 1, tmp_path / "whole", log_every=100, rewards="none")
    call = (quick(weft.SAC), maze, 1000, 1, tmp_path / "run")
    run = weft.fit(*call, rewards="none", log_every=100, stop_when_hopeless=True)
    loaded = weft.load_run(tmp_path / "run")
    (stop,) = loaded.record["stopped"]
    assert run.record["stopped"] == [stop]
    assert 100 < stop["step"] < 1000
    assert "more than 10 times" in stop["reason"]
    assert [row["step"] for row in loaded.metrics] == list(range(100, stop["step"] + 1, 100))
    assert loaded.metrics == whole.metrics[: len(loaded.metrics)]
    assert loaded.steps[-1] == run.steps[-1] == stop["step"]
    assert same(loaded.state(), run.state())
    assert f"Stopped at step {stop['step']:,} of 1,000: mean Q" in caplog.text
    with pytest.raises(UserError, match="keeps no state of step 1000"):
        loaded.state(step=1000)
    again = weft.fit(*call, rewards="none", resume=True, stop_when_hopeless=True)
    assert again.record["stopped"] == [stop]
    assert same(again.state(), run.state())
    on = weft.fit(*call, rewards="none", resume=True)
    assert same(on.state(), whole.state())
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    assert "stopped" not in weft.load_run(tmp_path / "run").record


def test_a_killed_run_stops_where_it_would_have_stopped(data, tmp_path):
    whole = weft.fit(broken(), data, 40, 2, tmp_path / "whole", log_every=5, stop_when_hopeless=True)
    weft.fit(broken(), data, 40, 2, tmp_path / "run", log_every=5, keep=[5])
    cut(tmp_path / "run", 5)
    run = weft.fit(broken(), data, 40, 2, tmp_path / "run", log_every=5, resume=True, stop_when_hopeless=True)
    assert run.record["stopped"] == whole.record["stopped"]
    assert run.record["stopped"][0]["step"] == 10
    assert same(run.state(), whole.state())


def test_alarms_change_no_bit(maze, monkeypatch, caplog):
    watched = weft.fit(quick(weft.SAC), maze, 1000, 1, log_every=100, rewards="none")
    assert caplog.records
    monkeypatch.setattr("weft.training.alarms.Watch.take", lambda *_: [])
    blind = weft.fit(quick(weft.SAC), maze, 1000, 1, log_every=50, rewards="none")
    assert same(watched.state(), blind.state())


def test_a_sweep_stops_only_when_all_its_runs_are_hopeless(data, tmp_path, caplog):
    settings = [iql(), broken(), broken(hidden=(4,))]
    run = weft.fit(settings, data, 20, 2, tmp_path / "run", log_every=5, stop_when_hopeless=True)
    assert [(stop["settings"], stop["step"]) for stop in run.record["stopped"]] == [([2], 10)]
    said = [record.message for record in caplog.records]
    assert said[0].startswith("Alarm at step 5: setting 1, seed 0: ")
    assert said[0].endswith(" are not finite (1 other run alike).")
    assert said[1].startswith("Alarm at step 5: seed 0: ")
    assert said[2].startswith("Stopped at step 10 of 20: seed 0: ")
    assert len(said) == 3
    alone = weft.fit(iql(), data, 20, 2)
    for source in (run, weft.load_run(tmp_path / "run")):
        assert source.steps == [20]
        assert [source.kept(setting) for setting in range(3)] == [[20], [20], [10]]
        assert all(
            np.allclose(one, two, atol=1e-5)
            for one, two in zip(jax.tree.leaves(source.state()), jax.tree.leaves(alone.state()), strict=True)
        )
        assert same(source.state(2, step=20), source.state(2, step=10))


def test_alarms_are_shown_with_progress(data, capsys, caplog):
    weft.fit(broken(), data, 20, 1, log_every=5, progress=True, stop_when_hopeless=True)
    said = capsys.readouterr().err
    assert said.count("Alarm at step 5: ") == 1
    assert said.count("Stopped at step 10 of 20: ") == 1
    assert not caplog.records
