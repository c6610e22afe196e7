"""Windows of images whose pixels say where they are, and a network that only looks where it is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.nn.glimpse import crop, recurrent_attention


def coded(height: int = 12, width: int = 12) -> np.ndarray:
    """Return an image whose pixels are their own numbers, row by row, from 1; what is outside is 0."""
    return (1 + np.arange(height * width, dtype=np.uint8)).reshape(height, width, 1)


def expected(image: np.ndarray, place: tuple[float, float], width: int) -> np.ndarray:
    """Cut the window pixel by pixel."""
    height, breadth = image.shape[:2]
    top, left = (
        int(np.floor((at + 1) / 2 * side - width / 2 + 0.5)) for at, side in zip(place, (height, breadth), strict=True)
    )
    found = np.zeros((width, width))
    for row in range(width):
        for column in range(width):
            inside = 0 <= top + row < height and 0 <= left + column < breadth
            found[row, column] = image[top + row, left + column, 0] if inside else 0
    return found


PLACES = [(0.0, 0.0), (-1.0, -1.0), (1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (0.3, -0.7), (-0.42, 0.9)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", [3, 4])
def test_a_window_of_a_coded_image_holds_the_numbers_of_its_pixels(place, size):
    for image in (coded(), coded(9, 14)):
        found = crop(jnp.asarray(image), jnp.array(place), size, 3)
        np.testing.assert_array_equal(found[0, :, :, 0], expected(image, place, size))
        for scale in (1, 2):
            blocks = expected(image, place, size * 2**scale).reshape(size, 2**scale, size, 2**scale).mean((1, 3))
            np.testing.assert_allclose(found[scale, :, :, 0], blocks, rtol=1e-6)


def test_the_middle_window_is_in_the_middle():
    np.testing.assert_array_equal(crop(jnp.asarray(coded()), jnp.zeros(2), 4, 1)[0, :, :, 0], coded()[4:8, 4:8, 0])


def test_the_first_number_of_a_place_is_the_row_and_the_second_the_column():
    image = np.zeros((12, 12, 1), np.uint8)
    image[0, 11] = 255  # the upper right corner
    seen = {place: float(crop(jnp.asarray(image), jnp.array(place), 4, 1).max()) for place in PLACES[1:5]}
    assert seen == {(-1.0, -1.0): 0, (1.0, 1.0): 0, (-1.0, 1.0): 255, (1.0, -1.0): 0}
    found = crop(jnp.asarray(image), jnp.array((-1.0, 1.0)), 4, 1)[0, :, :, 0]
    assert np.argwhere(found).tolist() == [[2, 1]]  # the window is half outside on both sides


def test_windows_keep_channels_apart():
    image = np.stack([coded()[..., 0], 2 * (coded()[..., 0] % 100)], -1)
    found = crop(jnp.asarray(image), jnp.array((0.2, 0.1)), 4, 2)
    assert found.shape == (2, 4, 4, 2)
    np.testing.assert_array_equal(found[..., 1], crop(jnp.asarray(image[..., 1:]), jnp.array((0.2, 0.1)), 4, 2)[..., 0])


def network(shape=(12, 12, 1)):
    return recurrent_attention(jax.random.key(0), shape, 5, (16, 8), 4, 2, 3)


def test_axes_of_a_look():
    images = jnp.stack([coded(), coded()[::-1]])
    look = network()(images, jnp.zeros((3, 7, 2, 2)))
    assert look.logits.shape == (7, 2, 5)
    assert look.mean.shape == look.place.shape == (3, 7, 2, 2)
    assert look.baseline.shape == (3, 7, 2)
    assert network().still(images[0]).logits.shape == (5,)


def test_an_image_without_channels_is_the_same_image():
    one, two = network((12, 12)).still(jnp.asarray(coded()[..., 0])), network().still(jnp.asarray(coded()))
    np.testing.assert_array_equal(one.logits, two.logits)


def test_several_looks_at_a_batch_are_looks_at_each():
    images = jnp.stack([coded(), coded()[::-1]])
    noise = 0.3 * jax.random.normal(jax.random.key(1), (3, 2, 2, 2))
    both = network()(images, noise)
    for copy in range(2):
        for index in range(2):
            one = network()(images[index], noise[:, copy, index])
            np.testing.assert_allclose(both.logits[copy, index], one.logits, atol=1e-5)
            np.testing.assert_allclose(both.place[:, copy, index], one.place, atol=1e-5)


def test_places_are_the_means_moved_by_the_noise_and_not_clipped():
    noise = jnp.full((3, 2), 2.0)
    look = network()(jnp.asarray(coded()), noise)
    np.testing.assert_allclose(look.place - look.mean, noise, rtol=1e-6)
    assert (look.place > 1).all()
    # Beyond the image a glimpse is taken at its border: further away changes nothing that is seen.
    np.testing.assert_array_equal(look.logits, network()(jnp.asarray(coded()), 2 * noise).logits)
