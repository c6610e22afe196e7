"""Walking, running, hopping: dense rewards, long episodes, continuous actions.

IQL: the authors' numbers (arXiv:2110.06169, app. B): returns brought to a range of 1000, cosine decay of the actor.
AWAC, TD3+BC, CQL: those of CORL for the v2 data. IDQL: arXiv:2304.10573. BEAR: the evaluations of D4RL with the
Laplacian kernel. BRAC, BCQ: the papers' own. ReBRAC: the medians of the authors' numbers for 18 data sets, .01 and .01;
the second is theirs in rewards of 3 to 5 a step, here of 1.
"""

from typing import Any, ClassVar

from ...nn.multipliers import Fixed, Lagrange
from ..preset import Preset

__all__ = ["Locomotion"]


class Locomotion(Preset):
    """Dense rewards, long episodes, continuous actions."""

    title: ClassVar[str] = "Locomotion"
    units: ClassVar[dict[str, Any]] = {"rewards": "none"}  # the sources' numbers are for rewards as they are
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "awac": {"inverse_temperature": 3.0},
        "awr": {"inverse_temperature": 1.0},
        "bc": {},
        "bcq": {},
        "bear": {"weight": Lagrange(threshold=0.05, learning_rate=1e-3), "kernel": "laplacian", "width": 10.0},
        "brac": {"weight": Fixed(1.0)},
        "cql": {
            "weight": Fixed(10.0),
            "actor_learning_rate": 3e-5,
            "temperature": Lagrange(threshold=1.0, learning_rate=3e-5),
        },
        "crr": {},
        "filtered_bc": {"fraction": 0.1},
        "iql": {"expectile": 0.7, "inverse_temperature": 3.0, "decay": True},
        "one_step": {"inverse_temperature": 3.0},
        "rebrac": {"actor_penalty": 0.01, "critic_penalty": 0.003},
        "td3_bc": {"value_weight": 2.5},
    }
    own_units: ClassVar[dict[str, dict[str, Any]]] = {
        "iql": {"observations": "none", "rewards": "returns"},
        "one_step": {"rewards": "returns"},
        "rebrac": {"rewards": "size"},
    }
