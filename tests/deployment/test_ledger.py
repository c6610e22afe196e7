"""The ledger: what is left, what is refused, who is recognised, two processes at once, kills, and damage."""

import json
import os
import threading

import numpy as np
import pytest

from weft import Dataset, UserError, concatenate
from weft.deployment.ledger import Ledger


def log(seed: int = 0, episodes: int = 20, origin: str = "log") -> Dataset:
    """Return episodes of three steps with continuous observations; every user has two."""
    rng = np.random.default_rng(seed)
    steps = episodes * 3
    return Dataset.from_arrays(
        rng.normal(size=(steps, 2)), rng.integers(0, 2, steps), rng.normal(size=steps), np.arange(steps) % 3 == 2,
        columns={"user": np.arange(steps) // 6}, origin=origin,
    )  # fmt: skip


@pytest.fixture
def ledger(tmp_path, monkeypatch) -> Ledger:
    monkeypatch.setenv("WEFT_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setattr("weft.deployment._ledger_files.WAIT", 5.0)
    return Ledger()


def test_a_decision_leaves_what_it_did_not_spend(ledger):
    fold = log()
    assert ledger.left(fold) == 0.05
    assert not ledger.folder.exists()  # asking writes nothing
    entry = ledger.spend(fold, "first", risk=0.02)
    assert (entry.spent, entry.shown, entry.units, entry.policy, entry.origin) == (0.02, "decision", 20, "first", "log")
    assert Ledger(ledger.folder).left(fold) == pytest.approx(0.03)
    with pytest.raises(
        UserError, match=r"^A risk of 0\.04 cannot be spent on this fold of log: 0\.03 of 0\.05 is left"
    ):
        ledger.spend(fold, "second", risk=0.04)
    assert ledger.spend(fold, "second").spent == pytest.approx(0.03)
    with pytest.raises(
        UserError,
        match=r"100% of its units were opened on 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC as log for second and the risk of "
        rf"0\.05 is used up \(ledger in {ledger.folder}\); certify on units that no test has seen\.$",
    ):
        ledger.left(fold)
    assert [entry.policy for entry in ledger.entries()] == ["first", "second"]
    assert ledger.left(log(1)) == 0.05


def test_the_openings_of_a_fold_are_those_of_everything_that_shares_units_with_it(ledger):
    ledger.spend(log(), "first", risk=0.01)
    ledger.spend(log(1), "other", risk=0.01)
    ledger.spend(log().select(np.arange(6)), "part", risk=0.01)
    assert [entry.policy for entry in ledger.of(log())] == ["first", "part"]
    assert [entry.policy for entry in ledger.of(log().select(np.arange(10, 20)))] == ["first"]
    assert ledger.of(log(2)) == []


def test_a_shown_report_spends_the_fold(ledger):
    ledger.spend(log(), "first", risk=0.01, shown="report")
    with pytest.raises(
        UserError,
        match=r"for first and its report was shown \(ledger in .*\); certify on units that no test has seen\.$",
    ):
        ledger.spend(log(), "second", risk=0.01)
    assert len(ledger.entries()) == 1


def test_a_report_may_follow_a_decision_and_then_the_fold_is_spent(ledger):
    ledger.spend(log(), "first")
    ledger.spend(log(), "first", risk=0.0, shown="report")
    with pytest.raises(UserError, match="is spent"):
        ledger.left(log())
    assert [entry.spent for entry in ledger.entries()] == [0.05, 0]


def test_views_that_share_units_share_what_they_spent(ledger):
    data = log()
    ledger.spend(data.select(np.arange(10)), "first", risk=0.02)
    ledger.spend(data.select(np.arange(10, 15)), "second", risk=0.01)
    assert ledger.left(data.select(np.arange(5, 20))) == pytest.approx(0.02)
    assert ledger.left(data.select(np.arange(12, 20))) == pytest.approx(0.04)
    assert ledger.left(data.select(np.arange(15, 20))) == 0.05
    ledger.spend(data.select(np.arange(10)), "third", risk=0.01, shown="report")
    mixed = concatenate([log(1, 12, "new"), data.select(np.arange(3))])
    with pytest.raises(UserError, match=r"^This fold of new \+ log is spent: 20% of its units were opened on "):
        ledger.left(mixed)
    with pytest.raises(UserError, match="25% of its units"):
        ledger.left(data.select(np.array([8, 9, 15, 16, 17, 18])).declare(), by="user")
    assert ledger.left(log(1, 12)) == 0.05


def test_another_form_of_a_fold_is_recognised(ledger):
    data = log()
    ledger.spend(data, "first", shown="report")
    order = np.random.default_rng(0).permutation(20)
    rows = (order[:, None] * 3 + np.arange(3)).reshape(-1)
    other = Dataset.from_arrays(
        {"b": data.observations[rows, 1].astype(float), "a": data.observations[rows, 0]}, data.actions[rows],
        data.rewards[rows] * 10, data.terminals[rows], origin="elsewhere",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"^This fold of elsewhere is spent: 100%"):
        ledger.left(other)


def test_two_at_once_never_spend_more_than_is_granted(ledger):
    fold, refused = log(), []

    def spend() -> None:
        try:
            Ledger(ledger.folder).spend(fold, "one of many", risk=0.02)
        except UserError as problem:
            refused.append(str(problem))

    ledger.folder.mkdir(parents=True)
    threads = [threading.Thread(target=spend) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.entries()) == 2
    assert len(refused) == 3
    assert all("0.01 of 0.05 is left" in sentence for sentence in refused)


def test_a_busy_ledger_says_so(ledger, monkeypatch):
    from weft.core import storage

    monkeypatch.setattr("weft.deployment._ledger_files.WAIT", 0.1)
    ledger.folder.mkdir(parents=True)
    with storage.locked(ledger.folder / ".lock", ""), pytest.raises(UserError, match="is in use by another process"):
        ledger.spend(log(), "first")
    assert ledger.left(log()) == 0.05


def torn(folder):
    path = folder / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-30])


