"""Cal-QL: what a conservative penalty may not push below the return that the log shows."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.agents.algorithm import Tick
from weft.agents.algorithms.cql import CQL
from weft.agents.algorithms.sac import SAC
from weft.core import pytree
from weft.data.dataset import Dataset
from weft.data.samplers.transitions import Transitions
from weft.nn.multipliers import Fixed

HERE = jnp.ones(1)
CHAIN = jnp.eye(3)
SHOWN = np.array([0.81, 0.9, 1.0])


def chain() -> Dataset:
    """Three states in a row, a reward of 1 at the end, ten episodes; actions from .3 to .5 that change nothing."""
    actions = np.linspace(0.3, 0.5, 30, dtype=np.float32)[:, None]
    place = np.arange(30) % 3
    over = place == 2
    return Dataset.from_arrays(
        np.eye(3, dtype=np.float32)[place],
        actions,
        over.astype(np.float32),
        over,
        np.zeros(30, bool),
        next_observations=np.eye(3, dtype=np.float32)[(place + 1) % 3],
        action_bounds=([-1.0], [1.0]),
    )


def believed_of_the_policy(setting, state) -> np.ndarray:
    """Return the mean of min_i Q_i(s, a) over 500 actions of pi, by state."""
    drawn = setting.policy(state).distribution((), jnp.repeat(CHAIN[:, None], 500, 1)).sample(jax.random.key(5))
    return np.asarray(jnp.minimum(*(q(jnp.repeat(CHAIN[:, None], 500, 1), drawn) for q in state.critics.model)).mean(1))


@pytest.mark.slow
def test_a_calibrated_policy_is_worth_what_the_log_shows_and_a_conservative_one_less():
    base = CQL(
        discount=0.9,
        learning_rate=3e-3,
        actor_learning_rate=1e-3,
        target_rate=0.05,
        weight=Fixed(5.0),
        temperature=Fixed(1.0),  # a wide policy, whose actions plain CQL pushes down and then bootstraps from
        backup="plain",
        samples=5,
        hidden=(16,),
        sampler=zoo.Everything(30),
    )
    settings = [base, dataclasses.replace(base, calibrated=True)]
    plain, raised = (believed_of_the_policy(s, zoo.runs([s], chain(), 1500)[0]) for s in settings)
    assert (raised >= SHOWN - 0.05).all()
    assert (plain < SHOWN - 0.05).all()


@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_an_unseen_choice_sinks_to_what_the_log_shows_and_no_further(weight):
    # With Q(unseen) <= G the push on the logged choice stays: 2 (Q - G) = w (1 - sigma(Q - G)).
    data = zoo.self_loop(0.5, terminal=True)
    base = CQL(learning_rate=0.01, weight=Fixed(weight), hidden=(), sampler=zoo.Everything(1))
    found = []
    for setting in (base, dataclasses.replace(base, calibrated=True)):
        states = zoo.begin([setting], data)
        place = lambda s: s.critics.model[0].head.layers[-1].bias  # noqa: E731
        states = eqx.tree_at(place, states, place(states).at[..., 1].set(3.0))
        states, _ = zoo.continued([setting], states, data, 0, 4000, 4000)
        found.append(pytree.run_axis(states, 0).critics.model[0].all(HERE))
    plain, raised = found
    assert plain[1] < -1.0
    assert plain[0] == pytest.approx(0.5, abs=0.1)
    above = float(raised[0]) - 0.5
    assert 0.3 < raised[1] <= 0.5  # Adam's momentum carries it a little below the line where the push ends
    assert 2 * above == pytest.approx(weight * (1 - 1 / (1 + np.exp(-above))), abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_an_unknown_outcome_changes_nothing(kind):
    data = chain() if kind == "continuous" else zoo.stitching()
    rows = 30 if kind == "continuous" else 5
    base = CQL(hidden=(16, 16), sampler=zoo.Everything(rows))
    raised = dataclasses.replace(base, calibrated=True)
    batch = base.sampler(data.device(), jax.random.key(0))
    assert batch.outcome is None
    state = pytree.run_axis(zoo.begin([base], data), 0)
    place = lambda b: b.outcome  # noqa: E731

    def told(outcome):
        return eqx.tree_at(place, batch, outcome, is_leaf=lambda leaf: leaf is None)

    def stepped(setting, batch):
        return jax.jit(lambda b: setting.update(state, b, Tick(jax.random.key(1), jnp.int32(0), jnp.zeros(()))))(batch)

    first = stepped(base, batch)
    for other in (
        stepped(raised, told(jnp.full(rows, -jnp.inf))),
        stepped(raised, batch),
        stepped(base, told(jnp.full(rows, 9.0))),
    ):
        assert farthest(first, other) < 1e-6  # programs of other settings may round otherwise
    assert farthest(first, stepped(raised, told(jnp.full(rows, 9.0)))) > 1e-4


def farthest(one, two) -> float:
    """Return the largest difference between two trees of numbers."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return max(float(jnp.abs(a - b).max()) for a, b in pairs)


def test_the_loop_learns_from_outcomes():
    """`focus` fills them inside the compiled program, whatever the sampler draws."""
    base = CQL(hidden=(8,), discount=0.9, sampler=Transitions(8))
    setting = dataclasses.replace(base, calibrated=True)
    columns = jax.jit(setting.focus)(chain().device())
    np.testing.assert_allclose(columns.outcome, np.tile(SHOWN, 10), rtol=1e-6)
    assert jax.jit(base.focus)(chain().device()).outcome is None
    batch = setting.sampler(columns, jax.random.key(0))
    np.testing.assert_array_equal(batch.outcome, columns.outcome[batch.row])


@pytest.mark.parametrize("method", [CQL(), SAC()], ids=["cql", "sac"])
def test_a_learned_temperature_reaches_the_scale_of_small_rewards_within_a_short_run(method):
    """Of a policy that is spread too much it falls to a seventh in 3,000 updates; at a rate of 1e-4 to .75."""
    below = jnp.float32(-1.0)
    first = method.temperature.begin()
    after = jax.jit(lambda s: jax.lax.fori_loop(0, 3000, lambda _, s: method.temperature.press(s, below), s))(first)
    assert float(method.temperature.at(after)) < 0.2
