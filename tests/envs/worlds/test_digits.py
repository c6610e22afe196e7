"""Digits on a canvas: whole, at their places, with the right answer."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

import weft
from weft.core.errors import UserError
from weft.envs.worlds import digits
from weft.envs.worlds.digits import COUNT, Digits

TRUE = load_digits()


def test_every_digit_lies_whole_on_its_canvas():
    data = weft.load("sample:digits", episodes=50)
    assert data.observations.shape == (50, 28, 28, 1)
    assert data.observations.dtype == np.uint8
    assert data.spec.observations[0].kind == "image"
    np.testing.assert_array_equal(data.actions, TRUE.target[:50])
    assert (data.rewards == 1).all()
    assert data.terminals.all()
    for image, digit in zip(data.observations[..., 0], TRUE.images, strict=False):
        assert image.sum() == 15 * digit.sum()
        rows, columns = np.nonzero(image)
        box = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        down, across = np.nonzero(digit)
        np.testing.assert_array_equal(
            box, 15 * digit[down.min() : down.max() + 1, across.min() : across.max() + 1].astype(np.uint8)
        )


def test_every_place_comes_up():
    images = weft.load("sample:digits", episodes=300, size=12).observations[..., 0]
    for axis in (1, 2):
        moved = (images.any(axis).argmax(-1) - (TRUE.images[:300] > 0).any(axis).argmax(-1)).tolist()
        assert set(moved) == {0, 1, 2, 3, 4}


def test_a_digit_is_a_unit_and_is_in_one_part_of_a_split():
    data = weft.load("sample:digits", episodes=COUNT + 20, size=8)
    assert weft.load("sample:digits", size=8).episodes == COUNT
    digit = data.units("digit")
    np.testing.assert_array_equal(digit[COUNT:], np.arange(20))
    one, two = data.split((0.7, 0.3))
    assert not set(one.units("digit")) & set(two.units("digit"))


def test_clutter_adds_and_never_covers():
    plain, messy = (weft.load("sample:digits", episodes=20, clutter=count).observations for count in (0, 6))
    assert (messy >= plain).all()
    assert (messy > plain).any(axis=(1, 2, 3)).mean() > 0.9


def test_an_answer_is_right_or_wrong():
    world = Digits()
    state = world.reset(jax.random.key(0))
    for action in range(10):
        _, reward, terminal = world.step(state, jnp.int32(action), jax.random.key(1))
        assert reward == (action == state.label)
        assert terminal


def test_small_canvases_and_a_missing_library_are_refused(monkeypatch):
    with pytest.raises(UserError, match="too small"):
        weft.load("sample:digits", size=7)
    with pytest.raises(UserError, match="clutter"):
        weft.load("sample:digits", clutter=-1)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    digits._digits.cache_clear()
    with pytest.raises(UserError, match=r"weft\[images\]"):
        weft.load("sample:digits", size=9, episodes=3)
