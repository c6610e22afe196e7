"""The step of an entropy-regularised actor (soft actor-critic, arXiv:1812.05905), which several methods share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...nn.distributions import Distribution
from ...nn.multipliers import Multiplier
from ...nn.optimise import Learner, descend

__all__ = ["improve"]


def improve(
    actor: Learner[Any],
    optimiser: optax.GradientTransformation,
    temperature: Multiplier,
    heat: PyTree,
    observation: PyTree,
    key: PRNGKeyArray,
    gain: Callable[[Distribution, Array], Float[Array, "batch"]],
) -> tuple[Learner[Any], PyTree, dict[str, Float[Array, ""]]]:
    """Step the temperature, then the actor on `E[α log π(a | s) − gain(π(· | s), a)]` (eqs. 7 and 18).

    `heat` is the state of the temperature, which follows the mean log-density per dimension of the old actor. Returns
    the actor, the temperature's state and metrics.
    """
    # the draw of the loss below, on purpose: alpha follows the entropy that the actor's loss is about to see
    action, log_prob = actor.model(observation).sample_and_log_prob(jax.random.clone(key))
    heat = temperature.follow(heat, jnp.mean(log_prob) / action.shape[-1])
    alpha = temperature.at(heat)

    def loss(pi: Callable[[PyTree], Distribution]) -> Float[Array, ""]:
        chosen = pi(observation)
        action, log_prob = chosen.sample_and_log_prob(key)
        return jnp.mean(alpha * log_prob - gain(chosen, action))

    actor, value = descend(actor, optimiser, loss)
    return actor, heat, {"actor_loss": value, "temperature": alpha, "entropy": -jnp.mean(log_prob)}
