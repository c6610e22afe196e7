r"""Behaviour cloning (Pomerleau 1988): imitate what was logged.

    L_pi = -E_D[ log pi(a | s) ]

Heads: `gaussian` (tanh on the mean, one standard deviation per dimension), `mixture` (several modes), `deterministic`
(mean squared error, which averages several modes) for continuous actions; a categorical for discrete ones.

Order of updates: one gradient step on the actor.

Differs from the reference: none to differ from; the Gaussian is that of arXiv:2110.06169, so that IQL with a zero
inverse temperature is this method.
"""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import optax

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.actors import HEADS, behaviour_actor
from ...nn.losses import imitation
from ...nn.optimise import Learner, descend, learner
from ..algorithm import Algorithm
from ..policy import ActorPolicy

__all__ = ["BC"]


class State(eqx.Module):
    actor: Learner


class BC(Algorithm):
    """Behaviour cloning."""

    title: ClassVar[str] = "Behaviour cloning"
    paper: ClassVar[str] = "Pomerleau 1988"
    family: ClassVar[str] = "imitation"

    learning_rate: float = 3e-4
    head: str = static(default="gaussian")
    components: int = static(default=5)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(self.head in HEADS, f"BC has no head '{self.head}'.")
        require(self.components >= 1, f"BC needs at least one mixture component, got {self.components}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        actor = behaviour_actor(key, spec, self.hidden, self.head, self.components)
        return State(learner(actor, optax.adam(self.learning_rate)))

    def update(self, state, batch, tick):
        def actor_loss(pi):
            return jnp.mean(imitation(pi(batch.observation), batch.action))

        actor, loss = descend(state.actor, optax.adam(self.learning_rate), actor_loss)
        return State(actor), {"actor_loss": loss}

    def policy(self, state):
        return ActorPolicy(state.actor.model)
