"""Train: many settings and seeds of one method on one log, in chunks, with checkpoints, killed and resumed at will."""

import contextlib
import dataclasses
import itertools
import json
import operator
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from . import folder as folders
from . import pytree, storage, train
from .alarms import Watch, effective_steps, largest_return
from .algorithm import Algorithm, describe
from .columns import Columns
from .compilation import keep_compiled_programs
from .dataset import Dataset
from .errors import UserError
from .fingerprints import Trace, fingerprints
from .progress import Progress, Silent
from .run import FORMAT, Run, load_run, structure
from .transform import Transform, fit_transform

__all__ = ["fit"]


def fit(
    algorithm: Algorithm | Sequence[Algorithm],
    data: Dataset,
    steps: int = 100_000,
    seeds: int | Sequence[int] = 1,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    progress: bool = False,
    batch_size: int | None = None,
    observations: str = "standardise",
    rewards: str = "none",
    reward_shift: float = 0.0,
    keep: Sequence[int] = (),
    log_every: int | None = None,
    checkpoint_seconds: float = 60.0,
    stop_when_hopeless: bool = False,
) -> Run:
    """Train every setting with every seed and return the `Run`; what is not finished can be resumed.

    algorithm: an instance, or a list of them (`weft.grid`); settings of one structure share one compiled program, and
    the same seed means the same first weights and batches in every setting. seeds: how many (0, 1, …), or which.
    out: the run's folder; without one nothing is written. resume: continue the folder's run from its last checkpoint,
    bit for bit (start it if there is none). batch_size: replaces the sampler's. observations, rewards, reward_shift:
    see `fit_transform`. keep: steps whose states are kept for good. log_every: steps per metrics row (a hundredth of
    all by default). checkpoint_seconds: time between checkpoints, of which the last two are kept.

    Alarms are warned of whenever they come up, and change nothing: metrics that are not finite, and a mean Q more than
    ten times what the rewards can add up to (`weft.alarms`). stop_when_hopeless: end the runs of a compiled
    program early when every one of them gave an alarm in its last two rows; the last states and the reason
    (`run.record["stopped"]`) are kept, and resuming without it goes on as if nobody had stopped.

    Raises UserError, before anything is written, for wrong arguments, a log that the method cannot learn from, and a
    folder that is taken or does not fit.
    """
    keep_compiled_programs()
    settings = list(algorithm) if isinstance(algorithm, Sequence) else [algorithm]
    plan = _plan(settings, data, steps, seeds, batch_size, keep, log_every)
    transform = fit_transform(data, observations, rewards, reward_shift)
    record = _record(plan, data, {"observations": observations, "rewards": rewards, "reward_shift": reward_shift})
    record["transform"] = transform.parts()
    record["largest_returns"] = [largest_return(setting, data, transform) for setting in plan.settings]
    groups = pytree.groups([pytree.as_arrays(setting) for setting in plan.settings])
    for members in groups:
        structure(plan.settings[members[0]], data.spec)  # what a method refuses, it refuses before anything is written
    folder = None if out is None else Path(out)
    run = Run(record, plan.settings, plan.seeds, data.spec, transform, groups, [{} for _ in groups], [], folder)
    run.trained_on = Trace(fingerprints(data))
    with Progress() if progress else Silent() as shown, contextlib.ExitStack() as stack:
        said = []
        if folder is not None:
            _agree(run, folder, resume)  # before anything is written
            storage.make_folder(folder / folders.CHECKPOINTS)
            busy = f"{folder} is in use by another process; wait for it or choose another folder."
            stack.enter_context(storage.locked(folder / folders.LOCK, busy))
            said = _agree(run, folder, resume)
            folders.tidy(folder)
            if not (folder / folders.RECORD).exists():
                storage.write_tree(folder / folders.TRANSFORM, run.transform)
                storage.write_tree(folder / folders.EPISODES, run.trained_on.packed())
            storage.write_json(folder / folders.RECORD, run.record)
        for sentence in (_headline(run), *_discounts(run), *said):
            shown.say(sentence)
        columns = _transformed(run.transform, data.device())
        for group in range(len(groups)):
            _train_group(
                run,
                dataclasses.replace(plan, log_every=run.record["log_every"], keep=run.record["keep"]),
                group,
                columns,
                checkpoint_seconds,
                shown,
                stop_when_hopeless,
            )
    return run


