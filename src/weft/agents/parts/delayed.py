"""What methods after TD3 share (Fujimoto, van Hoof and Meger 2018, arXiv:1802.09477): smoothed targets, late actors."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ...core.pytree import require
from ...nn.optimise import Learner, descend, incremental_update

__all__ = ["State", "check", "improve", "smoothed"]


class State(eqx.Module):
    """What such a method learns; `actor_loss` is that of the actor's last step."""

    actor: Learner
    critics: Learner
    target_actor: eqx.Module
    target: tuple
    actor_loss: Float[Array, ""]


def check(method: Any) -> None:
    """Raise UserError for a noise, its limit or a delay that cannot be."""
    require(method.noise >= 0, f"The smoothing noise may not be negative, got {method.noise}.")
    require(method.noise_limit >= 0, f"The limit of the noise may not be negative, got {method.noise_limit}.")
    require(method.actor_every >= 1, f"The actor must move every so many updates, got {method.actor_every}.")


def smoothed(method: Any, key: PRNGKeyArray, action: Float[Array, "batch act"]) -> Float[Array, "batch act"]:
    """Return the target actor's actions with clipped noise, within the range (eq. 14)."""
    noise = jnp.clip(method.noise * jax.random.normal(key, action.shape), -method.noise_limit, method.noise_limit)
    return jnp.clip(action + noise, -1.0, 1.0)


def improve(
    method: Any,
    optimiser: optax.GradientTransformation,
    state: State,
    critics: Learner,
    loss: Callable[[Any], PyTree],
    step: Int[Array, ""],
) -> State:
    """Return the state with new critics and, in every `actor_every`-th update, a new actor and new targets."""

    def move(state: State) -> State:
        actor, value = descend(state.actor, optimiser, loss)
        target_actor = incremental_update(actor.model, state.target_actor, method.target_rate)
        target = incremental_update(critics.model, state.target, method.target_rate)
        return State(actor, critics, target_actor, target, value)

    def wait(state: State) -> State:
        return State(state.actor, critics, state.target_actor, state.target, state.actor_loss)

    return jax.lax.cond(step % method.actor_every == 0, move, wait, state)
