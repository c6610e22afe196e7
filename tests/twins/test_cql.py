"""CQL(H) against d3rlpy: same weights, same batch, same noise, ten updates, two kinds of target."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from peer import Peer, Recorded, noted, same_weights

from weft.agents.algorithm import Tick
from weft.agents.algorithms import cql
from weft.nn.multipliers import Fixed, Lagrange
from weft.nn.optimise import learner

# The sampled target draws although the mean action needs no chance; the compiler drops that draw.
ORDER = ["target", "policy_current", "policy_next", "uniform", "actor", "actor"]


@pytest.mark.parametrize(("name", "backup"), [("cql", "greedy"), ("cql_soft_backup", "soft")])
def test_ten_updates_equal_d3rlpy(name, backup, monkeypatch):
    peer = Peer(name)
    numbers = peer.numbers
    setting = cql.CQL(
        learning_rate=numbers["critic_learning_rate"],
        actor_learning_rate=numbers["actor_learning_rate"],
        discount=numbers["discount"],
        target_rate=numbers["polyak_rate"],
        weight=Fixed(numbers["conservative_weight"]),
        temperature=Lagrange(1.0, numbers["temperature_learning_rate"], numbers["initial_temperature"]),
        samples=numbers["action_samples_per_source"],
        backup=backup,
    )
    adam = optax.adam(1.0)
    state = cql.State(
        actor=learner(peer.squashed("init/actor"), adam),
        critics=learner(peer.pair("init/critic"), adam),
        target=peer.pair("init/target_critic"),
        weight=setting.weight.begin(),
        temperature=setting.temperature.begin(),
    )
    np.testing.assert_allclose(state.temperature.model, peer.arrays["init/log_temperature"], rtol=1e-6)
    chance = Recorded(monkeypatch, ORDER)

    @jax.jit
    def update(state, step, noise):
        return chance.update(setting, state, peer.batch, Tick(jax.random.key(0), step, jnp.zeros(())), noise)

    losses = {"critic_loss": [], "conservative_loss": [], "actor_loss": [], "temp": []}
    constant = 2 * numbers["conservative_weight"] * np.log(3 * numbers["action_samples_per_source"])
    for step in range(10):
        noise = {use: peer.arrays.get(f"noise/update{step}/{use}", np.zeros((8, 2), np.float32)) for use in ORDER}
        state, metrics = update(state, step, noise)
        losses["critic_loss"].append(metrics["critic_loss"] + constant)
        losses["conservative_loss"].append(2 * numbers["conservative_weight"] * metrics["gap"] + constant)
        losses["actor_loss"].append(metrics["actor_loss"])
        losses["temp"].append(metrics["temperature"])
        if step in (0, 9):
            place = f"after{step + 1}"
            same_weights(state.actor.model, peer.squashed(f"{place}/actor"), peer.squashed("init/actor"))
            same_weights(state.critics.model, peer.pair(f"{place}/critic"), peer.pair("init/critic"))
            same_weights(state.target, peer.pair(f"{place}/target_critic"))
            same_weights(state.temperature.model, jnp.asarray(peer.arrays[f"{place}/log_temperature"]))
    for name_of_loss, series in losses.items():
        noted(peer, name_of_loss, series)
