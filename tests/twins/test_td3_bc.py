"""TD3+BC against d3rlpy: same weights, same batch, same noise, ten updates."""

import jax
import jax.numpy as jnp
import optax
from peer import Peer, Recorded, noted, rates, same_weights

from weft.agents.algorithm import Tick
from weft.agents.algorithms import td3_bc
from weft.agents.parts import delayed
from weft.nn.actors import DeterministicActor
from weft.nn.optimise import learner


def test_ten_updates_equal_d3rlpy(monkeypatch):
    peer = Peer("td3_bc")
    numbers = peer.numbers
    of = {tuple: numbers["critic_learning_rate"], DeterministicActor: numbers["actor_learning_rate"]}
    for module in (td3_bc, delayed):
        rates(monkeypatch, module, of)
    setting = td3_bc.TD3BC(
        discount=numbers["discount"],
        target_rate=numbers["polyak_rate"],
        value_weight=numbers["alpha"],
        noise=numbers["target_noise"],
        noise_limit=numbers["target_noise_clip"],
        actor_every=numbers["actor_interval"],
    )
    adam = optax.adam(1.0)
    state = td3_bc.State(
        actor=learner(peer.deterministic("init/actor"), adam),
        critics=learner(peer.pair("init/critic"), adam),
        target_actor=peer.deterministic("init/target_actor"),
        target=peer.pair("init/target_critic"),
        actor_loss=jnp.zeros(()),
    )
    chance = Recorded(monkeypatch, ["target_smoothing"])

    @jax.jit
    def update(state, step, noise):
        tick = Tick(jax.random.key(0), step, jnp.zeros(()))
        return chance.update(setting, state, peer.batch, tick, {"target_smoothing": noise})

    losses = {"critic_loss": [], "actor_loss": []}
    for step in range(10):
        state, metrics = update(state, step, peer.arrays[f"noise/update{step}/target_smoothing"])
        for name, series in losses.items():
            series.append(metrics[name])
        if step in (0, 9):
            place = f"after{step + 1}"
            same_weights(state.actor.model, peer.deterministic(f"{place}/actor"), peer.deterministic("init/actor"))
            same_weights(state.target_actor, peer.deterministic(f"{place}/target_actor"))
            same_weights(state.critics.model, peer.pair(f"{place}/critic"), peer.pair("init/critic"))
            same_weights(state.target, peer.pair(f"{place}/target_critic"))
    for name, series in losses.items():
        noted(peer, name, series)
