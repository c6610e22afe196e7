"""Learning by acting: from nothing, or going on from what was learned on a log.

What is collected is a log like any other: `Run.collected()`.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from ..agents.algorithm import Algorithm, applied
from ..agents.door import check_reach, check_same, limits_of
from ..agents.schedule import Rounds
from ..core import pytree
from ..core.compilation import keep_compiled_programs
from ..core.errors import UserError
from ..data.dataset import Dataset
from ..data.spec import Spec
from ..data.transforms import declared_units
from ..envs import environment as worlds
from ..envs.environment import Environment
from ..envs.gymnasium_adapter import Simulator
from ..envs.rollout import simulator_of
from .alarms import largest_return
from .arguments import check_log, methods_that
from .engines import Arena, Compiled, Hosted
from .options import Options, Turns
from .plan import evaluations, plan_of
from .record import record_of, source_of
from .run import Run
from .session import Make, train_runs, transformed

__all__ = ["finetune", "fit_online", "switch"]


def _world(env: Any) -> Any:
    """Return a weft world, or the simulators behind anything else."""
    world = worlds.environment(env) if isinstance(env, str) and worlds.known(env) else env
    return world if isinstance(world, Environment) else simulator_of(world)


def _form(world: Environment | Simulator) -> Spec:
    return world.spec if isinstance(world, Environment) else world.form


def _name(world: Environment | Simulator) -> str:
    return worlds.name_of(world) if isinstance(world, Environment) else world.name


def _changed(setting: Algorithm, changes: Mapping[str, Any], spec: Spec) -> Algorithm:
    """Return a setting with other hyperparameters that takes the same states; raise UserError if it does not."""
    if not changes:
        return setting
    changed = applied(setting, changes)
    if not eqx.tree_equal(*(one.init(jax.random.key(0), spec) for one in (setting, changed))):
        raise UserError(
            f"{', '.join(changes)} cannot change between log and world: it is where learning begins, or needs other "
            "networks."
        )
    return changed


def _checked(settings: Sequence[Algorithm], world: Any, rounds: Any, runs: int) -> Rounds:
    """Return how acting and learning take turns; raise UserError for what cannot be learned by acting."""
    method = settings[0]
    rounds = method.rounds if rounds is None else rounds
    if not isinstance(rounds, Rounds):
        raise UserError(f"rounds says how acting and learning take turns, as in weft.Rounds(lanes=2), got {rounds!r}.")
    if not method.learns_from & {"replay", "fresh"}:
        others = methods_that(lambda kind: bool(kind.learns_from & {"replay", "fresh"}))
        raise UserError(f"{method.title} cannot learn by acting; {others} can.")
    name = _name(world)
    if "replay" not in method.learns_from and rounds.logged_share > 0:
        raise UserError(f"{method.title} learns from fresh steps only; it has no use for a share of a log.")
    if "replay" in method.learns_from and rounds.steps == 0:
        raise UserError(f"{method.title} learns from a buffer; rounds of whole episodes (steps 0) are for fresh steps.")
    if rounds.steps == 0 and world.horizon is None:
        raise UserError(f"{name} has no time limit, so that an episode may never end; give rounds with steps.")
    count = rounds.lanes * runs
    if isinstance(world, Simulator) and world.single and count > 1:
        raise UserError(f"{name} is a single environment; give its name or a function to have {count}.")
    return rounds


def _check_warm_up(method: Algorithm, rounds: Rounds, steps: int) -> None:
    """Raise UserError where the method's own warm-up, which nobody asked for, would take most of a run."""
    if rounds.warm_up == method.rounds.warm_up > steps / 2:
        raise UserError(
            f"{method.title} collects {rounds.warm_up:,} steps before its first update, more than half of the "
            f"{steps:,}; give more steps, or rounds with another warm_up (--warm-up-steps)."
        )


def _maker(
    run: Run, env: Any, world: Environment | Simulator, turns: Turns, data: Dataset | None = None,
    first: Sequence[PyTree] = (),
) -> Callable[[], Make]:  # fmt: skip
    """Return what prepares the making of engines. first: the states of every group to begin with, if there are any."""

    def prepare() -> Make:
        log = None if data is None else transformed(run.transform, data.device())
        kind = Compiled if isinstance(world, Environment) else Hosted
        inside = pytree.as_arrays(world) if isinstance(world, Environment) else world
        steps, mapping = run.record["steps"], run.record["computed"]["mapping"]
        arena = Arena(env, inside, turns, run.transform, log, steps, run.planned, mapping)
        return lambda group, settings, seeds: kind(settings, seeds, arena, first[group] if first else None)

    return prepare


