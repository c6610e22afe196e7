"""A whole study on a small log: what is trained, chosen, written, and answered again without training."""

import importlib
import json
from typing import Any

import numpy as np
import pytest
import small
from tabular import asks, world

import weft
from weft.errors import UserError
from weft.ledger import Ledger
from weft.study import Row, title

HERE = world()
DATA = HERE.log(1000)
SHORT: dict[str, Any] = {"steps": 20, "seeds": 1, "batch_size": 16}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return a study with its folder and its ledger's."""
    folder = tmp_path_factory.mktemp("study")
    return weft.study(
        DATA, (small.bc(), small.iql(), "td3_bc"), folder / "x", ledger=folder / "ledger", **SHORT
    ), folder


def test_a_study_decides_and_says_about_what(found):
    study, folder = found
    assert study.decision.action in ("DEPLOY", "STAGED", "COLLECT", "REJECT", "ABSTAIN")
    assert study.decision.units == 400
    assert not any("on trust" in sentence for sentence in study.decision.assumptions)
    assert study.decision.diagnostics is not None
    assert [(row.algorithm, row.drawn) for row in sorted(study.table, key=lambda row: (row.algorithm, row.drawn))] == [
        ("bc", False), ("bc", True), ("iql", False), ("iql", True),
    ]  # fmt: skip
    scores = [row.score for row in study.table]
    assert scores == sorted(scores, reverse=True)
    assert [row.chosen for row in study.table] == [True, False, False, False]
    assert all(row.low < row.value < row.high and row.effective > 1 for row in study.table)
    assert any(note.startswith("td3_bc is left out: TD3 with behaviour cloning") for note in study.notes)
    assert [entry.units for entry in Ledger(folder / "ledger").entries()] == [400]
    text = str(study)
    assert title(study.table[0]) in text
    assert text.count("→") == 1


def test_folds_share_no_unit_and_the_runs_saw_the_train_fold_only(found):
    study, _ = found
    folds = study.folds
    assert sum(folds.manifest["units"].values()) == 1000
    with pytest.raises(UserError, match="was trained on 100% of the units"):
        weft.certify(study.policy, folds.train)
    assert {run.record["data"]["fingerprint"] for run in study.runs.values()} == {folds.train.fingerprint}


def test_the_folder_is_whole_and_plain(found):
    study, folder = found
    record = json.loads((folder / "x/study.json").read_text(), parse_constant=pytest.fail)
    assert record["version"] == 1
    assert record["decision"]["action"] == study.decision.action
    assert len(record["table"]) == 4
    assert record["folds"] == json.loads(json.dumps(study.folds.manifest))
    assert record["decision"]["diagnostics"]
    served = weft.load_policy(folder / "x/policy.safetensors")
    seen = np.arange(6, dtype=np.int32)
    assert [served(one) for one in seen] == [study.policy(one) for one in seen]
    assert sorted(path.name for path in (folder / "x/runs").iterdir()) == ["bc", "iql"]


def test_the_same_call_trains_nothing_and_answers_the_same(found, monkeypatch):
    study, folder = found
    import weft.train

    monkeypatch.setattr(weft.train, "advance", lambda *_: pytest.fail("trained again"))
    again = weft.study(DATA, (small.bc(), small.iql(), "td3_bc"), folder / "x", ledger=folder / "ledger", **SHORT)
    assert again.decision.record() == study.decision.record()
    assert again.table == study.table
    assert len(Ledger(folder / "ledger").entries()) == 1
    with pytest.raises(UserError, match="cannot be resumed: its data differ"):
        weft.study(HERE.log(1000, 7), (small.bc(),), folder / "x", ledger=folder / "ledger", **SHORT)


def test_a_spent_fold_is_refused_before_anything_is_trained(found, monkeypatch, tmp_path):
    _, folder = found
    import weft.train

    monkeypatch.setattr(weft.train, "advance", lambda *_: pytest.fail("trained"))
    with pytest.raises(
        UserError, match=r"^This fold of arrays is spent: 100% .* and its report was shown \(ledger in "
    ):
        weft.study(DATA, (small.bc(),), tmp_path / "x", ledger=folder / "ledger", **SHORT)
    assert not (tmp_path / "x").exists()


def test_a_study_that_an_older_version_made_is_answered_again(found, tmp_path):
    study, folder = found
    older = tmp_path / "ledger"
    entry = Ledger(folder / "ledger").entries()[0]
    Ledger(older).spend(study.folds.certify, entry.policy, entry.spent, entry.shown)  # nobody wrote down what asked
    again = weft.study(DATA, (small.bc(), small.iql(), "td3_bc"), folder / "x", ledger=older, **SHORT)
    assert again.decision.record() == study.decision.record()
    assert len(Ledger(older).entries()) == 1


@pytest.fixture
def undiagnosed(monkeypatch):
    """Leave the diagnostics out, which take longer than all else."""
    module = importlib.import_module("weft.certify")
    monkeypatch.setattr(module, "diagnose_both", lambda *_: UserError("left out"))


@pytest.mark.usefixtures("undiagnosed")
def test_several_settings_and_a_baseline():
    tried = weft.grid(small.iql(), expectile=[0.6, 0.9])
    study = weft.study(DATA, tried, baseline=asks(HERE.rule(-0.6)), **SHORT)
    # the very same study needs no folder to be answered again, another one is refused at once
    again = weft.study(DATA, tried, baseline=asks(HERE.rule(-0.6)), checkpoint_seconds=5.0, **SHORT)
    assert again.decision.record() == study.decision.record()
    for other in ({"margin": 0.1}, {"baseline": asks(HERE.rule(0.6))}, {"steps": 21}):
        with pytest.raises(UserError, match="is spent"):
            weft.study(DATA, tried, **{"baseline": asks(HERE.rule(-0.6)), **SHORT, **other})
    assert {title(row) for row in study.table} == {
        "iql seed 0", "iql seed 0, drawn", "iql setting 1 seed 0", "iql setting 1 seed 0, drawn",
    }  # fmt: skip
    assert {row.dose for row in study.table} == {1.0}
    assert study.decision.baseline == "the given baseline"
    assert study.folder is None


@pytest.mark.usefixtures("undiagnosed")
def test_without_a_certificate_in_sight_an_estimate_chooses():
    study = weft.study(HERE.log(100, whole=True, propensities=None), (small.bc(),), **SHORT)
    assert study.decision.tier != 1
    assert all(row.effective is None for row in study.table)
    assert all(row.score == pytest.approx(row.low - row.logged) for row in study.table)
    assert "–" in str(study)


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        (DATA, {"algorithms": ()}, "A study needs at least one algorithm"),
        (DATA, {"algorithms": ("td3_bc",)}, "No algorithm fits arrays: td3_bc is left out"),
        (DATA, {"algorithms": ("iqll",)}, "Did you mean 'iql'"),
        (DATA, {"settings": {"iql": {}}, "algorithms": ("bc",)}, "not among the study's algorithms"),
        (DATA.declare(reward_high=(0.5,)), {}, "lie outside the declared"),
        (DATA.select(np.arange(4)), {}, "leave"),
    ],
)
def test_a_mistake_is_said_before_anything_is_trained(data, options, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        weft.study(data, **{"algorithms": (small.bc(),), **options}, out=tmp_path / "x", **SHORT)
    assert not (tmp_path / "x").exists()


def test_candidates_have_names():
    row = Row("iql", 2, 5, 10, True, 0.0, 0.0, 0.0, 0.0, 1.0, None, 0.0)
    assert title(row) == "iql setting 2 seed 5, drawn"
