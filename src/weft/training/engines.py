"""Engines of learning by acting: one for worlds written in JAX, one for simulators on the host.

The first keeps acting and learning in one compiled program. The second lets simulators step while an update is
computed, so an update of a replay method follows one step late: the action is asked for, the update (which knows all
steps but this one) begins, the simulator steps meanwhile.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..agents.algorithm import Algorithm
from ..agents.schedule import Rounds
from ..agents.served import Served
from ..core import pytree
from ..core.errors import UserError
from ..data import replay as rings
from ..data.columns import Columns
from ..data.replay import Step
from ..data.transforms import Transform
from ..envs.environment import Environment, name_of
from ..envs.gymnasium_adapter import Simulator
from ..envs.rollout import rollout
from ..envs.vector_simulators import HostedLanes
from . import acting_loop as interaction
from .acting_loop import Course, Experience, Live, Scene
from .options import Turns
from .session import Engine, Looks, Row

__all__ = ["Acting", "Arena", "Compiled", "Hosted"]

EVALUATION = 1_000_000  # the first episode's seed in every evaluation


@dataclasses.dataclass(frozen=True)
class Arena:
    """Where runs act, and what they share there.

    env is what was given, for evaluations; world is the weft world with arrays for numbers, or the simulators. turns:
    with rounds, and evaluations that the run can have. log: in the units of the method, None without one. steps: how
    many there are to be; planned: how many there were to be first, 0 for runs that go on from others.
    """

    env: Any
    world: Environment | Simulator
    turns: Turns
    transform: Transform
    log: Columns | None
    steps: int
    planned: int
    mapping: str

    @property
    def rounds(self) -> Rounds:
        """How acting and learning take turns."""
        assert self.turns.rounds is not None
        return self.turns.rounds


class Acting(Engine):
    """What both kinds of engine share: settings, keys, where they act, and evaluation. first: states to begin with."""

    def __init__(self, settings: list[Algorithm], seeds: list[int], arena: Arena, first: PyTree = None) -> None:
        self.each, self.seeds, self.arena, self.first = settings, seeds, arena, first
        self.settings = pytree.stack(settings)
        keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        self.course = Course(arena.transform, keys, jnp.int32(arena.steps), jnp.int32(arena.planned))
        rounds = arena.rounds
        fresh = rounds.lanes * (rounds.steps or arena.world.horizon or 0)
        room = fresh if "replay" not in settings[0].learns_from else min(rounds.capacity, arena.steps)
        self.room = max(room, rounds.lanes * 2)

    def _fresh(self) -> Live:
        arena, states = self.arena, self.first
        if states is None:
            states = interaction.first_states(self.settings, self.course.key, arena.transform.inner, arena.mapping)
        return interaction.begin(states, arena.transform, arena.rounds, self.room, arena.mapping)

    def before(self) -> list[Row] | None:
        return [{"evaluation": score} for score in self._evaluated()] if self.arena.turns.evaluate_every else None

    def _evaluated(self) -> list[float]:
        scores, states, arena = [], self.states, self.arena
        for place, setting in enumerate(self.each):
            policy = Served(setting.policy(pytree.run_axis(states, place)), arena.transform)
            scores.append(float(rollout(policy, arena.env, arena.turns.evaluate_episodes, EVALUATION).mean()))
        return scores

    def _with_evaluation(self, begin: int, end: int, rows: list[Row]) -> list[Row]:
        """Add the evaluation to the rows of a chunk, where one is due."""
        every = self.arena.turns.evaluate_every
        due = every and (end // every > begin // every or end == self.arena.steps)
        scores = self._evaluated() if due else []
        return [{**row, "evaluation": score} for row, score in zip(rows, scores, strict=True)] if due else rows


def _means(sums: dict[str, float], updates: int | float, episodes: int | float) -> Row:
    """Return means of sums over updates and over episodes; what never happened has none."""
    counts: Row = {"episodes": episodes, "updates": updates}
    if episodes:
        counts["episode_return"] = sums["episode_return"] / episodes
    learned = {name: value / updates for name, value in sums.items() if name != "episode_return"} if updates else {}
    return {**learned, **counts}


class Compiled(Acting):
    """Acting in a world written in JAX, in one program with the updates."""

    lives: Live
    scenes: Scene

    def begin(self) -> None:
        arena = self.arena
        self.looks = Looks(len(self.each))
        self.lives, self.scenes = interaction.open_scenes(
            self.settings, self._fresh(), arena.world, self.course, arena.rounds, arena.mapping
        )
        # returns to go are looked up at the beginning of a chunk, so that cutting one would change them
        live = pytree.run_axis(self.lives, 0)
        self.divisible = jax.eval_shape(interaction.outcomes, self.each[0], live.ring.columns) is None

    @property
    def states(self) -> PyTree:
        return self.lives.state

    def others(self) -> PyTree:
        held = pytree.host(self.lives.ring)
        trimmed = [rings.trimmed(pytree.run_axis(held, place)) for place in range(len(self.each))]
        counts = eqx.tree_at(lambda lives: (lives.state, lives.ring), self.lives, ((), ()))
        return {"ring": trimmed, "worlds": (counts, self.scenes)}

    def restore(self, states: PyTree, read: Callable[[str, PyTree], PyTree]) -> None:
        self.first = states
        self.begin()
        like = self.others()
        trimmed, (counts, self.scenes) = read("ring", like["ring"]), read("worlds", like["worlds"])
        blank = pytree.run_axis(self.lives.ring, 0)
        ring = pytree.stack([rings.refilled(one, blank) for one in trimmed])
        self.lives = Live(states, ring, counts.taken, counts.clock, counts.updates)

    def advance(self, begin: int, end: int) -> list[Row]:
        arena, rounds = self.arena, self.arena.rounds
        sums = interaction.nothing(self.settings, self.lives, arena.log, self.course, rounds)
        for _, stop in self.looks(begin, end, rounds.warm_up) if self.divisible else [(begin, end)]:
            runs = self.lives, self.scenes, sums
            self.lives, self.scenes, sums = interaction.advance(
                self.settings, runs, arena.log, arena.world, self.course, jnp.int32(stop), rounds, arena.mapping
            )
            jax.block_until_ready(sums)
        host = {name: np.asarray(values, np.float64) for name, values in sums.items()}
        if host.pop("astray").any():
            assert isinstance(arena.world, Environment)
            raise UserError(
                f"{name_of(arena.world)} answered an action between the steps {begin} and {end} with a reward or an "
                "observation that is not finite."
            )
        rows = []
        for place in range(len(self.each)):
            one = {name: float(values[place]) for name, values in host.items()}
            rows.append(_means(one, one.pop("updates"), one.pop("episodes")))
        return self._with_evaluation(begin, end, rows)


class Hosted(Acting):
    """Acting in simulators on the host; runs take turns, round by round."""

    runs: list["HostedRun"]

    def begin(self) -> None:
        lives = self._fresh()
        log = self.arena.log
        logs = [log if log is None else interaction.focused(one, log) for one in self.each]
        self.runs = [
            HostedRun(self, place, pytree.run_axis(lives, place), logs[place]) for place in range(len(self.each))
        ]

    @property
    def states(self) -> PyTree:
        return pytree.stack([run.live.state for run in self.runs])

    def others(self) -> PyTree:
        return {
            "ring": [rings.trimmed(pytree.host(run.live.ring)) for run in self.runs],
            "worlds": [run.snapshot() for run in self.runs],
        }

    def restore(self, states: PyTree, read: Callable[[str, PyTree], PyTree]) -> None:
        self.first = states
        self.begin()
        like = self.others()
        trimmed, snapshots = read("ring", like["ring"]), read("worlds", like["worlds"])
        for place, run in enumerate(self.runs):
            run.restore(pytree.run_axis(states, place), trimmed[place], snapshots[place])

    def advance(self, begin: int, end: int) -> list[Row]:
        for run in self.runs:
            run.refocus()
        while any(run.taken < end for run in self.runs):
            for run in self.runs:
                if run.taken < end:
                    run.round()
        return self._with_evaluation(begin, end, [run.means() for run in self.runs])

    def close(self) -> None:
        for run in getattr(self, "runs", ()):
            run.lanes.close()


class HostedRun:
    """One run with its simulators: the same round, over and over."""

    def __init__(self, engine: Hosted, place: int, live: Live, log: Columns | None) -> None:
        arena, self.setting = engine.arena, engine.each[place]
        self.course = dataclasses.replace(engine.course, key=engine.course.key[place])
        assert isinstance(arena.world, Simulator)
        self.lanes = HostedLanes(arena.world, engine.seeds[place], arena.rounds.lanes, arena.transform.spec)
        self.rounds = arena.rounds
        self._hold(live)
        self.fixed, structure = jax.tree.flatten((self.setting, self.course, log))
        self.programs = _programs(structure, self.structure, self.rounds)
        self.memory = interaction.blank_memory(self.setting, live.state, arena.transform, self.lanes.count)
        self.whole = self.rounds.steps == 0
        self.late = "replay" in self.setting.learns_from
        self.outcome: Any = None
        self.taken = self.clock = 0
        self.fresh = np.ones(self.lanes.count, bool)
        self.pending: tuple | None = None
        self.sums: list[dict[str, Any]] = []
        self.ended: list[float] = []
        self.seen: Any = None
        if not self.whole:
            self.seen = self.lanes.begin()
            self._hold(interaction.show(self.live, self.seen, arena.transform))

    def _hold(self, live: Live) -> None:
        """Keep the run as leaves: taking a tree apart at every step would cost more than many a simulator's step."""
        self.leaves, self.structure = jax.tree.flatten(live)

    @property
    def live(self) -> Live:
        """The run as it stands."""
        return jax.tree.unflatten(self.structure, self.leaves)

    def refocus(self) -> None:
        """Bring up to date what the method wants to know of the whole ring."""
        self.outcome = interaction.outcomes(self.setting, self.live.ring.columns)

    def _choose(self) -> tuple[np.ndarray, np.ndarray]:
        choose, _ = self.programs
        actions, log_propensities, self.memory = choose(
            self.fixed, self.leaves, self.memory, self.fresh, self.seen, np.int32(self.clock), np.int32(self.taken)
        )
        return np.asarray(actions), np.asarray(log_propensities)

    def _learn(self, steps: tuple, count: int, opening: Any = None) -> None:
        due = self.taken >= max(self.rounds.warm_up, 1)
        _, learn = self.programs
        self.leaves, self.outcome, sums = learn(
            self.fixed, self.leaves, self.outcome, steps, np.int32(count), opening, due
        )
        if due:
            self.sums.append(sums)

    def _act(self, alive: np.ndarray) -> dict[str, Any]:
        actions, log_propensities = self._choose()
        if self.pending is not None:  # computed while the simulators step
            self._learn(self.pending, self.rounds.steps)
            self.pending = None
        self.seen, fields, ended = self.lanes.step(actions, alive, not self.whole)
        self.ended += ended
        self.fresh = fields["over"]
        self.taken += int(alive.sum())
        self.clock += 1
        return {**fields, "log_propensity": log_propensities}

    def round(self) -> None:
        """Take the steps of a round in every lane; learn from them now, or during the first step of the next round."""
        if self.whole:
            self._episodes()
            return
        alive = np.ones(self.lanes.count, bool)
        steps = _stacked([self._act(alive) for _ in range(self.rounds.steps)], self.rounds.steps)
        if self.late:
            self.pending = steps
        else:
            self._learn(steps, self.rounds.steps)

    def _episodes(self) -> None:
        opening = self.seen = self.lanes.begin()
        self.fresh = alive = np.ones(self.lanes.count, bool)
        steps = []
        while alive.any():
            steps.append(self._act(alive))
            alive = alive & ~self.fresh
        room = min(2 ** max(len(steps) - 1, 1).bit_length(), self.live.ring.columns.lanes.steps)  # type: ignore[union-attr]
        self._learn(_stacked(steps, room), len(steps), opening)

    def means(self) -> Row:
        """Return the means since the last time."""
        learned = jax.device_get(self.sums)
        sums = {name: float(sum(np.float64(one[name]) for one in learned)) for name in (learned[0] if learned else ())}
        sums["episode_return"] = float(sum(self.ended))
        row = _means(sums, len(learned) * self.rounds.updates, len(self.ended))
        self.sums, self.ended = [], []
        return row

    def snapshot(self) -> PyTree:
        """Return what goes on beside state and ring."""
        counts = np.array([self.taken, self.clock, int(self.live.taken), int(self.live.clock), int(self.live.updates)])
        snapshot = {"counts": counts, "memory": self.memory, "lanes": self.lanes.snapshot()}
        if self.whole:
            return snapshot
        return {**snapshot, "fresh": self.fresh, "seen": self.seen, "pending": self.pending or self._no_step()}

    def _no_step(self) -> tuple:
        """Return a step of no lane, that stands where none is waiting."""
        action, lanes = self.lanes.simulator.form.action, self.lanes.count
        done = np.zeros((lanes, *action.shape), np.float32 if action.kind == "continuous" else np.int32)
        none, zero = np.zeros(lanes, bool), np.zeros(lanes, np.float32)
        fields = (done, zero, zero, none, none, none, self.seen, self.seen)
        return _stacked([dict(zip(FIELDS, fields, strict=True))], self.rounds.steps)

    def restore(self, state: PyTree, trimmed: Any, snapshot: PyTree) -> None:
        """Take over what was saved, and play the running episodes again."""
        self.taken, self.clock, *counts = (int(count) for count in np.asarray(snapshot["counts"]))
        ring = rings.refilled(trimmed, self.live.ring)
        self._hold(Live(state, ring, *(jnp.int32(count) for count in counts)))
        self.memory = snapshot["memory"]
        self.lanes.restore(snapshot["lanes"])
        if self.whole:
            return
        host = pytree.host({name: snapshot[name] for name in ("fresh", "seen", "pending")})
        self.fresh, self.seen = host["fresh"], host["seen"]
        self.pending = host["pending"] if host["pending"][FIELDS.index("alive")].any() else None


