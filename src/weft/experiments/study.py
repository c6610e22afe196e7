"""From a log to a decision: folds, candidates, triage, selection, certificate. One call, resumable, one folder.

    train fold     every algorithm and setting, with every seed (`weft.fit`); triage of every run (`weft.triage`)
    select fold    every policy, external ones too: what would it certify on the certify fold?  (`selection.judge`)
    certify fold   the best one is tested, once (`weft.certify`)

Which of them is best is asked in `selection`. Where no certificate can be expected two scores choose, and at most a
staged test follows.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..agents import preset as families
from ..agents.algorithm import Algorithm, describe
from ..agents.external import External, external_policy
from ..core import storage
from ..core.errors import UserError
from ..core.tables import html_notes, html_table, text_table
from ..data.dataset import Dataset
from ..data.declarations import check_kept
from ..data.folds import Folds, seal
from ..data.load import check_loaded
from ..deployment.certify import certify, compared, missing
from ..deployment.decision import ACTS, Decision, plain
from ..deployment.ledger import Ledger
from ..deployment.remainder import remainder
from ..deployment.stage import EXTERNAL, POLICY
from ..evaluation.candidate import check_fitting
from ..evaluation.provenance import chosen_by, experience, refuse_touched
from ..evaluation.subject import subject
from ..training.fit import check_options
from ..training.plan import whole
from ..training.run import Run
from .candidates import STEPS, Training, default_methods, instance, with_imitation
from .selection import Requirement, Row, by_two_scores, judge, ranked

__all__ = ["Row", "Study", "study"]

RECORD, VERSION = "study.json", 1
ASIDE = ("resume", "progress", "checkpoint_seconds")  # options that change no policy


@dataclasses.dataclass(frozen=True)
class Study:
    """What a study found: the `decision`, the `policy` that it is about and that acts as it was judged, drawn or by its
    mode, and the `table` of all candidates.
    """

    decision: Decision
    policy: Any
    table: tuple[Row, ...]
    runs: Mapping[str, Run]
    folds: Folds
    notes: tuple[str, ...] = ()
    folder: Path | None = None

    def cells(self) -> list[tuple[str, ...]]:
        """Return the table in words, its head first."""
        scores = by_two_scores(self.table)
        more = ("advantage", "unlike") if scores else ()
        rows: list[tuple[str, ...]] = [("", "candidate", "value", "95 % interval", "score", "dose", "effective", *more)]
        for row in self.table:
            size = "–" if row.effective is None else f"{row.effective:.0f}"
            rows.append((
                "→" if row.chosen else "", title(row), f"{row.value:.4g}", f"[{row.low:.4g}, {row.high:.4g}]",
                f"{row.score:.3g}", f"{row.dose:g}", size, *(_told(row) if scores else ()),
            ))  # fmt: skip
        return rows

    def __str__(self) -> str:
        """The decision and the candidates, best first."""
        notes = "".join(f"\n{note}" for note in self.notes)
        return f"{self.decision}\n\n{text_table(self.cells())}{notes}"

    def _repr_html_(self) -> str:
        decision = html_table(self.decision.lines(), "Decision")
        return "\n".join((decision, html_table(self.cells(), "Candidates", head=True), html_notes(self.notes)))


def _told(row: Row) -> tuple[str, str]:
    """Return the advantage of a row, and the share of its actions that are unlike any logged one, in words."""
    share = "–" if row.unsupported is None else f"{row.unsupported:.0%}"
    return ("–" if row.advantage is None else f"{row.advantage:.3g}"), share


def title(row: Row) -> str:
    """Return a candidate's name: method, setting where there are several, seed, and how it acts: by its mode (greedy),
    or drawn. One that weft did not train has its own name.
    """
    return f"{source(row)}, {'external' if row.external else 'drawn' if row.drawn else 'greedy'}"


def source(row: Row) -> str:
    """Return which policy a candidate is, however it acts: method, setting where there are several, and seed."""
    if row.external:
        return row.algorithm
    setting = f" setting {row.setting}" if row.setting else ""
    return f"{row.algorithm}{setting} seed {row.seed}"


def study(
    data: Dataset,
    algorithms: Sequence[str | Algorithm] | None = None,
    out: str | Path | None = None,
    *,
    candidates: Sequence[Any] = (),
    steps: int = STEPS,
    seeds: int | Sequence[int] = 2,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    preset: str | None = None,
    minutes: float | None = None,
    imitation: bool = True,
    baseline: Any = None,
    margin: float = 0.0,
    risk: float = 0.05,
    seed: int = 0,
    by_time: str | None = None,
    ledger: Ledger | str | Path | None = None,
    progress: bool = False,
    **options: Any,
) -> Study:
    """Train candidates on two fifths of a log, choose one on a fifth, and certify it on the rest.

    algorithms: names or instances (`weft.grid` makes several), by default `bc`, `iql`, `cql`, and `regression` where
    every episode is one decision; what the log cannot teach is left out, and a note says why. imitation: `bc` and
    `filtered_bc` compete even where they are not named, because whatever is chosen has to beat them. settings:
    hyperparameters by name; preset: a family of tasks (`weft.preset`), whose numbers and units the methods that are
    named begin with. out: a folder for runs, policy and `study.json`; the same call goes on where it was stopped.
    candidates: policies that weft did not train (any source of `weft.external_policy`), which compete with the others
    and can be chosen; the folder then refers to the chosen one and holds no copy. steps, seeds and `options` are those
    of `weft.fit`. minutes: a budget of time for each method, all its settings and seeds together; one whose updates are
    dear then gets fewer of them, and a note says how many. baseline, margin, risk, ledger: those of `weft.certify`.
    seed: deals the folds and orders chance. by_time: a column; folds then follow one another in time, as they must
    where the log drifts or its propensities adapt.

    Policies over choices are judged both by their mode and as they draw. Those over continuous actions are judged by
    their mode, unless the log's propensities can certify one: a mode has no density to weigh with, so the policy that
    draws is judged. What is judged is what is certified and served: `Study.policy` and its file act that way.

    A log that grows may be studied again: what tests have opened is left out of the certify fold, and a note says so.
    The policy that comes out remembers what it was trained on and what chose it, the train and select folds.

    The ledger is asked before anything is trained, but for the few updates by which `minutes` measures their pace: a
    certify fold that another study or policy has spent is refused, and the very same study is answered again without
    cost.

    Raises UserError as `weft.fit`, `weft.data.folds.seal` and `weft.certify` do, and when no algorithm fits the log.
    """
    check_loaded(data, "A study")
    check_options("A study", options)
    family = None if preset is None else families.preset(preset)
    training = Training(whole(steps, "The number of steps"), seeds, options, progress, family)
    folder = None if out is None else Path(out)
    check_kept(data)  # what the certificate would refuse is refused before hours of training
    folds = seal(data, seed=seed, by_time=by_time)
    baseline, others = None if baseline is None else subject(baseline), _others(candidates, folds)
    named = _methods(data, algorithms, settings or {}, family)
    methods, notes = _fitting(named, folds.train)
    if imitation:
        methods, more = with_imitation(methods, folds.train, family)
        notes += more
    trainings = dict.fromkeys(methods, training)
    if minutes is not None:
        trainings = _budget(training, minutes, methods, folds.train, folder)
        notes += [
            f"{name}: {one.steps:,} of {training.steps:,} updates, what {minutes:g} minutes allow."
            for name, one in trainings.items()
        ]
    answers = _answers(baseline, others, folds.select, seed)
    updates = training.steps if minutes is None else [one.steps for one in trainings.values()]
    request = _request(folds, {**named, **methods}, training.choices, (updates, seeds, answers, margin, risk, seed))
    asking = Ledger(ledger.folder if isinstance(ledger, Ledger) else ledger, request)
    folds, news = _unseen(folds, baseline, risk, asking, _answered(folder))
    runs = {name: trainings[name].fit(methods[name], folds.train, _place(folder, name)) for name in methods}
    every = judge(runs, folds, Requirement(baseline, margin, risk), seed, external=others)
    (best, *rest), why = ranked(every)
    policy, asking.subject = chosen_by(folds.select, best.policy), _subject(best.row, folder)
    decision = certify(
        policy, folds.certify, baseline, margin, risk, seed=seed, ledger=asking, diagnostics=True, plan=best.plan
    )
    table = (dataclasses.replace(best.row, chosen=True), *(judged.row for judged in rest))
    notes += [*why, *_old_rule(table), *news, *_ways(table, folds.select), *_experiences(others, folds.select)]
    answer = Study(decision, policy, table, runs, folds, tuple(notes), folder)
    if folder is not None:
        _write(answer, folder)
    return answer


def _experiences(others: Sequence[External], data: Dataset) -> Iterator[str]:
    """Yield what is known of what external candidates were trained on."""
    for one in others:
        yield from experience(one, data)


def _subject(row: Row, folder: Path | None) -> str:
    """Say for the ledger which policy was certified: where it lies, and what it is."""
    place = "a study" if folder is None else folder / (EXTERNAL if row.external else POLICY)
    return f"{place} ({title(row)})"


def _others(candidates: Sequence[Any], folds: Folds) -> list[External]:
    """Return the candidates that weft did not train. Raises UserError for one that is declared to know the certify
    fold, and for two of one name.
    """
    if isinstance(candidates, str) or not isinstance(candidates, Sequence):
        raise UserError(f"candidates is a list of policies, got {candidates!r}.")
    others = [external_policy(one) for one in candidates]
    names = [one.name for one in others]
    for one in others:
        refuse_touched(one, folds.certify)
        if names.count(one.name) > 1:
            raise UserError(f"Two candidates are called '{one.name}'; give each a name of its own.")
    return others


def _answers(baseline: Any, others: Sequence[External], data: Dataset, seed: int) -> list[Any]:
    """Return what a baseline and the external candidates do on a fold, before anything is trained.

    Raises UserError where they cannot be asked, or values cannot be fitted for them.
    """
    answers = [compared(baseline, data, None, seed), *(compared(one, data, None, seed) for one in others)]
    for number, answer in enumerate(answers):
        if answer is not None:
            check_fitting(answer, f"A study with {others[number - 1].name}" if number else "A study with this baseline")
    return answers


def _unseen(folds: Folds, baseline: Any, risk: float, ledger: Ledger, question: str) -> tuple[Folds, list[str]]:
    """Return the folds without what tests have opened of the certify fold, and say so. Raises UserError where a test of
    the rest could not be paid."""
    part = remainder(folds.certify, () if baseline is None else (baseline,), ledger, risk, question)
    ledger.ask(part.data, part.risk, part.granted, question=question)
    return folds.certifying(part.data), [part.sentence] if part.sentence else []


def _place(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / "runs" / name


def _fitting(methods: Mapping[str, list[Algorithm]], data: Dataset) -> tuple[dict[str, list[Algorithm]], list[str]]:
    """Return the methods that fit a log, and say which are left out. Raises UserError where none is left."""
    fitting, notes = {}, []
    for name, settings in methods.items():
        try:
            for setting in settings:
                setting.check(data.spec)
                setting.check_rows(data.actions, data.rewards, data.unit_count)
        except UserError as problem:
            notes.append(f"{name} is left out: {problem}")
            continue
        fitting[name] = settings
    if not fitting:
        raise UserError(f"No algorithm fits {data.origin}: {' '.join(notes)}")
    return fitting, notes


def _budget(
    training: Training, minutes: float, methods: Mapping[str, list[Algorithm]], data: Dataset, folder: Path | None
) -> dict[str, Training]:
    """Return how every method is trained within so many minutes. Raises UserError for a budget that is none."""
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes < float("inf"):
        raise UserError(f"The budget of a method is a number of minutes above 0, got {minutes!r}.")
    return {name: training.within(minutes, settings, data, _place(folder, name)) for name, settings in methods.items()}


def _request(
    folds: Folds, methods: Mapping[str, list[Algorithm]], options: Mapping[str, Any], arguments: tuple[Any, ...]
) -> str:
    """Return a name for a study: its folds, what is declared of them, and all that decides which policy comes out."""
    options = {name: options[name] for name in sorted(options) if name not in ASIDE}
    settings = [describe(setting) for settings in methods.values() for setting in settings]
    leaves, structure = jax.tree.flatten(arguments)
    words = json.dumps(
        [folds.manifest["fingerprints"], folds.certify.spec.to_json(), settings], sort_keys=True, default=str
    )
    digest = hashlib.sha256(f"{words} {structure} {options}".encode())
    for leaf in leaves:
        digest.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
    return digest.hexdigest()[:16]


def _answered(folder: Path | None) -> str:
    """Return the name of the question that a study's folder answers; empty where it answers none."""
    if folder is None or not (folder / RECORD).exists():
        return ""
    try:
        return str(storage.read_record(folder / RECORD)["decision"]["question"])
    except (KeyError, TypeError):
        return ""


