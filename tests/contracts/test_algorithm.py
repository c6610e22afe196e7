"""What every registered algorithm promises, for every kind of action that it learns from."""

import dataclasses
import functools
import inspect
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from weft.agents import algorithm
from weft.agents.policy import Policy
from weft.core import pytree
from weft.core.errors import UserError
from weft.data.columns import Columns
from weft.data.dataset import Dataset
from weft.data.samplers.quintuples import Quintuples
from weft.data.samplers.transitions import Transitions
from weft.data.units import fit_transform
from weft.nn.multipliers import Fixed, Lagrange
from weft.nn.optimise import Learner
from weft.training import loop as train

STEPS = 12
ROWS = 96
KINDS = ("continuous", "discrete")
SMALL = {"hidden": (8,), "sampler": Transitions(16)}

# A learned temperature that grows from the start, so that all four of its numbers matter.
GROWING = Lagrange(threshold=-2.0, learning_rate=0.1, initial=1.0, largest=1.2)
SETTINGS = {
    "ram": {"glimpses": 3, "size": 4, "scales": 2, "copies": 2},
    "awr": {"refresh_every": 5},
    "sac": {"temperature": GROWING, "entropy_share": 1.0},
    "dqn": {"target_every": 2},
    "one_step": {"sampler": Quintuples(16)},
    "rebrac": {"sampler": Quintuples(16)},
    "bcq": {"hidden_model": (8,)},
    "discrete_bcq": {"target_every": 2},
    "bear": {
        "hidden_model": (8,),
        "warm_up": 2,
        "candidates": 10,
        "weight": Lagrange(threshold=-1.0, learning_rate=0.1, initial=1.0, largest=1.2),
    },
    "brac": {"behaviour_steps": 3, "entropy_weight": 0.1, "weight": GROWING},
    "kl_control": {"behaviour_steps": 3, "inverse_temperature": 10.0},
    "idql": {"blocks": 2, "width": 8, "samples": 16},
    "regression": {"trees": 30, "least_rows": 2, "folds": 3},
    "cql": {"weight": Lagrange(threshold=0.1, learning_rate=0.1, initial=1.0, largest=1.2), "temperature": GROWING},
}
# Values that can matter within a few steps; every other number is multiplied by .6.
CHANGED = {
    "expectile": 0.9,
    "level": 0.9,
    "fraction": 0.7,
    "largest_weight": 0.9,
    "reps.largest_weight": 1.01,
    "noise_limit": 0.05,
    "threshold": 2.0,
    "initial": 0.3,
    "largest": 1.01,
    "largest_gradient": 1e-3,
    "least_ratio": 0.99,
}
SINGLE = tuple(name for name, found in algorithm.algorithms().items() if found.single)  # no value comes later
IMITATORS = ("bc", "filtered_bc", "ram")  # what they copy has no value
COPIES_ALL = ("bc", "ram")
# Numbers that one kind of action has no use for.
IDLE = {
    ("awr", "continuous"): ("divergence",),  # of the dual alone
    ("awr", "discrete"): ("divergence",),
    ("cql", "discrete"): ("actor_learning_rate", "temperature."),
    ("sac", "continuous"): ("entropy_share",),
    ("sac", "discrete"): ("temperature.threshold",),
    ("dqn", "discrete"): ("epsilon", "exploring"),  # for acting only
    ("regression", "discrete"): ("epsilon",),  # likewise
}

BOTH = ("cql", "iql")  # whose two kinds of actions have updates of their own


def rests(name: str, kind: str) -> bool:
    """Say whether a case is left to the slow tests: of a method with two kinds of actions one, in turn, is fast."""
    kinds, place = algorithm.algorithm(name).actions, list(algorithm.algorithms()).index(name)
    return len(kinds) == 2 and name not in BOTH and kind == KINDS[place % 2]


def marks(name: str, kind: str) -> tuple[pytest.MarkDecorator, ...]:
    return (pytest.mark.slow,) if rests(name, kind) else ()


CASES = [
    pytest.param(name, kind, id=f"{name}-{kind}", marks=marks(name, kind))
    for name, found in algorithm.algorithms().items()
    for kind in KINDS
    if kind in found.actions
]
each_case = pytest.mark.parametrize(("name", "kind"), CASES)


