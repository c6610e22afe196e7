"""Training triage: did a run over-fit, under-fit or diverge, and which of its checkpoints is the one to take?

It reads a run's own metrics, by the workflow of Kumar, Singh, Tian, Finn and Levine 2021 (arXiv:2109.10813) for
conservative methods and by general checks for all, and looks at a held-out log if there is one. It sorts training runs;
it is never evidence of what a policy is worth. The tests themselves are in `curves`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ..agents.algorithm import Algorithm
from ..agents.door import aligned
from ..core import pytree
from ..core.errors import UserError
from ..core.tables import text_table
from ..data.columns import Columns
from ..data.dataset import Dataset
from ..data.units import fit_transform
from ..evaluation.estimator import tabulate
from ..evaluation.overlap import unsupported
from ..evaluation.thresholds import UNSUPPORTED
from ..training.alarms import SMALLEST, alarm, believable, effective_steps
from ..training.run import Run, structure
from .learning_curves import Finding, Verdict, choose_checkpoint, diverging, overfitting, seed_stability, underfitting

__all__ = [
    "Finding",
    "Triage",
    "choose_checkpoint",
    "diverging",
    "overfitting",
    "seed_stability",
    "triage",
    "underfitting",
]

NEVER = "Training triage: it sorts training runs and is never evidence of what a policy is worth."
PROBES = 20  # batches of the held-out log
HIGHER = 1.5  # times the error in training: the critic has learned its log by heart
UNKEPT = (
    "No step is kept for good yet, and what is kept to resume from is none to choose: let the run end, or train with "
    "--keep."
)
WORST: tuple[Verdict, ...] = ("alarm", "watch", "clear", "unknown")


@dataclasses.dataclass(frozen=True)
class Triage:
    """The findings about one setting of a run, the checkpoint to take (None if there is none), and what to do next."""

    title: str
    findings: tuple[Finding, ...]
    checkpoint: int | None
    advice: tuple[str, ...]

    def finding(self, check: str) -> Finding:
        """Return the finding of one check. Raises KeyError where the check was not made."""
        return {found.check: found for found in self.findings}[check]

    def __str__(self) -> str:
        table = text_table((finding.verdict, finding.check, finding.sentence) for finding in self.findings)
        taken = "none" if self.checkpoint is None else f"step {self.checkpoint:,}"
        return "\n".join([self.title, table, f"Checkpoint: {taken}", *self.advice, NEVER])


def triage(run: Run, larger: Run | None = None, held_out: Dataset | None = None, setting: int = 0) -> Triage:
    """Sort one setting of a finished or unfinished run, all its seeds together. Never evidence of what it is worth.

    larger: a run that differs in capacity only, for the under-fitting test. held_out: a log that the run was not
    trained on, for the TD error there and for how far the policies leave the log.
    Raises UserError for a setting that does not exist, a run without metrics, and a larger run or a log that does not
    fit.
    """
    if not 0 <= setting < len(run.settings):
        raise UserError(f"{run.name} has settings 0 to {len(run.settings) - 1}, not {setting}.")
    method = run.settings[setting]
    curves = _curves(run, setting)
    if not len(curves["step"]):
        raise UserError(f"{run.name} has no metrics of setting {setting} yet; look at it when it has taken some steps.")
    divergence = _divergence(run, setting, curves)
    if method.family == "conservative" and "mean_q" in curves:
        each = [overfitting(curves["step"], curve) for curve in curves["mean_q"].T]
        over = _most(each)
    else:
        words = f"The test reads the mean Q of conservative methods; {method.title} is none."
        over = Finding("over-fitting", "unknown", words)
    found = [divergence, over]
    if method.family == "conservative":
        found.append(_underfitting(run, setting, larger, curves, over))
    elif larger is not None:
        raise UserError(f"A larger run tells something about conservative methods only; {method.title} is none.")
    name = next((name for name in ("mean_q", "critic_loss", "actor_loss") if name in curves), None)
    if name is not None:
        found.append(seed_stability(curves[name], name.replace("_", " ")))
    checkpoint = choose_checkpoint(run.lasting(setting), over, divergence if _everywhere(divergence) else None)
    if held_out is not None and checkpoint is not None:
        found += _held_out(run, setting, checkpoint, held_out, curves)
    done = int(curves["step"][-1])
    title = f"{run.name}, {method.title}: step {done:,} of {run.record['steps']:,}, {_seeds(len(run.seeds))}"
    stops = [stop for stop in run.record.get("stopped", []) if setting in stop["settings"]]
    title += f", stopped early at step {stops[0]['step']:,}." if stops else "."
    return Triage(title, tuple(found), checkpoint, tuple(_advice(run, setting, found, checkpoint, larger is not None)))


# --- from a run to arrays -----------------------------------------------------------------------------------------


# Of rows of a run that acts: what happened in the world, which not every row knows.
ACTING = {"evaluation", "episode_return", "episodes", "updates"}


def _curves(run: Run, setting: int) -> dict[str, np.ndarray]:
    """Return the steps that every seed has reached and learned in, and every metric of learning `(row, seed)`."""
    known = [row for row in run.metrics if row["setting"] == setting]
    names = [name for name in (known[-1] if known else {}) if name not in {"step", "setting", "seed", *ACTING}]
    rows = {(row["step"], row["seed"]): row for row in known if names[0] in row} if names else {}
    steps = sorted({step for step, _ in rows})
    steps = [step for step in steps if all((step, seed) in rows for seed in run.seeds)]
    found = {name: [[rows[step, seed].get(name, np.nan) for seed in run.seeds] for step in steps] for name in names}
    shape = (len(steps), len(run.seeds))
    return {"step": np.array(steps, int), **{name: np.array(v, float).reshape(shape) for name, v in found.items()}}


def _divergence(run: Run, setting: int, curves: dict[str, np.ndarray]) -> Finding:
    """Return the worst divergence over the seeds, other metrics that are not finite included."""
    method, steps = run.settings[setting], curves["step"]
    known = run.record.get("largest_returns")
    largest = known[setting] if known else None
    patience = effective_steps(method, run.spec)
    each = []
    for place in range(len(run.seeds)):
        rows = [
            {name: float(curves[name][row, place]) for name in curves if name != "step"} for row in range(len(steps))
        ]
        lost = next((row for row, values in enumerate(rows) if alarm(values, None, patience)), None)
        if lost is not None:
            words = alarm(rows[lost], None, patience)
            assert words is not None
            each.append(Finding("divergence", "alarm", f"At step {steps[lost]:,} {words[1]}.", int(steps[lost])))
        elif "mean_q" not in curves:
            each.append(Finding("divergence", "unknown", f"All metrics are finite; {method.title} logs no mean Q."))
        else:
            bound = None if largest is None else np.array([believable(row, largest, patience) for row in rows])
            each.append(_inflated(diverging(steps, curves["mean_q"][:, place], bound), largest))
    worst = next(found for verdict in WORST for found in each if found.verdict == verdict)
    alike = [found for found in each if found.verdict == worst.verdict]
    return _counted(worst, len(alike), len(each))


def _inflated(found: Finding, largest: float | None) -> Finding:
    """Watch values that a method may honestly come to by what it pays itself, and that no return can reach."""
    if largest is None or found.verdict != "clear" or abs(found.figures["last"]) <= max(largest, SMALLEST):
        return found
    words = f"{found.sentence[:-1]}, but no return reaches beyond {largest:.4g}: it ranks actions and is no value."
    return dataclasses.replace(found, verdict="watch", sentence=words)


def _most(each: list[Finding]) -> Finding:
    """Return what most seeds say, the step that in the middle of theirs; alarms of a few are worth watching."""
    alarms = [found for found in each if found.verdict == "alarm"]
    few = 0 < 2 * len(alarms) <= len(each)
    alike = sorted(alarms or each, key=lambda found: found.step or 0)
    found = alike[(len(alike) - 1) // 2]
    return _counted(dataclasses.replace(found, verdict="watch") if few else found, len(alike), len(each))


def _counted(found: Finding, alike: int, seeds: int) -> Finding:
    figures = {**found.figures, "seeds": float(seeds), "alike": float(alike)}
    words = found.sentence if seeds == 1 else f"{found.sentence} ({alike} of {seeds} seeds)"
    return dataclasses.replace(found, sentence=words, figures=figures)


def _everywhere(found: Finding) -> bool:
    """Say whether most seeds raise an alarm, so that their checkpoints do not count."""
    return found.verdict == "alarm" and 2 * found.figures["alike"] > found.figures["seeds"]


def _underfitting(run: Run, setting: int, larger: Run | None, curves: dict[str, np.ndarray], over: Finding) -> Finding:
    if larger is None:
        return Finding("under-fitting", "unknown", "It takes a second run with a larger network to tell.")
    other = _curves(larger, _match(run, setting, larger))
    if over.verdict == "alarm":
        return Finding("under-fitting", "unknown", "A run that over-fits is not asked whether it under-fits.")
    until = min(curves["step"][-1], other["step"][-1] if len(other["step"]) else 0)
    if until == 0:
        raise UserError(f"{larger.name} has no metrics yet; compare with it when it has taken some steps.")
    cut = [{name: part[values["step"] <= until] for name, part in values.items()} for values in (curves, other)]
    return underfitting(*cut)


def _match(run: Run, setting: int, larger: Run) -> int:
    """Return the setting of a larger run that differs from this one in its networks only, and has more parameters."""
    if run.record["data"]["fingerprint"] != larger.record["data"]["fingerprint"]:
        raise UserError(f"{larger.name} was trained on other data than {run.name}; only the network may differ.")
    if run.record["units"] != larger.record["units"]:
        raise UserError(f"{larger.name} was trained in other units than {run.name}; only the network may differ.")
    mine = {name: value for name, value in run.record["settings"][setting].items() if name != "hidden"}
    size = _parameters(run, setting)
    for number, theirs in enumerate(larger.record["settings"]):
        alike = {name: value for name, value in theirs.items() if name != "hidden"} == mine
        if alike and _parameters(larger, number) > size:
            return number
    raise UserError(f"{larger.name} holds no setting that differs from {run.name} in a larger network (hidden) only.")


def _parameters(run: Run, setting: int) -> int:
    return sum(
        int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(structure(run.settings[setting], run.transform.inner))
    )


# --- a held-out log -----------------------------------------------------------------------------------------------


def _held_out(run: Run, setting: int, checkpoint: int, data: Dataset, curves: dict[str, np.ndarray]) -> list[Finding]:
    """Look at the TD error and at the policies' actions on a log that was not trained on."""
    same = data.fingerprint == run.record["data"]["fingerprint"]
    note = " This is the log that the run was trained on." if same else ""
    shares, errors = [], []
    columns, change = data.device(), fit_transform(data)
    name = next((name for name in ("td_error", "critic_loss") if name in curves), None)
    near = np.abs(curves["step"] - checkpoint).argmin() + 1
    for place in range(len(run.seeds)):
        policy = run.policy(place, setting, checkpoint)
        candidate = tabulate(policy, data, columns, change, jax.random.key(0))
        shown = dataclasses.replace(columns, observation=aligned(run.spec, data.spec, columns.observation))
        shares.append(unsupported(candidate, change(columns), data.rows, jax.random.key(0)))
        if name is not None:
            method = pytree.as_arrays(run.settings[setting])
            state = run.state(setting, place, checkpoint)
            errors.append(float(_measured(method, state, run.transform(shown), jax.random.key(1))[name]))
    found = []
    if name is not None:
        trained = float(curves[name][max(0, near - max(1, near // 5)) : near].mean())
        ratio = float(np.mean(errors)) / max(trained, 1e-12)
        words = f"The {name.replace('_', ' ')} is {np.mean(errors):.4g} on it and {trained:.4g} in training.{note}"
        verdict: Verdict = "watch" if not ratio <= HIGHER else "clear"
        found.append(Finding("held-out log", verdict, words, checkpoint, {"ratio": ratio}))
    known = [share for share in shares if share is not None]
    if known:
        share = float(np.mean(known))
        words = f"{100 * share:.0f} % of the policy's actions are unlike any in the log at such observations.{note}"
        found.append(
            Finding("support", "alarm" if share > UNSUPPORTED else "clear", words, checkpoint, {"share": share})
        )
    return found


@jax.jit
def _measured(method: Algorithm, state: PyTree, columns: Columns, key: PRNGKeyArray) -> dict[str, Any]:
    """Average what a method measures over batches of a log, leaving its state as it is."""

    def one(key: PRNGKeyArray) -> dict[str, Any]:
        draw_key, measure_key = jax.random.split(key)
        return method.measure(state, method.sampler(columns, draw_key), measure_key)

    measured: Callable[..., Any] = jax.lax.map
    return jax.tree.map(lambda part: part.mean(0), measured(one, jax.random.split(key, PROBES)))


# --- what to do ---------------------------------------------------------------------------------------------------


def _advice(run: Run, setting: int, findings: list[Finding], checkpoint: int | None, compared: bool) -> list[str]:
    by = {found.check: found for found in findings}
    said = []
    over, under, wild = by["over-fitting"], by.get("under-fitting"), by["divergence"]
    if wild.verdict == "alarm":
        some = "" if _everywhere(wild) else " Leave out the seeds that diverged."
        said.append(
            "The values are lost: lower the learning rate, or take a method that stays with the log (iql, cql, "
            f"td3_bc).{some}"
        )
    if checkpoint is None and not run.lasting(setting):
        said.append(UNKEPT)
    elif checkpoint is None:
        said.append("No checkpoint from before the divergence is kept; train again with --keep at earlier steps.")
    if over.verdict == "alarm" and over.step is not None:
        if checkpoint is not None and checkpoint > over.step:
            said.append(f"No checkpoint at or before the peak is kept; train again with --keep {over.step}.")
        said.append("Train again with less capacity or more regularisation (a smaller --hidden), and look again.")
    elif wild.verdict != "alarm" and under is not None:
        if under.verdict == "alarm":
            said.append("Train with a larger network (--hidden), and look again.")
        elif compared and under.verdict == "clear" and over.verdict == "clear":
            said.append("Neither over- nor under-fitting: take the last checkpoint.")
        elif not compared and over.verdict == "clear":
            said.append("To test for under-fitting train the same with a larger --hidden and give it as --larger.")
    if by.get("seeds") and by["seeds"].verdict == "watch":
        said.append("Train more seeds and judge them all: one of them may have been lucky.")
    if "support" in by and by["support"].verdict == "alarm":
        said.append("The policy does what the log never shows: constrain it more, for no estimate will hold there.")
    return said


def _seeds(number: int) -> str:
    return f"{number} seed{'' if number == 1 else 's'}"
