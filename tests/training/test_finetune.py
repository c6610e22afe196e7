"""Learning by acting: the same bits whatever the chunks, the right data in the ring, and fine-tuning."""

import dataclasses
import json

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import ROOT, same

import weft
from weft.agents.algorithm import Tick
from weft.agents.schedule import Rounds
from weft.core import pytree
from weft.core.errors import UserError
from weft.data.columns import Batch
from weft.data.samplers.transitions import Transitions
from weft.envs.worlds.maze import Maze
from weft.nn.multipliers import Lagrange
from weft.training import acting_loop as interaction
from weft.training.finetune import switch

BATCHES = {"sampler": Transitions(16), "hidden": (8,)}
CASES = {
    "dqn-cartpole": (weft.DQN(**BATCHES), "cartpole", Rounds(lanes=2, updates=1, warm_up=40, capacity=60)),
    "dqn-CartPole-v1": (weft.DQN(**BATCHES), "CartPole-v1", Rounds(lanes=2, updates=1, warm_up=40, capacity=60)),
    "sac-pendulum": (weft.SAC(uniform_steps=20, **BATCHES), "pendulum", Rounds(warm_up=30)),
    "sac-Pendulum-v1": (weft.SAC(uniform_steps=20, **BATCHES), "Pendulum-v1", Rounds(steps=2, warm_up=30)),
    "reinforce-cartpole": (weft.Reinforce(hidden=(8,)), "cartpole", Rounds(lanes=3, steps=0)),
    "reinforce-CartPole-v1": (weft.Reinforce(hidden=(8,)), "CartPole-v1", Rounds(lanes=3, steps=0)),
    "actor_critic-CartPole-v1": (weft.ActorCritic(hidden=(8,)), "CartPole-v1", Rounds(lanes=3, steps=8)),
}
each = pytest.mark.parametrize("name", CASES)
STEPS = 240


def cut(folder, step):
    """Make a folder look as if the process had died some time after the checkpoint at a step."""
    rows = [line for line in (folder / "metrics.jsonl").read_text().splitlines() if json.loads(line)["step"] <= step]
    (folder / "metrics.jsonl").write_text("\n".join(rows) + '\n{"step": 35, "sett')
    for path in (folder / "checkpoints").iterdir():
        if int(path.stem[-9:]) > step:
            path.unlink()


@pytest.mark.few(1)
@each
def test_a_killed_run_goes_on_bit_for_bit(name, tmp_path):
    method, env, rounds = CASES[name]
    how = {"env": env, "rounds": rounds, "log_every": 80, "checkpoint_seconds": 0.0}
    whole = weft.fit(method, steps=STEPS, seeds=2, out=tmp_path / "whole", **how)
    weft.fit(method, steps=STEPS, seeds=2, out=tmp_path / "run", **how)
    cut(tmp_path / "run", 160)
    resumed = weft.fit(method, steps=STEPS, seeds=2, out=tmp_path / "run", resume=True, **how)
    assert same(whole.states[0][STEPS], resumed.states[0][STEPS])
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    for seed in range(2):
        assert whole.collected(seed).fingerprint == resumed.collected(seed).fingerprint
    assert weft.load_run(tmp_path / "run").collected(1).fingerprint == whole.collected(1).fingerprint
    assert not same(whole.state(0, 0), whole.state(0, 1))


def test_a_kill_before_the_first_checkpoint_leaves_step_0_once(tmp_path):
    method, env, rounds = CASES["dqn-cartpole"]
    how = {"env": env, "rounds": rounds, "evaluate_every": 80, "evaluate_episodes": 2}
    weft.fit(method, steps=160, seeds=2, out=tmp_path / "whole", **how)
    weft.fit(method, steps=160, seeds=2, out=tmp_path / "run", **how)
    cut(tmp_path / "run", 0)
    assert [row["step"] for row in weft.load_run(tmp_path / "run").metrics] == [0, 0]
    resumed = weft.fit(method, steps=160, seeds=2, out=tmp_path / "run", resume=True, **how)
    assert [row["step"] for row in resumed.metrics] == [0, 0, 80, 80, 160, 160]
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["dqn-cartpole", "dqn-CartPole-v1"])
def test_chunks_change_no_bit(name):
    method, env, rounds = CASES[name]
    one = weft.fit(method, steps=120, env=env, rounds=rounds, log_every=120)
    two = weft.fit(method, steps=120, env=env, rounds=rounds, log_every=24)
    assert same(one.state(), two.state())


