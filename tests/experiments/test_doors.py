"""What is of a wrong kind at a door of the package is answered with a sentence that says what to write instead."""

import inspect
from typing import Any

import pytest
from tabular import world

import weft
from weft import IQL
from weft.core.errors import UserError

DATA = world().log(30)
CALLS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], str]] = {
    "a path": ("study", ("log.csv",), {}, "A study needs a loaded log, weft.load('log.csv'), got 'log.csv'."),
    "swapped": ("tune", (IQL, DATA), {}, "A search needs a loaded log, weft.load(…), got the class IQL."),
    "a dictionary": ("advise", ({},), {}, "Advice needs a loaded log, weft.load(…), got an object of type dict."),
    "a class": ("tune", (DATA, IQL), {}, "A search needs algorithms such as weft.IQL(), got <class "),
    "one name": ("study", (DATA, "iql"), {}, "A study chooses among several algorithms: give a list, ['iql']."),
    "one method": ("study", (DATA, IQL()), {}, "A study chooses among several algorithms: give a list, [IQL("),
    "no method": ("study", (DATA, [7]), {}, "A study needs algorithms such as weft.IQL(), got 7."),
    "misspelt": (
        "study", (DATA, ["iql"]), {"settings": {"iql": {"expectil": 0.9}}},
        "Implicit Q-learning has no hyperparameter 'expectil'. Did you mean 'expectile'?",
    ),
    "a list": ("tune", (DATA, "iql", ["expectile"]), {}, "A space is a dictionary, such as"),
    "a number": ("tune", (DATA, "iql", {"expectile": 0.7}), {}, "A space of 'expectile' is a range, a list of values"),
    "no tasks": ("benchmark", (["bc"], DATA, "out"), {}, "The tasks of a benchmark are a dictionary, {name: (data, "),
    "one to compare": ("benchmark", ("bc", {}, "out"), {}, "A benchmark compares several methods: give a list, ['bc']"),
    "a folder": ("triage", ("runs/iql-1",), {}, "Triage needs a run: weft.load_run('runs/iql-1')."),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_kind_is_one_sentence(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, arguments, options, sentence = CALLS[call]
    door = inspect.unwrap(getattr(weft, name))  # a checker of annotations, where one runs, would answer first
    with pytest.raises(UserError) as problem:
        door(*arguments, **options)
    assert str(problem.value).startswith(sentence)
    assert not list(tmp_path.iterdir())
