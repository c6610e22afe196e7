"""A search on a small log: what is trained, judged, kept, gone on with, and left alone."""

import dataclasses
import importlib
import json
from typing import Any

import jax
import numpy as np
import pytest
import small
from tabular import world

import weft
import weft.training.loop
from weft.agents.algorithm import describe
from weft.core.errors import UserError
from weft.data.fingerprints import fingerprints
from weft.data.recognition import overlap
from weft.deployment.ledger import Ledger
from weft.experiments.tune import best_setting

DATA = world().log(1000)
SEARCHED = {"learning_rate": "log:1e-6:3e-2"}
SHORT: dict[str, Any] = {"trials": 5, "together": 3, "steps": 30, "seeds": 2, "batch_size": 16}


class Sealed:
    """A fold that nobody may look at."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"the certify fold was opened for its {name}")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return a search, made with a certify fold that cannot be read, and its folder."""
    folder = tmp_path_factory.mktemp("tune") / "x"
    module = importlib.import_module("weft.experiments.tune")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "seal", lambda *a, **k: dataclasses.replace(weft.seal(*a, **k), certify=Sealed()))
        return weft.tune(DATA, small.iql(), SEARCHED, folder, **SHORT), folder


def test_trials_are_judged_and_the_best_is_served(found):
    tuned, folder = found
    assert len(tuned.trials) == 5
    scores = [trial.score for trial in tuned.trials]
    assert scores == sorted(scores, reverse=True)
    assert all(trial.score == pytest.approx(np.mean(trial.each)) for trial in tuned.trials)
    assert all(len(trial.each) == 2 for trial in tuned.trials)
    tried = [trial for trial in tuned.trials if (trial.batch, trial.place) == (0, 0)]
    assert tried[0].settings["learning_rate"] == small.iql().learning_rate  # the method's own come first
    assert tuned.score >= tried[0].score
    assert tuned.setting.learning_rate == tuned.settings["learning_rate"]
    assert tuned.setting.hidden == (8,)
    seen = np.arange(6, dtype=np.int32)
    served, key = weft.load_policy(folder / "policy.safetensors"), jax.random.key(0)
    assert served.drawn == tuned.policy.drawn == tuned.drawn  # it acts as it was judged
    np.testing.assert_array_equal(served(seen, key), tuned.policy(seen, key))
    text = str(tuned)
    assert text.count("→") == 1
    assert text.count("\n") == 5


def test_the_certify_fold_is_untouched_and_then_certifies(found):
    tuned, folder = found
    folds = weft.seal(DATA)
    assert Ledger().entries() == []
    for trial in tuned.trials:
        run = weft.load_run(folder / f"batch-{trial.batch:03d}")
        assert run.record["data"]["fingerprint"] == folds.train.fingerprint
        assert overlap(run.trained_on.table, fingerprints(folds.certify)) == 0
    decision = weft.certify(tuned.policy, folds.certify)
    assert decision.drawn == tuned.drawn
    assert decision.evidence
    assert len(Ledger().entries()) == 1
    with pytest.raises(UserError, match="was trained on"):
        weft.certify(tuned.policy, folds.train)


def test_the_same_call_repeats_nothing_and_one_with_more_trials_adds_to_them(found, monkeypatch):
    tuned, folder = found
    before = json.loads((folder / "tune.json").read_text(), parse_constant=pytest.fail)
    with monkeypatch.context() as patch:
        patch.setattr(weft.training.loop, "advance", lambda *_: pytest.fail("trained again"))
        again = weft.tune(DATA, small.iql(), SEARCHED, folder, **SHORT)
    assert again.trials == tuned.trials
    assert json.loads((folder / "tune.json").read_text()) == before
    more = weft.tune(DATA, small.iql(), SEARCHED, folder, **{**SHORT, "trials": 6})
    assert set(map(repr, tuned.trials)) < set(map(repr, more.trials))
    assert len(more.trials) == 6


