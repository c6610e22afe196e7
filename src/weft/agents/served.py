"""A policy in the user's units: what is asked, saved and put to use."""

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Shaped

from ..core.errors import UserError
from ..core.pytree import named_leaves, static
from ..data.spec import Spec
from ..data.trace import Trace
from ..data.transforms import Transform
from ..nn.distributions import Categorical, Distribution
from .door import check_action, check_observation
from .policy import Memory, Policy

__all__ = ["Served", "acts_greedily", "check_finite", "check_parameters"]


class Served(Policy):
    """A policy in the user's units: observations are transformed on the way in, actions on the way out.

    `trained_on` says which episodes it has seen, where weft trained it; `drawn` how it acts where nobody says
    otherwise: by drawing its actions, or by taking the most likely one (the mode). Where several images make an
    observation, the memory holds the last ones (and whether there are any yet) beside the memory of the policy inside.
    """

    inner: Policy
    transform: Transform
    trained_on: Trace = static(default=Trace())
    drawn: bool = static(default=False)

    @property
    def spec(self) -> Spec:
        """What the policy was trained on; enough to check what it is asked."""
        return self.transform.spec

    def drawing(self, drawn: bool = True) -> "Served":
        """Return the same policy that draws its actions where nobody says otherwise (False: takes its mode)."""
        return Served(self.inner, self.transform, self.trained_on, drawn)

    @property
    def reach(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The lowest and the highest action that it can take, None for choices."""
        return self.transform.reach

    def reset(self, prompt: PyTree = None) -> Memory:
        if self.transform.stack == 1:
            return self.inner.reset(prompt)
        blank = {part.name: jnp.zeros(part.shape, jnp.uint8) for part in self.transform.inner.observations}
        return blank[""] if self.spec.plain else blank, jnp.zeros((), bool), self.inner.reset(prompt)

    def _see(self, memory: Memory, observation: PyTree) -> tuple[PyTree, Memory, Callable[[Memory], Memory]]:
        """Return what the policy inside sees, its memory, and how to keep the images with its next memory."""
        observation = jax.tree.map(jnp.asarray, check_observation(self.spec, observation))
        if self.transform.stack == 1:
            return self.transform.observe(observation), memory, lambda following: following
        images, begun, inside = memory

        def push(old: Array, new: Array) -> Array:
            moved = jnp.concatenate([old[..., 1:], new[..., None]], axis=-1)
            return jnp.where(begun, moved, jnp.broadcast_to(new[..., None], moved.shape))

        stacked = jax.tree.map(push, images, observation)
        return self.transform.observe(stacked), inside, lambda following: (stacked, jnp.ones((), bool), following)

    def distribution(self, memory: Memory, observation: PyTree) -> Distribution:
        """Return the inner distribution: of transformed actions, unlike `act` and `log_prob`."""
        seen, inside, _ = self._see(memory, observation)
        return self.inner.distribution(inside, seen)

    def act(
        self, memory: Memory, observation: PyTree, key: PRNGKeyArray | None = None, greedy: bool | None = None
    ) -> tuple[Shaped[Array, "..."], Memory]:
        """Choose an action: codes where actions are choices, unlike a call, which returns labels.

        greedy: take the mode; by default the policy acts as `drawn` says. Categories may be given as codes or labels,
        columns that had names by name. Raises UserError for observations of another form than the log's
        (`check_observation`), and for a draw without a key.
        """
        greedy = acts_greedily(self, greedy)
        seen = jax.tree.map(jnp.asarray, check_observation(self.spec, observation))
        return _act(self, memory, seen, jax.random.key(0) if key is None and greedy else key, greedy)

    def draw(
        self, memory: Memory, observation: PyTree, key: PRNGKeyArray
    ) -> tuple[Shaped[Array, "..."], Float[Array, "..."], Memory]:
        """Draw an action with its log-density in the user's units: infinite where the draw was clipped to the bounds,
        because what is done then has no density.
        """
        seen, within, keep = self._see(memory, observation)
        action, inside, following = self.inner.draw(within, seen, key)
        if self.transform.action is not None:
            inside = jnp.where((jnp.abs(action) > 1.0).any(-1), jnp.inf, inside - self.transform.volume())
        return self.transform.enact(action), inside, keep(following)

    def observe(self, memory: Memory, action: Array, reward: Array, terminal: Array) -> Memory:
        if self.transform.stack == 1:
            return self.inner.observe(memory, self.transform.unenact(action), reward, terminal)
        images, begun, inside = memory
        return images, begun, self.inner.observe(inside, self.transform.unenact(action), reward, terminal)

    def log_prob(self, memory: Memory, observation: PyTree, action: ArrayLike) -> Float[Array, "..."]:
        """Log-probability, or log-density in the user's units, of an action."""
        seen, within, _ = self._see(memory, observation)
        check_action(self.spec.action, action)
        inner = self.transform.unenact(jnp.asarray(action))
        return self.inner.log_prob(within, seen, inner) - self.transform.volume()

    def probabilities(self, observation: PyTree) -> Float[Array, "... choice"]:
        """Probability of every choice when it draws (discrete actions only, policies without memory)."""
        distribution = self.distribution(self.reset(), observation)
        if not isinstance(distribution, Categorical):
            raise UserError("Only a policy over discrete actions has a probability for every choice; use log_prob.")
        return distribution.probabilities()

    def __call__(self, observation: Any, key: PRNGKeyArray | None = None) -> Any:
        """Return the action for one observation or a batch of them, as NumPy, labels where the log had them.

        A policy that is `drawn` draws, independently for every observation: with the key, or else with chance of the
        operating system, so that every call is another draw. Otherwise it takes its mode and needs no key. Where the
        log was a table, a dictionary or a data frame of its columns does as well as arrays in their order.
        """
        memory = self.reset()
        if jax.tree.leaves(memory):
            raise UserError("This policy has a memory; use reset() and act(memory, observation, key).")
        if self.drawn and key is None:
            key = jax.random.fold_in(jax.random.key(secrets.randbits(32)), secrets.randbits(32))
        action, _ = self.act(memory, observation, key)
        choice = np.asarray(action)
        labels = self.spec.action.labels
        if labels:
            return np.asarray(labels)[choice]
        return choice if choice.ndim else choice.item()


@partial(jax.jit, static_argnames="greedy")
def _act(
    policy: Served, memory: Memory, observation: PyTree, key: PRNGKeyArray | None, greedy: bool
) -> tuple[Array, Memory]:
    seen, within, keep = policy._see(memory, observation)
    action, following = policy.inner.act(within, seen, key, greedy)
    return policy.transform.enact(action), keep(following)


def acts_greedily(policy: Any, greedy: bool | None = None) -> bool:
    """Say whether a policy takes its mode: as it is told, else (None) as it acts; those not `Served` take theirs."""
    return not (isinstance(policy, Served) and policy.drawn) if greedy is None else greedy


def check_parameters(policy: Any) -> None:
    """Raise UserError for a policy with parameters that are NaN, whose choices would look like any others.

    Anything may be asked to act: infinite numbers pass (a bound may be one), and so does what is no `Policy`.
    """
    if isinstance(policy, Policy) and _first(policy, np.isnan) is not None:
        raise UserError(
            "The policy's actions are not finite, because its parameters are NaN; its training went astray."
        )


def check_finite(policy: Policy, name: str) -> None:
    """Raise UserError, with the name of the run or file, where a learned policy has a number that is not finite."""
    if (path := _first(policy, lambda numbers: ~np.isfinite(numbers))) is not None:
        raise UserError(
            f"The policy of {name} has numbers that are not finite ({path}): its training went astray, so take an "
            "earlier step, or train it anew."
        )


def _first(policy: Policy, wrong: Callable[[np.ndarray], np.ndarray]) -> str | None:
    """Return the dotted name of the first parameter with a number that is wrong, None if all are right."""
    for path, leaf in named_leaves(policy):
        if eqx.is_inexact_array_like(leaf) and wrong(np.asarray(leaf)).any():
            return path
    return None
