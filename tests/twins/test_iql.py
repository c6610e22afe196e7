"""IQL against the authors' own code: same weights, same batch, ten updates."""

import jax
import jax.numpy as jnp
import optax
import pytest
from peer import Peer, noted, rates, same_weights

from weft.agents.algorithm import Tick
from weft.agents.algorithms import iql
from weft.nn.actors import GaussianActor
from weft.nn.critics import Value
from weft.nn.optimise import learner


@pytest.fixture
def peer():
    return Peer("iql")


def test_ten_updates_equal_the_authors(peer, monkeypatch):
    numbers = peer.numbers
    of = {
        tuple: numbers["critic_learning_rate"],
        Value: numbers["value_learning_rate"],
        GaussianActor: numbers["actor_learning_rate"],
    }
    rates(monkeypatch, iql, of)
    setting = iql.IQL(
        discount=numbers["discount"],
        target_rate=numbers["polyak_rate"],
        expectile=numbers["expectile"],
        inverse_temperature=numbers["inverse_temperature"],
        largest_weight=numbers["max_weight"],
    )
    adam = optax.adam(1.0)
    state = iql.State(
        actor=learner(peer.gaussian("init/actor"), adam),
        critics=learner(peer.pair("init/critic"), adam),
        value=learner(peer.value("init/value"), adam),
        target=peer.pair("init/target_critic"),
    )
    losses = {"value_loss": [], "actor_loss": [], "critic_loss": []}
    update = jax.jit(
        lambda state, step: setting.update(state, peer.batch, Tick(jax.random.key(0), step, jnp.zeros(())))
    )
    for step in range(10):
        state, metrics = update(state, step)
        for name, series in losses.items():
            series.append(metrics[name])
        if step in (0, 9):
            place = f"after{step + 1}"
            same_weights(state.value.model, peer.value(f"{place}/value"), peer.value("init/value"))
            same_weights(state.actor.model, peer.gaussian(f"{place}/actor"), peer.gaussian("init/actor"))
            same_weights(state.critics.model, peer.pair(f"{place}/critic"), peer.pair("init/critic"))
            same_weights(state.target, peer.pair(f"{place}/target_critic"))
    for name, series in losses.items():
        noted(peer, name, series)