@functools.cache
def _programs(fixed: Any, live: Any, rounds: Rounds) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return `choose` and `learn` as programs of leaves, for trees of these structures."""

    @jax.jit
    def choose(constant: list, leaves: list, memory: PyTree, fresh: Any, seen: PyTree, clock: Any, taken: Any) -> tuple:
        setting, course, _ = jax.tree.unflatten(fixed, constant)
        state = jax.tree.unflatten(live, leaves).state
        return interaction.choose(setting, state, memory, fresh, seen, course, clock, taken)

    @functools.partial(jax.jit, static_argnums=6, donate_argnums=(1, 2))
    def learn(constant: list, leaves: list, outcome: Any, steps: Any, count: Any, opening: Any, due: bool) -> tuple:
        setting, course, log = jax.tree.unflatten(fixed, constant)
        one, experience = jax.tree.unflatten(live, leaves), Experience(Step(*steps), count, opening)
        one, outcome, sums = interaction.learn(setting, one, outcome, log, course, experience, rounds, due)
        return jax.tree.leaves(one), outcome, sums

    return choose, learn


FIELDS = [field.name for field in dataclasses.fields(Step)]


def _stacked(steps: list[dict[str, Any]], room: int) -> tuple:
    """Return the fields of steps `(time, lane, ...)` with room for so many."""
    padded = [*steps, *[steps[-1]] * (room - len(steps))]
    return tuple(jax.tree.map(lambda *parts: np.stack(parts), *(one[name] for one in padded)) for name in FIELDS)
