"""The matrix-product floor of a compiled training step: its own dot products, alone in one loop.

The products are read out of the optimised program (shapes and contracted dimensions), so whatever the compiler merged
or dropped is counted as it runs. Each product's left side is tied to the loop by an optimisation barrier, which costs
nothing and keeps the compiler from moving it out or dropping it.
"""

import re
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["products", "products_alone"]

SHAPE = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = f32\[([\d,]*)\]")
DOT = re.compile(
    r"f32\[[\d,]*\]\S* dot\(%?([\w.\-]+), %?([\w.\-]+)\),"
    r".*?lhs_contracting_dims=\{([\d,]*)\}, rhs_contracting_dims=\{([\d,]*)\}"
)
LOOP = re.compile(r"while\(.*?body=%?([\w.\-]+).*?\"known_trip_count\":\{\"n\":\"(\d+)\"\}")
CALL = re.compile(r"(?:calls|to_apply|body)=%?([\w.\-]+)")
Product = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def numbers(text: str) -> tuple[int, ...]:
    """Read `2,3` as a tuple."""
    return tuple(int(part) for part in text.split(",") if part)


def products(program: str) -> list[Product]:
    """Return `(left shape, right shape, left contracted, right contracted)` of every dot in an optimised program.

    A dot inside a loop of known length (pieces of a batch, steps of a diffusion) is listed as often as it runs, also
    where the loop's body calls what holds it.
    """
    found = []
    computations = {}
    for text in re.split(r"\n(?=\S)", program):
        computations[text.removeprefix("ENTRY ").lstrip("%").split(" ")[0]] = text
    times = {name: int(count) for name, count in LOOP.findall(program)}
    callers = {name: [] for name in computations}
    for caller, text in computations.items():
        for name in CALL.findall(text):
            callers[name].append(caller)

    def runs(name: str) -> int:
        return times.get(name, 1) * max(sum(map(runs, callers[name])), 1)

    for name, computation in computations.items():
        dots = list(DOT.finditer(computation))
        if not dots:
            continue
        shapes, repeats = {}, runs(name)
        for line in computation.splitlines():
            named = SHAPE.match(line)
            if named:
                shapes[named[1]] = numbers(named[2])
            for parameter, shape in re.findall(r"%?([\w.\-]+): f32\[([\d,]*)\]", line):
                shapes.setdefault(parameter, numbers(shape))
        for dot in dots:
            if "lhs_batch_dims" in dot[0]:
                raise ValueError("a batched product was found; the floor does not measure those")
            found += [(shapes[dot[1]], shapes[dot[2]], numbers(dot[3]), numbers(dot[4]))] * repeats
    return found


def products_alone(found: list[Product], shared: bool = False) -> Any:
    """Return a compiled `run(steps)` that computes every product once a step and nothing else.

    With `shared`, products of the same form work on the same numbers, as the passes of a loop do.
    """
    generator = np.random.default_rng(0)
    times = list(Counter(found).items()) if shared else [(one, 1) for one in found]
    sides = [
        tuple(jnp.asarray(generator.normal(size=shape), jnp.float32) for shape in (left, right))
        for (left, right, _, _), _ in times
    ]

    @jax.jit
    def run(sides: list, steps: jax.Array) -> jax.Array:
        def step(_: jax.Array, carry: jax.Array) -> jax.Array:
            for (left, right), ((_, _, over_left, over_right), repeats) in zip(sides, times, strict=True):

                def once(
                    _: int, carry: jax.Array, left: Any = left, right: Any = right, over: Any = (over_left, over_right)
                ) -> jax.Array:
                    tied, carry = jax.lax.optimization_barrier((left, carry))
                    made = jax.lax.optimization_barrier(jax.lax.dot_general(tied, right, (over, ((), ()))))
                    return carry + made.ravel()[0]

                carry = once(0, carry) if repeats == 1 else jax.lax.fori_loop(0, repeats, once, carry)
            return carry

        return jax.lax.fori_loop(0, steps, step, jnp.zeros(()))

    return lambda steps: jax.block_until_ready(run(sides, jnp.int32(steps)))
