"""Discrete BCQ against d3rlpy, the imitator with layers of its own: same weights, same batch, ten updates.

`discrete_bcq_apart_raw` has the penalty of the authors' code and needs no change. In `discrete_bcq_apart`, the peer as
installed, the penalty is that of log probabilities: the imitator there is an actor whose logits are normalised.
The peer's hard copies come after updates 0, 4 and 8, ours after every fourth: the steps begin at 3.
"""

import jax
import jax.numpy as jnp
import optax
import pytest
from peer import Peer, noted, same_weights

from weft.agents.algorithm import Tick
from weft.agents.algorithms import discrete_bcq
from weft.nn.optimise import learner


@pytest.mark.parametrize("name", ["discrete_bcq_apart_raw", "discrete_bcq_apart"])
def test_ten_updates_equal_d3rlpy(name):
    peer = Peer(name)
    numbers = peer.numbers
    normalised = not numbers["raw_logits_penalty"]
    setting = discrete_bcq.DiscreteBCQ(
        learning_rate=numbers["learning_rate"],
        discount=numbers["discount"],
        target_rate=1.0,
        least_ratio=numbers["threshold"],
        logit_weight=numbers["logits_weight"],
        target_every=numbers["target_interval"],
    )
    adam = optax.adam(1.0)
    state = discrete_bcq.State(
        critic=learner(peer.discrete("init/critic0")[0], adam),
        behaviour=learner(peer.imitator("init/imitator", normalised), adam),
        target=peer.discrete("init/target_critic0")[0],
    )
    first = setting.target_every - 1

    @jax.jit
    def update(state, step):
        return setting.update(state, peer.batch, Tick(jax.random.key(0), first + step, jnp.zeros(())))

    losses = {"td_loss": [], "imitator_loss": []}
    for step in range(10):
        state, metrics = update(state, step)
        losses["td_loss"].append(metrics["critic_loss"])
        losses["imitator_loss"].append(metrics["behaviour_loss"])
        if step in (0, 9):
            place = f"after{step + 1}"
            same_weights(state.critic.model, peer.discrete(f"{place}/critic0")[0], peer.discrete("init/critic0")[0])
            imitators = [peer.imitator(f"{where}/imitator", normalised) for where in (place, "init")]
            same_weights(state.behaviour.model, *imitators)
            same_weights(state.target, peer.discrete(f"{place}/target_critic0")[0])
    for name_of_loss, series in losses.items():
        noted(peer, name_of_loss, series)
