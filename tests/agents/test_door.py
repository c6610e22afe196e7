"""What would mean something else to a policy than what it was trained on is one sentence, at every door."""

import dataclasses
import functools
import importlib
import json

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pandas
import polars
import pytest

import weft
from weft.agents import door
from weft.agents.algorithms.bc import BC
from weft.agents.algorithms.dqn import DQN
from weft.agents.schedule import Rounds
from weft.agents.served import Served
from weft.core.errors import UserError
from weft.core.pytree import static
from weft.data.columns import Ragged
from weft.data.concatenation import concatenate
from weft.data.dataset import Dataset
from weft.data.spec import ActionSpec, Spec
from weft.data.trace import Trace
from weft.data.units import fit_transform
from weft.deployment.decision import Decision
from weft.envs.environment import Environment
from weft.envs.gymnasium_adapter import make_simulator
from weft.envs.rollout import collect, rollout
from weft.envs.vector_simulators import HostedLanes
from weft.envs.worlds.pendulum import Pendulum
from weft.evaluation.candidate import tabulate

STEPS = 40
ENDS = np.arange(STEPS) % 4 == 3


def log(observations, actions, **options) -> Dataset:
    generator = np.random.default_rng(1)
    facts = {"reward_range": (0.0, 1.0), "horizon": 4, "discount": 1.0, **options}
    chance = np.full(STEPS, 1 / 3)
    facts["columns"] = {"arm": np.ones(STEPS)}
    return Dataset.from_arrays(observations, actions, generator.random(STEPS), ENDS, propensities=chance, **facts)


def untrained(data: Dataset, **settings) -> Served:
    method = BC(hidden=(4,), **settings)
    return Served(method.policy(method.init(jax.random.key(0), data.spec)), fit_transform(data))


@functools.cache
def logs() -> dict[str, Dataset]:
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(STEPS, 3)).astype(np.float32)
    choices = np.arange(STEPS) % 3
    images = generator.integers(0, 256, (STEPS, 8, 8)).astype(np.uint8)
    words = [generator.integers(0, 5, 1 + row % 4) for row in range(STEPS)]
    words[0] = np.array([4, 0, 1, 2])
    mixed = {"x": numbers, "place": np.arange(STEPS) % 4}
    labels = {"place": ("north", "east", "south", "west")}
    numbered = {"place": ("1", "2", "3", "4")}
    place = {"place": "category"}
    return {
        "vector": log(numbers, choices),
        "mixed": log(mixed, choices, kinds=place),
        "labels": log(mixed, choices, kinds=place, categories=labels),
        "numbered": log(mixed, choices, kinds=place, categories=numbered),
        "image": log(images, choices),
        "tokens": log(words, choices),
    }


@functools.cache
def served(name: str) -> Served:
    return untrained(logs()[name])


