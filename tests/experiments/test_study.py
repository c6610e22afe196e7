"""A whole study on a small log: what is trained, chosen, written, and answered again without training."""

import dataclasses
import importlib
import json
import sys
from typing import Any

import jax
import numpy as np
import pytest
import small
from tabular import asks, world

import weft
from weft.agents.algorithms.filtered_bc import FilteredBC
from weft.agents.algorithms.td3_bc import TD3BC
from weft.core import pytree, storage
from weft.core.errors import UserError
from weft.deployment.ledger import Ledger
from weft.experiments.study import Row, _write, title
from weft.reports.study import StudyReport

HERE = world()
DATA = HERE.log(1000)
SHORT: dict[str, Any] = {"steps": 20, "seeds": 1, "batch_size": 16, "imitation": False}


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
    served, key = weft.load_policy(folder / "x/policy.safetensors"), jax.random.key(0)
    assert served.drawn == study.policy.drawn == study.table[0].drawn
    seen = np.arange(6, dtype=np.int32)
    np.testing.assert_array_equal(served(seen, key), study.policy(seen, key))
    assert sorted(path.name for path in (folder / "x/runs").iterdir()) == ["bc", "iql"]


def test_the_same_call_trains_nothing_and_answers_the_same(found, monkeypatch):
    study, folder = found
    import weft.training.loop

    monkeypatch.setattr(weft.training.loop, "advance", lambda *_: pytest.fail("trained again"))
    again = weft.study(DATA, (small.bc(), small.iql(), "td3_bc"), folder / "x", ledger=folder / "ledger", **SHORT)
    assert again.decision.record() == study.decision.record()
    assert again.table == study.table
    assert len(Ledger(folder / "ledger").entries()) == 1
    with pytest.raises(UserError, match="cannot be resumed: its data differ"):
        weft.study(HERE.log(1000, 7), (small.bc(),), folder / "x", ledger=folder / "ledger", **SHORT)


def test_a_spent_fold_is_refused_before_anything_is_trained(found, monkeypatch, tmp_path):
    _, folder = found
    import weft.training.loop

    monkeypatch.setattr(weft.training.loop, "advance", lambda *_: pytest.fail("trained"))
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


def decisions(count: int = 1000) -> weft.Dataset:
    """Return a log of single decisions, of which one of two is better where a number is positive."""
    random = np.random.default_rng(0)
    seen, actions = random.normal(size=(count, 1)).astype(np.float32), random.integers(0, 2, count)
    rewards = (random.uniform(size=count) < np.where(actions == (seen[:, 0] > 0), 0.7, 0.3)).astype(np.float32)
    return weft.Dataset.from_arrays(
        seen, actions, rewards, np.ones(count, bool), propensities=np.full(count, 0.5), action_count=2,
        reward_range=(0.0, 1.0), horizon=1, discount=1.0,
    )  # fmt: skip


@pytest.mark.usefixtures("undiagnosed")
def test_a_study_of_single_decisions_trains_trees_where_they_are_installed(tmp_path, monkeypatch):
    pytest.importorskip("lightgbm")
    asked = small.bc(), weft.Regression(trees=20, least_rows=10)
    study = weft.study(decisions(), asked, tmp_path / "x", ledger=tmp_path / "ledger", **SHORT)
    assert study.table[0].algorithm == "regression"
    policy = weft.load_policy(tmp_path / "x/policy.safetensors")
    np.testing.assert_array_equal(policy(np.array([[-1.0], [1.0]], np.float32)), [0, 1])
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    without = weft.study(decisions(), asked, tmp_path / "y", ledger=tmp_path / "other", **SHORT)
    assert {row.algorithm for row in without.table} == {"bc"}
    assert [note for note in without.notes if note.startswith("regression")] == [
        "regression is left out: Boosted trees need LightGBM; run: pip install 'weft[trees]'."
    ]


