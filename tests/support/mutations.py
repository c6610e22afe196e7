"""Seeded damage to small valid files, and worker processes that read them and are watched while they do.

`watched` runs the cases of a `Subject` in workers and says of each seed what came of it: a log, one sentence, a trace,
a dead or a hanging process. `python tests/mutations.py NAME SEED FOLDER` writes one damaged sample to look at.
"""

import dataclasses
import faulthandler
import gzip
import io
import json
import os
import resource
import select
import subprocess
import sys
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

Files = dict[str, bytes]

GIGABYTES = 0.5  # that a damaged log may take, so that every machine asks for the same
DEEP = "@deep@"  # stands for lists inside lists, which no JSON writer makes
PRIZES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    0.5,
    2**31,
    10**12,
    -(10**12),
    2**63,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "text",
    "\x00",
    "é\n\x1b[31m",
    [],
    {},
    [[]],
    [0, [1, 2]],
    {"": {}},
    DEEP,
    [None] * 3,
    ["a"] * 3,
)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A small file or folder that can be read, how it is damaged, and who reads it.

    files: makes the contents by their paths. damage: takes them and a generator, returns damaged ones. read: takes the
    folder and reads what is in it.
    """

    files: Callable[[], Files]
    damage: Callable[[Files, Random], Files]
    read: Callable[[Path], Any]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one seed: `log`, `refused`, `raised`, `printed`, `died` or `hung`, with words and seconds."""

    seed: int
    kind: str
    words: str
    seconds: float
    memory: int


def mutated(content: bytes, random: Random) -> bytes:
    """Return content with one to three small or large damages."""
    made = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if not made:
            break
        place, other = random.randrange(len(made)), random.randrange(len(made))
        kind = random.randrange(9)
        width = random.choice((1, 2, 4, 8))
        span = random.choice((1, 4, 8, 64, 512))
        if kind == 0:
            made[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            made[place] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
        elif kind == 2:
            del made[place : place + span]
        elif kind == 3:
            made[place:place] = random.randbytes(width)
        elif kind == 4:
            made[place : place + span] = made[other : other + span]  # a splice
        elif kind == 5:
            made[place : place + span] = bytes(len(made[place : place + span]))
        elif kind == 6:
            large = (2 ** (8 * width) - 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1), 2**31 % 2 ** (8 * width))
            made[place : place + width] = random.choice(large).to_bytes(width, "little")
        elif kind == 7:
            made[place:place] = made[other : other + span]
        elif random.random() < 0.3:
            del made[place:]
    return bytes(made)


def altered(document: Any, random: Random) -> str:
    """Return JSON with one to three values replaced, keys dropped or renamed, also inside strings that hold JSON."""
    for _ in range(random.choice((1, 1, 2, 3))):
        document = _altered(document, random)
    depth = random.choice((100, 5000, 200_000))
    return json.dumps(document).replace(f'\\"{DEEP}\\"', "[" * 500 + "]" * 500).replace(
        f'"{DEEP}"', "[" * depth + "]" * depth
    )  # fmt: skip


def _altered(part: Any, random: Random) -> Any:
    if isinstance(part, str) and part[:1] in ("{", "["):
        try:
            return json.dumps(_altered(json.loads(part), random)) if random.random() < 0.9 else part[:-3]
        except ValueError:
            return part
    if not isinstance(part, (dict, list)) or not part or random.random() < 0.1:
        return random.choice(PRIZES)
    keys = list(part) if isinstance(part, dict) else list(range(len(part)))
    key = random.choice(keys)
    made = dict(part) if isinstance(part, dict) else list(part)
    fate = random.random()
    if fate < 0.15:
        del made[key]
    elif fate < 0.25 and isinstance(made, dict):
        made[random.choice((f"{key}_", "", "type", "n", "subspaces"))] = made.pop(key)
    elif fate < 0.3 and isinstance(made, list):
        made *= random.choice((2, 1000))
    else:
        made[key] = _altered(part[key], random)
    return made


def bytewise(*names: str) -> Callable[[Files, Random], Files]:
    """Return a damage to the bytes of one of some files."""

    def damage(files: Files, random: Random) -> Files:
        name = random.choice(names)
        return files | {name: mutated(files[name], random)}

    return damage


def structural(name: str) -> Callable[[Files, Random], Files]:
    """Return a damage to the values of a JSON file."""

    def damage(files: Files, random: Random) -> Files:
        text = altered(json.loads(files[name]), random)
        return files | {name: text.encode("utf-8", "surrogatepass")}

    return damage


# Logs

RNG_SEED, ROWS = 0, 24
COLUMNS = {"observations": "x*,w", "action": "a", "reward": "r", "gigabytes": GIGABYTES}


