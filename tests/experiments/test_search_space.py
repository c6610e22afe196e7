"""What may be searched, how it is written, and an optimiser that finds what is known."""

import sys

import numpy as np
import pytest

import weft
from weft.core.errors import UserError
from weft.experiments.search_space import Choice, Span, applied, ask, checked, listed, own

METHOD = weft.IQL()


def test_spaces_are_read_from_words():
    found = checked(
        {"expectile": "0.6:0.95", "inverse_temperature": "log:0.5:20", "hidden": "64,64/8", "decay": "true/false"},
        METHOD,
    )
    assert found == {
        "expectile": Span(0.6, 0.95), "inverse_temperature": Span(0.5, 20.0, log=True),
        "hidden": Choice(((64, 64), (8,))), "decay": Choice((True, False)),
    }  # fmt: skip
    again = checked({name: str(part) for name, part in found.items() if name != "decay"}, METHOD)
    assert again == {name: part for name, part in found.items() if name != "decay"}
    assert checked({"hidden": [[8], [16]]}, METHOD) == {"hidden": Choice(((8,), (16,)))}
    nested = checked({"weight.value": "log:0.1:10"}, weft.CQL())
    assert applied(weft.CQL(), {"weight.value": 2.0}).weight.value == 2.0
    assert own(weft.CQL(), nested) == {"weight.value": 1.0}
    assert own(METHOD, {"expectile": Span(0.8, 0.9)}) is None


def test_values_are_read_as_the_defaults_are():
    assert listed(METHOD, "expectile", "0.7/0.9") == [0.7, 0.9]
    assert listed(METHOD, "hidden", "64,64/8") == [(64, 64), (8,)]
    assert listed(METHOD, "decay", "true") == [True]
    assert listed(weft.CQL(), "weight.value", "2") == [2.0]
    assert listed(METHOD, "sampler.batch_size", "32") == [32]
    for method, name, text, sentence in (
        (METHOD, "expectile", "high", "'expectile' of .* is written as 0.7, got 'high'"),
        (METHOD, "decay", "yes", "is written as false, got 'yes'"),
        (weft.CQL(), "weight", "2", "which no word can hold; set it in Python, got '2'"),
        (METHOD, "expectyle", "2", "has no hyperparameter 'expectyle'"),
    ):
        with pytest.raises(UserError, match=sentence):
            listed(method, name, text)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "Say what to search, as --space NAME=LOW:HIGH .* learning_rate, discount"),
        ({"expectyle": "0.6:0.9"}, "has no hyperparameter 'expectyle'. Did you mean 'expectile'"),
        ({"expectile": "0.9:0.6"}, "from a lower to a higher number, got 0.9 to 0.6"),
        ({"expectile": "0.9:1.6"}, "expectile must be at least 0.5 and below 1, got 1.6"),
        ({"learning_rate": "log:0:1"}, "begins above 0"),
        ({"learning_rate": "nan:1"}, "from a lower to a higher"),
        ({"learning_rate": "low:high"}, "is no space; write learning_rate=0.1:0.9"),
        ({"learning_rate": "1:2:3"}, "is no space"),
        ({"hidden": "8:64"}, "is no number that can be searched in a range; list the values: hidden=A/B"),
        ({"hidden": "8/wide"}, "is no space"),
        ({"decay": "yes/no"}, "is no space"),
        ({"hidden": "8"}, "needs at least two values, all different, got '8'"),
        ({"expectile": "0.7/0.7"}, "all different"),
        ({"sampler": "1/2"}, "is no space"),
    ],
)
def test_a_space_that_cannot_be_is_one_sentence(given, sentence):
    with pytest.raises(UserError, match=sentence) as problem:
        checked(given, METHOD)
    assert "\n" not in str(problem.value)


def test_the_optimum_of_a_known_case_is_found_sooner_than_by_chance():
    searched = checked({"inverse_temperature": "log:0.1:100", "expectile": "0.5:0.95", "hidden": "8/64,64"}, METHOD)

    def worth(at):
        return -((np.log10(at["inverse_temperature"]) - 1) ** 2) - 20 * (at["expectile"] - 0.8) ** 2 - len(at["hidden"])

    found, chance = [], []
    for seed in range(3):
        history = []
        while len(history) < 40:
            history += [(one, worth(one)) for one in ask(searched, history, 8, seed, None)]
        found.append(max(score for _, score in history))
        blind = [one for number in range(5) for one in ask(searched, [], 8, 100 * seed + number, None)]
        chance.append(max(map(worth, blind)))
        best = max(history, key=lambda one: one[1])[0]
        assert best["hidden"] == (8,)
    assert np.mean(found) > -1.03
    assert np.mean(found) > np.mean(chance)


def test_the_same_history_asks_the_same_and_begins_with_the_method_s_own():
    searched = checked({"expectile": "0.5:0.95"}, METHOD)
    first = ask(searched, [], 4, 0, own(METHOD, searched))
    assert first[0] == {"expectile": 0.7}
    assert len({one["expectile"] for one in first}) == 4
    assert ask(searched, [], 4, 0, own(METHOD, searched)) == first
    assert ask(searched, [], 4, 1, own(METHOD, searched)) != first
    history = [(one, None if number == 2 else float(number)) for number, one in enumerate(first)]
    later = ask(searched, history, 4, 0, own(METHOD, searched))
    assert later == ask(searched, history, 4, 0, own(METHOD, searched))
    assert {"expectile": 0.7} not in later


def test_a_missing_extra_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"The optimiser is not installed; run: pip install 'weft\[tune\]'"):
        ask({"expectile": Span(0.5, 0.9)}, [], 1, 0, None)
