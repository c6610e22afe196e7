"""Small made-up results, so that a page takes milliseconds and every outcome can be planted."""

import dataclasses

import numpy as np

from weft.deployment.decision import PROMISES, Decision
from weft.deployment.ledger import Entry
from weft.evaluation.diagnostics import Diagnostics, Test, Weights
from weft.experiments.study import Row
from weft.reports._findings import Findings, Maze, Method
from weft.reports._trust import Arm, Rules, Trust
from weft.reports.chart import COLOURS

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
        maze=Maze("made", 0.4, cells, {"S": ((1, 1), (0, -1)), "G": ((2, 1), (0, -1)), "E": ((2, 2), (1, 0))}, ("E",)),
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


MANIFEST = {
    "origin": "sample:made",
    "units": {"train": 40, "select": 20, "certify": 40},
    "episodes": {"train": 40, "select": 20, "certify": 40},
    "steps": {"train": 200, "select": 100, "certify": 200},
    "fingerprints": {"train": "aaaa", "select": "bbbb", "certify": "cccc"},
}
ENTRY = Entry("0123456789ab", 0.05, 0.05, "report", "question-1", "2030-01-02T03:04:05Z", "sample:made", 40)


def decision(**changes) -> Decision:
    """Return a made-up certificate; `changes` replace fields."""
    found = Decision(
        "DEPLOY", 0.5, 0.21, 1, "40 units give 99 to 1", PROMISES[1], 0.9, units=40, doses=(0.1, 0.5, 1.0),
        evidence=(3e9, 99.0, 0.5), lows=(0.04, 0.21, -0.3), means=(0.06, 0.31, 0.6),
        needed={0.1: 25.0, 0.5: 35.0, 1.0: 70.0}, effective_sample_size=12.5, assumptions=("Users are independent.",),
    )  # fmt: skip
    return dataclasses.replace(found, **changes)


def row(algorithm: str, value: float, **changes) -> Row:
    """Return a made-up candidate whose interval reaches 0.1 to both sides."""
    return Row(algorithm, 0, 0, 100, False, value, value - 0.1, value + 0.1, value - 1.0, 0.5, 30.0, 1.2, **changes)


ROWS = (row("iql", 1.5, chosen=True), row("bc", 1.3), row("</script><b>", 1.1, triage="Values ran away."))


def diagnostics() -> Diagnostics:
    """Return made-up diagnostics: one test speaks against an estimate."""
    weights = Weights(np.array([38.0, 25.0, 12.5]), np.array([0.03, 0.06, 0.2]), 2, 0.3, 1.01, 0.4, 0.3, False)
    tests = (
        Test("mean weight", 0.1, 0.9, False, "Ratios are as they should be."),
        Test("Bellman", None, 0.001, True, "Bellman's equation fails."),
    )
    warnings = ("Bellman: Bellman's equation fails.", "From step 3 on fewer than 20 effective units are left.")
    values = {"linear_q": (1.4, 0.1), "per_decision": (1.6, 0.2)}
    return Diagnostics("sample:made", 40, weights, values, np.zeros((2, 2)), 0.01, tests, warnings)


def rules(name: str, believed, usual, dose, low, gained) -> Rules:
    """Return made-up rules on a few logs."""
    parts = (np.array(part, float) for part in (believed, usual, dose, low, gained))
    return Rules(name, "Some logs.", 50, 1.2, 1.9, *parts)


def trust(**changes) -> Trust:
    """Return a made-up second act; `changes` replace fields."""
    found = Trust(
        decision=decision(),
        table=ROWS,
        manifest=MANIFEST,
        entries=(ENTRY,),
        steps=500,
        training=10,
        dose=0.5,
        base=1.2,
        best=1.9,
        gain=0.35,
        gains=(0.07, 0.35, 0.65),
        logging=Arm(1000, 1.19, 0.01),
        policy=Arm(1000, 1.56, 0.01),
        rules=(
            rules("A good rule", [0.1, 0.2, 0.3, -0.1], [-0.2, -0.1, 0.01, 0.2], [0, 0, 0, 0], [np.nan] * 4, [0] * 4),
            rules("A weak rule", [0.5, 0.6], [0.4, 0.5], [0.5, 0], [0.2, np.nan], [0.3, 0]),
        ),
    )
    return dataclasses.replace(found, **changes)
