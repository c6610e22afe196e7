"""What a training curve shows: over-fitting, under-fitting, divergence, luck of the seed. Arrays in, findings out.

Kumar, Singh, Tian, Finn and Levine 2021 (arXiv:2109.10813) for conservative methods. Whatever is found is about the
training and never evidence of what a policy is worth.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from ..training.alarms import FACTOR

__all__ = [
    "Finding",
    "Verdict",
    "choose_checkpoint",
    "diverging",
    "growing",
    "overfitting",
    "seed_stability",
    "underfitting",
]

WINDOWS = 10  # into which a curve is cut to smooth it and to measure its noise
ROWS = 20  # that a curve must have
ERRORS = 2.0  # standard errors that a change must exceed
LARGEST_OF_TEN = 1.54  # mean of the largest of ten standard normal numbers: what picking the peak adds by itself
RANGE = 0.05  # of the range of a curve that a change must exceed
CLEARLY = 0.10  # lower by this share is clearly lower
GROWTH = 1.5  # over an eighth of a run; no curve that settles grows like this to the end

Verdict = Literal["clear", "watch", "alarm", "unknown"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check says: `clear`, `watch`, `alarm`, or `unknown` where it cannot say; in one sentence.

    `step` is where it happened (the peak, the first wrong value). `figures` hold the numbers behind the sentence.
    """

    check: str
    verdict: Verdict
    sentence: str
    step: int | None = None
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)


