"""Train: many settings and seeds of one method on one log, in chunks, with checkpoints, killed and resumed at will."""

import dataclasses
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

from . import pytree, storage, train
from .algorithm import Algorithm, describe
from .columns import Columns
from .compilation import keep_compiled_programs
from .dataset import Dataset
from .errors import UserError
from .progress import Progress, Silent
from .run import CHECKPOINTS, Run, _kept, checkpoint_path, load_run, read_metrics, structure
from .transform import fit_transform

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
) -> Run:
    """Train every setting with every seed and return the `Run`.

    algorithm: an instance, or a list of them (`weft.grid`); settings of one structure share one compiled program, and
    the same seed means the same first weights and batches in every setting. seeds: how many (0, 1, …), or which.
    out: the run's folder; without one nothing is written. resume: continue the folder's run from its last checkpoint,
    bit for bit. batch_size: replaces the sampler's. observations, rewards, reward_shift: see `fit_transform`. keep:
    steps whose states are kept for good. log_every: steps per metrics row (a hundredth of all by default).
    checkpoint_seconds: time between checkpoints, of which the last two are kept.

    Raises UserError, before anything is written, for wrong arguments, a log that the method cannot learn from, and a
    folder that is taken or does not fit.
    """
    keep_compiled_programs()
    settings = list(algorithm) if isinstance(algorithm, Sequence) else [algorithm]
    plan = _plan(settings, data, steps, seeds, batch_size, keep, log_every)
    settings = plan.settings
    transform = fit_transform(data, observations, rewards, reward_shift)
    record = _record(plan, data, {"observations": observations, "rewards": rewards, "reward_shift": reward_shift})
    record["transform"] = transform.parts()
    groups = pytree.groups([pytree.as_arrays(setting) for setting in settings])
    folder = None if out is None else Path(out)
    run = Run(record, settings, plan.seeds, data.spec, transform, groups, [{} for _ in groups], [], folder)
    if folder is not None:
        _open_folder(run, folder, resume)
    columns = jax.jit(lambda change, raw: change(raw))(transform, data.device())
    title = f"{settings[0].name} × {len(settings) * len(plan.seeds)}"
    for group in range(len(groups)):
        _train_group(run, plan, group, columns, checkpoint_seconds, progress, title)
    return run


