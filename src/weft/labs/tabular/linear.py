r"""Linearly solvable decision problems (Todorov 2006): control as a change of the passive transition law.

    V(s) = q(s) + min_u { KL(u(. | s) || p(. | s)) + sum_s' u(s' | s) V(s') },   V = 0 at the goals          (costs)
    z(s) = exp(-V(s)) = exp(-q(s)) sum_s' p(s' | s) z(s'),   u(s' | s) = p(s' | s) z(s') / sum p z

The minimum is gone: z is linear, so one system of equations on the host solves the problem. There is no discount.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ...core.pytree import require
from .model import distributions, finite

__all__ = ["Desirability", "desirability"]


class Desirability(NamedTuple):
    """What solves a problem: costs to go `values`, `desirability` exp(−V), and the best transition law `policy`."""

    values: Float[np.ndarray, "state"]
    desirability: Float[np.ndarray, "state"]
    policy: Float[np.ndarray, "state next"]


def desirability(
    passive: Float[np.ndarray, "state next"], cost: float | Float[np.ndarray, "state"], goals: Bool[np.ndarray, "state"]
) -> Desirability:
    """Solve a problem whose passive law is `passive`, that pays `cost` in every state, until it reaches a goal.

    Raises UserError for laws that are no distributions, costs that are not positive outside the goals (the sum over
    endless walks must be finite), and where there is no goal.
    """
    law, over = finite(passive, "The passive law"), np.asarray(goals, bool)
    require(law.ndim == 2 and law.shape[0] == law.shape[1], f"A passive law is (state, next), got {law.shape}.")
    require(over.shape == (len(law),), f"The goals must have the shape ({len(law)},), got {over.shape}.")
    require(bool(over.any()), "Name at least one goal; without one there is no end.")
    distributions(law, "The passive law")
    pay = np.broadcast_to(finite(cost, "The cost"), over.shape)
    require(bool((pay[~over] > 0).all()), "The cost of every state that is not a goal must be positive.")
    # z(s) = e^-cost(s) sum_s' p(s' | s) z(s') with z = 1 at the goals is linear in z
    weighted = np.exp(-pay[~over])[:, None] * law[~over]
    z = np.ones(len(law))
    z[~over] = np.linalg.solve(np.eye((~over).sum()) - weighted[:, ~over], weighted[:, over].sum(1))
    best = law * z
    best = np.where(over[:, None], np.eye(len(law)), best / best.sum(1, keepdims=True))
    with np.errstate(divide="ignore"):
        return Desirability(-np.log(z), z, best)
