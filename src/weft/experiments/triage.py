"""Training triage: did a run over-fit, under-fit or diverge, and which of its checkpoints is the one to take?

It reads a run's own metrics, by the workflow of Kumar, Singh, Tian, Finn and Levine 2021 (arXiv:2109.10813) for
conservative methods and by general checks for all, and looks at a held-out log if there is one. It sorts training runs;
it is never evidence of what a policy is worth. The tests themselves are in `learning_curves`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray, PyTree

from ..agents.algorithm import Algorithm
from ..agents.door import aligned
from ..core import pytree
from ..core.errors import UserError
from ..core.tables import html_notes, html_table, text_table
from ..data.columns import Columns
from ..data.dataset import Dataset
from ..data.load import check_loaded
from ..data.units import fit_transform
from ..evaluation.candidate import tabulate
from ..evaluation.overlap import unsupported
from ..evaluation.thresholds import UNSUPPORTED
from ..training.alarms import SMALLEST, alarm, believable, effective_steps
from ..training.run import Run, structure
from .advice.recommendation import constrained
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
NO_CHECKPOINT = "No checkpoint from before the divergence is kept; train again with --keep at earlier steps."
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
        return {finding.check: finding for finding in self.findings}[check]

    def cells(self) -> list[tuple[str, ...]]:
        """Return the findings in words: verdict, check, sentence."""
        return [(finding.verdict, finding.check, finding.sentence) for finding in self.findings]

    def notes(self) -> list[str]:
        """Return the checkpoint to take and what to do next, in sentences."""
        step = "none" if self.checkpoint is None else f"step {self.checkpoint:,}"
        return [f"Checkpoint: {step}", *self.advice, NEVER]

    def __str__(self) -> str:
        return "\n".join([self.title, text_table(self.cells()), *self.notes()])

    def _repr_html_(self) -> str:
        return f"{html_table(self.cells(), self.title)}\n{html_notes(self.notes())}"


def triage(run: Run, larger: Run | None = None, held_out: Dataset | None = None, setting: int = 0) -> Triage:
    """Sort one setting of a finished or unfinished run, all its seeds together. Never evidence of what it is worth.

    larger: a run that differs in capacity only, for the under-fitting test. held_out: a log that the run was not
    trained on, for the TD error there and for how far the policies leave the log.
    Raises UserError for a setting that does not exist, a run without metrics, and a larger run or a log that does not
    fit.
    """
    _check_run(run)
    if not 0 <= setting < len(run.settings):
        raise UserError(f"{run.name} has settings 0 to {len(run.settings) - 1}, not {setting}.")
    subject = _Setting(run, setting, _Curves.of(run, setting))
    if not len(subject.curves.steps):
        raise UserError(f"{run.name} has no metrics of setting {setting} yet; look at it when it has taken some steps.")
    divergence, over = _divergence(subject), _overfitting(subject)
    findings = [divergence, over, *_underfitting(subject, larger, over), *_stability(subject)]
    checkpoint = choose_checkpoint(run.lasting(setting), over, divergence if _everywhere(divergence) else None)
    if held_out is not None:
        check_loaded(held_out, "Triage")
        findings += [] if checkpoint is None else _held_out(subject, checkpoint, held_out)
    by_check = {finding.check: finding for finding in findings}
    advice = tuple(_advice(subject, by_check, checkpoint, compared=larger is not None))
    return Triage(subject.title(), tuple(findings), checkpoint, advice)


def _check_run(run: Any) -> None:
    if not isinstance(run, Run):
        raise UserError(f"Triage needs a run: weft.load_run({str(run)!r}).")


# --- from a run to arrays -----------------------------------------------------------------------------------------


# Of rows of a run that acts: what happened in the world, which not every row knows.
ACTING = {"evaluation", "episode_return", "episodes", "updates"}
PLACE = {"step", "setting", "seed"}


@dataclasses.dataclass(frozen=True)
class _Curves:
    """The steps that every seed has reached and learned in, and every metric of learning there."""

    steps: Int[np.ndarray, "row"]
    metrics: dict[str, Float[np.ndarray, "row seed"]]

    @classmethod
    def of(cls, run: Run, setting: int) -> "_Curves":
        rows = [row for row in run.metrics if row["setting"] == setting]
        names = [name for name in (rows[-1] if rows else {}) if name not in PLACE | ACTING]
        learned = {(row["step"], row["seed"]): row for row in rows if names and names[0] in row}
        steps = [
            step for step in sorted({step for step, _ in learned}) if all((step, seed) in learned for seed in run.seeds)
        ]

        def curve(name: str) -> np.ndarray:
            values = [[learned[step, seed].get(name, np.nan) for seed in run.seeds] for step in steps]
            return np.array(values, float).reshape(len(steps), len(run.seeds))

        return cls(np.array(steps, int), {name: curve(name) for name in names})

    def first(self, *names: str) -> str | None:
        """Return the first of some metrics that there is."""
        return next((name for name in names if name in self.metrics), None)

    def until(self, step: int) -> dict[str, Float[np.ndarray, "row seed"]]:
        """Return the metrics up to a step."""
        return {name: values[self.steps <= step] for name, values in self.metrics.items()}


@dataclasses.dataclass(frozen=True)
class _Setting:
    """The setting of a run that is looked at, with its curves."""

    run: Run
    number: int
    curves: _Curves

    @property
    def method(self) -> Algorithm:
        return self.run.settings[self.number]

    @property
    def conservative(self) -> bool:
        """Whether the tests of Kumar et al. were made for the method."""
        return self.method.family == "conservative"

    def title(self) -> str:
        """Return which run it is, how far it came, and where it was stopped."""
        run, done = self.run, int(self.curves.steps[-1])
        stops = [stop for stop in run.record.get("stopped", []) if self.number in stop["settings"]]
        end = f", stopped early at step {stops[0]['step']:,}." if stops else "."
        seeds = f"{len(run.seeds)} seed{'' if len(run.seeds) == 1 else 's'}"
        return f"{run.name}, {self.method.title}: step {done:,} of {run.record['steps']:,}, {seeds}{end}"


# --- the checks ---------------------------------------------------------------------------------------------------


def _divergence(subject: _Setting) -> Finding:
    """Return the worst divergence over the seeds, other metrics that are not finite included."""
    largest_returns = subject.run.record.get("largest_returns")
    largest = largest_returns[subject.number] if largest_returns else None
    each = [_divergence_of_seed(subject, place, largest) for place in range(len(subject.run.seeds))]
    worst = next(finding for verdict in WORST for finding in each if finding.verdict == verdict)
    alike = [finding for finding in each if finding.verdict == worst.verdict]
    return _counted(worst, len(alike), len(each))


def _divergence_of_seed(subject: _Setting, place: int, largest: float | None) -> Finding:
    """Look for the first row of a seed with a metric that is not finite, then for mean Q that no policy could have."""
    method, steps, metrics = subject.method, subject.curves.steps, subject.curves.metrics
    patience = effective_steps(method, subject.run.spec)
    rows = [{name: float(values[row, place]) for name, values in metrics.items()} for row in range(len(steps))]
    for step, values in zip(steps, rows, strict=True):
        if words := alarm(values, None, patience):
            return Finding("divergence", "alarm", f"At step {step:,} {words[1]}.", int(step))
    if "mean_q" not in metrics:
        return Finding("divergence", "unknown", f"All metrics are finite; {method.title} logs no mean Q.")
    mean_q, unit = metrics["mean_q"][:, place], subject.run.unit
    if largest is None:
        return diverging(steps, mean_q, None)
    bound = np.array([believable(values, largest, patience, unit) for values in rows])
    return _inflated(diverging(steps, mean_q, bound), max(largest, SMALLEST * unit))


def _inflated(finding: Finding, largest: float) -> Finding:
    """Watch values that a method may honestly come to by what it pays itself, and that no return can reach."""
    if finding.verdict != "clear" or abs(finding.figures["last"]) <= largest:
        return finding
    words = f"{finding.sentence[:-1]}, but no return reaches beyond {largest:.4g}: it ranks actions and is no value."
    return dataclasses.replace(finding, verdict="watch", sentence=words)


def _overfitting(subject: _Setting) -> Finding:
    """Return what most seeds say, at the median of their steps; an alarm of a few seeds is worth watching."""
    if not subject.conservative or "mean_q" not in subject.curves.metrics:
        words = f"The test reads the mean Q of conservative methods; {subject.method.title} is none."
        return Finding("over-fitting", "unknown", words)
    each = [overfitting(subject.curves.steps, curve) for curve in subject.curves.metrics["mean_q"].T]
    alarms = [finding for finding in each if finding.verdict == "alarm"]
    few = 0 < 2 * len(alarms) <= len(each)
    alike = sorted(alarms or each, key=lambda finding: finding.step or 0)
    middle = alike[(len(alike) - 1) // 2]
    return _counted(dataclasses.replace(middle, verdict="watch") if few else middle, len(alike), len(each))


def _counted(finding: Finding, alike: int, seeds: int) -> Finding:
    """Add to a finding how many of the seeds say it."""
    figures = {**finding.figures, "seeds": float(seeds), "alike": float(alike)}
    words = finding.sentence if seeds == 1 else f"{finding.sentence} ({alike} of {seeds} seeds)"
    return dataclasses.replace(finding, sentence=words, figures=figures)


def _everywhere(finding: Finding) -> bool:
    """Say whether most seeds raise an alarm, so that their checkpoints do not count."""
    return finding.verdict == "alarm" and 2 * finding.figures["alike"] > finding.figures["seeds"]


def _underfitting(subject: _Setting, larger: Run | None, over: Finding) -> Iterator[Finding]:
    """Yield the test for under-fitting of a conservative method. Raises UserError for a run that does not compare."""
    if larger is not None:
        _check_run(larger)
    if not subject.conservative:
        if larger is not None:
            raise UserError(
                f"A larger run tells something about conservative methods only; {subject.method.title} is none."
            )
    elif larger is None:
        yield Finding("under-fitting", "unknown", "It takes a second run with a larger network to tell.")
    else:
        yield _compared(subject, larger, over)


def _compared(subject: _Setting, larger: Run, over: Finding) -> Finding:
    other = _Curves.of(larger, _match(subject.run, subject.number, larger))
    if over.verdict == "alarm":
        return Finding("under-fitting", "unknown", "A run that over-fits is not asked whether it under-fits.")
    if not len(other.steps):
        raise UserError(f"{larger.name} has no metrics yet; compare with it when it has taken some steps.")
    until = int(min(subject.curves.steps[-1], other.steps[-1]))
    return underfitting(subject.curves.until(until), other.until(until))


def _stability(subject: _Setting) -> Iterator[Finding]:
    """Yield where the seeds end, by the first of the metrics that a method has."""
    name = subject.curves.first("mean_q", "critic_loss", "actor_loss")
    if name is not None:
        yield seed_stability(subject.curves.metrics[name], name.replace("_", " "))


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


def _held_out(subject: _Setting, checkpoint: int, data: Dataset) -> Iterator[Finding]:
    """Yield what the TD error and the policies' actions are on a log that was not trained on."""
    same = data.fingerprint == subject.run.record["data"]["fingerprint"]
    note = " This is the log that the run was trained on." if same else ""
    columns = data.device()
    support = _support(subject, checkpoint, data, columns)  # first: asking the policies refuses a log of another form
    for finding in (_error(subject, checkpoint, data, columns), support):
        if finding is not None:
            yield dataclasses.replace(finding, sentence=f"{finding.sentence}{note}")


