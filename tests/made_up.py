"""Small made-up results, so that a page takes milliseconds and every outcome can be planted."""

import dataclasses

import numpy as np

from weft.chart import COLOURS
from weft.reports._findings import Findings, Maze, Method

STEPS = [10, 40, 100]


def method(name: str, colour: str, believed, gets, success, low: float, high: float, true: float) -> Method:
    """Return a made-up method; `believed` and `gets` are means per kept step."""
    spread = np.array([-0.01, 0.01])
    walk = np.linspace([0.2, 0.2], [0.7, 0.6], 5)
    return Method(
        name=name,
        idea="Does something.",
        colour=colour,
        steps=STEPS,
        believed=None if believed is None else np.array(believed, float)[:, None] + spread,
        gets=np.array(gets, float)[:, None] + spread,
        success=np.array(success, float),
        paths=[walk, walk + 0.02],
        estimated=(low + high) / 2,
        low=low,
        high=high,
        true=true,
        seconds=1.0,
    )


def made(**changes) -> Findings:
    """Return made-up findings; `changes` replace fields."""
    cells = np.zeros((4, 4), bool)
    cells[1:3, 1:3] = True
    found = Findings(
        maze=Maze(cells, (1, 1), (2, 1), (2, 2)),
        logged=[np.linspace([0.3, 0.3], [0.3, 0.7], 4), np.linspace([0.7, 0.7], [0.7, 0.3], 4)],
        from_start=np.array([True, False]),
        reached=np.array([False, True]),
        steps_logged=6,
        held_out=1,
        methods=[
            method("BC", COLOURS[4], None, [0, 0, 0], [0.0, 0.0], -0.1, 0.2, 0.0),
            method("IQL", COLOURS[0], [0.1, 0.5, 0.8], [0, 0.7, 0.75], [1.0, 0.95], 0.6, 0.9, 0.76),
            method("Naive", COLOURS[2], [0.5, 20, 3000], [0, 0, 0], [0.0, 0.0], 400, 900, 0.0),
        ],
        seeds=2,
        steps=100,
        discount=0.99,
        most=1.0,
        level=0.95,
        replicates=3,
        walks=5,
        facts=[("steps", "6"), ("</script> & <b>", "must be escaped")],
        versions={"weft": "0"},
        stages=[("train", 1.25), ("judge", 0.75)],
    )
    return dataclasses.replace(found, **changes)
