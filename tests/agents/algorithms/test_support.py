"""A log of actions in the middle of their range, whose reward grows with the action: who stays where the log is?

Actions are uniform on [−.2, .2], the reward is the action, every step is the last. The best logged action is .2; a
critic that learned the slope believes in 1.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import weft
from weft.agents.algorithms.bcq import BCQ
from weft.agents.algorithms.bear import BEAR
from weft.agents.algorithms.brac import BRAC
from weft.agents.algorithms.crr import CRR
from weft.agents.algorithms.kl_control import KLControl
from weft.agents.algorithms.one_step import OneStep
from weft.agents.algorithms.sac import SAC
from weft.core.errors import UserError
from weft.data.dataset import Dataset
from weft.data.samplers.quintuples import Quintuples
from weft.data.samplers.transitions import Transitions
from weft.nn.distributions import several
from weft.nn.multipliers import Fixed, Lagrange

HERE = jnp.ones(1)
SMALL = {"hidden": (32, 32), "sampler": Transitions(64), "learning_rate": 3e-3}
MODEL = {"hidden_model": (32, 32)}


def middle(rows: int = 512) -> Dataset:
    actions = np.linspace(-0.2, 0.2, rows, dtype=np.float32)[:, None]
    ones = np.ones((rows, 1), np.float32)
    return Dataset.from_arrays(ones, actions, actions[:, 0], np.ones(rows, bool), action_bounds=([-1.0], [1.0]))


def chosen(setting, steps: int = 1200, seeds: tuple[int, ...] = (0,)) -> tuple[float, object]:
    """Return the greedy action after some updates, the mean over seeds, and the first seed's state."""
    states = zoo.runs([setting], middle(), steps, seeds)
    actions = [float(setting.policy(state).distribution((), HERE).mode()[0]) for state in states]
    assert max(actions) < 0.4  # no seed goes where the log has never been
    return float(np.mean(actions)), states[0]


@pytest.mark.slow
def test_nothing_holds_soft_actor_critic():
    setting = SAC(temperature=Fixed(1e-3), **SMALL)
    [state] = zoo.runs([setting], middle(), 1200)
    assert float(setting.policy(state).distribution((), HERE).mode()[0]) > 0.9


STAYING = {
    "bcq": BCQ(**MODEL, **SMALL),
    "bear": BEAR(actor_learning_rate=3e-3, weight=Lagrange(0.05, learning_rate=3e-2), **MODEL, **SMALL),
    "brac": BRAC(weight=Fixed(0.1), behaviour_steps=800, **SMALL),
    "crr": CRR(inverse_temperature=20.0, **SMALL),
    "kl_control": KLControl(inverse_temperature=20.0, behaviour_steps=800, **SMALL),
    "one_step": OneStep(inverse_temperature=20.0, **{**SMALL, "sampler": Quintuples(64)}),
    "one_step-best": OneStep(extraction="best", **{**SMALL, "sampler": Quintuples(64)}),
}


TWINNED = ("bcq", "bear", "crr", "one_step-best")  # their updates are held against d3rlpy's, or shared


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in TWINNED else ()) for name in STAYING]
)
def test_a_constraint_improves_within_the_log(name):
    # BEAR's seeds lie between .01 and .15 on one processor, and elsewhere on another
    action, state = chosen(STAYING[name], seeds=(0, 1, 2, 3) if name == "bear" else (0,))
    assert action > (0.02 if name == "bear" else 0.04)  # better than the mean of the log
    believed = float(STAYING[name].value(state, HERE[None], jax.random.key(0))[0])
    assert believed < 0.4


def test_kl_control_acts_by_the_mode_of_what_it_learned():
    """What it serves greedily is the draw of b with the largest log b + beta Q, in any number of dimensions."""
    setting, spec, seen = KLControl(inverse_temperature=0.5, **SMALL), middle().spec, jnp.ones((4, 1))
    state = setting.init(jax.random.key(3), spec)
    policy = setting.policy(state)
    found = policy.act((), seen)[0]
    keys = jax.random.split(jax.random.key(0))  # what a greedy policy draws with in every state
    draws = policy.propose(seen[0], keys[0], setting.candidates)
    density = several(state.behaviour.model(seen[0]), setting.candidates).log_prob(draws)
    value = jnp.minimum(*(q.with_actions(q.state_half(seen[:1])[0], draws) for q in state.critics.model))
    assert float(found[0, 0]) == pytest.approx(float(draws[(density + 0.5 * value).argmax(), 0]))
    assert float(found[0, 0]) != pytest.approx(float(draws[value.argmax(), 0]))