def setting_of(name: str, **changes: object) -> algorithm.Algorithm:
    found = algorithm.algorithm(name)
    small = {"hidden": (8,)} if found.learns_from == {"fresh"} else SMALL
    small = {field: value for field, value in small.items() if field in found.__dataclass_fields__}
    return found(**{**small, **SETTINGS.get(name, {}), **changes})


@functools.cache
def log(kind: str, probe: str = "", sees: str = "vector", single: bool = False) -> Dataset:
    """A random log with episodes of six steps, every second of which times out; all logs of a kind have one shape.

    A log of `single` decisions has propensities, and rewards that depend on what was seen.
    Probes: in a `bandit` every step is terminal and the reward is the first action dimension (the share of the last
    choice); in a `loop` and in an `end` there is one state, the reward is 1 and episodes have one step. What a method
    `sees` is vectors of three numbers, or images of 12 by 12 pixels.
    """
    random = np.random.default_rng(0)
    seen = random.normal(size=(ROWS, 3)).astype(np.float32)
    after = random.normal(size=(ROWS, 3)).astype(np.float32)
    if sees == "image":
        seen, after = random.integers(0, 256, (2, ROWS, 12, 12), dtype=np.uint8)
    actions = random.uniform(-0.9, 0.9, (ROWS, 2)).astype(np.float32)
    if kind == "discrete":
        actions = random.integers(0, 3, ROWS)
    rewards = random.normal(size=ROWS).astype(np.float32)
    last = np.arange(ROWS) % 6 == 5
    terminal = last & (np.arange(ROWS) % 12 == 11)
    if single:
        last, terminal = np.ones(ROWS, bool), np.ones(ROWS, bool)
        rewards += 2.0 * seen[:, 0] * actions
    if probe:
        seen, after, last = np.ones_like(seen), np.ones_like(seen), np.ones(ROWS, bool)
        rewards = np.ones(ROWS, np.float32)
        terminal = last & (probe != "loop")
    if probe == "bandit":
        rewards = (actions[:, 0] if kind == "continuous" else actions / 2).astype(np.float32)
    bounds = ([-1.0, -1.0], [1.0, 1.0]) if kind == "continuous" else None
    options = {"action_count": 3} if kind == "discrete" else {"action_bounds": bounds}
    if single:
        options["propensities"] = random.uniform(0.2, 0.5, ROWS)
    return Dataset.from_arrays(seen, actions, rewards, terminal, last & ~terminal, next_observations=after, **options)


def log_for(name: str, kind: str, probe: str = "") -> Dataset:
    """Return the log of a kind in a form of observations that the method learns from."""
    found = algorithm.algorithm(name)
    return log(kind, probe, "image" if found.sees and "vector" not in found.sees else "vector", found.single)


@functools.cache
def columns_for(name: str, kind: str, probe: str = "") -> Columns:
    """Return the log on the device, in one shape for all probes: observations that nothing points to fill it up."""
    columns = log_for(name, kind, probe).device()
    lacking = 2 * ROWS - len(columns.observation)
    filled = jnp.pad(columns.observation, [(0, lacking)] + [(0, 0)] * (columns.observation.ndim - 1))
    return dataclasses.replace(columns, observation=filled)


def changed(setting: algorithm.Algorithm, field: str) -> algorithm.Algorithm:
    value = dict(pytree.named_leaves(setting))[field]
    last = field.rpartition(".")[2]
    return pytree.replace(setting, field, CHANGED.get(f"{setting.name}.{last}", CHANGED.get(last, 0.6 * value)))