@dataclasses.dataclass(frozen=True)
class Plan:
    """Checked arguments."""

    settings: list[Algorithm]
    steps: int
    seeds: list[int]
    keep: list[int]
    log_every: int


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
    if steps < 1:
        raise UserError(f"The number of steps must be at least 1, got {steps}.")
    numbers = list(range(seeds)) if isinstance(seeds, int) else [int(seed) for seed in seeds]
    if not numbers:
        raise UserError(f"The number of seeds must be at least 1, got {seeds}.")
    for step in keep:
        if not 1 <= step <= steps:
            raise UserError(f"The step to keep must be between 1 and {steps}, got {step}.")
    if log_every is not None and log_every < 1:
        raise UserError(f"Metrics are logged every 1 step or more, got {log_every}.")
    if batch_size is not None:
        settings = [pytree.replace(setting, "sampler.batch_size", batch_size) for setting in settings]
    return Plan(settings, steps, numbers, sorted(set(keep)), log_every or max(1, steps // 100))


def _record(plan: Plan, data: Dataset, units: dict[str, Any]) -> dict[str, Any]:
    import json

    packages = {name: version(name) for name in ("weft", "jax", "equinox", "optax", "numpy")}
    return {
        "format": 1,
        "settings": [describe(setting) for setting in plan.settings],
        "seeds": plan.seeds,
        "steps": plan.steps,
        "keep": plan.keep,
        "log_every": plan.log_every,
        "units": units,
        "data": {
            "origin": data.origin,
            "fingerprint": data.fingerprint,
            "steps": data.steps,
            "episodes": data.episodes,
            "notes": list(data.notes),
        },
        "spec": json.loads(data.spec.to_json()),
        "computed": {"mapping": train.mapping(), "device": str(jax.devices()[0].device_kind), "python": platform.python_version()},
        "versions": packages,
    }


def _open_folder(run: Run, folder: Path, resume: bool) -> None:
    """Make the run's folder, or check that the one there is this run and drop what its last checkpoint lacks."""
    if (folder / "run.json").exists():
        if not resume:
            raise UserError(f"{folder} already holds a run; continue it with resume=True (--resume) or choose another folder.")
        _check_same(run, load_run(folder), folder)
    elif folder.exists() and any(folder.iterdir()):
        # an interrupted start leaves only a transform and hidden part files, which may be overwritten
        strange = [path.name for path in folder.iterdir() if path.name not in ("transform.safetensors", CHECKPOINTS) and not path.name.startswith(".")]
        if strange:
            raise UserError(f"{folder} is not empty and holds no run ({strange[0]}); choose another folder.")
    storage.make_folder(folder / CHECKPOINTS)
    storage.write_tree(folder / "transform.safetensors", run.transform)
    storage.write_json(folder / "run.json", run.record)


def _check_same(run: Run, old: Run, folder: Path) -> None:
    new, was = run.record, old.record
    pairs = {
        "settings": (new["settings"], was["settings"]),
        "seeds": (new["seeds"], was["seeds"]),
        "data": (new["data"]["fingerprint"], was["data"]["fingerprint"]),
        "units": (new["units"], was["units"]),
        "log_every": (new["log_every"], was["log_every"]),
        "mapping": (new["computed"]["mapping"], was["computed"]["mapping"]),
    }
    for what, (now, then) in pairs.items():
        if now != then:
            raise UserError(f"{folder} cannot be resumed: its {what} differ ({_short(then)} then, {_short(now)} now).")
    if new["steps"] < was["steps"]:
        raise UserError(f"{folder} was planned for {was['steps']} steps; resume it with at least as many.")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "…"


def _train_group(
    run: Run, plan: Plan, group: int, columns: Columns, checkpoint_seconds: float, progress: bool, title: str
) -> None:
    members = run.groups[group]
    how = run.record["computed"]["mapping"]
    chosen = [pytree.as_arrays(run.settings[index]) for index in members for _ in plan.seeds]
    settings = pytree.stack(chosen)
    keys = jnp.stack([jax.random.key(seed) for _ in members for seed in plan.seeds])
    start, states = _first_states(run, group, settings, keys, columns, how)
    _drop_later_rows(run, group, start)
    saved = time.monotonic()
    shown = Progress(title, start, plan.steps, len(chosen)) if progress else Silent()
    with shown:
        if 0 < start < plan.steps:
            shown.say(f"Resuming at step {start:,}.")
        for begin, end in _chunks(plan, start):
            total = jnp.int32(plan.steps)
            states, metrics = train.advance(settings, states, columns, keys, jnp.int32(begin), jnp.int32(end), total, how)
            rows = _rows(run, group, plan, end, {name: np.asarray(values) for name, values in metrics.items()})
            run.metrics.extend(rows)
            shown.update(end, {name: float(np.mean(values)) for name, values in metrics.items()})
            kept = end in plan.keep or end == plan.steps
            if kept:
                run.states[group][end] = pytree.host(states)
            if run.folder is not None:
                _log(run.folder, rows)
                if kept or time.monotonic() - saved >= checkpoint_seconds:
                    storage.write_tree(checkpoint_path(run.folder, group, end), states, step=end)
                    _forget(run.folder, group, plan.keep)
                    saved = time.monotonic()
    if plan.steps not in run.states[group]:  # resumed after the end
        run.states[group][start] = pytree.host(states)


def _first_states(
    run: Run, group: int, settings: Algorithm, keys: Any, columns: Columns, how: str
) -> tuple[int, PyTree]:
    if run.folder is not None:
        for step in reversed(_kept(run.folder, group)):
            like = structure(run.settings[run.groups[group][0]], run.spec)
            return step, storage.read_tree(checkpoint_path(run.folder, group, step), like)
    return 0, train.begin(settings, keys, columns, run.spec, how)


def _chunks(plan: Plan, start: int) -> list[tuple[int, int]]:
    """Return the chunks to go: they end at logging steps, at steps to keep and at the end."""
    ends = {*range(plan.log_every, plan.steps, plan.log_every), *plan.keep, plan.steps}
    edges = [start, *sorted(end for end in ends if end > start)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def _rows(run: Run, group: int, plan: Plan, step: int, metrics: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    rows = []
    places = [(setting, seed) for setting in run.groups[group] for seed in range(len(plan.seeds))]
    for place, (setting, seed) in enumerate(places):
        values = {name: float(found[place]) for name, found in metrics.items()}
        rows.append({"step": step, "setting": setting, "seed": plan.seeds[seed], **values})
    return rows


def _log(folder: Path, rows: list[dict[str, Any]]) -> None:
    import json

    storage.append_lines(folder / "metrics.jsonl", [json.dumps(row) for row in rows])


def _drop_later_rows(run: Run, group: int, step: int) -> None:
    """Forget the metric rows of this group that come after its last checkpoint: they will be made again."""
    if run.folder is None:
        return
    import json

    rows = read_metrics(run.folder)
    kept = [row for row in rows if row["setting"] not in run.groups[group] or row["step"] <= step]
    run.metrics[:] = kept
    text = "".join(json.dumps(row) + "\n" for row in kept)
    storage.write_bytes(run.folder / "metrics.jsonl", text.encode())


def _forget(folder: Path, group: int, keep: Sequence[int]) -> None:
    """Delete all checkpoints of a group but the last two and those to keep."""
    for step in _kept(folder, group)[:-2]:
        if step not in keep:
            checkpoint_path(folder, group, step).unlink(missing_ok=True)
