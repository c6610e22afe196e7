"""A page about a study or a single decision: what to do, why, what it rests on, and what would change it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..core.errors import UserError
from ..core.storage import read_record, rebuilding
from ..deployment.decision import ACTS, TIERS, Decision
from ..deployment.ledger import Entry
from ..experiments.study import RECORD, Row, Study, source
from . import _study as parts
from .chart import Chart
from .report import Report, Table

__all__ = ["StudyReport"]


class StudyReport(Report):
    """The page of `weft study` and `weft certify`.

    subject: a study or a decision. entries: what the ledger says of its fold, `Ledger(folder).of(study.folds.certify)`.
    """

    template: ClassVar[str] = "study.html"

    def __init__(self, subject: Study | Decision, entries: Sequence[Entry] = ()) -> None:
        whole = isinstance(subject, Study)
        self.decision: Decision = subject.decision if whole else subject
        self.rows: tuple[Row, ...] = subject.table if whole else ()
        self.manifest: dict[str, Any] | None = subject.folds.manifest if whole else None
        self.notes: tuple[str, ...] = subject.notes if whole else ()
        self.entries = tuple(entries)
        self.findings: list[tuple[str, str]] = []
        if self.decision.diagnostics is not None:
            self.findings = list(self.decision.diagnostics.lines())

    @classmethod
    def of_folder(cls, folder: str | Path) -> "StudyReport":
        """Return the page of a study's folder. Raises UserError where its record cannot be read."""
        path = Path(folder) / RECORD
        if not path.exists():
            raise UserError(f"There is no {path}; is {folder} a study?")
        record = read_record(path)
        with rebuilding(path):
            page = cls(_read(record["decision"]))
            page.rows = tuple(Row(**row) for row in record["table"])
            page.manifest, page.notes = record["folds"], tuple(record["notes"])
            page.findings = [(what, text) for what, text in record["decision"]["diagnostics"] or ()]
        return page

    @property
    def title(self) -> str:
        origin = f", {self.manifest['origin']}" if self.manifest else ""
        return f"weft: {parts.title_of(self.decision)}{origin}"

    def charts(self) -> list[Chart]:
        decision, checks = self.decision, self.decision.diagnostics
        drawn = [parts.candidates(self.rows)] if self.rows else []
        if decision.doses and decision.lows:
            drawn.append(parts.doses(decision))
        if decision.evidence:
            drawn.append(parts.evidence(decision))
        if checks is not None and checks.weights is not None:
            drawn += [parts.effective(checks.weights, checks.units), parts.largest(checks.weights)]
        if parts.wanted(decision):
            drawn.append(parts.needed(decision))
        return drawn

    def content(self) -> dict[str, Any]:
        decision, checks = self.decision, self.decision.diagnostics
        chosen = next((row for row in self.rows if row.chosen), None)
        return {
            "decision": decision,
            "meaning": parts.meaning(decision),
            "answer": self._answer(),
            "rows": self.rows,
            "logged": None if chosen is None else parts.amount(chosen.logged),
            "candidates": parts.candidate_table(self.rows) if self.rows else None,
            "hidden": max(0, len(self.rows) - parts.SHOWN),
            "alarms": list(dict.fromkeys(f"{source(row)}: {row.triage}" for row in self.rows if row.triage)),
            "threshold": f"{parts.threshold(decision):g}",
            "doses": parts.dose_table(decision) if decision.doses and decision.lows else None,
            "weights": checks is not None and checks.weights is not None,
            "tests": None if checks is None else parts.tests(checks),
            "warnings": self._warnings(),
            "findings": Table(["What", "Finding"], [list(row) for row in self._plain_findings()]),
            "firmness": parts.firmness(decision),
            "folds": self._folds(),
            "ledger": self._ledger(),
            "notes": self.notes,
        }

    def _plain_findings(self) -> list[tuple[str, str]]:
        """Return the findings that stand in no other table."""
        checks = self.decision.diagnostics
        if checks is None:
            return self.findings
        elsewhere = {"warning", *(test.name for test in checks.tests)}
        return [row for row in self.findings if row[0] not in elsewhere]

    def _warnings(self) -> list[str]:
        """Return the warnings that do not repeat a test."""
        checks = self.decision.diagnostics
        if checks is None:
            return []
        return [text for text in checks.warnings if not any(text.endswith(test.sentence) for test in checks.tests)]

    def _answer(self) -> Table:
        decision = self.decision
        risk = f"at most {decision.risk:g}" if decision.tier == 1 else f"not bounded ({decision.risk:g} was asked for)"
        rows = [
            ["Tier", f"{decision.tier}, {TIERS[decision.tier]}"],
            *([] if decision.drawn is None else [["Policy", ACTS[decision.drawn]]]),
            ["Compared with", f"{decision.baseline}, by more than {decision.margin:g}"],
            ["Risk of a wrong deployment", risk],
            ["Independent units", f"{decision.units:,}"],
        ]
        if not math.isnan(decision.low):
            where = "Improvement at this dose" if decision.dose else "Improvement"
            rows.append([where, f"at least {parts.change(decision.low)}"])
        if not math.isnan(decision.high):
            rows.append(["Improvement of the whole policy", f"at most {parts.change(decision.high)}"])
        if decision.effective_sample_size is not None:
            size = f"{parts.amount(decision.effective_sample_size)} of {decision.units:,} units under the whole policy"
            rows.append(["Effective sample size", size])
        return Table(["What", "Answer"], rows)

    def _folds(self) -> Table | None:
        if self.manifest is None:
            return None
        rows = [
            [name, f"{self.manifest['units'][name]:,}", f"{self.manifest['episodes'][name]:,}",
             f"{self.manifest['steps'][name]:,}", str(self.manifest["fingerprints"][name])[:12]]
            for name in ("train", "select", "certify")
        ]  # fmt: skip
        return Table(["Fold", "Units", "Episodes", "Steps", "Fingerprint"], rows)

    def _ledger(self) -> Table | None:
        if not self.entries:
            return None
        rows = [
            [entry.moment.replace("T", " ").rstrip("Z"), f"{entry.spent:g} of {entry.granted:g}", entry.shown,
             f"{entry.units:,}", entry.policy, entry.fold[:12]]
            for entry in self.entries
        ]  # fmt: skip
        return Table(["Opened (UTC)", "Risk spent", "Shown", "Units", "Question", "Fold"], rows)


def _read(record: dict[str, Any]) -> Decision:
    """Return a decision from its record, without its diagnostics; null stands for what is infinite or not a number."""
    answer: dict[str, Any] = dict(record)
    for name, part in record.items():
        if isinstance(part, list):
            answer[name] = tuple(math.nan if each is None else each for each in part)
    for name in ("low", "high"):
        answer[name] = math.nan if record[name] is None else record[name]
    needs = record["needed"].items()
    answer["needed"] = {float(dose): math.inf if units is None else float(units) for dose, units in needs}
    answer["diagnostics"] = None
    return Decision(**answer)