@pytest.mark.parametrize("env", ["cartpole", "CartPole-v1"])
def test_what_was_collected_is_what_the_world_does(env):
    run = weft.fit(weft.DQN(**BATCHES), steps=600, env=env, rounds=Rounds(lanes=2, warm_up=590), log_every=600)
    data = run.collected()
    assert data.steps >= 598
    before, after = data.observations.astype(np.float64), data.next_observations
    world = gymnasium.make("CartPole-v1").unwrapped
    world.reset(seed=0)
    for row in range(data.steps):  # also over the ends of episodes, where auto-reset could have slipped in
        world.state, world.steps_beyond_terminated = tuple(before[row]), None
        seen, _, terminal, *_ = world.step(int(data.actions[row]))
        np.testing.assert_allclose(after[row], seen, atol=1e-5)
        assert terminal == data.terminals[row]
    np.testing.assert_allclose(np.exp(data.log_propensities), 0.5, atol=0.5)
    assert (np.exp(data.log_propensities) > 0.02).all()
    first = np.exp(data.log_propensities[0])
    assert first == pytest.approx(0.5)  # epsilon begins at 1
    assert data.origin == f"collected:{env}"


def test_propensities_of_continuous_actions_are_densities_in_the_units_of_the_world():
    run = weft.fit(weft.SAC(uniform_steps=50, **BATCHES), steps=50, env="pendulum", rounds=Rounds(warm_up=60))
    data = run.collected()
    np.testing.assert_allclose(np.exp(data.log_propensities), 0.25, rtol=1e-5)  # over [-2, 2]
    assert np.abs(data.actions).max() > 1.0
    assert data.timeouts[-1]


def test_a_log_of_what_was_done_can_be_learned_from():
    run = weft.fit(weft.DQN(**BATCHES), steps=400, env="cartpole", rounds=Rounds(lanes=2, warm_up=100))
    after = weft.fit(weft.BC(hidden=(8,)), run.collected(), 5)
    assert after.policy()(np.zeros(4, np.float32)) in ("left", "right")


def test_evaluations_are_noted_before_and_while_it_acts():
    run = weft.fit(
        weft.DQN(**BATCHES), steps=200, env="cartpole", seeds=2, rounds=Rounds(warm_up=50), evaluate_every=100
    )
    rows = [(row["step"], row["seed"]) for row in run.metrics if "evaluation" in row]
    assert rows == [(0, 0), (0, 1), (100, 0), (100, 1), (200, 0), (200, 1)]
    last = run.metrics[-1]["evaluation"]
    assert last == pytest.approx(weft.rollout(run.policy(1), "cartpole", 10, 1_000_000).mean())


def test_counts_are_of_environment_steps():
    run = weft.fit(weft.DQN(**BATCHES), steps=100, env="cartpole", rounds=Rounds(4, 5, 3, 40), log_every=20)
    updates = [row["updates"] for row in run.metrics]
    assert updates == [0, 3, 3, 3, 3]  # a round is 20 steps; three updates after each from step 40 on
    assert "critic_loss" not in run.metrics[0]
    assert "critic_loss" in run.metrics[1]


def test_a_run_that_learned_nothing_in_a_chunk_does_not_stop_the_others():
    rounds = Rounds(lanes=2, steps=0)
    run = weft.fit(weft.Reinforce(hidden=(8,)), steps=400, env="CartPole-v1", seeds=3, rounds=rounds, log_every=10)
    with_update = {row["seed"] for row in run.metrics if "actor_loss" in row}
    assert with_update == {0, 1, 2}
    assert any("actor_loss" not in row for row in run.metrics)


# --- batches --------------------------------------------------------------------------------------------------------


class Numbers:
    """A method whose batches are the numbers of their rows."""

    @staticmethod
    def sampler(columns, key):
        rows = jax.random.randint(key, (2000,), 0, columns.count)
        zeros = jnp.zeros(2000)
        return Batch(columns.reward[rows, 0], zeros, zeros, zeros, zeros > 1, zeros, rows)