class Case:
    """One algorithm on one kind of action: a base setting, and one more for every number of it.

    Every setting and every log goes through the same two programs of one run, `begin` and `advance`.
    """

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self.base = setting_of(name)
        self.fields = pytree.floats(self.base)
        self.first = self.begun(self.base)
        self.last, self.metrics = self.advance(self.base, self.first, 0, STEPS)

    def begun(self, setting: algorithm.Algorithm, seed: int = 0, probe: str = "") -> algorithm.State:
        stacked, keys = zoo.plan([setting], (seed,))
        spec = log_for(self.name, self.kind).spec
        return train.begin(stacked, keys, columns_for(self.name, self.kind, probe), spec, "sequential")

    def advance(self, setting, states, start, stop, probe="", steps=STEPS):
        (stacked, keys), columns = zoo.plan([setting], (0,)), columns_for(self.name, self.kind, probe)
        span = train.Span.of(start, stop, steps)
        return train.advance(stacked, jax.tree.map(jnp.copy, states), columns, keys, span, "sequential")

    def changed_in(self, field: str) -> algorithm.State:
        """Return where the run ends with one number changed from its first step on."""
        setting = changed(self.base, field)
        return self.advance(setting, self.begun(setting), 0, STEPS)[0]

    def learned(self, probe: str, steps: int, **changes: float) -> algorithm.State:
        """Train one run on a probe, with some numbers of the base setting changed."""
        setting = self.base
        for field, value in changes.items():
            setting = pytree.replace(setting, field.replace("__", "."), value)
        states = self.begun(setting, 0, probe)
        return pytree.run_axis(self.advance(setting, states, 0, steps, probe, steps)[0], 0)

    @functools.cached_property
    def served(self):
        """What a state is used for, in one program: acting, the value of where one is, and the figures of a report."""

        @jax.jit
        def use(state, seen, batch, key):
            policy, value = self.base.policy(state), self.base.value(state, seen, key)
            action = policy.act(policy.reset(), seen, key, greedy=False)[0]
            choice = policy.distribution((), seen)
            likely = choice.mode() if self.kind == "continuous" else choice.probabilities()
            return Served(action, likely, value, self.base.measure(state, batch, key))

        def of(state: algorithm.State, probe: str = "") -> Served:
            columns = columns_for(self.name, self.kind, probe)
            batch = self.base.sampler(columns, jax.random.key(3))
            return use(state, columns.observation[:5], batch, jax.random.key(0))

        return of


class Served(NamedTuple):
    action: jax.Array
    likely: jax.Array
    """The mode of each row of numbers, the probabilities of each row of choices."""
    value: jax.Array | None
    figures: dict[str, jax.Array]


def learns_from_logs(name: str, kind: str) -> bool:
    return "log" in algorithm.algorithm(name).learns_from


@functools.cache
def case(name: str, kind: str) -> Case:
    return Case(name, kind)


def leaves(tree: object) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def same(one: object, two: object) -> bool:
    return all((a == b).all() for a, b in zip(leaves(one), leaves(two), strict=True))


# --- form -----------------------------------------------------------------------------------------------------------


@each_case
def test_an_update_keeps_structure_shapes_and_types(name, kind):
    setting, data = pytree.as_arrays(setting_of(name)), log_for(name, kind)
    columns = data.device()

    def first(key):
        return setting.init(key, data.spec, setting.prepare(key, columns))

    before = jax.eval_shape(first, jax.random.key(0))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(before))
    after, metrics = jax.eval_shape(
        lambda state, key: train.one_step(setting, columns, key, jnp.int32(9), jnp.int32(0), state),
        before,
        jax.random.key(0),
    )
    assert jax.tree.structure(before) == jax.tree.structure(after)
    shapes = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (before, after)]
    assert shapes[0] == shapes[1]
    assert metrics
    assert all(value.shape == () for value in metrics.values())


@each_case
def test_a_state_holds_arrays_only(name, kind):
    for leaf in jax.tree.leaves(pytree.run_axis(case(name, kind).first, 0)):
        assert isinstance(leaf, jax.Array)


@pytest.mark.parametrize("name", algorithm.algorithms())
def test_the_leaves_of_a_setting_are_its_float_fields(name):
    found = algorithm.algorithm(name)()

    def declared(module, prefix=""):
        for field in dataclasses.fields(module):
            value = getattr(module, field.name)
            if isinstance(value, eqx.Module):
                yield from declared(value, f"{prefix}{field.name}.")
            elif not field.metadata.get("static"):
                assert isinstance(value, float), f"{field.name} is neither static nor a float"
                yield prefix + field.name

    assert pytree.floats(found) == list(declared(found))


@pytest.mark.parametrize("name", algorithm.algorithms())
def test_the_file_says_what_it_does_and_stays_short(name):
    found = algorithm.algorithm(name)
    home = inspect.getmodule(found)
    assert home is not None
    for section in ("Order of updates:", "Differs from the reference:", "L_"):
        assert section in (home.__doc__ or "")
    assert Path(home.__file__ or "").read_text().count("\n") <= 150
    assert found.title
    assert found.paper
    assert found.family
    assert found.__doc__


WRONG = {"discount": 1.5, "inverse_temperature": -1.0, "pessimism": 1.2, "largest_weight": 0.0, "target_every": 0}


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name, found in algorithm.algorithms().items() for field in WRONG if hasattr(found(), field)],
)
def test_numbers_that_cannot_be_are_refused(name, field):
    with pytest.raises(UserError, match=r"must|may not"):
        setting_of(name, **{field: WRONG[field]})


