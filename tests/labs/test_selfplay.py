"""The stages of AlphaGo's recipe on tic-tac-toe, where everything is known."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from weft.core.errors import UserError
from weft.labs.games import Game, NetworkPlayer, Perfect, Random, code, play_match, solution, unfold, versus
from weft.labs.selfplay import (
    Recipe,
    SearchPlayer,
    _reinforce,
    expert,
    expert_games,
    learn,
    log_probability,
    policy_gradient,
    rollout,
    supervised,
    value_network,
    value_positions,
    worth,
)
from weft.nn.dense import mlp

GAME = Game("tic_tac_toe")
STEP = jax.jit(GAME.step)
# No network: equal priors and random games. With 4 random games a leaf, and not 16, it lost 1 of 400 games.
PURE = SearchPlayer(mixing=1.0, rollouts=16, simulations=800)


def after(*games: list[int]):
    """Return positions after some moves, one game per list."""
    made = []
    for moves in games:
        positions = GAME.start(jax.random.key(len(made)), 1)
        for move in moves:
            positions = STEP(positions, jnp.array([move]))
        made.append(positions)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *made)


@pytest.fixture(scope="module")
def record():
    # With mistakes, so that there are won positions in it, too.
    return expert_games(GAME, expert(GAME, 0.2), 2000, jax.random.key(0))


@pytest.fixture(scope="module")
def imitator(record):
    return supervised(GAME, record, jax.random.key(1), 800, hidden=(64,))[0]


# --- supervised and policy gradient ---------------------------------------------------------------------------------


def test_an_imitator_beats_random_play(imitator):
    assert play_match(GAME, NetworkPlayer(imitator), Random(), 400).interval[0] > 0.5


def test_illegal_moves_have_no_chance(imitator):
    positions = after([], [4], [4, 0, 8])
    seen, legal = GAME.seen(positions), positions.legal_action_mask
    chances = jnp.stack([jnp.exp(log_probability(imitator, seen, legal, jnp.full(3, move))) for move in range(9)], -1)
    assert (chances[~legal] == 0).all()
    np.testing.assert_allclose(chances.sum(-1), 1.0, rtol=1e-5)


def test_the_gradient_is_the_result_times_that_of_the_log_probability():
    network = mlp(jax.random.key(2), (18, 9), 1.0)
    played = unfold(GAME, versus(GAME, Random(), Random()), 6, jax.random.key(3))
    for turn in (0, 1):
        sign = 1 - 2 * turn

        def by_hand(network, turn=turn, sign=sign):
            total = 0.0
            for game in range(6):
                gain = sign * (played.result[game] - played.result.mean())
                for ply in range(turn, 9, 2):
                    parts = (part[ply, game] for part in (played.seen, played.legal, played.action))
                    total -= jnp.where(played.alive[ply, game], gain * log_probability(network, *parts), 0.0) / 6
            return total

        one = jax.grad(_reinforce)(network, played, turn)
        two = jax.grad(by_hand)(network)
        for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_allclose(left, right, atol=1e-4)


def test_self_play_improves_on_a_weak_start():
    start = mlp(jax.random.key(4), (18, 64, 9), 1e-2)
    better, results = policy_gradient(GAME, start, jax.random.key(5), 120, 64, 3e-3, 20)
    assert results.shape == (120,)
    assert play_match(GAME, NetworkPlayer(better), NetworkPlayer(start), 400).interval[0] > 0.6


# --- value ----------------------------------------------------------------------------------------------------------


def test_one_position_of_each_game_with_the_result_of_its_mover():
    seen, result, known = value_positions(GAME, Perfect(), Perfect(), 400, jax.random.key(6))
    assert seen.shape == (400, 18)
    assert 0.5 < known.mean() <= 1
    codes = np.asarray(code(seen))[np.asarray(known)]
    # Both play on without a fault, so the result is the value of the position for who is to move.
    np.testing.assert_array_equal(solution().value[codes], np.asarray(result)[np.asarray(known)])


def test_a_value_network_learns_the_values():
    data = value_positions(GAME, Random(), Perfect(), 3000, jax.random.key(7))
    network, errors = value_network(*data, jax.random.key(8), 800, hidden=(64,))
    assert errors[-50:].mean() < 0.2 < errors[:20].mean()
    seen, result, known = value_positions(GAME, Random(), Perfect(), 500, jax.random.key(9))
    wrong = np.abs(worth(network, seen) - result)[np.asarray(known)]
    assert np.mean(wrong < 0.5) > 0.75


# --- search ---------------------------------------------------------------------------------------------------------


def test_a_roll_out_is_told_from_the_view_of_who_is_to_move():
    # One cell is left: a draw, and a line for who is to move. Two cells are left, and the other has use for both.
    positions = after([0, 1, 2, 4, 3, 5, 7, 6], [0, 2, 1, 3, 4, 6, 5, 7], [0, 1, 2, 3, 4, 5, 7])
    np.testing.assert_array_equal(rollout(GAME, positions, jax.random.key(0)), [0.0, 1.0, -1.0])


def test_values_change_sign_with_who_is_to_move():
    # The same lines of three to be, once for who is to move and once for the other, who cannot stop both.
    found = jax.jit(lambda positions: PURE.search(GAME, positions, jax.random.key(0)))(
        after([0, 3, 1, 4], [0, 1, 4, 2, 3])
    )
    tree = found.search_tree
    assert tree.node_values[0, 0] > 0.8  # X completes 0, 1, 2
    assert tree.node_values[1, 0] < -0.5  # O is to move, X threatens 5, 6 and 8
    np.testing.assert_allclose(tree.summary().qvalues[0, 2], 1.0, atol=1e-6)  # a true result, not an estimate


def test_no_visit_goes_to_an_illegal_move():
    positions = after([4], [4, 0, 8])
    weights = jax.jit(lambda: PURE.search(GAME, positions, jax.random.key(0)).action_weights)()
    assert (weights[~positions.legal_action_mask] == 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)


def test_a_win_in_one_move_is_always_taken():
    played = unfold(GAME, versus(GAME, Random(), Random()), 300, jax.random.key(10))
    last = np.asarray(played.alive).sum(0) - 1
    winners = np.flatnonzero(np.asarray(played.result) != 0)[:40]
    games = [np.asarray(played.action)[: last[game], game].tolist() for game in winners]
    positions = after(*games)
    player = SearchPlayer(mixing=1.0, simulations=30)
    chosen = jax.jit(lambda: player(GAME, positions, jax.random.key(11)))()
    _, result = jax.jit(GAME.after)(positions, chosen)
    assert (result == 1).all()


@pytest.mark.slow
def test_the_search_never_loses_to_perfect_play():
    found = play_match(GAME, PURE, Perfect(), 8)
    assert (found.losses, found.wins) == (0, 0)


@pytest.mark.slow
def test_the_search_never_loses_many_games():
    found = play_match(GAME, PURE, Perfect(), 400, seed=1)
    assert (found.losses, found.wins) == (0, 0)


@pytest.mark.slow
def test_a_search_with_networks_takes_both_into_account(imitator):
    positions = after([], [4])
    value = mlp(jax.random.key(12), (18, 8, 1), 1.0)
    plain = SearchPlayer(mixing=0.0, simulations=30)
    guided = SearchPlayer(imitator, value, mixing=0.0, simulations=30)
    weights = [player.search(GAME, positions, jax.random.key(0)).action_weights for player in (plain, guided)]
    assert not np.allclose(*weights)
    np.testing.assert_allclose(guided.leaf(GAME, positions, jax.random.key(0)), worth(value, GAME.seen(positions)))
    prior = jax.nn.softmax(guided.prior(GAME, positions))
    assert prior[1, 4] == 0


def test_mistakes_of_the_user_are_one_sentence(monkeypatch):
    for change in ({"simulations": 0}, {"rollouts": 0}, {"mixing": 1.5}):
        with pytest.raises(UserError):
            SearchPlayer(**change)
    monkeypatch.setitem(sys.modules, "mctx", None)
    with pytest.raises(UserError, match=r"weft\[games\]"):
        SearchPlayer()


@pytest.mark.slow
def test_all_stages_of_connect_four():
    game = Game("connect_four")
    told = []
    found = learn(game, Recipe(mistakes=0.5, rounds=200), tell=told.append)
    assert len(told) == len(found.figures) == 4
    one, two = NetworkPlayer(found.supervised), NetworkPlayer(found.improved)
    search = SearchPlayer(found.improved, found.value, mixing=0.0, simulations=64)
    assert play_match(game, one, Random(), 400).interval[0] > 0.5
    assert play_match(game, two, one, 400).interval[0] > 0.5
    assert play_match(game, search, two, 60).interval[0] > 0.5
