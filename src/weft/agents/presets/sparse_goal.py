"""Mazes and tasks with one reward at the goal: every other step must cost, or nothing hurries.

The goal's reward becomes 1, and one is taken off every reward (IQL's and AWAC's authors, arXiv:2110.06169), so that a
step costs 1 and the goal 0.
Values lean far to the best (expectile .9) and weights are sharp (10), as there. CQL backs up the sampled action, not
the mode, and weighs 5 (JaxCQL). ReBRAC: its authors' discount for AntMaze (arXiv:2305.09836) and no cost of a step, as
there; the method's own penalties, since theirs (.001 to .003) leave the log of the sample maze, and observations on one
scale, without which its critics do not solve it.
"""

from typing import Any, ClassVar

from ...nn.multipliers import Fixed
from ..preset import Preset

__all__ = ["SparseGoal"]


class SparseGoal(Preset):
    """A reward at the goal alone."""

    title: ClassVar[str] = "Sparse goal"
    units: ClassVar[dict[str, Any]] = {"observations": "none", "rewards": "largest", "reward_shift": -1.0}
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "awac": {"inverse_temperature": 10.0},
        "bc": {},
        "bcq": {},
        "cql": {"weight": Fixed(5.0), "backup": "plain"},
        "crr": {"inverse_temperature": 10.0},
        "discrete_bcq": {},
        "filtered_bc": {"fraction": 0.1},
        "iql": {"expectile": 0.9, "inverse_temperature": 10.0},
        "kl_control": {"inverse_temperature": 10.0},
        "one_step": {"inverse_temperature": 10.0},
        "rebrac": {"discount": 0.999},
        "td3_bc": {"value_weight": 2.5},
    }
    own_units: ClassVar[dict[str, dict[str, Any]]] = {
        "rebrac": {"observations": "standardise", "rewards": "size", "reward_shift": 0.0},
    }
