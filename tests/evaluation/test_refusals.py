"""An estimate is refused by what it rests on: weights by their ratios, fitted values by every test."""

import dataclasses

import numpy as np
from tabular import asks, world

from weft.evaluation.diagnostics import diagnose
from weft.evaluation.estimator import estimator
from weft.evaluation.refusals import refusals

HERE = world()
BETTER = HERE.rule(0.6)
WEIGHS, FITS = estimator("per_decision"), estimator("linear_q")


def test_right_propensities_and_a_markov_log_refuse_nothing():
    log = HERE.log(400, 1, whole=True)
    assert diagnose(asks(BETTER), log).passed
    assert refusals(asks(BETTER), log, WEIGHS) == ()
    assert refusals(asks(BETTER), log, FITS) == ()


def test_wrong_propensities_refuse_what_weighs():
    log = HERE.log(400, 1, whole=True)
    wrong = dataclasses.replace(log, store_log_propensities=np.asarray(log.store_log_propensities) - np.log(2))
    (reason,) = refusals(asks(BETTER), wrong, WEIGHS)
    assert "instead of at most 1" in reason


def test_what_the_log_never_shows_refuses_fitted_values():
    surely = dataclasses.replace(HERE, logging=np.eye(2)[HERE.pay.argmax(1)]).log(400, 1, whole=True)
    other = asks(np.eye(2)[HERE.pay.argmin(1)])
    for method in (FITS, WEIGHS):
        assert "No logged action is one that the policy takes there" in refusals(other, surely, method)[0]


def test_the_sentences_are_those_of_the_diagnosis():
    log = HERE.log(400, 3)  # which calls the last step an end, so that its observations hide the time
    alarms = [test.sentence for test in diagnose(asks(BETTER), log).tests if test.alarm]
    assert alarms
    assert refusals(asks(BETTER), log, FITS) == tuple(alarms)
    assert refusals(asks(BETTER), log, WEIGHS) == ()