def test_a_search_that_was_killed_goes_on_to_the_same_trials(found, tmp_path, monkeypatch):
    tuned, _ = found
    module = importlib.import_module("weft.experiments.tune")
    real, calls = module.judge, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "judge", killed)
        with pytest.raises(KeyboardInterrupt):
            weft.tune(DATA, small.iql(), SEARCHED, tmp_path / "x", **SHORT)
    batches = json.loads((tmp_path / "x/tune.json").read_text())["batches"]
    assert [["score" in one for one in batch] for batch in batches] == [[True] * 3, [False] * 2]
    trained = []
    with monkeypatch.context() as patch:
        candidates = importlib.import_module("weft.experiments.candidates")
        patch.setattr(candidates, "fit", lambda many, *a, **k: trained.append(len(many)) or weft.fit(many, *a, **k))
        again = weft.tune(DATA, small.iql(), SEARCHED, tmp_path / "x", **SHORT)
    assert trained == [2]
    first = [trial for trial in again.trials if trial.batch < 2]
    assert first == [trial for trial in tuned.trials if trial.batch < 2]


def test_a_batch_of_ranges_is_one_program_and_the_next_compiles_nothing():
    weft.tune(DATA, small.iql(), SEARCHED, **{**SHORT, "trials": 2, "together": 2, "seeds": 1})
    known = weft.training.loop.advance._cache_size()
    tuned = weft.tune(DATA, small.iql(), {"expectile": "0.5:0.9"}, **{**SHORT, "trials": 4, "together": 2, "seeds": 1})
    assert weft.training.loop.advance._cache_size() == known
    assert len(tuned.trials) == 4
    assert tuned.folder is None


def test_a_trial_that_goes_astray_counts_as_the_worst():
    tuned = weft.tune(DATA, small.bc(), {"learning_rate": [1e-2, 1e38]}, **{**SHORT, "trials": 2, "together": 2})
    assert [trial.score is None for trial in tuned.trials] == [False, True]
    assert tuned.settings == {"learning_rate": 1e-2}
    assert "went astray" in str(tuned)


def test_settings_go_into_a_study_on_the_same_folds_only(found):
    _, folder = found
    tuned = weft.tune(DATA, small.iql(), SEARCHED, folder, **{**SHORT, "trials": 1})  # trains nothing more
    setting = best_setting(folder, weft.seal(DATA))
    assert describe(setting) == describe(tuned.setting)
    assert setting.sampler.batch_size == 16
    with pytest.raises(UserError, match="was tuned on other folds"):
        best_setting(folder, weft.seal(DATA, seed=1))
    with pytest.raises(UserError, match="There is no file"):
        best_setting(folder / "nowhere", weft.seal(DATA))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 31}, "cannot be resumed: its steps differs"),
        ({"space": {"learning_rate": "log:1e-5:1e-2"}}, "its space differs"),
        ({"algorithm": small.iql(discount=0.5)}, "its algorithm differs"),
        ({"data": world().log(1000, 3)}, "its folds differs"),
    ],
)
def test_another_search_is_not_gone_on_with(found, changes, sentence):
    _, folder = found
    given = {"data": DATA, "algorithm": small.iql(), "space": SEARCHED, **SHORT, **changes}
    with pytest.raises(UserError, match=sentence):
        weft.tune(out=folder, **given)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"space": {}}, "Say what to search"),
        ({"trials": 0}, "The number of trials is a whole number of at least 1, got 0"),
        ({"together": 1.5}, "got 1.5"),
        ({"steps": 0}, "The number of steps must be at least 1"),
        ({"algorithm": "iqll"}, "Did you mean 'iql'"),
        ({"algorithm": "td3_bc"}, "learns from continuous actions"),
        ({"reward": "unit"}, "A search has no option 'reward'. Did you mean 'rewards'"),
        ({"rewards": "nonsense"}, "Rewards can be scaled by"),
        ({"data": DATA.declare(reward_high=(0.5,))}, "lie outside the declared"),
    ],
)
def test_a_mistake_leaves_no_search_behind(changes, sentence, tmp_path):
    given = {"data": DATA, "algorithm": small.iql(), "space": SEARCHED, **SHORT, **changes}
    with pytest.raises(UserError, match=sentence):
        weft.tune(out=tmp_path / "x", **given)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and holds no search"):
        weft.tune(DATA, small.iql(), SEARCHED, tmp_path, **SHORT)