def fit_online(settings: Sequence[Algorithm], env: Any, options: Options, turns: Turns) -> Run:
    """Train every setting with every seed by acting in `env` from nothing; see `weft.fit`."""
    world = _world(env)
    spec = _form(world)
    turns = evaluations(turns, options.steps)
    plan = plan_of(settings, spec, _logged_with(options, turns))
    rounds = _checked(plan.settings, world, turns.rounds, len(plan.settings) * len(plan.seeds))
    _check_warm_up(plan.settings[0], rounds, plan.steps)
    turns = dataclasses.replace(turns, rounds=rounds)
    transform = declared_units(spec, options.stack)
    origin = f"env:{_name(world)}"
    source = {"origin": origin, "fingerprint": origin, "steps": 0, "episodes": 0, "notes": []}
    record = record_of(plan, spec, source, {"stack": options.stack})
    record["online"] = _online_record(world, rounds, turns)
    record["largest_returns"] = [_largest(setting, spec) for setting in plan.settings]
    run = Run.fresh(record, plan.settings, plan.seeds, transform, options.out)
    train_runs(run, plan, options, _maker(run, env, world, turns))
    return run


def _logged_with(options: Options, turns: Turns) -> Options:
    """Return options whose metrics come with the evaluations, where nothing else was asked for."""
    return dataclasses.replace(options, log_every=options.log_every or turns.evaluate_every)


def _online_record(world: Any, rounds: Rounds, turns: Turns) -> dict[str, Any]:
    return {
        "environment": _name(world),
        "rounds": {field.name: getattr(rounds, field.name) for field in dataclasses.fields(rounds)},
        "evaluate_every": turns.evaluate_every,
        "episodes": turns.evaluate_episodes,
    }


def _largest(setting: Algorithm, spec: Spec) -> float | None:
    """Return the largest size of a discounted return that the declared range of rewards allows, None without one."""
    discount = getattr(setting, "discount", None)
    if discount is None or spec.reward_low is None or spec.reward_high is None or float(discount) >= 1.0:
        return None
    return max(abs(spec.reward_low[0]), abs(spec.reward_high[0])) / (1.0 - float(discount))


