"""The public names, as they were before modules moved into packages: each stays importable where it was."""

import importlib
import subprocess
import sys

import pytest

PUBLIC = {
    "weft": (
        "AWAC AWR ActorCritic Algorithm BC BCQ BEAR BRAC CQL CRR DQN Dataset Decision DiscreteBCQ FilteredBC "
        "IDQL IQL KLControl Ledger OneStep Outcomes Policy RAM REPS ReBRAC Regression Reinforce Rounds Run SAC Spec "
        "TD3BC UserError __version__ advise answer benchmark certify collect concatenate diagnose estimate "
        "estimate_fitted_q estimate_propensities finetune fit grid inspect load load_policy load_run preset "
        "rollout scores seal stage study tabular triage tune"
    ),
    "weft.errors": ("UserError nearest"),
    "weft.scores": (
        "Aggregate Profile by_task improvement_probability interquartile_mean mean_score performance_profile "
        "stratified_bootstrap"
    ),
    "weft.tabular": (
        "Desirability Learned Model ModelWorld Solution bellman desirability evaluate greedy grid_world "
        "model_of policy_iteration q_learning sarsa value_iteration"
    ),
    "weft.games": (
        "Game Lookahead Match NetworkPlayer Perfect Player Random Record Solution ValuePlayer masked "
        "play_match solution unfold"
    ),
    "weft.selfplay": (
        "Learned Recipe SearchPlayer expert expert_games learn policy_gradient supervised value_network value_positions"
    ),
    "weft.distributions": ("Categorical Deterministic Distribution Mixture Normal TanhNormal"),
    "weft.multipliers": ("Fixed Lagrange Multiplier"),
    "weft.policy": (
        "ActorPolicy BestOfSamples Boltzmann Draws EpsilonGreedy GreedyPolicy Policy Served UniformAtFirst "
        "acts_greedily check_parameters"
    ),
    "weft.online": ("switch"),
    "weft.environments.cartpole": ("CartPole"),
    "weft.environments.catch": ("Catch"),
    "weft.environments.digits": ("Digits"),
    "weft.environments.grid": ("CELLS ENDS Grid transitions"),
    "weft.environments.maze": ("Maze"),
    "weft.environments.notifications": ("Notifications Rule WEIGHTS behaviour expected reference simulate value"),
    "weft.environments.pendulum": ("Pendulum"),
    "weft.environments.stitch": ("Stitch"),
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_stay_where_they_were(module):
    found = importlib.import_module(module)
    missing = [name for name in PUBLIC[module].split() if not hasattr(found, name)]
    assert not missing


def test_a_name_and_its_old_place_are_one_thing():
    from weft.errors import UserError
    from weft.policy import Policy

    import weft

    assert weft.UserError is UserError
    assert weft.Policy is Policy
    assert weft.scores is importlib.import_module("weft.scores")
    assert callable(weft.fit)
    assert callable(weft.benchmark)


def test_old_places_warn_of_nothing_and_functions_stay_functions():
    code = (
        "import weft, weft.errors, weft.online, weft.environments.grid, weft.policy, weft.tabular\n"
        "from weft.online import switch\n"
        "assert callable(weft.fit) and callable(weft.study) and callable(weft.rollout) and callable(weft.answer)\n"
        "assert weft.environments.grid.Grid and weft.tabular.value_iteration\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_old_places_are_there_without_an_import_of_their_own():
    code = (
        "import weft\n"
        "assert weft.online.switch and weft.errors.UserError and weft.policy.Served and weft.environments\n"
        "assert weft.distributions.Normal and weft.scores.mean_score and weft.games.Game\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_package_itself_loads_nothing():
    code = (
        "import sys, weft\n"
        "heavy = [name for name in ('jax', 'numpy', 'polars', 'h5py', 'scipy') if name in sys.modules]\n"
        "assert not heavy, heavy\n"
        "assert 'fit' in dir(weft) and '_HOME' not in dir(weft)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
