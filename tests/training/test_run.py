import json
import logging
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from small import bc, continuous, iql, labelled, same

import weft
from weft.agents.algorithm import describe, rebuild
from weft.agents.algorithms.cql import CQL
from weft.core import pytree, storage
from weft.core.errors import UserError
from weft.data.samplers.quintuples import Quintuples
from weft.deployment.ledger import Ledger
from weft.nn.multipliers import Fixed, Lagrange


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
    return pytree.replace(
        CQL(hidden=(8,), samples=2, weight=Lagrange(threshold=2.0), temperature=Fixed(0.3)), "sampler.batch_size", 16
    )


@pytest.mark.few(2)
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
    was = storage.read_record(path)
    setting = was["settings"][0]
    for changed, words in (
        ({"speed": 1.0}, r"run\.json: BC has no 'speed' here: another version of weft"),
        ({"algorithm": "bcc"}, r"run\.json: There is no algorithm 'bcc'"),
        ({"algorithm": ["bc"]}, r"run\.json: This describes no method"),
        ({"learning_rate": "fast"}, r"run\.json: BC cannot take 'fast' for 'learning_rate'"),
        ({"hidden": [8, "8"]}, r"run\.json: BC cannot take \[8, '8'\] for 'hidden'"),
    ):
        storage.write_record(path, {**was, "settings": [{**setting, **changed}]})
        with pytest.raises(UserError, match=words):
            weft.load_run(tmp_path / "run")


@pytest.mark.parametrize("word", ["__init__", "print", "UserError", "Batch", "Sampler", ["Transitions"], None])
def test_only_classes_of_the_declared_type_are_made(word, tmp_path):
    described = describe(bc())
    described["sampler"]["kind"] = word
    with pytest.raises(UserError, match=r"for 'sampler' of BC; known: .*Transitions"):
        rebuild(described)
    assert rebuild(describe(bc())) == bc()  # and nothing was broken by it


def test_every_sampler_and_nested_module_is_known(tmp_path):
    setting = pytree.replace(bc(), "sampler", Quintuples(batch_size=8))
    assert rebuild(json.loads(json.dumps(describe(setting)))) == setting


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
    about = storage.stored(tmp_path / "policy.safetensors").about
    old = {name: value for name, value in about.items() if name != "drawn"}  # as files were before they said it
    policy = run.policy()
    storage.write_tree(tmp_path / "old.safetensors", (policy, policy.trained_on.packed()), **old)
    found = weft.load_policy(tmp_path / "old.safetensors")
    assert not found.drawn
    assert np.array_equal(found(seen), policy(seen))


# --- what is kept is what was written -----------------------------------------------------------------------------

FROZEN = Path(__file__).parents[1] / "frozen"
OLD = sorted(path.name for path in FROZEN.iterdir())