@pytest.fixture
def undiagnosed(monkeypatch):
    """Leave the diagnostics out, which take longer than all else."""
    module = importlib.import_module("weft.deployment.certify")
    monkeypatch.setattr(module, "_diagnosed", lambda *_: UserError("left out"))


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
        "iql seed 0, greedy", "iql seed 0, drawn", "iql setting 1 seed 0, greedy", "iql setting 1 seed 0, drawn",
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
        (DATA, {"reward": "unit"}, "A study has no option 'reward'. Did you mean 'rewards'"),
        (DATA, {"rewards": "nonsense"}, "Rewards can be scaled by"),
        (DATA, {"evaluate_every": 5}, "A study has no option 'evaluate_every'"),
        (DATA, {"keep": 5}, "The steps to keep are a list"),
        (DATA, {"algorithms": (weft.KLControl(behaviour_steps=5000),)}, "more than half of the run"),
    ],
)
def test_a_mistake_is_said_before_anything_is_trained(data, options, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        weft.study(data, **{"algorithms": (small.bc(),), **options}, out=tmp_path / "x", **SHORT)
    assert not (tmp_path / "x").exists()


def test_candidates_have_names():
    row = Row("iql", 2, 5, 10, True, 0.0, 0.0, 0.0, 0.0, 1.0, None, 0.0)
    assert title(row) == "iql setting 2 seed 5, drawn"
    assert title(dataclasses.replace(row, setting=0, drawn=False)) == "iql seed 5, greedy"


def aimed(units: int = 300, **options):
    """Return single decisions in one dimension whose density is known; the nearer to the observation, the more paid."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=units)
    noise = rng.normal(size=units)
    action = 0.5 * seen + 0.5 * noise
    density = np.exp(-0.5 * noise**2) / (0.5 * np.sqrt(2 * np.pi))
    reward = np.exp(-((action - seen) ** 2))
    known = {"propensities": density, "action_bounds": (-9.0, 9.0), "reward_range": (0.0, 1.0), "horizon": 1, **options}
    return weft.Dataset.from_arrays(
        seen[:, None], action[:, None], reward, np.ones(units, bool),
        **{name: value for name, value in known.items() if value is not None},
    )  # fmt: skip


def draws(policy, seen, count: int = 400):
    """Return many calls of a policy at one observation."""
    return np.asarray(policy(np.tile(seen, (count, 1))))


@pytest.mark.usefixtures("undiagnosed")
def test_a_continuous_policy_is_judged_and_written_by_its_mode_without_propensities(tmp_path):
    method = pytree.replace(FilteredBC(hidden=(8,)), "sampler.batch_size", 16)
    study = weft.study(aimed(propensities=None), (method,), tmp_path / "x", **SHORT)
    row, policy = study.table[0], weft.load_policy(tmp_path / "x/policy.safetensors")
    assert title(row) == "filtered_bc seed 0, greedy"
    assert "the policy as it takes its most likely actions (the mode)" in study.notes[-1]
    assert (study.decision.drawn, study.policy.drawn, policy.drawn) == (False, False, False)
    seen = study.folds.certify.observations[:5]
    mode = policy.act((), seen, greedy=True)[0]
    for served in (study.policy, policy):
        np.testing.assert_array_equal(served(seen), mode)
    data, how = study.folds.select, {"discount": 1.0, "features": 8}
    judged = {
        greedy: weft.estimate(policy, data, "linear_q", "normal", greedy=greedy, **how) for greedy in (True, False)
    }
    assert row.value == pytest.approx(judged[True].value, abs=1e-4)
    assert abs(row.value - judged[False].value) > 0.005


@pytest.mark.slow
@pytest.mark.usefixtures("undiagnosed")
def test_where_densities_are_weighed_the_policy_that_draws_is_judged_and_written(tmp_path):
    td3 = pytree.replace(TD3BC(hidden=(8,)), "sampler.batch_size", 16)
    study = weft.study(aimed(), (small.bc(), td3), tmp_path / "x", **SHORT)
    rows = {row.algorithm: row for row in study.table}
    assert [title(row) for row in study.table] == ["bc seed 0, drawn", "td3_bc seed 0, greedy"]
    assert rows["bc"].effective > 1
    assert rows["td3_bc"].effective is None
    assert any(note.startswith("td3_bc: judged by the mode, which has no density") for note in study.notes)
    assert "as it draws its actions, because weights need a density" in study.notes[-1]
    assert study.decision.drawn
    assert "as it draws its actions" in str(study.decision)
    policy = weft.load_policy(tmp_path / "x/policy.safetensors")
    seen = study.folds.certify.observations[:1]
    found = draws(policy, seen)
    inside = found[np.abs(found) < 9]  # what is drawn beyond the bounds is done at them
    assert len(np.unique(inside)) == len(inside) > 100
    grid = np.linspace(-9, 9, 2001, dtype=np.float32)[:, None]
    density = np.exp(policy.log_prob((), np.tile(seen, (2001, 1)), grid))
    mean = (density * grid[:, 0]).sum() / density.sum()
    spread = np.sqrt((density * (grid[:, 0] - mean) ** 2).sum() / density.sum())
    assert inside.mean() == pytest.approx(mean, abs=4 * spread / np.sqrt(len(inside)))
    assert inside.std() == pytest.approx(spread, rel=0.2)


@pytest.mark.usefixtures("undiagnosed")
def test_a_policy_without_a_density_does_not_end_a_study_of_logged_densities(tmp_path):
    study = weft.study(aimed(), (pytree.replace(TD3BC(hidden=(8,)), "sampler.batch_size", 16),), **SHORT)
    assert study.decision.tier != 1
    assert "such as a mode, has no density to weigh with; judge and serve" in study.decision.reason


@pytest.mark.parametrize("drawn", [False, True])
def test_the_file_acts_as_the_chosen_candidate_was_judged(found, drawn, tmp_path):
    study, _ = found
    chosen = next(row for row in study.table if row.drawn == drawn)
    _write(dataclasses.replace(study, table=(chosen,)), tmp_path)
    policy, place = weft.load_policy(tmp_path / "policy.safetensors"), np.int32(2)
    likely = np.asarray(policy.probabilities(place))
    picked = np.asarray(policy(np.full(2000, place)))
    shares = np.bincount(picked, minlength=2) / 2000
    judged = likely if drawn else np.eye(2)[likely.argmax()]
    np.testing.assert_allclose(shares, judged, atol=0.05 if drawn else 0)
    assert likely.min() > 0.1


@pytest.mark.usefixtures("undiagnosed")
def test_a_baseline_is_judged_as_it_acts(monkeypatch):
    baseline = weft.fit(small.bc(), HERE.log(200, 5), 20, 1).policy().drawing()
    module, asked = importlib.import_module("weft.evaluation.case"), []
    real = module.tabulate
    monkeypatch.setattr(module, "tabulate", lambda policy, *how: asked.append((policy, how)) or real(policy, *how))
    weft.study(DATA, (small.bc(),), baseline=baseline, **SHORT)
    # to choose: the baseline, and the candidate both ways; for the certificate: the chosen one, and the baseline
    assert [policy.drawn for policy, _ in asked] == [True, False, True, asked[3][0].drawn, True]
    assert asked[0][0] is asked[4][0] is baseline
    assert all(greedy is None for _, (_, _, _, _, greedy, _) in asked)  # nobody is told how to act


def test_a_policy_that_weft_did_not_train_can_be_chosen_and_is_referred_to(tmp_path, monkeypatch):
    certifying = importlib.import_module("weft.deployment.certify")
    monkeypatch.setattr(certifying, "_diagnosed", lambda *_: UserError("left out"))
    best = HERE.rule(1.0)
    (tmp_path / "mine.py").write_text(
        f"import numpy as np\nTABLE = np.array({np.asarray(best).tolist()})\ndef best(seen): return TABLE[seen]\n"
    )
    words = f"{tmp_path / 'mine.py'}:best"
    call: dict[str, Any] = {**SHORT, "ledger": tmp_path / "ledger", "candidates": [words]}
    study = weft.study(DATA, [small.bc()], tmp_path / "x", **call)
    first = study.table[0]
    assert (first.algorithm, first.external, first.drawn, first.chosen) == (words, True, None, True)
    assert title(first) == f"{words}, external"
    assert len(study.table) == 3
    assert study.policy.name == words
    assert any("weft did not train; the folder refers to it and holds no copy" in note for note in study.notes)
    assert any("Nobody knows" in one for one in (*study.notes, *study.decision.assumptions))
    assert not (tmp_path / "x/policy.safetensors").exists()
    assert storage.read_record(tmp_path / "x/policy.json")["words"] == words
    again = weft.study(DATA, [small.bc()], tmp_path / "x", **call)
    assert again.decision.record() == study.decision.record()
    StudyReport.of_folder(tmp_path / "x").write(tmp_path / "page.html")
    assert "best, external" in (tmp_path / "page.html").read_text()
    found, policy = weft.deployment.stage._decision(tmp_path / "x", None)
    assert (found.drawn, policy.name) == (None, words)
    (tmp_path / "mine.py").write_text("def best(seen): return seen\n")
    with pytest.raises(UserError, match="its file has changed"):
        weft.deployment.stage._decision(tmp_path / "x", None)


def test_candidates_that_know_the_certify_fold_or_cannot_be_asked_are_refused_before_training(tmp_path):

    def rule(seen):
        return np.full((len(seen), HERE.actions), 1 / HERE.actions)

    taught = weft.external_policy(rule, trained_on=DATA)
    for candidates, sentence in (
        ([taught], "was trained on 100% of the units"),
        ([rule, rule], "Two candidates are called"),
        ("mine.py:f", "candidates is a list of policies"),
        ([lambda seen: seen * 1.5], "must answer"),
        (["none.py:f"], "there is no such file"),
    ):
        with pytest.raises(UserError, match=sentence):
            weft.study(DATA, [small.bc()], tmp_path / "x", candidates=candidates, ledger=tmp_path / "ledger", **SHORT)
    assert not (tmp_path / "x").exists()
