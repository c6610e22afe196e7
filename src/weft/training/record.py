"""What a run's record says, and whether a folder's run may go on: what differs is named before anything is written."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from ..agents.algorithm import describe
from ..core import storage
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.spec import Spec
from . import loop as train
from . import run_folder as folders
from .plan import Plan
from .run import Run, load_run

__all__ = ["APART", "agreed", "cores", "record_of", "source_of"]


APART = {"mapping": "apart", "threads": 1}
"""How runs are computed each alone in a worker (`pool`), whatever the machine."""


def record_of(plan: Plan, spec: Spec, source: dict[str, Any], units: dict[str, Any]) -> dict[str, Any]:
    """Return a new run's record. `source` says what it learns from (origin, fingerprint, steps, episodes, notes)."""
    return {
        "format": storage.FORMAT,
        "settings": [describe(setting) for setting in plan.settings],
        "seeds": plan.seeds,
        "steps": plan.steps,
        "keep": plan.keep,
        "log_every": plan.log_every or max(1, plan.steps // 100),
        "units": units,
        "values": "of the log",  # an older run's metrics are in the units of the method
        "data": source,
        "spec": json.loads(spec.to_json()),
        "computed": _computed(),
        "versions": {name: version(name) for name in ("weft", "jax", "equinox", "optax", "numpy")},
    }


def cores() -> int:
    """Return how many cores this process may use, each of which runs one of XLA's threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _computed() -> dict[str, Any]:
    """Return what decides the bits of a run beside versions: larger sums are split by threads, and by processor."""
    return {
        "mapping": train.mapping(),
        "device": str(jax.devices()[0].device_kind),
        "processor": _processor(),
        "threads": cores(),
        "flags": os.environ.get("XLA_FLAGS", ""),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def agreed(run: Run, folder: Path, resume: bool) -> tuple[list[str], list[str]]:
    """Check that a run may begin or go on in a folder, and take over what resuming must not change.

    Returns what the person should know, and what nobody should miss. Nothing is written. Raises UserError that names
    what differs.
    """
    if not (resume and folders.holds_run(folder)):
        folders.check_free(folder)
        return ([f"There is nothing to resume in {folder}: starting at step 0."] if resume else []), []
    old = load_run(folder)
    was = old.record
    new, news = _as_it_began(run.record, was)
    _check_same(folder, was, new)
    ended = list(was.get("extended_from", []))
    if new["steps"] > was["steps"]:
        news.append(f"Extended from {was['steps']:,} to {new['steps']:,} steps; schedules go by the new total.")
        ended.append(was["steps"])
    here = {"versions": new["versions"], "computed": _computed()}  # not the record's: it holds how the run began
    if was["computed"].get("mapping") == APART["mapping"]:
        here["computed"] |= APART
    moved = _moved(was, here)
    run.transform = old.transform
    run.metrics[:] = old.metrics
    # how runs are mapped stays as it was; rows of metrics keep their distance
    run.record = {**new, "computed": was["computed"], "log_every": was["log_every"], "extended_from": ended}
    places = was.get("resumed_on", [])
    if places := [*places, *([here] if moved and here not in places else [])]:
        run.record["resumed_on"] = places
    run.record["keep"] = sorted({*was["keep"], *new["keep"], *ended})  # what was kept for good stays
    return news, moved


def _as_it_began(new: dict[str, Any], was: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a record by the rules of the run that goes on, and what to say of them.

    Where "values" is absent, rewards stayed as they were by default, and metrics are in the units of the method.
    """
    if "values" in was:
        return new, []
    older = {**new, "largest_returns": was.get("largest_returns", new["largest_returns"])}
    older.pop("values", None)
    if new["units"].get("rewards") != "size" or was["units"].get("rewards") != "none":
        return older, []
    return {**older, "units": {**new["units"], "rewards": "none"}}, ["Rewards stay as they are, as when the run began."]


def _check_same(folder: Path, was: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise UserError that names what a run that is to go on has other than when it began."""
    pairs = {"data": (new["data"]["fingerprint"], was["data"]["fingerprint"])}
    pairs |= {part: (new.get(part), was.get(part)) for part in ("settings", "seeds", "units", "spec", "online")}
    pairs["spec"] = _as_then(new["spec"], was["spec"]), was["spec"]
    for what, (now, then) in pairs.items():
        if now != then:
            raise UserError(f"{folder} cannot be resumed: its {what} differ ({folders.difference(then, now)}).")
    if new["steps"] < was["steps"]:
        raise UserError(f"{folder} was planned for {was['steps']} steps; resume it with at least as many.")


def _moved(was: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Say what is another than when a run began and may change its bits."""
    pairs = [(name, was[part], value) for part in here for name, value in here[part].items()]
    changed = [f"{name} ({then[name]} then, {now} now)" for name, then, now in pairs if then.get(name, now) != now]
    unknown = [name for name, then, _ in pairs if name not in then]
    words = []
    if changed:
        words.append(f"This run began with another {', '.join(changed)}; its bits may differ from here on.")
    if unknown:
        words.append(f"This run does not say with which {', '.join(unknown)} it began; if others, its bits may differ.")
    return words


def _as_then(spec: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Return a spec's record without the names of columns where an older weft wrote none."""
    spec = json.loads(json.dumps(spec))
    parts, olds = ([*form["observations"], form["action"]] for form in (spec, then))
    for part, old in zip(parts, olds, strict=False):
        if "names" not in old:
            part.pop("names", None)
        elif not old["names"]:
            part["names"] = old["names"]
    return spec


def source_of(data: Dataset) -> dict[str, Any]:
    """Return what a record says of a log."""
    return {
        "origin": data.origin,
        "fingerprint": data.fingerprint,
        "steps": data.steps,
        "episodes": data.episodes,
        "notes": list(data.notes),
    }
