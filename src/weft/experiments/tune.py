"""Search the hyperparameters of a method: trials in batches, each batch one compiled program, judged as a study judges.

    train fold     every trial of a batch with every seed (`weft.fit`)
    select fold    what would its policies certify?  (`selection.judge`); the mean over the seeds is the trial's score
    certify fold   stays sealed: `weft.certify(tuned.policy, tuned.folds.certify)`, once, afterwards

The best of many trials looks better on the select fold than it is, the more so the more trials there are; only the
certify fold can tell. `tune.json` in the folder is a journal of batches: one is written before it is trained and again
when it is judged, so that a search that was killed goes on where it was, trains the same trials, and repeats none.
"""

import contextlib
import dataclasses
import itertools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..agents import preset as families
from ..agents.algorithm import Algorithm, applied, describe
from ..agents.served import Served, check_parameters
from ..core import storage
from ..core.errors import UserError
from ..core.tables import html_table, text_table
from ..data.dataset import Dataset
from ..data.declarations import check_kept
from ..data.folds import Folds, seal
from ..data.load import check_loaded
from ..deployment.decision import plain
from ..evaluation.provenance import chosen_by
from ..evaluation.subject import subject
from ..training.fit import check_options
from ..training.plan import whole
from ..training.run import Run, load_run
from .candidates import STEPS, Training, instance
from .search_space import Space, ask, checked, own
from .selection import Requirement, Row, judge

__all__ = ["Trial", "Tuned", "best_setting", "tune"]

RECORD, POLICY, LOCK, VERSION = "tune.json", "policy.safetensors", ".lock", 2
Batch = list[dict[str, Any]]
"""Trials that are trained together, as the journal has them: their settings, and what `_score` says once judged."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """Settings that were tried. score: the improvement that its policies are predicted to certify, the mean over the
    seeds (None where training went astray); each: that of every seed; drawn: of policies that draw their actions;
    seed, step: the best seed and its state; batch, place: where it was trained.
    """

    settings: Mapping[str, Any]
    score: float | None
    each: tuple[float, ...] = ()
    drawn: bool = False
    seed: int = 0
    step: int = 0
    batch: int = 0
    place: int = 0


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a search found: the best `setting` (an instance), its `settings` by name, its best seed's `policy`
    (which acts as it was judged, `drawn` or by its mode), all `trials`, best first, and the `folds`, of which the
    certify fold has not been touched.
    """

    setting: Algorithm
    policy: Served
    trials: tuple[Trial, ...]
    folds: Folds
    space: Space
    folder: Path | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The best values of what was searched."""
        return dict(self.trials[0].settings)

    @property
    def score(self) -> float:
        """The best trial's score."""
        assert self.trials[0].score is not None
        return self.trials[0].score

    @property
    def drawn(self) -> bool:
        """Whether the policy draws its actions, as it was judged, rather than takes its mode."""
        return self.trials[0].drawn

    def cells(self, most: int | None = None) -> list[tuple[str, ...]]:
        """Return the table of trials in words, its head first."""
        rows: list[tuple[str, ...]] = [("", *self.space, "score", "worst seed", "best seed", "acts")]
        for number, trial in enumerate(self.trials[:most]):
            values = tuple(_words(trial.settings[name]) for name in self.space)
            if trial.score is None:
                rows.append(("", *values, "went astray", "", "", ""))
                continue
            figures = (f"{score:.4g}" for score in (trial.score, min(trial.each), max(trial.each)))
            rows.append(("" if number else "→", *values, *figures, "drawn" if trial.drawn else "greedy"))
        return rows

    def __str__(self) -> str:
        """The trials, best first."""
        return text_table(self.cells())

    def _repr_html_(self) -> str:
        return html_table(self.cells(), f"Trials of {self.setting.title}", head=True)