def _columns(count, value):
    from weft.data import replay as rings
    from weft.data.columns import Lanes
    from weft.data.spec import ActionSpec, ObservationSpec, Spec

    spec = Spec((ObservationSpec((1,)),), ActionSpec("discrete", (), "int32", counts=(2,)))
    columns = rings.empty(spec, Lanes(1, 100, 200)).columns
    return pytree.eqx.tree_at(
        lambda c: (c.reward, c.count), columns, (jnp.full((100, 1), float(value)), jnp.int32(count))
    )


@pytest.mark.parametrize(("share", "wanted", "error"), [(-1.0, 0.75, 0.04), (0.5, 0.5, 0.0), (0.0, 0.0, 0.0)])
def test_a_batch_is_mixed_of_log_and_ring(share, wanted, error):
    log, ring = _columns(75, 1.0), _columns(25, 0.0)
    batch = interaction.drawn(Numbers, ring, log, share, jax.random.key(0))
    assert float(batch.observation.mean()) == pytest.approx(wanted, abs=error + 1e-6)


# --- pictures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures():
    method = weft.DQN(vision="small", hidden=(8,), sampler=Transitions(8))
    rounds = Rounds(lanes=2, updates=1, warm_up=20)
    return weft.fit(method, steps=60, env="catch:size=12", rounds=rounds, stack=3)


@pytest.mark.slow
def test_a_policy_stacks_pictures_as_the_ring_does(pictures):
    data, policy = pictures.collected(), pictures.policy()
    assert data.observations.dtype == np.uint8  # kept once, unstacked
    assert data.observations.shape[1:] == (12, 12)
    frames = data.episode(0).observations
    inner, memory = policy.inner, policy.reset()
    act = jax.jit(lambda m, frame: policy.act(m, frame, jax.random.key(0)))
    for place, frame in enumerate(frames):
        wanted = np.stack([frames[max(place - back, 0)] for back in (2, 1, 0)], axis=-1)
        direct = inner.distribution((), jnp.asarray(wanted)).mode()
        assert policy.distribution(memory, jnp.asarray(frame)).mode() == direct
        action, memory = act(memory, jnp.asarray(frame))
        np.testing.assert_array_equal(memory[0], wanted)
        assert action == direct
    assert weft.rollout(policy, "catch:size=12", 3).shape == (3,)


def test_a_policy_over_stacked_pictures_is_saved_and_loaded(pictures, tmp_path):
    pictures.save_policy(tmp_path / "policy.safetensors")
    loaded = weft.load_policy(tmp_path / "policy.safetensors")
    assert loaded.transform.stack == 3
    one, two = (weft.rollout(policy, "catch:size=12", 4) for policy in (loaded, pictures.policy()))
    np.testing.assert_array_equal(one, two)


def test_what_was_collected_in_pictures_can_be_learned_from_with_a_stack(pictures):
    method = weft.DQN(vision="small", hidden=(8,), sampler=Transitions(8))
    again = weft.fit(method, pictures.collected(), 3, stack=3)
    assert again.policy().transform.inner.observations[0].shape == (12, 12, 3)
    with pytest.raises(UserError, match="Only observations of grey images"):
        weft.fit(weft.BC(hidden=(8,)), weft.load("sample:grid"), 1, stack=2)


# --- fine-tuning ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline():
    data = weft.load("sample:maze", episodes=60)
    return data, weft.fit(weft.IQL(**BATCHES), data, 30, 2, rewards="unit", reward_shift=-0.5)


@pytest.mark.few(1)
@pytest.mark.parametrize("rounds", [Rounds(), Rounds(logged_share=0.5), Rounds(logged_share=0.0)])
def test_fine_tuning_begins_where_learning_from_the_log_ended(offline, rounds):
    data, run = offline
    held = weft.finetune(run, "maze", 20, data=data, rounds=Rounds(updates=0, logged_share=rounds.logged_share))
    assert same(held.states[0][20], run.states[0][30])  # moments, targets and all
    assert same(held.transform, run.transform)
    assert float(held.transform.reward_scale) != 1.0  # the log's, not the maze's own
    moved = weft.finetune(run, "maze", 20, data=data, rounds=rounds)
    assert not same(moved.states[0][20], run.states[0][30])
    assert moved.record["online"]["from"]["step"] == 30
    found = moved.collected()
    assert set(np.round(found.rewards, 4)) <= {0.0, 1.0}  # in the user's units, not the method's
    assert found.steps == 20


