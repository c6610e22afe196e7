import jax
import numpy as np
import pytest

from weft.agents.algorithms.dqn import DQN
from weft.core.errors import UserError
from weft.data.spec import ActionSpec, ObservationSpec, Spec
from weft.nn.convolution import as_product
from weft.nn.critics import critic
from weft.nn.encoder import encoder


@pytest.mark.few(8)
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("side", "stride"), [(8, 4), (4, 2), (3, 1), (3, 2), (5, 3)])
@pytest.mark.parametrize("size", [(21, 20), (12, 17)])
def test_a_product_is_the_convolution(padding, side, stride, size):
    keys = jax.random.split(jax.random.key(0))
    image = jax.random.normal(keys[0], (2, *size, 3))
    kernel = jax.random.normal(keys[1], (side, side, 3, 5))

    def reference(kernel):
        axes = jax.lax.conv_dimension_numbers(image.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
        return jax.lax.conv_general_dilated(image, kernel, (stride, stride), padding, dimension_numbers=axes)

    np.testing.assert_allclose(as_product(image, kernel, stride, padding), reference(kernel), atol=2e-4)
    one, two = (jax.grad(lambda k, f=f: (f(k) ** 2).sum())(kernel) for f in (
        lambda k: as_product(image, k, stride, padding), reference
    ))  # fmt: skip
    np.testing.assert_allclose(one, two, rtol=2e-3, atol=2e-2)


def frames(shape=(84, 84, 4), choices=6):
    return Spec((ObservationSpec(shape, "uint8", "image"),), ActionSpec("discrete", (), "int32", counts=(choices,)))


def test_the_nature_network_has_the_papers_parameters():
    model = jax.eval_shape(lambda: critic(jax.random.key(0), frames(), (512,), "nature"))
    assert sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(model)) == 1_684_128 + 513 * 6


def test_the_network_of_2013_ends_in_2592_features():
    assert jax.eval_shape(lambda: encoder(jax.random.key(0), frames(), "2013")).features == 9 * 9 * 32


def test_a_grey_image_needs_no_axis_of_channels():
    model = encoder(jax.random.key(0), frames((84, 84)), "2013")
    seen = np.zeros((5, 84, 84), np.uint8)
    assert jax.eval_shape(model, seen).shape == (5, 2592)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(UserError, match="too small for 'nature'; use 'small'"):
        critic(jax.random.key(0), frames((20, 20, 4)), (512,), "nature")
    with pytest.raises(UserError, match="no network for images 'resnet'"):
        critic(jax.random.key(0), frames(), (512,), "resnet")


def test_the_setting_of_the_paper_is_there():
    paper = DQN.nature()
    assert (paper.learning_rate, paper.target_every, paper.sampler.batch_size) == (2.5e-4, 10_000, 32)
    assert paper.clip_rewards
    assert paper.optimiser == "rmsprop"