def tune(
    data: Dataset,
    algorithm: str | Algorithm,
    space: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    *,
    trials: int = 30,
    together: int = 10,
    steps: int = STEPS,
    seeds: int | Sequence[int] = 2,
    preset: str | None = None,
    baseline: Any = None,
    risk: float = 0.05,
    seed: int = 0,
    by_time: str | None = None,
    progress: bool = False,
    **options: Any,
) -> Tuned:
    """Search hyperparameters on two fifths of a log, judge them on a fifth, and leave the rest sealed.

    algorithm: a name, or an instance whose other hyperparameters stay. space: what to search, by name, see
    `weft.experiments.search_space.checked`: `{"expectile": "0.6:0.95", "inverse_temperature": "log:0.5:20", "hidden":
    "64,64/256,256"}`. out: a folder for runs, policy and `tune.json`; the same call goes on where it was stopped, and
    one with more trials adds to them. trials: how many settings; the method's own come first if they lie in the space.
    together: how many are chosen and trained at once, as one compiled program where only ranges are searched. steps,
    seeds and `options` are those of `weft.fit`. preset: a family of tasks (`weft.preset`), whose numbers and units a
    method that is named begins with. baseline, risk, seed, by_time: those of `weft.study`, which seals the
    same folds.

    Raises UserError as `weft.fit` and `weft.data.folds.seal` do, for a space that cannot be, a folder of another
    search, where Optuna is not installed (the extra `tune`), and where every trial went astray.
    """
    check_loaded(data, "A search")
    check_options("A search", options)
    family = None if preset is None else families.preset(preset)
    training = Training(whole(steps, "The number of steps"), seeds, options, progress, family)
    method = instance(algorithm, "A search", family=family)
    method.check(data.spec)
    searched = checked(space, method)
    trials, together = _count(trials, "trials"), _count(together, "trials at once")
    check_kept(data)
    folds = seal(data, seed=seed, by_time=by_time)
    method.check_rows(folds.train.actions, folds.train.rewards, folds.train.unit_count)
    baseline = None if baseline is None else subject(baseline)
    search = _Search(method, searched, folds, training, Requirement(baseline, risk=risk), seed)
    journal = _Journal(None if out is None else Path(out), search.request())
    with journal.opened():
        runs = search.fill(journal, trials, together)
    return search.best(journal, runs)


@dataclasses.dataclass(frozen=True)
class _Search:
    """All that decides which settings are tried and how they come off."""

    method: Algorithm
    space: Space
    folds: Folds
    training: Training
    requirement: Requirement
    seed: int

    def request(self) -> dict[str, Any]:
        """Return what a folder is compared with before it is gone on with, as JSON has it."""
        training = self.training
        return plain({
            "algorithm": describe(self.method), "space": {name: str(part) for name, part in self.space.items()},
            "steps": training.steps, "seeds": repr(training.seeds), "baseline": self.requirement.baseline is not None,
            "risk": self.requirement.risk,
            "options": {name: repr(value) for name, value in training.choices.items()}, "folds": self.folds.manifest,
        })  # fmt: skip

    def fill(self, journal: "_Journal", trials: int, together: int) -> list[Run]:
        """Choose, train and judge what a journal lacks up to a number of trials; return the runs that no folder keeps.

        A batch is written down before it is trained: a search that was killed trains the same trials again.
        """
        runs, batches = [], journal.batches
        for number in itertools.count():
            if number == len(batches):
                lacking = trials - sum(map(len, batches))
                if lacking < 1:
                    break
                batches.append([{"settings": settings} for settings in self._next(batches, min(together, lacking))])
                journal.write()
            if all("score" in trial for trial in batches[number]):
                continue
            run = self._train(journal, number)
            if journal.folder is None:
                runs.append(run)
            batches[number] = [
                {"settings": trial["settings"], **figures}
                for trial, figures in zip(batches[number], self._scores(run), strict=True)
            ]
            journal.write()
        return runs

    def _next(self, batches: list[Batch], count: int) -> list[dict[str, Any]]:
        """Return the settings to try next; the method's own come first."""
        history = [(trial["settings"], trial["score"]) for batch in batches for trial in batch]
        return ask(self.space, history, count, self.seed, own(self.method, self.space))

    def _train(self, journal: "_Journal", number: int) -> Run:
        settings = [applied(self.method, trial["settings"]) for trial in journal.batches[number]]
        place = journal.place(number)
        try:
            return self.training.fit(settings, self.folds.train, place)
        except UserError:
            if place is not None and not place.exists():  # refused before it began: it was no trial
                del journal.batches[number:]
                journal.write()
            raise

    def _scores(self, run: Run) -> list[dict[str, Any]]:
        """Return score, scores by seed and best policy of every setting of a run."""
        healthy = [setting for setting in range(len(run.settings)) if _healthy(run, setting)]
        candidates = judge({run.settings[0].name: run}, self.folds, self.requirement, self.seed, healthy)
        rows = [judged.row for judged in candidates]
        return [_score([row for row in rows if row.setting == setting]) for setting in range(len(run.settings))]

    def best(self, journal: "_Journal", runs: Sequence[Run]) -> Tuned:
        """Return all trials and the best one's policy, which is written into the folder. Raises UserError for none."""
        table = sorted(_trials(journal.batches), key=_rank, reverse=True)
        first = table[0]
        if first.score is None:
            raise UserError(f"All {len(table)} trials of {self.method.title} went astray; search lower learning rates.")
        folder = journal.folder
        run = runs[first.batch] if folder is None else load_run(_place(folder, first.batch))
        run = chosen_by(self.folds.select, run)
        where = run.seeds.index(first.seed), first.place, first.step
        if folder is not None:
            run.save_policy(folder / POLICY, *where, drawn=first.drawn)
        policy = run.policy(*where).drawing(first.drawn)
        return Tuned(run.settings[first.place], policy, tuple(table), self.folds, self.space, folder)


