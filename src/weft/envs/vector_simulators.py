"""Simulators side by side on the host, whose running episodes can be played again from a seed and their actions.

Every episode begins with a seed of its own, made of run, lane and number. So the state of any simulator that is
determined by its seed can be restored, whatever it is made of: reset, and repeat the actions of the running episode.
"""

from typing import Any

import numpy as np

from ..core.errors import UserError
from ..data.spec import Spec
from .gymnasium_adapter import Simulator, Watched

__all__ = ["HostedLanes"]


class HostedLanes:
    """`count` simulators of one run. An episode that ends is followed at once by the next one of its lane.

    `spec` says what the run's method takes as an observation, by default what the simulator shows.
    """

    def __init__(self, simulator: Simulator, seed: int, count: int, spec: Spec | None = None) -> None:
        self.simulator, self.seed, self.count = simulator, seed, count
        self.envs = [Watched(simulator, spec or simulator.form) for _ in range(count)]
        self.episode = np.full(count, -1)
        self.taken: list[list[np.ndarray]] = [[] for _ in range(count)]
        self.totals = np.zeros(count)

    def begin(self) -> Any:
        """Begin the next episode in every lane; return their first observations `(lane, ...)`."""
        return self._batch([self._reset(lane) for lane in range(self.count)])

    def _reset(self, lane: int) -> Any:
        self.episode[lane] += 1
        self.taken[lane], self.totals[lane] = [], 0.0
        return self._again(lane)

    def _again(self, lane: int) -> Any:
        numbers = (self.seed, lane, int(self.episode[lane]))
        # sums of run, lane and number would collide between lanes; many simulators take seeds below 2^31 alone
        seed = int(np.random.SeedSequence(numbers).generate_state(1)[0]) >> 1
        return self.envs[lane].reset(seed, int(self.episode[lane]))

    def _batch(self, seen: list[Any]) -> Any:
        return batched(seen, self.simulator.form)

    def step(
        self, actions: np.ndarray, alive: np.ndarray, again: bool = True
    ) -> tuple[Any, dict[str, Any], list[float]]:
        """Take one step in every lane that is alive; begin the next episode where one ended, if `again`.

        Returns the observations to act on next, the fields of a `Step` in the user's units, and the returns of the
        episodes that ended.
        """
        following: list[Any] = [None] * self.count
        starts: list[Any] = [None] * self.count
        reward = np.zeros(self.count, np.float32)
        terminal, over = np.zeros(self.count, bool), np.zeros(self.count, bool)
        ended = []
        actions = self.simulator.fitting(actions, alive)
        for lane in range(self.count):
            if not alive[lane]:
                continue
            action = actions[lane]
            self.taken[lane].append(action)
            seen, gain, done, cut, info = self.envs[lane].step(action)
            following[lane], reward[lane] = seen, gain
            # a lost life ends the return that is learned of, but not the episode: Mnih et al. 2015
            terminal[lane] = done or bool(info.get("life_lost", False))
            over[lane] = done or cut
            self.totals[lane] += gain
            if over[lane]:
                ended.append(float(self.totals[lane]))
                starts[lane] = seen
                if again:
                    starts[lane] = self._reset(lane)
        if not np.isfinite(reward).all():
            raise UserError(f"{self.simulator.name} gave a reward that is not finite.")
        # lanes that are not alive are filled, so that the batch keeps its shape and nothing compiles anew
        example = next(seen for seen in following if seen is not None)
        following = [example if seen is None else seen for seen in following]
        starts = [seen if start is None else start for start, seen in zip(starts, following, strict=True)]
        after, first = self._batch(following), self._batch(starts)
        fields = {"action": actions, "reward": reward, "terminal": terminal, "over": over, "alive": alive.copy()}
        return first, {**fields, "following": after, "restart": first}, ended

    def snapshot(self) -> dict[str, np.ndarray]:
        """Return what is needed to play the running episodes again."""
        lengths = np.array([len(taken) for taken in self.taken], np.int32)
        action = self.simulator.form.action
        shape, kind = (action.shape, np.float32) if action.kind == "continuous" else (action.shape, np.int32)
        actions = np.zeros((self.count, max(int(lengths.max(initial=0)), 1), *shape), kind)
        for lane, taken in enumerate(self.taken):
            if taken:
                actions[lane, : len(taken)] = np.stack(taken)
        return {"episode": self.episode.copy(), "lengths": lengths, "actions": actions}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Play the episodes of a snapshot again, up to where they were."""
        self.episode, self.totals = np.array(snapshot["episode"]), np.zeros(self.count)
        for lane, length in enumerate(np.asarray(snapshot["lengths"])):
            self.taken[lane] = list(np.array(snapshot["actions"])[lane, :length])
            if self.episode[lane] >= 0:
                self._again(lane)
            for action in self.taken[lane]:
                self.totals[lane] += self.envs[lane].step(action)[1]

    def close(self) -> None:
        """Close the simulators that are ours."""
        for env in self.envs:
            env.close()


def batched(seen: list[Any], spec: Spec) -> Any:
    """Return observations of one moment as arrays `(lane, ...)` of the types that weft keeps."""
    kinds = {"image": np.uint8, "category": np.int32, "vector": np.float32}
    if spec.plain:
        return np.asarray(seen, kinds[spec.observations[0].kind])
    return {part.name: np.asarray([one[part.name] for one in seen], kinds[part.kind]) for part in spec.observations}