@pytest.mark.parametrize("name", algorithm.algorithms())
def test_actions_of_another_kind_are_refused(name):
    found = setting_of(name)
    for kind in (*KINDS, "multidiscrete"):
        spec = log(kind if kind in KINDS else "discrete").spec
        action = dataclasses.replace(spec.action, kind="multidiscrete", counts=(2, 2)) if kind not in KINDS else None
        spec = dataclasses.replace(spec, action=action) if action else spec
        if kind not in found.actions:
            with pytest.raises(UserError, match="learns from"):
                found.init(jax.random.key(0), spec)


@pytest.mark.parametrize("name", [name for name, found in algorithm.algorithms().items() if found.sees])
def test_observations_of_another_kind_are_refused(name):
    found = setting_of(name)
    assert found.sees is not None
    with pytest.raises(UserError, match=r"learns from [\w ]+ observations, the log's are of the kind \w+\."):
        found.init(jax.random.key(0), log("discrete", "", "image" if "vector" in found.sees else "vector").spec)


@each_case
def test_a_policy_acts_and_values_are_numbers(name, kind):
    run = case(name, kind)
    state = pytree.run_axis(run.last, 0)
    assert isinstance(run.base.policy(state), Policy)
    served = run.served(state)
    assert served.action.shape == ((5, 2) if kind == "continuous" else (5,))
    assert all(np.isfinite(figure) for figure in served.figures.values())
    value = served.value
    assert value is None or (value.shape == (5,) and np.isfinite(value).all())
    assert (value is None) == (not valued(name, kind))


# --- runs -----------------------------------------------------------------------------------------------------------


@each_case
def test_training_changes_the_state_and_stays_finite(name, kind):
    run = case(name, kind)
    assert not same(run.first, run.last)
    assert all(np.isfinite(leaf).all() for leaf in leaves(run.last))
    assert all(np.isfinite(value).all() for value in run.metrics.values())


@each_case
def test_every_part_that_learns_moves_within_a_hundred_steps(name, kind):
    found, run = algorithm.algorithm(name), case(name, kind)
    phases = {field.name: field.default for field in dataclasses.fields(found) if field.name in found.openings}
    setting = dataclasses.replace(run.base, **phases) if phases else run.base
    first = run.begun(setting)
    last, _ = run.advance(setting, first, 0, 100, steps=100)
    parts = [part.name for part in dataclasses.fields(first) if isinstance(getattr(first, part.name), Learner)]
    still = [part for part in parts if same(getattr(first, part).model, getattr(last, part).model)]
    assert not still, f"{', '.join(still)} never learned"
    if not parts:  # no gradients: what it predicts changes
        assert not same(run.served(pytree.run_axis(first, 0)).value, run.served(pytree.run_axis(last, 0)).value)


@each_case
def test_two_settings_share_one_program(name, kind):
    run = case(name, kind)
    run.advance(run.base, run.first, 0, 3)  # the program may have been given back since
    before = train.advance._cache_size()
    run.advance(changed(run.base, "learning_rate"), run.first, 0, 3)
    assert train.advance._cache_size() == before


@each_case
def test_every_number_changes_the_result(name, kind):
    run = case(name, kind)
    for field in run.fields:
        idle = field.startswith(IDLE.get((name, kind), ("no field",)))
        assert same(run.changed_in(field), run.last) == idle, f"{field} has the wrong effect"


@each_case
def test_stopping_and_resuming_changes_no_bit(name, kind):
    run = case(name, kind)
    half, _ = run.advance(run.base, run.first, 0, 7)
    assert not same(half, run.last)
    resumed, _ = run.advance(run.base, half, 7, STEPS)
    assert same(resumed, run.last)


# The loop over runs is the engine's, not the method's: a few methods show it, all of them in the slow tests.
SWEPT = (("iql", "continuous"), ("dqn", "discrete"), ("cql", "discrete"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(*param.values, id=param.id, marks=() if param.values in SWEPT else pytest.mark.slow)
        for param in CASES
    ],
)
def test_a_swept_run_equals_a_single_one(name, kind):
    run = case(name, kind)
    field = run.fields[0]
    data, settings = log_for(name, kind), [run.base, changed(run.base, field)]
    swept, _ = zoo.continued(settings, zoo.begin(settings, data), data, 0, STEPS, STEPS)
    for index, single in enumerate((run.last, run.changed_in(field))):
        both = zip(leaves(pytree.run_axis(single, 0)), leaves(pytree.run_axis(swept, index)), strict=True)
        for one, two in both:
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@each_case
def test_two_seeds_differ(name, kind):
    run = case(name, kind)
    assert not same(run.begun(run.base, seed=1), run.first)


