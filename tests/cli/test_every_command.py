"""Every command on every log: none ends in a trace, an abort, a time-out or a refusal that is not one sentence.

`python tests/support/every_command.py [NAME …]` prints the table without pytest.
"""

import pytest
from every_command import ALONE, LOGS, SHARED_DATA, Log, judged, lines, outcomes, outcomes_alone, table

from weft.core import registry

CODED = (
    "A log with one rare category more or less than the training log is refused in some 900 letters: both codings are "
    "listed whole, the labels that differ are not named, and nothing says what to do."
)
KNOWN_FAILURES: dict[tuple[str, str], str] = {
    (log, command): CODED
    for log in ("bandit random", "bandit thompson")
    for command in ("triage", "evaluate", "certify", "stage")
}
"""`(log, command)` of every fault that is known, and the fault in one sentence; the table may only shrink."""

REFUSALS: dict[tuple[str, str], str] = {
    ("bandit random", "finetune"): "grid shows observations",
    ("bandit random", "benchmark"): "does not fit its log",
    ("bandit thompson", "finetune"): "grid shows observations",
    ("bandit thompson", "benchmark"): "does not fit its log",
    ("ogbench", "inspect"): "there is no array 'rewards'",
    ("icu sepsis", "inspect"): "there is no array 'observations'",
    ("pusht", "inspect"): "the folder holds no log",
}
"""`(log, command)` of every line that is rightly refused, and words of the refusal."""


def test_the_lines_name_every_command(tmp_path):
    log = LOGS["sample:maze"]
    assert {*lines(log, tmp_path), *ALONE} == set(registry.names("weft.cli.commands"))


def test_tables_name_logs_and_commands_that_there_are():
    names = {*KNOWN_FAILURES, *REFUSALS}
    assert {log for log, _ in names} <= {*LOGS, "–"}
    assert {command for _, command in names} <= set(registry.names("weft.cli.commands"))
    assert not KNOWN_FAILURES.keys() & REFUSALS.keys()


@pytest.mark.parametrize(
    ("code", "late", "errors", "verdict"),
    [
        (0, False, "iql  20/20\n", "ok"),
        (2, False, "weft: there is no such file.\n", "refused"),
        (2, False, "iql  20/20\nweft: there is no such file.\n", "refused"),
        (2, False, "usage: weft fit\n", "fault"),
        (2, False, "weft: there is no such file\nat all.\n", "fault"),
        (2, False, "weft: \n", "fault"),
        (1, False, "weft: there is no such file.\n", "fault"),
        (130, False, "weft: Stopped.\n", "fault"),
        (-6, False, "", "fault"),
        (0, True, "", "fault"),
        (0, False, "Traceback (most recent call last):\n", "fault"),
        (0, False, "x.py:3: RuntimeWarning: divide by zero\n", "fault"),
    ],
)
def test_what_is_a_fault(code, late, errors, verdict):
    assert judged(code, late, errors)[0] == verdict


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("log", [pytest.param(log, id=log.name.replace(" ", "-")) for log in LOGS.values()])
def test_every_command(log: Log, tmp_path, capsys):
    if log.shared and not SHARED_DATA.is_dir():
        pytest.skip(f"needs the data files in {SHARED_DATA}")
    _check(list(outcomes(log, tmp_path)), capsys)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_command_without_a_log(tmp_path, capsys):
    _check(list(outcomes_alone(tmp_path)), capsys)


def _check(rows, capsys):
    """Print the table; fail for a fault that is not known, one that is gone, and a refusal that is not expected."""
    with capsys.disabled():
        print("\n" + table(rows))
    wrong = []
    for row in rows:
        pair = (row.log, row.command)
        if row.verdict == "fault" and pair not in KNOWN_FAILURES:
            wrong.append(f"{pair}: {row.words}")
        elif row.verdict != "fault" and pair in KNOWN_FAILURES:
            wrong.append(f"{pair} is mended: take it out of KNOWN_FAILURES")
        elif row.verdict == "refused" and REFUSALS.get(pair, "\n") not in row.words:
            wrong.append(f"{pair} is refused: {row.words}")
        elif row.verdict == "ok" and pair in REFUSALS:
            wrong.append(f"{pair} is no longer refused: take it out of REFUSALS")
    assert not wrong, "\n".join(wrong)
