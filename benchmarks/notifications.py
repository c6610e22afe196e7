"""When to notify, learned from sparse logs: double DQN against double DQN + CQL (after arXiv:2207.03029).

    python benchmarks/notifications.py [--seeds 5] [--steps 4000] [--parts methods]

A careful product logs campaigns of ten decisions (`Careful`). Both methods learn from one scalar reward, the weighted
sum of click, visit and quiet; every learned policy is a table, whose value, send rate and clicks per send are exact.
Parts: `table`, all weights of the penalty on the smallest log; `imitation`, how often it sends; `draws`, further draws
of that log; `logs`, larger logs and bolder products; `front`, other weights of the objectives; `methods`, every
discrete method on the smallest log, acting greedily. The weight 0.2 of the other parts is the best of the table by
exact value; networks, rates and updates were not varied, and the temperatures of `methods` were set once.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import weft
from weft.agents.policy import Policy
from weft.core import pytree
from weft.data.samplers.quintuples import Quintuples
from weft.data.samplers.transitions import Transitions
from weft.envs.worlds import notifications as world_of
from weft.envs.worlds.notifications import Notifications
from weft.nn.distributions import Categorical
from weft.nn.multipliers import Fixed

DISCOUNT = 0.98  # an hour; a step lasts 1, 2 or 4
COMMON: dict[str, Any] = {
    "discount": DISCOUNT,
    "learning_rate": 1e-3,
    "target_rate": 0.005,
    "hidden": (64, 64),
    "sampler": Transitions(256),
}
DDQN = weft.DQN(double=True, target_every=1, **COMMON)
CQL = weft.CQL(backup="plain", weight=Fixed(0.2), **COMMON)
PLAIN: dict[str, Any] = {name: value for name, value in COMMON.items() if name != "target_rate"}
IMITATION: dict[str, Any] = {name: value for name, value in PLAIN.items() if name != "discount"}
METHODS: dict[str, weft.Algorithm] = {
    "bc": weft.BC(**IMITATION),
    "filtered_bc": weft.FilteredBC(**IMITATION),
    "awr": weft.AWR(**PLAIN),
    "reps": weft.REPS(**PLAIN),
    "one_step": weft.OneStep(inverse_temperature=10.0, **{**COMMON, "sampler": Quintuples(256)}),
    "awac": weft.AWAC(inverse_temperature=10.0, **COMMON),
    "crr": weft.CRR(inverse_temperature=10.0, **COMMON),
    "iql": weft.IQL(expectile=0.8, inverse_temperature=10.0, **COMMON),
    "brac": weft.BRAC(weight=Fixed(0.1), behaviour_steps=500, **COMMON),
    "kl_control": weft.KLControl(inverse_temperature=10.0, behaviour_steps=500, **COMMON),
    "discrete_bcq": weft.DiscreteBCQ(**COMMON),
    "cql": CQL,
    "cql, 32 quantiles": dataclasses.replace(CQL, quantiles=32, error="huber"),
    "ddqn": DDQN,
    "ddqn, 32 quantiles": dataclasses.replace(DDQN, quantiles=32, error="huber"),
}
WEIGHTS = (0.2, 1.0, 2.0, 4.0, 100.0)  # twice the alpha of a squared error with 1/2: .1, .5, 1, 2; and very many
CAMPAIGNS = 300
DRAWS = (2, 3, 4, 5)
TIRED, BAD, GOOD = 0.02, 0.035, 0.7
LOGS = (  # campaigns; chances of a send to the tired, and to the rested at a bad and at a good moment
    (CAMPAIGNS, TIRED, BAD),
    (1000, TIRED, BAD),
    (3000, TIRED, BAD),
    (CAMPAIGNS, 0.2, BAD),
    (1000, 0.2, BAD),
    (CAMPAIGNS, TIRED, 0.2),
    (CAMPAIGNS, 0.2, 0.2),
    (200, 0.01, 0.18, 0.6),
)
VISIT = 0.25
CLICKS = (0.15, 0.3, 0.45, 0.625, 0.75)  # weights of a click; what a visit leaves is for quiet
WORLD = Notifications(objectives=True, steps=10)


class Careful(Policy):
    """A product's rules: to the rested (fatigue 0 or 1) send at good moments, hardly at bad ones; hardly to the tired.

    `tired` is the chance of a send to the tired, `bad` and `good` are those to the rested by moment.
    """

    tired: float = TIRED
    bad: float = BAD
    good: float = GOOD

    def distribution(self, memory: Any, observation: Any) -> Categorical:
        """Return the chances of hold and send."""
        del memory
        rested, good = observation[..., 0] < 0.3, observation[..., 1] > 0.5
        send = jnp.where(rested, jnp.where(good, self.good, self.bad), self.tired)
        return Categorical(jnp.log(jnp.stack([1.0 - send, send], axis=-1)))

    def probabilities(self, observation: Any) -> Any:
        """Return the same as probabilities."""
        return self.distribution((), jnp.asarray(observation)).probabilities()


def collect(campaigns: int, *chances: float, seed: int = 1) -> weft.Dataset:
    """Return the log of three objectives of a `Careful` product with these chances."""
    return weft.collect(Careful(*chances), WORLD, campaigns, seed).declare(discount=DISCOUNT)


def judge(policy: Any, weights: tuple[float, ...] | None = None) -> dict[str, Any]:
    """Return exact figures of a policy: value (discounted, of the weighted objectives) and undiscounted counts."""
    world = WORLD if weights is None else pytree.replace(WORLD, "weights", weights)
    found = world_of.expected(policy, world)
    return {
        "value": world_of.value(policy, world, DISCOUNT),
        "volume": found["send"] / found["decision"],
        "clicks_per_send": found["click"] / found["send"] if found["send"] else None,  # nobody was sent anything
        "sends": found["send"],
        "clicks": found["click"],
        "visits": found["visit"],
        "decisions": found["decision"],
    }


def learned(
    settings: list[Any], log: weft.Dataset, steps: int, seeds: int, weights: dict[str, float] | None = None
) -> list[list[dict[str, float]]]:
    """Train settings (one program) and return the figures of every seed of each, `believed` and `mean_q` included."""
    counts = world_of.WEIGHTS if weights is None else weights
    run = weft.fit(settings, log.rewarded(counts), steps, seeds, log_every=steps, rewards="none")
    rows = {(row["setting"], row["seed"]): row for row in run.metrics}
    found = []
    for number, setting in enumerate(run.settings):
        each = []
        for seed in range(seeds):
            figures = judge(run.policy(seed, number), tuple(counts.values()))
            seen = run.transform.observe(jnp.asarray(log.first_observations))
            belief = setting.value(run.state(number, seed), seen, jax.random.key(0))
            believed = float("nan") if belief is None else float(belief.mean())
            each.append({**figures, "believed": believed, "mean_q": rows[number, seed]["mean_q"]})
        found.append(each)
    return found


def both(campaigns: int, chances: list[float], how: tuple[int, int]) -> dict[str, Any]:
    """Return what a log holds, and what the two methods learn from it."""
    data, own = collect(campaigns, *chances), judge(Careful(*chances))
    weary, poor, sent = data.observations[:, 0] > 0.3, data.observations[:, 1] < 0.5, data.actions == 1
    product = Careful(*chances)
    found: dict[str, Any] = {"campaigns": campaigns, "tired": product.tired, "bad": product.bad, "good": product.good}
    found |= {"rows": data.steps, "rows_tired": int(weary.sum()), "sends_tired": int((weary & sent).sum())}
    found["sends_bad"] = int((~weary & poor & sent).sum())
    for name, one in (("ddqn", DDQN), ("cql", CQL)):
        found[name] = summary(learned([one], data, *how)[0], own)
        told(f"{campaigns}, {chances}: {name}", found[name])
    return found


def soft_send_rate(setting: Any, log: weft.Dataset, steps: int) -> float:
    """Return the mean chance of a send by softmax Q at the logged observations, for one seed."""
    run = weft.fit(setting, log.rewarded(world_of.WEIGHTS), steps, 1, log_every=steps, rewards="none")
    q = run.state(0, 0).critics.model[0].all(run.transform.observe(jnp.asarray(log.observations)))
    return float(jax.nn.softmax(q)[:, 1].mean())


def summary(each: list[dict[str, float]], base: dict[str, float]) -> dict[str, Any]:
    """Return means and deviations over the seeds that have a figure, and what they are relative to a policy, in %."""
    found: dict[str, Any] = {"each": each}
    for name in each[0]:
        values = np.array([one[name] for one in each if one[name] is not None])
        if not len(values):
            continue
        found[name] = [float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0]
        if name in base:
            found[f"{name}_relative"] = 100 * (float(values.mean()) / base[name] - 1)
    return found


def rounded(tree: Any) -> Any:
    """Return the same with five digits behind the point."""
    if isinstance(tree, dict):
        return {name: rounded(part) for name, part in tree.items()}
    if isinstance(tree, list):
        return [rounded(part) for part in tree]
    return round(tree, 5) if isinstance(tree, float) else tree


def told(name: str, found: dict[str, Any]) -> None:
    """Print one line."""
    parts = [f"{key} {found[key][0]:.3f} ({found[f'{key}_relative']:+.1f} %)" for key in PRINTED if key in found]
    print(f"{name:28s}", *parts, f"believed {found['believed'][0]:.2f}", flush=True)


PRINTED = ("value", "volume", "clicks_per_send")


def greedily(policy: Any) -> Any:
    """Return the same policy, always with its likeliest choice, as a function of observations."""
    return lambda seen: np.eye(2)[np.asarray(policy.probabilities(seen)).argmax(1)]


def weights_of_the_penalty(log: weft.Dataset, steps: int, seeds: int, base: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of double DQN and of every weight of the penalty on one log."""
    penalised = [pytree.replace(CQL, "weight.value", weight) for weight in WEIGHTS]
    each = {"ddqn": learned([DDQN], log, steps, seeds)[0]}
    each |= {f"cql {w:g}": one for w, one in zip(WEIGHTS, learned(penalised, log, steps, seeds), strict=True)}
    found = {name: summary(one, base) for name, one in each.items()}
    for name, one in found.items():
        told(name, one)
    return found


