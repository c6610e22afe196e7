"""The matrix-product floor of a compiled training step: its own dot products, alone in one loop.

The products are read out of the optimised program (shapes and contracted dimensions), so whatever the compiler merged
or dropped is counted as it runs. Each product's left side is tied to the loop by an optimisation barrier, which costs
nothing and keeps the compiler from moving it out or dropping it.
"""

import re
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
Product = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def numbers(text: str) -> tuple[int, ...]:
    """Read `2,3` as a tuple."""
    return tuple(int(part) for part in text.split(",") if part)


def products(program: str) -> list[Product]:
    """Return `(left shape, right shape, left contracted, right contracted)` of every dot in an optimised program.

    A dot inside a loop of known length (pieces of a batch) is listed as often as it runs.
    """
    found = []
    times = {name: int(count) for name, count in LOOP.findall(program)}
    for computation in re.split(r"\n(?=\S)", program):
        shapes, repeats = {}, times.get(computation.lstrip("%").split(" ")[0], 1)
        for line in computation.splitlines():
            named = SHAPE.match(line)
            if named:
                shapes[named[1]] = numbers(named[2])
            for name, shape in re.findall(r"%?([\w.\-]+): f32\[([\d,]*)\]", line):
                shapes.setdefault(name, numbers(shape))
        for dot in DOT.finditer(computation):
            if "lhs_batch_dims" in dot[0]:
                raise ValueError("a batched product was found; the floor does not measure those")
            found += [(shapes[dot[1]], shapes[dot[2]], numbers(dot[3]), numbers(dot[4]))] * repeats
    return found


def products_alone(found: list[Product]) -> Any:
    """Return a compiled `run(steps)` that computes every product once a step and nothing else."""
    generator = np.random.default_rng(0)
    sides = [
        tuple(jnp.asarray(generator.normal(size=shape), jnp.float32) for shape in (left, right))
        for left, right, _, _ in found
    ]

    @jax.jit
    def run(sides: list, steps: jax.Array) -> jax.Array:
        def step(_: jax.Array, carry: jax.Array) -> jax.Array:
            for (left, right), (_, _, over_left, over_right) in zip(sides, found, strict=True):
                tied, carry = jax.lax.optimization_barrier((left, carry))
                made = jax.lax.dot_general(tied, right, ((over_left, over_right), ((), ())))
                made = jax.lax.optimization_barrier(made)
                carry = carry + made.ravel()[0]
            return carry

        return jax.lax.fori_loop(0, steps, step, jnp.zeros(()))

    return lambda steps: jax.block_until_ready(run(sides, jnp.int32(steps)))
