"""What a policy would do at every observation of a log, asked once: all that estimators see of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..agents.door import admitted
from ..agents.external import External, Question, choice_codes
from ..agents.policy import Policy
from ..agents.served import Served, acts_greedily, check_parameters
from ..core.errors import UserError, nearest
from ..core.pytree import static
from ..data.columns import Columns
from ..data.dataset import Dataset
from ..data.spec import Spec
from ..data.transforms import Transform
from ..nn.distributions import Categorical, Deterministic
from .subject import subject

__all__ = ["NO_DENSITY", "Candidate", "check_density", "check_fitting", "tabulate"]

ROWS = 8192  # observations that are answered at once
NO_DENSITY = (
    "over continuous actions a certain one, such as a mode, has no density to weigh with; judge and serve the policy "
    "that draws instead (policy.drawing(), --sample), unless its method has none either (such as TD3+BC or IDQL)"
)


class Candidate(eqx.Module):
    """What a policy would do at every observation of a log; `None` where that is not defined.

    `probability` of every choice (discrete); `action` drawn actions, one if greedy, in the units of the transformed
    log, beyond [−1, 1] where they leave the log's range and no bounds are declared (continuous); `log_prob` of the
    logged actions, in the user's units, where the policy has a density. `lacks` says why nothing but that is known of
    an external policy, which can then be weighed but no values fitted for it; empty for all others.
    """

    probability: Float[Array, "observation choice"] | None
    action: Float[Array, "observation sample act"] | None
    log_prob: Float[Array, "row"] | None
    spec: Spec = static()
    lacks: str = static(default="")


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

    A policy is one of weft's or an external one (`weft.agents.external`), which answers with probabilities
    `(n, choice)`, with choices `(n,)`, or with continuous actions `(n, act)` (the last two are deterministic). A policy
    with memory is asked along the logged history. `greedy` is about weft's policies only; by default each is judged as
    it acts. A log whose columns have names is shown to a policy of weft in the order that it was trained on. Raises
    UserError for a log of another form than the policy's, and for answers of a wrong form or that are not finite.
    """
    policy = subject(policy)
    greedy = acts_greedily(policy, greedy)
    if isinstance(policy, Served):
        observation = admitted(policy.spec, data.spec, columns.observation, data.origin)
        columns = dataclasses.replace(columns, observation=observation)
    check_parameters(policy)
    log = _Log(columns, data.spec, transform)
    if not isinstance(policy, Policy):
        return _of_others(policy, data, log, key, samples)
    if jax.tree.leaves(policy.reset()):
        return _along(policy, log, key, greedy, samples)
    if greedy:
        return log.answered(_each(lambda seen: policy.act((), seen, None, True)[0], log.observation))
    if log.spec.discrete:
        return log.choosing(_each(lambda seen: _probabilities(policy, seen), log.observation))
    return _drawing(policy, log, jax.random.split(key, samples))


@dataclasses.dataclass(frozen=True)
class _Log:
    """What a policy is asked about, and how its answers become a candidate."""

    columns: Columns
    spec: Spec
    transform: Transform

    @property
    def observation(self) -> PyTree:
        """All observations."""
        return self.columns.observation

    @property
    def logged(self) -> PyTree:
        """The observations at which actions were logged, one per row."""
        return jax.tree.map(lambda part: part[self.columns.position], self.observation)

    @property
    def count(self) -> int:
        """Number of observations."""
        return len(jax.tree.leaves(self.observation)[0])

    def choosing(self, probability: Float[Array, "observation choice"]) -> Candidate:
        """Return the candidate that chooses with these probabilities."""
        wrong = np.flatnonzero(~np.isfinite(np.asarray(probability)).all(-1))
        if len(wrong):
            raise UserError(f"The policy's probabilities at observation {wrong[0]} are not finite.")
        logs = jnp.log(probability[self.columns.position, self.columns.action])
        return Candidate(probability, None, logs, self.spec)

    def acting(self, action: Float[Array, "observation sample act"], log_prob: Array | None) -> Candidate:
        """Return the candidate that draws these actions, in the user's units."""
        return Candidate(None, _inward(action, self.spec, self.transform), log_prob, self.spec)

    def answered(self, answer: Array) -> Candidate:
        """Return the candidate for probabilities of choices, or for what is always done at an observation."""
        count, size = self.count, self.spec.action.size
        if not self.spec.discrete:
            return self.acting(_shaped(answer, self.spec, count)[:, None], None)
        if answer.shape == (count, size) and jnp.issubdtype(answer.dtype, jnp.floating):
            _check_probabilities(np.asarray(answer))
            return self.choosing(answer.astype(jnp.float32))
        _check_choices(answer, count, size)
        return self.choosing(jax.nn.one_hot(answer, size))


def _of_others(policy: External, data: Dataset, log: _Log, key: PRNGKeyArray, samples: int) -> Candidate:
    """Ask a policy that is none of weft's."""
    columns = log.columns
    seen, logged = (jax.tree.map(np.asarray, parts) for parts in (log.observation, log.logged))
    reply = policy.answer(Question(data, seen, logged, np.asarray(columns.action), key, samples))
    if reply.does is not None:
        return log.answered(_array(_without_labels(reply.does, log.spec), ""))
    drawn = [_array(draw, "sample") for draw in reply.draws]
    log_prob = _array(reply.log_prob, "log_prob")
    if log_prob.shape != columns.terminal.shape:
        raise UserError(f"log_prob must give one number per action {columns.terminal.shape}, got {log_prob.shape}.")
    check_density(np.asarray(log_prob), "The policy's log_prob")
    log_prob = log_prob.astype(jnp.float32)
    if not drawn:
        return Candidate(None, None, log_prob, log.spec, reply.lacks)
    return log.acting(jnp.stack([_shaped(one, log.spec, log.count) for one in drawn], 1), log_prob)


