"""Networks take any leading axes, start as they should, and share the state's half of the first layer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import VECTOR

from weft.data.spec import ActionSpec, ObservationSpec, Spec
from weft.nn.actors import SMALL, behaviour_actor, deterministic_actor, squashed_actor
from weft.nn.critics import believed, critics, first_layer, lowest, value
from weft.nn.dense import LayerNorm, mlp, orthogonal, product
from weft.nn.distributions import pick
from weft.nn.encoder import Encoder, encoder

CHOICES = dataclasses.replace(VECTOR, action=ActionSpec("discrete", (), "int32", counts=(4,)))
MIXED = dataclasses.replace(
    VECTOR,
    observations=(
        ObservationSpec((2, 2), name="table"),
        ObservationSpec((12, 10, 3), "uint8", "image", "camera"),
        ObservationSpec((), "int32", "category", "place", count=5),
        ObservationSpec((6,), "int32", "tokens", "words", count=9),
    ),
)


def mixed(*batch: int) -> dict:
    return {
        "table": jnp.ones((*batch, 2, 2)),
        "camera": jnp.full((*batch, 12, 10, 3), 200, jnp.uint8),
        "place": jnp.full(batch, 3, jnp.int32),
        "words": jnp.tile(jnp.array([1, 2, 8, -1, -1, -1], jnp.int32), (*batch, 1)),
    }


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_first_weights_are_orthogonal(shape):
    found = orthogonal(jax.random.key(0), *shape)
    assert found.shape == shape
    small = found.T @ found if shape[0] >= shape[1] else found @ found.T
    np.testing.assert_allclose(small, np.eye(min(shape)), atol=1e-4)


def test_an_mlp_has_gains_zero_biases_and_no_last_activation():
    network = mlp(jax.random.key(0), (3, 8, 2), last=0.01)
    assert [layer.weight.shape for layer in network.layers] == [(3, 8), (8, 2)]
    assert not any(layer.bias.any() for layer in network.layers)
    np.testing.assert_allclose(jnp.linalg.norm(network.layers[1].weight, axis=0), 0.01, rtol=1e-3)
    assert (network(jnp.ones((7, 3))) < 0).any()
    assert network(jnp.ones((4, 7, 3))).shape == (4, 7, 2)


@pytest.mark.parametrize("outputs", [1, 2, 5, 9])
@pytest.mark.parametrize("lead", [(7,), (3, 4), ()])
def test_a_product_has_the_gradients_of_a_plain_one(lead, outputs):
    values, weight, slope = (
        jax.random.normal(jax.random.key(place), shape)
        for place, shape in enumerate([(*lead, 5), (5, outputs), (*lead, outputs)])
    )

    def loss(multiply, values, weight):
        return jnp.sum(jnp.tanh(multiply(values, weight)) * slope)

    for found, expected in zip(
        (jax.grad(loss, place + 1)(product, values, weight) for place in range(2)),
        (jax.grad(loss, place + 1)(jnp.matmul, values, weight) for place in range(2)),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_layer_norm_has_mean_and_deviation():
    values = 3.0 + 5.0 * jax.random.normal(jax.random.key(0), (4, 6))
    found = LayerNorm(jnp.full(6, 2.0), jnp.full(6, 1.0))(values)
    np.testing.assert_allclose(found.mean(-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(found.std(-1), 2.0, rtol=1e-4)


def test_norms_stand_before_the_last_layers_and_change_no_first_weight():
    key, values = jax.random.key(0), jax.random.normal(jax.random.key(1), (4, 3))
    plain, normed = mlp(key, (3, 8, 8, 2)), mlp(key, (3, 8, 8, 2), norms=2)
    assert [layer.norm is None for layer in (*plain.layers, *normed.layers)] == [True] * 4 + [False] * 2
    for one, two in zip(plain.layers, normed.layers, strict=True):
        np.testing.assert_array_equal(one.weight, two.weight)
    first, second, last = plain.layers
    norm = LayerNorm(jnp.ones(8), jnp.zeros(8))
    hidden = norm(jax.nn.relu(second(norm(jax.nn.relu(first(values))))))
    np.testing.assert_allclose(normed(values), last(hidden), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_every_kind_of_observation_is_encoded_with_any_leading_axes(batch):
    encode = jax.jit(encoder, static_argnums=1)(jax.random.key(0), MIXED)
    found = jax.jit(Encoder.__call__)(encode, mixed(*batch))
    assert found.shape == (*batch, encode.features)
    assert jnp.isfinite(found).all()


def test_padding_tokens_do_not_count():
    encode = jax.jit(encoder, static_argnums=1)(jax.random.key(0), MIXED)
    longer = mixed(1) | {"words": jnp.array([[1, 2, 8, 1, 2, 8]], jnp.int32)}
    np.testing.assert_allclose(encode(mixed(1)), encode(longer), atol=1e-6)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("head", ["gaussian", "mixture", "deterministic"])
def test_actors_give_one_action_per_state(head, batch):
    actor = behaviour_actor(jax.random.key(0), VECTOR, (8,), head, 3)
    chosen = actor(jnp.ones((*batch, 3)))
    assert chosen.mode().shape == (*batch, 2)
    assert chosen.sample(jax.random.key(1)).shape == (*batch, 2)
    assert (jnp.abs(chosen.mode()) <= 1).all()
    choice = behaviour_actor(jax.random.key(0), CHOICES, (8,), head)(jnp.ones((*batch, 3)))
    assert choice.mode().shape == batch


def test_first_policies_are_nearly_the_same_everywhere():
    seen = jax.random.normal(jax.random.key(1), (50, 3))
    for make in (deterministic_actor, squashed_actor):
        assert jnp.abs(make(jax.random.key(0), VECTOR, (16,))(seen).mode()).max() < 10 * SMALL


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 8)])
def test_many_actions_of_a_state_share_its_half(hidden, normed):
    pair = critics(jax.random.key(0), VECTOR, hidden, norm=normed)
    seen, actions = jnp.ones((5, 3)), jax.random.normal(jax.random.key(1), (5, 4, 2))
    one = pair[0]
    many = one.with_actions(one.state_half(seen)[:, None], actions)
    each = jnp.stack([one(seen, actions[:, k]) for k in range(4)], axis=1)
    np.testing.assert_allclose(many, each, atol=1e-5)
    assert first_layer(one).weight.shape == (5, hidden[0] if hidden else 1)
    assert not jnp.allclose(one.action_half, pair[1].action_half)  # two critics with one key would be one
    np.testing.assert_allclose(lowest(pair, seen, actions[:, 0]), jnp.minimum(each[:, 0], pair[1](seen, actions[:, 0])))


def test_discrete_critics_value_every_choice():
    [one] = critics(jax.random.key(0), CHOICES, (8,), 1)
    seen = jax.random.normal(jax.random.key(1), (5, 3))
    assert one.all(seen).shape == (5, 4)
    np.testing.assert_allclose(one(seen, jnp.full(5, 2)), one.all(seen)[:, 2])
    np.testing.assert_allclose(believed([one], None, seen), one.all(seen).max(-1))


def test_a_normed_critic_is_bounded_by_its_last_weights_however_far_the_action():
    far = 1e4 * jnp.ones((1, 2))
    [plain], [normed] = (critics(jax.random.key(0), VECTOR, (8, 8), 1, norm=normed) for normed in (False, True))
    assert abs(plain(jnp.ones((1, 3)), far)[0]) > 100.0
    assert abs(normed(jnp.ones((1, 3)), far)[0]) <= 8**0.5 * jnp.linalg.norm(normed.rest.layers[-1].weight)
    [choices] = critics(jax.random.key(0), CHOICES, (8, 8), 1, norm=True)
    assert [layer.norm is None for layer in choices.head.layers] == [True, False, False]


def test_the_value_of_quantiles_is_their_mean():
    [network] = critics(jax.random.key(0), CHOICES, (8,), 1, quantiles=5)
    seen, action = jnp.ones((2, 6, 3)), jnp.zeros((2, 6), jnp.int32).at[0, 1].set(3)
    returns = network.returns(seen)
    assert returns.shape == (2, 6, 4, 5)
    np.testing.assert_allclose(network.all(seen), returns.mean(-1), rtol=1e-6)
    np.testing.assert_allclose(network(seen, action)[0, 1], returns[0, 1, 3].mean(), rtol=1e-6)
    np.testing.assert_allclose(pick(returns, action)[0, 1], returns[0, 1, 3])
    [plain] = critics(jax.random.key(0), CHOICES, (8,), 1)
    assert (plain.returns(seen) == plain.mean(plain.all(seen))).all()


def test_beliefs_are_the_lower_critic_at_the_policy():
    pair = critics(jax.random.key(0), VECTOR, (8,))
    actor = deterministic_actor(jax.random.key(2), VECTOR, (8,))
    seen = jnp.ones((5, 3))
    np.testing.assert_allclose(believed(pair, actor, seen), lowest(pair, seen, actor(seen).mode()))
    assert value(jax.random.key(0), VECTOR, (8,))(seen).shape == (5,)


def test_an_image_without_an_axis_of_channels_is_the_same_image():
    plain = Spec((ObservationSpec((12, 12), "uint8", "image"),), CHOICES.action)
    deep = Spec((ObservationSpec((12, 12, 1), "uint8", "image"),), CHOICES.action)
    image = jax.random.randint(jax.random.key(1), (3, 12, 12), 0, 256).astype(jnp.uint8)
    one, two = (encoder(jax.random.key(0), spec) for spec in (plain, deep))
    np.testing.assert_allclose(one(image), two(image[..., None]), atol=1e-6)
    assert one(image[0]).shape == two(image[0, ..., None]).shape
