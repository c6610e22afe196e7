"""Search the hyperparameters of a method: trials in batches, each batch one compiled program, judged as a study judges.

    train fold     every trial of a batch with every seed (`weft.fit`)
    select fold    what would its policies certify?  (`weft.study.judge`); the mean over the seeds is the trial's score
    certify fold   stays sealed: `weft.certify(found.policy, found.folds.certify)`, once, afterwards

The best of many trials looks better on the select fold than it is, the more so the more trials there are; only the
certify fold can tell. `tune.json` in the folder is a journal of batches: one is written before it is trained and again
when it is judged, so that a search that was killed goes on where it was, trains the same trials, and repeats none.
"""

import contextlib
import dataclasses
import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..agents.algorithm import Algorithm, applied, describe
from ..agents.algorithm import algorithm as named
from ..agents.served import Served, check_parameters
from ..core import storage
from ..core.errors import UserError
from ..core.tables import text_table
from ..data.dataset import Dataset
from ..data.declarations import check_kept
from ..data.folds import Folds, seal
from ..deployment.decision import plain
from ..training.fit import check_options, fit
from ..training.plan import whole
from ..training.run import Run, load_run
from .search_space import Space, ask, checked, own
from .study import STEPS, Row, judge

__all__ = ["Trial", "Tuned", "best_setting", "tune"]

