"""A worker that times the updates of a library whose methods are scripts: CORL, JAX-CORL or Unifloral.

    python speed_scripts.py unifloral iql --checkout PATH/TO/UNIFLORAL

Every line on standard input ends with a number of updates, and is answered by a JSON line with the seconds of the
processor that they took, sampling included. The first answer, before any line, names the commit. The scripts run as
they are, with the log of `stand_ins.synthetic`, batches of 256 and, where they have a setting for it, two hidden layers
of 256 (CORL's AWAC and the actor of its CQL have three). Unifloral's TD3+BC updates the critics twice on every batch:
both count.

CORL runs in the environment of d3rlpy (requirements.txt), the other two in that of requirements_jax.txt.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from stand_ins import commit, imported, synthetic

ROWS, OBSERVATION, ACTION, BATCH = 100_000, 17, 6, 256
FOREVER = 10**9
CORL = {"bc": "any_percent_bc"}
SETTINGS = {
    "corl": {"bc": {"frac": 1.0}, "cql": {"q_n_hidden_layers": 2}, "awac": {}},
    "jax_corl": {"awac": {"actor_hidden_dims": (256, 256)}, "cql": {"action_dim": ACTION, "target_entropy": -ACTION}},
}
ANSWERS = sys.stdout


def requests() -> Any:
    """Yield the number of updates of every line."""
    for line in sys.stdin:
        yield int(line.split()[-1])


def answer(**found: Any) -> None:
    """Write one line of JSON."""
    print(json.dumps(found), file=ANSWERS, flush=True)


def serve(run: Callable[[int], Any]) -> None:
    """Answer every request by running so many updates."""
    for steps in requests():
        began = time.process_time()
        run(steps)
        answer(seconds=time.process_time() - began)


class Clock:
    """Counts updates from inside a script's own loop and answers when as many as were asked for are over."""

    def __init__(self, warm_up: int) -> None:
        self.left, self.began, self.asked = warm_up, 0.0, requests()

    def __call__(self, *_: Any, **__: Any) -> None:
        """One update is over."""
        self.left -= 1
        if self.left:
            return
        if self.began:
            answer(seconds=time.process_time() - self.began)
        self.left = next(self.asked, 0)
        if not self.left:
            raise SystemExit
        self.began = time.process_time()


def corl(checkout: Path, method: str, log: dict) -> None:
    """Run a script of CORL, whose loop tells its tracker of every update."""
    module = imported(checkout / "algorithms" / "offline" / f"{CORL.get(method, method)}.py", log)
    module.wandb.log = Clock(warm_up=20)
    settings = SETTINGS["corl"].get(method, {}) | {"device": "cpu", "buffer_size": ROWS}
    never = {"num_train_ops": FOREVER, "eval_frequency": FOREVER}
    if method != "awac":
        never = {"max_timesteps": FOREVER, "eval_freq": FOREVER}
    module.train(module.TrainConfig(**settings, **never))


def jax_corl(checkout: Path, method: str, log: dict) -> None:
    """Compile a method of JAX-CORL as its script does: so many updates a call."""
    import jax
    import jax.numpy as jnp

    name = method.replace("_", "")
    module = imported(checkout / "algos" / f"{name}.py", log)
    kind = "TD3BC" if name == "td3bc" else method.upper()
    config = getattr(module, f"{kind}Config")(**SETTINGS["jax_corl"].get(method, {}))
    module.config = config  # parts of the script read it there
    columns = {name: jnp.asarray(column) for name, column in log.items()}
    columns["dones"], columns["dones_float"] = (columns.pop("terminals"),) * 2
    data = module.Transition(**{name: columns[name] for name in module.Transition._fields})
    create = getattr(module, f"create_{name}_train_state")
    state = create(jax.random.PRNGKey(0), data.observations[0], data.actions[0], config)
    update = jax.jit(getattr(module, kind)().update_n_times, static_argnums=(3,))
    key = jax.random.PRNGKey(1)

    def run(steps: int) -> None:
        nonlocal state, key
        for _ in range(steps // config.n_jitted_updates):
            key, used = jax.random.split(key)
            state, _ = update(state, data, used, config)
        jax.block_until_ready(state)

    run(config.n_jitted_updates)
    serve(run)


def unifloral(checkout: Path, method: str, log: dict) -> None:
    """Compile a method of Unifloral as its script does: one scan over updates."""
    import jax
    import jax.numpy as jnp

    module = imported(checkout / "algorithms" / f"{method}.py", log)
    args = module.Args(batch_size=BATCH)
    data = module.Transition(*(jnp.asarray(log[name]) for name in ("observations", "actions", "rewards",
                               "next_observations", "terminals")))  # fmt: skip
    scale = (data.obs.mean(axis=0), data.obs.std(axis=0))
    make = partial(module.create_train_state, args)
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    seen, acted = jnp.zeros(OBSERVATION), jnp.zeros(ACTION)
    actor = getattr(module, "TanhGaussianActor" if method == "iql" else "DeterministicTanhActor")(ACTION, *scale)
    nets, parts = [actor], {"actor": make(keys[0], actor, [seen])}
    if method == "td3_bc":
        parts["actor_target"] = make(keys[0], actor, [seen])
    if method != "bc":
        nets.append(module.DualQNetwork(*scale))
        parts |= {name: make(keys[1], nets[-1], [seen, acted]) for name in ("dual_q", "dual_q_target")}
    if method == "iql":
        nets.append(module.StateValueFunction(*scale))
        parts["value"] = make(keys[2], nets[-1], [seen])
    step = module.make_train_step(args, *(net.apply for net in nets), data)
    state = (jax.random.PRNGKey(1), module.AgentTrainState(**parts))
    each = getattr(args, "num_critic_updates_per_step", 1)
    programs: dict[int, Any] = {}

    def run(steps: int) -> None:
        nonlocal state
        state, _ = jax.block_until_ready(programs[steps](state))

    for steps in requests():
        if steps not in programs:  # a scan of another length is another program: compiled outside the time
            programs[steps] = jax.jit(partial(jax.lax.scan, step, xs=None, length=steps // each)).lower(state).compile()
        began = time.process_time()
        run(steps)
        answer(seconds=time.process_time() - began)


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=("corl", "jax_corl", "unifloral"))
    parser.add_argument("method")
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    how = parser.parse_args()
    sys.stdout, sys.argv = sys.stderr, sys.argv[:1]  # scripts print, and read settings off the command line
    if how.library == "corl":
        import torch

        torch.set_num_threads(how.threads)
    answer(commit=commit(how.checkout))
    serve_library = {"corl": corl, "jax_corl": jax_corl, "unifloral": unifloral}[how.library]
    serve_library(how.checkout, how.method, synthetic(ROWS, OBSERVATION, ACTION))


if __name__ == "__main__":
    main()