def imitation(log: weft.Dataset, steps: int, *_: Any) -> dict[str, float]:
    """Return how often the log sends, and the softmax of Q under a very large penalty."""
    largest = pytree.replace(CQL, "weight.value", WEIGHTS[-1])
    found = {"logged": float((log.actions == 1).mean()), "softmax": soft_send_rate(largest, log, steps)}
    print(found)
    return found


def draws(_: weft.Dataset, steps: int, __: int, base: dict[str, Any]) -> dict[str, Any]:
    """Return what two seeds of both methods learn from further draws of the log."""
    found = []
    for draw in DRAWS:
        data = collect(CAMPAIGNS, seed=draw)
        pair = {name: summary(learned([one], data, steps, 2)[0], base) for name, one in (("ddqn", DDQN), ("cql", CQL))}
        found.append({"seed": draw, **pair})
        for name, one in pair.items():
            told(f"draw {draw}: {name}", one)
    return {"seeds": 2, "of": found}


def logs(_: weft.Dataset, steps: int, seeds: int, __: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what larger logs and bolder products teach."""
    return [both(campaigns, chances, (steps, seeds)) for campaigns, *chances in LOGS]


def front(log: weft.Dataset, steps: int, seeds: int, _: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is learned under other weights of the objectives."""
    found = []
    for click in CLICKS:
        weights = (click, VISIT, 1.0 - VISIT - click)
        named = dict(zip(world_of.WEIGHTS, weights, strict=True))
        world = pytree.replace(WORLD, "weights", weights)
        own = judge(Careful(), weights)
        point: dict[str, Any] = {"weights": named, "optimum": judge(world_of.reference(world, DISCOUNT), weights)}
        for name, one in (("ddqn", DDQN), ("cql", CQL)):
            point[name] = summary(learned([one], log, steps, seeds, named)[0], own)
            told(f"click {click:g}: {name}", point[name])
        found.append(point)
    return found


def methods(log: weft.Dataset, steps: int, seeds: int, base: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of every discrete method on one log, acting greedily; `drawn` is the value where it draws."""
    found = {}
    for name, setting in METHODS.items():
        run = weft.fit(setting, log.rewarded(world_of.WEIGHTS), steps, seeds, log_every=steps, rewards="none")
        policies = [run.policy(seed) for seed in range(seeds)]
        found[name] = summary([{**judge(greedily(one)), "drawn": judge(one)["value"]} for one in policies], base)
        print(
            f"{name:20s}", *(f"{part} {found[name][part][0]:.3f}" for part in ("value", "volume", "drawn")), flush=True
        )
    return found


PARTS = {
    "table": weights_of_the_penalty,
    "imitation": imitation,
    "draws": draws,
    "logs": logs,
    "front": front,
    "methods": methods,
}


def main() -> None:
    """Train, judge, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results" / "notifications.json")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    given = parser.parse_args()
    base = judge(Careful())
    results: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    how = {"steps": given.steps, "seeds": given.seeds}
    others = set(results) & set(PARTS) - set(given.parts)
    if others and how != {name: results[name] for name in how}:
        parser.error(f"{given.out} holds {', '.join(sorted(others))} of other steps or seeds; give another --out.")
    results |= {**how, "logging": base}
    results["optimum"] = judge(world_of.reference(WORLD, DISCOUNT))
    log = collect(CAMPAIGNS)
    for part in given.parts:
        results[part] = PARTS[part](log, given.steps, given.seeds, base)
    given.out.write_text(json.dumps(rounded(results), indent=1) + "\n")


if __name__ == "__main__":
    main()