@pytest.mark.slow
def test_numbers_change_between_the_log_and_the_world_and_a_frozen_behaviour_stays_as_it_is(offline):
    data, _ = offline
    run = weft.fit(weft.IDQL(blocks=1, width=8, samples=4, **BATCHES), data, 5)
    changes = {"behaviour_rate": 0.0, "loss.level": 0.9}
    after = weft.finetune(run, "maze", 20, data=data, changes=changes)
    was, found = run.state(0, 0), after.state(0, 0)
    assert same((was.behaviour.model, was.average), (found.behaviour.model, found.average))
    assert not same(was.behaviour.model, was.average)
    assert not same(was.critics.model, found.critics.model)
    assert float(after.settings[0].loss.level) == pytest.approx(0.9)
    assert after.record["settings"][0]["behaviour_rate"] == 0.0
    assert run.record["settings"][0]["behaviour_rate"] == 1.0


@pytest.mark.slow
def test_another_discount_has_other_bounds_and_settings_that_become_equal_share_a_program(offline):
    data, _ = offline
    base = weft.IQL(**BATCHES)
    settings = [base, dataclasses.replace(base, decay=True)]
    run = weft.fit(settings, data, 4, rewards="none", reward_shift=-0.5)  # most steps cost 1/2
    assert len(run.groups) == 2
    after = weft.finetune(run, "maze", 10, data=data, changes={"decay": False, "discount": 0.5})
    assert after.groups == [[0, 1]]
    assert after.record["largest_returns"] == pytest.approx([1.0, 1.0])
    assert run.record["largest_returns"] == pytest.approx([50.0, 50.0])
    held = weft.finetune(run, "maze", 10, data=data, rounds=Rounds(updates=0), changes={"decay": False})
    for setting in (0, 1):
        assert same(held.state(setting, 0), run.state(setting, 0))


@pytest.mark.parametrize("env", ["maze:shortcut=true", "hosted"])
def test_fine_tuning_is_resumed_bit_for_bit(offline, env, tmp_path):
    data, run = offline
    world = Maze(shortcut=True) if env != "hosted" else _hosted_maze
    how = {"data": data, "log_every": 20, "checkpoint_seconds": 0.0, "evaluate_every": 20, "evaluate_episodes": 2}
    whole = weft.finetune(run, world, 60, tmp_path / "whole", **how)
    weft.finetune(run, world, 60, tmp_path / "run", **how)
    cut(tmp_path / "run", 40)
    again = weft.finetune(run, world, 60, tmp_path / "run", resume=True, **how)
    assert same(whole.states[0][60], again.states[0][60])
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    found = switch(again)
    assert found["dip"] >= 0
    assert set(found) == {"offline", "lowest", "lowest_step", "dip", "online"}


@pytest.fixture(scope="module")
def balancing():
    """A log of cart-pole and a deep Q-network that learned from it."""
    method = weft.DQN(sampler=Transitions(16), hidden=(32,), target_every=5)
    data = weft.fit(method, steps=600, env="cartpole", rounds=Rounds(lanes=2, warm_up=100)).collected()
    return data, weft.fit(method, data, 400, 2)


@pytest.mark.parametrize("env", ["cartpole", "CartPole-v1"])
def test_a_learned_policy_goes_on_as_it_is(balancing, env):
    data, run = balancing
    after = weft.finetune(run, env, 100, data=data, evaluate_every=50, evaluate_episodes=4)
    for seed in range(2):
        chances = np.exp(after.collected(seed).log_propensities.astype(float))
        assert set(np.round(chances, 3)) <= {0.025, 0.975}  # epsilon where it ended
        before = weft.rollout(run.policy(seed), env, 4, 1_000_000).mean()
        assert after.metrics[seed]["evaluation"] == pytest.approx(before)
        assert not same(after.state(0, seed), run.state(0, seed))  # and learns at once
    rows = [row["updates"] for row in after.metrics if row["step"] == 50]
    assert all(count >= 49 for count in rows)


