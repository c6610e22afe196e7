"""Every command on every log, each in a process of its own with limits of time and memory, and a table of outcomes.

`python tests/support/every_command.py [NAME …]` runs the logs of these names (all without any) and prints the table; it
needs about two minutes for a log. `tests/cli/test_every_command.py` says what is known to fail.
"""

import argparse
import csv
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

import weft
from weft.envs.environment import environments

ROOT = Path(__file__).resolve().parents[2]
SHARED_DATA = ROOT.parent / "shared" / "data"
LIMITED = Path(__file__).with_name("limited.py")
SECONDS = 300
MEGABYTES = 6000
LONGEST = 600
"""Characters of the longest refusal; one that lists the 44 columns of a table has about 500."""

OPEN_BANDIT = (
    "--observations", "position", "user_feature_*", "user-item_affinity_*", "--action", "item_id", "--reward", "click",
    "--propensity", "propensity_score", "--reward-range", "0", "1", "--horizon", "1",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Log:
    """A log and where what was learned from it acts.

    `place` is a URI, or a path below the folder of shared data; `fresh` is one of the same world to judge by (samples
    make theirs). A log that weft does not read is only inspected: the answer is a refusal.
    """

    name: str
    place: str
    env: str | None = None
    fresh: str | None = None
    options: tuple[str, ...] = ()
    readable: bool = True

    @property
    def shared(self) -> bool:
        """Whether it lies in the folder of shared data."""
        return not self.place.startswith("sample:")


SAMPLES = sorted(environments())
HOPPER, MINARI = "d4rl/hopper_medium_replay.hdf5", "minari/hopper/medium-v0"
RANDOM, THOMPSON = "open_bandit/men_random.csv", "open_bandit/men_bts.csv"
LOGS = {
    log.name: log
    for log in [
        *(Log(f"sample:{name}", f"sample:{name}", name) for name in SAMPLES),
        Log("hopper replay", HOPPER, "Hopper-v5", MINARI),
        Log("hopper medium", MINARI, "Hopper-v5", HOPPER),
        Log("bandit random", RANDOM, None, THOMPSON, OPEN_BANDIT),
        Log("bandit thompson", THOMPSON, None, RANDOM, OPEN_BANDIT),
        Log("ogbench", "ogbench/pointmaze-medium-navigate-v0-val.npz", readable=False),
        Log("icu sepsis", "icu_sepsis/dynamics.npz", readable=False),
        Log("pusht", "pusht/pusht_cchi_v7_replay.zarr", readable=False),
    ]
}
ALONE = {"algorithms": [], "demo": []}
"""Commands that take no log."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one command on one log: seconds, peak memory in megabytes, the verdict, and the words of a refusal
    or a fault.
    """

    log: str
    command: str
    seconds: float
    peak: int
    verdict: Literal["ok", "refused", "fault"]
    words: str = ""


def lines(log: Log, folder: Path) -> dict[str, list[str]]:
    """Return the arguments of every command that takes a log, in an order in which each finds what it needs."""
    data, options = located(log.place), list(log.options)
    if not log.readable:
        return {"inspect": [data]}
    fresh = _fresh(log, folder)
    run, study, world = str(folder / "run"), str(folder / "study"), log.env or "grid"
    acting = ["--env", log.env, "--episodes", "2"] if log.env else []
    few = ["--steps", "20"]
    return {
        "inspect": [data, *options],
        "advise": [data, *options],
        "fit": ["iql", data, *options, *few, "--out", run],
        "triage": [run, "--data", *fresh],
        "evaluate": [run, *acting, "--data", *fresh],
        "report": [run, "--out", str(folder / "report.html")],
        "certify": [run, *fresh],
        "ledger": ["--data", *fresh],
        "study": [data, *options, *few, "--out", study],
        "stage": [study, *fresh],
        "tune": [data, *options, *few, "--space", "expectile=0.6:0.9", "--trials", "2", "--out", str(folder / "tune")],
        "finetune": [run, "--env", world, "--steps", "40", "--out", str(folder / "online")],
        "benchmark": [
            "iql", "--data", data, "--env", world, *options, *few, "--every", "10", "--episodes", "2", "--seeds", "1",
            "--out", str(folder / "benchmark"),
        ],
    }  # fmt: skip


def located(place: str) -> str:
    """Return a place as it is written on the line."""
    return place if place.startswith("sample:") else str(SHARED_DATA / place)


def _fresh(log: Log, folder: Path) -> list[str]:
    """Return a log to judge by and its options; arms are dealt at random in those that can be written."""
    if not log.shared:
        return _fresh_sample(log, folder)
    place = located(log.fresh or log.place)
    return [_with_arms(Path(place), folder) if place.endswith(".csv") else place, *log.options]


def _fresh_sample(log: Log, folder: Path) -> list[str]:
    """Write another draw of a sample as a file, and return it with what the sample declares."""
    data = weft.load(log.place, seed=1)
    spec = data.spec
    labels = np.repeat(np.arange(data.episodes) if spec.unit is None else data.units(spec.unit), data.lengths)
    _, codes = np.unique(labels, return_inverse=True)
    arrays = {
        "observations": data.observations, "next_observations": data.next_observations, "actions": data.actions,
        "terminals": data.terminals, "timeouts": data.timeouts, "propensities": np.exp(data.log_propensities),
        "durations": data.durations, "arm": np.random.default_rng(0).integers(2, size=codes.max() + 1)[codes],
        **({} if spec.unit is None else {spec.unit: labels}),
    }  # fmt: skip
    rewards = data.rewards.reshape(data.steps, -1)
    arrays |= {f"rewards/{name}": rewards[:, place] for place, name in enumerate(spec.rewards)}
    np.savez(folder / "fresh.npz", **arrays)
    facts = {
        "--action-count": [spec.action.size] if spec.discrete else [],
        "--action-bounds": [] if spec.action.low is None else [spec.action.low[0], spec.action.high[0]],
        "--reward-range": [] if spec.reward_low is None else [spec.reward_low[0], spec.reward_high[0]],
        "--horizon": [] if spec.horizon is None else [spec.horizon],
        "--unit": [] if spec.unit is None else [spec.unit],
    }
    words = [word for name, values in facts.items() if values for word in (name, *map(str, values))]
    return [str(folder / "fresh.npz"), *words]


def _with_arms(source: Path, folder: Path) -> str:
    """Copy a table and add a column of arms."""
    path, coin = folder / "fresh.csv", random.Random(0)
    with source.open(newline="", encoding="utf-8") as file, path.open("w", newline="", encoding="utf-8") as copy:
        head, *rows = csv.reader(file)
        csv.writer(copy).writerows([[*head, "arm"], *([*row, str(coin.randrange(2))] for row in rows)])
    return str(path)


def outcomes(log: Log, folder: Path) -> Iterator[Outcome]:
    """Run every command on a log, one after another."""
    for command, arguments in lines(log, folder).items():
        yield outcome(log.name, command, arguments, folder)


def outcomes_alone(folder: Path) -> Iterator[Outcome]:
    """Run the commands that take no log."""
    for command, arguments in ALONE.items():
        yield outcome("–", command, arguments, folder)


def outcome(log: str, command: str, arguments: Sequence[str], folder: Path) -> Outcome:
    """Run one command in `folder` and judge it."""
    source = str(Path(weft.__file__).parents[1])  # the same weft as here, wherever another may be installed
    environment = {**os.environ, "PYTHONPATH": source, "WEFT_LEDGER": str(folder / "ledger"), "COLUMNS": "200"}
    environment.setdefault("WEFT_CACHE", str(ROOT / ".cache" / "compiled"))
    figures = folder / "figures.json"
    line = [sys.executable, "-I", str(LIMITED), str(SECONDS), str(MEGABYTES), str(figures)]
    ended = subprocess.run(
        [*line, sys.executable, "-m", "weft", command, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ended.returncode:
        raise RuntimeError(f"`weft {command}` has no outcome: {ended.stderr[-300:]}")
    took = json.loads(figures.read_text(encoding="utf-8"))
    verdict, words = judged(took["code"], took["late"], ended.stderr)
    return Outcome(
        log,
        command,
        took["seconds"],
        took["peak"],
        verdict,
        words.replace(f"{SHARED_DATA}/", "").replace(f"{folder}/", ""),
    )


def judged(code: int, late: bool, errors: str) -> tuple[Literal["ok", "refused", "fault"], str]:
    """Return the verdict on a process: 0 is well, 2 with one sentence is a refusal, and all else is a fault."""
    said = [line for line in errors.splitlines() if line.strip()]
    last = said[-1] if said else ""
    if late:
        return "fault", f"not done after {SECONDS} s of the processor"
    if code < 0:
        return "fault", f"ended by signal {-code}: {last}"
    if "Traceback (most recent call last)" in errors:
        return "fault", f"a trace: {last}"
    if warned := [line for line in said if "Warning: " in line]:
        return "fault", f"a warning of Python's: {warned[0]}"
    if code == 0:
        return "ok", ""
    if code != 2:
        return "fault", f"exit code {code}: {last}"
    sentences = [line for line in said if line.startswith("weft: ")]
    words = last.removeprefix("weft: ")
    if len(sentences) != 1 or sentences[0] != last or not words.endswith((".", "?", "!")) or len(words) > LONGEST:
        return "fault", f"refused, but not in one sentence: {' / '.join(said[-4:])}"
    return "refused", words


def table(rows: Sequence[Outcome]) -> str:
    """Return command × log, one line each: seconds, peak memory, the verdict and its words."""
    head = f"{'log':<22}{'command':<12}{'seconds':>8}{'MB':>7}  verdict"
    body = [
        f"{row.log:<22}{row.command:<12}{row.seconds:>8.1f}{row.peak:>7}  {row.verdict} {row.words}" for row in rows
    ]
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("ok", "refused", "fault")}
    total = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return "\n".join([head, *(line.rstrip() for line in body), f"{total}; {sum(row.seconds for row in rows):.0f} s"])


def main() -> None:
    """Run the logs that are named, print a line as soon as it is known, and the table at the end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(LOGS)}, or alone; all without any")
    names = parser.parse_args().names or [*LOGS, "alone"]
    rows: list[Outcome] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            for row in outcomes_alone(place) if name == "alone" else outcomes(LOGS[name], place):
                rows.append(row)
                print(
                    f"{row.log}  {row.command}  {row.seconds} s  {row.peak} MB  {row.verdict} {row.words}", flush=True
                )
    print("\n" + table(rows))
    sys.exit(any(row.verdict == "fault" for row in rows))


if __name__ == "__main__":
    main()