def finetune(
    run: Run,
    env: Any,
    steps: int = 100_000,
    out: str | Path | None = None,
    *,
    data: Dataset | None = None,
    rounds: Rounds | None = None,
    step: int | None = None,
    evaluate_every: int | None = None,
    evaluate_episodes: int = 10,
    resume: bool = False,
    progress: bool | None = None,
    keep: Sequence[int] = (),
    log_every: int | None = None,
    checkpoint_seconds: float = 60.0,
    stop_when_hopeless: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Run:
    """Let every run of an offline `Run` go on by acting in `env`, and return the new `Run`.

    Networks, targets, the optimisers' moments, the units of observations, actions and rewards are carried over, and the
    log stays: a batch is drawn from log and own steps as if they were one, or by `rounds.logged_share`. What was
    learned acts from the first step on: imitation, warm-ups and uniform actions do not come again, and ε stays where it
    ended. Only a learning rate that decays (`decay`) does so anew, for at its end it was 0.

    data: the log; by default it is loaded again from where it came (and must be the same). With `rounds.logged_share=0`
    there is none. step: the kept step to begin at, the last by default. The other arguments are those of `weft.fit`;
    `evaluate_every` also measures the policy before the first step, so that `switch(run)` can say how deep the dip is.
    changes: hyperparameters that are others from now on, `{"learning_rate": 1e-4}`, in every setting of the run; they
    leave alone what it has learned.

    Raises UserError for a method that cannot go on, a change that needs other networks, a log that is not the run's, an
    environment of another form, and whatever `fit` raises it for.
    """
    keep_compiled_programs()
    _check_types(run, data, changes)
    options = Options(
        steps, run.seeds, out, resume, progress, keep=keep, log_every=log_every, checkpoint_seconds=checkpoint_seconds,
        stop_when_hopeless=stop_when_hopeless,
    )  # fmt: skip
    world = _world(env)
    check_same(run.spec, _form(world), _name(world))
    limits = world.limits if isinstance(world, Simulator) else limits_of(world.spec.action)
    check_reach(run.transform.reach, limits, _name(world))
    turns = evaluations(Turns(rounds, evaluate_every, evaluate_episodes), steps)
    settings = [_changed(setting, changes or {}, run.transform.inner) for setting in run.settings]
    plan = plan_of(settings, run.spec, _logged_with(options, turns), begins=False)
    rounds = _checked(plan.settings, world, rounds or Rounds(), len(plan.settings) * len(plan.seeds))
    turns = dataclasses.replace(turns, rounds=rounds)
    if "replay" not in plan.settings[0].learns_from:
        others = methods_that(lambda kind: "replay" in kind.learns_from)
        raise UserError(f"{plan.settings[0].title} learns from fresh steps only; fine-tune one of {others}.")
    log = _log_of(run, data) if rounds.logged_share != 0.0 else None
    begun = step if step is not None else max(run.steps, default=0)
    source = source_of(log) if log is not None else {**run.record["data"]}
    record = record_of(plan, run.spec, source, run.record["units"])
    record["online"] = {**_online_record(world, rounds, turns), "from": _origin(run, begun)}
    record["largest_returns"] = _bounds(run, log, settings if changes else None)
    successor = Run.fresh(record, plan.settings, plan.seeds, run.transform, out)
    successor.trained_on = run.trained_on
    first = [
        pytree.stack([run.state(setting, seed, step) for setting in members for seed in range(len(run.seeds))])
        for members in successor.groups
    ]
    train_runs(successor, plan, options, _maker(successor, env, world, turns, log, first))
    return successor


def _bounds(run: Run, log: Dataset | None, changed: Sequence[Algorithm] | None) -> list[float | None]:
    """Return the largest returns of a run's settings, counted anew where these have changed."""
    if changed is not None:
        return [None if log is None else largest_return(one, log, run.transform) for one in changed]
    scale = run.transform.reward_unit / run.unit  # an older run's are in the units of the method
    return [None if most is None else most * scale for most in run.record["largest_returns"]]


def _check_types(run: Any, data: Any, changes: Any) -> None:
    """Raise UserError unless this is a run, with a log and changes if they were given."""
    if isinstance(run, str | os.PathLike):
        path = os.fspath(run)
        raise UserError(f"finetune goes on from a Run, got {path!r}; read it first: weft.load_run({path!r}).")
    if not isinstance(run, Run):
        raise UserError(f"finetune goes on from a Run, as weft.fit returns it, got {type(run).__name__}.")
    if data is not None:
        check_log(data, "finetune")
    if not isinstance(changes, Mapping | None):
        raise UserError(f"changes is a dictionary of hyperparameters by name, got {changes!r:.80}.")


def _origin(run: Run, step: int) -> dict[str, Any]:
    origin = {"step": step, "data": run.record["data"]["fingerprint"], "settings": run.record["settings"]}
    return json.loads(json.dumps(origin))


def _log_of(run: Run, data: Dataset | None) -> Dataset:
    """Return the log that a run was trained on, given or loaded again; raise UserError if it is another."""
    source = run.record["data"]
    if data is None:
        from ..data.load import load

        try:
            data = load(source["origin"])
        except UserError as problem:
            raise UserError(
                f"The log of {run.name} cannot be loaded again from '{source['origin']}' ({problem}) Give it as data=."
            ) from None
    if data.fingerprint != source["fingerprint"]:
        raise UserError(f"{data.origin} is not the log that {run.name} was trained on ({source['origin']}); give that.")
    return data


def switch(run: Run) -> dict[str, float]:
    """Return what happened when acting began, from the evaluations, means over all settings and seeds.

    `offline`: before the first step; `lowest`, at `lowest_step`; `dip`: their difference, at least 0; `online`: at the
    end. Raises UserError for a run that was not evaluated.
    """
    rows = [row for row in run.metrics if "evaluation" in row]
    steps = sorted({row["step"] for row in rows})
    if len(steps) < 2 or steps[0] != 0:
        raise UserError(f"{run.name} was not evaluated before and while it acted; give evaluate_every.")
    scores = [float(np.mean([row["evaluation"] for row in rows if row["step"] == step])) for step in steps]
    lowest = int(np.argmin(scores))
    return {
        "offline": scores[0],
        "lowest": scores[lowest],
        "lowest_step": float(steps[lowest]),
        "dip": max(scores[0] - scores[lowest], 0.0),
        "online": scores[-1],
    }
