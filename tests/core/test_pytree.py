"""Sweeps, groups, names and discovery."""

import jax
import jax.numpy as jnp
import pytest

from weft.agents import algorithm
from weft.agents.algorithms.cql import CQL
from weft.agents.algorithms.iql import IQL
from weft.core import pytree
from weft.core.errors import UserError
from weft.nn.multipliers import Fixed


def test_a_grid_is_the_product_of_its_choices_and_checks_every_member():
    settings = pytree.grid(IQL(), expectile=[0.7, 0.9], hidden=[(64, 64), (256, 256)])
    assert [(s.expectile, s.hidden) for s in settings] == [
        (0.7, (64, 64)), (0.7, (256, 256)), (0.9, (64, 64)), (0.9, (256, 256)),
    ]  # fmt: skip
    with pytest.raises(UserError, match="expectile"):
        pytree.grid(IQL(), expectile=[0.3])
    with pytest.raises(UserError, match="expectil"):
        pytree.grid(IQL(), expectille=[0.7])


def test_dots_reach_nested_settings():
    settings = pytree.grid(CQL(), **{"weight.value": [1.0, 2.0]})
    assert [s.weight.value for s in settings] == [1.0, 2.0]
    with pytest.raises(UserError, match="negative"):
        pytree.grid(CQL(), **{"weight.value": [-1.0]})


def test_settings_of_one_structure_share_a_group():
    settings = pytree.grid(IQL(), expectile=[0.7, 0.9], hidden=[(64,), (32,)])
    assert pytree.groups(settings) == [[0, 2], [1, 3]]
    assert pytree.groups([CQL(), CQL(weight=Fixed(1.0)), CQL(backup="soft")]) == [[0, 1], [2]]


def test_numbers_are_leaves_with_names():
    assert pytree.floats(CQL(weight=Fixed(1.0), temperature=Fixed(0.1))) == [
        "learning_rate", "actor_learning_rate", "discount", "target_rate", "weight.value", "temperature.value",
    ]  # fmt: skip


def test_trees_are_stacked_and_taken_apart():
    tree = pytree.stack([{"a": jnp.zeros(2)}, {"a": jnp.ones(2)}])
    assert tree["a"].shape == (2, 2)
    assert (pytree.run_axis(tree, 1)["a"] == 1).all()
    arrays = pytree.as_arrays(IQL())
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(arrays))


def test_methods_are_found_by_file_name():
    found = algorithm.algorithms()
    assert set(found) >= {"awr", "bc", "cql", "filtered_bc", "iql", "sac", "td3_bc"}
    assert algorithm.algorithm("IQL") is IQL
    assert algorithm.algorithm("td3-bc").__name__ == "TD3BC"
    with pytest.raises(UserError, match="iql"):
        algorithm.algorithm("iqll")


def test_a_setting_is_described_in_plain_values():
    described = algorithm.describe(CQL())
    assert described["algorithm"] == "cql"
    assert described["weight"] == {"kind": "Fixed", "value": 1.0}
    assert described["hidden"] == [256, 256]