def altered(path, change):
    """Rewrite the header of a safetensors file as somebody with an editor would: all else stays, lengths fit."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    about = json.loads(header["__metadata__"]["weft"])
    change(about)
    header["__metadata__"]["weft"] = json.dumps(about)
    words = json.dumps(header).encode()
    path.write_bytes(len(words).to_bytes(8, "little") + words + content[8 + size :])


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about["spec"]["action"].update(labels=["wait", "right", "left"]),
        lambda about: about["setting"].update(hidden=[4]),
        lambda about: about["transform"].update(stack=2),
        lambda about: about.update(drawn=True),
        lambda about: about.update(more=1),
        lambda about: about.pop("traced"),
        lambda about: about.pop("digest"),
        lambda about: about.update(digest=about["digest"].upper()),
    ],
)
def test_a_policy_whose_header_was_changed_is_refused(change, tmp_path):
    weft.fit(bc(), labelled(), 4, 1).save_policy(path := tmp_path / "policy.safetensors")
    altered(path, lambda about: None)  # another spelling of the same is fine
    assert weft.load_policy(path).spec.action.labels == ("left", "right", "wait")
    altered(path, change)
    with pytest.raises(UserError, match=r"policy\.safetensors is damaged: its content is not what was written"):
        weft.load_policy(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["seeds"].append(7),
        lambda record: record["spec"]["action"].update(low=[-2.0, -2.0]),
        lambda record: record["settings"][0].update(learning_rate=1.0),
        lambda record: record["keep"].append(3),
        lambda record: record.update(steps=11),
        lambda record: record.update(format=1),
        lambda record: record.pop("digest"),
    ],
)
def test_a_record_that_was_changed_is_refused(change, run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    path = tmp_path / "run/run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record, sort_keys=True))  # another spelling of the same is fine
    assert weft.load_run(tmp_path / "run").seeds == [4, 2]
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        weft.load_run(tmp_path / "run")


@pytest.mark.parametrize("old", OLD)
def test_files_of_older_versions_still_load_and_it_is_said(old, caplog, tmp_path):
    shutil.copytree(FROZEN / old, tmp_path / "old")
    run = weft.load_run(tmp_path / "old/run")
    assert "run.json was written by an older weft, without a digest" in caplog.text
    seen = np.float32([0.1, 0.2, 0.3])
    assert run.policy(1, 1)(seen) == pytest.approx([0.00331413, 0.00188396], abs=1e-7)
    caplog.clear()
    policy = weft.load_policy(tmp_path / "old/policy.safetensors")
    assert "policy.safetensors was written by an older weft, without a digest" in caplog.text
    assert np.array_equal(policy(seen), run.policy(1, 1)(seen))
    choices = weft.load_policy(tmp_path / "old/choices.safetensors")
    assert choices({"place": np.float32([-1, 1]), "zone": 0}) == "left"
    assert Ledger(tmp_path / "old/ledger").left(continuous()) == pytest.approx(0.03)


@pytest.mark.parametrize("old", OLD)
def test_a_run_of_an_older_version_goes_on_and_is_vouched_for_then(old, caplog, tmp_path):
    shutil.copytree(FROZEN / old, tmp_path / "old")
    how = {"out": tmp_path / "old/run", "log_every": 5, "keep": [10], "resume": True}
    settings = weft.grid(iql(), expectile=[0.6, 0.9])
    rows = weft.load_run(tmp_path / "old/run").metrics
    run = weft.fit(settings, continuous(), 30, 2, **how)
    assert "does not say with which processor, threads, flags it began" in caplog.text
    caplog.clear()
    loaded = weft.load_run(tmp_path / "old/run")
    assert loaded.metrics[: len(rows)] == rows
    assert loaded.metrics == run.metrics
    assert not caplog.text


@pytest.mark.parametrize("old", OLD)
def test_damaged_parameters_of_older_versions_are_noticed(old, tmp_path):
    path = tmp_path / "policy.safetensors"
    content = (FROZEN / old / "policy.safetensors").read_bytes()
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    with pytest.raises(UserError, match="is damaged: its content is not what was written"):
        weft.load_policy(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_policy_that_is_not_finite_is_neither_saved_nor_loaded(value, tmp_path, monkeypatch):
    run = weft.fit(bc(), continuous(), 4, 1)
    run.states[0][4] = jax.tree.map(lambda leaf: leaf * np.float32(value), run.states[0][4])
    path = tmp_path / "policy.safetensors"
    with pytest.raises(UserError, match=r"The policy of bc has numbers that are not finite \(inner"):
        run.save_policy(path)
    assert not path.exists()
    monkeypatch.setattr("weft.training.run.check_finite", lambda *_: None)
    run.save_policy(path)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"policy\.safetensors has numbers that are not finite \(inner"):
        weft.load_policy(path)


def test_a_checkpoint_of_another_step_or_run_is_refused(tmp_path):
    for name, seeds in (("one", [0, 1]), ("two", [2, 3])):
        weft.fit(bc(), continuous(), 10, seeds, tmp_path / name, log_every=5, keep=[5])
    first, last = (tmp_path / f"one/checkpoints/group-0-step-{step:09d}.safetensors" for step in (5, 10))
    own = last.read_bytes()
    last.write_bytes(first.read_bytes())
    with pytest.raises(UserError, match="is not the file that belongs here: it is of another step"):
        weft.load_run(tmp_path / "one").policy()
    last.write_bytes((tmp_path / "two/checkpoints" / last.name).read_bytes())
    with pytest.raises(UserError, match="is not the file that belongs here: it is of another run"):
        weft.load_run(tmp_path / "one").policy()
    last.write_bytes(own)
    (tmp_path / "one/transform.safetensors").write_bytes((tmp_path / "two/transform.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"transform\.safetensors is not the file that belongs here"):
        weft.load_run(tmp_path / "one")


ALL = os.environ.get("WEFT_TESTS") == "all"


def test_rows_of_metrics_are_as_they_were_written(run, tmp_path):
    """Damage in any byte is named by its line; a line that is lost, doubled or moved, too."""
    shutil.copytree(run.folder, tmp_path / "run")
    path = tmp_path / "run/metrics.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    generator = np.random.default_rng(0)
    places = generator.choice(len(whole) - 1, 200 if ALL else 60, replace=False)
    damaged = [whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :] for place in places]
    damaged += [b"".join(lines[1:]), b"".join([lines[0], *lines]), b"".join([lines[1], lines[0], *lines[2:]])]
    damaged += [b"".join(lines[:-1]), b"", whole.replace(b"check", b"chekc"), b"[" * 100_000 + b"\n" + whole]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"metrics\.jsonl is damaged") as caught:
            weft.load_run(tmp_path / "run")
        assert "\n" not in str(caught.value)
        with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
            weft.fit(bc(), continuous(), 20, [4, 2], tmp_path / "run", resume=True)
        assert path.read_bytes() == content
    path.write_bytes(whole[:-1])  # a line that lacks its end only
    assert weft.load_run(tmp_path / "run").metrics == run.metrics


@pytest.mark.parametrize("name", ["run.json", "transform.safetensors", "metrics.jsonl"])
def test_a_pipe_in_place_of_a_file_is_refused(name, run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    os.mkfifo(tmp_path / "run" / name)
    with pytest.raises(UserError, match=f"{name}: this is a named pipe"):
        weft.load_run(tmp_path / "run")


def test_deep_json_is_one_sentence(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    run.save_policy(path := tmp_path / "policy.safetensors")
    deep = "[" * 200_000 + "]" * 200_000
    (tmp_path / "run/run.json").write_text(deep)
    with pytest.raises(UserError, match="cannot be read as JSON: it is nested too deeply"):
        weft.load_run(tmp_path / "run")
    words = json.dumps({"__metadata__": {"weft": deep}}).encode()
    path.write_bytes(len(words).to_bytes(8, "little") + words)
    with pytest.raises(UserError, match="is not a file that weft wrote, or it is damaged"):
        weft.load_policy(path)
    path.write_bytes(len(deep).to_bytes(8, "little") + deep.encode())
    with pytest.raises(UserError, match="is not a file that weft wrote, or it is damaged"):
        weft.load_policy(path)


# --- what was kept on purpose -------------------------------------------------------------------------------------


def test_steps_kept_to_resume_from_are_none_to_choose(tmp_path):
    how = {"log_every": 2, "keep": [4]}
    weft.fit(bc(), continuous(), 10, 1, tmp_path / "run", checkpoint_seconds=0, **how)
    run = weft.load_run(tmp_path / "run")
    assert run.kept() == [4, 8, 10]
    assert run.lasting() == [4, 10] == weft.fit(bc(), continuous(), 10, 1, **how).lasting()
    weft.fit(bc(), continuous(), 20, 1, tmp_path / "run", checkpoint_seconds=0, resume=True, **how)
    assert weft.load_run(tmp_path / "run").lasting() == [4, 10, 20]


def test_another_processor_or_number_of_threads_is_said_and_kept(tmp_path, monkeypatch, caplog):
    weft.fit(bc(), continuous(), 4, 1, tmp_path / "run")
    began = weft.load_run(tmp_path / "run").record["computed"]
    assert began["threads"] == len(os.sched_getaffinity(0))
    assert began["processor"]
    monkeypatch.setattr("weft.training.record._computed", lambda: {**began, "threads": 64, "flags": "--some"})
    with caplog.at_level(logging.WARNING, "weft"):
        weft.fit(bc(), continuous(), 8, 1, tmp_path / "run", resume=True)
    words = f"threads ({began['threads']} then, 64 now), flags ({began['flags']} then, --some now); its bits may "
    words += "differ from here on"
    assert words in caplog.text
    weft.fit(bc(), continuous(), 12, 1, tmp_path / "run", resume=True)
    record = weft.load_run(tmp_path / "run").record
    assert record["computed"] == began
    assert [there["computed"]["threads"] for there in record["resumed_on"]] == [64]


def test_a_notebook_shows_what_was_trained_and_how_far(tmp_path):
    folder = tmp_path / "a<b>&c"
    run = weft.fit(weft.grid(bc(), learning_rate=[1e-3, 1e-4]), continuous(), 10, 2, folder)
    page = run._repr_html_()
    assert "Behaviour cloning" in page
    assert "4 (2 × 2: settings × seeds)" in page
    assert "10 of 10" in page
    assert "a&lt;b&gt;&amp;c" in page
    assert "a<b>" not in page
    assert "loss" in page
    assert "src=" not in page
    assert "href=" not in page
