"""How far a policy leaves its log: the share of its actions that are unlike any logged at a similar observation.

No interval that is computed from a fitted value function can tell that its function was never taught what the policy
does; this share can. It is a warning light and not a test: distances mean less the more dimensions there are.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.compilation import Program
from ..data.columns import Columns, roomy
from ..data.spec import Spec
from .candidate import Candidate
from .thresholds import USUAL_ACTIONS

__all__ = ["comparable", "compared", "outside", "unsupported"]

PROBES, LOGGED = 512, 16384  # steps asked about, steps compared with
MIXING = 0x9E3779B1  # an odd number whose multiples are spread over all of 32 bits
EQUAL = 1e-3  # what 32 bits may leave of the distance of equal rows


def unsupported(
    candidate: Candidate, columns: Columns, rows: Int[np.ndarray, "row"], key: PRNGKeyArray
) -> float | None:
    """Return the share of probed steps at which the policy's action is farther from the log than 95 % of logged ones.

    Distance: Euclidean, to the nearest logged (observation, action) of another step, both as the method sees them
    (standardised, in [−1, 1], codes and choices as corners of a simplex). About 0.05 for the policy that made the log.
    Where observations are codes and actions choices, it is the share of pairs of both that no logged step has.
    `columns` are transformed, `rows` the view's steps. None where observations are pictures or tokens.
    """
    if not comparable(candidate):
        return None
    draw_key, choice_key = jax.random.split(key)
    return float(_compiled(candidate, columns, compared(rows, draw_key, candidate), choice_key))


def comparable(candidate: Candidate) -> bool:
    """Say whether observations are numbers or codes, so that there are distances, and the policy's actions known."""
    return not candidate.lacks and all(part.kind in ("vector", "category") for part in candidate.spec.observations)


def compared(rows: Int[np.ndarray, "row"], key: PRNGKeyArray, candidate: Candidate) -> Int[Array, "logged"]:
    """Draw the steps that are compared with, all where pairs are looked up; the first `PROBES` are asked about.

    The first ones are repeated up to a size that logs of similar size share.
    """
    count = len(rows) if _coded(candidate) else min(LOGGED, len(rows))
    drawn = np.random.default_rng(np.asarray(jax.random.key_data(key))).permutation(rows)[:count]
    return jnp.asarray(np.resize(drawn, roomy(count)), jnp.int32)


def _coded(candidate: Candidate) -> bool:
    """Say whether all that is seen and done are codes, so that pairs can be looked up."""
    return candidate.spec.action.kind == "discrete" and all(
        part.kind == "category" for part in candidate.spec.observations
    )


def outside(
    candidate: Candidate, columns: Columns, logged: Int[Array, "logged"], key: PRNGKeyArray
) -> Float[Array, ""]:
    """Return `unsupported` for steps that `compared` drew, as a pure function."""
    probes = logged[:PROBES]
    at = columns.position[probes]
    if _coded(candidate):
        assert candidate.probability is not None  # of choices it is always known
        does = jax.random.categorical(key, jnp.log(candidate.probability[at]))
        pairs = _pairs(columns, logged, columns.action[logged], candidate.spec)
        return 1 - jnp.isin(_pairs(columns, probes, does, candidate.spec), pairs, method="sort").mean()
    if candidate.probability is None:
        assert candidate.action is not None
        does = candidate.action[at, 0]
    else:
        drawn = jax.random.categorical(key, jnp.log(candidate.probability[at]))
        does = jax.nn.one_hot(drawn, candidate.spec.action.size)
    usual = jnp.quantile(
        _nearest(columns, probes, _logged(candidate, columns, probes), logged, candidate), USUAL_ACTIONS
    )
    return (_nearest(columns, probes, does, logged, candidate) > usual + EQUAL).mean()


_compiled = Program(outside, "Comparing a policy's actions with the log's")


def _logged(candidate: Candidate, columns: Columns, rows: Int[Array, "probe"]) -> Float[Array, "probe act"]:
    action = columns.action[rows]
    return jax.nn.one_hot(action, candidate.spec.action.size) if candidate.spec.discrete else action


def _seen(columns: Columns, rows: Int[Array, "probe"], spec: Spec, kind: str) -> Float[Array, "probe feature"]:
    """Return all that was observed of a kind."""
    whole = columns.observation
    parts = [whole if part.name == "" else whole[part.name] for part in spec.observations if part.kind == kind]
    each = [part[columns.position[rows]].reshape(len(rows), -1) for part in parts]
    return jnp.concatenate([jnp.zeros((len(rows), 0)), *each], 1).astype(jnp.float32)


def _pairs(columns: Columns, rows: Array, action: Array, spec: Spec) -> Array:
    """Return one number for the codes of every row with an action; of two different ones it is hardly ever the same."""
    number = action.reshape(len(rows)).astype(jnp.uint32)
    for code in _seen(columns, rows, spec, "category").T:
        number = number * jnp.uint32(MIXING) + code.astype(jnp.uint32)
    return number


def _nearest(
    columns: Columns, probes: Array, does: Array, logged: Array, candidate: Candidate
) -> Float[Array, "probe"]:
    here, there = (_seen(columns, rows, candidate.spec, "vector") for rows in (probes, logged))
    here = jnp.concatenate([here, does], 1)
    there = jnp.concatenate([there, _logged(candidate, columns, logged)], 1)
    square = (here**2).sum(1)[:, None] + (there**2).sum(1)[None] - 2 * here @ there.T
    codes, others = (_seen(columns, rows, candidate.spec, "category") for rows in (probes, logged))
    for number in range(codes.shape[1]):  # two corners of a simplex are the root of 2 apart
        square = square + 2 * (codes[:, number, None] != others[None, :, number])
    return jnp.sqrt(jnp.maximum(jnp.where(probes[:, None] == logged[None], jnp.inf, square), 0.0).min(1))
