"""What an actor returns: a distribution over one action, with any leading axes.

Continuous distributions live on the method's side, where actions are in [−1, 1]; log-densities are with respect to
those units. `sample` and `sample_and_log_prob` are reparameterised where the family allows it.
"""

import abc
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

__all__ = ["Categorical", "Deterministic", "Distribution", "Mixture", "Normal", "TanhNormal"]

Kind = TypeVar("Kind", bound="Distribution")
HALF_LOG_TWO_PI = 0.9189385332046727


class Distribution(eqx.Module):
    """A distribution over actions; leading axes of its arrays are a batch."""

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray) -> Shaped[Array, "..."]:
        """Draw one action per batch entry."""

    @abc.abstractmethod
    def log_prob(self, action: Shaped[Array, "..."]) -> Float[Array, "..."]:
        """Logarithm of the probability or density of an action."""

    @abc.abstractmethod
    def mode(self) -> Shaped[Array, "..."]:
        """The action to take when no chance is wanted."""

    def sample_and_log_prob(self, key: PRNGKeyArray) -> tuple[Shaped[Array, "..."], Float[Array, "..."]]:
        """Draw an action and return it with its own log-probability."""
        action = self.sample(key)
        return action, self.log_prob(action)

    def entropy(self, key: PRNGKeyArray) -> Float[Array, "..."]:
        """Entropy, or an estimate of it from one draw where it has no closed form."""
        return -self.sample_and_log_prob(key)[1]


class Deterministic(Distribution):
    """One action without chance. It has no density: `log_prob` is −∞ or ∞ and no estimator may use it."""

    action: Float[Array, "... act"]

    def sample(self, key: PRNGKeyArray) -> Float[Array, "... act"]:
        del key
        return self.action

    def log_prob(self, action: Float[Array, "... act"]) -> Float[Array, "..."]:
        return jnp.where((action == self.action).all(-1), jnp.inf, -jnp.inf)

    def mode(self) -> Float[Array, "... act"]:
        return self.action


class Normal(Distribution):
    """Independent Gaussians, one per action dimension."""

    mean: Float[Array, "... act"]
    log_std: Float[Array, "... act"]

    def sample(self, key: PRNGKeyArray) -> Float[Array, "... act"]:
        noise = jax.random.normal(key, self.mean.shape)
        return self.mean + jnp.exp(self.log_std) * noise

    def log_prob(self, action: Float[Array, "... act"]) -> Float[Array, "..."]:
        return gaussian(action, self.mean, self.log_std)

    def mode(self) -> Float[Array, "... act"]:
        return self.mean


class TanhNormal(Distribution):
    """A Gaussian pushed through tanh: every sample lies in (−1, 1) (arXiv:1801.01290, app. C)."""

    mean: Float[Array, "... act"]
    log_std: Float[Array, "... act"]

    def sample(self, key: PRNGKeyArray) -> Float[Array, "... act"]:
        return jnp.tanh(self.unsquashed(key))

    def sample_and_log_prob(self, key: PRNGKeyArray) -> tuple[Float[Array, "... act"], Float[Array, "..."]]:
        # from the draw before tanh: arctanh of the drawn action would lose all digits near the bounds
        raw = self.unsquashed(key)
        return jnp.tanh(raw), gaussian(raw, self.mean, self.log_std) - squash_volume(raw)

    def unsquashed(self, key: PRNGKeyArray) -> Float[Array, "... act"]:
        """Draw what `sample` pushes through tanh."""
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape)

    def log_prob(self, action: Float[Array, "... act"]) -> Float[Array, "..."]:
        # logged actions may lie on the bounds, where arctanh is infinite
        raw = jnp.arctanh(jnp.clip(action, -1.0 + 1e-6, 1.0 - 1e-6))
        return gaussian(raw, self.mean, self.log_std) - squash_volume(raw)

    def mode(self) -> Float[Array, "... act"]:
        return jnp.tanh(self.mean)


