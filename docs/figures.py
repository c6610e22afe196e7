"""Draw the pictures of the documentation, `docs/figures/*.png`.

    make docs

Every number in them is computed here or comes from `benchmarks/results/`. matplotlib is in the extra `dev`.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

import weft
from weft.envs.worlds.crossroads import COIN, Crossroads
from weft.envs.worlds.grid import CELLS, ENDS, MOVES, SIDE
from weft.labs import tabular
from weft.reports.chart import COLOURS, INK, PRINT, SOFT

FOLDER = Path(__file__).resolve().parent / "figures"
QUIET = "#eceef0"
DPI = 130


def grid() -> Figure:
    """The 4 × 4 grid: what the random policy is worth, and the best one, with the moves that each makes."""
    model = tabular.grid_world()
    random = np.full((CELLS, len(MOVES)), 1 / len(MOVES))
    best = tabular.value_iteration(model, discount=1.0)
    ties = np.isclose(best.q, best.values[:, None])  # every best move, not only the first
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.55))
    values = tabular.evaluate(model, random, discount=1.0).values
    _cells(left, values, random > 0, "Random policy", "#a04000")
    _cells(right, best.values, ties, "Optimal policy", "#004a78")
    figure.subplots_adjust(left=0.02, right=0.98, top=0.88, bottom=0.09, wspace=0.08)
    told = "Expected sum of rewards from each cell until a grey corner is reached; every move costs 1."
    figure.text(0.5, 0.025, told, ha="center", color=SOFT, fontsize=10.5)
    return figure


def _cells(axes: Axes, values: np.ndarray, moves: np.ndarray, title: str, colour: str) -> None:
    shades = LinearSegmentedColormap.from_list("shades", ["#ffffff", colour])
    for cell, value in enumerate(values):
        row, column = divmod(cell, SIDE)
        depth = 0.04 + 0.4 * (value / values.min()) ** 1.5
        face = "#d5d9de" if cell in ENDS else shades(depth)
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=face, edgecolor="white", linewidth=2.5))
        told = "0" if cell in ENDS else f"−{-value:.0f}"
        axes.text(column + 0.5, row + 0.515, told, ha="center", va="center", fontsize=15, color=INK)
        for (down, right), taken in zip(MOVES, moves[cell], strict=True):
            if taken and cell not in ENDS:
                tip = np.array([column + 0.5 + 0.43 * right, row + 0.5 + 0.43 * down])
                back, side = 0.13 * np.array([right, down]), 0.085 * np.array([down, right])
                axes.add_patch(Polygon([tip, tip - back + side, tip - back - side], color=colour, linewidth=0))
    axes.set(xlim=(0, SIDE), ylim=(SIDE, 0), aspect="equal")
    axes.axis("off")
    axes.set_title(title, fontsize=13.5, pad=9, color=INK)


def baselines() -> Figure:
    """Four baselines of the policy gradient on a bandit: one mean, four variances."""
    theta, pay = np.array([0.2, -0.1, 0.4]), np.array([1.0, 2.0, 5.0])
    chance = np.exp(theta) / np.exp(theta).sum()
    score = np.eye(3) - chance  # grad log pi of each choice
    size, worth = np.square(score).sum(1), chance @ pay
    best = (chance * size) @ pay / (chance @ size)
    rows = {
        "none": 0.0,
        f"moving average of returns: {worth:.2f}": worth,
        f"learned value: {worth:.2f}": worth,
        f"best constant: {best:.2f}": best,
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.7), width_ratios=(1.2, 1))
    for place, (name, constant) in enumerate(rows.items()):
        each = score * (pay - constant)[:, None]
        mean = chance @ each
        apart = np.sqrt(chance @ np.square(each - mean))
        at, colour = np.arange(3) + 0.17 * (place - 1.5), COLOURS[place]
        left.errorbar(at, mean, apart, fmt="o", color=colour, markersize=6, elinewidth=2, capsize=0)
        total = float(np.square(apart).sum())
        right.barh(place, total, height=0.34, color=colour)
        right.text(0, place - 0.27, name, va="bottom", fontsize=10.5, color=INK)
        right.text(total + 0.08, place, f"{total:.2f}", va="center", fontsize=11)
    for place, exact in enumerate(chance @ (score * pay[:, None])):
        left.plot([place - 0.42, place + 0.42], [exact, exact], color=INK, linewidth=1, zorder=0)
        told = f"mean {exact:.3f}".replace("-", "−")
        left.text(place, -2.32, told, ha="center", va="bottom", fontsize=10.5, color=INK)
    left.set_xticks(range(3), [rf"$\theta_{place}$" for place in (1, 2, 3)], fontsize=13)
    left.set(xlim=(-0.5, 2.5), ylim=(-2.4, 2.8), ylabel="gradient ± deviation of a sample")
    left.tick_params(length=0)
    left.spines["bottom"].set_visible(False)
    left.grid(axis="y", color=QUIET)
    left.set_axisbelow(True)
    left.set_title("The same mean …", loc="left", fontsize=13.5, pad=9)
    right.set(ylim=(3.4, -0.75), xlim=(0, 6.2))
    right.axis("off")
    right.set_title("… and not the same variance", loc="left", fontsize=13.5, pad=9)
    figure.subplots_adjust(left=0.085, right=0.99, top=0.88, bottom=0.1, wspace=0.08)
    return figure


RESULTS = json.loads((FOLDER.parent.parent / "benchmarks/results/online.json").read_text())
TITLES = {
    "dqn": "DQN", "reinforce": "REINFORCE", "actor_critic": "Actor-critic", "sac": "SAC", "iql": "IQL", "awac": "AWAC",
    "cql": "CQL", "cal_ql": "Cal-QL",
}  # fmt: skip


def learning() -> Figure:
    """Greedy returns of every seed while methods learn from nothing, and their mean."""
    found = RESULTS["learn"]
    figure, panels = plt.subplots(1, len(found), figsize=(2.9 * len(found), 3.3), squeeze=False)
    for axes, (name, case) in zip(panels[0], found.items(), strict=True):
        _curve(axes, case, COLOURS[0])
        axes.axhline(case["solved_at"], color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_title(f"{TITLES[name]}, {case['environment']}", loc="left", fontsize=11, pad=8)
    panels[0][0].set_ylabel("greedy return")
    figure.tight_layout(w_pad=1.4)
    return figure


def switch() -> Figure:
    """Greedy returns while methods that learned from a log go on by acting; step 0 is what the log alone gave."""
    found = RESULTS["hopper"]
    figure, panels = plt.subplots(1, len(found), figsize=(2.9 * len(found), 3.3), squeeze=False, sharey=True)
    for axes, (name, case) in zip(panels[0], found.items(), strict=True):
        _curve(axes, case["curve"], COLOURS[0])
        axes.axhline(case["offline"], color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_title(f"{TITLES[name]}, Hopper-v5", loc="left", fontsize=11, pad=8)
    panels[0][0].set_ylabel("greedy return")
    figure.tight_layout(w_pad=1.4)
    return figure


def _curve(axes: Axes, case: dict[str, Any], colour: str) -> None:
    steps, scores = np.array(case["steps"]), np.array(list(case["seeds"].values()))
    for row in scores:
        axes.plot(steps, row, color=colour, alpha=0.3, linewidth=1)
    axes.plot(steps, scores.mean(0), color=colour, linewidth=2.2)
    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step / 1000:g}k" if step else "0")
    axes.grid(axis="y", color=QUIET)
    axes.set_axisbelow(True)


def notifications() -> Figure:
    """Volume against clicks per send on the smallest log; the front of volume and clicks over weights."""
    found = json.loads((FOLDER.parent.parent / "benchmarks/results/notifications.json").read_text())
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 4.1))
    kinds = {"ddqn": ("double DQN", COLOURS[1]), "cql": ("double DQN + CQL", COLOURS[0])}
    for name, place in (("ddqn", "ddqn"), ("cql", "cql 0.2")):
        each = found["table"][place]["each"]
        told, colour = kinds[name]
        left.scatter(
            [one["volume"] for one in each], [one["clicks_per_send"] for one in each], color=colour, label=told
        )
    for which, mark, told in (("logging", "s", "logging policy"), ("optimum", "*", "optimum")):
        point = found[which]
        left.scatter(point["volume"], point["clicks_per_send"], marker=mark, color=INK, s=70, label=told, zorder=3)
    left.set(ylabel="clicks per send", xlim=(0, 1), ylim=(0, 1))
    left.set_title("One log, five seeds", loc="left", fontsize=12, pad=9)
    line = [(point["optimum"]["volume"], point["optimum"]["clicks"]) for point in found["front"]]
    right.plot(*zip(*line, strict=True), color=INK, linewidth=1.2, marker="*", markersize=9, label="optimum", zorder=3)
    for name, (told, colour) in kinds.items():
        for point in found["front"]:
            each = point[name]["each"]
            right.scatter(
                [one["volume"] for one in each], [one["clicks"] for one in each], color=colour, alpha=0.25, s=16
            )
        mean = [(point[name]["volume"][0], point[name]["clicks"][0]) for point in found["front"]]
        right.plot(*zip(*mean, strict=True), color=colour, linewidth=1.2, marker="o", label=told)
    right.scatter(found["logging"]["volume"], found["logging"]["clicks"], marker="s", color=INK, s=60, zorder=3)
    right.set(ylabel="clicks per campaign", xlim=(0, 1), ylim=(0, None))
    right.set_title("Weights of a click from 0.15 to 0.75", loc="left", fontsize=12, pad=9)
    for axes in (left, right):
        axes.set_xlabel("volume: sends per decision")
        axes.grid(color=QUIET)
        axes.set_axisbelow(True)
    left.legend(frameon=False, fontsize=9.5, loc="lower left")
    figure.tight_layout(w_pad=2.0)
    return figure


def stitching() -> Figure:
    """The logged walks at two crossroads, and those of two methods at their defaults that learned from them."""
    data = weft.load("sample:crossroads")
    figure, axes = plt.subplots(1, 3, figsize=(11.4, 4.1))
    _walks(axes[0], [data.episode(index).observations for index in range(120)], SOFT, 0.25, "SGCEF")
    axes[0].set_title("The log: no walk leads from S to G", loc="left", fontsize=11.5, pad=9)
    for place, method, colour in ((axes[1], weft.OneStep(), COLOURS[5]), (axes[2], weft.IQL(), COLOURS[0])):
        run = weft.fit(method, data, steps=10_000)
        played = weft.collect(run.policy(), "crossroads", episodes=20, seed=0, greedy=True)
        reached = float(np.mean(played.returns >= 1))
        _walks(place, [played.episode(index).observations for index in range(played.episodes)], colour, 0.6, "SGC")
        name = "IQL" if method.name == "iql" else "One step of improvement"
        place.set_title(f"{name}: {reached:.0%} reach G", loc="left", fontsize=11.5, pad=9)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.02, wspace=0.05)
    return figure


def _walks(axes: Axes, walks: list[np.ndarray], colour: str, alpha: float, letters: str) -> None:
    plan, (start, other, last) = Crossroads.plan, (corners[0] for corners in Crossroads.corners)
    for row, cells in enumerate(plan):
        for column, cell in enumerate(cells):
            if cell == "#":
                axes.add_patch(Rectangle((column, row), 1, 1, facecolor="#d5d9de", edgecolor="none"))
    for walk in walks:
        axes.plot(*(walk.T * len(plan)), color=colour, alpha=alpha, linewidth=1.0)
    for name, (column, row) in (("S", start), ("G", Crossroads.goal), ("C", COIN), ("E", other), ("F", last)):
        if name in letters:
            middle = (column + 0.5, row + 0.5)
            axes.text(*middle, name, ha="center", va="center", fontsize=13, color=INK, weight="bold", zorder=3)
    axes.set(xlim=(0, len(plan)), ylim=(len(plan), 0), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


FIGURES = {
    "stitching.png": stitching,
    "grid.png": grid,
    "baselines.png": baselines,
    "learning.png": learning,
    "notifications.png": notifications,
}
if "hopper" in RESULTS:
    FIGURES["switch.png"] = switch

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    with mpl.rc_context(PRINT):
        for name, draw in FIGURES.items():
            draw().savefig(FOLDER / name, dpi=DPI, metadata={"Software": None})
            print(f"docs/figures/{name}")