@dataclasses.dataclass(frozen=True)
class Plan:
    """Checked arguments; `log_every` is None where it was left to us."""

    settings: list[Algorithm]
    steps: int
    seeds: list[int]
    keep: list[int]
    log_every: int | None


def _plan(
    settings: list[Any], data: Dataset, steps: int, seeds: int | Sequence[int], batch_size: int | None,
    keep: Sequence[int], log_every: int | None,
) -> Plan:  # fmt: skip
    if not settings:
        raise UserError("There is no setting to train; give an algorithm or a grid with at least one.")
    for setting in settings:
        if not isinstance(setting, Algorithm):
            raise UserError(f"fit needs an algorithm such as weft.IQL(), got {type(setting).__name__}.")
        setting.check(data.spec)
    if not pytree.all_equal(type(setting) for setting in settings):
        raise UserError("All settings of one run must be of one algorithm; start one run for each.")
    steps = _whole(steps, "The number of steps")
    keep = [_whole(step, "A step to keep") for step in keep]
    log_every = None if log_every is None else _whole(log_every, "The distance of metrics in steps")
    batch_size = None if batch_size is None else _whole(batch_size, "The batch size")
    if steps < 1:
        raise UserError(f"The number of steps must be at least 1, got {steps}.")
    if np.ndim(seeds) == 0:
        numbers = list(range(_whole(seeds, "The number of seeds")))
    else:
        numbers = [_whole(seed, "A seed") for seed in np.asarray(seeds)]
    if not numbers:
        raise UserError(f"The number of seeds must be at least 1, got {seeds}.")
    if len(set(numbers)) < len(numbers) or min(numbers) < 0 or max(numbers) >= 2**32:
        raise UserError(f"Seeds must be different whole numbers from 0 to {2**32 - 1}, got {numbers}.")
    for step in keep:
        if not 1 <= step <= steps:
            raise UserError(f"The step to keep must be between 1 and {steps}, got {step}.")
    if log_every is not None and log_every < 1:
        raise UserError(f"Metrics are logged every 1 step or more, got {log_every}.")
    if batch_size is not None:
        settings = [pytree.replace(setting, "sampler.batch_size", batch_size) for setting in settings]
    return Plan(settings, steps, numbers, sorted(set(keep)), log_every)


def _whole(value: Any, what: str) -> int:
    """Return a whole number, NumPy's included; 1e5 is none."""
    try:
        return operator.index(value)
    except TypeError:
        raise UserError(f"{what} must be a whole number, got {value!r}.") from None


def _discounts(run: Run) -> list[str]:
    """Say where a method discounts otherwise than the log declares."""
    declared = run.spec.discount
    used = sorted({float(setting.discount) for setting in run.settings if hasattr(setting, "discount")})  # type: ignore[attr-defined]
    if declared is None or all(abs(value - declared) < 1e-9 for value in used):
        return []
    return [f"The log declares the discount {declared:g}; the method uses {', '.join(f'{value:g}' for value in used)}."]