@each_case
def test_no_key_is_used_twice(name, kind):
    # A second draw with one key, say `tick.key` itself beside its splits, raises KeyReuseError here.
    setting, data, columns = setting_of(name), log_for(name, kind), log_for(name, kind).device()

    def first(key):
        prepare_key, init_key = jax.random.split(key)
        return setting.init(init_key, data.spec, setting.prepare(prepare_key, columns))

    def step(key, state):
        return train.one_step(setting, columns, key, jnp.int32(9), jnp.int32(0), state)

    key = jax.eval_shape(lambda: jax.random.key(0))
    with jax.debug_key_reuse(True):
        jax.jit(first).lower(key)
        jax.jit(step).lower(key, jax.eval_shape(first, key))


@pytest.mark.parametrize("factor", [100.0, 1000.0])
@pytest.mark.parametrize(("name", "kind"), [param for param in CASES if learns_from_logs(*param.values)])
def test_the_unit_of_rewards_changes_nothing(name, kind, factor):
    for left, right in zip(leaves(scaled(name, kind, 1.0)), leaves(scaled(name, kind, factor)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4)


@functools.lru_cache(maxsize=2)
def scaled(name: str, kind: str, factor: float) -> algorithm.State:
    """Return where 100 updates end on a log whose rewards are so many times as large, in the scale of `weft.fit`."""
    run, data, columns = case(name, kind), log_for(name, kind), columns_for(name, kind)
    larger = dataclasses.replace(data, store_rewards=data.store_rewards * np.float32(factor))
    reward = fit_transform(larger, rewards="size").reward(larger.device().reward)
    columns = dataclasses.replace(columns, reward=reward[:, None])
    stacked, keys = zoo.plan([run.base], (0,))
    states = train.begin(stacked, keys, columns, data.spec, "sequential")
    return train.advance(stacked, states, columns, keys, train.Span.of(0, 100, 100), "sequential")[0]


# --- learning -------------------------------------------------------------------------------------------------------

# After one update from one state, these parts may not have felt the change of a number that only another loss knows.
# It fails when two losses are differentiated together or a term is handed to the wrong learner: planted in TD3+BC,
# a critic that is also pleased by `−value_weight · Q(s, π(s))` moves with `value_weight`.
ISOLATED = [
    ("iql", "continuous", {}, "inverse_temperature", ("critics", "value")),
    ("iql", "discrete", {}, "inverse_temperature", ("critics", "value")),
    ("iql", "continuous", {}, "discount", ("actor", "value")),
    ("iql", "continuous", {}, "target_rate", ("actor", "value", "critics")),
    ("idql", "continuous", {}, "dropout", ("critics", "value", "target")),
    ("idql", "continuous", {}, "loss.level", ("behaviour", "average")),
    ("idql", "continuous", {}, "average_rate", ("behaviour", "critics", "value", "target")),
    ("awr", "continuous", {}, "inverse_temperature", ("value",)),
    ("awac", "continuous", {}, "inverse_temperature", ("critics", "target")),
    ("awac", "discrete", {}, "inverse_temperature", ("critics", "target")),
    ("awac", "continuous", {"weighting": "softmax"}, "inverse_temperature", ("critics", "target")),
    ("awac", "continuous", {}, "target_rate", ("actor", "critics")),
    ("td3_bc", "continuous", {}, "value_weight", ("critics",)),
    ("rebrac", "continuous", {}, "actor_penalty", ("critics", "target")),
    ("cql", "continuous", {}, "actor_learning_rate", ("critics", "weight", "temperature")),
    ("cql", "continuous", {"learning_rate": 0.0}, "discount", ("actor",)),
    ("cql", "continuous", {"learning_rate": 0.0, "weight": Fixed(5.0)}, "weight.value", ("actor", "temperature")),
    ("sac", "continuous", {}, "temperature.learning_rate", ("critics",)),
    ("crr", "continuous", {}, "inverse_temperature", ("critics", "target")),
    ("crr", "discrete", {}, "inverse_temperature", ("critics", "target")),
    ("one_step", "continuous", {}, "inverse_temperature", ("critics", "value")),
    ("one_step", "discrete", {}, "discount", ("actor", "value")),
    ("bcq", "continuous", {}, "perturbation", ("model",)),
    ("bcq", "continuous", {}, "discount", ("model",)),
    ("discrete_bcq", "discrete", {}, "logit_weight", ("critic", "target")),
    ("discrete_bcq", "discrete", {}, "discount", ("behaviour",)),
    ("bear", "continuous", {}, "actor_learning_rate", ("critics", "model", "weight")),
    ("bear", "continuous", {}, "width", ("critics", "model")),
    ("brac", "continuous", {"behaviour_steps": 0}, "weight.learning_rate", ("critics", "behaviour")),
    ("brac", "discrete", {"behaviour_steps": 0}, "weight.learning_rate", ("critics", "behaviour")),
    ("kl_control", "discrete", {"behaviour_steps": 0}, "inverse_temperature", ("behaviour",)),
]


@pytest.mark.parametrize(
    ("name", "kind", "options", "field", "untouched"), [pytest.param(*one, marks=marks(*one[:2])) for one in ISOLATED]
)
def test_a_loss_moves_its_own_model_only(name, kind, options, field, untouched):
    run, setting = case(name, kind), setting_of(name, **options)
    first = run.begun(setting)
    one, two = (
        pytree.run_axis(run.advance(choice, first, 0, 1)[0], 0) for choice in (setting, changed(setting, field))
    )
    assert not same(one, two)
    for part in untouched:
        assert same(getattr(one, part), getattr(two, part)), f"{part} felt {field}"


# Nothing may add to the rewards: no entropy, no penalty.
PLAIN = {
    "brac": {"entropy_weight": 0.0, "weight__initial": 1e-6, "weight__learning_rate": 1e-9},
    "sac": {"temperature__initial": 1e-6, "temperature__learning_rate": 1e-9},
    "cql": {
        "temperature__initial": 1e-6,
        "temperature__learning_rate": 1e-9,
        "weight__initial": 1e-6,
        "weight__learning_rate": 1e-9,
    },
}


def valued(name: str, kind: str) -> bool:
    return name not in (*IMITATORS, "reinforce")


@pytest.mark.parametrize(
    ("name", "kind"), [param for param in CASES if valued(*param.values) and param.values[0] not in SINGLE]
)
def test_a_terminal_stops_the_bootstrap_and_a_time_out_does_not(name, kind):
    run = case(name, kind)
    changes = {"discount": 0.9, "learning_rate": 0.01, **PLAIN.get(name, {})}
    if name == "actor_critic":
        changes["value_learning_rate"] = 0.01
    elif name not in ("awr", "reps"):
        changes["target_rate"] = (
            0.1 if name in ("td3_bc", "rebrac", "dqn", "discrete_bcq") else 0.05
        )  # whose targets move in every second update
    for probe, truth in (("loop", 10.0), ("end", 1.0)):
        state = run.learned(probe, 1500, **changes)
        value = run.served(state, probe).value
        assert value is not None
        np.testing.assert_allclose(value[0], truth, rtol=0.02)


# The gradient of a method that learns from its own steps is right on those alone.
@pytest.mark.parametrize(("name", "kind"), [param for param in CASES if learns_from_logs(*param.values)])
def test_a_bandit_is_solved_or_imitated(name, kind):
    run = case(name, kind)
    changes = {"learning_rate": 0.01, **PLAIN.get(name, {})}
    if (name, kind) == ("cql", "continuous"):
        changes["actor_learning_rate"] = 0.01
    if name == "filtered_bc":
        changes["fraction"] = 0.2
    if name in ("iql", "awr", "awac", "crr", "one_step"):
        changes |= {"inverse_temperature": 10.0, "largest_weight": 100.0}
    if name == "bear":
        changes["actor_learning_rate"] = 0.01
    if name == "reps":
        changes["divergence"] = 0.9
    state = run.learned("bandit", 400, **changes)
    likely = run.served(state, "bandit").likely[0]
    if kind == "continuous":
        mean = float(likely[0])
        assert abs(mean) < 0.15 if name in COPIES_ALL else mean > 0.3
    else:
        best = float(likely[2])
        assert abs(best - 1 / 3) < 0.1 if name in COPIES_ALL else best > 0.8