def overfitting(steps: Int[np.ndarray, "row"], mean_q: Float[np.ndarray, "row"]) -> Finding:
    """Test whether the mean Q over the data of a conservative method rises and then falls (Kumar et al. 2021, §4).

    The curve is smoothed to the means of ten windows. It over-fits when the highest lies above the first and above the
    last by more than 5 % of their range and by more than two standard errors of such a difference, to which what
    picking the highest of ten adds by chance is added. The error comes from second differences of the windows, which a
    trend hardly touches. `step` is the peak. Unknown with fewer than 20 finite rows.

    Measured on curves of 100 rows without a peak: at most 2 % false alarms with independent noise, at most 5 % with
    noise of autocorrelation 0.8, 7 % on random walks.
    """
    finite = np.isfinite(mean_q)
    steps, curve = np.asarray(steps)[finite], np.asarray(mean_q, float)[finite]
    if len(curve) < ROWS:
        return Finding("over-fitting", "unknown", f"{len(curve)} rows of mean Q are too few; it takes {ROWS}.")
    width = len(curve) // WINDOWS
    smooth = curve[len(curve) - WINDOWS * width :].reshape(WINDOWS, width).mean(1)
    error = float(np.median(np.abs(np.diff(smooth, 2)))) / 0.6745 / np.sqrt(6.0)
    margin = max((ERRORS * np.sqrt(2.0) + LARGEST_OF_TEN) * error, RANGE * float(np.ptp(smooth)))
    top = int(smooth.argmax())
    peak = int(steps[len(curve) - (WINDOWS - top) * width + (width - 1) // 2])
    first, high, last = float(smooth[0]), float(smooth[top]), float(smooth[-1])
    figures = {"first": first, "peak": high, "last": last, "margin": margin, "error": error}
    if high - last > margin and high - first > margin:
        words = f"Mean Q rose to {high:.4g} at step {peak:,} and fell to {last:.4g} by the end."
        return Finding("over-fitting", "alarm", words, peak, figures)
    what = "falls from the beginning, which is no peak" if high - last > margin else "does not fall after a peak"
    words = f"Mean Q {what} ({first:.4g}, at most {high:.4g}, {last:.4g})."
    return Finding("over-fitting", "clear", words, peak, figures)


def underfitting(
    smaller: Mapping[str, Float[np.ndarray, "row seed"]], larger: Mapping[str, Float[np.ndarray, "row seed"]]
) -> Finding:
    """Compare two runs that differ in capacity only (Kumar et al. 2021, §5): `td_error` and `gap` of each.

    Both are averaged over the last fifth of the rows. The smaller one under-fits when both are clearly lower in the
    larger: by more than two standard errors (between seeds, or between rows where that is larger) and by 10 %.
    """
    comparisons, figures, lower = [], {}, []
    for name, words in (("td_error", "TD error"), ("gap", "conservative gap")):
        if name not in smaller or name not in larger:
            return Finding("under-fitting", "unknown", f"The runs have no metric {name} to compare.")
        (small, small_error), (large, large_error) = _ending(smaller[name]), _ending(larger[name])
        if not np.isfinite([small, large]).all():
            return Finding("under-fitting", "unknown", f"The {words} is not finite, so there is nothing to compare.")
        margin = max(ERRORS * float(np.hypot(small_error, large_error)), CLEARLY * abs(small))
        lower.append(small - large > margin)
        comparisons.append(f"{words} {small:.4g} against {large:.4g}")
        figures |= {f"{name}_smaller": small, f"{name}_larger": large, f"{name}_margin": margin}
    verdict: Verdict = "alarm" if all(lower) else "watch" if any(lower) else "clear"
    ends = {"alarm": "both clearly lower in the larger network", "watch": "one clearly lower in the larger network",
            "clear": "neither clearly lower in the larger network"}  # fmt: skip
    return Finding("under-fitting", verdict, f"{', '.join(comparisons)}: {ends[verdict]}.", None, figures)


def diverging(
    steps: Int[np.ndarray, "row"],
    mean_q: Float[np.ndarray, "row"],
    largest: float | Float[np.ndarray, "row"] | None = None,
) -> Finding:
    """Check mean Q against what a policy can get: `largest`, a bound for all rows or for each; None if it is unknown.

    Alarm: not finite; more than ten times the bound in one of the last two rows; or beyond the bound and growing
    geometrically (without a bound growth alone is an alarm). Watch: beyond the bound, or ten times beyond it on the
    way. `step` is the first row of what is wrong.
    """
    steps, curve = np.asarray(steps), np.asarray(mean_q, float)
    if len(curve) == 0:
        return Finding("divergence", "unknown", "There are no rows of mean Q.")
    broken = ~np.isfinite(curve)
    if broken.any():
        step = int(steps[broken.argmax()])
        return Finding("divergence", "alarm", f"Mean Q is not finite from step {step:,} on.", step)
    last, grows = float(curve[-1]), growing(curve)
    if largest is None:
        if grows:
            step = int(steps[len(steps) // 2])
            return Finding("divergence", "alarm", f"Mean Q grows geometrically, to {last:.4g} so far.", step)
        return Finding("divergence", "clear", f"Mean Q settles or grows slowly ({last:.4g}); no bound is known.")
    bound = np.broadcast_to(np.asarray(largest, float), curve.shape)
    share = np.abs(curve) / np.maximum(bound, 1e-12)
    figures = {"last": last, "bound": float(bound[-1]), "share": float(share[-1])}
    wild = share > FACTOR
    most = f"what rewards, discount and method make believable ({bound[-1]:.4g})"
    if wild[-2:].any():
        step = int(steps[wild.argmax()])
        words = f"Mean Q is {last:.4g}; from step {step:,} it is more than {FACTOR:g} times {most}."
        return Finding("divergence", "alarm", words, step, figures)
    over = int(steps[(share > 1).argmax()])
    if share[-1] > 1 and grows:
        words = f"Mean Q grows geometrically and is {last:.4g}, beyond {most}."
        return Finding("divergence", "alarm", words, over, figures)
    if share[-1] > 1:
        return Finding("divergence", "watch", f"Mean Q is {last:.4g}, beyond {most}.", over, figures)
    if wild.any():
        step = int(steps[wild.argmax()])
        words = f"Mean Q was more than {FACTOR:g} times {most} at step {step:,} and came back to {last:.4g}."
        return Finding("divergence", "watch", words, step, figures)
    return Finding("divergence", "clear", f"Mean Q is {last:.4g}, within {most}.", None, figures)


def growing(values: Float[np.ndarray, "row"]) -> bool:
    """Say whether |values| grow geometrically to the end: by half over every eighth of the curve in its second half."""
    values = np.abs(np.asarray(values, float))
    if len(values) < ROWS or not np.isfinite(values).all():
        return False
    smooth = _moving(values, len(values) // ROWS)
    places = np.linspace((len(smooth) - 1) / 2, len(smooth) - 1, 5).round().astype(int)
    return bool((smooth[places[1:]] > GROWTH * smooth[places[:-1]]).all())


def seed_stability(curves: Float[np.ndarray, "row seed"], name: str = "mean_q") -> Finding:
    """Compare where the seeds of a setting end with how far training moved any of them.

    Watch when the standard deviation between seeds of the last fifth exceeds a quarter of the range of all curves.
    """
    curves = np.asarray(curves, float)
    if curves.shape[1] < 2:
        return Finding("seeds", "unknown", "One seed says nothing about luck.")
    ends = np.nanmean(curves[-max(1, len(curves) // 5) :], 0) if np.isfinite(curves).all() else np.full(2, np.nan)
    if not np.isfinite(ends).all():
        return Finding("seeds", "unknown", f"{name} is not finite in some seed.")
    spread, moved = float(ends.std(ddof=1)), float(np.ptp(curves))
    figures = {"spread": spread, "range": moved}
    words = f"{name} ends between {ends.min():.4g} and {ends.max():.4g} over {len(ends)} seeds"
    if spread > moved / 4:
        return Finding("seeds", "watch", f"{words}: the seed decides as much as training does.", None, figures)
    return Finding("seeds", "clear", f"{words}; training moved it by {moved:.4g}.", None, figures)


def choose_checkpoint(kept: Sequence[int], over_fitting: Finding, divergence: Finding | None = None) -> int | None:
    """Return the checkpoint to take: the last kept at or before the peak of a run that over-fits, else the last.

    Where none that old is kept, the one nearest to the peak. Checkpoints from a divergence on do not count; None if
    nothing is left.
    """
    steps = sorted(kept)
    if divergence is not None and divergence.verdict == "alarm" and divergence.step is not None:
        steps = [step for step in steps if step < divergence.step]
    if not steps:
        return None
    if over_fitting.verdict != "alarm" or over_fitting.step is None:
        return steps[-1]
    return max((step for step in steps if step <= over_fitting.step), default=steps[0])


def _moving(values: np.ndarray, width: int) -> np.ndarray:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return (total[width:] - total[:-width]) / width


def _ending(values: Float[np.ndarray, "row seed"]) -> tuple[float, float]:
    """Return the mean over the last fifth of the rows and the seeds, and its standard error."""
    values = np.asarray(values, float)
    ending = values.reshape(len(values), -1)[-max(2, len(values) // 5) :]
    rows = ending.std(ddof=1) / np.sqrt(ending.size) if ending.size > 1 else 0.0
    seeds = ending.mean(0).std(ddof=1) / np.sqrt(ending.shape[1]) if ending.shape[1] > 1 else 0.0
    return float(ending.mean()), float(max(rows, seeds))
