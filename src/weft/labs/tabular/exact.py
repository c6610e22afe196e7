r"""Dynamic programming on a finite model: exact answers, in float64 on the host.

    (T Q)(s, a) = sum_s' P(s' | s, a) [ r(s, a, s') + gamma (1 - d(s, a, s')) max_a' Q(s', a') ]      (optimality)
    (T^pi Q)    = the same with sum_a' pi(a' | s') Q(s', a') in place of the maximum                  (expectation)
    V^pi        = (I - gamma P^pi)^-1 r^pi,   P^pi without what ends                                  (closed form)

d is 1 where a step ends the task. A sweep makes every Q from the last sweep's, never in place. The first of several
equally good choices is taken, so answers are the same everywhere.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ...core.errors import UserError
from ...core.pytree import require
from .model import Model, Table, distributions, finite

__all__ = ["Solution", "bellman", "evaluate", "greedy", "policy_iteration", "value_iteration"]

CLOSE = 1e-9  # choices whose values differ by less, in proportion, are equally good


class Solution(NamedTuple):
    """What solves a model: `q` (state, choice), `values` (state,), `policy` (state, choice) and rounds until then."""

    q: Table
    values: Float[np.ndarray, "state"]
    policy: Table
    rounds: int


def bellman(
    model: Model,
    q: Table,
    discount: float,
    policy: Table | None = None,
    restricted: bool = False,
    unknown: float | Table = 0.0,
) -> Table:
    """Apply the Bellman operator once to Q: that of a policy `(state, choice)`, or the optimality operator.

    A choice that the model does not know is worth `unknown`. restricted: the maximum is over known choices alone, and
    a state without any is worth its largest `unknown`.
    """
    return _ahead(model, _values(model, q, policy, restricted), discount, unknown)


def value_iteration(
    model: Model,
    discount: float = 0.99,
    accuracy: float = 1e-8,
    restricted: bool = False,
    unknown: float | Table = 0.0,
    most: int = 100_000,
) -> Solution:
    """Sweep the optimality operator from Q = 0 until `|V' - V| < accuracy (1 - discount) / (2 discount)` everywhere.

    The greedy policy is then within `accuracy` of the best. With discount 1 the sweeps go on until V changes by less
    than `accuracy`; the task must end. restricted: the best policy among those that stay with choices the model knows
    (a log's), so that nothing rests on `unknown`, what an unknown choice is worth. Raises UserError where `most`
    sweeps do not suffice.
    """
    _check(discount, accuracy)
    limit = accuracy * (1 - discount) / (2 * discount) if 0 < discount < 1 else accuracy
    q = np.where(model.known, 0.0, unknown)
    values = _values(model, q, None, restricted)
    for sweep in range(1, most + 1):
        q = _ahead(model, values, discount, unknown)
        after = _values(model, q, None, restricted)
        change, values = np.abs(after - values).max(), after
        if change < max(limit, 8 * np.finfo(float).eps * np.abs(values).max()):
            return Solution(q, values, greedy(q, model.known if restricted else None), sweep)
    raise UserError(
        f"Value iteration has not settled in {most} sweeps with discount {discount}; allow more, ask for less "
        "accuracy, or give a discount below 1 if the task need not end."
    )


def policy_iteration(
    model: Model, discount: float = 0.99, restricted: bool = False, unknown: float | Table = 0.0
) -> Solution:
    """Evaluate a policy exactly and make it greedy, in turn, until no choice is better (Howard 1960).

    It begins with all (known) choices equally likely, which with discount 1 must end the task. A choice is kept where
    no other is better. Arguments as for `value_iteration`.
    """
    allowed = model.known if restricted else np.ones_like(model.known)
    allowed = allowed | ~allowed.any(1, keepdims=True)
    policy = allowed / allowed.sum(1, keepdims=True)
    for rounds in range(1, 10_000):
        q, values = evaluate(model, policy, discount, unknown=unknown)[:2]
        best = np.where(allowed, q, -np.inf).max(1)
        stays = np.isclose((policy * q).sum(1), best, CLOSE, CLOSE) & (rounds > 1)
        after = np.where(stays[:, None], policy, greedy(q, allowed))
        if np.array_equal(after, policy):
            return Solution(q, values, policy, rounds)
        policy = after
    raise UserError("Policy iteration goes round in circles; the values of this model are too large for float64.")


def evaluate(
    model: Model,
    policy: Table,
    discount: float = 0.99,
    sweeps: int | None = None,
    unknown: float | Table = 0.0,
) -> Solution:
    """Return Q and V of a policy, probabilities `(state, choice)`: by a linear solve, or by so many sweeps.

    The value after k sweeps from 0 is that of exactly k steps. With discount 1 and no number of sweeps the policy must
    end the task from everywhere. Raises UserError for a policy that is none of this model.
    """
    _check(discount)
    chance = finite(policy, "policy")
    require(chance.shape == model.known.shape, f"A policy of this model is {model.known.shape}, got {chance.shape}.")
    distributions(chance, "The policy's chances in state {}")
    if sweeps is not None:
        require(sweeps >= 1, f"A policy is evaluated by at least one sweep, got {sweeps}.")
        q, values = np.zeros_like(chance), np.zeros(len(chance))
        for _ in range(sweeps):
            q = _ahead(model, values, discount, unknown)
            values = (chance * q).sum(1)
        return Solution(q, values, chance, sweeps)
    follow = np.einsum("sa,san->sn", chance, model.onward)
    if discount == 1:
        _require_an_end(follow)
    paid = (chance * _ahead(model, np.zeros(len(chance)), discount, unknown)).sum(1)
    values = np.linalg.solve(np.eye(len(chance)) - discount * follow, paid)
    return Solution(_ahead(model, values, discount, unknown), values, chance, 1)


def greedy(q: Table, allowed: Bool[np.ndarray, "state choice"] | None = None) -> Table:
    """Return the policy that takes the best choice, the first of those that are equally good (to 9 digits).

    allowed: the choices that may be taken; where there is none, all may.
    """
    q = np.asarray(q, float)
    if allowed is not None:
        q = np.where(allowed | ~allowed.any(1, keepdims=True), q, -np.inf)
    best = q.max(1, keepdims=True)
    return np.eye(q.shape[1])[(q >= best - CLOSE * np.maximum(1.0, np.abs(best))).argmax(1)]


def _ahead(model: Model, values: np.ndarray, discount: float, unknown: float | Table) -> Table:
    """Return Q of one step and then `values`."""
    return np.where(model.known, model.expected + discount * model.onward @ values, unknown)


def _values(model: Model, q: Table, policy: Table | None, restricted: bool) -> np.ndarray:
    """Return V of Q under a policy, or under the best choice."""
    if policy is not None:
        return (policy * q).sum(1)
    if not restricted:
        return q.max(1)
    return np.where(model.known | ~model.known.any(1, keepdims=True), q, -np.inf).max(1)


def _require_an_end(follow: Float[np.ndarray, "state next"]) -> None:
    """Raise UserError where a policy's chain can come to a state from which the task never ends."""
    ending = follow.sum(1) < 1 - 1e-12
    for _ in range(len(follow)):
        ending = ending | (follow[:, ending].sum(1) > 0)
    if not ending.all():
        raise UserError(
            f"From state {int(ending.argmin())} this policy never ends the task, so its value with discount 1 is not "
            "finite; give a discount below 1 or a number of sweeps."
        )


def _check(discount: float, accuracy: float = 1.0) -> None:
    require(0 <= discount <= 1, f"The discount must be between 0 and 1, got {discount}.")
    require(accuracy > 0, f"The accuracy must be positive, got {accuracy}.")
