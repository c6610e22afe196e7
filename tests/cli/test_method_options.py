import types

import pytest

from weft.agents.algorithm import algorithms
from weft.agents.algorithms.cql import CQL
from weft.agents.algorithms.iql import IQL
from weft.cli.method_options import build, options
from weft.core.errors import UserError
from weft.data.samplers.transitions import Transitions
from weft.nn.multipliers import Fixed, Lagrange


def given(method, **values):
    """Return what the line would give: the defaults with some changed."""
    return types.SimpleNamespace(**{**vars(options(method)()), **values})


@pytest.mark.parametrize("method", algorithms().values(), ids=algorithms())
def test_without_options_every_method_is_its_default(method):
    assert build(method, given(method)) == [method()]


def test_several_values_make_a_grid():
    found = build(IQL, given(IQL, expectile=(0.6, 0.9), hidden=((8,), (4, 4)), sampler__batch_size=(16,)))
    assert [(setting.expectile, setting.hidden) for setting in found] == [
        (0.6, (8,)),
        (0.6, (4, 4)),
        (0.9, (8,)),
        (0.9, (4, 4)),
    ]
    assert all(setting.sampler == Transitions(16) for setting in found)


def test_a_nested_module_is_chosen_by_kind_and_swept():
    found = build(
        CQL, given(CQL, weight__kind=("fixed", "lagrange"), weight__value=(1.0, 2.0), weight__threshold=(3.0,))
    )
    assert [setting.weight for setting in found] == [Fixed(1.0), Fixed(2.0), Lagrange(threshold=3.0)]
    assert all(setting.temperature == CQL().temperature for setting in found)


def test_values_of_a_kind_that_was_not_chosen_are_refused():
    with pytest.raises(UserError, match=r"--weight.threshold belongs to lagrange; add --weight.kind lagrange"):
        build(CQL, given(CQL, weight__threshold=(3.0,)))
    with pytest.raises(UserError, match=r"Lagrange needs a value for --weight.threshold"):
        build(CQL, given(CQL, weight__kind=("lagrange",)))


def test_every_setting_of_a_grid_is_checked_by_its_class():
    with pytest.raises(UserError, match=r"expectile must be at least 0.5 and below 1, got 1.2"):
        build(IQL, given(IQL, expectile=(0.7, 1.2)))
