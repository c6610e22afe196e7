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
REFITTED = (
    "Fitted Q evaluation of images fits 20 bootstrap replicates of a network by default, which takes more than five "
    "minutes of a processor for 1,797 pictures of 28 × 28."
)
KNOWN_FAILURES |= {(log, "evaluate"): REFITTED for log in ("sample:digits", "sample:catch")}
"""`(log, command)` of every fault that is known, and the fault in one sentence; the table may only shrink."""

FIRM = {"inspect", "advise", "fit", "report", "study", "tune"}
"""Commands that refuse no log that weft reads. The others may: a log that declares too little, a policy that has seen
the log, arms that were not dealt by the policy, or a world of another kind are good reasons.
"""


def test_the_lines_name_every_command(tmp_path):
    log = LOGS["sample:maze"]
    assert {*lines(log, tmp_path), *ALONE} == set(registry.names("weft.cli.commands"))


def test_the_table_names_logs_and_commands_that_there_are():
    commands = set(registry.names("weft.cli.commands"))
    assert {log for log, _ in KNOWN_FAILURES} <= {*LOGS, "–"}
    assert {command for _, command in KNOWN_FAILURES} | FIRM <= commands


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
    """Print the table; fail for a fault that is not known, one that is gone, and a refusal where none may be."""
    with capsys.disabled():
        print("\n" + table(rows))
    wrong = []
    for row in rows:
        pair = (row.log, row.command)
        readable = row.log not in LOGS or LOGS[row.log].readable
        if row.verdict == "fault" and pair not in KNOWN_FAILURES:
            wrong.append(f"{pair}: {row.words}")
        elif row.verdict != "fault" and pair in KNOWN_FAILURES:
            wrong.append(f"{pair} is mended: take it out of KNOWN_FAILURES")
        elif row.verdict == "refused" and readable and row.command in FIRM:
            wrong.append(f"{pair} is refused: {row.words}")
        elif row.verdict == "ok" and not readable:
            wrong.append(f"{pair} is read now: say so in LOGS")
    assert not wrong, "\n".join(wrong)
