"""Files that weft wrote and somebody damaged: refused in one sentence, or what was written comes back, every bit.

Readers of other people's logs are tried in `test_mutations`; they have no digest to notice a changed number by.
"""

import json
import os
import resource
import shutil
from pathlib import Path
from random import Random

import jax
import numpy as np
import pytest
from mutations import altered, mutated
from small import bc, continuous, iql, labelled

import weft
from weft.core import storage
from weft.core.errors import UserError
from weft.deployment.ledger import Ledger

MOST = 2 * 2**30  # bytes of memory, beside what other tests of this process took
SEED = int(os.environ.get("WEFT_MUTATION_SEED", "0"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A run of two settings, a policy over named choices, and a ledger with two openings."""
    place = tmp_path_factory.mktemp("files")
    settings = weft.grid(iql(), expectile=[0.6, 0.9])
    weft.fit(settings, continuous(), 10, 2, place / "run", log_every=5, keep=[5])
    (place / "policy").mkdir()
    weft.fit(bc(), labelled(), 4, 1).save_policy(place / "policy" / "policy.safetensors", drawn=True)
    for risk in (0.02, 0.01):
        Ledger(place / "ledger").spend(continuous(), "policy", risk=risk)
    return place


def peak():
    """Return the most bytes that this process ever took."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def bits(tree):
    """Return the bytes of all leaves."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def run(folder):
    found = weft.load_run(folder)
    states = [bits(found.state(setting, seed, step)) for setting in (0, 1) for seed in (0, 1) for step in (5, 10)]
    said = [found.record, repr(found.settings), found.seeds, found.spec.to_json(), repr(found.metrics)]
    return *map(repr, said), states, bits(found.transform), found.trained_on.packed().tobytes()


def policy(folder):
    found = weft.load_policy(folder / "policy.safetensors")
    return bits(found), found.drawn, found.spec.to_json(), found.trained_on.packed().tobytes()


def ledger(folder):
    found = Ledger(folder)
    return found.entries(), found.left(continuous())


READ = {"run": run, "policy": policy, "ledger": ledger}


def check(name, place, seed, whole, tmp_path):
    """Damage one file of a folder and read it. Returns whether that was refused."""
    random = Random(f"{name} {seed}")
    shutil.rmtree(tmp_path / "damaged", ignore_errors=True)
    shutil.copytree(place / name, tmp_path / "damaged")
    names = sorted(path for path in (tmp_path / "damaged").rglob("*") if path.is_file() and path.name != ".lock")
    path = random.choice(names)
    content = path.read_bytes()
    damaged = mutated(content, random)
    path.write_bytes(damaged)
    try:
        found = READ[name](tmp_path / "damaged")
    except UserError as problem:
        words = str(problem)
        assert words
        assert "\n" not in words
        assert damaged != content, words
        return True
    except BaseException as problem:
        pytest.fail(f"{name}, seed {seed}, {path.name}: {type(problem).__name__}: {problem}")
    assert found == whole, f"{name}, seed {seed}: the change in {path.name} was not noticed"
    return False


def many(name, files, count, tmp_path):
    """Try so many seeds; return how many were refused."""
    before, whole = peak(), READ[name](files / name)
    first = SEED * 1_000_000
    refused = sum(check(name, files, seed, whole, tmp_path) for seed in range(first, first + count))
    assert peak() < max(MOST, before + MOST // 4)
    return refused


@pytest.mark.parametrize("name", READ)
def test_damage_is_noticed(name, files, tmp_path):
    assert many(name, files, 60, tmp_path) > 30


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("run", 4000), ("policy", 3000), ("ledger", 2000)])
def test_damage_is_noticed_thousands_of_times(name, count, files, tmp_path):
    assert many(name, files, count, tmp_path) > count / 2


def forged(content, random):
    """Return a safetensors file whose header says something else, under a digest that is right."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    about = json.loads(header["__metadata__"]["weft"])
    arrays = storage.load_tensors(content)
    about.pop("digest")
    try:
        about = json.loads(altered(about, random))
        about = {**about, "digest": storage.digest(about, arrays)}
    except (TypeError, ValueError, RecursionError):
        about = {"digest": ""}
    return storage.save_tensors(arrays, {"weft": json.dumps(about)})


def forge(path, random):
    if path.suffix == ".json":
        record = storage.read_record(path)
        try:
            storage.write_record(path, json.loads(altered(record, random)))
        except (TypeError, ValueError, RecursionError):
            path.write_text("[")
    else:
        path.write_bytes(forged(path.read_bytes(), random))


def answer(name, folder):
    """Use what is read, as somebody would."""
    if name == "run":
        found = weft.load_run(folder)
        for place in range(2):
            found.policy(place, 1)(np.zeros(3, np.float32))
        assert found.collected is not None
    else:
        found = weft.load_policy(folder / "policy.safetensors")
        found({"place": np.zeros(2, np.float32), "zone": 0})


@pytest.mark.parametrize(("name", "count"), [("run", 10), ("policy", 10)])
def test_what_cannot_be_is_one_sentence_under_a_right_digest_too(name, count, files, tmp_path):
    forgeries(name, files, range(count), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("run", 1000), ("policy", 1500)])
def test_what_cannot_be_is_one_sentence_thousands_of_times(name, count, files, tmp_path):
    forgeries(name, files, range(SEED * 1_000_000, SEED * 1_000_000 + count), tmp_path)


def forgeries(name, files, seeds, tmp_path):
    before = peak()
    for seed in seeds:
        random = Random(f"forged {name} {seed}")
        shutil.rmtree(tmp_path / "forged", ignore_errors=True)
        shutil.copytree(files / name, tmp_path / "forged")
        forge(Path(tmp_path / "forged" / ("run.json" if name == "run" else "policy.safetensors")), random)
        try:
            answer(name, tmp_path / "forged")
        except UserError as problem:
            words = str(problem)
            assert "\n" not in words, words
        except BaseException as problem:
            pytest.fail(f"forged {name}, seed {seed}: {type(problem).__name__}: {problem}")
    assert peak() < max(MOST, before + MOST // 4)
