"""What a policy has seen: in memory, in folders and files, put together from others, and of unknown origin."""

import dataclasses

import jax
import numpy as np
import pytest
import small

import weft
from weft import UserError
from weft.agents.served import Served
from weft.data.folds import seal
from weft.evaluation.provenance import refuse_touched, touched


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a log, its folds, and a run on the train fold that has a folder and an exported policy."""
    data = small.continuous()
    folds = seal(data)
    folder = tmp_path_factory.mktemp("runs") / "run"
    run = weft.fit(small.bc(), folds.train, 2, out=folder)
    run.save_policy(folder.parent / "policy.safetensors")
    return data, folds, run, folder


def test_every_form_of_a_run_knows_what_it_has_seen(made):
    _, folds, run, folder = made
    forms = [run, run.policy(), weft.load_run(folder), weft.load_run(folder).policy(), folder, str(folder),
             folder.parent / "policy.safetensors", weft.load_policy(folder.parent / "policy.safetensors")]  # fmt: skip
    for form in forms:
        assert touched(form, folds.train) == 1
        assert touched(form, folds.certify) == 0
        assert refuse_touched(form, folds.certify)
    in_memory = weft.fit(small.bc(), folds.train, 1)
    assert touched(in_memory.policy(), folds.train) == 1


def test_a_run_on_all_data_is_refused_also_in_another_form(made):
    data, folds, run, _ = made
    with pytest.raises(UserError, match=r"^run was trained on 100% of the units of this fold of arrays; train on the "):
        refuse_touched(run, folds.train)
    reloaded = small.continuous().declare(horizon=10)
    assert touched(run, reloaded) == pytest.approx(0.4)
    with pytest.raises(UserError, match=r"^The policy was trained on 40% of the units"):
        refuse_touched(run.policy(), reloaded)
    converted = weft.Dataset.from_arrays(
        {"b": data.observations[:, 1:].astype(float), "a": data.observations[:, 0]},
        data.actions.astype(float), data.rewards * 3, data.terminals, data.timeouts,
        next_observations={"b": data.next_observations[:, 1:], "a": data.next_observations[:, 0]},
        action_bounds=(-1.0, 1.0),
    )  # fmt: skip
    assert touched(run, converted) == pytest.approx(0.4)
    assert touched(run, small.continuous(seed=1)) == 0


def test_a_policy_of_unknown_origin_is_said_to_be_one(made):
    _, folds, run, _ = made
    policy = run.policy()
    foreign = Served(policy.inner, policy.transform)
    assert touched(foreign, folds.certify) is None
    assert touched(lambda observation: 0, folds.certify) is None
    assert refuse_touched(foreign, folds.certify) is False
    assert touched((foreign, policy), folds.certify) is None
    assert touched((foreign, policy), folds.train) == 1


def test_a_trace_changes_no_program_and_survives_tree_maps(made):
    _, folds, run, _ = made
    policy = run.policy()
    foreign = Served(policy.inner, policy.transform)
    assert jax.tree.structure(policy) == jax.tree.structure(foreign)
    assert touched(jax.tree.map(np.asarray, policy), folds.train) == 1
    assert dataclasses.replace(policy).trained_on is policy.trained_on


def test_resuming_keeps_the_trace_and_older_folders_are_unknown(made, tmp_path):
    _, folds, _, _ = made
    weft.fit(small.bc(), folds.train, 2, out=tmp_path / "run")
    longer = weft.fit(small.bc(), folds.train, 3, out=tmp_path / "run", resume=True)
    assert touched(longer, folds.train) == touched(tmp_path / "run", folds.train) == 1
    (tmp_path / "run" / "episodes.safetensors").unlink()
    assert touched(tmp_path / "run", folds.train) is None