X = np.zeros(3, np.float32)
PICTURE = np.zeros((8, 8), np.uint8)
SHOWN = {
    "NaN": ("vector", [np.nan, 0, 0], "is nan .number 0."),
    "infinity": ("vector", [0, 0, -np.inf], "is -inf .number 2."),
    "beyond float32": ("vector", [0, 1e39, 0], "is inf .number 1."),
    "NaN in a batch": ("vector", [[0, 0, 0], [0, np.nan, 0]], r"is nan \(number 1, row 1\)"),
    "NaN on the device": ("vector", jnp.array([0, jnp.nan, 0]), "is nan .number 1."),
    "masked": ("vector", np.ma.array([0.0, 1.0, 2.0], mask=[0, 1, 0]), "masked"),
    "words": ("vector", ["a", "b", "c"], "holds words; give finite numbers"),
    "complex": ("vector", np.zeros(3, complex), "complex128"),
    "nothing": ("vector", None, "object values"),
    "times": ("vector", np.zeros(3, "M8[s]"), "datetime64"),
    "ragged": ("vector", [[0, 0, 0], [0, 0]], "different shapes"),
    "empty": ("vector", np.zeros((0, 3)), "empty batch"),
    "shape": ("vector", np.zeros(4), r"shape \(4,\), the log's have \(3,\)"),
    "a name": ("vector", {"x": 1.0}, "knows no names"),
    "a code above": ("mixed", {"x": X, "place": 99}, "'place' is 99.*codes from 0 to 3"),
    "a code above on the device": ("mixed", {"x": X, "place": jnp.array(99)}, "'place' is 99"),
    "a code below": ("mixed", {"x": X, "place": -1}, "'place' is -1"),
    "a broken code": ("mixed", {"x": X, "place": 1.5}, "'place' is 1.5"),
    "a code that is NaN": ("mixed", {"x": X, "place": np.nan}, "'place' is nan"),
    "a word for a code": ("mixed", {"x": X, "place": "east"}, "'place' holds words"),
    "an unknown word": ("labels", {"x": X, "place": "eats"}, "'eats', which the log never had.*'east'"),
    "a number for a word": ("numbered", {"x": X, "place": 2}, "give the category as a word"),
    "a missing component": ("mixed", {"x": X}, "has no 'place'"),
    "a wrong component": ("mixed", {"x": X, "plce": 1}, "no 'place' and has 'plce'.*Did you mean 'place'"),
    "one component more": ("mixed", {"x": X, "place": 1, "time": 2}, "has 'time', which the policy was not"),
    "an array": ("mixed", X, "is a dictionary with x, place"),
    "unequal batches": ("mixed", {"x": np.zeros((3, 3)), "place": [0, 1]}, "leading shape: 'x' .3,., 'place' .2,."),
    "a float image": ("image", PICTURE / 255.0, "whole numbers from 0 to 255"),
    "a bright image": ("image", PICTURE.astype(int) + 256, "is 256"),
    "an unknown token": ("tokens", [0, 5, -1, -1], "is 5.*from 0 to 4"),
    "a token below": ("tokens", [0, -2, -1, -1], "is -2"),
    "broken tokens": ("tokens", [0.5, 1.0, -1.0, -1.0], "is 0.5"),
}  # fmt: skip
ASKED = {
    "call": lambda policy, seen: policy(seen),
    "act": lambda policy, seen: policy.act((), seen, jax.random.key(0), greedy=False),
    "probabilities": lambda policy, seen: policy.probabilities(seen),
    "log_prob": lambda policy, seen: policy.log_prob((), seen, jnp.int32(0)),
    "draw": lambda policy, seen: policy.draw((), seen, jax.random.key(0)),
}


@pytest.mark.parametrize("kind", SHOWN)
@pytest.mark.parametrize("way", ASKED)
def test_what_no_log_held_is_refused_however_a_policy_is_asked(kind, way):
    name, seen, sentence = SHOWN[kind]
    with pytest.raises(UserError, match=sentence):
        ASKED[way](served(name), seen)


@pytest.mark.parametrize(
    ("name", "seen", "plain"),
    [
        ("vector", [1, 2, 3], np.array([1, 2, 3], np.float32)),
        ("vector", np.array([True, False, True]), np.array([1, 0, 1], np.float32)),
        ("vector", np.array([1, 2, 3], np.int64), np.array([1, 2, 3], np.float32)),
        ("mixed", {"place": 2.0, "x": X}, {"x": X, "place": np.int32(2)}),
        ("labels", {"place": "south", "x": X}, {"x": X, "place": np.int32(2)}),
        ("numbered", {"place": "3", "x": X}, {"x": X, "place": jnp.int32(2)}),
        ("image", PICTURE.astype(int), PICTURE),
        ("tokens", [3, -1, -1, -1], np.array([3, -1, -1, -1], np.int32)),
    ],
)
def test_what_means_the_same_is_taken(name, seen, plain):
    np.testing.assert_array_equal(served(name).probabilities(seen), served(name).probabilities(plain))


@pytest.mark.parametrize(("action", "sentence"), [(3, "choices 0 to 2"), (-1, "none of"), (0.5, "none of")])
def test_a_choice_that_is_none_has_no_probability(action, sentence):
    with pytest.raises(UserError, match=sentence):
        served("vector").log_prob((), X, action)


# --- names of columns ---------------------------------------------------------------------------------------------


