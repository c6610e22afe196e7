r"""The recurrent attention model (Mnih, Heess, Graves and Kavukcuoglu 2014, arXiv:1406.6247).

An image is never seen whole: a few glimpses are taken, each where the network chose to look after the one before.

    g_t = relu(W [relu(W_what crop(x, l_{t-1})); relu(W_where l_{t-1})]),   h_t = relu(W_h h_{t-1} + W_g g_t)
    l_t ~ N(tanh(W_l h_t), sigma^2 I),   pi(a | x) = softmax(W_a h_T),   R = 1(argmax_a pi(a | x) = a_D)

    L_pi = -E_D[ log pi(a_D | x) ]                                                  (section 3.2: the hybrid loss)
    L_l  = -E_D[ sum_{t<T} (R - sg b_t) log N(sg l_t; tanh(W_l h_t), sigma^2) ]     (section 3.2: REINFORCE)
    L_b  = E_D[ sum_{t<T} (R - b_t)^2 ],   b_t = W_b sg h_t

The logged action is the right answer; neither rewards nor what follows are read. `deviation` is sigma; each image of a
batch is looked at `copies` times. Looking passes no gradient, so L_pi teaches the places nothing; the density is that
of the place that was drawn, while a glimpse outside the image is taken at its border. The policy that is served takes
every glimpse at its mean: only its choice of an action has chance in it, with a probability that is known.

Order of updates: one gradient step on the sum of the three.

Differs from the reference: Adam, not momentum; the first glimpse is in the middle, so that serving needs no chance; the
encoders of a glimpse have all layers of `hidden`; the core is the plain one (no LSTM).
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...core.pytree import require, static
from ...data.sampler import Sampler
from ...data.samplers.transitions import Transitions
from ...nn.distributions import Categorical, gaussian
from ...nn.glimpse import RecurrentAttention, recurrent_attention
from ...nn.optimise import Learner, descend, learner
from ..algorithm import Algorithm
from ..policy import Policy

__all__ = ["RAM", "Glimpses"]


class State(eqx.Module):
    attention: Learner


class Glimpses(Policy):
    """The answer after a fixed number of glimpses, each taken at its mean."""

    attention: RecurrentAttention

    def distribution(self, memory, observation):
        return Categorical(self.attention.still(observation).logits)

    def places(self, observation):
        """Return where one image, or each of several, is looked at: `(glimpse, ..., 2)`, the first in the middle."""
        mean = self.attention.still(observation).mean
        return jnp.concatenate([jnp.zeros_like(mean[:1]), mean[:-1]])


class RAM(Algorithm):
    """The recurrent attention model."""

    title: ClassVar[str] = "Recurrent attention model"
    paper: ClassVar[str] = "arXiv:1406.6247"
    family: ClassVar[str] = "imitation"
    actions: ClassVar[frozenset[str]] = frozenset({"discrete"})
    sees: ClassVar[frozenset[str] | None] = frozenset({"image"})

    learning_rate: float = 3e-4
    deviation: float = 0.15
    glimpses: int = static(default=6)
    size: int = static(default=8)
    scales: int = static(default=2)
    copies: int = static(default=8)
    hidden: tuple[int, ...] = static(default=(256, 256))
    sampler: Sampler = Transitions()

    def __check_init__(self):
        require(self.deviation > 0, f"RAM's deviation must be positive, got {self.deviation}.")
        require(len(self.hidden) > 0, "RAM needs at least one hidden layer.")
        for name in ("glimpses", "size", "scales", "copies"):
            require(getattr(self, name) >= 1, f"RAM's {name} must be at least 1, got {getattr(self, name)}.")

    def init(self, key, spec, prior=None):
        self.check(spec)
        require(spec.plain, "RAM looks at one image; the observations of this log are a dictionary.")
        shape, window = spec.observations[0].shape, (self.size, self.scales, self.glimpses)
        attention = recurrent_attention(key, shape, spec.action.size, self.hidden, *window)
        return State(learner(attention, optax.adam(self.learning_rate)))

    def update(self, state, batch, tick):
        drawn = (self.glimpses, self.copies, len(batch.action), 2)
        noise = self.deviation * jax.random.normal(tick.key, drawn)
        attention, (loss, metrics) = descend(
            state.attention,
            optax.adam(self.learning_rate),
            lambda attention: self.loss(attention, batch.observation, batch.action, noise),
            auxiliary=True,
        )
        return State(attention), {"loss": loss, **metrics}

    def loss(self, attention, image, label, noise):
        """Return the sum of the three losses for given noise `(glimpse, copy, batch, 2)`, and its parts."""
        look = attention(image, noise)
        right = look.logits.argmax(-1) == label
        actor_loss = -jnp.mean(Categorical(look.logits).log_prob(jnp.broadcast_to(label, right.shape)))
        gain = right - look.baseline[:-1]  # nothing is looked at after the last glimpse
        density = gaussian(jax.lax.stop_gradient(look.place), look.mean, jnp.log(self.deviation))[:-1]
        place_loss = -jnp.mean((jax.lax.stop_gradient(gain) * density).sum(0))
        baseline_loss = jnp.mean(jnp.square(gain).sum(0))
        parts = {
            "actor_loss": actor_loss,
            "place_loss": place_loss,
            "baseline_loss": baseline_loss,
            "accuracy": jnp.mean(right),
        }
        return actor_loss + place_loss + baseline_loss, parts

    def policy(self, state):
        return Glimpses(state.attention.model)
