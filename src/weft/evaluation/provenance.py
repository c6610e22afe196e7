"""What a policy has seen: runs of weft keep the fingerprints of the log that they were trained on."""

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from ..agents.external import External
from ..agents.served import Served
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.fingerprints import fingerprints, repeated
from ..data.recognition import Sight, sight
from ..data.trace import Trace
from ..training.run import Run, load_run
from ..training.run_folder import holds_run
from .subject import subject
from .thresholds import COINCIDENCE

__all__ = ["chosen_by", "doubts", "experience", "experience_of", "refuse_touched", "repetitions", "touched"]

Source = TypeVar("Source", bound=Run | Served | External)


def touched(source: Any, fold: Dataset, by: str | None = None) -> float | None:
    """Return the share of a fold's units of which a run or a policy was trained on an episode; None if nobody knows.

    source: a `Run`, a policy (also one that is put together from others), a run's folder or a policy's file. by: the
    column of units, by default that of the log's `Spec`, else each episode is a unit. A policy that weft did not train
    is unknown, and so is one put together from a known and an unknown part unless the known part was.
    """
    seen = experience_of(source, fold, by)
    return None if seen is None else seen.share


def experience_of(source: Any, fold: Dataset, by: str | None = None) -> Sight | None:
    """Return what of a fold a run or a policy was trained on or chosen by; None if nobody knows. See `touched`."""
    traces = _traces(source)
    tables = [trace.table for trace in traces if trace.table is not None]
    if not tables:
        return None
    seen = sight(np.concatenate(tables), fold, by)
    return None if seen.share == 0 and len(tables) < len(traces) else seen


def chosen_by(fold: Dataset, source: Source) -> Source:
    """Return the same run or policy, which remembers that a fold has chosen it as well as what trained it."""
    trace = source.trained_on.joined(fingerprints(fold))
    if isinstance(source, Served | External):
        return dataclasses.replace(source, trained_on=trace)
    changed = copy.copy(source)
    changed.trained_on = trace
    return changed


def refuse_touched(source: Any, fold: Dataset, by: str | None = None) -> bool:
    """Raise UserError if a run or a policy was trained on units of a fold; return whether its origin is known.

    A share below `COINCIDENCE` is let pass: so few units cannot carry a decision, and the share is an estimate where
    episodes are like others. That some are shared at all is more than chance explains (`fingerprints.seen`).

    Where it is not (False), that it has not seen the fold is an assumption, to be printed as one.
    """
    share = touched(source, fold, by)
    if share and share >= COINCIDENCE:
        name = source.name if isinstance(source, Run) else "The policy"
        name = source.title if isinstance(source, External) else name
        name = str(source) if isinstance(source, str | Path) else name
        percent = f"{share:.0%}" if share >= 0.01 else f"{share:.1g}"
        raise UserError(
            f"{name} was trained on {percent} of the units of this fold of {fold.origin}; train on the train fold "
            "only, or certify on units that it has not seen."
        )
    return share is not None


def doubts(policy: Any, data: Dataset) -> Iterator[str]:
    """Yield what speaks against judging a policy by a log: that it was trained on it, or that rows are there twice."""
    yield from experience(policy, data)
    yield from repetitions(data)


def experience(policy: Any, data: Dataset) -> Iterator[str]:
    """Yield that a policy was trained on a log, where it was, and of an external one what nobody knows about it."""
    if isinstance(policy, External):
        yield from policy.remarks(data)
        if policy.trained_on.table is None:
            yield (
                f"Nobody knows what {policy.name} was trained on, because weft did not train it; if units of "
                f"{data.origin} are in it, it looks better here than it is. Declare the log that taught it "
                "(trained_on), or judge it by units that came later."
            )
    share = touched(policy, data)
    if share and share >= COINCIDENCE:
        yield (
            f"The policy was trained on {share:.0%} of the units of {data.origin}, so what they say of it is too good; "
            "judge it by units that it has not seen."
        )


def repetitions(data: Dataset) -> Iterator[str]:
    """Yield that a log holds episodes more than once, where it does."""
    share = repeated(fingerprints(data))
    if share > 0:
        percent = f"{share:.0%}" if share >= 0.01 else f"{share:.1g}"
        yield (
            f"{percent} of the episodes of {data.origin} are there more than once, as if rows were loaded twice; "
            "errors are then too small, so load every row once."
        )


def _traces(source: Any) -> list[Trace]:
    if isinstance(source, str | Path):
        source = load_run(source) if holds_run(Path(source)) else subject(source)
    if isinstance(source, Run):
        return [source.trained_on]
    parts = jax.tree.leaves(source, is_leaf=lambda part: isinstance(part, Served | External))
    return [part.trained_on for part in parts if isinstance(part, Served | External)]