def best_setting(folder: str | Path, folds: Folds) -> Algorithm:
    """Return the best instance that a search in a folder found, for `weft.study` on the same folds.

    Raises UserError where the folder holds no search, none of its trials has a score, or it was made on other folds:
    then what chose these settings may lie in the certify fold.
    """
    record = _read(folder := Path(folder))
    if record["asked"]["folds"]["fingerprints"] != folds.manifest["fingerprints"]:
        raise UserError(
            f"{folder} was tuned on other folds or another log, so what chose its settings may lie in the certify "
            "fold; give the same log, seed and by_time."
        )
    best = max(_trials(record["batches"]), key=_rank, default=None)
    if best is None or best.score is None:
        raise UserError(f"No trial in {folder} has a score yet; go on with `weft tune`.")
    return load_run(_place(folder, best.batch)).settings[best.place]


def _trials(batches: list[Batch]) -> list[Trial]:
    """Return the trials of a journal that were judged."""
    return [
        Trial(
            **{**trial, "each": tuple(trial["each"]), "settings": _tuples(trial["settings"])}, batch=number, place=place
        )
        for number, batch in enumerate(batches)
        for place, trial in enumerate(batch)
        if "score" in trial
    ]


def _rank(trial: Trial) -> float:
    return -math.inf if trial.score is None else trial.score


def _place(folder: Path, number: int) -> Path:
    """Return the folder of a batch's run."""
    return folder / f"batch-{number:03d}"


def _score(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what the candidates of one setting come to, judged by the better of their ways to act: a trial's record.

    The score is None where training went astray with any seed.
    """
    ways = [[row for row in rows if row.drawn == drawn] for drawn in (False, True)]
    ways = [way for way in ways if way and all(math.isfinite(row.score) for row in way)]
    if not ways:
        return {"score": None, "each": [], "drawn": False, "seed": 0, "step": 0}
    way = max(ways, key=_mean)
    best = max(way, key=lambda row: row.score)
    return {
        "score": _mean(way), "each": [row.score for row in way], "drawn": best.drawn, "seed": best.seed,
        "step": best.step,
    }  # fmt: skip


def _mean(way: Sequence[Row]) -> float:
    return sum(row.score for row in way) / len(way)


def _healthy(run: Run, setting: int) -> bool:
    """Say whether every kept policy of a setting is made of numbers."""
    try:
        for step in run.lasting(setting):
            for number in range(len(run.seeds)):
                check_parameters(run.policy(number, setting, step))
    except UserError:
        return False
    return True


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _count(value: Any, what: str) -> int:
    with contextlib.suppress(TypeError):
        if (count := operator.index(value)) >= 1:
            return count
    raise UserError(f"The number of {what} is a whole number of at least 1, got {value!r}.")


# --- the journal --------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Journal:
    """The record of a search: its request and the batches of trials so far, written as often as one changes.

    A folder has one; without a folder it is kept in memory alone.
    """

    folder: Path | None
    request: dict[str, Any]
    batches: list[Batch] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Read what the folder holds, and keep other processes out of it. Raises UserError for another search's."""
        if self.folder is None:
            yield
            return
        _agreed(self.folder, self.request)  # before anything is written
        storage.make_folder(self.folder)
        busy = f"{self.folder} is in use by another process; wait for it or choose another folder."
        with storage.locked(self.folder / LOCK, busy):
            self.batches = _agreed(self.folder, self.request)
            yield

    def place(self, number: int) -> Path | None:
        """Return the folder of a batch's run, where there is one."""
        return None if self.folder is None else _place(self.folder, number)

    def write(self) -> None:
        """Write down what was tried; a search of nothing leaves nothing."""
        if self.folder is None:
            return
        if not self.batches:
            (self.folder / RECORD).unlink(missing_ok=True)
            return
        record = {"version": VERSION, "asked": self.request, "batches": self.batches}
        storage.write_record(self.folder / RECORD, plain(record))


def _read(folder: Path) -> dict[str, Any]:
    record = storage.read_record(folder / RECORD)
    if record.get("version") != VERSION or not {"asked", "batches"} <= set(record):
        raise UserError(f"{folder / RECORD} is damaged, or another version of weft wrote it.")
    return record


def _agreed(folder: Path, request: dict[str, Any]) -> list[Batch]:
    """Return the batches of a folder; raise UserError if it holds anything but this search."""
    if not (folder / RECORD).exists():
        strange = [path.name for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
        if strange or folder.is_file():
            raise UserError(f"{folder} is not empty and holds no search; choose another folder.")
        return []
    record = _read(folder)
    for name, value in request.items():
        if record["asked"].get(name) != value:
            raise UserError(f"The search in {folder} cannot be resumed: its {name} differs; choose another folder.")
    return record["batches"]