def table(order=("x1", "x2"), actions=("a",), **more) -> Dataset:
    """Return a log whose action says which of the columns is larger, told by the names of the columns."""
    generator = np.random.default_rng(0)
    x1, x2 = generator.normal(size=STEPS), 5 + 3 * generator.normal(size=STEPS)
    frame = pandas.DataFrame({"x1": x1, "x2": x2, "a": (x1 > 0).astype(int), "b": x1, "c": x2, "r": x1 > 0})
    frame["p"], frame["arm"] = 0.5, np.arange(STEPS) % 2
    frame = frame.rename(columns=more.pop("renamed", {})).astype({"r": float})
    chance = {"propensity": "p"} if actions == ("a",) else {}
    return weft.load(
        frame, observations=list(order), action=list(actions), reward="r", reward_range=(0, 1), horizon=1, **chance
    )


@functools.cache
def sorter() -> Served:
    return weft.fit(BC(hidden=(8,), learning_rate=1e-2), table(), steps=60, batch_size=16).policy(seed=0)


def test_a_table_names_its_columns_and_the_spec_keeps_them():
    data = table()
    assert data.spec.observations[0].names == ("x1", "x2")
    assert Spec.from_json(data.spec.to_json()).observations[0].names == ("x1", "x2")
    assert table(actions=("b", "c")).spec.action.names == ("b", "c")
    assert data.select(np.arange(4)).spec.observations[0].names == ("x1", "x2")


def test_names_make_no_two_specs_different_and_old_records_load():
    data = table()
    old = json.loads(data.spec.to_json())
    for part in (*old["observations"], old["action"]):
        part.pop("names")
    assert Spec.from_json(old) == data.spec
    assert hash(Spec.from_json(old)) == hash(data.spec)
    assert Spec.from_json(old).observations[0].names == ()


def test_numbers_beside_words_keep_their_names():
    frame = {"kind": ["u", "v"] * 10, "y": np.arange(20.0), "z": np.arange(20.0), "a": [0, 1] * 10, "r": np.zeros(20)}
    data = weft.load(frame, observations="y,kind,z", action="a", reward="r")
    assert [(part.name, part.names) for part in data.spec.observations] == [("kind", ()), ("numbers", ("y", "z"))]
    policy = untrained(data)
    known = policy.probabilities({"kind": "v", "numbers": np.array([1.0, 7.0])})
    np.testing.assert_array_equal(policy.probabilities({"z": 7.0, "kind": "v", "y": 1.0}), known)
    with pytest.raises(UserError, match="has no 'z'"):
        policy({"kind": "v", "y": 1.0})


@pytest.mark.parametrize("make", [dict, pandas.DataFrame, polars.DataFrame])
def test_columns_are_served_by_name(make):
    columns = {"x2": np.array([5.0, 5.0, 2.0]), "x1": np.array([-2.0, 2.0, 1.5])}
    np.testing.assert_array_equal(sorter()(make(columns)), [0, 1, 1])
    with pytest.raises(UserError, match=r"no 'x2' and has 'x_2'.*Did you mean 'x2'"):
        sorter()(make({"x1": columns["x1"], "x_2": columns["x2"]}))
    with pytest.raises(UserError, match="has 'y', which the policy was not trained on"):
        sorter()(make({**columns, "y": columns["x1"]}))
    with pytest.raises(UserError, match=r"nan .column 'x1', row 1."):
        sorter()(make({**columns, "x1": np.array([0, np.nan, 0])}))
    with pytest.raises(UserError, match="column 'x1' holds"):
        sorter()(make({**columns, "x1": np.array(["a", "b", "c"])}))


def test_a_row_of_a_data_frame_is_served_by_name():
    row = pandas.DataFrame({"x2": [5.0], "x1": [2.0]}).iloc[0]
    assert sorter()(row) == sorter()({"x1": 2.0, "x2": 5.0}) == sorter()([2.0, 5.0]) == 1


def judged(policy, data):
    raw, units = data.device(), fit_transform(data)
    return np.asarray(tabulate(policy, data, raw, units, jax.random.key(0), greedy=False).probability)


def unseen(policy):
    """Return the policy as one that was trained on other rows."""
    return dataclasses.replace(policy, trained_on=Trace()) if isinstance(policy, Served) else policy


