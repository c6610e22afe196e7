"""The moving end of a log: a ring buffer on the device that acting fills, in the form of `Columns`.

Every observation is kept once. The one after the last step of an episode has its own place, so that auto-reset never
puts the first observation of an episode after the last action of another; images are stacked by index when they are
drawn. Rewards, observations and actions are in the units of the method.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from ..core.errors import UserError
from .columns import Columns, Lanes
from .dataset import Dataset
from .spec import Spec
from .transforms import Transform

__all__ = ["Ring", "Step", "collected", "empty", "first", "lanes_of", "restarted", "write"]


ROWS = (
    "action",
    "reward",
    "terminal",
    "timeout",
    "position",
    "successor",
    "step",
    "episode",
    "episode_start",
    "duration",
    "log_propensity",
)


class Step(eqx.Module):
    """One step of every lane. `terminal`: nothing is worth anything after it; `over`: the episode ended, another began
    at `restart`; `alive`: the lane took a step at all.
    """

    action: Shaped[Array, "lane *act"]
    log_propensity: Float[Array, "lane"]
    reward: Float[Array, "lane"]
    terminal: Bool[Array, "lane"]
    over: Bool[Array, "lane"]
    alive: Bool[Array, "lane"]
    following: PyTree[Shaped[Array, "lane ..."]]
    restart: PyTree[Shaped[Array, "lane ..."]]


class Ring(eqx.Module):
    """`columns`, and for every lane the observations written so far (the last is the current one), the steps of the
    running episode, and its number.
    """

    columns: Columns
    seen: Int[Array, "lane"]
    elapsed: Int[Array, "lane"]
    episode: Int[Array, "lane"]


def lanes_of(count: int, capacity: int, spec: Spec, stack: int) -> Lanes:
    """Return the form of a ring buffer for `capacity` steps. Vectors have room for an end after every step, images for
    one end in eight steps.
    """
    steps = max(capacity // count, 1)
    images = any(part.kind == "image" for part in spec.observations)
    return Lanes(count, steps, steps + (steps // 8 if images else steps) + stack + 2)


def empty(spec: Spec, lanes: Lanes, stack: int = 1) -> Ring:
    """Return a ring buffer without a step. Raises UserError for observations of changing length."""
    if any(part.kind == "tokens" for part in spec.observations):
        raise UserError("weft cannot collect observations that are tokens of changing number.")
    rows, places = lanes.count * lanes.steps, lanes.count * lanes.room
    kinds = {"image": jnp.uint8, "category": jnp.int32, "vector": jnp.float32}
    parts = {part.name: jnp.zeros((places, *part.shape), kinds[part.kind]) for part in spec.observations}
    discrete = spec.action.kind != "continuous"
    whole = jnp.zeros(rows, jnp.int32)
    columns = Columns(
        observation=parts[""] if spec.plain else parts,
        action=jnp.zeros((rows, *spec.action.shape), jnp.int32 if discrete else jnp.float32),
        reward=jnp.zeros((rows, 1)),
        terminal=jnp.zeros(rows, bool),
        timeout=jnp.zeros(rows, bool),
        position=whole,
        successor=whole,
        step=whole,
        episode=whole - 1,
        episode_start=whole,
        duration=jnp.ones(rows),
        log_propensity=jnp.zeros(rows),
        rows=jnp.arange(rows, dtype=jnp.int32),
        count=jnp.int32(0),
        written=jnp.int32(0),
        lanes=lanes,
        stack=stack,
    )
    blank = jnp.zeros(lanes.count, jnp.int32)
    return Ring(columns, blank, blank, blank)


def first(ring: Ring, observation: PyTree) -> Ring:
    """Begin an episode in every lane at the given observations `(lane, ...)`."""
    place = _place(ring, ring.seen)
    columns = dataclasses.replace(
        ring.columns,
        observation=jax.tree.map(lambda s, new: s.at[place].set(new), ring.columns.observation, observation),
    )
    return dataclasses.replace(ring, columns=columns, seen=ring.seen + 1, elapsed=jnp.zeros_like(ring.elapsed))


def restarted(ring: Ring, observation: PyTree) -> Ring:
    """Forget all steps and begin an episode in every lane; episodes are counted on."""
    nothing = jnp.zeros_like(ring.columns.count)
    columns = dataclasses.replace(ring.columns, count=nothing, written=nothing)
    fresh = dataclasses.replace(ring, columns=columns, seen=jnp.zeros_like(ring.seen), episode=ring.episode + 1)
    return first(fresh, observation)


def _place(ring: Ring, seen: Int[Array, "lane"]) -> Int[Array, "lane"]:
    lanes = ring.columns.lanes
    assert lanes is not None
    return seen % lanes.room * lanes.count + jnp.arange(lanes.count)


def write(ring: Ring, step: Step) -> Ring:
    """Append one step of every lane; what the ring has no room for is the oldest."""
    old, lanes = ring.columns, ring.columns.lanes
    assert lanes is not None
    assert old.written is not None
    row = old.written % lanes.steps * lanes.count + jnp.arange(lanes.count)
    here, there, after = (_place(ring, ring.seen + offset) for offset in (-1, 0, 1))

    def put(store: Array, following: Array, restart: Array) -> Array:
        return store.at[there].set(following).at[after].set(restart)

    began = (old.written - ring.elapsed) % lanes.steps * lanes.count + jnp.arange(lanes.count)
    steps: dict[str, Any] = {
        "action": step.action,
        "reward": step.reward[:, None],
        "terminal": step.terminal,
        "timeout": step.over & ~step.terminal,
        "position": here,
        "successor": there,
        "step": ring.elapsed,
        "episode": jnp.where(step.alive, ring.episode, -1),
        "episode_start": began,
        "log_propensity": step.log_propensity,
    }
    fields = {name: getattr(old, name).at[row].set(value) for name, value in steps.items()}
    if old.outcome is not None:
        fields["outcome"] = old.outcome.at[row].set(-jnp.inf)
    columns = dataclasses.replace(
        old,
        **fields,
        observation=jax.tree.map(put, old.observation, step.following, step.restart),
        written=old.written + 1,
        count=jnp.minimum(old.count + lanes.count, lanes.count * lanes.steps),
    )
    over = step.over.astype(jnp.int32)
    return Ring(columns, ring.seen + 1 + over, jnp.where(step.over, 0, ring.elapsed + 1), ring.episode + over)


def collected(ring: Ring, transform: Transform, origin: str, spec: Spec | None = None) -> Dataset:
    """Return what a ring (of host arrays) holds as a log in the user's units, lane after lane.

    The running episodes are cut as time-outs; an episode whose beginning was overwritten begins later. Raises
    UserError when there is no step.
    """
    columns, lanes, spec = ring.columns, ring.columns.lanes, spec or transform.spec
    assert lanes is not None
    written, held = int(np.asarray(columns.written)), len(columns.reward) // lanes.count
    times = np.arange(written - min(written, held), written) % max(held, 1)
    rows = (times[None, :] * lanes.count + np.arange(lanes.count)[:, None]).reshape(-1)
    rows = rows[np.asarray(columns.episode)[rows] >= 0]
    if not len(rows):
        raise UserError(f"Nothing was collected from {origin} yet.")
    episode, lane = np.asarray(columns.episode)[rows], rows % lanes.count
    last = np.append((episode[1:] != episode[:-1]) | (lane[1:] != lane[:-1]), True)
    terminal = np.asarray(columns.terminal)[rows]
    density = np.asarray(columns.log_propensity)[rows]
    reward = np.asarray(columns.reward, np.float64)[rows, 0]
    actions = np.asarray(columns.action)[rows]
    if transform.action is not None:
        scale, shift = (np.asarray(part, np.float64) for part in (transform.action.scale, transform.action.shift))
        actions = (actions.astype(np.float64) * scale + shift).astype(np.float32)
    action = spec.action
    return Dataset.from_arrays(
        transform.unobserve(
            jax.tree.map(lambda part: np.asarray(part)[np.asarray(columns.position)[rows]], columns.observation)
        ),
        actions,
        ((reward - float(transform.reward_shift)) / float(transform.reward_scale)).astype(np.float32),
        terminal,
        last & ~terminal,
        propensities=np.exp(density) if np.isfinite(density).all() else None,
        next_observations=transform.unobserve(
            jax.tree.map(lambda part: np.asarray(part)[np.asarray(columns.successor)[rows]], columns.observation)
        ),
        action_bounds=None if action.low is None else (action.low, action.high),
        action_count=action.size if spec.discrete else None,
        action_labels=action.labels,
        horizon=spec.horizon,
        origin=origin,
    )


def trimmed(ring: Ring) -> Ring:
    """Return a ring (host arrays) without the room that was never used, for saving."""
    columns, lanes = ring.columns, ring.columns.lanes
    assert lanes is not None
    rows = min(int(np.asarray(columns.written)), lanes.steps) * lanes.count
    places = min(int(np.asarray(ring.seen).max()) + 1, lanes.room) * lanes.count
    fields = {name: np.asarray(getattr(columns, name))[:rows] for name in (*ROWS, "rows")}
    observation = jax.tree.map(lambda part: np.asarray(part)[:places], columns.observation)
    return dataclasses.replace(ring, columns=dataclasses.replace(columns, **fields, observation=observation))


def refilled(kept: Ring, ring: Ring) -> Ring:
    """Return a saved ring with the room that an empty `ring` has.

    Raises UserError when it has less room than what was saved takes.
    """
    lanes = ring.columns.lanes
    assert lanes is not None
    rows = len(ring.columns.reward)
    if (
        len(kept.columns.reward) > rows
        or int(np.asarray(kept.columns.written)) > lanes.steps > len(kept.columns.reward) // lanes.count
    ):
        raise UserError(f"What was collected does not fit a buffer of {rows} steps; keep the capacity as it was.")

    def pad(part: Array, blank: Array) -> Array:
        return jnp.concatenate([part, blank[len(part) :]])

    rows_of = {name: pad(getattr(kept.columns, name), getattr(ring.columns, name)) for name in ROWS}
    observation = jax.tree.map(pad, kept.columns.observation, ring.columns.observation)
    whole = dataclasses.replace(kept.columns, **rows_of, observation=observation, rows=ring.columns.rows, lanes=lanes)
    return dataclasses.replace(kept, columns=whole)