@pytest.mark.slow
def test_one_candidate_without_perturbation_is_imitation():
    setting = BCQ(candidates=1, perturbation=0.0, samples=1, **MODEL, **SMALL)
    _, state = chosen(setting, 600)
    policy = setting.policy(state)
    found = jax.vmap(lambda key: policy.act((), HERE, key, greedy=False)[0][0])(
        jax.random.split(jax.random.key(0), 400)
    )
    drawn = state.model.model.sample(jnp.ones((400, 1)), jax.random.key(1), 1)[:, 0, 0]
    assert float(found.mean()) == pytest.approx(float(drawn.mean()), abs=0.02)
    assert float(found.std()) == pytest.approx(float(drawn.std()), abs=0.02)
    assert (jnp.abs(found) < 0.35).all()


def test_a_policy_like_the_log_meets_the_threshold_of_bear():
    """Three dimensions, four samples: two sets of one Gaussian exceed .05 (.06 to .27), which says nothing of them."""
    generator = np.random.default_rng(0)
    actions = np.tanh(generator.normal(0.0, 0.5, (2000, 3))).astype(np.float32)
    data = Dataset.from_arrays(
        np.zeros((2000, 1), np.float32), actions, np.zeros(2000, np.float32), np.ones(2000, bool),
        action_bounds=(-1.0, 1.0),
    )  # fmt: skip
    last = {}
    for relative in (True, False):
        weight = Lagrange(0.05, learning_rate=1e-2, initial=1e3, largest=1e3)
        setting = BEAR(weight=weight, relative=relative, actor_learning_rate=5e-3, **MODEL, **SMALL)
        last[relative] = weft.fit(setting, data, 1000, 1, log_every=100).metrics[-1]
    assert last[True]["discrepancy"] < 0.05 < last[False]["discrepancy"]
    assert last[True]["weight"] < 500.0
    assert last[False]["weight"] == pytest.approx(1e3, rel=1e-3)


@pytest.mark.slow
def test_the_multiplier_of_bear_rises_while_the_policy_is_outside_and_falls_inside():
    setting = BEAR(weight=Lagrange(0.05, learning_rate=3e-2), warm_up=400, **MODEL, **SMALL)
    data, states, seen = middle(), zoo.begin([setting], middle()), []
    for start, stop in ((0, 60), (60, 400), (400, 1000), (1000, 1500)):
        states, metrics = zoo.continued([setting], states, data, start, stop, 1500)
        seen.append({name: float(value[0]) for name, value in metrics.items()})
    assert seen[0]["discrepancy"] > 0.1
    assert 1.0 < seen[0]["weight"] < seen[1]["weight"]
    assert seen[-1]["discrepancy"] < 0.05
    assert seen[-1]["weight"] < 0.5 * seen[-2]["weight"]


@pytest.mark.slow
def test_a_reward_penalty_lowers_q_by_the_penalty_of_the_step_itself():
    """Q of BRAC with `reward` is Q of `value` less w D(s): here with one decision, so BRAC-v's Q is the reward."""
    base = {"weight": Fixed(0.5), "behaviour_steps": 200, "samples": 16, **SMALL}
    penalised, plain = BRAC(penalty="reward", **base), BRAC(penalty="value", **base)
    (_, one), (_, two) = chosen(penalised), chosen(plain)
    at = jnp.zeros((1, 1))
    below = float((two.critics.model[0](HERE[None], at) - one.critics.model[0](HERE[None], at))[0])
    _, metrics = zoo.continued([penalised], zoo.begin([penalised], middle()), middle(), 0, 1200, 1200)
    assert below > 0.0
    assert float(two.critics.model[0](HERE[None], at)[0]) == pytest.approx(0.0, abs=0.02)
    assert np.isfinite(float(metrics["divergence"][0]))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: BCQ(pessimism=2.0), "between 0 and 1"),
        (lambda: BCQ(hidden=()), "hidden layer"),
        (lambda: BCQ(samples=0), "at least one"),
        (lambda: BEAR(kernel="cosine"), "no kernel 'cosine'"),
        (lambda: BEAR(width=0.0), "must be positive"),
        (lambda: BRAC(penalty="state"), "value, policy, reward"),
        (lambda: BRAC(behaviour_steps=-1), "cannot imitate"),
        (lambda: CRR(weighting="linear"), "no weighting 'linear'"),
        (lambda: CRR(baseline="median"), "no baseline 'median'"),
        (lambda: KLControl(inverse_temperature=0.0), "must be positive"),
        (lambda: OneStep(extraction="worst"), "weights or best"),
    ],
)
def test_settings_that_cannot_be_are_refused(build, said):
    with pytest.raises(UserError, match=said):
        build()


@pytest.mark.parametrize("setting", [OneStep(extraction="best"), CRR(candidates=4)], ids=["one_step", "crr"])
def test_draws_of_choices_are_refused(setting):
    with pytest.raises(UserError, match="continuous actions only"):
        setting.init(jax.random.key(0), zoo.stitching().spec)