def _record(plan: Plan, data: Dataset, units: dict[str, Any]) -> dict[str, Any]:
    device = str(jax.devices()[0].device_kind)
    return {
        "format": FORMAT,
        "settings": [describe(setting) for setting in plan.settings],
        "seeds": plan.seeds,
        "steps": plan.steps,
        "keep": plan.keep,
        "log_every": plan.log_every or max(1, plan.steps // 100),
        "units": units,
        "data": {
            "origin": data.origin,
            "fingerprint": data.fingerprint,
            "steps": data.steps,
            "episodes": data.episodes,
            "notes": list(data.notes),
        },
        "spec": json.loads(data.spec.to_json()),
        "computed": {"mapping": train.mapping(), "device": device, "python": platform.python_version()},
        "versions": {name: version(name) for name in ("weft", "jax", "equinox", "optax", "numpy")},
    }


def _headline(run: Run) -> str:
    settings, seeds = len(run.settings), len(run.seeds)
    words = f"{_count(settings, 'setting')} × {_count(seeds, 'seed')}"
    programs, place = _count(len(run.groups), "program"), f", into {run.folder}" if run.folder else ""
    of = f"{_count(settings * seeds, 'run')} ({words}) in {programs}, {run.record['steps']:,} steps each"
    return f"{run.settings[0].title} on {run.record['data']['origin']}: {of}{place}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _agree(run: Run, folder: Path, resume: bool) -> list[str]:
    """Check that a run may begin or go on in a folder, and take over what resuming must not change.

    Returns what the person should know. Nothing is written. Raises UserError that names what differs.
    """
    if not (resume and (folder / folders.RECORD).exists()):
        folders.check_free(folder)
        return [f"There is nothing to resume in {folder}: starting at step 0."] if resume else []
    old = load_run(folder)
    new, was = run.record, old.record
    parts = ("settings", "seeds", "units", "spec")
    pairs = {"data": (new["data"]["fingerprint"], was["data"]["fingerprint"])}
    pairs |= {part: (new[part], was[part]) for part in parts}
    for what, (now, then) in pairs.items():
        if now != then:
            raise UserError(f"{folder} cannot be resumed: its {what} differ ({folders.difference(then, now)}).")
    if new["steps"] < was["steps"]:
        raise UserError(f"{folder} was planned for {was['steps']} steps; resume it with at least as many.")
    said = []
    if new["steps"] > was["steps"]:
        said.append(f"Extended from {was['steps']:,} to {new['steps']:,} steps; schedules go by the new total.")
    for part in ("versions", "computed"):
        if changed := [name for name, value in new[part].items() if was[part].get(name) != value]:
            said.append(f"This run began with another {', '.join(changed)}; its bits may differ from here on.")
    run.transform = old.transform
    run.metrics[:] = old.metrics
    # how runs are mapped stays as it was; rows of metrics keep their distance
    ended = [*was.get("extended_from", []), *([was["steps"]] if new["steps"] > was["steps"] else [])]
    run.record = {**new, "computed": was["computed"], "log_every": was["log_every"], "extended_from": ended}
    run.record["keep"] = sorted({*was["keep"], *new["keep"], *ended})  # what was kept for good stays
    return said


@jax.jit
def _transformed(change: Transform, raw: Columns) -> Columns:
    return change(raw)


def _train_group(
    run: Run, plan: Plan, group: int, columns: Columns, checkpoint_seconds: float, shown: Silent, stop: bool
) -> None:
    members = run.groups[group]
    how = run.record["computed"]["mapping"]
    chosen = [pytree.as_arrays(run.settings[index]) for index in members for _ in plan.seeds]
    settings = pytree.stack(chosen)
    keys = jnp.stack([jax.random.key(seed) for _ in members for seed in plan.seeds])
    start, states = _first_states(run, group, settings, keys, columns, how, shown)
    _drop_later_rows(run, group, start)
    place = f" {group + 1}/{len(run.groups)}" if len(run.groups) > 1 else ""
    shown.begin(f"{run.settings[0].name}{place}", start, plan.steps, len(chosen))
    watch = _watch(run, members)
    why = watch.hopeless() if stop and start < plan.steps else None
    total, end = jnp.int32(plan.steps), start
    saved = time.monotonic()
    for begin, end in _chunks(plan, start) if why is None else ():
        states, metrics = train.advance(settings, states, columns, keys, jnp.int32(begin), jnp.int32(end), total, how)
        rows = _rows(run, group, plan, end, {name: np.asarray(values) for name, values in metrics.items()})
        run.metrics.extend(rows)
        shown.update(end, {name: float(np.mean(values)) for name, values in metrics.items()})
        for sentence in watch.take(rows):
            shown.warn(sentence)
        why = watch.hopeless() if stop and end < plan.steps else None
        kept = end in plan.keep or end == plan.steps or why is not None
        if run.folder is not None:
            due = kept or time.monotonic() - saved >= checkpoint_seconds
            folders.append_rows(run.folder, rows, durable=due)
            if due:
                storage.write_tree(folders.checkpoint_path(run.folder, group, end), states, step=end)
                folders.forget(run.folder, group, plan.keep)
                saved = time.monotonic()
        elif kept and end < plan.steps:
            run.states[group][end] = pytree.host(states)
        if why is not None:
            break
    run.states[group][end] = pytree.host(states)
    if why is not None:
        _stopped(run, group, end, why, shown)


def _watch(run: Run, members: list[int]) -> Watch:
    """Return the alarms of a group's runs, as they stand after the rows that a resumed run has."""
    places = [(setting, seed) for setting in members for seed in run.seeds]
    steps = [effective_steps(setting, run.spec) for setting in run.settings]
    watch = Watch(places, run.record["largest_returns"], steps)
    watch.take(run.metrics)
    watch.said.clear()  # a person who resumes hears of it again
    return watch


def _stopped(run: Run, group: int, step: int, why: str, shown: Silent) -> None:
    """Keep in the record that and why a group was stopped early, and say so."""
    found = {"group": group, "settings": run.groups[group], "step": step, "reason": why}
    run.record.setdefault("stopped", []).append(found)
    if run.folder is not None:
        storage.write_json(run.folder / folders.RECORD, run.record)
    shown.warn(f"Stopped at step {step:,} of {run.record['steps']:,}: {why}. The last states are kept.")


def _first_states(
    run: Run, group: int, settings: Algorithm, keys: Any, columns: Columns, how: str, shown: Silent
) -> tuple[int, PyTree]:
    """Return the last states that can be read, and their step; fresh ones if there are none."""
    if run.folder is not None:
        like = structure(run.settings[run.groups[group][0]], run.spec)
        problems = []
        for step, found in folders.last_states(run.folder, group, like):
            if not isinstance(found, storage.DamagedFile):
                for problem in problems:
                    shown.say(str(problem))
                shown.say(f"Resuming at step {step:,}.")
                return step, found
            problems.append(found)
        if problems:
            raise problems[0]
    return 0, train.begin(settings, keys, columns, run.spec, how)


def _chunks(plan: Plan, start: int) -> list[tuple[int, int]]:
    """Return the chunks to go: they end at logging steps, at steps to keep and at the end."""
    every = plan.log_every or plan.steps
    ends = {*range(every, plan.steps, every), *plan.keep, plan.steps}
    edges = [start, *sorted(end for end in ends if end > start)]
    return list(itertools.pairwise(edges))


def _rows(run: Run, group: int, plan: Plan, step: int, metrics: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    rows = []
    places = [(setting, seed) for setting in run.groups[group] for seed in plan.seeds]
    for place, (setting, seed) in enumerate(places):
        values = {name: float(found[place]) for name, found in metrics.items()}
        rows.append({"step": step, "setting": setting, "seed": seed, **values})
    return rows


def _drop_later_rows(run: Run, group: int, step: int) -> None:
    """Forget the metric rows of this group that come after its last checkpoint: they will be made again."""
    if run.folder is None or not (run.folder / folders.METRICS).exists():
        return
    members = run.groups[group]
    run.metrics[:] = [row for row in run.metrics if row["setting"] not in members or row["step"] <= step]
    folders.replace_rows(run.folder, run.metrics)
