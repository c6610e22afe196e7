"""Train: many settings and seeds of one method on one log or in one environment, killed and resumed at will."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..agents.algorithm import Algorithm
from ..agents.schedule import Rounds
from ..core.compilation import keep_compiled_programs
from ..core.errors import UserError, nearest
from ..data.dataset import Dataset
from ..data.fingerprints import fingerprints
from ..data.trace import Trace
from ..data.units import fit_transform
from .alarms import largest_return, smallest_gap
from .arguments import check_log, methods_that, settings_of
from .finetune import fit_online
from .lesson import Lesson, Logged
from .options import Options, Turns, Units
from .plan import listed, plan_of
from .pool import Pooled, apart
from .record import APART, record_of, source_of
from .run import Run
from .session import Make, train_runs, transformed

__all__ = ["check_options", "fit"]


def fit(
    algorithm: Algorithm | Sequence[Algorithm],
    data: Dataset | None = None,
    steps: int = 100_000,
    seeds: int | Sequence[int] = 1,
    out: str | Path | None = None,
    *,
    env: Any = None,
    rounds: Rounds | None = None,
    evaluate_every: int | None = None,
    evaluate_episodes: int = 10,
    resume: bool = False,
    progress: bool | None = None,
    batch_size: int | None = None,
    observations: str = "standardise",
    rewards: str = "size",
    reward_shift: float = 0.0,
    stack: int = 1,
    keep: Sequence[int] = (),
    log_every: int | None = None,
    checkpoint_seconds: float = 60.0,
    stop_when_hopeless: bool = False,
) -> Run:
    """Train every setting with every seed and return the `Run`; what is not finished can be resumed.

    algorithm: an instance, or a list of them (`weft.grid`); settings of one structure share one compiled program, and
    the same seed means the same first weights and batches in every setting. seeds: how many (0, 1, …), or which.
    out: the run's folder; without one nothing is written. resume: continue the folder's run from its last checkpoint,
    bit for bit (start it if there is none). batch_size: replaces the sampler's. observations, rewards, reward_shift:
    see `fit_transform`. stack: successive grey images that make an observation. keep: steps whose states are kept for
    good. progress: show how far the runs are; by default in a terminal and in a notebook. log_every: steps per metrics
    row (a hundredth of all by default). checkpoint_seconds: time between checkpoints, of which the last two are kept.
    Ctrl-C stops within seconds; what was saved is resumed from.

    Several runs on a log that are worth it (by their size, never by the machine) are spread over its cores: each is
    computed alone on one thread, in workers that write nothing (`weft.training.pool`). A script needs no guard for it.

    Alarms are warned of whenever they come up, and change nothing: metrics that are not finite, a mean Q more than ten
    times what the rewards can add up to, and Lagrange multipliers asked for what cannot be reached
    (`weft.training.alarms`). stop_when_hopeless: end the runs of a compiled program early when every one of them gave
    an alarm of the first two kinds in its last two rows; the last states and the reason (`run.record["stopped"]`) are
    kept, and resuming without it goes on as if nobody had stopped.

    With `env` and no data the method acts: in a weft world or its name (`cartpole`), a Gymnasium id (`CartPole-v1`), or
    a function that makes an environment. Steps are then environment steps, `rounds` says how acting and learning take
    turns (the method's own by default), and what was collected is `run.collected()`. evaluate_every, evaluate_episodes:
    so many greedy episodes, always the same, after so many environment steps, as `evaluation` in the metrics. These
    are for acting only, as observations, rewards and reward_shift are for a log; an environment's rewards are divided
    by the largest size that it declares of them, and stay as they are where it declares none.

    Raises UserError, before anything is written, for wrong arguments, a log that the method cannot learn from, and a
    folder that is taken or does not fit.
    """
    keep_compiled_programs()
    settings = settings_of(algorithm)
    if (data is None) == (env is None):
        raise UserError("fit learns from a log (data) or from acting (env): give one of them; see finetune for both.")
    options = Options(
        steps, seeds, out, resume, progress, batch_size, stack, keep, log_every, checkpoint_seconds, stop_when_hopeless
    )
    units, turns = Units(observations, rewards, reward_shift), Turns(rounds, evaluate_every, evaluate_episodes)
    if data is None:
        units.check_unused()
        return fit_online(settings, env, options, turns)
    check_log(data)
    turns.check_unused()
    return fit_log(settings, data, options, units)


def fit_log(settings: Sequence[Algorithm], data: Dataset, options: Options, units: Units) -> Run:
    """Train every setting with every seed on a log; see `fit`."""
    plan = plan_of(settings, data.spec, options)
    for setting in plan.settings:
        if "log" not in setting.learns_from:
            others = methods_that(lambda kind: "log" in kind.learns_from)
            raise UserError(
                f"{setting.title} learns from what it just did itself, not from a log; give it env, or take one of "
                f"{others}."
            )
    words = dataclasses.asdict(units)
    transform = fit_transform(data, **words, stack=options.stack)
    for setting in plan.settings:
        setting.check_rows(data.actions, data.rewards, data.unit_count)
    record = record_of(plan, data.spec, source_of(data), words)
    record["largest_returns"] = [largest_return(setting, data, transform) for setting in plan.settings]
    record["smallest_gaps"] = [smallest_gap(setting, data) for setting in plan.settings]
    if apart(plan.settings, len(plan.seeds), plan.steps, transform.inner):
        record["computed"] |= APART
    run = Run.fresh(record, plan.settings, plan.seeds, transform, options.out)
    run.trained_on = Trace(fingerprints(data))

    def prepare() -> Make:
        logged = Lesson(
            transformed(run.transform, data.device(units=plan.settings[0].single)),
            run.transform.inner,
            plan.steps,
            run.planned,
        )
        mapping = run.record["computed"]["mapping"]
        if mapping == APART["mapping"]:
            return lambda group, settings, seeds: Pooled(settings, seeds, logged)
        return lambda group, settings, seeds: Logged(settings, seeds, logged, mapping)

    train_runs(run, plan, options, prepare, [*_discounts(run), *_unreached(run)])
    return run


def check_options(caller: str, options: Mapping[str, Any]) -> None:
    """Raise UserError for options that `caller` would pass on to `fit` and that learning from a log does not have."""
    acting = ["env", *(field.name for field in dataclasses.fields(Turns))]
    parameters = inspect.signature(fit).parameters.values()
    names = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.name not in acting]
    for name in options:
        if name not in names:
            raise UserError(
                f"{caller} has no option '{name}'.{nearest(name, names)} It passes on {', '.join(names)} to weft.fit."
            )
    listed(options.get("keep", ()))


def _unreached(run: Run) -> list[str]:
    """Say in which phase a short run ends, where the policy has not begun to learn."""
    steps, words = run.record["steps"], []
    for setting in run.settings:
        for name in setting.openings:
            length = getattr(setting, name)
            last = steps - 1 if length >= 1 else (steps - 1) / steps
            if length > 0 and last < length:
                words.append(f"{setting.title} ends within {name}={length:g}: the policy does not learn in this run.")
    return list(dict.fromkeys(words))


def _discounts(run: Run) -> list[str]:
    """Say where a method discounts otherwise than the log declares."""
    declared = run.spec.discount
    discounts = [getattr(setting, "discount", None) for setting in run.settings]
    used = sorted({float(discount) for discount in discounts if discount is not None})
    if declared is None or all(abs(value - declared) < 1e-9 for value in used):
        return []
    return [f"The log declares the discount {declared:g}; the method uses {', '.join(f'{value:g}' for value in used)}."]