def _old_rule(table: Sequence[Row]) -> Iterator[str]:
    """Yield that the old rule should be kept, where the select fold does not speak for the chosen policy."""
    if not table[0].score > 0:
        who = "the chosen policy is not" if any(row.score > 0 for row in table) else "no candidate is"
        yield (
            f"By values on the select fold {who} better than the old rule beyond chance: keep the old rule, unless the "
            "decision above says otherwise."
        )


def _ways(table: Sequence[Row], data: Dataset) -> Iterator[str]:
    """Yield how the chosen policy acts, and who could not be judged as weights need it."""
    if not data.spec.discrete and not missing(data):
        names = sorted({row.algorithm for row in table if not row.drawn and row.effective is None})
        if names:
            yield f"{', '.join(names)}: judged by the mode, which has no density, so without a chance of a certificate."
    if table[0].external:
        yield (
            f"The decision is about {table[0].algorithm}, which weft did not train; the folder refers to it and holds "
            "no copy."
        )
        return
    assert table[0].drawn is not None
    acts = ACTS[table[0].drawn]
    if table[0].drawn and not data.spec.discrete:
        acts += ", because weights need a density"
    yield f"The decision is about the policy {acts}; Study.policy and its file act like that, too."


def _methods(
    data: Dataset, algorithms: Any, settings: Mapping[str, Mapping[str, Any]], family: type[families.Preset] | None
) -> dict[str, list[Algorithm]]:
    """Return the settings of every method, by its name; those that suit the log where none is named (None)."""
    if algorithms is None:
        algorithms = default_methods(data, None if family is None else family.name())
    if isinstance(algorithms, str) or not isinstance(algorithms, Iterable):
        raise UserError(f"A study chooses among several algorithms: give a list, [{algorithms!r}].")
    algorithms = tuple(algorithms)
    if not algorithms:
        raise UserError("A study needs at least one algorithm.")
    methods: dict[str, list[Algorithm]] = {}
    for one in algorithms:
        method = instance(one, "A study", settings.get(one, {}) if isinstance(one, str) else None, family)
        methods.setdefault(method.name, []).append(method)
    unknown = [name for name in settings if name not in methods and name not in algorithms]
    if unknown:
        raise UserError(f"Settings are given for '{unknown[0]}', which is not among the study's algorithms.")
    return methods


def _write(answer: Study, folder: Path) -> None:
    """Write the policy, or a reference to an external one, and `study.json`: folds, candidates and decision."""
    best = answer.table[0]
    # of the two kinds of answer only one may lie there
    (folder / (POLICY if best.external else EXTERNAL)).unlink(missing_ok=True)
    if isinstance(answer.policy, External):
        storage.write_record(folder / EXTERNAL, answer.policy.record())
    else:
        run = chosen_by(answer.folds.select, answer.runs[best.algorithm])
        run.save_policy(folder / POLICY, run.seeds.index(best.seed), best.setting, best.step, bool(best.drawn))
    record = {
        "version": VERSION,
        "folds": answer.folds.manifest,
        "decision": answer.decision.record(),
        "table": [dataclasses.asdict(row) for row in answer.table],
        "notes": list(answer.notes),
    }
    storage.write_record(folder / RECORD, plain(record))