def _error(subject: _Setting, checkpoint: int, data: Dataset, columns: Columns) -> Finding | None:
    """Compare a held-out error with the one in training around the checkpoint; None for a method without any."""
    name, run = subject.curves.first("td_error", "critic_loss"), subject.run
    if name is None:
        return None
    logged = run.transform(dataclasses.replace(columns, observation=aligned(run.spec, data.spec, columns.observation)))
    states = (run.state(subject.number, place, checkpoint) for place in range(len(run.seeds)))
    method, key = pytree.as_arrays(subject.method), jax.random.key(1)
    error = float(np.mean([float(_measured(method, state, logged, key)[name]) for state in states]))
    row = int(np.abs(subject.curves.steps - checkpoint).argmin()) + 1
    trained = float(subject.curves.metrics[name][max(0, row - max(1, row // 5)) : row].mean())
    ratio = error / max(trained, 1e-12)
    words = f"The {name.replace('_', ' ')} is {error:.4g} on it and {trained:.4g} in training."
    return Finding("held-out log", "clear" if ratio <= HIGHER else "watch", words, checkpoint, {"ratio": ratio})


def _support(subject: _Setting, checkpoint: int, data: Dataset, columns: Columns) -> Finding | None:
    """Say how far the policies leave a log; None where their actions cannot be compared with it."""
    change, key, shares = fit_transform(data), jax.random.key(0), []
    for place in range(len(subject.run.seeds)):
        candidate = tabulate(subject.run.policy(place, subject.number, checkpoint), data, columns, change, key)
        share = unsupported(candidate, change(columns), data.rows, key)
        shares += [] if share is None else [share]
    if not shares:
        return None
    share = float(np.mean(shares))
    words = f"{100 * share:.0f} % of the policy's actions are unlike any in the log at such observations."
    return Finding("support", "alarm" if share > UNSUPPORTED else "clear", words, checkpoint, {"share": share})


@jax.jit
def _measured(method: Algorithm, state: PyTree, columns: Columns, key: PRNGKeyArray) -> dict[str, Any]:
    """Average what a method measures over batches of a log, leaving its state as it is."""

    def one(key: PRNGKeyArray) -> dict[str, Any]:
        draw_key, measure_key = jax.random.split(key)
        return method.measure(state, method.sampler(columns, draw_key), measure_key)

    measured: Callable[..., Any] = jax.lax.map
    return jax.tree.map(lambda part: part.mean(0), measured(one, jax.random.split(key, PROBES)))


# --- what to do ---------------------------------------------------------------------------------------------------


def _advice(
    subject: _Setting, findings: Mapping[str, Finding], checkpoint: int | None, compared: bool
) -> Iterator[str]:
    """Yield what to do next. compared: whether a larger run was there to compare with."""
    verdicts: dict[str, Verdict] = {check: finding.verdict for check, finding in findings.items()}
    over = findings["over-fitting"]
    if verdicts["divergence"] == "alarm":
        yield _against_divergence(subject, findings["divergence"])
    if checkpoint is None:
        yield NO_CHECKPOINT if subject.run.lasting(subject.number) else UNKEPT
    if over.verdict == "alarm" and over.step is not None:
        if checkpoint is not None and checkpoint > over.step:
            yield f"No checkpoint at or before the peak is kept; train again with --keep {over.step}."
        yield "Train again with less capacity or more regularisation (a smaller --hidden), and look again."
    elif verdicts["divergence"] != "alarm":
        yield from _on_capacity(verdicts, compared)
    if verdicts.get("seeds") == "watch":
        yield "Train more seeds and judge them all: one of them may have been lucky."
    if verdicts.get("support") == "alarm":
        yield "The policy does what the log never shows: constrain it more, for no estimate will hold there."


def _against_divergence(subject: _Setting, divergence: Finding) -> str:
    """Say what holds values where they are, with the methods that learn from such a log."""
    names = [name for name in constrained(subject.run.spec) if name != subject.method.name]
    methods = f" ({', '.join(names)})" if names else ""
    some = "" if _everywhere(divergence) else " Leave out the seeds that diverged."
    return f"The values are lost: lower the learning rate, or take a method that stays with the log{methods}.{some}"


def _on_capacity(verdicts: Mapping[str, Verdict], compared: bool) -> Iterator[str]:
    """Yield whether to change the network's size, for methods whose under-fitting can be tested."""
    if verdicts.get("under-fitting") == "alarm":
        yield "Train with a larger network (--hidden), and look again."
    elif "under-fitting" not in verdicts or verdicts["over-fitting"] != "clear":
        return
    elif not compared:
        yield "To test for under-fitting train the same with a larger --hidden and give it as --larger."
    elif verdicts["under-fitting"] == "clear":
        yield "Neither over- nor under-fitting: take the last checkpoint."
