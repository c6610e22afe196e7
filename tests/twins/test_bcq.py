"""BCQ against d3rlpy with tanh at the end of its decoder: same weights, same batch, same noise, ten updates.

Only the learning rates, of which the peer has three, are put in from outside.
"""

import jax
import jax.numpy as jnp
import optax
from peer import Peer, Recorded, noted, rates, same_weights

from weft.agents.algorithm import Tick
from weft.agents.algorithms import bcq
from weft.nn.joint import Joint
from weft.nn.optimise import learner
from weft.nn.variational import Variational

ORDER = ["vae", "target_latent", "actor_latent"]


def test_ten_updates_equal_d3rlpy(monkeypatch):
    peer = Peer("bcq_tanh")
    numbers = peer.numbers
    of = {
        Variational: numbers["vae_learning_rate"],
        tuple: numbers["critic_learning_rate"],
        Joint: numbers["actor_learning_rate"],
    }
    rates(monkeypatch, bcq, of)
    setting = bcq.BCQ(
        discount=numbers["discount"],
        target_rate=numbers["polyak_rate"],
        pessimism=numbers["soft_min_weight"],
        perturbation=numbers["perturbation"],
        samples=numbers["action_samples"],
    )
    adam = optax.adam(1.0)
    state = bcq.State(
        model=learner(peer.variational("init"), adam),
        critics=learner(peer.pair("init/critic"), adam),
        mover=learner(peer.joint("init/actor"), adam),
        target=peer.pair("init/target_critic"),
        target_mover=peer.joint("init/target_actor"),
    )
    chance = Recorded(monkeypatch, ORDER)

    @jax.jit
    def update(state, step, noise):
        return chance.update(setting, state, peer.batch, Tick(jax.random.key(0), step, jnp.zeros(())), noise)

    losses = {"vae_loss": [], "critic_loss": [], "actor_loss": []}
    for step in range(10):
        state, metrics = update(state, step, peer.noise(step, ORDER, alone=("actor_latent",)))
        for series, ours in zip(losses.values(), ("model_loss", "critic_loss", "mover_loss"), strict=True):
            series.append(metrics[ours])
        if step in (0, 9):
            place = f"after{step + 1}"
            same_weights(state.model.model, peer.variational(place), peer.variational("init"))
            same_weights(state.critics.model, peer.pair(f"{place}/critic"), peer.pair("init/critic"))
            same_weights(state.mover.model, peer.joint(f"{place}/actor"), peer.joint("init/actor"))
            same_weights(state.target, peer.pair(f"{place}/target_critic"))
            same_weights(state.target_mover, peer.joint(f"{place}/target_actor"))
    for name, series in losses.items():
        noted(peer, name, series)
