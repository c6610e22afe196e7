import dataclasses

import numpy as np
import pytest
from small import bc, continuous, iql

import weft
from weft.core import pytree
from weft.core.errors import UserError
from weft.experiments.triage import choose_checkpoint, triage
from weft.training.run_folder import replace_rows


def cql(**settings):
    return pytree.replace(weft.CQL(**{"hidden": (4,), "samples": 1, **settings}), "sampler.batch_size", 16)


@pytest.fixture(scope="module")
def data():
    return continuous()


@pytest.fixture(scope="module")
def conservative(data, tmp_path_factory):
    """A run of CQL with 40 rows, and checkpoints at every quarter."""
    folder = tmp_path_factory.mktemp("triage") / "small"
    weft.fit(cql(), data, 80, 2, folder, log_every=2, keep=[20, 40, 60])
    return folder


def rewritten(folder, tmp_path, **curves):
    """Return a copy of a run whose metrics follow other curves `time from 0 to 1, seed -> value`."""
    run = weft.load_run(folder)
    last = max(row["step"] for row in run.metrics)
    for row in run.metrics:
        row |= {name: float(curve(row["step"] / last, row["seed"])) for name, curve in curves.items()}
    (tmp_path / "copy").mkdir(exist_ok=True)
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".lock":
            place = tmp_path / "copy" / path.relative_to(folder)
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(path.read_bytes())
    replace_rows(tmp_path / "copy", run.metrics)
    return weft.load_run(tmp_path / "copy")


def rise_and_fall(time, _):
    return 10 * min(time / 0.6, 1 - (time - 0.6))


@pytest.mark.slow
def test_a_real_run_of_a_conservative_method(conservative, data):
    found = triage(weft.load_run(conservative), held_out=continuous(seed=1))
    assert [part.check for part in found.findings] == [
        "divergence", "over-fitting", "under-fitting", "seeds", "held-out log", "support",
    ]  # fmt: skip
    assert found.finding("divergence").verdict == "clear"
    assert found.checkpoint in (20, 40, 60, 80)
    assert 0 <= found.finding("support").figures["share"] <= 1
    assert found.finding("held-out log").figures["ratio"] > 0
    text = str(found)
    assert text.startswith("small, Conservative Q-learning: step 80 of 80, 2 seeds.")
    assert text.endswith("Training triage: it sorts training runs and is never evidence of what a policy is worth.")
    again = triage(weft.load_run(conservative), held_out=data)
    assert "This is the log that the run was trained on." in again.finding("held-out log").sentence


def test_a_run_that_over_fits_gets_the_checkpoint_before_its_peak(conservative, tmp_path):
    found = triage(rewritten(conservative, tmp_path, mean_q=rise_and_fall))
    assert found.finding("over-fitting").verdict == "alarm"
    assert found.finding("over-fitting").sentence.endswith("(2 of 2 seeds)")
    assert 40 <= found.finding("over-fitting").step < 60
    assert found.checkpoint == 40
    assert "Checkpoint: step 40" in str(found)
    assert any("less capacity" in sentence for sentence in found.advice)
    for path in (tmp_path / "copy" / "checkpoints").glob("*0[24]0.safetensors"):
        path.unlink()
    found = triage(weft.load_run(tmp_path / "copy"))
    assert found.checkpoint == 60
    assert any("train again with --keep" in sentence for sentence in found.advice)


def test_what_is_kept_to_resume_from_is_never_chosen(data, tmp_path):
    """Neither interruption nor the speed of the machine decides which checkpoint is taken."""
    weft.fit(cql(), data, 80, 1, tmp_path / "timed", log_every=2, keep=[20, 40], checkpoint_seconds=0)
    run = rewritten(tmp_path / "timed", tmp_path, mean_q=lambda time, _: 10 * min(time / 0.985, 1 - 5 * (time - 0.985)))
    assert run.kept() == [20, 40, 78, 80]
    over = dataclasses.replace(triage(run).finding("over-fitting"), verdict="alarm", step=79)
    assert choose_checkpoint(run.kept(), over) == 78  # which is what was chosen once
    assert choose_checkpoint(run.lasting(), over) == 40
    for path in (tmp_path / "copy" / "checkpoints").glob("*[24]0.safetensors"):
        path.unlink()
    (tmp_path / "copy" / "checkpoints" / "group-0-step-000000080.safetensors").unlink()
    found = triage(weft.load_run(tmp_path / "copy"))
    assert found.checkpoint is None
    assert "No step is kept for good yet" in str(found)


def test_inflated_values_of_a_conservative_method_are_said(conservative, tmp_path):
    run = weft.load_run(conservative)
    (largest,) = run.record["largest_returns"]
    found = triage(rewritten(conservative, tmp_path, mean_q=lambda time, _: 1.5 * largest * min(2 * time, 1)))
    assert found.finding("divergence").verdict == "watch"
    assert f"no return reaches beyond {largest:.4g}" in found.finding("divergence").sentence
    found = triage(rewritten(conservative, tmp_path, mean_q=lambda time, _: 1e5 * time))
    assert found.finding("divergence").verdict == "alarm"


