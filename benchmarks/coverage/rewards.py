"""Laws of rewards in [0, 1] with a given mean per state and action, for worlds whose truth needs the mean alone.

`bernoulli`: 1 with the mean as its chance. `rare gain`, `rare loss`: the same with chances of about 1 % for what
matters. `dented`: a little noise, and now and then a loss of everything. `zero inflated`: nothing, or a skewed amount.
`heavy`: a Pareto amount (exponent 1.5) capped at the end of the range. `few values`: 0, .2 or 1. `smooth`: near the
mean.
"""

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["LAWS", "means", "payment", "room"]

LAWS = ("bernoulli", "rare gain", "rare loss", "dented", "zero inflated", "heavy", "few values", "smooth")
POWER = 4  # of the amounts of `zero inflated`: a uniform number to this power, 1/5 on average
PARETO = 1.5
LEVEL, NOISE = 0.6, 0.05  # of `dented`
FEW = 0.02, 0.09  # of `few values`: the least mean, and how much larger the largest is


def means(law: str, uniform: Array) -> Array:
    """Turn even numbers in [0, 1] per state and action into mean rewards of a law."""
    if law == "rare gain":
        return 0.02 * uniform
    if law == "rare loss":
        return 1 - 0.02 * uniform
    if law == "dented":
        return LEVEL * (1 - 0.02 * uniform)
    if law == "zero inflated":
        return (0.02 + 0.18 * uniform) / (POWER + 1)
    if law == "heavy":
        return _capped(0.002 + 0.02 * uniform)
    if law == "few values":
        return 0.2 * (0.1 + 0.3 * uniform) + 0.03 * uniform
    return uniform


def payment(law: str, key: Array, mean: Array) -> Array:
    """Draw rewards with these means."""
    chance_key, size_key = jax.random.split(key)
    chance, size = jax.random.uniform(chance_key, mean.shape), jax.random.uniform(size_key, mean.shape)
    if law == "dented":
        return jnp.where(chance < 1 - mean / LEVEL, 0.0, LEVEL + NOISE * (2 * size - 1))
    if law == "zero inflated":
        return jnp.where(chance < mean * (POWER + 1), size**POWER, 0.0)
    if law == "heavy":
        return jnp.minimum(_least(mean) * (1 - size) ** (-1 / PARETO), 1.0)
    if law == "few values":
        often, rarely = _few(mean)
        return jnp.where(chance < rarely, 1.0, jnp.where(chance < rarely + often, 0.2, 0.0))
    if law == "smooth":
        return jnp.clip(mean + (2 * size - 1) * jnp.minimum(mean, 1 - mean) * 0.5, 0.0, 1.0)
    return (chance < mean).astype(jnp.float32)


def room(law: str, mean: Array) -> Array:
    """Return how far these means can move either way for `payment` to have them still."""
    low, high = {"dented": (0.0, LEVEL), "few values": (FEW[0], sum(FEW))}.get(law, (0.0, 1.0))
    return jnp.minimum(mean - low, high - mean)


def _capped(least: Array) -> Array:
    """Return the mean of a Pareto amount from `least` on, capped at 1."""
    return least + (least - least**PARETO) / (PARETO - 1)


def _least(mean: Array) -> Array:
    """Invert `_capped`, by bisection."""

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        below = _capped(middle) < mean
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    return jax.lax.fori_loop(0, 30, halve, (jnp.zeros_like(mean), jnp.full_like(mean, 0.2)))[1]


def _few(mean: Array) -> tuple[Array, Array]:
    """Return the chances of .2 and of 1 that `means` had in mind."""
    uniform = (mean - FEW[0]) / FEW[1]
    return 0.1 + 0.3 * uniform, 0.03 * uniform
