"""What conservative Q-learning holds against the value of the logged action (arXiv:2006.04779, sec. 3.2).

    penalty = max_mu E_mu[Q(s, .)] + R(mu) - Q(s, a) = soft maximum of Q(s, .) - Q(s, a)

The regulariser R is the entropy of mu, which makes the soft maximum log sum exp Q (the variant CQL(H)), or minus its
divergence from a prior rho, which makes it log E_rho exp Q (the variant CQL(rho)). The prior is the current policy, or
uniform. Over all Q the mean penalty is least at Q = log(beta / rho) + c, where beta is what chose the logged actions:
the entropy of beta for CQL(H), -KL(beta || rho) for CQL(rho). So a penalty of CQL(rho) below 0 is no mistake.
"""

from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ...nn.critics import ContinuousCritic, DiscreteCritic, lowest
from ...nn.distributions import Distribution, pick, several
from ...nn.losses import calibrate, proposals, sampled_logsumexp

__all__ = [
    "BACKUPS",
    "REGULARISERS",
    "compared",
    "log_prior",
    "next_values",
    "score_actions",
    "score_choices",
    "soft_maximum",
]

REGULARISERS = ("entropy", "policy", "uniform")
BACKUPS = {"discrete": ("auto", "plain", "greedy"), "continuous": ("auto", "plain", "soft", "greedy", "sampled_max")}
Scores = tuple[Array, Float[Array, "batch"], Float[Array, "batch"]]


def log_prior(regulariser: str, values: Float[Array, "... choice"]) -> Float[Array, "... choice"] | None:
    """Return log rho of every choice, without gradient: of `softmax(values)`, or uniform; None for the entropy.

    With the values of the target critic, softmax stands for the policy of the iterate before (`policy`).
    """
    if regulariser == "entropy":
        return None
    return jax.nn.log_softmax(jax.lax.stop_gradient(values) if regulariser == "policy" else jnp.zeros_like(values))


def soft_maximum(
    values: Float[Array, "... choice"], prior: Float[Array, "... choice"] | None = None
) -> Float[Array, "..."]:
    """`log Σ_a ρ(a) exp Q(a)` with log rho as `prior`, or `log Σ_a exp Q(a)` without one.

    Its gradient is `ρ e^Q / Z`: the mu that the penalty pushes down.
    """
    return jax.nn.logsumexp(values if prior is None else values + prior, axis=-1)


def compared(
    key: PRNGKeyArray, regulariser: str, here: Distribution, there: Distribution, count: int
) -> tuple[Float[Array, "batch sample act"], Float[Array, "batch sample"], int]:
    """Return actions to estimate the soft maximum from, what to subtract of their values, and how many are a policy's.

    entropy: `losses.proposals`, `count` of each of its three kinds, less their log-densities. policy, uniform: `count`
    actions of the prior itself, so that nothing is subtracted; once more would make it CQL(H). `here` and `there` are
    the policy at s and at s', of which a prior knows only the first. Those of a policy come first. No gradient flows.
    """
    if regulariser == "entropy":
        return *proposals(key, here, there, count), 2 * count
    if regulariser == "policy":
        drawn = several(here, count).sample(key)
    else:
        batch, size = here.mode().shape
        drawn = jax.random.uniform(key, (batch, count, size), minval=-1.0, maxval=1.0)
    nothing = jnp.zeros(drawn.shape[:-1])
    return jax.lax.stop_gradient(drawn), nothing, count if regulariser == "policy" else 0


def next_values(
    key: PRNGKeyArray,
    backup: str,
    critics: tuple[ContinuousCritic, ...],
    observation: PyTree,
    policy: Distribution,
    count: int,
    temperature: Float[Array, ""],
) -> Float[Array, "batch"]:
    """Return what continuous CQL backs up of s': `min_i Q_i(s', a')` with a' of the policy (`plain`, `auto`), less the
    temperature times its log-density (`soft`), or its mode (`greedy`); or `min_i max_k Q_i(s', a_k)` over `count`
    actions of the policy, as the authors' code does for AntMaze (`sampled_max`).
    """
    if backup == "sampled_max":
        actions = several(policy, count).sample(key)
        each = [q.with_actions(q.state_half(observation)[:, None], actions).max(-1) for q in critics]
        return reduce(jnp.minimum, each)
    drawn, log_prob = policy.sample_and_log_prob(key)
    value = lowest(critics, observation, policy.mode() if backup == "greedy" else drawn)
    return value - temperature * log_prob if backup == "soft" else value


def score_choices(
    critic: DiscreteCritic,
    observation: PyTree,
    action: Int[Array, "batch"],
    prior: Float[Array, "batch choice"] | None,
    known: Float[Array, "batch"] | None,
) -> Scores:
    """Return what a critic learns of the logged choice, its value, and the soft maximum over all (`known`: returns)."""
    returns = critic.returns(observation)
    values, learned = critic.mean(returns), pick(returns, action)
    everywhere = soft_maximum(calibrate(values, known, values.shape[-1]), prior)
    return learned, critic.mean(learned), everywhere


def score_actions(
    own: int,
    critic: ContinuousCritic,
    observation: PyTree,
    actions: Float[Array, "batch sample act"],
    density: Float[Array, "batch other"],
    known: Float[Array, "batch"] | None,
) -> Scores:
    """Return the same for the logged action, the first, and those that were `compared` with it, in one product.

    `density` is what `compared` subtracts, of all actions but the first; `own` says how many of these are a policy's.
    """
    values = critic.with_actions(critic.state_half(observation)[:, None], actions)
    return values[:, 0], values[:, 0], sampled_logsumexp(calibrate(values[:, 1:], known, own), density)
