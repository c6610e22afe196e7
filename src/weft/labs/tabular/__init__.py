"""Finite decision problems: models, exact solutions, and learning by trial with a table.

`weft.tabular.value_iteration(weft.tabular.grid_world(), discount=1.0).values` is the best that can be had in a grid.
"""

from .exact import Solution, bellman, evaluate, greedy, policy_iteration, value_iteration
from .learning import Learned, ModelWorld, q_learning, sarsa
from .linear import Desirability, desirability
from .model import Model, grid_world, model_of

__all__ = [
    "Desirability",
    "Learned",
    "Model",
    "ModelWorld",
    "Solution",
    "bellman",
    "desirability",
    "evaluate",
    "greedy",
    "grid_world",
    "model_of",
    "policy_iteration",
    "q_learning",
    "sarsa",
    "value_iteration",
]