RECORD, POLICY, LOCK, VERSION = "tune.json", "policy.safetensors", ".lock", 1


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
            figures = (f"{found:.4g}" for found in (trial.score, min(trial.each), max(trial.each)))
            rows.append(("" if number else "→", *values, *figures, "drawn" if trial.drawn else "greedy"))
        return rows

    def __str__(self) -> str:
        """The trials, best first."""
        return text_table(self.cells())


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
    seeds and `options` are those of `weft.fit`. baseline, risk, seed, by_time: those of `weft.study`, which seals the
    same folds.

    Raises UserError as `weft.fit` and `weft.data.folds.seal` do, for a space that cannot be, a folder of another
    search, where Optuna is not installed (the extra `tune`), and where every trial went astray.
    """
    check_options("A search", options)
    steps = whole(steps, "The number of steps")
    made: Any = named(algorithm) if isinstance(algorithm, str) else lambda: algorithm
    method: Algorithm = made()
    method.check(data.spec)
    searched = checked(space, method)
    trials, together = _count(trials, "trials"), _count(together, "trials at once")
    check_kept(data)
    folds = seal(data, seed=seed, by_time=by_time)
    folder = None if out is None else Path(out)
    asked = plain({
        "algorithm": describe(method), "space": {name: str(part) for name, part in searched.items()},
        "steps": steps, "seeds": repr(seeds), "baseline": baseline is not None, "risk": risk,
        "options": {name: repr(value) for name, value in options.items()}, "folds": folds.manifest,
    })  # fmt: skip
    runs: list[Run] = []
    with contextlib.ExitStack() as stack:
        batches: list[list[dict[str, Any]]] = []
        if folder is not None:
            batches = _agreed(folder, asked)  # before anything is written
            storage.make_folder(folder)
            busy = f"{folder} is in use by another process; wait for it or choose another folder."
            stack.enter_context(storage.locked(folder / LOCK, busy))
            batches = _agreed(folder, asked)
        for number in itertools.count():
            before = sum(map(len, batches[:number]))
            if number == len(batches):
                if before >= trials:
                    break
                history = [(one["settings"], one["score"]) for batch in batches for one in batch]
                count = min(together, trials - before)
                chosen = ask(searched, history, count, seed, own(method, searched))
                batches.append([{"settings": settings} for settings in chosen])
                _journal(folder, asked, batches)
            if all("score" in one for one in batches[number]):
                continue
            place = None if folder is None else _batch(folder, number)
            many = [applied(method, one["settings"]) for one in batches[number]]
            kept = sorted({max(1, steps // 2)} | set(options.get("keep", ())))
            given = {"resume": place is not None, "progress": progress, **options, "keep": kept}
            try:
                run = fit(many, folds.train, steps, seeds, place, **given)
            except UserError:
                if folder is not None and not _batch(folder, number).exists():  # refused before it began
                    _journal(folder, asked, batches[:number])
                raise
            runs += [run] if folder is None else []
            scored = _scored(run, folds, baseline, risk, seed)
            batches[number] = [
                {"settings": one["settings"], **figures} for one, figures in zip(batches[number], scored, strict=True)
            ]
            _journal(folder, asked, batches)
    table = sorted(_trials(batches), key=_rank, reverse=True)
    best = table[0]
    if best.score is None:
        raise UserError(f"All {len(table)} trials of {method.title} went astray; search lower learning rates.")
    run = runs[best.batch] if folder is None else load_run(_batch(folder, best.batch))
    where = run.seeds.index(best.seed), best.place, best.step
    if folder is not None:
        run.save_policy(folder / POLICY, *where, drawn=best.drawn)
    return Tuned(
        run.settings[best.place], run.policy(*where).drawing(best.drawn), tuple(table), folds, searched, folder
    )


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
    return load_run(_batch(folder, best.batch)).settings[best.place]


def _trials(batches: list[list[dict[str, Any]]]) -> list[Trial]:
    """Return the trials of a journal that were judged."""
    return [
        Trial(**{**one, "each": tuple(one["each"]), "settings": _tuples(one["settings"])}, batch=batch, place=place)
        for batch, ones in enumerate(batches)
        for place, one in enumerate(ones)
        if "score" in one
    ]


def _rank(trial: Trial) -> float:
    return -math.inf if trial.score is None else trial.score


def _batch(folder: Path, number: int) -> Path:
    return folder / f"batch-{number:03d}"


def _scored(run: Run, folds: Folds, baseline: Any, risk: float, seed: int) -> list[dict[str, Any]]:
    """Return score, seeds' scores and best policy of every setting of a run."""
    healthy = [setting for setting in range(len(run.settings)) if _healthy(run, setting)]
    table, _, _ = judge({run.settings[0].name: run}, folds, baseline, 0.0, risk, seed, healthy)
    found = []
    for setting in range(len(run.settings)):
        rows = [row for row in table if row.setting == setting]
        ways = [[row for row in rows if row.drawn == drawn] for drawn in (False, True)]
        ways = [way for way in ways if way and all(math.isfinite(row.score) for row in way)]
        if not ways:
            found.append({"score": None, "each": [], "drawn": False, "seed": 0, "step": 0})
            continue
        way = max(ways, key=_mean)
        best = max(way, key=lambda row: row.score)
        found.append({
            "score": _mean(way), "each": [row.score for row in way], "drawn": best.drawn, "seed": best.seed,
            "step": best.step,
        })  # fmt: skip
    return found


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
    try:
        found = operator.index(value)
    except TypeError:
        found = 0
    if found < 1:
        raise UserError(f"The number of {what} is a whole number of at least 1, got {value!r}.")
    return found


# --- the journal --------------------------------------------------------------------------------------------------


def _journal(folder: Path | None, asked: Any, batches: Any) -> None:
    """Write down what was tried; a search of nothing leaves nothing."""
    if folder is not None and not batches:
        (folder / RECORD).unlink(missing_ok=True)
    elif folder is not None:
        storage.write_record(folder / RECORD, plain({"version": VERSION, "asked": asked, "batches": batches}))


def _read(folder: Path) -> dict[str, Any]:
    record = storage.read_record(folder / RECORD)
    if record.get("version") != VERSION or not {"asked", "batches"} <= set(record):
        raise UserError(f"{folder / RECORD} is damaged, or another version of weft wrote it.")
    return record


def _agreed(folder: Path, asked: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the batches of a folder; raise UserError if it holds anything but this search."""
    if not (folder / RECORD).exists():
        strange = [path.name for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
        if strange or folder.is_file():
            raise UserError(f"{folder} is not empty and holds no search; choose another folder.")
        return []
    record = _read(folder)
    for name, value in asked.items():
        if record["asked"].get(name) != value:
            raise UserError(f"The search in {folder} cannot be resumed: its {name} differs; choose another folder.")
    return record["batches"]