@pytest.mark.slow
@pytest.mark.parametrize("env", ["pendulum", "Pendulum-v1"])
def test_a_learned_actor_takes_no_uniform_actions(env):
    method = weft.SAC(**BATCHES)  # 1000 uniform steps, where it begins
    data = weft.fit(method, steps=60, env="pendulum", rounds=Rounds()).collected()
    np.testing.assert_allclose(np.exp(data.log_propensities), 0.25, rtol=1e-5)
    run = weft.fit(method, data, 20)
    density = np.exp(weft.finetune(run, env, 30, data=data).collected().log_propensities)
    assert (np.abs(density - 0.25) > 1e-4).all()


@pytest.mark.slow
def test_exploration_of_a_longer_run_does_not_begin_again(tmp_path):
    how = {"env": "cartpole", "rounds": Rounds(lanes=2), "out": tmp_path / "run"}
    weft.fit(weft.DQN(**BATCHES), steps=100, **how)
    longer = weft.fit(weft.DQN(**BATCHES), steps=1000, **how, resume=True)  # a tenth of it is 100
    chances = np.exp(longer.collected().log_propensities.astype(float)).reshape(2, -1)[:, 60:]
    assert set(np.round(chances.ravel(), 3)) <= {0.025, 0.975}


def test_an_opening_goes_by_what_was_planned_first():
    key, step = jax.random.key(0), jnp.int32(6)

    def opens(total, planned, length):
        return bool(Tick.at(key, step, step, jnp.int32(total), jnp.int32(planned)).opens(length))

    assert opens(10, 10, 7)
    assert opens(10, 10, 0.7)
    assert not opens(10, 10, 0.6)
    assert not opens(100, 10, 0.6)  # extended
    assert not opens(100, 0, 50)  # goes on from another run
    assert not opens(100, 0, 0.5)


