"""Damaged and hostile files: thousands of seeded mutations of every reader's files, each a log or one sentence.

`MUTATIONS=0.1 pytest -m slow tests/test_mutations.py` runs a tenth of them; `python tests/mutations.py NAME SEED
FOLDER` writes one that failed, to look at.
"""

import os
import resource
from collections import Counter

import mutations
import pytest
from mutations import COUNTS, SUBJECTS, Outcome, attempts, watched

SHARE = float(os.environ.get("MUTATIONS", "1"))
MEMORY = 2 * 10**9  # bytes that a worker may ever have held


def judge(name: str, outcomes: list[Outcome], most_memory: int = MEMORY) -> None:
    """Fail, with the seeds, where anything came of a mutation but a log or a sentence, or took too much memory."""
    counts = Counter(outcome.kind for outcome in outcomes)
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    most = max(outcome.memory for outcome in outcomes)
    print(f"{name}: {dict(counts)}, slowest {slowest.seconds:.1f} s (seed {slowest.seed}), {most / 1e6:.0f} MB")
    bad = [outcome for outcome in outcomes if outcome.kind not in ("log", "refused")]
    shown = "\n".join(f"seed {outcome.seed}: {outcome.kind}\n{outcome.words}" for outcome in bad[:5])
    assert not bad, f"{len(bad)} mutations of {name!r} are neither a log nor a sentence:\n{shown}"
    assert most <= most_memory, f"{name!r} took {most / 1e9:.1f} GB"
    assert counts["refused"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SUBJECTS)
def test_mutations(name, tmp_path):
    judge(name, list(watched(name, range(max(int(COUNTS[name] * SHARE), 4)), tmp_path)))


@pytest.mark.parametrize("name", ["npz of odd arrays", "csv", "minari choices"])
def test_some_mutations(name, tmp_path):
    """The subjects that start no process of their own for a case, and seeds that the long test does not have."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # of the tests before these, in this process
    judge(name, list(attempts(name, range(10**6, 10**6 + 150), tmp_path)), before + MEMORY // 2)


def test_there_are_enough_mutations_of_every_reader():
    assert set(COUNTS) == set(SUBJECTS)
    assert sum(COUNTS.values()) >= 10_000


def dies(folder):
    os.abort()


def waits(folder):
    if not (folder / "pipe").exists():
        os.mkfifo(folder / "pipe")
    return (folder / "pipe").open()


def prints(folder):
    os.write(2, b"thread panicked")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(dies, "died"), (prints, "printed"), pytest.param(waits, "hung", marks=pytest.mark.slow)],
)
def test_the_harness_sees_what_it_is_to_see(fault, kind, tmp_path, monkeypatch):
    """The check itself must be able to fail."""
    code = f"import sys; sys.path[:0] = {[os.path.dirname(__file__), os.path.dirname(mutations.__file__)]!r}; "
    code += f"sys.argv[1:] = ['work', 'npz', {str(tmp_path)!r}]; "
    code += "import dataclasses, mutations, test_mutations; "
    code += "mutations.SUBJECTS['npz'] = dataclasses.replace(mutations.SUBJECTS['npz'], "
    code += f"read=test_mutations.{fault.__name__}); mutations.main()"
    monkeypatch.setattr(mutations, "worker", lambda *_: ["-c", code])
    found = list(watched("npz", range(2), tmp_path, patience=6.0))
    assert [outcome.seed for outcome in found] == [0, 1]
    assert {outcome.kind for outcome in found} == {kind}
    with pytest.raises(AssertionError, match="seed 0"):
        judge("npz", found)
