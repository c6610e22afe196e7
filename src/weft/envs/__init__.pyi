"""The face of the package: what others may take from it."""

from .environment import Environment as Environment
from .environment import environments as environments
from .gymnasium_adapter import Simulator as Simulator
from .rollout import collect as collect