class Mixture(Distribution):
    """A mixture of diagonal Gaussians; its mode is the mean of the likeliest component."""

    logits: Float[Array, "... component"]
    mean: Float[Array, "... component act"]
    log_std: Float[Array, "... component act"]

    def sample(self, key: PRNGKeyArray) -> Float[Array, "... act"]:
        component_key, noise_key = jax.random.split(key)
        # not reparameterised in the logits: no gradient reaches them through a draw
        chosen = jax.random.categorical(component_key, self.logits)
        noise = jax.random.normal(noise_key, (*self.mean.shape[:-2], self.mean.shape[-1]))
        return self._component(self.mean, chosen) + jnp.exp(self._component(self.log_std, chosen)) * noise

    def log_prob(self, action: Float[Array, "... act"]) -> Float[Array, "..."]:
        each = gaussian(action[..., None, :], self.mean, self.log_std)
        return jax.nn.logsumexp(jax.nn.log_softmax(self.logits) + each, axis=-1)

    def mode(self) -> Float[Array, "... act"]:
        return self._component(self.mean, self.logits.argmax(-1))

    @staticmethod
    def _component(values: Float[Array, "... component act"], chosen: Int[Array, "..."]) -> Float[Array, "... act"]:
        return jnp.take_along_axis(values, chosen[..., None, None], axis=-2)[..., 0, :]


class Categorical(Distribution):
    """One choice out of several, given by unnormalised log-probabilities."""

    logits: Float[Array, "... choice"]

    def sample(self, key: PRNGKeyArray) -> Int[Array, "..."]:
        return jax.random.categorical(key, self.logits)

    def log_prob(self, action: Int[Array, "..."]) -> Float[Array, "..."]:
        return pick(jax.nn.log_softmax(self.logits), action)

    def mode(self) -> Int[Array, "..."]:
        return self.logits.argmax(-1)

    def probabilities(self) -> Float[Array, "... choice"]:
        """Probability of every choice."""
        return jax.nn.softmax(self.logits)

    def log_probabilities(self) -> Float[Array, "... choice"]:
        """Logarithm of the probability of every choice."""
        return jax.nn.log_softmax(self.logits)

    def expected(self, values: Float[Array, "... choice"]) -> Float[Array, "..."]:
        """Mean of a value per choice."""
        return (self.probabilities() * values).sum(-1)

    def entropy(self, key: PRNGKeyArray) -> Float[Array, "..."]:
        del key
        return -self.expected(self.log_probabilities())


def several(distribution: Kind, count: int) -> Kind:
    """Return the distribution `count` times over, along a new last axis of its batch, to draw several at once."""
    batch = min(part.ndim for part in jax.tree.leaves(distribution)) - 1  # a mixture's parts have one axis more
    return jax.tree.map(lambda part: jnp.repeat(jnp.expand_dims(part, batch), count, axis=batch), distribution)


def pick(values: Float[Array, "..."], action: Int[Array, "*any"]) -> Float[Array, "..."]:
    """Return the value of the chosen action from `(*any, choice)`, or all that `(*any, choice, part)` holds of it."""
    place = jnp.expand_dims(action, tuple(range(action.ndim, values.ndim)))
    return jnp.take_along_axis(values, place, axis=action.ndim).squeeze(action.ndim)


def gaussian(
    values: Float[Array, "... act"], mean: Float[Array, "... act"], log_std: Float[Array, "... act"] | Float[Array, ""]
) -> Float[Array, "..."]:
    """Log-density of independent Gaussians, summed over the action dimensions; `log_std` may be one for all."""
    scaled = (values - mean) * jnp.exp(-log_std)
    return -(0.5 * jnp.square(scaled) + log_std + HALF_LOG_TWO_PI).sum(-1)


def squash_volume(raw: Float[Array, "... act"]) -> Float[Array, "..."]:
    """`log |d tanh(z) / dz|` summed over dimensions, in the form that stays exact for large |z|."""
    # log(1 - tanh(z)^2) = 2 (log 2 - z - softplus(-2z)); the left side is log 0 in float32 from about |z| = 9 on
    return (2.0 * (jnp.log(2.0) - raw - jax.nn.softplus(-2.0 * raw))).sum(-1)