class _HostedMaze(gymnasium.Env):
    """The maze as a Gymnasium environment."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    spec = None

    def __init__(self):
        from weft.envs.gymnasium_adapter import Hosted

        self.inner = Hosted(pytree.as_arrays(Maze()))

    def reset(self, *, seed=None, options=None):
        return self.inner.reset(seed)

    def step(self, action):
        return self.inner.step(action)


def _hosted_maze():
    return gymnasium.wrappers.TimeLimit(_HostedMaze(), 40)


def test_a_policy_of_a_fine_tuned_run_is_saved_and_loaded(offline, tmp_path):
    data, run = offline
    after = weft.finetune(run, "maze", 10, tmp_path / "run", data=data)
    after.save_policy(tmp_path / "policy.safetensors")
    seen = np.array([0.2, 0.2], np.float32)
    loaded = weft.load_policy(tmp_path / "policy.safetensors")
    np.testing.assert_array_equal(loaded(seen), weft.load_run(tmp_path / "run").policy()(seen))


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda data: weft.fit(weft.DQN()), "from a log .data. or from acting .env."),
        (lambda data: weft.fit(weft.DQN(), data, env="maze"), "give one of them"),
        (lambda data: weft.fit(weft.BC(), env="cartpole"), "Behaviour cloning cannot learn by acting"),
        (lambda data: weft.fit(weft.AWR(), env="cartpole"), "cannot learn by acting"),
        (lambda data: weft.fit(weft.DQN(), env="maze"), "learns from discrete actions, the log's are continuous"),
        (lambda data: weft.fit(weft.Reinforce(), data), "learns from what it just did itself"),
        (
            lambda data: weft.fit(weft.IQL(), data, rounds=Rounds()),
            "is for methods that act",
        ),
        (
            lambda data: weft.fit(weft.DQN(), env="cartpol"),
            "no environment 'cartpol'. Did you mean 'cartpole'",
        ),
        (lambda data: weft.fit(weft.SAC(), env="Nope-v9"), "Gymnasium has no environment 'Nope-v9'"),
        (lambda data: weft.fit(weft.DQN(), env="cartpole", evaluate_every=0), "after 1 step or more, got 0"),
        (lambda data: weft.fit(weft.DQN(), env="cartpole", evaluate_every=2.5), "must be a whole number, got 2.5"),
        (lambda data: weft.fit(weft.DQN(), env="cartpole", rewards="nonsense"), "rewards is for a log that is learned"),
        (lambda data: weft.fit(weft.DQN(), env="cartpole", observations="none"), "observations is for a log"),
        (lambda data: weft.fit(weft.DQN(), env="cartpole", reward_shift=1.0), "reward_shift is for a log"),
        (lambda data: weft.fit(weft.DQN(), env="cartpole", rounds=3), "as in weft.Rounds.lanes=2., got 3"),
        (lambda data: weft.fit(weft.DQN(), env="cartpole", steps=1500), "collects 1,000 steps before its first update"),
        (lambda data: weft.fit(weft.DQN(), env="cartpole", stack=4), "Only observations of grey images"),
        (lambda data: weft.fit(weft.DQN(), env="cartpole", stack="a"), "stacked images must be a whole number"),
        (lambda data: weft.fit(weft.DQN(), env=gymnasium.make("CartPole-v1")), "single environment"),
        (
            lambda data: weft.fit(weft.DQN(), env=gymnasium.make("CartPole-v1"), seeds=2, rounds=Rounds()),
            "single environment; give its name or a function to have 2",
        ),
        (lambda data: weft.finetune(weft.fit(weft.BC(hidden=(8,)), data, 1), "maze"), "cannot learn by acting"),
        (lambda data: weft.finetune(weft.fit(weft.IQL(**BATCHES), data, 1), "cartpole"), "observations"),
        (
            lambda data: weft.finetune(weft.fit(weft.IQL(**BATCHES), data, 1), "maze", changes={"hidden": (4,)}),
            "hidden cannot change between log and world",
        ),
        (
            lambda data: weft.finetune(
                weft.fit(weft.CQL(weight=Lagrange(1.0), **BATCHES), data, 1), "maze", changes={"weight.initial": 0.5}
            ),
            "weight.initial cannot change between log and world: it is where learning begins, or needs other networks",
        ),
        (
            lambda data: weft.finetune(weft.fit(weft.IQL(**BATCHES), data, 1), "maze", changes={"expectil": 0.5}),
            "no hyperparameter 'expectil'",
        ),
        (
            lambda data: weft.finetune(weft.fit(weft.IQL(**BATCHES), data, 1), "maze", data=weft.load("sample:maze")),
            "is not the log that iql was trained on",
        ),
        (lambda data: weft.fit(weft.DQN(), env="cartpole", rounds=Rounds(steps=0)), "rounds of whole episodes"),
        (lambda data: Rounds(lanes=0), "at least one lane"),
        (lambda data: Rounds(capacity=1), "capacity must hold a round"),
        (lambda data: Rounds(logged_share=1.5), "between 0 and 1"),
        (lambda data: switch(weft.fit(weft.IQL(**BATCHES), data, 1)), "was not evaluated"),
        (lambda data: weft.fit(weft.IQL(**BATCHES), data, 1).collected(), "it collected nothing"),
    ],
)
def test_a_mistake_is_one_sentence(offline, call, sentence):
    with pytest.raises(UserError, match=sentence):
        call(offline[0])


def test_another_buffer_or_world_is_not_resumed(tmp_path):
    method, env, rounds = CASES["dqn-cartpole"]
    weft.fit(method, steps=80, env=env, rounds=rounds, out=tmp_path / "run")
    with pytest.raises(UserError, match="cannot be resumed: its online differ"):
        weft.fit(method, steps=80, env=env, rounds=Rounds(lanes=3), out=tmp_path / "run", resume=True)
    with pytest.raises(UserError, match="cannot be resumed: its data differ"):
        weft.fit(method, steps=80, env="grid", rounds=rounds, out=tmp_path / "run", resume=True)


@pytest.mark.slow
def test_a_longer_run_keeps_what_was_collected(tmp_path):
    method, env, _ = CASES["dqn-cartpole"]
    rounds = Rounds(lanes=2, warm_up=40)
    weft.fit(method, steps=80, env=env, rounds=rounds, out=tmp_path / "run")
    longer = weft.fit(method, steps=160, env=env, rounds=rounds, out=tmp_path / "run", resume=True)
    assert longer.collected().steps == 160


@pytest.mark.slow
def test_reference_data_can_be_fine_tuned_on_where_it_is_there():
    log = ROOT.parent / "shared" / "data" / "d4rl" / "hopper_medium_replay.hdf5"
    if not log.exists():
        pytest.skip("the Hopper log is not there (../shared/data)")
    data = weft.load(log).select(np.arange(30))
    run = weft.fit(weft.IQL(**BATCHES), data, 5)
    after = weft.finetune(run, "Hopper-v5", 30, data=data, rounds=Rounds(warm_up=10))
    assert after.collected().steps >= 29