def edited(folder):
    path = folder / "ledger.jsonl"
    path.write_text(path.read_text().replace('"spent": 0.02', '"spent": 0.00'))


def first_line_gone(folder):
    path = folder / "ledger.jsonl"
    path.write_text(path.read_text().split("\n", 1)[1])


def lines_gone(folder):
    (folder / "ledger.jsonl").unlink()


def emptied(folder):
    (folder / "ledger.jsonl").write_bytes(b"")


def last_line_gone(folder):
    path = folder / "ledger.jsonl"
    path.write_text(path.read_text().split("\n", 1)[0] + "\n")


def older_and_emptied(folder):
    (folder / "ledger.last").unlink()
    emptied(folder)


def older_and_gone(folder):
    (folder / "ledger.last").unlink()
    lines_gone(folder)


def fold_gone(folder):
    next(folder.glob("fold-*")).unlink()


def fold_changed(folder):
    path = next(folder.glob("fold-*"))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


HARMS = [
    torn, edited, first_line_gone, lines_gone, emptied, last_line_gone, older_and_emptied, older_and_gone, fold_gone,
    fold_changed,
]  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_damage_is_said_and_nothing_is_reset(ledger, harm):
    ledger.spend(log(), "first", risk=0.02)
    ledger.spend(log(), "second", risk=0.01)
    harm(ledger.folder)
    before = {path.name: path.read_bytes() for path in ledger.folder.iterdir()}
    for act in (ledger.left, lambda fold: ledger.spend(fold, "third", risk=0.001)):
        with pytest.raises(
            UserError, match=r"^The ledger in .* is damaged \(.*\), so what was spent is unknown; restore"
        ):
            act(log())
    assert {path.name: path.read_bytes() for path in ledger.folder.iterdir()} | before == before | {".lock": b""}


def test_an_older_ledger_that_lost_the_lines_of_a_fold_is_damaged(ledger):
    ledger.spend(log(), "first", risk=0.02)
    ledger.spend(log(1), "second", risk=0.01)
    (ledger.folder / "ledger.last").unlink()
    last_line_gone(ledger.folder)
    with pytest.raises(UserError, match=r"is damaged \(ledger\.jsonl is not whole: 1 opened folds have no line\)"):
        ledger.left(log())


OLDER = (
    '{"fold": "08ab374adcb9ae937a7a99a2", "granted": 0.05, "spent": 0.02, "shown": "decision", "policy": "first", '
    '"moment": "2026-11-30T09:20:11Z", "origin": "log", "units": 20, "checksum": "a05ef25256407272"}\n'
    '{"fold": "08ab374adcb9ae937a7a99a2", "granted": 0.05, "spent": 0.01, "shown": "decision", "policy": "second", '
    '"moment": "2026-11-30T09:20:13Z", "origin": "log", "units": 20, "checksum": "60458bfc69c42ff7"}'
)


def test_a_ledger_of_an_older_version_goes_on(ledger):
    ledger.spend(log(), "any")
    (ledger.folder / "ledger.last").unlink()
    (ledger.folder / "ledger.jsonl").write_text(OLDER)  # without the last end of line, as some editors leave it
    assert [(entry.policy, entry.request) for entry in ledger.entries()] == [("first", ""), ("second", "")]
    assert ledger.left(log()) == pytest.approx(0.02)
    Ledger(ledger.folder, "study").spend(log(), "third")
    lines = (ledger.folder / "ledger.jsonl").read_text().splitlines()
    assert "\n".join(lines[:2]) == OLDER
    assert json.loads(lines[2])["request"] == "study"
    assert ledger.entries()[2].request == "study"