def staged(policy, data):
    decision = Decision("STAGED", dose=0.05, low=0.0, tier=2, units=STEPS, doses=(0.05,))
    return str(weft.stage(decision, data, policy=policy, greedy=False))


JUDGES = {
    "tabulate": judged,
    "estimate": lambda policy, data: weft.estimate(policy, data, "per_decision", "normal", greedy=False).value,
    "certify": lambda policy, data: str(weft.certify(unseen(policy), data, greedy=False)),
    "stage": lambda policy, data: staged(unseen(policy), data),
    "answer": lambda policy, data: str(weft.answer(policy, data, greedy=False)),
}


@pytest.mark.few(2)
@pytest.mark.parametrize("judge", JUDGES)
def test_a_log_with_its_columns_in_another_order_is_judged_by_name(judge, tmp_path, monkeypatch):
    monkeypatch.setenv("WEFT_LEDGER", str(tmp_path / "one"))
    here = JUDGES[judge](sorter(), table())
    monkeypatch.setenv("WEFT_LEDGER", str(tmp_path / "two"))
    there = JUDGES[judge](sorter(), table(("x2", "x1")))
    if judge == "tabulate":
        np.testing.assert_array_equal(here, there)
    else:
        assert here == there


@pytest.mark.parametrize("judge", JUDGES)
def test_a_log_of_other_columns_is_refused(judge):
    with pytest.raises(UserError, match=r"no 'x2' and has 'x_2'.*Did you mean 'x2'"):
        JUDGES[judge](sorter(), table(("x1", "x_2"), renamed={"x2": "x_2"}))


def test_actions_in_another_order_are_refused():
    policy = untrained(table(actions=("b", "c")))
    with pytest.raises(UserError, match="in the order c, b, the policy was trained on b, c"):
        judged(policy, table(actions=("c", "b")))


def without_names(data: Dataset) -> Dataset:
    spec = data.spec
    parts = tuple(dataclasses.replace(part, names=()) for part in spec.observations)
    return dataclasses.replace(data, spec=dataclasses.replace(spec, observations=parts))


@pytest.mark.few(2)
@pytest.mark.parametrize("judge", JUDGES)
def test_without_names_columns_go_by_place_and_that_is_said(judge, caplog):
    door._say.cache_clear()
    JUDGES[judge](untrained(without_names(table())), table(("x2", "x1")))
    assert "The policy knows no names" in caplog.text
    assert "by place: x2, x1" in caplog.text
    caplog.clear()
    JUDGES[judge](sorter(), without_names(table()))
    assert "has no names of its observation's columns" in caplog.text
    assert "x1, x2" in caplog.text


def test_logs_are_not_joined_in_different_orders():
    with pytest.raises(UserError, match="differ in their columns or the order"):
        concatenate([table(), table(("x2", "x1"))])
    joined = concatenate([without_names(table()), table()])
    assert joined.spec.observations[0].names == ("x1", "x2")
    assert any("have no names and are taken by place" in note for note in joined.notes)


def test_a_run_of_an_older_weft_goes_on(tmp_path):
    from weft.core import storage

    how = {"batch_size": 16, "out": tmp_path / "run"}
    weft.fit(BC(hidden=(4,)), table(), steps=4, **how)
    record = storage.read_record(tmp_path / "run" / "run.json")
    for part in (*record["spec"]["observations"], record["spec"]["action"]):
        part["names"] = []
    del record["spec"]["observations"][0]["names"]
    storage.write_record(tmp_path / "run" / "run.json", record)
    assert weft.load_run(tmp_path / "run").policy()(np.zeros(2)) in (0, 1)
    assert weft.fit(BC(hidden=(4,)), table(), steps=8, resume=True, **how).steps[-1] == 8


@pytest.mark.parametrize("judge", JUDGES)
def test_a_log_with_codes_that_the_policy_never_saw_is_refused(judge):
    mixed = {"x": np.zeros((STEPS, 3), np.float32), "place": np.where(np.arange(STEPS) == 7, 5, 0)}
    data = log(mixed, np.arange(STEPS) % 3, kinds={"place": "category"})
    with pytest.raises(UserError, match=r"arrays: Observation 'place' is 5 \(row 7\)"):
        JUDGES[judge](served("mixed"), data)


# --- what policies answer -----------------------------------------------------------------------------------------


