import json

import jax
import numpy as np
import pytest
from small import bc, continuous, iql, labelled, same

import weft
from weft import storage
from weft.algorithms.cql import CQL
from weft.errors import UserError
from weft.multipliers import Fixed, Lagrange


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return weft.fit(bc(), continuous(), 10, [4, 2], tmp_path_factory.mktemp("run") / "bc", log_every=5)


def test_a_folder_reads_back_as_the_run(run):
    loaded = weft.load_run(str(run.folder))
    assert loaded.seeds == [4, 2]
    assert loaded.settings == run.settings
    assert loaded.spec == run.spec
    assert loaded.metrics == run.metrics
    assert same(loaded.transform, run.transform)
    observations = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert np.array_equal(loaded.policy(seed=1)(observations), run.policy(seed=1)(observations))
    assert not np.array_equal(loaded.policy(seed=0)(observations), run.policy(seed=1)(observations))


def test_the_record_says_what_was_trained_on_what_and_how(run):
    record = json.loads((run.folder / "run.json").read_text())
    assert record["settings"][0]["algorithm"] == "bc"
    assert record["settings"][0]["sampler"] == {"kind": "Transitions", "batch_size": 16}
    assert record["data"]["fingerprint"] == continuous().fingerprint
    assert {"weft", "jax", "numpy"} <= record["versions"].keys()
    assert record["computed"]["mapping"] in ("sequential", "parallel")


def nested():
    return weft.pytree.replace(
        CQL(hidden=(8,), samples=2, weight=Lagrange(threshold=2.0), temperature=Fixed(0.3)), "sampler.batch_size", 16
    )


@pytest.mark.parametrize(
    ("setting", "data"),
    [(iql(), continuous()), (iql(), labelled()), (bc(head="mixture"), continuous()), (nested(), continuous()),
     (nested(), labelled())],
    ids=["vectors", "dictionaries and labels", "mixture", "nested modules", "greedy over nested"],
)  # fmt: skip
def test_a_policy_is_one_file_that_needs_no_log(setting, data, tmp_path):
    made = weft.fit(setting, data, 3, 2, tmp_path / "run")
    made.save_policy(tmp_path / "policy.safetensors", seed=1)
    weft.load_run(tmp_path / "run").save_policy(tmp_path / "again.safetensors", seed=1)
    assert (tmp_path / "policy.safetensors").read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    here, there = made.policy(seed=1), weft.load_policy(tmp_path / "policy.safetensors")
    assert same(here, there)
    assert jax.tree.structure(here) == jax.tree.structure(there)
    seen = data.observations
    first = jax.tree.map(lambda part: part[:6], seen)
    assert np.array_equal(here(first), there(first))
    key = jax.random.key(0)
    drawn = [policy.act(policy.reset(), first, key, greedy=False)[0] for policy in (here, there)]
    assert np.array_equal(*drawn)
    assert np.array_equal(*(policy.log_prob((), first, data.actions[:6]) for policy in (here, there)))


@pytest.mark.parametrize(
    "damage", [lambda content: content[:100], lambda content: content[:-2] + b"ab", lambda content: b"pickle"]
)
def test_a_damaged_policy_is_one_sentence(damage, run, tmp_path):
    path = tmp_path / "policy.safetensors"
    run.save_policy(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="damaged"):
        weft.load_policy(path)
    with pytest.raises(UserError, match="There is no file"):
        weft.load_policy(tmp_path / "none")
    with pytest.raises(UserError, match="is not a policy that weft wrote"):
        weft.load_policy(run.folder / "transform.safetensors")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is damaged, or another version of weft wrote it"),
        ('{"format": 99}', "is damaged, or another version of weft wrote it"),
        ('{"format": 1}', "is damaged, or another version of weft wrote it"),
    ],
)
def test_a_damaged_record_is_one_sentence(text, sentence, tmp_path):
    weft.fit(bc(), continuous(), 2, 1, tmp_path / "run")
    (tmp_path / "run/run.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        weft.load_run(tmp_path / "run")


def test_a_hyperparameter_of_another_version_is_said(tmp_path):
    weft.fit(bc(), continuous(), 2, 1, tmp_path / "run")
    path = tmp_path / "run/run.json"
    path.write_text(path.read_text().replace('"learning_rate"', '"speed"'))
    with pytest.raises(UserError, match="another version of weft"):
        weft.load_run(tmp_path / "run")
    path.write_text(path.read_text().replace('"algorithm": "bc"', '"algorithm": "bcc"'))
    with pytest.raises(UserError, match="There is no algorithm 'bcc'"):
        weft.load_run(tmp_path / "run")


def test_a_folder_without_a_run_or_a_checkpoint_is_said(tmp_path):
    with pytest.raises(UserError, match=r"is no run: it has no run\.json"):
        weft.load_run(tmp_path)
    weft.fit(bc(), continuous(), 2, 1, tmp_path / "run")
    for path in (tmp_path / "run/checkpoints").iterdir():
        path.unlink()
    (tmp_path / "run/checkpoints/.DS_Store").write_text("")
    with pytest.raises(UserError, match="has no checkpoint yet"):
        weft.load_run(tmp_path / "run").policy()


def test_a_step_that_was_not_kept_is_said(run):
    with pytest.raises(UserError, match="keeps no state of step 7; kept are 10"):
        run.policy(step=7)


def test_a_torn_last_row_is_dropped(tmp_path):
    made = weft.fit(bc(), continuous(), 10, 1, tmp_path / "run", log_every=5)
    with open(tmp_path / "run/metrics.jsonl", "ab") as file:
        file.write(b'{"step": 15, "sett\xc3')
    assert weft.load_run(tmp_path / "run").metrics == made.metrics


def test_a_file_says_how_its_policy_acts(run, tmp_path):
    seen = continuous().observations[:4]
    for drawn in (False, True):
        run.save_policy(tmp_path / "policy.safetensors", drawn=drawn)
        found = weft.load_policy(tmp_path / "policy.safetensors")
        assert found.drawn == drawn
        assert np.array_equal(found(seen), found(seen)) == (not drawn)
    about = storage.read_about(tmp_path / "policy.safetensors")
    old = {name: value for name, value in about.items() if name != "drawn"}  # as files were before they said it
    policy = run.policy()
    storage.write_tree(tmp_path / "old.safetensors", (policy, policy.trained_on.packed()), **old)
    found = weft.load_policy(tmp_path / "old.safetensors")
    assert not found.drawn
    assert np.array_equal(found(seen), policy(seen))
