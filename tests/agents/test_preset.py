"""Every preset names methods and fields that exist, and units that a run keeps."""

import numpy as np
import pytest
import small

import weft
from weft.agents.preset import preset, presets
from weft.core import pytree
from weft.core.errors import UserError
from weft.data.units import fit_transform

EACH = [
    pytest.param(found, method, id=f"{name}-{method}") for name, found in presets().items() for method in found.settings
]


def test_the_families_of_the_field_are_there():
    assert set(presets()) == {"decisions", "dexterous_hand", "locomotion", "sparse_goal"}
    for found in presets().values():
        assert found.title
        assert found.__doc__


@pytest.mark.parametrize(("family", "method"), EACH)
def test_every_setting_can_be_built_and_every_word_for_units_is_known(family, method):
    setting = family.setting(method)
    assert setting.name == method
    fit_transform(small.continuous(), **family.units_for(method))


def test_units_are_kept_by_the_run_and_its_policy():
    family, data = preset("sparse goal"), small.continuous()
    setting = pytree.replace(family.setting("iql", hidden=(8,)), "sampler.batch_size", 16)
    assert setting.expectile == 0.9
    run = weft.fit(setting, data, 5, **family.units_for("iql"))
    assert float(run.transform.reward_shift) == -1.0
    assert run.policy().transform.observation is None
    np.testing.assert_allclose(run.policy().transform.reward_shift, -1.0)


def test_what_is_said_by_hand_wins():
    assert preset("locomotion").setting("iql", expectile=0.8).expectile == 0.8
    assert preset("locomotion").units_for("td3-bc")["observations"] == "standardise"
    assert preset("locomotion").units_for("iql")["rewards"] == "returns"


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"no preset 'locomotio'.* 'locomotion'"):
        preset("locomotio")
    with pytest.raises(UserError, match="'dexterous_hand' has no numbers for Deep Q-network"):
        preset("dexterous_hand").setting("dqn")
    with pytest.raises(UserError, match="has no field 'expectle'"):
        preset("locomotion").setting("iql", expectle=0.8)