class Answering:
    """An object with `sample` and `log_prob`."""

    def __init__(self, sample, log_prob):
        self.sample, self.log_prob = sample, log_prob


def at(values, row, wrong):
    values = np.array(values, float)
    values[row] = wrong
    return values


def fine(seen, key=None):
    return np.zeros((len(seen), 1))


CHOICES = {
    "NaN": (lambda seen: at(np.full((len(seen), 3), 1 / 3), 2, np.nan), "observation 2 they sum to nan"),
    "None": (lambda seen: None, "answers with None"),
    "words": (lambda seen: ["left"] * len(seen), "answers with words"),
    "shape": (lambda seen: np.zeros((len(seen), 4)), "got"),
    "floats": (lambda seen: np.zeros(len(seen)), "whole numbers"),
    "a choice below": (lambda seen: np.where(np.arange(len(seen)) == 4, -1, 0), r"action -1; .*observation 4"),
    "a choice above": (lambda seen: np.where(np.arange(len(seen)) == 4, 3, 0), r"action 3; .*observation 4"),
    "ragged": (lambda seen: [[0.5], [0.5, 0.5]], "different lengths"),
}
NUMBERS = {
    "NaN": (lambda seen: at(fine(seen), 3, np.nan), "action at observation 3 is not finite"),
    "infinity": (lambda seen: at(fine(seen), 3, np.inf), "action at observation 3 is not finite"),
    "complex": (lambda seen: fine(seen) + 0j, "complex"),
    "rows": (Answering(lambda seen, key: fine(seen)[:5], lambda seen, action: np.zeros(len(seen))), "must answer"),
    "a number": (Answering(lambda seen, key: 0.0, lambda seen, action: np.zeros(len(seen))), "must answer"),
    "density NaN": (Answering(fine, lambda seen, action: at(np.zeros(len(seen)), 6, np.nan)), "is nan at step 6"),
    "density ∞": (Answering(fine, lambda seen, action: at(np.zeros(len(seen)), 6, np.inf)), "is inf at step 6"),
    "density None": (Answering(fine, lambda seen, action: None), "log_prob answers with None"),
}


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("kind", [*CHOICES, *(f"continuous: {kind}" for kind in NUMBERS)])
def test_answers_that_are_none_are_refused(judge, kind):
    name = kind.removeprefix("continuous: ")
    policy, sentence = (NUMBERS if name != kind else CHOICES)[name]
    actions = np.linspace(-1, 1, STEPS)[:, None] if name != kind else np.arange(STEPS) % 3
    with pytest.raises(UserError, match=sentence):
        JUDGES[judge](policy, log(np.zeros((STEPS, 2)), actions))


def test_the_policys_own_mistakes_keep_their_trace():
    def broken(seen):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        JUDGES["estimate"](broken, logs()["vector"])


# --- environments -------------------------------------------------------------------------------------------------


class World(gymnasium.Env):
    """Shows three numbers for four steps; `wrong` changes what it answers at step 2."""

    observation_space = gymnasium.spaces.Box(-9, 9, (3,), np.float32)
    action_space: gymnasium.Space = gymnasium.spaces.Discrete(3)

    def __init__(self, **wrong):
        self.wrong = wrong

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return self.wrong.get("first", (np.zeros(3, np.float32), {}))

    def step(self, action):
        self.time += 1
        answer = {"seen": np.zeros(3, np.float32), "reward": 1.0, "over": self.time > 3, "cut": False, "info": {}}
        if self.time == 2:
            answer |= {key: value for key, value in self.wrong.items() if key in answer}
        answer = {key: value for key, value in answer.items() if not isinstance(value, type)}
        return tuple(answer.values())


class Seedless(World):
    """An environment of old Gym."""

    def reset(self):
        return np.zeros(3, np.float32)