def test_one_seed_of_two_is_worth_watching(conservative, tmp_path):
    run = rewritten(conservative, tmp_path, mean_q=lambda time, seed: rise_and_fall(time, 0) if seed else 10 * time)
    found = triage(run)
    assert found.finding("over-fitting").verdict == "watch"
    assert found.finding("over-fitting").sentence.endswith("(1 of 2 seeds)")
    assert found.checkpoint == 80


@pytest.mark.slow
def test_a_larger_run_tells_whether_the_smaller_under_fits(conservative, data, tmp_path):
    weft.fit(cql(hidden=(16,)), data, 80, 1, tmp_path / "large", log_every=2)
    flat = {"mean_q": lambda time, _: 10 * time, "td_error": lambda *_: 1.0, "gap": lambda *_: 1.0}
    small = rewritten(conservative, tmp_path, **flat)
    (tmp_path / "other").mkdir()
    low = rewritten(tmp_path / "large", tmp_path / "other", td_error=lambda *_: 0.5, gap=lambda *_: 0.5)
    found = triage(small, low)
    assert found.finding("under-fitting").verdict == "alarm"
    assert found.advice == ("Train with a larger network (--hidden), and look again.",)
    alike = rewritten(tmp_path / "large", tmp_path / "other", td_error=lambda *_: 1.0, gap=lambda *_: 1.0)
    found = triage(small, alike)
    assert found.finding("under-fitting").verdict == "clear"
    assert found.advice == ("Neither over- nor under-fitting: take the last checkpoint.",)
    assert "give it as --larger" in triage(small).advice[0]
    over = rewritten(conservative, tmp_path, mean_q=rise_and_fall)
    assert triage(over, alike).finding("under-fitting").verdict == "unknown"


def test_a_larger_run_must_be_the_same_but_for_its_size(conservative, data, tmp_path):
    run = weft.load_run(conservative)
    with pytest.raises(UserError, match="no setting that differs from small in a larger network"):
        triage(run, run)
    with pytest.raises(UserError, match="no setting that differs"):
        triage(run, weft.fit(cql(hidden=(16,), discount=0.9), data, 2))
    with pytest.raises(UserError, match="trained on other data"):
        triage(run, weft.fit(cql(hidden=(16,)), continuous(seed=1), 2))
    with pytest.raises(UserError, match="in other units"):
        triage(run, weft.fit(cql(hidden=(16,)), data, 2, observations="none"))
    with pytest.raises(UserError, match="conservative methods only"):
        triage(weft.fit(iql(), data, 2), run)


def test_other_methods_are_not_asked_for_a_peak(data):
    found = triage(weft.fit(iql(), data, 40, 2, log_every=1))
    assert found.finding("over-fitting").verdict == "unknown"
    assert found.finding("divergence").verdict == "clear"
    assert found.checkpoint == 40
    cloned = triage(weft.fit(bc(), data, 4), held_out=continuous(seed=1))
    assert cloned.finding("divergence").sentence == "All metrics are finite; Behaviour cloning logs no mean Q."
    assert cloned.finding("seeds").verdict == "unknown"
    assert "support" in {part.check for part in cloned.findings}
    assert cloned.checkpoint == 4


def test_a_run_that_was_stopped_says_so_and_has_no_checkpoint(data, caplog):
    run = weft.fit(iql(learning_rate=1e30), data, 20, 1, log_every=5, stop_when_hopeless=True)
    found = triage(run, held_out=data)
    assert found.title.endswith("step 10 of 20, 1 seed, stopped early at step 10.")
    assert found.finding("divergence").verdict == "alarm"
    assert found.finding("divergence").step == 5
    assert found.checkpoint is None
    assert "Checkpoint: none" in str(found)
    assert any("lower the learning rate" in sentence for sentence in found.advice)


def test_settings_are_looked_at_one_by_one(data, caplog):
    run = weft.fit([iql(), iql(learning_rate=1e30)], data, 20, 1, log_every=5)
    assert [triage(run, setting=number).finding("divergence").verdict for number in (0, 1)] == ["clear", "alarm"]
    with pytest.raises(UserError, match="has settings 0 to 1, not 2"):
        triage(run, setting=2)


def test_a_run_without_rows_or_bounds(data):
    run = weft.fit(iql(), data, 20, 1, log_every=1)
    del run.record["largest_returns"]  # an older run
    assert "no bound is known" in triage(run).finding("divergence").sentence
    run.metrics.clear()
    with pytest.raises(UserError, match="has no metrics of setting 0 yet"):
        triage(run)


def test_a_policy_that_leaves_the_log_is_said(data):
    """The log shows actions near 0 only; a policy trained on other actions is far from all of them."""
    still = continuous()
    still = type(still).from_arrays(
        still.observations, 0.01 * still.actions, still.rewards, still.terminals, still.timeouts,
        action_bounds=(-1.0, 1.0),
    )  # fmt: skip
    moved = type(still).from_arrays(
        still.observations, np.full_like(still.actions, 0.8), still.rewards, still.terminals, still.timeouts,
        action_bounds=(-1.0, 1.0),
    )  # fmt: skip
    run = weft.fit(bc(learning_rate=1e-2), moved, 400)
    found = triage(run, held_out=still)
    assert found.finding("support").verdict == "alarm"
    assert any("never shows" in sentence for sentence in found.advice)
    assert triage(run, held_out=moved).finding("support").verdict != "alarm"
