"""Networks: array leaves only, any leading batch axes in, the same axes out."""

from .actors import (
    CategoricalActor,
    DeterministicActor,
    GaussianActor,
    MixtureActor,
    SquashedActor,
    behaviour_actor,
)
from .critics import ContinuousCritic, DiscreteCritic, QuantileCritic, Value, critic, critics, lowest
from .dense import MLP, Linear
from .encoder import Encoder, encoder

__all__ = [
    "MLP",
    "CategoricalActor",
    "ContinuousCritic",
    "DeterministicActor",
    "DiscreteCritic",
    "Encoder",
    "GaussianActor",
    "Linear",
    "MixtureActor",
    "QuantileCritic",
    "SquashedActor",
    "Value",
    "behaviour_actor",
    "critic",
    "critics",
    "encoder",
    "lowest",
]
