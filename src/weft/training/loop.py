"""The training loop: pure, compiled once, no files and no printing.

Every run's step t draws its batch and its chance from `fold_in(run key, t)`, so a run is (method, log, key, step) and
nothing else: chunk lengths, logging and checkpoints never change a parameter, and resuming equals never having stopped.
Runs (settings × seeds) are the leading axis of the state. On a CPU they are computed one after another, on a GPU side
by side (`vmap`); the rule is fixed and written into the run's record.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

from ..agents.algorithm import Algorithm, Tick
from ..core import pytree
from ..data.columns import Columns
from ..data.spec import Spec

__all__ = ["Span", "advance", "begin", "mapping", "means", "nothing", "over_runs"]


def mapping() -> str:
    """Return how runs are computed on this machine: `sequential` on a CPU, `parallel` elsewhere."""
    return "sequential" if jax.default_backend() == "cpu" else "parallel"


def over_runs(function: Callable[..., Any], how: str) -> Callable[..., Any]:
    """Return the function of whole runs: `parallel` side by side, `sequential` one after another."""
    if how == "parallel":
        return jax.vmap(function)
    return lambda *trees: jax.lax.map(lambda parts: function(*parts), trees)


def begin(settings: Algorithm, keys: Key[Array, "run"], columns: Columns, spec: Spec, how: str) -> PyTree:
    """Return the first states of all runs; settings and keys carry the run axis."""
    if type(settings).prefit is Algorithm.prefit:
        return _first_states(settings, keys, columns, spec, how)
    runs = [(pytree.run_axis(settings, place), key) for place, key in enumerate(keys)]
    priors = [setting.prefit(_begin_keys(key)[0], columns, spec) for setting, key in runs]
    return _first_states(settings, keys, columns, spec, how, pytree.stack(priors))


@partial(jax.jit, static_argnames=("spec", "how"))
def _first_states(
    settings: Algorithm, keys: Key[Array, "run"], columns: Columns, spec: Spec, how: str, priors: PyTree = None
) -> PyTree:
    """Return the first states from what was fitted on the host, else from what the methods prepare."""

    def first(setting: Algorithm, key: PRNGKeyArray, prior: PyTree) -> PyTree:
        prepare_key, init_key = _begin_keys(key)
        return setting.init(init_key, spec, setting.prepare(prepare_key, columns) if prior is None else prior)

    return over_runs(first, how)(settings, keys, priors)


def _begin_keys(key: PRNGKeyArray) -> Key[Array, "2"]:
    """Return the keys of what comes before the first state, and of the state itself."""
    return jax.random.split(jax.random.fold_in(key, 0))


class Span(eqx.Module):
    """The steps from `start` to `stop` of `total`; `planned` is the total that the runs began with."""

    start: Int[Array, ""]
    stop: Int[Array, ""]
    total: Int[Array, ""]
    planned: Int[Array, ""]

    @classmethod
    def of(cls, start: int, stop: int, total: int, planned: int | None = None) -> "Span":
        """Return a span of plain numbers; planned: the total, by default."""
        return cls(*(jnp.int32(count) for count in (start, stop, total, total if planned is None else planned)))


@partial(jax.jit, static_argnames=("how",), donate_argnames=("states", "sums"))
def advance(
    settings: Algorithm,
    states: PyTree,
    columns: Columns,
    keys: Key[Array, "run"],
    span: Span,
    how: str,
    sums: dict[str, Float[Array, "run"]] | None = None,
) -> tuple[PyTree, dict[str, Float[Array, "run"]]]:
    """Take all runs over a span of steps; return states and the sums of every metric (see `means`).

    sums: what to add to, so that a span may be cut anywhere and no bit of its metrics changes; None is zeros, in a
    program of its own. The loop is a scan whose length is an input, so that a shorter last chunk compiles nothing.
    """

    def run(setting: Algorithm, state: PyTree, key: PRNGKeyArray, before: dict | None) -> tuple[PyTree, dict]:
        body = partial(one_step, setting, setting.focus(columns), key, span.total, planned=span.planned)
        if before is None:
            before = pytree.zeros(jax.eval_shape(body, span.start, state)[1])

        def accumulate(step: Array, carry: tuple[PyTree, dict]) -> tuple[PyTree, dict]:
            state, sums = carry
            state, metrics = body(step, state)
            return state, jax.tree.map(jnp.add, sums, metrics)

        return jax.lax.fori_loop(span.start, span.stop, accumulate, (state, before))

    return over_runs(run, how)(settings, states, keys, sums)


@jax.jit
def nothing(
    settings: Algorithm, states: PyTree, columns: Columns, keys: Key[Array, "run"]
) -> dict[str, Float[Array, "run"]]:
    """Return the sums of every metric of all runs before their first step."""

    def metrics(setting: Algorithm, state: PyTree, key: PRNGKeyArray) -> dict[str, Array]:
        zero = jnp.int32(0)
        return one_step(setting, setting.focus(columns), key, zero, zero, state, zero)[1]

    return pytree.zeros(jax.eval_shape(jax.vmap(metrics), settings, states, keys))


def means(sums: dict[str, Float[Array, "run"]], steps: int, runs: int) -> list[dict[str, float]]:
    """Return the mean of every metric over so many steps, run by run."""
    host = {name: np.asarray(values) / np.float32(steps) for name, values in sums.items()}
    return [{name: float(values[place]) for name, values in host.items()} for place in range(runs)]


def one_step(
    setting: Algorithm,
    columns: Columns,
    key: PRNGKeyArray,
    total: Array,
    step: Array,
    state: PyTree,
    planned: Array | None = None,
) -> tuple[PyTree, dict[str, Array]]:
    """Draw a batch and update once. The key of a step depends on the run's key and the step alone."""
    sample_key, update_key, refresh_key = jax.random.split(jax.random.fold_in(key, step + 1), 3)
    if setting.refresh_every:
        due = step % setting.refresh_every == 0
        state = jax.lax.cond(due, lambda s: setting.refresh(s, columns, refresh_key), lambda s: s, state)
    batch = setting.sampler(columns, sample_key)
    tick = Tick.at(update_key, step, step, total, total if planned is None else planned)
    state, metrics = setting.update(state, batch, tick)
    return state, {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
