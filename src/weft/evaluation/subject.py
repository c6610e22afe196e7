"""The subject of a judgement: from whatever the user wrote to a policy. The one place that every door asks."""

import os
from pathlib import Path
from typing import Any

from ..agents.external import External, external_policy, is_external
from ..agents.policy import Policy
from ..core.errors import UserError
from ..core.files import mode
from ..data.dataset import Dataset
from ..training.run import Run, load_policy, load_run
from ..training.run_folder import holds_run

__all__ = ["subject"]


def subject(
    source: Any, seed: int = 0, setting: int = 0, step: int | None = None, trained_on: Dataset | None = None
) -> Policy | External:
    """Return the policy that a source means: one of weft's, the folder of a run, a policy's file, or an external one.

    seed, setting, step: which of a run's, by their places. trained_on: the log that taught an external policy
    (`weft.external_policy`). Raises UserError for what is no policy, and for a log declared of a policy whose own log
    weft knows.
    """
    policy = _found(source, seed, setting, step)
    if isinstance(policy, External):
        return external_policy(policy, trained_on)
    if trained_on is not None:
        raise UserError(f"What {source} was trained on is known to weft; leave out what you declare of it.")
    return policy


def _found(source: Any, seed: int, setting: int, step: int | None) -> Policy | External:
    if isinstance(source, Policy | External):
        return source
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir() or holds_run(path):
            return load_run(path).policy(seed, setting, step)
        if mode(path) is not None and not is_external(os.fspath(source)):
            return load_policy(path)
    if isinstance(source, Run):
        raise UserError(f"{source.name} is a run, which may hold several policies; pass one, run.policy(seed=0).")
    return external_policy(source)
