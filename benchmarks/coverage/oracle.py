"""What nobody has: the doubly robust interval with the true values and propensities, a yardstick for widths."""

import jax
import jax.numpy as jnp
from families import Cell, Log, World
from jax import Array

__all__ = ["reach"]


def reach(cell: Cell, world: World, log: Log) -> Array:
    """Return half the width of its 95 % interval, by units, for a cell whose state is seen."""
    count, horizon = cell.episodes, cell.horizon
    ahead = cell.discount * (1 - cell.stop)

    def back(value: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        worth = world.pay + ahead * world.move @ value
        value = (world.judged * worth).sum(1)
        return value, (worth, value)

    _, (worth, value) = jax.lax.scan(back, jnp.zeros(cell.states), None, length=horizon)  # 1 .. horizon steps to go
    worth, value = worth[::-1], value[::-1]
    columns = log.columns
    state = log.codes.reshape(count, horizon + 1)[:, :horizon]
    action = columns.action.reshape(count, horizon)
    reward = columns.reward[:, 0].reshape(count, horizon)
    there = (columns.episode < count).reshape(count, horizon)
    assert columns.log_propensity is not None
    ratio = world.judged[state, action] / jnp.exp(columns.log_propensity.reshape(count, horizon))
    weight = jnp.cumprod(jnp.where(there, ratio, 1.0), axis=1)
    before = jnp.concatenate([jnp.ones((count, 1)), weight[:, :-1]], axis=1)
    time = jnp.arange(horizon)
    terms = weight * (reward - worth[time, state, action]) + before * value[time, state]
    each = (jnp.where(there, terms, 0.0) * cell.discount**time).sum(1)
    unit, starts = log.weighing.unit[:-1], log.weighing.starts[:-1]
    size = jnp.zeros(count + 1).at[unit].add(starts)
    mean = jnp.zeros(count + 1).at[unit].add(starts * each) / jnp.maximum(size, 1)
    units = (size > 0).sum()
    middle = jnp.where(size > 0, mean, 0.0).sum() / units
    spread = jnp.where(size > 0, jnp.square(mean - middle), 0.0).sum() / (units - 1)
    return 1.96 * jnp.sqrt(spread / units)
