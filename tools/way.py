"""Count the stops of one policy on its way through `weft.certify`: `python tools/way.py [--list]`.

A small policy is trained and saved, a log is made on the spot, and `weft.certify` is called once with the policy that
was loaded again, while `sys.setprofile` watches. Programs are traced in that call, so what they are made of is counted.

A *stop* is a call from one module of weft to another: the module of the called function differs from that of the
nearest function of weft below it on the stack (functions of JAX and others between the two are passed over). Each
triple (calling module, called module, function) counts once, however often it is called. Not counted: properties, which
read as attributes; what Python or a dataclass generated (`__init__`, comprehensions); what runs while a module is
imported; calls into `core`, the ground that every module stands on; and what a policy or a log does inside (calls from
`agents`, `nn` and `data`). Functions inside functions, such as what a decorator returns, are passed over like JAX's.

A *return* is a stop in a module where the way has stopped before, or where it began: the reader turns back to a page.
So stops = modules + returns, with as many modules as are reached besides the first. Needs Python and weft alone.
"""

import argparse
import functools
import inspect
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

import weft

ROOT = Path(weft.__file__).parent
GENERATED = ("<module>", "<lambda>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")

INSIDE = ("agents.", "data.", "nn.")
"""Packages whose calls are the own affair of a policy or a log."""

Stop = tuple[str, str, str]


def module_of(code: CodeType) -> str:
    """Return the dotted name below weft of the module that holds some code; empty for what is passed over."""
    path = Path(code.co_filename)
    if "<locals>" in code.co_qualname or not path.is_relative_to(ROOT) or path.is_relative_to(ROOT / "core"):
        return ""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def is_property(frame: FrameType) -> bool:
    """Say whether a frame is that of a property."""
    owner: Any = sys.modules[frame.f_globals["__name__"]]
    for name in frame.f_code.co_qualname.split("."):
        owner = inspect.getattr_static(owner, name, None)
    return isinstance(owner, property)


def stops(call: Callable[[], Any]) -> list[Stop]:
    """Return the stops of a call, in the order of the first time."""
    way: dict[Stop, None] = {}
    module = functools.cache(module_of)

    def watch(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or code.co_name in GENERATED or not module(code):
            return
        below = frame.f_back
        while below is not None and not module(below.f_code):
            below = below.f_back
        if below is None or (stop := (module(below.f_code), module(code), code.co_qualname)) in way:
            return
        if stop[0] != stop[1] and not stop[0].startswith(INSIDE) and not is_property(frame) and not is_import(frame):
            way[stop] = None

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(way)


def is_import(frame: FrameType | None) -> bool:
    """Say whether a frame runs because a module is being imported."""
    while frame is not None:
        if frame.f_code.co_name == "_find_and_load":
            return True
        frame = frame.f_back
    return False


def returns(way: list[Stop]) -> int:
    """Return how many stops are in a module where the way was before."""
    passed = {way[0][0]} if way else set()
    count = 0
    for _, called, _ in way:
        count += called in passed
        passed.add(called)
    return count


def log(episodes: int, seed: int) -> weft.Dataset:
    """Return a log of episodes of three steps with propensities and all that a certificate wants declared."""
    random = np.random.default_rng(seed)
    steps = 3 * episodes
    seen = random.normal(size=(steps, 2)).astype(np.float32)
    chance = np.where(seen[:, 0] > 0, 0.6, 0.4)
    action = (random.uniform(size=steps) < chance).astype(int)
    reward = (action == (seen[:, 0] > 0)).astype(np.float32)
    data = weft.Dataset.from_arrays(
        seen, action, reward, np.arange(steps) % 3 == 2, propensities=np.where(action == 1, chance, 1 - chance)
    )
    return data.declare(reward_low=(0.0,), reward_high=(1.0,), horizon=3, discount=1.0)


def main() -> None:
    """Walk the way and print the figures, with `--list` every stop."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print every stop")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.safetensors"
        run = weft.fit(weft.BC(hidden=(8,)), log(40, 0), steps=20, progress=False)
        run.save_policy(path)
        policy, data = weft.load_policy(path), log(200, 1)
        way = stops(lambda: weft.certify(policy, data, ledger=Path(folder) / "ledger"))
    if options.list:
        passed = {way[0][0]}
        for caller, called, function in way:
            print(f"{'return' if called in passed else '      '}  {caller} → {called}.{function}")
            passed.add(called)
    print(f"stops {len(way)}, modules {len(way) - returns(way)}, returns {returns(way)}")


if __name__ == "__main__":
    main()
