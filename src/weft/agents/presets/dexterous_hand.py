"""Hands with many joints and few, narrow demonstrations: stay close to them.

IQL and AWAC: CORL's numbers for the Adroit hand (expectile .8, inverse temperature 3; 10); the authors of IQL have .7
and .5 with dropout, which this IQL does not have. CQL: weight 1 (CORL). ReBRAC: the median of the authors' actor
penalties for the human data; their critic penalties (.01 to .5) brought from rewards of 10 to 60 a step to rewards of
1. The first guess is imitation.
"""

from typing import Any, ClassVar

from ...nn.multipliers import Fixed
from ..preset import Preset

__all__ = ["DexterousHand"]


class DexterousHand(Preset):
    """Many joints, few and narrow demonstrations."""

    title: ClassVar[str] = "Dexterous hand"
    units: ClassVar[dict[str, Any]] = {"rewards": "none"}  # the sources' numbers are for rewards as they are
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "awac": {"inverse_temperature": 10.0},
        "bc": {},
        "cql": {"weight": Fixed(1.0), "actor_learning_rate": 3e-5},
        "crr": {},
        "filtered_bc": {"fraction": 0.25},
        "iql": {"expectile": 0.8, "inverse_temperature": 3.0},
        "one_step": {"inverse_temperature": 3.0},
        "rebrac": {"actor_penalty": 0.1, "critic_penalty": 0.01, "learning_rate": 3e-4},
    }
    own_units: ClassVar[dict[str, dict[str, Any]]] = {"rebrac": {"rewards": "size"}}
