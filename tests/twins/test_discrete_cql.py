"""Discrete CQL against d3rlpy (double Q-learning, Huber loss, one critic, hard copies): ten updates.

Hard copies are a target rate of 1 in the updates that copy and of 0 in the others.
"""

import jax
import jax.numpy as jnp
import optax
from peer import Peer, noted, same_weights

from weft.agents.algorithm import Tick
from weft.agents.algorithms import cql
from weft.core import pytree
from weft.nn.multipliers import Fixed
from weft.nn.optimise import learner


def test_ten_updates_equal_d3rlpy():
    peer = Peer("discrete_cql")
    numbers = peer.numbers
    setting = cql.CQL(
        learning_rate=numbers["learning_rate"],
        discount=numbers["discount"],
        weight=Fixed(numbers["conservative_weight"]),
        error="huber",
        backup="plain",
    )
    adam = optax.adam(1.0)
    critics = learner(peer.discrete("init/critic0"), adam)
    state = cql.State(None, critics, peer.discrete("init/target_critic0"), (), ())
    update = jax.jit(lambda setting, state: setting.update(state, peer.batch, tick))
    tick = Tick(jax.random.key(0), jnp.int32(0), jnp.zeros(()))
    losses = {"loss": [], "td_loss": [], "conservative_loss": []}
    for step in range(10):
        rate = 1.0 if step % numbers["target_interval"] == 0 else 0.0
        state, metrics = update(pytree.as_arrays(pytree.replace(setting, "target_rate", rate)), state)
        for name, ours in zip(losses, ("critic_loss", "td_error", "gap"), strict=True):
            losses[name].append(metrics[ours])
        if step in (0, 9):
            place = f"after{step + 1}"
            same_weights(state.critics.model, peer.discrete(f"{place}/critic0"), peer.discrete("init/critic0"))
            same_weights(state.target, peer.discrete(f"{place}/target_critic0"))
    for name, series in losses.items():
        noted(peer, name, series)
