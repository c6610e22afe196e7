"""A small world of which everything is known: logs of it, and the exact value of any policy by dynamic programming."""

import dataclasses

import numpy as np

from weft.data.dataset import Dataset

PLACES, CHOICES, TIME = 6, 2, 4


@dataclasses.dataclass(frozen=True)
class World:
    """Chances of beginning, moving and ending, and of a reward of 1; `logging` is the policy that makes the logs."""

    begin: np.ndarray
    move: np.ndarray
    pay: np.ndarray
    logging: np.ndarray
    stop: float = 0.0

    def value(self, policy: np.ndarray) -> float:
        """Return the exact undiscounted value of a policy `(place, choice)` over `TIME` steps."""
        found = np.zeros(PLACES)
        for _ in range(TIME):
            found = (policy * (self.pay + (1 - self.stop) * self.move @ found)).sum(1)
        return float(self.begin @ found)

    def rule(self, pull: float) -> np.ndarray:
        """Return the logging policy moved by `pull` towards the choice that pays most now (least if negative)."""
        best = np.eye(CHOICES)[(self.pay if pull > 0 else -self.pay).argmax(1)]
        return (1 - abs(pull)) * self.logging + abs(pull) * best

    def log(self, episodes: int, seed: int = 0, users: int = 0, whole: bool = False, **options) -> Dataset:
        """Return a log with propensities and declared facts; `users` share the episodes, in turn, if there are any.

        Every user has a mood that adds to or takes from all chances of a reward. whole: with the observations after
        the last steps, which fitted values need, but which make compiled programs depend on the seed; otherwise the
        last step is called an end.
        """
        rng = np.random.default_rng(seed)
        mood = rng.choice([-0.3, 0.3], users)[np.arange(episodes) % users] if users else np.zeros(episodes)
        place, alive, parts = _draw(rng, np.tile(self.begin, (episodes, 1))), np.ones(episodes, bool), []
        for _ in range(TIME):
            action = _draw(rng, self.logging[place])
            reward = rng.random(episodes) < self.pay[place, action] + mood
            ends = rng.random(episodes) < self.stop
            later = _draw(rng, self.move[place, action])
            parts.append((place, action, reward, ends, self.logging[place, action], later, alive, np.arange(episodes)))
            place, alive = later, alive & ~ends
        place, action, reward, ends, chance, later, alive, episode = (np.stack(p, 1) for p in zip(*parts, strict=True))
        last = np.arange(TIME) == TIME - 1
        cut = ~ends & last & whole  # the world would go on: what follows the horizon is not counted
        ends = ends | (last & (not whole))
        known = {
            "propensities": chance[alive], "next_observations": later[alive] if whole else None,
            "kinds": {"": "category"}, "action_count": CHOICES, "reward_range": (0.0, 1.0), "horizon": TIME,
            "discount": 1.0,
            **({"columns": {"user": episode[alive] % users}, "unit": "user"} if users else {}),
            **options,
        }  # fmt: skip
        return Dataset.from_arrays(
            place[alive], action[alive], reward[alive].astype(np.float32), ends[alive], cut[alive],
            **{name: given for name, given in known.items() if given is not None},
        )  # fmt: skip


def world(seed: int = 0, stop: float = 0.0) -> World:
    """Return a random world."""
    rng = np.random.default_rng(seed)
    return World(
        rng.dirichlet(np.ones(PLACES)), rng.dirichlet(np.full(PLACES, 0.5), (PLACES, CHOICES)),
        rng.uniform(0.05, 0.95, (PLACES, CHOICES)), 0.4 * rng.dirichlet(np.ones(CHOICES), PLACES) + 0.6 / CHOICES, stop,
    )  # fmt: skip


def asks(table: np.ndarray):
    """Return a policy `(place, choice)` as a plain function of observations."""
    return lambda seen: table[np.asarray(seen).reshape(-1)]


def _draw(rng: np.random.Generator, chances: np.ndarray) -> np.ndarray:
    return (rng.random((len(chances), 1)) > chances.cumsum(1)[:, :-1]).sum(1)
