"""What a demonstration found, and the sentences that say it.

Every sentence that states an outcome is made from the numbers at hand.
"""

import dataclasses
import math

import numpy as np

from ._trust import Trust

__all__ = ["Findings", "Maze", "Method", "interval", "share", "value"]

CLOSE = 0.1  # values that differ by less are called close; the most that a walk can be worth is 1


@dataclasses.dataclass(frozen=True)
class Maze:
    """What is told of the world `name`, and drawn: `open` cells `(row, column)` of a square plan, and letters at some.

    `places` has of every letter its cell and the neighbour to whose side it is written, both `(column, row)`. S is the
    start and G the goal; `elsewhere` are the letters where other walks begin.
    """

    name: str
    coin: float
    open: np.ndarray
    places: dict[str, tuple[tuple[int, int], tuple[int, int]]]
    elsewhere: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """What one method did. Arrays are `(kept step, seed)`; `believed` is None where a method believes nothing.

    paths: walks of the final policies, `(points, 2)` each. success: share of walks that reach the goal, per seed.
    estimated, low, high and true are about the final policy of the first seed; values are discounted.
    """

    name: str
    idea: str
    colour: str
    steps: list[int]
    believed: np.ndarray | None
    gets: np.ndarray
    success: np.ndarray
    paths: list[np.ndarray]
    estimated: float
    low: float
    high: float
    true: float
    seconds: float

    @property
    def slug(self) -> str:
        """The name as part of a name on the page."""
        return self.name.lower().replace(" ", "-")

    @property
    def holds(self) -> bool:
        """Whether the interval contains the true value."""
        return self.low <= self.true <= self.high


@dataclasses.dataclass(frozen=True)
class Findings:
    """Everything the page shows. `logged` are walks as `(points, 2)`; `from_start` and `reached` say of each where it
    began and whether it came to the goal; `held_out` of them were kept for judging. `trust` is the second act."""

    maze: Maze
    logged: list[np.ndarray]
    from_start: np.ndarray
    reached: np.ndarray
    steps_logged: int
    held_out: int
    methods: list[Method]
    seeds: int
    steps: int
    discount: float
    most: float
    level: float
    replicates: int
    walks: int
    facts: list[tuple[str, str]]
    versions: dict[str, str]
    stages: list[tuple[str, float]]
    trust: Trust | None = None

    def whole(self) -> int:
        """Return how many logged walks lead from start to goal."""
        return int((self.from_start & self.reached).sum())

    def lead(self) -> str:
        """Say who finds the way."""
        good = [method.name for method in self.methods if method.success.mean() >= 0.9]
        bad = [method.name for method in self.methods if method.success.mean() < 0.5]
        between = [method.name for method in self.methods if method.name not in (*good, *bad)]
        parts = [f"{_names(good)} {_verb(good, 'finds', 'find')} the whole way from start to goal"] if good else []
        parts += [f"{_names(between)} {_verb(between, 'finds', 'find')} it in part of the cases"] if between else []
        parts += [f"{_names(bad)} {_verb(bad, 'does', 'do')} not"] if bad else []
        none = "none of which shows" if self.whole() == 0 else f"{self.whole()} of which show"
        return f"From {len(self.logged)} logged walks, {none} the whole way: {'; '.join(parts)}."

    def log(self) -> str:
        """Say what the log holds."""
        start, other = self.from_start.sum(), (~self.from_start).sum()
        reached = (self.reached & ~self.from_start).sum()
        return (
            f"The log holds {len(self.logged)} walks, {self.steps_logged:,} steps in all. {start} begin at the start "
            f"S, and {self.whole()} of these come to the goal G. {other} begin elsewhere, at "
            f"{' or '.join(self.maze.elsewhere)}, and {reached} of these "
            f"come to G. So {self.whole()} of {len(self.logged)} walks lead from S to G."
        )

    def walks_of(self, method: Method) -> str:
        """Say how often the walks of a method reach the goal."""
        seeds = ", ".join(f"{100 * rate:.0f}" for rate in method.success)
        return f"{method.idea} {share(method.success.mean())} of its walks reach G (by seed: {seeds} %)."

    def belief_of(self, method: Method) -> str:
        """Compare what a method believes with what it gets."""
        gets = float(method.gets[-1].mean())
        if method.believed is None:
            return f"{method.name} holds no belief about values. In the end it gets {value(gets)}."
        first, last = float(method.believed[0].mean()), float(method.believed[-1].mean())
        words = f"{method.name} believes {value(last)} in the end and gets {value(gets)}"
        if not math.isfinite(last):
            return f"{words}."
        if abs(last - gets) < CLOSE:
            words += ": close."
        else:
            words += f": {value(abs(last - gets))} too {'much' if last > gets else 'little'}."
        if last > self.most + CLOSE:
            words += f" No walk can be worth more than {self.most:g}."
        peak = float(method.believed.mean(1).max())
        if last > gets + CLOSE and last > first + CLOSE and last >= 0.9 * peak:
            words += f" Its belief climbed from {value(first)} during training."
        elif peak > max(last, self.most) + CLOSE:
            words += f" On the way it believed up to {value(peak)}."
        return words

    def intervals(self) -> list[str]:
        """Say which intervals contain the truth, and which of these are worth nothing."""
        level = f"{100 * self.level:g} %"
        broken = [method for method in self.methods if not math.isfinite(method.low + method.high)]
        missed = [method for method in self.methods if not method.holds and method not in broken]
        words = [f"The estimate of {method.name} is not finite: its fit went astray." for method in broken]
        for method in missed:
            side = "above" if method.low > method.true else "below"
            words.append(
                f"The {level} interval of {method.name}, {interval(method)}, misses the true value "
                f"{value(method.true)}: it lies {side} it."
            )
        if missed or broken:
            held = len(self.methods) - len(missed) - len(broken)
            words.append(f"{held} of the {len(self.methods)} intervals contain the true value.")
        else:
            words.append(f"All {len(self.methods)} {level} intervals contain the true value here.")
        wide = [method for method in self.methods if method.holds and method.high - method.low > self.most]
        for method in wide:
            words.append(
                f"That of {method.name} contains it but is wider ({interval(method)}) than all that a walk can be "
                f"worth (0 to {self.most:g}), so it says nothing."
            )
        return words


def value(number: float) -> str:
    """Write a value as precisely as is of use."""
    if not math.isfinite(number):
        return "not finite"
    text = f"{number:,.0f}" if abs(number) >= 100 else f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"
    return text.replace("-0.00", "0.00").replace("-", "−")


def interval(method: Method) -> str:
    """Write a method's interval."""
    return f"{value(method.low)} to {value(method.high)}"


def share(number: float) -> str:
    """Write a share in percent."""
    return f"{100 * number:.0f} %"


def _verb(names: list[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
