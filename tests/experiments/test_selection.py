"""Which candidate comes first: certificates before estimates, two scores, and imitation where evidence is thin."""

import dataclasses

import numpy as np
import pytest

from weft.experiments.selection import NOTHING, Judged, Row, ranked

UNITS = 50


def candidate(name, low, advantage, noise=1.0, **more):
    """Return a judged candidate whose influences have a standard error of about `noise`, each its own."""
    own = np.random.default_rng(len(name)).normal(size=(2, UNITS)) * noise / UNITS**0.5
    row = Row(name, 0, 0, 1, False, low + 0.1, low, low + 0.2, low, 1.0, None, 0.0)
    row = dataclasses.replace(row, **{"advantage": advantage, "unsupported": 0.05, **more})
    return Judged(row, None, None, own - own.mean(1, keepdims=True))


def names(order):
    return [one.row.algorithm for one in order]


def test_the_first_by_both_scores_is_chosen_where_it_beats_imitation_beyond_chance():
    every = [candidate("bc", 1.0, 0.1), candidate("filtered_bc", 2.0, 0.2), candidate("iql", 9.0, 0.9)]
    order, (why,) = ranked(every)
    assert names(order) == ["iql", "filtered_bc", "bc"]
    assert "better than imitation: by" in why


def test_imitation_is_chosen_where_evidence_is_thin():
    every = [candidate("bc", 1.0, 0.1), candidate("filtered_bc", 2.0, 0.2), candidate("iql", 2.5, 0.3)]
    order, (why,) = ranked(every)
    assert names(order) == ["filtered_bc", "iql", "bc"]
    assert why == "Before imitation, but not better beyond chance: iql."


def test_the_first_that_is_better_beyond_chance_is_chosen_though_another_comes_before_it():
    loud = candidate("dqn", 9.5, 0.95, noise=90.0)
    order, _ = ranked([candidate("filtered_bc", 2.0, 0.2), loud, candidate("iql", 9.0, 0.9)])
    assert names(order) == ["iql", "dqn", "filtered_bc"]


def test_a_value_alone_does_not_beat_imitation_where_the_other_score_says_the_contrary():
    every = [candidate("filtered_bc", 2.0, 9.0), candidate("iql", 50.0, -9.0), candidate("cql", 1.0, -10.0)]
    assert names(ranked(every)[0])[0] == "filtered_bc"


@pytest.mark.parametrize("spoilt", [{"unsupported": 0.5}, {"score": -np.inf}])
def test_what_cannot_be_believed_comes_last(spoilt):
    every = [candidate("cql", 90.0, 9.0, **spoilt), candidate("bc", 1.0, 0.1), candidate("iql", 9.0, 0.9)]
    assert names(ranked(every)[0]) == ["iql", "bc", "cql"]


def test_where_nothing_can_be_believed_it_is_said():
    order, why = ranked([candidate("bc", 1.0, 0.1, unsupported=0.5), candidate("iql", 2.0, 0.1, unsupported=0.9)])
    assert names(order) == ["bc", "iql"]
    assert why == (NOTHING,)


def test_what_could_be_certified_comes_first_by_its_score():
    certain = [candidate("bc", 1.0, 0.1, chance=0.5), candidate("awr", 3.0, 0.1, chance=0.5)]
    order, why = ranked([candidate("iql", 9.0, 0.9), *certain])
    assert names(order) == ["awr", "bc", "iql"]
    assert why == ()


def test_where_values_diverge_the_advantage_ranks_alone():
    every = [candidate("bc", 90.0, 0.1, possible=False), candidate("iql", -5e9, 9.0, possible=False)]
    order, (why,) = ranked(every)
    assert names(order) == ["iql", "bc"]
    assert "values diverge" in why


def test_a_less_noisy_candidate_of_the_same_value_is_not_better():
    quiet, loud = candidate("iql", 9.0, 0.3, value=10.0), candidate("bc", 6.0, 0.2, noise=3.0, value=10.0)
    assert quiet.better(loud, valued=True)[0] == 0.0
    assert names(ranked([quiet, loud])[0]) == ["bc", "iql"]


def test_an_external_policy_of_that_name_is_no_imitation():
    _, (why,) = ranked([candidate("bc", 1.0, 0.1, external=True), candidate("iql", 9.0, 0.9)])
    assert why == "No imitation that can be believed is there to compare with."
