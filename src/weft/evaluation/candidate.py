"""What a policy would do at every observation of a log, asked once: all that estimators see of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..agents.door import aligned, check_observation, check_same
from ..agents.policy import Policy
from ..agents.served import Served, acts_greedily, check_parameters
from ..core.errors import UserError
from ..core.pytree import static
from ..data.columns import Columns
from ..data.dataset import Dataset
from ..data.spec import Spec
from ..data.transforms import Transform
from ..nn.distributions import Categorical, Deterministic

__all__ = ["NO_DENSITY", "Candidate", "check_density", "tabulate"]

ROWS = 8192  # observations that are answered at once
NO_DENSITY = (
    "over continuous actions a certain one, such as a mode, has no density to weigh with; judge and serve the policy "
    "that draws instead (policy.drawing(), --sample), unless its method has none either (such as TD3+BC or IDQL)"
)


class Candidate(eqx.Module):
    """What a policy would do at every observation of a log; `None` where that is not defined.

    `probability` of every choice (discrete); `action` drawn actions, one if greedy, in the units of the transformed
    log, beyond [−1, 1] where they leave the log's range and no bounds are declared (continuous); `log_prob` of the
    logged actions, in the user's units, where the policy has a density.
    """

    probability: Float[Array, "observation choice"] | None
    action: Float[Array, "observation sample act"] | None
    log_prob: Float[Array, "row"] | None
    spec: Spec = static()


def tabulate(
    policy: Any,
    data: Dataset,
    columns: Columns,
    transform: Transform,
    key: PRNGKeyArray,
    greedy: bool | None = None,
    samples: int = 8,
) -> Candidate:
    """Ask a policy once at every observation of a log (`columns` as the log has them, in the user's units).

    A policy is one of weft's; a function that answers a batch of observations with probabilities `(n, choice)`, with
    choices `(n,)`, or with continuous actions `(n, act)` (the last two are deterministic); or an object with
    `sample(observations, key)` and `log_prob(observations, actions)`. A policy with memory is asked along the logged
    history. `greedy` is about weft's policies only; by default each is judged as it acts. A log whose columns have
    names is shown to a policy in the order that it was trained on. Raises UserError for a log of another form than the
    policy's, and for answers of a wrong form or that are not finite.
    """
    greedy = acts_greedily(policy, greedy)
    spec = data.spec
    if isinstance(policy, Served):
        check_same(policy.spec, spec, data.origin)
        columns = dataclasses.replace(columns, observation=aligned(policy.spec, spec, columns.observation))
        try:
            check_observation(policy.spec, columns.observation)
        except UserError as problem:
            raise UserError(f"{data.origin}: {problem}") from None
    seen = columns.observation
    at = jax.tree.map(lambda part: part[columns.position], seen)
    count = len(jax.tree.leaves(seen)[0])
    check_parameters(policy)
    if not isinstance(policy, Policy):
        if hasattr(policy, "sample") and hasattr(policy, "log_prob"):
            if spec.discrete:
                raise UserError("The log's actions are choices; pass a function that answers with their probabilities.")
            shown, logged = jax.tree.map(np.asarray, (seen, at))
            drawn = [_array(policy.sample(shown, k), "sample") for k in jax.random.split(key, samples)]
            log_prob = _array(policy.log_prob(logged, np.asarray(columns.action)), "log_prob")
            if log_prob.shape != columns.terminal.shape:
                raise UserError(
                    f"log_prob must give one number per action {columns.terminal.shape}, got {log_prob.shape}."
                )
            check_density(np.asarray(log_prob), "The policy's log_prob")
            action = jnp.stack([_inward(_shaped(one, spec, count), spec, transform) for one in drawn], 1)
            return Candidate(None, action, log_prob.astype(jnp.float32), spec)
        if not callable(policy):
            raise UserError(
                f"A {type(policy).__name__} is no policy: pass that of a run (run.policy()), a function of "
                "observations, or an object with sample and log_prob."
            )
        return _answered(_array(policy(jax.tree.map(np.asarray, seen)), ""), columns, spec, transform, count)
    asked: Policy = policy
    if jax.tree.leaves(policy.reset()):
        return _along(policy, columns, data, transform, key, greedy, samples)
    if greedy:
        answer = _each(lambda one: asked.act((), one, None, True)[0], seen)
        return _answered(answer, columns, spec, transform, len(answer))
    if spec.discrete:
        return _chances(_each(lambda one: _probabilities(asked, one), seen), columns, spec)
    keys = jax.random.split(key, samples)
    drawn = [_shaped(_each(lambda one, k=k: asked.act((), one, k, False)[0], seen), spec, count) for k in keys]
    dense = _dense(asked, (), jax.tree.map(lambda part: part[:1], at))
    log_prob = policy.log_prob((), at, columns.action) if dense else None
    return Candidate(None, _inward(jnp.stack(drawn, 1), spec, transform), log_prob, spec)


def _dense(policy: Policy, memory: PyTree, seen: PyTree) -> bool:
    """Say whether what a policy draws has a density; the best of several draws and a fixed action have none."""
    return not isinstance(policy.distribution(memory, seen), Deterministic)


def _along(
    policy: Policy, columns: Columns, data: Dataset, transform: Transform, key: Array, greedy: bool, samples: int
) -> Candidate:
    """Ask a policy with memory at every observation as it would be after the logged history of the episode."""
    spec = data.spec

    def answer(memory: PyTree, seen: PyTree, key: Array) -> Array:
        if spec.discrete and not greedy:
            return _probabilities(policy, seen, memory)
        if greedy:
            found = policy.act(memory, seen, None, True)[0]
            return jax.nn.one_hot(found, spec.action.size) if spec.discrete else found[None]
        return jnp.stack([policy.act(memory, seen, k, False)[0] for k in jax.random.split(key, samples)])

    def decide(carry: tuple[PyTree, Array], row: Array) -> tuple[tuple[PyTree, Array], tuple]:
        memory, key = carry
        fresh = policy.reset()
        memory = jax.tree.map(lambda old, new: jnp.where(columns.step[row] == 0, new, old), memory, fresh)
        now, later = (
            jax.tree.map(lambda part, i=i: part[i], columns.observation)
            for i in (columns.position[row], columns.successor[row])
        )
        action = columns.action[row]
        key, here_key, there_key = jax.random.split(key, 3)
        does = answer(memory, now, here_key)
        log_prob = jnp.zeros(()) if greedy else policy.log_prob(memory, now, action)
        _, memory = policy.act(memory, now, here_key, True)
        memory = policy.observe(memory, action, columns.reward[row, 0], columns.terminal[row])
        return (memory, key), (does, answer(memory, later, there_key), log_prob)

    rows = jnp.arange(len(columns.terminal))
    does, next_, log_prob = jax.lax.scan(decide, (policy.reset(), key), rows)[1]
    table = jnp.zeros((len(jax.tree.leaves(columns.observation)[0]), *does.shape[1:]))
    table = table.at[columns.successor].set(next_).at[columns.position].set(does)
    if spec.discrete:
        return _chances(table, columns, spec)
    first = jax.tree.map(lambda part: part[columns.position[0]], columns.observation)
    dense = not greedy and _dense(policy, policy.reset(), first)
    return Candidate(None, _inward(table, spec, transform), log_prob if dense else None, spec)


def _array(answer: Any, what: str) -> Array:
    """Return what a person's own policy answered as an array of numbers."""
    who = f"The policy's {what}" if what else "The policy"
    try:
        values = answer if isinstance(answer, jax.Array) else np.asarray(answer)
    except ValueError:
        raise UserError(f"{who} answers with rows of different lengths; one array of numbers is needed.") from None
    if not (isinstance(values, jax.Array) or values.dtype.kind in "biuf") or jnp.issubdtype(values.dtype, complex):
        kind = "None" if answer is None else "words" if values.dtype.kind in "US" else f"{values.dtype} values"
        raise UserError(f"{who} answers with {kind}; one array of numbers is needed (choices as codes from 0).")
    return jnp.asarray(values)


def check_density(values: np.ndarray, who: str) -> None:
    """Raise UserError for log-probabilities that are NaN or infinitely large."""
    wrong = np.flatnonzero(np.isnan(values) | (values == np.inf))
    if len(wrong):
        raise UserError(
            f"{who} is {values[wrong[0]]} at step {wrong[0]} of the log; give the logarithm of a probability or a "
            "density (−∞ for what the policy never does)."
        )


def _chances(probability: Float[Array, "observation choice"], columns: Columns, spec: Spec) -> Candidate:
    wrong = np.flatnonzero(~np.isfinite(np.asarray(probability)).all(-1))
    if len(wrong):
        raise UserError(f"The policy's probabilities at observation {wrong[0]} are not finite.")
    return Candidate(probability, None, jnp.log(probability[columns.position, columns.action]), spec)


def _probabilities(policy: Policy, seen: PyTree, memory: PyTree = ()) -> Array:
    found = policy.distribution(memory, seen)
    if not isinstance(found, Categorical):
        raise UserError("The log's actions are discrete, the policy's are not.")
    return found.probabilities()


def _each(function: Callable[[PyTree], Array], seen: PyTree) -> Array:
    """Apply a function of a batch to all observations, `ROWS` at a time; the last batch is filled up."""
    count = len(jax.tree.leaves(seen)[0])
    found = []
    for begin in range(0, count, ROWS):
        rows = jnp.minimum(jnp.arange(begin, begin + ROWS), count - 1)
        found.append(function(jax.tree.map(lambda part, rows=rows: part[rows], seen))[: count - begin])
    return jnp.concatenate(found)


def _answered(answer: Array, columns: Columns, spec: Spec, transform: Transform, count: int) -> Candidate:
    """Return the candidate for probabilities of choices, or for what is always done at an observation."""
    size = spec.action.size
    if spec.discrete and answer.shape == (count, size) and jnp.issubdtype(answer.dtype, jnp.floating):
        total = np.asarray(answer.sum(1))
        wrong = np.flatnonzero((np.asarray(answer).min(1) < 0) | (np.abs(total - 1) > 1e-3) | ~np.isfinite(total))
        if len(wrong):
            raise UserError(
                f"The policy's probabilities must be at least 0 and sum to 1; at observation {wrong[0]} they sum to "
                f"{total[wrong[0]]:.6g}. Pass probabilities, not their logarithms or scores."
            )
        return _chances(answer.astype(jnp.float32), columns, spec)
    if spec.discrete:
        if answer.shape != (count,) or not jnp.issubdtype(answer.dtype, jnp.integer):
            raise UserError(
                f"The policy must answer {count} observations with one choice each (whole numbers) or with "
                f"probabilities {(count, size)}, got {answer.shape} ({answer.dtype})."
            )
        if count and (int(answer.min()) < 0 or int(answer.max()) >= size):
            first = np.flatnonzero((np.asarray(answer) < 0) | (np.asarray(answer) >= size))[0]
            raise UserError(
                f"The policy chooses action {int(answer[first])}; the log's choices are 0 to {size - 1} (observation "
                f"{first})."
            )
        return _chances(jax.nn.one_hot(answer, size), columns, spec)
    return Candidate(None, _inward(_shaped(answer, spec, count), spec, transform)[:, None], None, spec)


def _shaped(answer: Array, spec: Spec, count: int) -> Array:
    if answer.shape != (count, *spec.action.shape):
        raise UserError(f"The policy must answer with actions {(count, *spec.action.shape)}, got {answer.shape}.")
    wrong = np.flatnonzero(~np.isfinite(np.asarray(answer)).reshape(count, -1).all(1))
    if len(wrong):
        raise UserError(f"The policy's action at observation {wrong[0]} is not finite: {answer[wrong[0]]}.")
    return answer


def _inward(action: Array, spec: Spec, transform: Transform) -> Array:
    """Bring a policy's actions into the units of the transformed log, clipped only where bounds are declared.

    A world clips to its bounds; the range that a log happens to show is none, and a policy that leaves it is judged
    as the one that it is.
    """
    if transform.action is None or spec.action.low is None or spec.action.high is None:
        return action if transform.action is None else transform.action(action)
    bounded = np.isfinite(spec.action.low) & np.isfinite(spec.action.high)
    return jnp.where(bounded, transform.unenact(action), transform.action(action))
