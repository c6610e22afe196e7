"""RAM finds a patch whose texture is the answer; places learn from the reward alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.agents.algorithms.ram import RAM
from weft.core import pytree
from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.data.samplers.transitions import Transitions

SIDE, PATCH = 24, 4
# Blocks of two by two pixels are equally bright in all, so that only the finest window can tell them apart.
ONE = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]])
TWO = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]])
TEXTURES = np.stack([ONE, 1 - ONE, TWO, 1 - TWO]).astype(np.uint8)


def patches(count: int, seed: int) -> Dataset:
    """Return dark images with one bright patch at an even place; its texture is the label."""
    random = np.random.default_rng(seed)
    images, labels = np.zeros((count, SIDE, SIDE), np.uint8), random.integers(0, 4, count)
    corners = 2 * random.integers(0, (SIDE - PATCH) // 2 + 1, (count, 2))
    for image, label, (row, column) in zip(images, labels, corners, strict=True):
        image[row : row + PATCH, column : column + PATCH] = 255 * TEXTURES[label]
    return Dataset.from_arrays(images, labels, np.ones(count, np.float32), np.ones(count, bool), action_count=4)


def small(**changes) -> RAM:
    options = {"size": 6, "scales": 3, "glimpses": 3, "copies": 2, "hidden": (64,), "learning_rate": 2e-3}
    return RAM(**{**options, "sampler": Transitions(64), **changes})


def accuracy(setting: RAM, steps: int, seed: int = 0) -> float:
    """Return the share of new images that are named rightly after training."""
    [state] = zoo.runs([setting], patches(4000, 0), steps, (seed,))
    test = patches(1000, 1)
    chosen = jax.jit(lambda images: setting.policy(state).distribution((), images).mode())(test.observations)
    return float(np.mean(np.asarray(chosen) == test.actions))


@pytest.mark.slow
def test_three_glimpses_find_the_patch():
    assert accuracy(small(), 2000) >= 0.95


@pytest.mark.slow
def test_a_glimpse_that_stays_in_the_middle_is_near_chance():
    # 1 in 4, and the fifth of the patches that the finest window of the middle overlaps.
    assert accuracy(small(glimpses=1, copies=1), 600) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_other_seeds_find_it_too(seed):
    assert accuracy(small(), 3000, seed) >= 0.95


@pytest.fixture(scope="module")
def parts():
    """Return a setting, its network, images, labels, and noise for some looks at them."""
    setting, data = small(deviation=0.2, hidden=(16,)), patches(8, 3)
    network = setting.init(jax.random.key(0), data.spec).attention.model
    noise = 0.2 * jax.random.normal(jax.random.key(1), (3, 2, 8, 2))
    return setting, network, jnp.asarray(data.observations), jnp.asarray(data.actions), noise


def gradient(parts, term: str):
    setting, network, images, labels, noise = parts
    return jax.grad(lambda network: setting.loss(network, images, labels, noise)[1][term])(network)


def largest(tree) -> float:
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def test_the_answer_teaches_the_places_nothing(parts):
    setting, network, images, labels, noise = parts
    found = gradient(parts, "actor_loss")
    assert largest(found.aim) == 0
    assert largest(found.expect) == 0
    assert largest(found.what) > 0
    by_place = jax.grad(lambda noise: setting.loss(network, images, labels, noise)[1]["actor_loss"])(noise)
    assert largest(by_place) == 0


def test_the_baseline_teaches_itself_alone(parts):
    found = gradient(parts, "baseline_loss")
    assert largest(found.expect) > 0
    assert all(largest(getattr(found, name)) == 0 for name in ("what", "where", "join", "enter", "recur", "aim"))
    assert largest(gradient(parts, "place_loss").expect) == 0


def test_the_density_is_that_of_the_place_that_was_drawn(parts):
    # A place far outside the image: its density is that of the noise, whatever the glimpse was clipped to.
    setting, network, images, labels, _ = parts
    noise = jnp.full((3, 2, 8, 2), 1.5)
    look = network(images, noise)
    density = -0.5 * (1.5 / 0.2) ** 2 * 2 - 2 * np.log(0.2) - np.log(2 * np.pi)
    gain = (look.logits.argmax(-1) == labels) - look.baseline[:-1]
    expected = -float(jnp.mean((gain * density).sum(0)))
    found = setting.loss(network, images, labels, noise)[1]["place_loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_gradient_of_the_places_is_that_of_reinforce(parts):
    # d log N(l; tanh(W h + b), s) / db = (l - mean) / s² · (1 − mean²), times the gain, summed over glimpses.
    _, network, images, labels, noise = parts
    look = network(images, noise)
    gain = (look.logits.argmax(-1) == labels) - look.baseline[:-1]
    slope = noise[:-1] / 0.2**2 * (1 - jnp.square(look.mean[:-1]))
    direct = -(gain[..., None] * slope).sum(0).mean((0, 1))
    quiet = jax.grad(_without_core)(network.aim.bias, parts)
    np.testing.assert_allclose(quiet, direct, rtol=1e-3, atol=1e-5)


def _without_core(bias, parts):
    """Return the loss of the places as a function of the last bias, with the places where they were."""
    setting, network, images, labels, noise = parts
    aim = type(network.aim)(network.aim.weight, bias)
    moved = type(network)(
        **{name: getattr(network, name) for name in network.__dataclass_fields__ if name != "aim"}, aim=aim
    )
    return setting.loss(moved, images, labels, noise)[1]["place_loss"]


def test_what_is_served_has_no_chance_but_in_the_choice(parts):
    setting, _, images, _, _ = parts
    state = setting.init(jax.random.key(0), patches(8, 3).spec)
    policy = setting.policy(state)
    found = policy.distribution((), images)
    np.testing.assert_array_equal(found.logits, policy.distribution((), images).logits)
    action, log_prob, _ = policy.draw((), images, jax.random.key(5))
    np.testing.assert_allclose(log_prob, found.log_prob(action), rtol=1e-5)
    places = policy.places(images)
    assert places.shape == (3, 8, 2)
    assert (places[0] == 0).all()


def test_numbers_out_of_range_are_refused():
    for change in ({"deviation": 0.0}, {"glimpses": 0}, {"size": 0}, {"scales": 0}, {"copies": 0}, {"hidden": ()}):
        with pytest.raises(UserError):
            small(**change)


def test_dictionaries_are_refused():
    data = patches(8, 0)
    parts = {"left": data.observations, "right": data.observations}
    both = Dataset.from_arrays(parts, data.actions, data.rewards, data.terminals, action_count=4)
    with pytest.raises(UserError, match="dictionary"):
        small().init(jax.random.key(0), both.spec)
    assert pytree.floats(small()) == ["learning_rate", "deviation"]
