"""Tables of decisions: a few choices, a few dozen numbers seen, short episodes or single decisions.

Rewards are brought to a standard deviation of 1, so that weights and temperatures mean the same for clicks and for
euros; networks are small. These numbers are this library's own starting points, not anybody's tuned ones: what they
lead to is for `weft study` to judge.
"""

from typing import Any, ClassVar

from ...nn.multipliers import Fixed
from ..preset import Preset

__all__ = ["Decisions"]

SMALL: dict[str, Any] = {"hidden": (64, 64)}


class Decisions(Preset):
    """A few choices, short episodes."""

    title: ClassVar[str] = "Table of decisions"
    units: ClassVar[dict[str, Any]] = {"rewards": "unit"}
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "awac": {"inverse_temperature": 1.0, **SMALL},
        "bc": SMALL,
        "cql": {"weight": Fixed(1.0), "backup": "plain", **SMALL},
        "crr": SMALL,
        "discrete_bcq": SMALL,
        "dqn": {"double": True, "target_every": 1, "target_rate": 0.005, "learning_rate": 3e-4},
        "filtered_bc": {"fraction": 0.25, **SMALL},
        "iql": SMALL,
        "kl_control": SMALL,
        "one_step": {"inverse_temperature": 1.0, **SMALL},
        "regression": {},
    }