BROKEN = {
    "first NaN": ({"first": (np.full(3, np.nan), {})}, r"World, episode 0, step 0: .*is nan"),
    "first None": ({"first": (None, {})}, r"World, episode 0, step 0: .*object values"),
    "no info": ({"first": np.zeros(3)}, "reset answers with an observation alone"),
    "NaN seen": ({"seen": np.array([0, np.nan, 0])}, r"World, episode 0, step 2: .*is nan .number 1."),
    "shape": ({"seen": np.zeros(2)}, r"step 2: .*shape \(2,\)"),
    "words seen": ({"seen": np.array(["a", "b", "c"])}, "step 2: .*words"),
    "NaN reward": ({"reward": np.nan}, r"World, episode 0, step 2: reward is nan"),
    "infinite reward": ({"reward": np.inf}, "step 2: reward is inf"),
    "no reward": ({"reward": None}, "step 2: reward is None, which is not one number"),
    "a reward in words": ({"reward": "much"}, "step 2: reward is much"),
    "two rewards": ({"reward": np.zeros(2)}, "step 2: reward is .*not one number"),
    "no end": ({"over": None}, "step 2: terminated is None"),
    "four values": ({"cut": object}, "step 2: step answers with 4 values; Gymnasium's"),
}


def lanes(policy, make):
    held = HostedLanes(make_simulator(make), 0, 2, policy.spec if policy is not constant else None)
    held.begin()
    for _ in range(5):
        held.step(np.zeros(2, np.int32), np.ones(2, bool))


def constant(seen):
    return np.zeros(len(seen), int)


ACTING = {
    "rollout": lambda policy, make: rollout(policy, make, 2),
    "collect": lambda policy, make: collect(policy, make, 2),
    "lanes": lanes,
}


@pytest.mark.parametrize("way", ACTING)
@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("function", [False, True])
def test_what_an_environment_may_not_answer_names_episode_and_step(way, kind, function):
    wrong, sentence = BROKEN[kind]
    with pytest.raises(UserError, match=sentence):
        ACTING[way](constant if function else served("vector"), lambda: World(**wrong))


@pytest.mark.parametrize("way", ACTING)
def test_an_old_environment_without_a_seed_is_refused(way):
    with pytest.raises(UserError, match="reset takes no seed"):
        ACTING[way](constant, Seedless)


def test_rewards_of_one_number_are_taken():
    for reward in (1, np.float64(1), np.ones(1), np.ones((1, 1), np.float32), jnp.ones(()), True):
        assert rollout(constant, lambda r=reward: World(reward=r), 1).tolist() == [4.0]


def test_a_code_that_an_environment_shows_and_the_log_never_had():
    class Rooms(World):
        observation_space = gymnasium.spaces.Dict(
            x=gymnasium.spaces.Box(-9, 9, (3,), np.float32), place=gymnasium.spaces.Discrete(9)
        )

        def reset(self, *, seed=None, options=None):
            self.time = 0
            return {"x": X, "place": 0}, {}

        def step(self, action):
            self.time += 1
            return {"x": X, "place": 3 * self.time}, 0.0, self.time > 3, False, {}

    with pytest.raises(UserError, match="Rooms, episode 0, step 2: Observation 'place' is 6"):
        rollout(served("mixed"), Rooms, 1)


def learned_in(spaces):
    data = log(np.zeros((STEPS, 3)), np.linspace(-2, 2, STEPS)[:, None] * np.ones(1), **spaces)
    return untrained(data, head="deterministic")


class Taking(World):
    """Takes numbers in [−1, 1] and remembers them."""

    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)


@pytest.mark.parametrize("declared", [{"action_bounds": (-2.0, 2.0)}, {}], ids=["declared", "seen"])
@pytest.mark.parametrize("act", [rollout, collect])
def test_a_policy_whose_actions_reach_beyond_an_environment_is_refused(declared, act):
    sentence = r"takes actions in \[-1, 1\] .number 0., the policy's are in \[-2, 2\].*ClipAction"
    with pytest.raises(UserError, match=sentence):
        act(learned_in(declared), Taking, 1)
    clipped = act(learned_in(declared), lambda: gymnasium.wrappers.ClipAction(Taking()), 1)
    assert clipped is not None


def test_a_policy_with_narrower_actions_acts():
    data = log(np.zeros((STEPS, 3)), np.linspace(-0.5, 0.5, STEPS)[:, None])
    assert rollout(untrained(data), Taking, 1).tolist() == [4.0]


