"""`weft evaluate`: what policies are worth, those of a run by acting or from a log, any other from a log."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from ...core.errors import UserError
from ..command import Command, Flag, Log, LogOptions, Pair, Place, Steps, Trained, console

if TYPE_CHECKING:
    import numpy as np

    from ...data.dataset import Dataset
    from ...training.run import Run

__all__ = ["Evaluate"]

FIGURES = ("value", "low", "high", "discount")


@dataclasses.dataclass(frozen=True)
class Evaluate(Command):
    """Evaluate every policy of a run: by roll-outs (--env), off-policy from a log (--data), or both.

    An external policy, which weft did not train, is evaluated from a log: model.onnx, module:function,
    file.py:function, table.csv or table.parquet with probabilities by decision, column:NAME of the log.

    Roll-outs give undiscounted returns of whole episodes, episode i reset with seed + i; the interval of a policy is
    over its episodes, that of a setting over its seeds (Student's t, 95 %). A log gives a discounted value, by fitted Q
    evaluation with an episode bootstrap that refits, or by --method; use a log that the run was not trained on. What
    `weft diagnose` speaks against is not printed, unless --refused asks for it.
    """

    example: ClassVar[str] = "weft evaluate runs/iql-1 --env Hopper-v5 --episodes 20 --reference -20.27 3234.3"

    policy: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN_OR_POLICY")]
    """Folder of a run, a file that run.save_policy wrote, or an external policy."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ENVIRONMENT", help_behavior_hint="")] = None
    """A Gymnasium id (Hopper-v5) or a world of weft (maze, grid)."""
    episodes: int = 20
    """Episodes per policy."""
    data: Annotated[str | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """Log to evaluate on; the options of a log below describe its columns."""
    trained_on: Trained = None
    """Log that an external policy was trained on, with the same options; a warning says what is in both."""
    step: Steps = ()
    """Checkpoints to evaluate; by default the last."""
    seed: int = 0
    """Random seed of the evaluation."""
    sample: Flag = False
    """Sample actions instead of acting greedily."""
    reference: Pair = None
    """Returns that score 0 and 100; adds a column with the score."""
    discount: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Discount factor of the value on a log; by default the log's, else 0.99."""
    refits: int = 20
    """Bootstrap refits of fitted Q evaluation."""
    method: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """Estimator for a log, such as doubly_robust, linear_q, per_decision; by default fitted Q evaluation."""
    interval: str = "bootstrap"
    """Interval of --method, such as normal, student, betting."""
    refused: Flag = False
    """Also print estimates that the diagnostics speak against."""
    out: Place = None
    """Also write all figures to this JSON file."""
    log: Log = dataclasses.field(default_factory=LogOptions)

    def run(self) -> None:
        """Print one row per policy and one per setting."""
        import weft

        if self.env is None and self.data is None:
            raise UserError("Say what to judge by: --env ENVIRONMENT (acting) or --data LOG (fitted Q evaluation).")
        from ...core.compilation import keep_compiled_programs
        from ...training.run_folder import holds_run

        keep_compiled_programs()
        if not (self._folder.is_dir() or holds_run(self._folder)):
            self._one()
            return
        run = weft.load_run(self._folder)
        if not run.steps:
            raise UserError(f"{run.name} has no checkpoint yet; go on with `weft fit … --out {run.folder} --resume`.")
        record: dict[str, Any] = {"run": self.policy, "settings": run.record["settings"]}
        steps = list(self.step) or [run.steps[-1]]
        if self.env is not None:
            record["rollouts"] = self._act(run, steps)
        if self.data is not None:
            record["estimates"] = self._estimate(run, steps)
        if self.out is not None:
            from ...core.storage import write_json

            write_json(self.out, record)

    @property
    def _folder(self) -> Path:
        return Path(self.policy)

    def _one(self) -> None:
        """Judge one policy from a log, and print its value."""
        from rich.table import Table

        from ...evaluation.subject import subject

        if self.data is None or self.env is not None or self.step:
            what = "--step" if self.step else "--env"
            raise UserError(f"{what} is for runs; a policy by itself is judged from a log: --data LOG.")
        data = self.log.load(self.data)
        trained_on = None if self.trained_on is None else self.log.load(self.trained_on)
        estimate, reasons = self._judge(
            subject(self.policy, trained_on=trained_on), data, False if self.sample else None
        )
        table = Table("policy", "estimated value", "95 % interval", box=None, pad_edge=False)
        table.add_row(self.policy, *self._words(estimate, reasons))
        self._print(f"{estimate.estimand[0].upper()}{estimate.estimand[1:]}", data, table, estimate.notes, reasons)
        if self.out is not None:
            from ...core.storage import write_json

            figures = {**figures_of(estimate, reasons), "notes": list(estimate.notes)}
            write_json(self.out, {"policy": self.policy, **self._about(data), **figures})

    def _act(self, run: "Run", steps: list[int]) -> dict[str, Any]:
        from rich.table import Table

        import weft

        label = labels(run)
        names = ["step", *(["setting"] if label[0] else []), "seed", "mean return", "95 % interval", "worst", "best"]
        table = Table(*names, *(["score"] if self.reference else []), box=None, pad_edge=False)
        screen, rows = console(), []
        for step, setting in ((step, setting) for step in steps for setting in range(len(run.settings))):
            head = [f"{step:,}", *([label[setting]] if label[0] else [])]
            means = []
            for place, seed in enumerate(run.seeds):
                policy = run.policy(seed=place, setting=setting, step=step)
                returns = weft.rollout(policy, self.env, self.episodes, self.seed, not self.sample)
                means.append(float(returns.mean()))
                table.add_row(*head, str(seed), *self._cells(returns))
                rows.append({"step": step, "setting": setting, "seed": seed, "returns": returns.tolist()})
            if len(means) > 1:
                import numpy as np

                table.add_row(*head, "all", *self._cells(np.array(means)), style="bold")
        screen.print(f"{run.settings[0].title}, {self.episodes} episodes each in {self._world()}:", soft_wrap=True)
        screen.print(table)
        return {"environment": self._world(), "episodes": self.episodes, "greedy": not self.sample, "policies": rows}

    def _cells(self, values: "np.ndarray") -> list[str]:
        low, high = interval(values)
        worst, times = values.min(), int((values == values.min()).sum())
        failures = f" ({times} of {len(values)})" if 1 < times < len(values) else ""
        cells = [f"{values.mean():.4g}", bounds(low, high), f"{worst:.4g}{failures}", f"{values.max():.4g}"]
        if self.reference:
            zero, hundred = self.reference
            cells.append(f"{100 * (values.mean() - zero) / (hundred - zero):.1f}")
        return cells

    def _world(self) -> str:
        """Name the environment and the versions that decide what happens in it."""
        from ...envs.environment import known
        from ...envs.gymnasium_adapter import simulator_versions

        assert self.env is not None
        if known(self.env):
            return self.env
        versions = (f"{package} {version}" for package, version in simulator_versions(self.env).items())
        return f"{self.env} ({', '.join(versions)})"

    def _estimate(self, run: "Run", steps: list[int]) -> dict[str, Any]:
        from rich.table import Table

        assert self.data is not None
        data = self.log.load(self.data)
        label = labels(run)
        names = ["step", *(["setting"] if label[0] else []), "seed", "estimated value", "95 % interval"]
        table, rows, notes, refused = Table(*names, box=None, pad_edge=False), [], [], []
        if data.fingerprint == run.record["data"]["fingerprint"]:
            notes.append("This is the log that the run was trained on: expect estimates that are too high.")
        for step, setting in ((step, setting) for step in steps for setting in range(len(run.settings))):
            for place, seed in enumerate(run.seeds):
                policy = run.policy(seed=place, setting=setting, step=step)
                estimate, reasons = self._judge(policy, data, not self.sample)
                head = [f"{step:,}", *([label[setting]] if label[0] else []), str(seed)]
                table.add_row(*head, *self._words(estimate, reasons))
                rows.append({"step": step, "setting": setting, "seed": seed, **figures_of(estimate, reasons)})
                notes += [note for note in estimate.notes if note not in notes]
                refused += [reason for reason in reasons if reason not in refused]
        self._print(run.settings[0].title, data, table, notes, refused)
        return {**self._about(data), "policies": rows, "notes": notes}

    def _words(self, estimate: Any, reasons: Sequence[str]) -> tuple[str, str]:
        """Write an estimate and its interval, or that it is refused."""
        if reasons and not self.refused:
            return "refused", "–"
        return f"{estimate.value:.4g}", bounds(estimate.low, estimate.high)

    def _print(self, who: str, data: "Dataset", table: Any, notes: Sequence[str], refused: Sequence[str]) -> None:
        screen = console()
        how = "fitted Q evaluation" if self.method is None else f"{self.method} ({self.interval} interval)"
        screen.print(f"{who}, discounted value by {how} on {data.origin}:", soft_wrap=True, markup=False)
        screen.print(table)
        for word, sentences in (("Refused", refused), ("Note", notes)):
            for sentence in sentences:
                screen.print(f"{word}: {sentence}", soft_wrap=True, markup=False)

    def _about(self, data: "Dataset") -> dict[str, Any]:
        return {"data": data.origin, "fingerprint": data.fingerprint, "method": self.method or "fitted_q"}

    def _judge(self, policy: Any, data: "Dataset", greedy: bool | None) -> tuple[Any, tuple[str, ...]]:
        """Return an estimate, and what speaks against it."""
        import weft

        from ...evaluation.estimator import estimator
        from ...evaluation.refusals import refusals

        shared: dict[str, Any] = {"discount": self.discount, "seed": self.seed, "greedy": greedy}
        if self.method is None:
            estimate = weft.estimate_fitted_q(policy, data, replicates=self.refits, **shared)
        else:
            estimate = weft.estimate(policy, data, self.method, self.interval, **shared)
        return estimate, refusals(policy, data, estimator(self.method or "fitted_q"), **shared)


def figures_of(estimate: Any, reasons: Sequence[str]) -> dict[str, Any]:
    """Return an estimate for a file, with what speaks against it."""
    return {**{name: getattr(estimate, name) for name in FIGURES}, "refused": list(reasons)}


def labels(run: "Run") -> list[str]:
    """Name every setting by what differs between the settings; the empty string where there is only one."""
    flat = [dict(_flat(settings, "")) for settings in run.record["settings"]]
    differing = [name for name in flat[0] if any(settings.get(name) != flat[0][name] for settings in flat)]
    differing += [name for settings in flat for name in settings if name not in flat[0] and name not in differing]
    return [", ".join(f"{name} {settings[name]}" for name in differing if name in settings) for settings in flat]


def _flat(settings: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    parts = []
    for name, value in settings.items():
        parts += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return parts


def interval(values: "np.ndarray") -> tuple[float, float]:
    """Return the 95 % interval of a mean: by Student's t, or of the share of the larger one (Clopper and Pearson) where
    there are two values only. Without end for fewer than two episodes and where all are equal: nothing varied.
    """
    import numpy as np
    from scipy.special import betaincinv, stdtrit

    kinds, counts = np.unique(values, return_counts=True)
    if len(kinds) < 2:
        return -np.inf, np.inf
    if len(kinds) == 2:
        misses, hits = (float(count) for count in counts)
        shares = betaincinv(hits, misses + 1.0, 0.025), betaincinv(hits + 1.0, misses, 0.975)
        low, high = (float(kinds[0] + share * (kinds[1] - kinds[0])) for share in shares)
        return low, high
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half


def bounds(low: float, high: float) -> str:
    """Write an interval; a dash where there is none."""
    return f"{low:.4g} to {high:.4g}" if low > float("-inf") else "–"