def _without_labels(answer: Any, spec: Spec) -> Any:
    """Return choices that are called by the log's labels as codes, anything else as it is."""
    listed = isinstance(answer, list) and bool(answer) and all(isinstance(word, str) for word in answer)
    words = np.asarray(answer) if listed or isinstance(answer, np.ndarray) else None
    if words is None or words.ndim != 1 or words.dtype.kind not in "USO" or not spec.discrete or not spec.action.labels:
        return answer
    names, place = np.unique(words.astype(str), return_inverse=True)
    codes = choice_codes(spec, names)
    if None in codes:
        name = names[codes.index(None)]
        raise UserError(
            f"The policy chooses '{name}' at observation {np.flatnonzero(words.astype(str) == name)[0]}, which is no "
            f"choice of the log.{nearest(str(name), spec.action.labels)}"
        )
    return np.array(codes, np.int32)[place]


def check_fitting(candidate: Candidate, who: str) -> None:
    """Raise UserError where no values can be fitted for a policy; who: what needs them, to begin a sentence."""
    if candidate.lacks:
        raise UserError(
            f"{who} fits values, for which it must know what the policy would do at every observation, and here "
            f"{candidate.lacks}; judge it by weights alone (importance_sampling, per_decision, quantile, tail_mean; "
            "weft.certify), or give the policy itself."
        )


def _drawing(policy: Policy, log: _Log, keys: PRNGKeyArray) -> Candidate:
    """Ask a policy over continuous actions for draws, one per key, and for the density of the logged actions."""
    drawn = [
        _shaped(_each(lambda seen, key=key: policy.act((), seen, key, False)[0], log.observation), log.spec, log.count)
        for key in keys
    ]
    dense = _dense(policy, (), jax.tree.map(lambda part: part[:1], log.logged))
    log_prob = policy.log_prob((), log.logged, log.columns.action) if dense else None
    return log.acting(jnp.stack(drawn, 1), log_prob)


def _dense(policy: Policy, memory: PyTree, seen: PyTree) -> bool:
    """Say whether what a policy draws has a density; the best of several draws and a fixed action have none."""
    return not isinstance(policy.distribution(memory, seen), Deterministic)


def _along(policy: Policy, log: _Log, key: PRNGKeyArray, greedy: bool, samples: int) -> Candidate:
    """Ask a policy with memory at every observation as it would be after the logged history of the episode."""
    spec, columns = log.spec, log.columns

    def answer(memory: PyTree, seen: PyTree, key: Array) -> Array:
        if spec.discrete and not greedy:
            return _probabilities(policy, seen, memory)
        if greedy:
            action = policy.act(memory, seen, None, True)[0]
            return jax.nn.one_hot(action, spec.action.size) if spec.discrete else action[None]
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
    table = jnp.zeros((log.count, *does.shape[1:]))
    # what is done at a step overwrites what the step before foresaw; an episode's last observation has only that
    table = table.at[columns.successor].set(next_).at[columns.position].set(does)
    if spec.discrete:
        return log.choosing(table)
    first = jax.tree.map(lambda part: part[columns.position[0]], columns.observation)
    dense = not greedy and _dense(policy, policy.reset(), first)
    return log.acting(table, log_prob if dense else None)


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


def _probabilities(policy: Policy, seen: PyTree, memory: PyTree = ()) -> Array:
    distribution = policy.distribution(memory, seen)
    if not isinstance(distribution, Categorical):
        raise UserError("The log's actions are discrete, the policy's are not.")
    return distribution.probabilities()


def _each(function: Callable[[PyTree], Array], seen: PyTree) -> Array:
    """Apply a function of a batch to all observations, `ROWS` at a time; the last batch is filled up."""
    count = len(jax.tree.leaves(seen)[0])
    answers = []
    for begin in range(0, count, ROWS):
        rows = jnp.minimum(jnp.arange(begin, begin + ROWS), count - 1)
        answers.append(function(jax.tree.map(lambda part, rows=rows: part[rows], seen))[: count - begin])
    return jnp.concatenate(answers)


def _check_probabilities(answer: np.ndarray) -> None:
    """Raise UserError for rows that are no probabilities."""
    total = answer.sum(1)
    wrong = np.flatnonzero((answer.min(1) < 0) | (np.abs(total - 1) > 1e-3) | ~np.isfinite(total))
    if len(wrong):
        raise UserError(
            f"The policy's probabilities must be at least 0 and sum to 1; at observation {wrong[0]} they sum to "
            f"{total[wrong[0]]:.6g}. Pass probabilities, not their logarithms or scores."
        )


def _check_choices(answer: Array, count: int, size: int) -> None:
    """Raise UserError for answers that are not one of the choices for each observation."""
    if answer.shape != (count,) or not jnp.issubdtype(answer.dtype, jnp.integer):
        raise UserError(
            f"The policy must answer {count} observations with one choice each (whole numbers) or with "
            f"probabilities {(count, size)}, got {answer.shape} ({answer.dtype})."
        )
    wrong = np.flatnonzero((np.asarray(answer) < 0) | (np.asarray(answer) >= size))
    if len(wrong):
        raise UserError(
            f"The policy chooses action {int(answer[wrong[0]])}; the log's choices are 0 to {size - 1} (observation "
            f"{wrong[0]})."
        )


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
