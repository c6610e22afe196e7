"""How acting and learning take turns."""

import equinox as eqx

from ..core.pytree import require, static
from ..data.spec import check_types

__all__ = ["Rounds"]


class Rounds(eqx.Module):
    """In every round each of `lanes` worlds takes `steps` steps (0: one whole episode), then `updates` updates follow.

    Counts are of environment steps, all lanes together: `warm_up` of them come before the first update, the last
    `capacity` are kept. With a log, a batch is drawn from log and own steps as if they were one (`logged_share` −1), or
    a fixed share of it from the log.
    """

    lanes: int = static(default=1)
    steps: int = static(default=1)
    updates: int = static(default=1)
    warm_up: int = static(default=0)
    capacity: int = static(default=1_000_000)
    logged_share: float = static(default=-1.0)

    def __check_init__(self) -> None:
        check_types(self)
        require(self.lanes >= 1, f"A round needs at least one lane, got {self.lanes}.")
        require(self.steps >= 0, f"A lane takes 0 (a whole episode) or more steps a round, got {self.steps}.")
        require(self.updates >= 0, f"A round has 0 or more updates, got {self.updates}.")
        require(self.warm_up >= 0, f"The warm-up may not be negative, got {self.warm_up}.")
        require(
            self.capacity >= self.lanes * max(self.steps, 2),
            f"The capacity must hold a round of {self.lanes} lanes (and two steps of each), got {self.capacity}.",
        )
        require(
            self.logged_share == -1.0 or 0.0 <= self.logged_share <= 1.0,
            f"The share of logged steps must be between 0 and 1, or −1 for the union, got {self.logged_share}.",
        )
