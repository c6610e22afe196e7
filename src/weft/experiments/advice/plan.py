"""What to run on a log after advice: presets of such tasks, how many steps, and lines that the commands accept."""

from collections.abc import Sequence
from typing import Any

from ...agents.preset import presets
from .measurement import Measurement
from .recommendation import SPARSE, Aim, Recommendation, filter_settings

__all__ = ["BASELINES", "commands", "family", "steps"]

BASELINES = ("filtered_bc", "bc")
"""What every other method has to beat, beside the old rule itself."""
CANDIDATES = 3  # of the order that a study trains beside the baselines
PASSES, BATCH = 30, 256  # times that training sees the log, in batches of so many steps
LEAST, MOST = 5000, 100_000  # updates: those of weft's own tables, and the default of `weft fit`
JOINTS = 20  # numbers an action, from which on a body is a hand
SHORT = 50  # steps of an episode that is a short one


def steps(m: Measurement) -> int:
    """Return how many updates to begin with: 30 passes through the log, to two digits, from 5,000 to 100,000."""
    count = min(max(PASSES * m.steps / BATCH, LEAST), MOST)
    unit = 10 ** (len(str(int(count))) - 2)
    return int(count) // unit * unit


def family(m: Measurement) -> str | None:
    """Return the preset whose tasks a log is like; None where it is like none."""
    if m.sees - {"vector", "category"} or not m.spread:
        return None
    if m.kind == "discrete" and m.longest <= SHORT:
        return "decisions"
    if not m.single and m.rewarded < SPARSE and m.bottom >= 0:
        return "sparse_goal"
    if m.kind != "continuous" or m.single:
        return None
    if m.width >= JOINTS:
        return "dexterous_hand"
    return "locomotion" if m.length > SHORT and m.rewarded > 1 - SPARSE else None


def commands(
    m: Measurement,
    ranking: Sequence[Recommendation],
    log: str,
    options: Sequence[str] = (),
    environment: str | None = None,
    then: Aim = "offline",
) -> dict[str, list[str]]:
    """Return the words of each command that comes next, by what it does; nothing where there is nothing to learn.

    log, options: as they were written on the line of `weft advise`. environment: where policies can act; the word
    ENVIRONMENT stands for one that is not known.
    """
    if not ranking or not m.spread or m.taken == 1:
        return {}
    first, world, updates = ranking[0], environment or "ENVIRONMENT", str(steps(m))
    flags = [word for name, value in first.settings.items() for word in _flag(name, value)]
    fit = ["weft", "fit", first.algorithm, log, *options, *flags, "--steps", updates]
    if then == "online":
        fit += ["--then-online", world]
    names, words = _candidates(m, ranking)
    study = ["weft", "study", log, *options, "--algorithms", *names, *words, "--steps", updates]
    lines = {"Train the first": fit, "Choose among the best, with a certificate where the log allows one": study}
    preset = family(m)
    if preset is not None:
        listed = [name for name in names if name in presets()[preset].settings]
        own = ["--preset", preset.replace("_", "-"), *_of(words, listed)]
        numbers = ["weft", "study", log, *options, "--algorithms", *listed, *own, "--steps", updates]
        lines["The same with numbers that the sources used for such tasks"] = numbers
    tasks = ["--data", log, *options, "--env", world]
    where = "" if environment else " (ENVIRONMENT stands for a world of weft or Gymnasium)"
    lines[f"Compare where policies can act{where}"] = ["weft", "benchmark", *names, *tasks, *words, "--steps", updates]
    return lines


def _candidates(m: Measurement, ranking: Sequence[Recommendation]) -> tuple[list[str], list[str]]:
    """Return the methods of a study, best first and the baselines among them, and the words that set their numbers."""
    learning = {each.algorithm: each.settings for each in ranking}
    best = [name for name in learning if name not in BASELINES][:CANDIDATES]
    learning.setdefault("filtered_bc", filter_settings(m))
    usable = [name for name in BASELINES if name in learning and (name != "filtered_bc" or m.fraction is not None)]
    names = [name for name in learning if name in {*best, *usable}]
    settings = [f"{name}.{field}={str(value).lower()}" for name in names for field, value in learning[name].items()]
    return names, ["--set", *settings] if settings else []


def _of(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the part of `--set` that is about some methods."""
    settings = [word for word in words[1:] if word.partition(".")[0] in names]
    return ["--set", *settings] if settings else []


def _flag(name: str, value: Any) -> list[str]:
    """Return a hyperparameter as words of `weft fit`, which writes True where `--set` has true."""
    return [f"--{name.replace('_', '-')}", str(value)]
