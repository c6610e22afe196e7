"""BEAR against d3rlpy with two repairs: same weights, same batch, same noise, three updates of warm-up and seven more.

`bear_plain` has no entropy in its target and in its actor's loss, like the paper. The peer's target draws from the
actor, ours from the target actor as in the authors' code: here the actor stands in for it. The peer's multiplier keeps
still in the warm-up, ours learns as in the authors' code: here it begins anew after each of these updates.

`bear_repaired` has entropy and a Gaussian kernel. In the warm-up neither the auto-encoder nor the actor sees the
critics, so both must agree.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from peer import Peer, Recorded, noted, rates, same_weights

from weft.agents.algorithm import Tick
from weft.agents.algorithms import bear
from weft.nn.actors import SquashedActor
from weft.nn.multipliers import Lagrange
from weft.nn.optimise import learner
from weft.nn.variational import Variational

# The order of our draws; the value of a draw of the policy counts for nothing in the warm-up.
ORDER = ["vae", "target", "mmd_behaviour_latent", "mmd_policy", "actor"]


class Twin:
    """BEAR with the peer's settings and first weights, and its updates with the peer's noise."""

    def __init__(self, name, monkeypatch):
        self.peer = Peer(name)
        self.numbers = numbers = self.peer.numbers
        of = {
            Variational: numbers["vae_learning_rate"],
            tuple: numbers["critic_learning_rate"],
            SquashedActor: numbers["actor_learning_rate"],
        }
        rates(monkeypatch, bear, of)
        setting = bear.BEAR(
            discount=numbers["discount"],
            target_rate=numbers["polyak_rate"],
            pessimism=numbers["soft_min_weight"],
            width=numbers["mmd_sigma"],
            weight=Lagrange(
                threshold=numbers["mmd_threshold"],
                learning_rate=numbers["alpha_learning_rate"],
                initial=numbers["initial_alpha"],
                largest=float(np.exp(numbers["log_alpha_max"])),
            ),
            kernel=numbers["mmd_kernel"],
            relative=False,
            samples=numbers["mmd_samples"],
            target_samples=numbers["target_samples"],
            warm_up=numbers["warm_up_updates"],
        )
        adam = optax.adam(1.0)
        self.state = bear.State(
            model=learner(self.peer.variational("init"), adam),
            critics=learner(self.peer.pair("init/critic"), adam),
            actor=learner(self.peer.squashed("init/actor"), adam),
            target=self.peer.pair("init/target_critic"),
            target_actor=self.peer.squashed("init/actor"),
            weight=setting.weight.begin(),
        )
        self.first_weight = setting.weight.begin()
        self.update = Recorded(monkeypatch, ORDER).update
        self.compiled = jax.jit(
            lambda state, step, noise: self.update(
                setting, state, self.peer.batch, Tick(jax.random.key(0), step, jnp.zeros(())), noise
            )
        )

    def step(self, number):
        """Make one update and return its metrics, with the peer's loss of the actor: less the threshold's share."""
        warm = number < self.numbers["warm_up_updates"]
        noise = self.peer.noise(number, ORDER[: 4 if warm else 5])
        noise.setdefault("actor", np.full((8, 2), 3.0, np.float32))
        before = jnp.exp(self.state.weight.model)
        state = eqx.tree_at(lambda s: s.target_actor, self.state, self.state.actor.model)
        self.state, metrics = self.compiled(state, number, noise)
        if warm:
            self.state = eqx.tree_at(lambda s: s.weight, self.state, self.first_weight)
        threshold = self.numbers["mmd_threshold"]
        return metrics | {
            "actor_loss": metrics["actor_loss"] - before * threshold,
            "mmd_loss": before * (metrics["discrepancy"] - threshold),
        }


OURS = {"imitator_loss": "model_loss", "critic_loss": "critic_loss", "actor_loss": "actor_loss"}


def test_ten_updates_equal_d3rlpy(monkeypatch):
    twin = Twin("bear_plain", monkeypatch)
    peer, losses = twin.peer, {name: [] for name in (*OURS, "mmd_loss", "alpha")}
    for step in range(10):
        metrics = twin.step(step)
        for name, ours in (OURS | {"mmd_loss": "mmd_loss", "alpha": "weight"}).items():
            losses[name].append(metrics[ours])
        if step in (0, 9):
            place, state = f"after{step + 1}", twin.state
            same_weights(state.model.model, peer.variational(place), peer.variational("init"))
            same_weights(state.critics.model, peer.pair(f"{place}/critic"), peer.pair("init/critic"))
            same_weights(state.actor.model, peer.squashed(f"{place}/actor"), peer.squashed("init/actor"))
            same_weights(state.target, peer.pair(f"{place}/target_critic"))
            same_weights(state.weight.model, jnp.asarray(peer.arrays[f"{place}/log_alpha"]))
    for name, series in losses.items():
        noted(peer, name, series)


def test_the_warm_up_with_a_gaussian_kernel_equals_d3rlpy(monkeypatch):
    twin = Twin("bear_repaired", monkeypatch)
    peer, losses = twin.peer, {"imitator_loss": [], "actor_loss": []}
    for step in range(twin.numbers["warm_up_updates"]):
        metrics = twin.step(step)
        for name, series in losses.items():
            series.append(metrics[OURS[name]])
        if step == 0:
            same_weights(twin.state.model.model, peer.variational("after1"), peer.variational("init"))
            same_weights(twin.state.actor.model, peer.squashed("after1/actor"), peer.squashed("init/actor"))
    for name, series in losses.items():
        np.testing.assert_allclose(series, peer.arrays[f"losses/{name}"][: len(series)], rtol=1e-5, atol=1e-5)
