"""From a log to a decision: folds, candidates, triage, selection, certificate. One call, resumable, one folder.

    train fold     every algorithm and setting, with every seed (`weft.fit`); triage of every run (`weft.triage`)
    select fold    every policy is asked: what would it certify on the certify fold?  (`dose_test.prospect`)
    certify fold   the best one is tested, once (`weft.certify`)

Choosing by what is likely to be certified and not by the estimated value is what keeps the power: of two policies of
about the same value the one nearer to the log needs far fewer units. The select fold also says where the order of
doses begins and how the bets are spread. Without logged propensities or declared ranges there is
no certificate to predict; then the lower bound of a linear value function chooses, and at most a staged test follows.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..agents.algorithm import Algorithm, algorithm, describe
from ..core import storage
from ..core.compilation import Program
from ..core.errors import UserError
from ..core.tables import text_table
from ..data.dataset import Dataset
from ..data.declarations import check_kept, declared_discount
from ..data.folds import Folds, seal
from ..deployment import dose_test as gate
from ..deployment.certify import certify, compared, missing
from ..deployment.decision import ACTS, Decision, plain
from ..deployment.ledger import GRANTED, Ledger
from ..evaluation.bounded_terms import declared_range
from ..evaluation.estimate import effective
from ..evaluation.estimator import prepared, tabulate
from ..evaluation.estimators.linear_q import LinearQ
from ..evaluation.interval import influence, spread
from ..evaluation.trajectories import paths
from ..training.fit import check_options, fit
from ..training.plan import whole
from ..training.run import Run
from .triage import triage

__all__ = ["Row", "Study", "judge", "study"]

STEPS = 5000
RECORD, VERSION = "study.json", 1
ASIDE = ("resume", "progress", "checkpoint_seconds")  # options that change no policy


@dataclasses.dataclass(frozen=True)
class Row:
    """A candidate: a kept state of a run. value, low, high: linear fitted Q on the select fold with its 95 % interval;
    score: the lower bound of its estimated improvement above the margin at `dose`, times the chance that this is
    certified (without that chance where it is no improvement, or where nothing can be certified);
    effective: effective sample size of its weights on the select fold; logged: mean return of that fold.
    """

    algorithm: str
    setting: int
    seed: int
    step: int
    drawn: bool
    value: float
    low: float
    high: float
    score: float
    dose: float
    effective: float | None
    logged: float
    chosen: bool = False
    triage: str = ""


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
        rows: list[tuple[str, ...]] = [("", "candidate", "value", "95 % interval", "score", "dose", "effective")]
        for row in self.table:
            size = "–" if row.effective is None else f"{row.effective:.0f}"
            rows.append((
                "→" if row.chosen else "", title(row), f"{row.value:.4g}", f"[{row.low:.4g}, {row.high:.4g}]",
                f"{row.score:.3g}", f"{row.dose:g}", size,
            ))  # fmt: skip
        return rows

    def __str__(self) -> str:
        """The decision and the candidates, best first."""
        notes = "".join(f"\n{note}" for note in self.notes)
        return f"{self.decision}\n\n{text_table(self.cells())}{notes}"


def title(row: Row) -> str:
    """Return a candidate's name: method, setting where there are several, seed, and how it acts: by its mode (greedy),
    or drawn.
    """
    return f"{source(row)}, {'drawn' if row.drawn else 'greedy'}"


def source(row: Row) -> str:
    """Return which policy a candidate is, however it acts: method, setting where there are several, and seed."""
    setting = f" setting {row.setting}" if row.setting else ""
    return f"{row.algorithm}{setting} seed {row.seed}"


def study(
    data: Dataset,
    algorithms: Sequence[str | Algorithm] = ("bc", "iql", "cql"),
    out: str | Path | None = None,
    *,
    steps: int = STEPS,
    seeds: int | Sequence[int] = 2,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
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

    algorithms: names or instances (`weft.grid` makes several); settings: hyperparameters by name. out: a folder for
    runs, policy and `study.json`; the same call goes on where it was stopped. steps, seeds and `options` are those of
    `weft.fit`. baseline, margin, risk, ledger: those of `weft.certify`. seed: deals the folds and orders chance.
    by_time: a column; folds then follow one another in time, as they must where the log drifts or its propensities
    adapt.

    Policies over choices are judged both by their mode and as they draw. Those over continuous actions are judged by
    their mode, unless the log's propensities can certify one: a mode has no density to weigh with, so the policy that
    draws is judged. What is judged is what is certified and served: `Study.policy` and its file act that way.

    The ledger is asked before anything is trained: a certify fold that another study or policy has spent is refused at
    once, and the very same study is answered again without cost.

    Raises UserError as `weft.fit`, `weft.data.folds.seal` and `weft.certify` do, and when no algorithm fits the log.
    """
    check_options("A study", options)
    steps = whole(steps, "The number of steps")
    folder = None if out is None else Path(out)
    check_kept(data)  # what the certificate would refuse is refused before hours of training
    folds = seal(data, seed=seed, by_time=by_time)
    tried = _methods(algorithms, settings or {})
    other = compared(baseline, folds.select, None, seed)
    request = _request(folds, tried, options, (steps, seeds, other, margin, risk, seed))
    asking = Ledger(ledger.folder if isinstance(ledger, Ledger) else ledger, request)
    asking.ask(folds.certify, risk, max(risk, GRANTED), question=_answered(folder))
    runs, notes = {}, []
    for name, methods in tried.items():
        try:
            for method in methods:
                method.check(data.spec)
        except UserError as problem:
            notes.append(f"{name} is left out: {problem}")
            continue
        place = None if folder is None else folder / "runs" / name
        many = methods if len(methods) > 1 else methods[0]
        kept = sorted({max(1, steps // 2)} | set(options.get("keep", ())))
        given = {"resume": place is not None, "progress": progress, **options, "keep": kept}
        runs[name] = fit(many, folds.train, steps, seeds, place, **given)
    if not runs:
        raise UserError(f"No algorithm fits {data.origin}: {' '.join(notes)}")
    table, policies, plans = judge(runs, folds, baseline, margin, risk, seed)
    # one that could be certified comes before one that could not, whatever an estimate says of it
    order = sorted(range(len(table)), key=lambda number: (table[number].effective is None, -table[number].score))
    best = order[0]
    table = tuple(dataclasses.replace(table[number], chosen=number == best) for number in order)
    decision = certify(
        policies[best], folds.certify, baseline, margin, risk, seed=seed, ledger=asking, diagnostics=True,
        plan=plans[best],
    )  # fmt: skip
    notes += _ways(table, folds.select)
    found = Study(decision, policies[best], table, runs, folds, tuple(notes), folder)
    if folder is not None:
        _write(found, folder)
    return found


def _request(
    folds: Folds, tried: Mapping[str, list[Algorithm]], options: Mapping[str, Any], asked: tuple[Any, ...]
) -> str:
    """Return a name for a study: its folds, what is declared of them, and all that decides which policy comes out."""
    options = {name: options[name] for name in sorted(options) if name not in ASIDE}
    methods = [describe(method) for methods in tried.values() for method in methods]
    leaves, structure = jax.tree.flatten(asked)
    words = json.dumps(
        [folds.manifest["fingerprints"], folds.certify.spec.to_json(), methods], sort_keys=True, default=str
    )
    found = hashlib.sha256(f"{words} {structure} {options}".encode())
    for leaf in leaves:
        found.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
    return found.hexdigest()[:16]


def _answered(folder: Path | None) -> str:
    """Return the name of the question that a study's folder answers; empty where it answers none."""
    if folder is None or not (folder / RECORD).exists():
        return ""
    try:
        return str(storage.read_record(folder / RECORD)["decision"]["question"])
    except (KeyError, TypeError):
        return ""


def _ways(table: Sequence[Row], data: Dataset) -> Iterator[str]:
    """Yield how the chosen policy acts, and who could not be judged as weights need it."""
    if not data.spec.discrete and not missing(data):
        names = sorted({row.algorithm for row in table if not row.drawn})
        if names:
            yield f"{', '.join(names)}: judged by the mode, which has no density, so without a chance of a certificate."
    acts = ACTS[table[0].drawn]
    if table[0].drawn and not data.spec.discrete:
        acts += ", because weights need a density"
    yield f"The decision is about the policy {acts}; Study.policy and its file act like that, too."


def _methods(algorithms: Sequence[str | Algorithm], settings: Mapping[str, Mapping[str, Any]]) -> dict[str, list]:
    if not algorithms:
        raise UserError("A study needs at least one algorithm.")
    found: dict[str, list[Algorithm]] = {}
    for given in algorithms:
        if isinstance(given, Algorithm):
            found.setdefault(given.name, []).append(given)
        else:
            found.setdefault(given, []).append(algorithm(given)(**settings.get(given, {})))
    unknown = [name for name in settings if name not in found]
    if unknown:
        raise UserError(f"Settings are given for '{unknown[0]}', which is not among the study's algorithms.")
    return found


def judge(
    runs: Mapping[str, Run],
    folds: Folds,
    baseline: Any,
    margin: float,
    risk: float,
    seed: int,
    only: Sequence[int] | None = None,
) -> tuple[list[Row], list[Any], list[gate.Plan | None]]:
    """Ask every candidate on the select fold: its row of the table, its policy, which acts as it was judged, and a plan
    of its test where it can be certified. A baseline is judged as it acts. only: which settings of the runs.
    """
    data = folds.select
    method = LinearQ(
        declared_discount(data), horizon=data.spec.horizon, features=int(np.clip(data.steps // 10, 8, 128))
    )
    doses = jnp.asarray(gate.DOSES if baseline is None else (1.0,))
    numbers = (jnp.float32(folds.manifest["units"]["certify"]), jnp.float32(margin), jnp.float32(risk))
    most, key = _most(data), jax.random.key(seed)
    raw, transform, columns, weighing = prepared(data, None)
    other = None if baseline is None else tabulate(baseline, data, raw, transform, key)
    against = None if other is None else float(_value(method, other, columns, weighing, key)[0])
    # weights need a density, which a mode over continuous actions lacks: where they can certify, the draws are judged
    ways = (False, True) if data.spec.discrete else (not missing(data, other),)
    table, policies, plans = [], [], []
    for name, run, setting, number, step, alarms in _states(runs, only):
        for way in ways:
            policy = run.policy(number, setting, step).drawing(way)
            candidate = tabulate(policy, data, raw, transform, key)
            if way and candidate.log_prob is None:  # its draws have no density either
                policy = policy.drawing(False)
                candidate = tabulate(policy, data, raw, transform, key)
            value, deviation, logged = (float(part) for part in _value(method, candidate, columns, weighing, key))
            reach = 1.96 * deviation
            gain = value - reach - (logged if against is None else against)
            if not math.isfinite(gain) or value - reach > most:
                gain = -math.inf  # a value that no return can have says nothing
            score, dose, size, plan = gain - margin, 1.0, None, None
            if not missing(data, candidate, other):
                declared = jax.tree.map(jnp.float32, declared_range(data))
                known = declared.share(jnp.float32(logged)), jnp.float32(gain)
                found = _prospect(candidate, other, columns, weighing, declared, doses, *known, *numbers)
                plan, size = found[0], float(found[1])
                score, dose = float(plan.score), round(float(plan.dose), 6)
            table.append(Row(
                name, setting, run.seeds[number], step, policy.drawn, value, value - reach, value + reach, score, dose,
                size, logged, triage=alarms,
            ))  # fmt: skip
            policies.append(policy)
            plans.append(plan)
    return table, policies, plans


def _states(runs: Mapping[str, Run], only: Sequence[int] | None) -> Iterator[tuple[str, Run, int, int, int, str]]:
    """Yield name, run, setting, number of the seed, the step to judge, and what raised an alarm in training."""
    for name, run in runs.items():
        for setting in range(len(run.settings)) if only is None else only:
            health = triage(run, setting=setting)
            step = run.lasting(setting)[-1] if health.checkpoint is None else health.checkpoint
            alarms = "; ".join(found.sentence for found in health.findings if found.verdict == "alarm")
            for number in range(len(run.seeds)):
                yield name, run, setting, number, step, alarms


def _most(data: Dataset) -> float:
    """Return the largest return that an episode can have, infinite where nothing is declared."""
    spec = data.spec
    if spec.reward_high is None or spec.horizon is None:
        return math.inf
    return max(spec.reward_high[0], 0.0) * float((declared_discount(data) ** np.arange(spec.horizon)).sum())


def _worth(method: LinearQ, candidate: Any, columns: Any, weighing: Any, key: Any) -> tuple[Any, Any, Any]:
    value, each, count = influence(method, method.terms(candidate, columns, weighing, key), weighing)
    found = paths(candidate, columns, len(weighing.weights), method.discount, reference=False)
    returns = (found.discount * found.reward).sum(1)
    return value, spread(each, count), (weighing.weights * returns).sum() / weighing.weights.sum()


_value = Program(_worth, "The value of a candidate")


def _predict(
    candidate: Any,
    other: Any,
    columns: Any,
    weighing: Any,
    declared: Any,
    doses: Any,
    share: Any,
    gain: Any,
    units: Any,
    margin: Any,
    risk: Any,
) -> tuple[gate.Plan, Any]:
    def terms(centre: Any) -> gate.Terms:
        return gate.terms(candidate, other, columns, weighing, declared, doses, centre)

    strains = gate.STRAINS if other is None and declared.floor is not None else (0.0,)
    plan = gate.prospect(terms, doses, share, gain, units, margin, risk, strains)
    return plan, effective(candidate, columns, weighing)


_prospect = Program(_predict, "The prospect of a certificate")


def _write(found: Study, folder: Path) -> None:
    """Write the policy and `study.json`: folds, candidates and decision."""
    best = found.table[0]
    run = found.runs[best.algorithm]
    run.save_policy(folder / "policy.safetensors", run.seeds.index(best.seed), best.setting, best.step, best.drawn)
    record = {
        "version": VERSION,
        "folds": found.folds.manifest,
        "decision": found.decision.record(),
        "table": [dataclasses.asdict(row) for row in found.table],
        "notes": list(found.notes),
    }
    storage.write_record(folder / RECORD, plain(record))