def test_what_a_ledger_is_asked_beforehand(ledger):
    asking = Ledger(ledger.folder, "study")
    asking.ask(log(), 0.05)
    assert not ledger.folder.exists()
    asking.spend(log(), "question", shown="report")
    asking.ask(log(), 0.05)
    for other in (ledger, Ledger(ledger.folder, "other study")):
        with pytest.raises(UserError, match="for question and its report was shown"):
            other.ask(log(), 0.05)
    ledger.ask(log(), 0.05, question="question")
    ledger.spend(log(1), "by hand", risk=0.02)
    asking.ask(log(1), 0.03)
    with pytest.raises(
        UserError, match=r"^A risk of 0\.05 cannot be spent on this fold of log: 0\.03 of 0\.05 is left"
    ):
        asking.ask(log(1), 0.05)


def last_checksum(ledger):
    """Return the checksum of the last line."""
    return json.loads((ledger.folder / "ledger.jsonl").read_text().splitlines()[-1])["checksum"]


class Killed(BaseException):
    """The end of a process."""


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("moment", [0, 1, 2, 3])
def test_a_kill_at_any_write_leaves_a_ledger_that_goes_on(ledger, monkeypatch, moment, late):
    ledger.spend(log(1), "before", risk=0.02)
    replace, count = os.replace, 0

    def killed(source, target):
        nonlocal count
        count += 1
        if count == moment + 1 and not late:
            raise Killed
        replace(source, target)
        if count == moment + 1:
            raise Killed

    with monkeypatch.context() as during:
        during.setattr(os, "replace", killed)
        with pytest.raises(Killed):
            ledger.spend(log(), "killed", risk=0.02)
    written = moment > 1 or (moment == 1 and late)
    assert len(ledger.entries()) == 1 + written
    assert ledger.left(log()) == pytest.approx(0.03 if written else 0.05)
    assert ledger.left(log(1)) == pytest.approx(0.03)
    ledger.spend(log(), "again", risk=0.03)
    assert ledger.left(log(1)) == pytest.approx(0.03)
    assert not list(ledger.folder.glob("*.new"))
    assert (ledger.folder / "ledger.last").read_text() == last_checksum(ledger)
    emptied(ledger.folder)
    with pytest.raises(UserError, match="is damaged"):
        ledger.left(log())


@pytest.mark.parametrize("moment", range(4))
def test_what_a_kill_left_undone_is_finished_without_a_further_test(ledger, monkeypatch, moment):
    ledger.settle()
    assert not ledger.folder.exists()
    replace, count = os.replace, 0

    def killed(source, target):
        nonlocal count
        if count == moment:
            raise Killed
        count += 1
        replace(source, target)

    with monkeypatch.context() as during:
        during.setattr(os, "replace", killed)
        with pytest.raises(Killed):
            ledger.spend(log(), "killed", risk=0.02)
    entries = ledger.entries()
    with monkeypatch.context() as during:
        during.setattr("weft.deployment.ledger.storage.move", lambda *_: (_ for _ in ()).throw(UserError("read-only")))
        during.setattr(
            "weft.deployment.ledger.storage.write_bytes", lambda *_: (_ for _ in ()).throw(UserError("read-only"))
        )
        ledger.settle()  # where nothing can be written it does no harm
    ledger.settle()
    assert ledger.entries() == entries
    names = sorted(path.name for path in ledger.folder.iterdir())
    written = [f"fold-{entry.fold}.safetensors" for entry in entries]
    assert names == sorted([".lock", *written, *(["ledger.jsonl", "ledger.last"] if written else [])])
    assert not written or (ledger.folder / "ledger.last").read_text() == last_checksum(ledger)
    ledger.spend(log(), "again", risk=0.03)


def test_lines_are_plain_json(ledger):
    ledger.spend(log(), "first", risk=0.02)
    found = json.loads((ledger.folder / "ledger.jsonl").read_text())
    assert {"fold", "granted", "spent", "shown", "policy", "moment", "checksum"} <= found.keys()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"risk": -0.1}, "The risk to spend must be at least 0 and less than 1, got -0.1."),
        ({"granted": 0.0}, "The risk granted to a fold must lie between 0 and 1, got 0."),
        ({"shown": "plot"}, "What is shown of a test is 'decision' or 'report', got 'plot'."),
        ({"by": "users"}, "log has no column 'users' of units. Did you mean 'user'? Known: user."),
    ],
)
def test_mistakes_write_nothing(ledger, options, sentence):
    with pytest.raises(UserError) as caught:
        ledger.spend(log(), "first", **options)
    assert str(caught.value) == sentence
    assert ledger.entries() == []