def arrays() -> dict[str, np.ndarray]:
    """Return a small log as arrays."""
    rng = np.random.default_rng(RNG_SEED)
    return {
        "observations": rng.normal(size=(ROWS, 3)).astype(np.float32),
        "actions": rng.integers(0, 3, ROWS),
        "rewards": rng.normal(size=ROWS),
        "terminals": np.arange(ROWS) % 6 == 5,
        "user": np.array([f"u{row // 6}" for row in range(ROWS)]),
        "empty": np.zeros((ROWS, 0)),
    }


def archive(compressed: bool) -> bytes:
    """Return the arrays as `.npz`."""
    made = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(made, **arrays())
    return made.getvalue()


def repacked(files: Files, random: Random) -> Files:
    """Return an archive with damage inside one entry, the checksums made anew: what a hostile file would be."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(files["log.npz"])) as sound, zipfile.ZipFile(made, "w") as archive:
        chosen = random.choice(sound.namelist())
        for name in sound.namelist():
            content = sound.read(name)
            if name == chosen:
                head, rest = (content[:128], content[128:]) if random.random() < 0.7 else (b"", content)
                content = mutated(head, random) + rest if head else mutated(rest, random)
            archive.writestr(name, content)
    return {"log.npz": made.getvalue()}


KINDS = ("?", "u1", "i1", "f2", "f4", "f8", "i8", "u8", "c8", "S3", "U5", "M8[s]", "m8[ns]", "V2", [("a", "f4")], ">i4")
EXTREMES = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e38, 2**62, -(2**62), 2**31, -1, 0.5, 0, 255, 1e-320)


def odd(part: np.ndarray, random: Random) -> np.ndarray:
    """Return an array of another type, another shape or with values that no log should have."""
    fate = random.randrange(5)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if fate == 0:
                return part.astype(random.choice(KINDS))
            if fate == 1:
                kind = np.dtype(random.choice(KINDS))
                return np.frombuffer(random.randbytes(kind.itemsize * len(part)), kind)
            if fate == 2:
                made = part.astype(random.choice(("f8", "i8", "f4", part.dtype)))
                place = random.choice((slice(None), random.randrange(len(part)), slice(-1, None)))
                made[place] = random.choice(EXTREMES)
                return made
            if fate == 3:
                count = len(part)
                shapes = (
                    (count, 0),
                    (count, 1),
                    (count, 1, 1),
                    (),
                    (1, count),
                    (0,),
                    (0, 3),
                    (count, 2, 2),
                    (count + 1,),
                )
                return np.resize(part, random.choice(shapes))
            return part[random.choice((slice(1), slice(0), slice(None, None, 2), slice(-1)))]
        except (ValueError, TypeError, OverflowError):
            return np.zeros(len(part), random.choice(KINDS))


def exchanged(files: Files, random: Random) -> Files:
    """Return a sound archive with one to three odd arrays, some under other names."""
    with np.load(io.BytesIO(files["log.npz"])) as sound:
        parts = dict(sound)
    for _ in range(random.choice((1, 1, 2, 3))):
        name = random.choice(list(parts))
        fate = random.random()
        if fate < 0.1:
            del parts[name]
        elif fate < 0.3:
            parts[random.choice(NAMES)] = parts[name]
        else:
            parts[name] = odd(parts[name], random) if parts[name].ndim and len(parts[name]) else parts[name]
        if not parts:
            break
    made = io.BytesIO()
    np.savez(made, **parts)
    return {"log.npz": made.getvalue()}


NAMES = (
    "observations/image",
    "observations/w",
    "timeouts",
    "next_observations",
    "propensities",
    "durations",
    "sources",
    "boundaries",
    "dones",
    "masks",
    "valids",
    "rewards/click",
    "truncations",
    "discount",
    "a\nb",
    "x/y",
)


def hdf5(texts: bool = False, chunks: bool = False, **options: Any) -> bytes:
    """Return the arrays as HDF5."""
    import h5py

    made = io.BytesIO()
    with h5py.File(made, "w", **options) as file:
        for name, part in arrays().items():
            if name != "user":
                packed = {"chunks": True, "compression": "gzip", "shuffle": True} if chunks and part.size else {}
                file.create_dataset(name, data=part, **packed)
        file["infos/place"] = np.arange(ROWS)
        file["copy"] = h5py.SoftLink("/infos/place")
        if texts:
            file.create_dataset("label", data=[f"w{row}" for row in range(ROWS)], dtype=h5py.string_dtype())
    return made.getvalue()


def rows() -> list[list[Any]]:
    """Return the cells of a table."""
    rng = np.random.default_rng(RNG_SEED)
    return [
        [float(x), int(y), int(a), float(r), word]
        for x, y, a, r, word in zip(
            rng.normal(size=60), rng.integers(0, 99, 60), rng.integers(0, 3, 60), rng.normal(size=60),
            ["left", "right", "a, b", "e\tf"] * 15, strict=True,
        )
    ]  # fmt: skip


def csv() -> bytes:
    """Return the table as CSV."""
    lines = [f'{x!r},{y},{a},{r:.3f},"{word}"' for x, y, a, r, word in rows()]
    return "\n".join(["x,xx,a,r,w", *lines, ""]).encode()


def parquet(**options: Any) -> bytes:
    """Return the table as Parquet, with columns of more types."""
    import polars

    frame = polars.DataFrame(rows(), schema=["x", "xx", "a", "r", "w"], orient="row")
    count = frame.height
    more = polars.DataFrame(
        {
            "tokens": [list(range(row % 4)) for row in range(count)],
            "category": polars.Series([f"c{row % 3}" for row in range(count)], dtype=polars.Categorical),
            "gone": [None if row % 5 == 0 else row for row in range(count)],
            "nested": [{"p": row, "q": str(row)} for row in range(count)],
            "flag": [row % 2 == 0 for row in range(count)],
        }
    )
    made = io.BytesIO()
    polars.concat([frame, more], how="horizontal").write_parquet(made, **options)
    return made.getvalue()


SPACES: dict[str, tuple[Any, Any]] = {  # of actions and of observations
    "box": ({"type": "Box", "dtype": "float32", "shape": [2], "low": [-9.0, -9.0], "high": [9.0, 9.0]}, None),
    "choices": (
        {"type": "Discrete", "dtype": "int64", "n": 4, "start": 0},
        {"type": "Dict", "subspaces": {
            "place": {"type": "Tuple", "subspaces": [{"type": "Discrete", "n": 5, "start": 0}, {"type": "Box"}]},
            "goal": {"type": "MultiDiscrete", "nvec": [3, 3]},
        }},
    ),
    "several": ({"type": "MultiDiscrete", "dtype": "int64", "nvec": [4, 4], "start": [0, 0]}, None),
    "bits": ({"type": "MultiBinary", "n": [2]}, {"type": "Discrete", "n": 5}),
}  # fmt: skip


def minari(kind: str) -> Files:
    """Return a Minari data set as files of a folder."""
    import h5py

    rng = np.random.default_rng(RNG_SEED)
    acting, seeing = SPACES[kind]
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        for number, length in enumerate((3, 4, 2)):
            group = file.create_group(f"episode_{number}")
            if kind == "choices":
                group["observations/place/_index_0"] = rng.integers(0, 5, length + 1)
                group["observations/place/_index_1"] = rng.normal(size=(length + 1, 2))
                group["observations/goal"] = rng.integers(0, 3, (length + 1, 2))
            else:
                group["observations"] = rng.integers(0, 5, length + 1)
            taken = {"box": rng.normal(size=(length, 2)), "choices": rng.integers(0, 4, length)}
            group["actions"] = taken.get(kind, rng.integers(0, 2, (length, 2)))
            group["rewards"] = rng.normal(size=length)
            group["terminations"] = np.arange(length) == length - 1
            group["truncations"] = np.zeros(length, bool)
    about = {
        "total_episodes": 3,
        "data_format": "hdf5",
        "action_space": json.dumps(acting),
        "observation_space": json.dumps(seeing),
        "env_spec": json.dumps({"id": "World-v0", "max_episode_steps": 9}),
    }
    return {"data/main_data.hdf5": made.getvalue(), "data/metadata.json": json.dumps(about).encode()}


def log_of(name: str, **options: Any) -> Callable[[Path], Any]:
    """Return a reader of the log of a name inside a folder."""

    def read(folder: Path) -> Any:
        from weft.data.load import load

        data = load(folder / name, **({"gigabytes": GIGABYTES} | options))
        return data.fingerprint, str(data), data.device

    return read


def _log(name: str, content: Callable[[], bytes], **options: Any) -> Subject:
    return Subject(lambda: {name: content()}, bytewise(name), log_of(name, **options))


SUBJECTS: dict[str, Subject] = {
    "npz": _log("log.npz", lambda: archive(False)),
    "npz packed": _log("log.npz", lambda: archive(True)),
    "npz repacked": Subject(lambda: {"log.npz": archive(False)}, repacked, log_of("log.npz")),
    "npz of odd arrays": Subject(lambda: {"log.npz": archive(False)}, exchanged, log_of("log.npz")),
    "csv": _log("log.csv", csv, **COLUMNS),
    "csv of episodes": _log("log.csv", csv, **COLUMNS, episode="w", time="xx"),
    "csv.gz": _log("log.csv.gz", lambda: gzip.compress(csv(), mtime=0), **COLUMNS),
    "d4rl": _log("log.hdf5", hdf5),
    "d4rl packed": _log("log.hdf5", lambda: hdf5(chunks=True)),
    "d4rl new": _log("log.hdf5", lambda: hdf5(chunks=True, libver="latest")),
    "d4rl with words": _log("log.h5", lambda: hdf5(texts=True)),
    "hdf5.gz": _log("log.hdf5.gz", lambda: gzip.compress(hdf5(), mtime=0)),
    "parquet": _log("log.parquet", lambda: parquet(compression="uncompressed", use_pyarrow=False), **COLUMNS),
    "parquet of zstd": _log("log.parquet", lambda: parquet(compression="zstd", row_group_size=16), **COLUMNS),
    "parquet of pages": _log(
        "log.parquet", lambda: parquet(compression="snappy", data_page_size=64, statistics="full"), **COLUMNS
    ),
    **{
        f"minari {kind}": Subject(lambda kind=kind: minari(kind), structural("data/metadata.json"), log_of("."))
        for kind in SPACES
    },
    "minari metadata": Subject(lambda: minari("choices"), bytewise("data/metadata.json"), log_of(".")),
    "minari hdf5": Subject(lambda: minari("choices"), bytewise("data/main_data.hdf5"), log_of(".")),
}
COUNTS = {  # of mutations; the cases of those with few start a process each, which takes a third of a second
    name: 150 if name.startswith(("d4rl", "parquet", "minari hdf5")) else 900 for name in SUBJECTS
} | {"d4rl with words": 50}


# Workers


def attempts(name: str, seeds: Iterable[int], folder: Path) -> Iterator[Outcome]:
    """Read damaged samples of a subject in this process, and yield what came of each."""
    from weft.core.errors import UserError

    subject = SUBJECTS[name]
    sound = subject.files()
    there: Files = {}
    for seed in seeds:
        _write(subject.damage(sound, Random(f"{name} {seed}")), there, folder)
        size, begun = os.fstat(2).st_size, time.monotonic()
        try:
            subject.read(folder)
            kind, words = "log", ""
        except UserError as problem:
            words = str(problem)
            good = words.isprintable() and str(folder) in words and len(words) < 3000
            kind = "refused" if good else "raised"
        except BaseException:
            kind, words = "raised", traceback.format_exc()[-3000:]
        if os.fstat(2).st_size > size:
            kind = "printed"
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        yield Outcome(seed, kind, words, time.monotonic() - begun, memory)


def work(name: str, folder: Path) -> None:
    """Be a worker: seeds come in, and what came of each goes out as a line of JSON."""
    faulthandler.enable()
    for outcome in attempts(name, map(int, sys.stdin), folder):
        print(json.dumps(dataclasses.asdict(outcome)), flush=True)


def _write(files: Files, there: Files, folder: Path) -> None:
    """Write the files that are not there as they should be."""
    for place, content in files.items():
        if there.get(place) != content:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_bytes(content)
            there[place] = content


def worker(name: str, folder: Path) -> list[str]:
    """Return the arguments of Python that start a worker."""
    return [__file__, "work", name, str(folder)]


def watched(name: str, seeds: Iterable[int], folder: Path, patience: float = 90.0) -> Iterator[Outcome]:
    """Read damaged samples of a subject in worker processes, and yield what came of each.

    A worker that dies, or says nothing for `patience` seconds, is replaced.
    """
    waiting = list(seeds)
    while waiting:
        with (folder / "words").open("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, *worker(name, folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
            with process:
                assert process.stdin is not None
                assert process.stdout is not None
                kind = "died"
                while waiting:
                    try:
                        process.stdin.write(f"{waiting[0]}\n")
                        process.stdin.flush()
                        answer = _answer(process.stdout, patience)
                    except (BrokenPipeError, EOFError):
                        break
                    except TimeoutError:
                        kind = "hung"
                        break
                    waiting.pop(0)
                    if answer["kind"] == "printed":
                        errors.seek(0)
                        answer["words"] += errors.read()[-3000:]
                    yield Outcome(**answer)
                if waiting:
                    process.kill()
                    process.wait()
                    errors.seek(0)
                    yield Outcome(waiting.pop(0), kind, f"{process.returncode} {errors.read()[-3000:]}", patience, 0)
                else:
                    process.stdin.close()


def _answer(stream: Any, patience: float) -> dict[str, Any]:
    """Return what a worker writes next: one line, answers and seeds take turns."""
    if not select.select([stream], [], [], patience)[0]:
        raise TimeoutError
    line = stream.readline()
    if not line:
        raise EOFError
    return json.loads(line)


def main() -> None:
    """Be a worker, or write one damaged sample and read it."""
    if sys.argv[1] == "work":
        work(sys.argv[2], Path(sys.argv[3]))
    else:
        chosen = SUBJECTS[sys.argv[1]]
        _write(chosen.damage(chosen.files(), Random(f"{sys.argv[1]} {sys.argv[2]}")), {}, Path(sys.argv[3]))
        print(chosen.read(Path(sys.argv[3])))


if __name__ == "__main__":
    main()
