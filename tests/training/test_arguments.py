"""Every Python door of training answers what it cannot take in one sentence that says what to give."""

import re
from pathlib import Path

import numpy as np
import pytest
from small import continuous, iql

import weft
from weft.agents.schedule import Rounds


@pytest.fixture(scope="module")
def data():
    return continuous()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((weft.IQL(), "a.csv"), "fit learns from a Dataset, got 'a.csv'; read the log first: weft.load('a.csv')."),
        ((weft.IQL(), Path("a.csv")), "read the log first: weft.load('a.csv')."),
        ((weft.IQL(), {"reward": [1.0]}), "got dict; make one of it first, with weft.load or Dataset.from_arrays."),
        ((weft.DQN(), "cartpole"), "got 'cartpole', which is a world to act in; give it as env='cartpole'."),
        ((weft.IQL, continuous()), "got the class IQL; make an instance of it, IQL()."),
        (([weft.IQL], continuous()), "got the class IQL; make an instance of it, IQL()."),
        (("iql", continuous()), "needs an algorithm such as weft.IQL(), got 'iql'; give an instance, IQL()."),
        (("one-step", continuous()), "got 'one-step'; give an instance, OneStep()."),
        (("q", continuous()), "needs an algorithm such as weft.IQL(), got 'q'."),
        ((continuous(), weft.IQL()), "the algorithm comes first, then the log: fit(weft.IQL(), data)."),
        ((None, continuous()), "needs an algorithm such as weft.IQL(), got NoneType."),
    ],
)
def test_fit_says_what_to_give_for_method_and_log(arguments, sentence):
    with pytest.raises(weft.UserError, match=re.escape(sentence)):
        weft.fit(*arguments, steps=2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": "9"}, "The number of steps must be a whole number, got '9'."),
        ({"seeds": "3"}, "The number of seeds must be a whole number, got '3'."),
        ({"seeds": None}, "The number of seeds must be a whole number, got None."),
        ({"seeds": [[1]]}, "A seed must be a whole number"),
        ({"batch_size": "64"}, "The batch size must be a whole number, got '64'."),
        ({"log_every": "1"}, "The distance of metrics in steps must be a whole number, got '1'."),
        ({"keep": "5"}, "A step to keep must be a whole number, got '5'."),
        ({"stack": "2"}, "The number of stacked images must be a whole number, got '2'."),
        ({"out": 5}, "out is the folder of the run, a path, got 5."),
        ({"checkpoint_seconds": "60"}, "checkpoint_seconds is the time between checkpoints in seconds, got '60'."),
        ({"progress": "yes"}, "progress is True or False, got 'yes'."),
        ({"resume": None}, "resume is True or False, got None."),
    ],
)
def test_options_of_a_wrong_type_are_one_sentence(data, options, sentence):
    with pytest.raises(weft.UserError, match=re.escape(sentence)):
        weft.fit(iql(), data, **{"steps": 4, **options})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"hidden": "64"}, "IQL: hidden must be of type tuple[int, ...], got '64'."),
        ({"hidden": [64]}, "IQL: hidden must be of type tuple[int, ...], got [64]."),
        ({"hidden": 64}, "IQL: hidden must be of type tuple[int, ...], got 64."),
        ({"learning_rate": "high"}, "IQL: learning_rate must be of type float, got 'high'."),
        ({"discount": None}, "IQL: discount must be of type float, got None."),
        ({"sampler": 256}, "IQL: sampler must be of type Sampler, got 256."),
    ],
)
def test_settings_are_of_the_types_that_their_fields_declare(settings, sentence):
    with pytest.raises(weft.UserError, match=re.escape(sentence)):
        weft.IQL(**settings)


def test_numbers_of_numpy_are_as_good(data):
    assert weft.fit(iql(discount=np.float64(0.9)), data, np.int64(2), np.int32(1)).steps == [2]


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        (("runs/one", "stitch"), {}, "finetune goes on from a Run, got 'runs/one'; read it first: weft.load_run("),
        ((weft.IQL(), "stitch"), {}, "finetune goes on from a Run, as weft.fit returns it, got IQL."),
        ((None, "stitch"), {"data": "a.csv"}, "finetune learns from a Dataset, got 'a.csv'; read the log first"),
        ((None, "stitch"), {"steps": "9"}, "The number of steps must be a whole number, got '9'."),
        ((None, "stitch"), {"step": "9", "rounds": Rounds(logged_share=0.0)}, "keeps no state of step 9"),
        ((None, "stitch"), {"changes": {"learning_rate": "a"}}, "learning_rate must be of type float, got 'a'."),
        ((None, "stitch"), {"changes": 3}, "changes is a dictionary of hyperparameters by name, got 3."),
        ((None, "stitch"), {"rounds": 3}, "rounds says how acting and learning take turns"),
        ((None, 3), {}, "An environment is a name"),
    ],
)
def test_finetune_says_what_to_give(arguments, options, sentence, offline):
    run, env = arguments
    with pytest.raises(weft.UserError, match=re.escape(sentence)):
        weft.finetune(offline if run is None else run, env, **{"steps": 4, **options})


@pytest.fixture(scope="module")
def offline():
    return weft.fit(iql(), weft.load("sample:stitch", episodes=8), 2)


def test_names_of_methods_come_from_the_registry(data):
    with pytest.raises(weft.UserError, match=r"acting; .*\bactor-critic, awac\b.*\bsac can\."):
        weft.fit(weft.BC(), env="cartpole")
    with pytest.raises(weft.UserError, match=r"take one of awac, awr, bc\b"):
        weft.fit(weft.Reinforce(), data)


def test_turns_are_of_numbers():
    with pytest.raises(weft.UserError, match="Rounds: lanes must be of type int, got '2'"):
        Rounds(lanes="2")
