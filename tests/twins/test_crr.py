"""CRR against d3rlpy: same weights, same batch, same noise, ten updates, three kinds of weights and targets.

The actor is the peer's, whose spread depends on the state. The peer's advantage is that of the mean of both critics, a
pessimism of one half. Its hard copies come after updates 0, 4 and 8, ours after every fourth: the steps begin at 3.
"""

import jax
import jax.numpy as jnp
import optax
import pytest
from peer import Peer, Recorded, SpreadActor, noted, rates, same_weights

from weft.agents.algorithm import Tick
from weft.agents.algorithms import crr
from weft.nn.optimise import learner

ORDER = ["target", "baseline"]


@pytest.mark.parametrize("name", ["crr_binary", "crr_exponential", "crr_maximum"])
def test_ten_updates_equal_d3rlpy(name, monkeypatch):
    peer = Peer(name)
    numbers = peer.numbers
    of = {tuple: numbers["critic_learning_rate"], SpreadActor: numbers["actor_learning_rate"]}
    rates(monkeypatch, crr, of)
    hard = numbers["target_update"] == "hard"
    kind = {"weighting": "binary"}
    if numbers["weighting"] == "exp":
        kind = {
            "weighting": "exponential",
            "inverse_temperature": 1.0 / numbers["temperature"],
            "largest_weight": numbers["largest_weight"],
        }
    setting = crr.CRR(
        discount=numbers["discount"],
        target_rate=1.0 if hard else numbers["polyak_rate"],
        target_every=numbers["target_interval"] if hard else 1,
        pessimism=0.5,
        baseline=numbers["baseline"],
        samples=numbers["action_samples"],
        **kind,
    )
    adam = optax.adam(1.0)
    state = crr.State(
        actor=learner(peer.spread("init/actor"), adam),
        critics=learner(peer.pair("init/critic"), adam),
        target_actor=peer.spread("init/target_actor"),
        target=peer.pair("init/target_critic"),
    )
    chance = Recorded(monkeypatch, ORDER)
    first = setting.target_every - 1

    @jax.jit
    def update(state, step, noise):
        return chance.update(setting, state, peer.batch, Tick(jax.random.key(0), first + step, jnp.zeros(())), noise)

    losses = {"critic_loss": [], "actor_loss": []}
    for step in range(10):
        state, metrics = update(state, step, peer.noise(step, ORDER))
        for name_of_loss, series in losses.items():
            series.append(metrics[name_of_loss])
        if step in (0, 9):
            place = f"after{step + 1}"
            same_weights(state.actor.model, peer.spread(f"{place}/actor"), peer.spread("init/actor"))
            same_weights(state.target_actor, peer.spread(f"{place}/target_actor"))
            same_weights(state.critics.model, peer.pair(f"{place}/critic"), peer.pair("init/critic"))
            same_weights(state.target, peer.pair(f"{place}/target_critic"))
    for name_of_loss, series in losses.items():
        noted(peer, name_of_loss, series)
