"""What a person asks of training, as it came: what all ways of learning share, and what one alone has a use for."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..agents.schedule import Rounds
from ..core.errors import UserError

__all__ = ["Options", "Turns", "Units"]


@dataclasses.dataclass(frozen=True)
class Options:
    """What training on a log, by acting and fine-tuning have in common; `weft.fit` says what each means."""

    steps: int = 100_000
    seeds: int | Sequence[int] = 1
    out: str | Path | None = None
    resume: bool = False
    progress: bool | None = None
    batch_size: int | None = None
    stack: int = 1
    keep: Sequence[int] = ()
    log_every: int | None = None
    checkpoint_seconds: float = 60.0
    stop_when_hopeless: bool = False


@dataclasses.dataclass(frozen=True)
class Units:
    """The units in which a method sees a log; see `fit_transform`."""

    observations: str = "standardise"
    rewards: str = "size"
    reward_shift: float = 0.0

    def check_unused(self) -> None:
        """Raise UserError for what was asked for, where there is no log."""
        if name := _changed(self):
            raise UserError(f"{name} is for a log that is learned from (data), not for acting (env); leave it out.")


@dataclasses.dataclass(frozen=True)
class Turns:
    """How acting and learning take turns (None: as the method does by default), and when policies are evaluated."""

    rounds: Rounds | None = None
    evaluate_every: int | None = None
    evaluate_episodes: int = 10

    def check_unused(self) -> None:
        """Raise UserError for what was asked for, where nobody acts."""
        if name := _changed(self):
            raise UserError(f"{name} is for methods that act (env), and for finetune; leave it out.")


def _changed(asked: Units | Turns) -> str | None:
    """Return the name of the first field that is not as it is by default."""
    names = (field.name for field in dataclasses.fields(asked) if getattr(asked, field.name) != field.default)
    return next(names, None)