def test_a_world_of_weft_refuses_a_policy_that_reaches_beyond_it():
    data = collect(lambda seen: np.zeros((len(seen), 1), np.float32), Pendulum(), 1)
    wide = dataclasses.replace(data.spec.action, low=(-3.0,), high=(3.0,))
    wider = dataclasses.replace(data, spec=dataclasses.replace(data.spec, action=wide))
    with pytest.raises(UserError, match=r"pendulum takes actions in \[-2, 2\]"):
        rollout(untrained(wider), "pendulum", 1)
    with pytest.raises(UserError, match=r"pendulum takes actions in \[-2, 2\]"):
        weft.finetune(run_of(wider), "pendulum", steps=10)


def run_of(data):
    plain = dataclasses.replace(data, spec=dataclasses.replace(data.spec, discount=None))
    return weft.fit(weft.IQL(hidden=(4,)), plain, steps=2, batch_size=4)


FUNCTIONS = {
    "beyond": (Taking, lambda seen: np.full((len(seen), 1), 1.5), r"has 1.5 as its number 0.*takes \[-1, 1\]"),
    "words": (Taking, lambda seen: np.array([["a"]] * len(seen)), "numbers"),
    "shape": (Taking, lambda seen: np.zeros((len(seen), 2)), r"shape \(2,\)"),
    "None": (Taking, lambda seen: None, "actions"),
    "no choice": (World, lambda seen: np.full(len(seen), 3), "chooses 3"),
    "half a choice": (World, lambda seen: np.full(len(seen), 0.5), "chooses 0.5"),
    "a word": (World, lambda seen: ["left"] * len(seen), "numbers"),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("act", [rollout, collect])
def test_a_functions_actions_must_be_the_environments(kind, act):
    world, policy, sentence = FUNCTIONS[kind]
    with pytest.raises(UserError, match=sentence):
        act(policy, world, 2)
    if world is Taking and kind == "beyond":
        with pytest.raises(UserError, match=r"has 2.5 as its number 0"):
            act(lambda seen: np.full((len(seen), 1), 2.5), "pendulum", 1)


class Faulty(Environment):
    """A world in JAX that answers NaN at the third step, as a reward or as what is seen."""

    reward: bool = static(default=False)
    title = "Faulty"

    @property
    def spec(self) -> Spec:
        part = logs()["vector"].spec.observations
        return Spec(part, ActionSpec("discrete", (), "int32", counts=(3,)), horizon=4)

    def reset(self, key):
        return jnp.int32(0)

    def observe(self, state):
        return jnp.where((state == 3) & (not self.reward), jnp.nan, jnp.zeros(3))

    def step(self, state, action, key):
        return state + 1, jnp.where((state == 2) & self.reward, jnp.nan, 1.0), state > 5


@pytest.mark.parametrize("act", [rollout, collect])
@pytest.mark.parametrize("reward", [False, True])
def test_a_world_in_jax_that_answers_nan_is_named(act, reward):
    with pytest.raises(UserError, match="test_door, episode 0, step 2: the reward or the observation"):
        act(served("vector"), Faulty(reward), 2)


@pytest.mark.parametrize("reward", [False, True])
def test_learning_in_a_world_that_answers_nan_stops(reward):
    with pytest.raises(UserError, match="not finite"):
        weft.fit(DQN(hidden=(4,)), env=Faulty(reward), steps=20, rounds=Rounds(warm_up=4))


def test_ragged_rows_of_a_log_are_tokens_still():
    assert isinstance(logs()["tokens"].store_observations, Ragged)


def test_a_slot_without_an_episode_may_answer_anything():
    """Three episodes in two slots leave one slot idle, whose policy goes on being asked."""

    class Ageing(World):
        action_space = Taking.action_space

        def step(self, action):
            self.time += 1
            return np.zeros(3, np.float32), 1.0, self.time > 4, False, {}

    def growing(seen, ages=[]):  # noqa: B006
        ages.append(len(seen))
        late = len(ages) > 5  # the second round: slot 0 has the third episode, slot 1 none
        return np.array([[0.0], [5.0 if late else 0.0]])[: len(seen)]

    module = importlib.import_module("weft.envs.rollout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLOTS", 2)
        assert rollout(growing, Ageing, 3).tolist() == [5.0] * 3
