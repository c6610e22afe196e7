"""AWAC against d3rlpy with the paper's target: same weights, same batch, same noise, ten updates.

The actor is the peer's, whose spread lies between two bounds by a sigmoid; ours steps back to its largest one. The
peer sums the actor's loss over the batch, we average it.
"""

import jax
import jax.numpy as jnp
import optax
from peer import BoundedActor, Peer, Recorded, noted, rates, same_weights

from weft.agents.algorithm import Tick
from weft.agents.algorithms import awac
from weft.nn.optimise import learner

ORDER = ["target", "baseline"]


def test_ten_updates_equal_d3rlpy(monkeypatch):
    peer = Peer("awac_plain")
    numbers = peer.numbers
    of = {tuple: numbers["critic_learning_rate"], BoundedActor: numbers["actor_learning_rate"]}
    rates(monkeypatch, awac, of)
    setting = awac.AWAC(
        discount=numbers["discount"],
        target_rate=numbers["polyak_rate"],
        inverse_temperature=1.0 / numbers["temperature"],
        largest_weight=1e30,
        weighting="softmax",
        samples=numbers["action_samples"],
    )
    adam = optax.adam(1.0)
    state = awac.State(
        actor=learner(peer.bounded("init/actor"), adam),
        critics=learner(peer.pair("init/critic"), adam),
        target=peer.pair("init/target_critic"),
    )
    chance = Recorded(monkeypatch, ORDER)

    @jax.jit
    def update(state, step, noise):
        return chance.update(setting, state, peer.batch, Tick(jax.random.key(0), step, jnp.zeros(())), noise)

    losses = {"critic_loss": [], "actor_loss": []}
    for step in range(10):
        state, metrics = update(state, step, peer.noise(step, ORDER, alone=("target",)))
        losses["critic_loss"].append(metrics["critic_loss"])
        losses["actor_loss"].append(numbers["batch_size"] * metrics["actor_loss"])
        if step in (0, 9):
            place = f"after{step + 1}"
            same_weights(state.actor.model, peer.bounded(f"{place}/actor"), peer.bounded("init/actor"))
            same_weights(state.critics.model, peer.pair(f"{place}/critic"), peer.pair("init/critic"))
            same_weights(state.target, peer.pair(f"{place}/target_critic"))
    for name, series in losses.items():
        noted(peer, name, series)
